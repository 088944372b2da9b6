%% SPDX-License-Identifier: Apache-2.0
%% @private
%% Takes what Python prints and logs (pyext/erlang/_output.py says in which messages), and brings it
%% where Erlang's own output goes: text to group leaders, records to `logger'.
%%
%% Order: what one Python thread wrote is handled in that order. Text that arrives together and goes
%% to the same place is one I/O request.
%%
%% Back-pressure: the channel is bounded, so Python waits for this process; and this process takes
%% nothing from it while group leaders have more than `WINDOW' bytes that they have not answered
%% for. One that answers nothing for `PATIENCE_MS' then must not hold up the rest for ever: its text
%% is dropped, and counted, until it answers again.
%%
%% A group leader that is gone is replaced by our own; so is that of a process that is.
%%
%% When this process dies, its successor goes on with what is left in the channel. When it is
%% stopped, it empties the channel, and Python writes to where it would without us.
-module(py_output).
-behaviour(gen_server).

-export([start_link/0, init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2,
         terminate/2]).

%% Bytes that may wait in the channel, and at group leaders.
-define(MAX_SIZE, 1048576).
-define(WINDOW, 524288).
%% Of one I/O request, about.
-define(REQUEST, 65536).
%% Messages that are taken before anything else gets its turn.
-define(TURN, 200).
-define(PATIENCE_MS, 5000).
%% How long a stop waits for group leaders.
-define(FAREWELL_MS, 1000).

%% `lost': bytes dropped since it stopped answering; `answers' while it does.
-record(leader, {monitor :: reference(), unanswered = 0 :: non_neg_integer(),
                 lost = answers :: answers | non_neg_integer()}).

