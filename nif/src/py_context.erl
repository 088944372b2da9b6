%% SPDX-License-Identifier: Apache-2.0
%% @doc A Python context: a thread that runs requests one after the other, and the process that owns
%% it.
%%
%% Callers put their requests into the thread's queue themselves; the process is not in between. It
%% stands for the thread's life: who monitors it learns when the context is gone, and when it dies
%% the thread is stopped. A supervisor starts it again, with a new thread and empty namespaces.
-module(py_context).
-behaviour(gen_server).

-export([new/0, new/1, start_link/2, stop/1, mode/1, os_pid/1]).
-export([call/4, call/5, eval/2, eval/3, exec/2]).
-export([request/4, submit/4, interrupt/1]).
-export([start_link/1, create_table/0, lookup/1, remote/1, at/1, all/0, restarts/1, forget/2,
         announce_stop/0, stop_all/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export_type([result/0, place/0, mode/0, kind/0, opts/0]).

-type result() :: ok | {ok, term()} | {error, term()}.
%% A place of the default pool, one of another process's own contexts, or none in particular.
-type place() :: pos_integer() | {pid(), pos_integer()} | reference().

%% `worker': a thread of the VM's one Python interpreter, all of which share its lock. `owngil': an
%% interpreter with a lock of its own, in Python 3.12 or newer. `process': another process of the
%% operating system, which may crash alone.
-type mode() :: worker | owngil | process.
%% `mode': default worker. The others with `process' only: `python': the interpreter, of the same
%% version as the VM's; `env': what differs from the VM's environment; `cwd': a directory;
%% `memory_limit': bytes; `restart': whether another process takes the place of one that ended;
%% `on_timeout': what becomes of it when a call takes too long.
-type opts() :: #{mode => mode(), python => file:filename(), cwd => file:filename(),
                  env => [{string(), string()}], memory_limit => pos_integer(),
                  restart => permanent | temporary, on_timeout => interrupt | kill}.
%% How a context is started.
-type kind() :: mode() | {process, opts()}.
%% With more rows for the table.
-type started() :: {ok, py_nif:context(), [tuple()]} | {error, term()}.

%% `ended': of the message that the thread's end brings; `already' when it came.
%% `start': a function, as reports show a state, and an environment may hold secrets.
%% Of a process that is started again: `native' is none until then, `waiting' who wants to have the
%% next one, `ends' those that came soon after a start, `started' when the last one was.
-record(state, {index :: place(),
                start :: fun((reference()) -> started()),
                native :: py_nif:context() | none,
                ended :: reference() | already,
                waiting = [] :: [gen_server:from()],
                ends = 0 :: non_neg_integer(),
                started :: integer(),
                timer = none :: reference() | none}).

%% {pid(), Native | none}, {{index, I}, pid()}, {{mode, pid()}, Mode}, {{os_pid, pid()}, Number},
%% {{restarts, pid()}, Number}, {{kills, pid()}, true}, {stop_by, Milliseconds}
-define(TABLE, py_contexts).
%% How long a thread may take to end before it is left to itself.
-define(PATIENCE_MS, 2000).
%% How long a call may take before its caller watches the context.
-define(SOON_MS, 1).
%% How long a caller looks at a time for the answer of another process.
-define(TURN_NS, 10000).

%% @doc Starts a context that belongs to no pool.
-spec new() -> {ok, pid()} | {error, term()}.
new() ->
    new(#{}).

%% @doc Starts a context that belongs to no pool. It is not linked to the caller; it ends with
%% `stop/1', or with the application. Fails with `badarg' if the options are not known.
-spec new(opts()) -> {ok, pid()} | {error, {unsupported, binary()} | not_started | term()}.
new(Opts) when is_map(Opts) ->
    case kind(Opts) of
        {ok, Kind} -> py_context_sup:start_extra(Kind);
        error -> error(badarg, [Opts])
    end;
new(Opts) ->
    error(badarg, [Opts]).

%% @doc Starts a context that is linked to the caller: for a supervisor of one's own. `Place' is
%% how log messages call it; there is one of each.
-spec start_link(place(), kind()) -> gen_server:start_ret().
start_link(Place, Kind) ->
    is_kind(Kind) orelse error(badarg, [Place, Kind]),
    case gen_server:start_link(?MODULE, {Place, Kind}, []) of
        {error, {shutdown, Reason}} -> {error, Reason};
        Started -> Started
    end.

kind(#{mode := process} = Opts) ->
    Kind = {process, Opts},
    case is_kind(Kind) of
        true -> {ok, Kind};
        false -> error
    end;
kind(Opts) ->
    Mode = maps:get(mode, Opts, worker),
    case map_size(maps:remove(mode, Opts)) =:= 0 andalso is_kind(Mode) of
        true -> {ok, Mode};
        false -> error
    end.

is_kind({process, Opts}) when is_map(Opts) ->
    py_worker:is_valid(Opts);
is_kind(Mode) ->
    lists:member(Mode, [worker, owngil, process]).

%% @doc Ends a context: what runs is interrupted, what is queued is answered with
%% `{error, {context_died, Reason}}'. One of the default pool is started again.
-spec stop(pid()) -> ok.
stop(Context) when is_pid(Context) ->
    try
        gen_server:stop(Context)
    catch
        exit:noproc -> ok;
        exit:{noproc, _} -> ok;
        exit:{_EndedMeanwhile, {sys, terminate, _}} -> ok
    end.

%% @doc The mode of a context.
-spec mode(pid()) -> {ok, mode()} | error.
mode(Context) ->
    case rows({mode, Context}) of
        [{_, Mode}] -> {ok, Mode};
        [] -> error
    end.

%% @doc The process of the operating system that a context with the mode `process' runs in.
-spec os_pid(pid()) -> {ok, pos_integer()} | error.
os_pid(Context) ->
    case rows({os_pid, Context}) of
        [{_, Number}] -> {ok, Number};
        [] -> error
    end.

%% @doc See {@link py:call/4}.
-spec call(pid(), py:name(), py:name(), [term()]) -> py:result().
call(Context, Module, Function, Args) when is_pid(Context) ->
    py:call(Context, Module, Function, Args).

%% @doc See {@link py:call/5}.
-spec call(pid(), py:name(), py:name(), [term()], py:options()) -> py:result().
call(Context, Module, Function, Args, Options) ->
    py:call(Context, Module, Function, Args, Options).

%% @doc See {@link py:eval/2}.
-spec eval(pid(), py:code()) -> py:result().
eval(Context, Code) when is_pid(Context) ->
    py:eval(Context, Code).

%% @doc See {@link py:eval/3}.
-spec eval(pid(), py:code(), map()) -> py:result().
eval(Context, Code, Locals) ->
    py:eval(Context, Code, Locals).

%% @doc See {@link py:exec/2}.
-spec exec(pid(), py:code()) -> ok | py:error().
exec(Context, Code) ->
    py:exec(Context, Code).

%% @doc Runs a request and waits for its answer, in the queue or running, at most `Timeout' ms. What
%% is still queued then is never run, what runs is interrupted, and no late answer comes.
-spec request(pid(), py_nif:operation(), tuple(), timeout()) -> result().
request(Context, Operation, Arguments, Timeout) ->
    case lookup(Context) of
        {ok, none} ->
            request_later(Context, none, Operation, Arguments, Timeout);
        {ok, Native} ->
            Ref = make_ref(),
            case submit_to(Native, Operation, Arguments, Ref) of
                {ok, Call} ->
                    await(Context, Native, Call, Ref, Timeout);
                {remote, Call} ->
                    await_remote(Context, Native, Call, Ref, Timeout);
                {error, {context_died, stopped}} = Error ->
                    case has({restarts, Context}) of
                        true -> request_later(Context, Native, Operation, Arguments, Timeout);
                        false -> Error
                    end;
                {error, _} = Error ->
                    Error
            end;
        error ->
            {error, {context_died, noproc}}
    end.

%% Once another process has taken the place of the one that ended.
request_later(Context, Ended, Operation, Arguments, Timeout) ->
    Deadline = py_wait:deadline(Timeout, [Context, Operation, Arguments, Timeout]),
    try gen_server:call(Context, {successor_of, Ended}, Timeout) of
        ok -> request(Context, Operation, Arguments, py_wait:remaining(Deadline))
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:{Reason, _} -> {error, {context_died, Reason}}
    end.

%% @doc Queues a request whose answer comes as `{Ref, result()}'. None comes if the context dies
%% first and the caller does not see it otherwise: link or monitor it.
-spec submit(pid(), call | eval | exec, tuple(), reference()) -> ok | {error, term()}.
submit(Context, Operation, Arguments, Ref) ->
    case lookup(Context) of
        {ok, none} ->
            {error, {context_died, stopped}};
        {ok, Native} ->
            case submit_to(Native, Operation, Arguments, Ref) of
                {error, _} = Error -> Error;
                {_OkOrRemote, _Call} -> ok
            end;
        error ->
            {error, {context_died, noproc}}
    end.

%% @doc Raises `KeyboardInterrupt' in what the context runs now. Does not wait for it to end.
-spec interrupt(pid()) -> ok | {error, {context_died, noproc}}.
interrupt(Context) ->
    case lookup(Context) of
        {ok, none} -> ok;  % Nothing runs.
        {ok, Native} -> py_nif:context_interrupt(Native);
        error -> {error, {context_died, noproc}}
    end.

submit_to(Native, Operation, Arguments, Ref) ->
    py_nif:context_submit(Native, Operation, Arguments, Ref, py_caller:path()).

await(Context, Native, Call, Ref, Timeout) ->
    Spin = py_spin:mine(),
    look(Context, Native, Call, Ref, Timeout, Spin, py_spin:start(Spin)).

look(Context, Native, Call, Ref, Timeout, Spin, none) ->
    ok = py_spin:keep(py_spin:miss(Spin)),
    await_soon(Context, Native, Call, Ref, Timeout);
look(Context, Native, Call, Ref, Timeout, Spin, Looks) ->
    receive
        {Ref, Result} ->
            ok = py_spin:keep(py_spin:hit(Spin)),
            Result
    after 0 ->
        erlang:yield(),
        look(Context, Native, Call, Ref, Timeout, Spin, py_spin:goes_on(Looks))
    end.

%% What runs in another process answers through memory where its caller can look itself: in short
%% turns, which keep a scheduler busy, and between which others have theirs.
await_remote(Context, Native, Call, Ref, Timeout) ->
    Spin = py_spin:mine(),
    look_out(Context, Native, Call, Ref, Timeout, Spin, Spin).

look_out(Context, Native, Call, Ref, Timeout, Spin, Left) ->
    case py_nif:call_look_out(Call, max(0, min(Left, ?TURN_NS))) of
        empty when Left =< ?TURN_NS ->
            ok = py_spin:keep(py_spin:miss(Spin)),
            await_soon(Context, Native, Call, Ref, Timeout);
        empty ->
            look_on(Context, Native, Call, Ref, Timeout, Spin, Left - ?TURN_NS);
        others ->
            %% Who delivers what comes for others is of use, however long its own call takes.
            look_on(Context, Native, Call, Ref, Timeout, Spin, Left);
        Result ->
            ok = py_spin:keep(py_spin:hit(Spin)),
            Result
    end.

look_on(Context, Native, Call, Ref, Timeout, Spin, Left) ->
    receive
        {Ref, Result} -> Result
    after 0 ->
        erlang:yield(),
        look_out(Context, Native, Call, Ref, Timeout, Spin, Left)
    end.

%% Short calls do without a monitor: it would wake the context's process twice for each.
await_soon(Context, Native, Call, Ref, Timeout) ->
    Soon = min(?SOON_MS, Timeout),
    receive
        {Ref, Result} -> Result
    after Soon ->
        Left = case Timeout of
            infinity -> infinity;
            _ -> Timeout - Soon
        end,
        await_monitored(Context, Native, Call, Ref, Left)
    end.

await_monitored(Context, Native, Call, Ref, Timeout) ->
    Monitor = erlang:monitor(process, Context),
    receive
        {Ref, Result} ->
            erlang:demonitor(Monitor, [flush]),
            Result;
        {'DOWN', Monitor, process, _Context, Reason} ->
            give_up(Call, Ref, {error, {context_died, Reason}})
    after Timeout ->
        Result = give_up(Call, Ref, {error, timeout}),
        ok = case Result =:= {error, timeout} andalso has({kills, Context}) of
            true -> py_nif:context_kill(Native);
            false -> py_nif:context_interrupt(Native, Call)
        end,
        erlang:demonitor(Monitor, [flush]),
        Result
    end.

%% An answer that was on its way already counts; otherwise none will ever come.
give_up(Call, Ref, Otherwise) ->
    case py_nif:call_cancel(Call) of
        cancelled -> Otherwise;
        answered -> receive {Ref, Result} -> Result end
    end.

%% The table

%% @private The calling process owns the table.
-spec create_table() -> ok.
create_table() ->
    ?TABLE = ets:new(?TABLE, [named_table, public, {read_concurrency, true}]),
    ok.

%% @private None: there was one, and there will be another one.
-spec lookup(pid()) -> {ok, py_nif:context() | none} | error.
lookup(Context) ->
    case rows(Context) of
        [{_, Native}] -> {ok, Native};
        [] -> error
    end.

%% @private Likewise, if it runs in another process.
-spec remote(pid()) -> {ok, py_nif:context()} | error.
remote(Context) ->
    case rows({os_pid, Context}) of
        [_] -> lookup(Context);
        [] -> error
    end.

%% @doc The context at a place, which stays when its supervisor starts another one there.
-spec at(place()) -> {ok, pid()} | error.
at(Index) ->
    case rows({index, Index}) of
        [{_, Context}] -> {ok, Context};
        [] -> error
    end.

%% @private All that there are, by their places.
-spec all() -> [{place(), pid()}].
all() ->
    case ets:whereis(?TABLE) of
        undefined -> [];
        Table -> ets:select(Table, [{{{index, '$1'}, '$2'}, [], [{{'$1', '$2'}}]}])
    end.

%% @private How often another process took the place of one that ended. `error': none ever does.
-spec restarts(pid()) -> {ok, non_neg_integer()} | error.
restarts(Context) ->
    case rows({restarts, Context}) of
        [{_, Number}] -> {ok, Number};
        [] -> error
    end.

%% @private From here on a thread that ends is what is wanted.
-spec announce_stop() -> ok.
announce_stop() ->
    true = ets:insert(?TABLE, {stop_by, now_ms() + ?PATIENCE_MS}),
    ok.

%% @private Asks all threads to end, and gives them until a common moment.
-spec stop_all() -> ok.
stop_all() ->
    ok = announce_stop(),
    lists:foreach(fun py_nif:context_stop/1,
                  ets:select(?TABLE, [{{'$1', '$2'}, [{is_pid, '$1'}, {is_reference, '$2'}],
                                 ['$2']}])).

has(Key) ->
    rows(Key) =/= [].

%% None when the application does not run.
rows(Key) ->
    case ets:whereis(?TABLE) of
        undefined -> [];
        Table -> ets:lookup(Table, Key)
    end.

%% The process

%% @private
-spec start_link(place()) -> gen_server:start_ret().
start_link(Index) ->
    start_link(Index, worker).

%% @private
-spec init({place(), kind()}) -> {ok, #state{}} | {stop, term()}.
init({Index, process}) ->
    init({Index, {process, #{}}});
init({Index, Kind}) ->
    process_flag(trap_exit, true),
    case at(Index) of
        {ok, Other} ->
            case is_process_alive(Other) of
                true -> {stop, {shutdown, {already_started, Other}}};
                false -> start_thread(Index, Kind)
            end;
        error ->
            start_thread(Index, Kind)
    end.

start_thread(Index, Kind) ->
    Ended = make_ref(),
    Start = fun(Ref) -> native(Kind, Ref) end,
    case Start(Ended) of
        {ok, Native, More} ->
            forget(Index),
            ok = py_context_janitor:watch(Index),
            true = ets:insert(?TABLE, [{self(), Native}, {{index, Index}, self()}
                                       | about(Kind) ++ More]),
            {ok, #state{index = Index, start = Start, native = Native, ended = Ended,
                        started = now_ms()}};
        {error, Reason} ->
            {stop, {shutdown, Reason}}  % Not a crash.
    end.

about({process, Opts}) ->
    [{{mode, self()}, process}]
        ++ [{{restarts, self()}, 0} || py_worker:restarts(Opts)]
        ++ [{{kills, self()}, true} || py_worker:kills(Opts)];
about(Mode) ->
    [{{mode, self()}, Mode}].

native({process, Opts}, Ended) ->
    case py_worker:start(Opts, Ended) of
        {ok, Native, OsPid} -> {ok, Native, [{{os_pid, self()}, OsPid}]};
        {error, _} = Error -> Error
    end;
native(Mode, Ended) ->
    case py_nif:context_new(Ended, Mode) of
        {ok, Native} -> {ok, Native, []};
        {error, _} = Error -> Error
    end.

%% @private
-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, ok | {error, unknown}, #state{}} | {noreply, #state{}}.
handle_call({successor_of, Ended}, From, #state{native = Native} = State)
  when Native =:= none; Native =:= Ended ->
    {noreply, State#state{waiting = [From | State#state.waiting]}};
handle_call({successor_of, _Ended}, _From, State) ->
    {reply, ok, State};
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State}.

%% @private
-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Request, State) ->
    {noreply, State}.

%% @private
-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({penstock_stopped, Ended}, #state{ended = Ended} = State) ->
    case rows(stop_by) of
        [] -> {stop, thread_ended, State#state{ended = already}};
        [_] -> {noreply, State#state{ended = already}}  % The supervisor is about to stop us.
    end;
handle_info({penstock_stopped, Ended, Reason}, #state{ended = Ended} = State) ->
    case {rows(stop_by), has({restarts, self()})} of
        {[], true} -> {noreply, pause(State, Reason, now_ms() - State#state.started)};
        {[], false} -> {stop, Reason, State#state{ended = already}};
        {[_], _} -> {noreply, State#state{ended = already}}
    end;
handle_info({timeout, Timer, start_again}, #state{timer = Timer} = State) ->
    case rows(stop_by) of
        [] -> {noreply, start_again(State#state{timer = none})};
        [_] -> {noreply, State}
    end;
handle_info(_Stray, State) ->
    {noreply, State}.

%% Whoever asks from now on waits.
pause(#state{index = Index} = State, Reason, Lived) ->
    {Pause, Ends} = py_worker:pause(State#state.ends, Lived),
    true = ets:insert(?TABLE, {self(), none}),
    true = ets:delete(?TABLE, {os_pid, self()}),
    logger:warning("penstock: the process of context ~p is started again in ~b ms: ~0tp",
                   [Index, Pause, Reason]),
    Timer = erlang:start_timer(Pause, self(), start_again),
    State#state{native = none, ended = already, ends = Ends, timer = Timer}.

start_again(#state{start = Start, waiting = Waiting} = State) ->
    Ended = make_ref(),
    case Start(Ended) of
        {ok, Native, More} ->
            true = ets:insert(?TABLE, [{self(), Native} | More]),
            _ = ets:update_counter(?TABLE, {restarts, self()}, 1),
            lists:foreach(fun(From) -> gen_server:reply(From, ok) end, lists:reverse(Waiting)),
            State#state{native = Native, ended = Ended, waiting = [], started = now_ms()};
        {error, Reason} ->
            pause(State, Reason, 0)
    end.

%% @private
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{index = Index, native = Native, ended = Ended}) ->
    forget(Index),
    Native =:= none orelse py_nif:context_stop(Native),
    Ended =:= already orelse wait_for_end(Index, Ended),
    ok.

wait_for_end(Index, Ended) ->
    receive
        {penstock_stopped, Ended} -> ok;
        {penstock_stopped, Ended, _Reason} -> ok
    after patience() ->
        logger:warning("penstock: context ~p runs code that cannot be interrupted; "
                       "its thread is left to itself", [Index])
    end.

%% Also the rows of a predecessor that was killed.
forget(Index) ->
    case at(Index) of
        {ok, Context} -> forget(Index, Context);
        error -> ok
    end.

%% @private What the table says about a context that has ended.
-spec forget(place(), pid()) -> ok.
forget(Index, Context) ->
    _ = [true = ets:delete(?TABLE, {What, Context}) || What <- [mode, os_pid, restarts, kills]],
    true = ets:delete(?TABLE, Context),
    true = ets:delete_object(?TABLE, {{index, Index}, Context}),
    ok.

patience() ->
    case rows(stop_by) of
        [{_, Moment}] -> max(0, Moment - now_ms());
        [] -> ?PATIENCE_MS
    end.

now_ms() ->
    erlang:monotonic_time(millisecond).
