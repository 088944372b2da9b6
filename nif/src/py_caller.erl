%% SPDX-License-Identifier: Apache-2.0
%% @private
%% Stands in Erlang for a Python thread that calls Erlang functions.
%%
%% It runs no function itself, so that it always answers. A blocking call (`penstock_call') gets a
%% process, its handler, which then stays for further calls from the same depth of the thread's
%% stack; what the thread sends there does not come through here. `penstock_async' and
%% `penstock_schedule' get a process each. All of them are monitored: when one dies, however that
%% happens, the thread or the call that waits for it learns why. If this process is killed, the
%% thread gets another one, and asks it to watch the handlers that still work (`penstock_adopt').
%%
%% Answers go into the thread's inbox, which is a channel, or straight to whom a scheduled call is
%% for.
-module(py_caller).

-export([start_link/1, is_down/3, path/0, handle_next/2]).

-include("py_wire.hrl").

%% The contexts whose threads wait, directly or not, for a process: what it asks of one of them is
%% run by that thread while it waits.
-define(PATH, '$penstock_path').

%% A handler that has had nothing to do for so long lets go of what its last call left behind.
-define(IDLE_MS, 1000).

%% How long a handler looks at a time for what another process says.
-define(TURN_NS, 10000).

-type inbox() :: py_channel:channel().
-type failure() :: {error | throw | exit, Text :: binary(), Reason :: term(), Stack :: binary()}.

%% @doc Starts a process for a thread, which is told its pid.
-spec start_link(inbox()) -> pid().
start_link(Inbox) ->
    spawn_link(fun() ->
        case py_nif:channel_send(Inbox, {?OPENED, self()}) of
            ok -> loop(Inbox);
            {error, _} -> ok  % The thread is gone.
        end
    end).

%% @doc Tells a thread that its process is gone.
-spec is_down(inbox(), pid(), term()) -> ok.
is_down(Inbox, Caller, Reason) ->
    put_failure(Inbox, ?DOWN, 0, Caller, exit_of(Reason)).

%% @doc The contexts that wait for the calling process.
-spec path() -> [pid()].
path() ->
    case get(?PATH) of
        undefined -> [];
        Path -> Path
    end.

loop(Inbox) ->
    receive
        {penstock_call, Id, _Name, _Args, _Path} = Call ->
            Caller = self(),
            {Handler, _} = start(fun() -> handle_first(Inbox, Caller, Call) end, {call, Id}),
            put_in(Inbox, {?STARTED, Id, Handler}),
            loop(Inbox);
        {penstock_async, Id, Name, Args, Path} ->
            _ = start(fun() -> answer(Inbox, Id, none, Name, run(Name, Args, Path)) end,
                      {async, Id}),
            loop(Inbox);
        {penstock_schedule, Call, Name, Args, Path} ->
            _ = start(fun() -> finish(Call, run(Name, Args, Path)) end, {schedule, Call}),
            loop(Inbox);
        {{call, Id}, _Monitor, process, Handler, Reason} ->
            Reason =:= normal orelse put_failure(Inbox, ?DOWN, Id, Handler, exit_of(Reason)),
            loop(Inbox);
        {penstock_adopt, Id, Handler} ->
            _ = erlang:monitor(process, Handler, [{tag, {adopted, Id}}]),
            loop(Inbox);
        {{adopted, Id}, _Monitor, process, Handler, Reason} ->
            %% Also one that has ended by itself may have left a call undone.
            put_failure(Inbox, ?DOWN, Id, Handler, exit_of(Reason)),
            loop(Inbox);
        {{async, Id}, _Monitor, process, _Worker, Reason} ->
            Reason =:= normal orelse put_failure(Inbox, ?DOWN, Id, none, exit_of(Reason)),
            loop(Inbox);
        {{schedule, Call}, _Monitor, process, _Worker, Reason} ->
            Reason =:= normal orelse finish(Call, exit_of(Reason)),
            loop(Inbox);
        penstock_close ->
            ok;
        _Stray ->
            loop(Inbox)
    end.

start(Fun, Tag) ->
    spawn_opt(Fun, [{monitor, [{tag, Tag}]}]).

%% Handlers

%% Ends with the thread's process, but not before it has done what it does.
handle_first(Inbox, Caller, Call) ->
    Monitor = erlang:monitor(process, Caller),
    handle(Inbox, Monitor, Call, from(Call, {[], false}), py_spin:new()).

%% Whether the context whose thread calls, the last that waits, is in another process. As a rule it
%% is the one of the last call. While a function runs the context itself is not held: it may end.
from({penstock_call, _, _, _, Path}, {Path, _} = From) -> From;
from({penstock_call, _, _, _, []}, _) -> {[], false};
from({penstock_call, _, _, _, Path}, _) -> {Path, py_context:remote(lists:last(Path)) =/= error}.

handle(Inbox, Monitor, {penstock_call, Id, Name, Args, Path}, From, Spin) ->
    answer(Inbox, Id, self(), Name, run(Name, Args, Path)),
    case From of
        {_, false} -> look(Inbox, Monitor, From, Spin, py_spin:start(Spin));
        {_, true} -> look_out(Inbox, Monitor, From, Spin, Spin, py_context:remote(lists:last(Path)))
    end.

%% As py_context does.
look_out(Inbox, Monitor, From, Spin, Left, {ok, Context}) when Left > 0 ->
    remote = py_nif:context_look_out(Context, ?TURN_NS),
    receive
        {penstock_call, _, _, _, _} = Next ->
            handle(Inbox, Monitor, Next, from(Next, From), py_spin:hit(Spin))
    after 0 ->
        erlang:yield(),
        look_out(Inbox, Monitor, From, Spin, Left - ?TURN_NS, {ok, Context})
    end;
look_out(Inbox, Monitor, From, Spin, _Left, _OkOrError) ->
    wait(Inbox, Monitor, From, py_spin:miss(Spin)).

look(Inbox, Monitor, From, Spin, none) ->
    wait(Inbox, Monitor, From, py_spin:miss(Spin));
look(Inbox, Monitor, From, Spin, Looks) ->
    receive
        {penstock_call, _, _, _, _} = Next ->
            handle(Inbox, Monitor, Next, from(Next, From), py_spin:hit(Spin))
    after 0 ->
        erlang:yield(),
        look(Inbox, Monitor, From, Spin, py_spin:goes_on(Looks))
    end.

wait(Inbox, Monitor, From, Spin) ->
    receive
        {penstock_call, _, _, _, _} = Next ->
            handle(Inbox, Monitor, Next, from(Next, From), Spin);
        penstock_release -> ok;
        {'DOWN', Monitor, process, _Caller, _Reason} -> finish_calls(Inbox)
    after ?IDLE_MS ->
        erlang:hibernate(?MODULE, handle_next, [Inbox, Monitor])
    end.

%% @private
-spec handle_next(inbox(), reference()) -> ok.
handle_next(Inbox, Monitor) ->
    receive
        {penstock_call, _, _, _, _} = Next ->
            handle(Inbox, Monitor, Next, from(Next, {[], false}), py_spin:new());
        penstock_release -> ok;
        {'DOWN', Monitor, process, _Caller, _Reason} -> finish_calls(Inbox)
    end.

%% What the thread asked for before it knew of that end.
finish_calls(Inbox) ->
    receive
        {penstock_call, Id, Name, Args, Path} ->
            answer(Inbox, Id, self(), Name, run(Name, Args, Path)),
            finish_calls(Inbox)
    after 0 ->
        ok
    end.

%% The function may leave messages behind, and anything else in the process dictionary.
run(Name, Args, Path) ->
    _ = put(?PATH, Path),
    case py_callback:lookup(Name) of
        {ok, Callback} ->
            try
                {ok, apply_to(Callback, Args)}
            catch
                Class:Reason:Stack -> failure_of(Class, Reason, Stack)
            end;
        {error, not_found} ->
            Text = <<"Function '", Name/binary, "' not registered">>,
            {error, Text, not_registered, <<>>}
    end.

apply_to({Module, Function}, Args) -> Module:Function(Args);
apply_to(Fun, Args) -> Fun(Args).

-spec failure_of(error | throw | exit, term(), list()) -> failure().
failure_of(Class, Reason, Stack) ->
    {Class, text("~p: ~0tp", [Class, Reason]), Reason, text("~0tp", [Stack])}.

exit_of(Reason) ->
    failure_of(exit, Reason, []).

%% Bounded, whatever a function fails with.
text(Format, Values) ->
    unicode:characters_to_binary(io_lib:format(Format, Values, [{chars_limit, 8192}])).

%% Answers

answer(Inbox, Id, Handler, Name, {ok, Value}) ->
    case py_nif:channel_send(Inbox, {?VALUE, Id, Handler, Value}) of
        ok ->
            ok;
        {error, closed} ->
            ok;  % The thread is gone.
        {error, {unsupported, Type, [_ValueOfTheMessage | Path]}} ->
            unusable(Inbox, Id, Handler, Name, {unsupported, Type, Path});
        {error, Reason} ->
            unusable(Inbox, Id, Handler, Name, Reason)
    end;
answer(Inbox, Id, Handler, _Name, Failure) ->
    put_failure(Inbox, ?FAILURE, Id, Handler, Failure).

unusable(Inbox, Id, Handler, Name, Reason) ->
    Text = text("error: what '~ts' returned cannot be used in Python: ~0tp", [Name, Reason]),
    put_failure(Inbox, ?FAILURE, Id, Handler, {error, Text, Reason, <<>>}).

put_failure(Inbox, How, Id, Handler, {Class, Text, Reason, Stack}) ->
    case py_nif:channel_send(Inbox, {How, Id, Handler, Class, Text, Reason, Stack}) of
        {error, {unsupported, _, _}} ->
            put_in(Inbox, {How, Id, Handler, Class, Text, text("~0tp", [Reason]), Stack});
        _OkOrClosed ->
            ok
    end.

put_in(Inbox, Message) ->
    _ = py_nif:channel_send(Inbox, Message),
    ok.

finish(Call, {ok, _} = Result) ->
    py_nif:call_answer(Call, Result);
finish(Call, {_Class, Text, _Reason, _Stack}) ->
    py_nif:call_answer(Call, {error, {'RuntimeError', unicode:characters_to_list(Text)}}).