%% `waiter': of the place in line that `ref' belongs to; `resume' when a message of that name will
%%   come, `held' while the window is closed.
%% `text': not sent yet, in reverse, all of it of one kind and one caller.
%% `requests': by number, in whose order they were sent.
-record(state, {channel :: py_channel:channel(),
                ref :: reference(),
                waiter = resume :: py_nif:waiter() | resume | held,
                patience = none :: reference() | none,
                stderr :: group_leader | standard_error,
                writer = none :: {stdout | stderr, pid() | none} | none,
                text = [] :: [binary()],
                size = 0 :: non_neg_integer(),
                number = 0 :: non_neg_integer(),
                requests = #{} :: #{non_neg_integer() => {pid(), binary()}},
                leaders = #{} :: #{pid() => #leader{}},
                unanswered = 0 :: non_neg_integer()}).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec init([]) -> {ok, #state{}, {continue, none | {ok, py_channel:channel()}}} | {stop, term()}.
init([]) ->
    process_flag(trap_exit, true),
    {module, py_log} = code:ensure_loaded(py_log),  % Not in the middle of a stop.
    Stderr = application:get_env(penstock, stderr, group_leader),
    case settings(Stderr) of
        {ok, Logs, Text} ->
            case py_channel:new(#{max_size => ?MAX_SIZE}) of
                {ok, Channel} ->
                    Previous = py_nif:output_open(Channel, Logs, Text),
                    {ok, #state{channel = Channel, ref = make_ref(), stderr = Stderr},
                     {continue, Previous}};
                {error, Reason} ->
                    {stop, Reason}
            end;
        {error, Reason} ->
            {stop, Reason}
    end.

settings(Stderr) ->
    Logs = application:get_env(penstock, logging, true),
    Text = application:get_env(penstock, redirect_output, true),
    Bad = [{Name, Value} || {Name, Value} <- [{logging, Logs}, {redirect_output, Text}],
                            not is_boolean(Value)]
        ++ [{stderr, Stderr} || Stderr =/= group_leader, Stderr =/= standard_error],
    case Bad of
        [] -> {ok, Logs, Text};
        [Setting | _] -> {error, {bad_setting, Setting}}
    end.

%% What a predecessor that was killed left in its channel comes first.
-spec handle_continue(none | {ok, py_channel:channel()}, #state{}) -> {noreply, #state{}}.
handle_continue({ok, Previous}, State) ->
    {noreply, take(send_text(drain(Previous, State)))};
handle_continue(none, State) ->
    {noreply, take(State)}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, unknown}, #state{}}.
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Request, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({penstock_ready, Ref}, #state{ref = Ref, waiter = Waiter} = State)
  when is_reference(Waiter) ->
    {noreply, taken(py_nif:channel_receive_again(Waiter), ?TURN, State)};
handle_info(resume, #state{waiter = resume} = State) ->
    {noreply, take(State)};
handle_info({io_reply, {?MODULE, Number}, Answer}, State) ->
    {noreply, go_on(answered(Number, Answer, State))};
handle_info({'DOWN', _, process, Leader, _}, State) ->
    {noreply, go_on(gone(Leader, State))};
handle_info({timeout, Timer, patience}, #state{patience = Timer} = State) ->
    {noreply, go_on(lose_patience(State#state{patience = none}))};
handle_info(_Stray, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, State) ->
    Last = case py_nif:output_close() of
               {ok, Channel} -> send_text(drain(Channel, State));
               none -> State
           end,
    Deadline = erlang:monotonic_time(millisecond) + ?FAREWELL_MS,
    wait_for_answers(Last, Deadline).

wait_for_answers(#state{unanswered = 0}, _Deadline) ->
    ok;
wait_for_answers(State, Deadline) ->
    receive
        {io_reply, {?MODULE, Number}, Answer} ->
            wait_for_answers(answered(Number, Answer, State), Deadline);
        {'DOWN', _, process, Leader, _} ->
            wait_for_answers(gone(Leader, State), Deadline)
    after max(0, Deadline - erlang:monotonic_time(millisecond)) ->
        ok
    end.

%% Taking messages

take(State) ->
    taken(py_nif:channel_try_receive(State#state.channel), ?TURN, State).

%% The channel is empty, or this turn is over, or the window is closed: what was collected goes out.
taken({ok, Message}, Left, State) ->
    case handle(Message, State) of
        #state{unanswered = Bytes} = Next when Bytes > ?WINDOW ->
            hold(send_text(Next));
        Next when Left > 1 ->
            taken(py_nif:channel_try_receive(Next#state.channel), Left - 1, Next);
        Next ->
            self() ! resume,
            (send_text(Next))#state{waiter = resume}
    end;
taken({error, empty}, Left, State) ->
    Ref = make_ref(),
    Next = send_text(State),
    taken(py_nif:channel_receive_wait(Next#state.channel, Ref), Left, Next#state{ref = Ref});
taken({wait, Waiter}, _Left, State) ->
    State#state{waiter = Waiter};
taken({fired, Result}, Left, State) ->
    taken(Result, Left, State#state{waiter = resume});  % Its message will be a stray one.
taken({error, closed}, _Left, State) ->
    (send_text(State))#state{waiter = held};  % Our end is near: only a successor closes it.
taken({error, Reason}, _Left, State) ->
    %% It has been taken out, or there is no memory for it now.
    logger:warning("penstock: a message of Python's output is lost: ~tp", [Reason]),
    self() ! resume,
    (send_text(State))#state{waiter = resume}.

%% Everything in a channel that is closed.
drain(Channel, State) ->
    case py_nif:channel_try_receive(Channel) of
        {ok, Message} -> drain(Channel, handle(Message, State));
        {error, _} -> State
    end.

hold(State) ->
    start_patience(State#state{waiter = held}).

%% After something was answered.
go_on(#state{waiter = held, unanswered = Bytes} = State) when Bytes =< ?WINDOW ->
    take(stop_patience(State));
go_on(#state{waiter = held} = State) ->
    start_patience(stop_patience(State));
go_on(State) ->
    State.

start_patience(State) ->
    State#state{patience = erlang:start_timer(?PATIENCE_MS, self(), patience)}.

stop_patience(#state{patience = none} = State) ->
    State;
stop_patience(#state{patience = Timer} = State) ->
    _ = erlang:cancel_timer(Timer),
    State#state{patience = none}.

handle({text, Kind, Caller, Text}, #state{writer = {Kind, Caller}} = State) ->
    add_text(Text, State);
handle({text, Kind, Caller, Text}, State) ->
    add_text(Text, (send_text(State))#state{writer = {Kind, Caller}});
handle({log, Level, Caller, Text, Where, Time}, State) ->
    Sent = send_text(State),
    ok = py_log:write(Level, Caller, leader_of(Caller), Text, Where, Time),
    Sent;
handle({sync, Channel, Number}, State) ->
    Sent = send_text(State),
    _ = py_channel:send(Channel, Number),
    Sent;
handle(_Unknown, State) ->
    State.

add_text(Text, #state{text = Texts, size = Size} = State) ->
    More = State#state{text = [Text | Texts], size = Size + byte_size(Text)},
    case More#state.size >= ?REQUEST of
        true -> send_text(More);
        false -> More
    end.

%% Sending text

send_text(#state{text = []} = State) ->
    State;
send_text(#state{text = Texts, writer = {Kind, Caller}} = State) ->
    Text = iolist_to_binary(lists:reverse(Texts)),
    put_text(device(Kind, Caller, State), Text, State#state{text = [], size = 0}).

device(stderr, _Caller, #state{stderr = standard_error}) ->
    case whereis(standard_error) of
        undefined -> group_leader();
        Device -> Device
    end;
device(_Kind, Caller, _State) ->
    leader_of(Caller).

%% Where output of code that runs for a process goes.
leader_of(Caller) when is_pid(Caller), node(Caller) =:= node() ->
    case process_info(Caller, group_leader) of
        {group_leader, Leader} -> Leader;
        undefined -> group_leader()
    end;
leader_of(_Nobody) ->
    group_leader().

put_text(Leader, Text, #state{leaders = Leaders} = State) ->
    case Leaders of
        #{Leader := #leader{lost = Lost} = Known} when is_integer(Lost) ->
            Counted = Known#leader{lost = Lost + byte_size(Text)},
            State#state{leaders = Leaders#{Leader := Counted}};
        #{Leader := Known} ->
            request(Leader, Known, Text, State);
        #{} ->
            request(Leader, #leader{monitor = monitor(process, Leader)}, Text, State)
    end.

request(Leader, Known, Text, #state{number = Number, requests = Requests} = State) ->
    Leader ! {io_request, self(), {?MODULE, Number}, {put_chars, unicode, Text}},
    Size = byte_size(Text),
    Told = Known#leader{unanswered = Known#leader.unanswered + Size},
    State#state{number = Number + 1,
                requests = Requests#{Number => {Leader, Text}},
                leaders = (State#state.leaders)#{Leader => Told},
                unanswered = State#state.unanswered + Size}.

answered(Number, Answer, #state{requests = Requests, leaders = Leaders} = State) ->
    case maps:take(Number, Requests) of
        {{Leader, Text}, Rest} ->
            #{Leader := Known} = Leaders,
            Answer =:= ok orelse
                logger:warning("penstock: group leader ~p refused output: ~tp", [Leader, Answer]),
            Left = State#state{requests = Rest},
            case Known of
                #leader{lost = Lost} when is_integer(Lost) -> recovered(Leader, Known, Left);
                #leader{} -> credit(Leader, Known, byte_size(Text), Left)
            end;
        error ->
            State
    end.

credit(Leader, #leader{unanswered = Size, monitor = Monitor}, Size, State) ->
    %% All is answered; nobody watches a leader that nothing is sent to.
    true = demonitor(Monitor, [flush]),
    State#state{leaders = maps:remove(Leader, State#state.leaders),
                unanswered = State#state.unanswered - Size};
credit(Leader, #leader{unanswered = Unanswered} = Known, Size, State) ->
    Less = Known#leader{unanswered = Unanswered - Size},
    State#state{leaders = (State#state.leaders)#{Leader := Less},
                unanswered = State#state.unanswered - Size}.

%% It answers again, to requests that were written off.
recovered(Leader, Known, #state{requests = Requests} = State) ->
    report_loss(Leader, Known),
    Late = lists:sum([byte_size(Text) || {Whose, Text} <- maps:values(Requests), Whose =:= Leader]),
    Again = Known#leader{lost = answers, unanswered = Late},
    Next = State#state{leaders = (State#state.leaders)#{Leader := Again},
                       unanswered = State#state.unanswered + Late},
    case Late of
        0 -> credit(Leader, Again, 0, Next);
        _ -> Next
    end.

report_loss(Leader, #leader{lost = Lost}) when is_integer(Lost), Lost > 0 ->
    logger:warning("penstock: ~b bytes of output were dropped while group leader ~p did not answer",
                   [Lost, Leader]);
report_loss(_Leader, _Known) ->
    ok.

%% Those that keep us from going on are written off: what they have may still be written.
lose_patience(#state{leaders = Leaders} = State) ->
    Silent = [Leader || {Leader, #leader{lost = answers}} <- maps:to_list(Leaders)],
    logger:warning("penstock: no answer from group leader ~p for ~b ms; output for it is dropped",
                   [hd(Silent), ?PATIENCE_MS]),
    State#state{leaders = maps:map(fun(_, Known) -> written_off(Known) end, Leaders),
                unanswered = 0}.

written_off(#leader{lost = answers} = Known) ->
    Known#leader{unanswered = 0, lost = 0};
written_off(Known) ->
    Known.

%% A leader died: what it has not answered goes to our own, unless that is the one that died.
gone(Leader, #state{requests = Requests, leaders = Leaders} = State) ->
    case maps:take(Leader, Leaders) of
        {#leader{unanswered = Size} = Known, Others} ->
            report_loss(Leader, Known),
            {Its, Rest} = lists:partition(fun({_, {Whose, _}}) -> Whose =:= Leader end,
                                          lists:keysort(1, maps:to_list(Requests))),
            Left = State#state{requests = maps:from_list(Rest), leaders = Others,
                               unanswered = State#state.unanswered - Size},
            case group_leader() of
                Leader -> Left;
                Own -> lists:foldl(fun({_, {_, Text}}, Next) -> put_text(Own, Text, Next) end,
                                   Left, Its)
            end;
        error ->
            State
    end.
