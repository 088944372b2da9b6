%% SPDX-License-Identifier: Apache-2.0
%% @private
%% The process behind py_wsgi: owns the Python threads of a server, the queue that they take
%% requests from, and the tables of requests that are under way. A thread that ends is replaced.
%%
%% Requests do not come here. Who handles one finds the settings in a persistent term, and enters
%% itself into a table, which is how stopping knows what to wait for:
%%   S1  a request is entered, then looks whether the server stops;
%%   S2  the server says that it stops, then looks into the table.
%% So a request is either refused or waited for.
-module(py_wsgi_server).
-behaviour(gen_server).

-export([start_link/1, settings/1, is_stopping/1]).
-export([collect/1, enter/2, leave/1, sweep/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export_type([settings/0]).

%% The options, and what belongs to the running server: the queue; who gives out slots for
%% incomplete bodies; and the tables of processes with a request that waits for its body, and that
%% is queued or runs.
-type settings() :: #{server := pid(), requests := py_channel:channel(),
                      slots := pid(), collecting := ets:table(), running := ets:table(),
                      stopping := atomics:atomics_ref(), atom() => term()}.

-record(worker, {context :: pid(), serving :: reference()}).
-record(state, {settings :: settings(),
                key :: pos_integer(),
                workers = #{} :: #{pos_integer() => #worker{}},
                %% When threads were replaced lately, the newest first.
                replaced = [] :: [integer()]}).

%% More replacements than that mean that replacing does not help.
-define(MAX_REPLACED, 20).
-define(REPLACED_WITHIN_MS, 10000).
%% How long the answers to requests that were not finished in time may take to be sent.
-define(ANSWER_MS, 1000).
%% Of queued requests with bodies of up to `prebuffer' bytes.
-define(QUEUE_BYTES, 64 * 1024 * 1024).

-spec start_link(map()) -> {ok, pid()} | {error, term()}.
start_link(#{name := Name} = Options) ->
    started(gen_server:start_link({local, Name}, ?MODULE, Options, []));
start_link(Options) ->
    started(gen_server:start_link(?MODULE, Options, [])).

-spec settings(py_wsgi:server()) -> settings() | not_running.
settings(Server) when is_pid(Server) ->
    persistent_term:get({?MODULE, Server}, not_running);
settings(Name) ->
    case whereis(Name) of
        Server when is_pid(Server) -> settings(Server);
        _ -> not_running
    end.

-spec is_stopping(settings()) -> boolean().
is_stopping(#{stopping := Stopping}) ->
    atomics:get(Stopping, 1) =:= 1.

%% Enters the calling process as one whose request waits for its body. False if no request may
%% begin.
-spec collect(settings()) -> boolean().
collect(#{collecting := Collecting} = Settings) ->
    insert(Collecting, {self()}, Settings)  % S1
        andalso not is_stopping(Settings).

%% Enters the calling process as one with a request for the application; the response goes there.
%% False if no request may begin; one that waited for its body has begun before.
-spec enter(settings(), py_channel:channel()) -> boolean().
enter(#{running := Running, collecting := Collecting} = Settings, Response) ->
    insert(Running, {self(), Response}, Settings)  % S1
        andalso (ets:member(Collecting, self()) orelse not is_stopping(Settings)).

%% Not if the server was killed, and could not take its settings with it.
insert(Table, Row, #{server := Server}) ->
    try
        ets:insert(Table, Row)
    catch
        error:badarg ->
            _ = persistent_term:erase({?MODULE, Server}),
            false
    end.

-spec leave(settings()) -> ok.
leave(#{server := Server, collecting := Collecting, running := Running} = Settings) ->
    ok = delete(Collecting, self()),
    ok = delete(Running, self()),
    case is_stopping(Settings) of
        true ->
            Server ! {finished, self()},
            ok;
        false ->
            ok
    end.

%% Forgets requests whose processes were killed. Nobody else can tell the application that such a
%% client is gone, which is why an application that waits long for its client asks for this.
-spec sweep(settings()) -> ok.
sweep(#{collecting := Collecting, running := Running}) ->
    [ok = delete(Collecting, Pid) || {Pid} <- rows(Collecting),
                                     not is_process_alive(Pid)],
    [begin
         ok = delete(Running, Pid),
         ok = py_channel:close(Response)
     end || {Pid, Response} <- rows(Running), not is_process_alive(Pid)],
    ok.

%% The tables of a server that was killed are gone.
rows(Table) ->
    try
        ets:tab2list(Table)
    catch
        error:badarg -> []
    end.

delete(Table, Key) ->
    try ets:delete(Table, Key) of
        true -> ok
    catch
        error:badarg -> ok
    end.

started({ok, Server}) -> {ok, Server};
started({error, Reason}) -> {error, Reason};
started(ignore) -> {error, ignore}.

-spec init(map()) -> {ok, #state{}} | {stop, term()}.
init(#{app := App, paths := Paths, threads := Threads, max_streaming := Streams} = Options) ->
    process_flag(trap_exit, true),
    _ = [persistent_term:erase(Key) || {{?MODULE, Server} = Key, _} <- persistent_term:get(),
                                       not is_process_alive(Server)],
    case py:contexts_started() andalso load(App, Paths) of
        false ->
            {stop, not_started};
        {ok, true} ->
            {ok, Requests} = py_channel:new(#{max_size => ?QUEUE_BYTES}),
            {ok, Slots} = py_wsgi_slots:start_link(Streams),
            Table = [public, {write_concurrency, true}],
            Settings = Options#{server => self(), requests => Requests, slots => Slots,
                                collecting => ets:new(collecting, Table),
                                running => ets:new(running, Table),
                                stopping => atomics:new(1, [])},
            State = #state{settings = Settings, key = erlang:unique_integer([positive])},
            ready(lists:foldl(fun start_worker/2, {ok, State}, lists:seq(1, Threads)));
        {error, Reason} ->
            {stop, {app, Reason}}
    end.

%% In a thread of its own, because an import may take long.
load(App, Paths) ->
    {ok, Context} = py_context:start_link({self(), 1}),
    Result = py:call(Context, 'erlang.wsgi', check,
                     [App, [unicode:characters_to_binary(Path) || Path <- Paths]]),
    ok = stop_processes([Context]),
    Result.

ready({ok, #state{settings = Settings} = State}) ->
    ok = persistent_term:put({?MODULE, self()}, Settings),
    {ok, State};
ready({error, Reason}) ->
    {stop, Reason}.

start_worker(Index, {ok, State}) ->
    case py_context:start_link({self(), Index}) of
        {ok, Context} -> serve(Index, Context, State);
        {error, _} = Error -> Error
    end;
start_worker(_Index, {error, _} = Error) ->
    Error.

serve(Index, Context, #state{settings = Settings, key = Key, workers = Workers} = State) ->
    #{requests := Requests, app := App, response_high_water := HighWater} = Settings,
    Serving = make_ref(),
    Arguments = [Key, Index, Requests, App, HighWater, self()],
    case py_context:submit(Context, call, {<<"erlang.wsgi">>, <<"serve">>, Arguments, #{}},
                           Serving) of
        ok ->
            Worker = #worker{context = Context, serving = Serving},
            {ok, State#state{workers = Workers#{Index => Worker}}};
        {error, _} = Error ->
            Error
    end.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, ok | {error, unknown}, #state{}}.
handle_call({grace, Grace}, _From, #state{settings = Settings} = State) ->
    {reply, ok, State#state{settings = Settings#{grace := Grace}}};
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Request, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({'EXIT', Slots, Reason}, #state{settings = #{slots := Slots}} = State) ->
    {stop, {slots, Reason}, State};
handle_info({'EXIT', Context, Reason}, State) ->
    case [Index || {Index, #worker{context = Its}} <- workers(State), Its =:= Context] of
        [Index] -> replace(Index, Reason, fun() -> start_worker(Index, {ok, State}) end, State);
        [] -> {noreply, State}
    end;
handle_info({Serving, Result}, State) when is_reference(Serving) ->
    case [{Index, Context} || {Index, #worker{context = Context, serving = Its}} <- workers(State),
                              Its =:= Serving] of
        [{Index, Context}] ->
            replace(Index, Result, fun() -> serve_again(Index, Context, State) end, State);
        [] ->
            {noreply, State}
    end;
handle_info(<<"sweep">>, #state{settings = Settings} = State) ->
    ok = sweep(Settings),
    {noreply, State};
handle_info(_Stray, State) ->
    {noreply, State}.

workers(#state{workers = Workers}) ->
    maps:to_list(Workers).

%% A context that is about to end is replaced when it has.
serve_again(Index, Context, State) ->
    case serve(Index, Context, State) of
        {ok, _} = Served -> Served;
        {error, {context_died, _}} -> {ok, State}
    end.

replace(Index, Reason, Start, #state{settings = #{app := App}, replaced = Before} = State) ->
    logger:warning("penstock: thread ~b of ~ts ended and is replaced: ~p", [Index, App, Reason]),
    Now = erlang:monotonic_time(millisecond),
    Lately = [Now | [Moment || Moment <- Before, Moment > Now - ?REPLACED_WITHIN_MS]],
    case length(Lately) =< ?MAX_REPLACED andalso Start() of
        false -> {stop, {threads_keep_ending, Reason}, State};
        {ok, Next} -> {noreply, Next#state{replaced = Lately}};
        {error, Failure} -> {stop, Failure, State}
    end.

-spec terminate(term(), #state{}) -> ok.
terminate(Reason, #state{settings = #{grace := Grace}} = State)
  when Reason =:= normal; Reason =:= shutdown ->
    finish(Grace, State);
terminate(_Reason, State) ->
    finish(0, State).

finish(Grace, #state{settings = Settings} = State) ->
    #{stopping := Stopping, collecting := Collecting, running := Running,
      requests := Requests, slots := Slots} = Settings,
    Deadline = erlang:monotonic_time(millisecond) + Grace,
    ok = atomics:put(Stopping, 1, 1),  % S2
    %% From the one into the other, not back; so in this order none is missed.
    Early = [Pid || {Pid} <- ets:tab2list(Collecting)],
    Late = [Pid || {Pid, _} <- ets:tab2list(Running)],
    requests([{Pid, erlang:monitor(process, Pid)} || Pid <- lists:usort(Early ++ Late)], Deadline),
    _ = persistent_term:erase({?MODULE, self()}),
    ok = stop_processes([Slots]),
    ok = py_channel:close(Requests),
    %% What applications do after their response's last byte is waited for, too.
    threads([{Serving, Context} || {_, #worker{context = Context, serving = Serving}}
                                       <- workers(State)], Deadline),
    stop_processes([Context || {_, #worker{context = Context}} <- workers(State)]),
    %% What is left is not answered by the application any more, but by those who wait for it.
    Abandoned = [{Pid, erlang:monitor(process, Pid), Response}
                 || {Pid, Response} <- ets:tab2list(Running)],
    [ok = py_channel:close(Response) || {_, _, Response} <- Abandoned],
    requests(Abandoned, erlang:monotonic_time(millisecond) + ?ANSWER_MS).

%% Waits for requests to finish.
requests([], _Deadline) ->
    ok;
requests(Left, Deadline) ->
    receive
        {finished, Pid} -> requests(lists:keydelete(Pid, 1, Left), Deadline);
        {'DOWN', Monitor, process, _, _} -> requests(lists:keydelete(Monitor, 2, Left), Deadline)
    after max(0, Deadline - erlang:monotonic_time(millisecond)) ->
        ok
    end.

%% Waits for threads to have served, some of which may have done so already.
threads([], _Deadline) ->
    ok;
threads(Left, Deadline) ->
    receive
        {Serving, _Result} when is_reference(Serving) ->
            threads(lists:keydelete(Serving, 1, Left), Deadline);
        {'EXIT', Context, _Reason} ->
            threads(lists:keydelete(Context, 2, Left), Deadline)
    after max(0, Deadline - erlang:monotonic_time(millisecond)) ->
        ok
    end.

%% All at once: each may have to give up on code that does not end.
stop_processes(Processes) ->
    Monitors = [erlang:monitor(process, Process) || Process <- Processes],
    [exit(Process, shutdown) || Process <- Processes],
    [receive {'DOWN', Monitor, process, _, _} -> ok end || Monitor <- Monitors],
    ok.
