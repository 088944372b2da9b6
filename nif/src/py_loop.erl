%% SPDX-License-Identifier: Apache-2.0
%% @private
%% The event loops that the application runs, and tasks in them: what is behind `py_event_loop',
%% `py_event_loop_pool' and `py:async_call'.
%%
%% A loop is a context whose thread runs an asyncio loop (erlang.tasks.serve in Python). Tasks go
%% into the context's queue, as other requests do, and answers come straight from the thread; the
%% process here only stands for the loop's life. When it dies its context does, what runs there is
%% answered with `{error, {context_died, Reason}}', and the supervisor starts another one.
-module(py_loop).
-behaviour(gen_server).

-export([start_link/1, create_table/0, configure/3, pool_size/0, finish/0, reference/1, all/0]).
-export([run/5, create_task/6, spawn_task/5, await/2, eval/4, exec/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export_type([key/0, opts/0]).

%% The loop of `py_event_loop', that of `py:async_call', or one of the pool.
-type key() :: default | async | pos_integer().
%% `timeout': ms, default 5000. `kwargs': keyword arguments, keys are atoms or binaries.
-type opts() :: #{timeout => timeout(), kwargs => map()}.

%% `serving': of the answer to the request that runs the loop.
-record(state, {key :: key(), context :: pid(), native :: py_nif:context(),
                serving :: reference(), is_finished = false :: boolean()}).

%% {Key, Native, Context}
-define(TABLE, py_loops).
-define(SETTINGS, {penstock, event_loop_pool}).
-define(RUN_TIMEOUT_MS, 5000).
%% For a loop to end cleanly before the application stops.
-define(PATIENCE_MS, 500).

%% Tasks

%% @doc Starts a task and waits for its result. After the timeout it is cancelled, and no late
%% result comes.
-spec run(key(), py:name(), py:name(), [term()], opts()) -> py:result().
run(Key, Module, Function, Args, Opts) when is_list(Args), is_map(Opts) ->
    Kwargs = maps:get(kwargs, Opts, #{}),
    Timeout = maps:get(timeout, Opts, ?RUN_TIMEOUT_MS),
    is_map(Kwargs) andalso is_timeout(Timeout)
        andalso map_size(maps:without([timeout, kwargs], Opts)) =:= 0
        orelse error(badarg, [Module, Function, Args, Opts]),
    request(Key, call, {name(Module), name(Function), Args, Kwargs}, Timeout);
run(_Key, Module, Function, Args, Opts) ->
    error(badarg, [Module, Function, Args, Opts]).

%% @doc Starts a task. Its result comes as `{async_result, Ref, Result}', whatever happens.
-spec create_task(key(), task | thread, py:name(), py:name(), [term()], map()) -> reference().
create_task(Key, Kind, Module, Function, Args, Kwargs) when is_list(Args), is_map(Kwargs) ->
    Ref = make_ref(),
    case submit(Key, Kind, {name(Module), name(Function), Args, Kwargs}, Ref) of
        ok -> Ref;
        {error, _} = Error ->
            self() ! {async_result, Ref, Error},
            Ref
    end;
create_task(_Key, _Kind, Module, Function, Args, Kwargs) ->
    error(badarg, [Module, Function, Args, Kwargs]).

%% @doc Starts a task whose result is dropped.
-spec spawn_task(key(), py:name(), py:name(), [term()], map()) -> ok.
spawn_task(Key, Module, Function, Args, Kwargs) when is_list(Args), is_map(Kwargs) ->
    _ = submit(Key, spawn, {name(Module), name(Function), Args, Kwargs}, make_ref()),
    ok;
spawn_task(_Key, Module, Function, Args, Kwargs) ->
    error(badarg, [Module, Function, Args, Kwargs]).

%% @doc The result of a task that the calling process has created.
-spec await(reference(), timeout()) -> py:result().
await(Ref, Timeout) when is_reference(Ref) ->
    is_timeout(Timeout) orelse error(badarg, [Ref, Timeout]),
    receive
        {async_result, Ref, Result} -> Result
    after 0 ->
        Spin = py_spin:mine(),
        look(Ref, Timeout, Spin, py_spin:start(Spin))
    end;
await(Ref, Timeout) ->
    error(badarg, [Ref, Timeout]).

look(Ref, Timeout, Spin, none) ->
    ok = py_spin:keep(py_spin:miss(Spin)),
    receive
        {async_result, Ref, Result} -> Result
    after Timeout ->
        {error, timeout}
    end;
look(Ref, Timeout, Spin, Looks) ->
    receive
        {async_result, Ref, Result} ->
            ok = py_spin:keep(py_spin:hit(Spin)),
            Result
    after 0 ->
        erlang:yield(),
        look(Ref, Timeout, Spin, py_spin:goes_on(Looks))
    end.

%% @doc The value of an expression in the calling process's namespace of a loop; what can be awaited
%% is.
-spec eval(key() | py_nif:context(), py:code(), map(), timeout()) -> py:result().
eval(Loop, Code, Locals, Timeout) when is_map(Locals) ->
    request(Loop, eval, {text(Code), Locals}, Timeout);
eval(_Loop, Code, Locals, _Timeout) ->
    error(badarg, [Code, Locals]).

%% @doc Runs statements there.
-spec exec(key() | py_nif:context(), py:code(), timeout()) -> ok | py:error().
exec(Loop, Code, Timeout) ->
    request(Loop, exec, {text(Code)}, Timeout).

submit(Key, Kind, Arguments, Ref) ->
    try ets:lookup_element(?TABLE, Key, 2) of
        Native -> named(call, py_nif:context_submit(Native, Kind, Arguments, Ref, py_caller:path()))
    catch
        error:badarg -> not_there()
    end.

request(Loop, Operation, Arguments, Timeout) ->
    case rows(Loop) of
        [{_, _, Context}] ->
            named(Operation, py_context:request(Context, Operation, Arguments, Timeout));
        [] when is_reference(Loop) -> {error, {context_died, noproc}};
        [] -> not_there()
    end.

%% Dead, and its successor is not there yet, or never started.
not_there() ->
    case whereis(py_loop_sup) of
        undefined -> {error, not_started};
        _ -> {error, {context_died, noproc}}
    end.

named(Operation, {error, {unsupported, Type, [Position | Path]}}) ->
    {error, {unsupported, Type, [py:part(Operation, Position) | Path]}};
named(_Operation, Result) ->
    Result.

%% An atom stays one: Python keeps what their names are.
name(Name) when is_atom(Name); is_binary(Name) -> Name;
name(Name) -> text(Name).

text(Text) ->
    case unicode:characters_to_binary(Text) of
        Binary when is_binary(Binary) -> Binary;
        _ -> error(badarg)
    end.

is_timeout(infinity) -> true;
is_timeout(Timeout) -> is_integer(Timeout) andalso Timeout >= 0 andalso Timeout =< 16#FFFFFFFF.

%% The table

%% @doc The calling process owns the table.
-spec create_table() -> ok.
create_table() ->
    ?TABLE = ets:new(?TABLE, [named_table, public, {read_concurrency, true}]),
    ok.

%% @doc How many loops the pool has, their mode, and that of `py_event_loop''s.
-spec configure(pos_integer(), py_context:mode(), py_context:mode()) -> ok.
configure(PoolSize, PoolMode, Mode) when is_integer(PoolSize), PoolSize > 0 ->
    persistent_term:put(?SETTINGS, {PoolSize, PoolMode, Mode}).

%% @doc How many loops the pool has, running or being restarted, and of which mode.
-spec pool_size() -> {non_neg_integer(), py_context:mode()}.
pool_size() ->
    {Size, PoolMode, _} = persistent_term:get(?SETTINGS, {0, worker, worker}),
    {Size, PoolMode}.

%% @doc What stands for a loop until it dies.
-spec reference(key()) -> {ok, py_nif:context()} | {error, not_available}.
reference(Key) ->
    case rows(Key) of
        [{_, Native, _}] -> {ok, Native};
        [] -> {error, not_available}
    end.

%% @doc The contexts of all loops that run.
-spec all() -> [{pid(), key()}].
all() ->
    case ets:whereis(?TABLE) of
        undefined -> [];
        Table -> ets:select(Table, [{{'$1', '_', '$2'}, [], [{{'$2', '$1'}}]}])
    end.

rows(Native) when is_reference(Native) ->
    case ets:whereis(?TABLE) of
        undefined -> [];
        Table -> ets:match_object(Table, {'_', Native, '_'})
    end;
rows(Key) ->
    try ets:lookup(?TABLE, Key)
    catch error:badarg -> []  % The application does not run.
    end.

%% The process

%% @doc Lets all loops end before the application stops: they do so at once, and cleanly. One with
%% tasks that do not end is left to be interrupted.
-spec finish() -> ok.
finish() ->
    Loops = [Pid || {_, Pid, _, [?MODULE]} <- children()],
    Requests = [gen_server:send_request(Pid, finish) || Pid <- Loops, is_pid(Pid)],
    lists:foreach(fun(Request) -> gen_server:wait_response(Request, 2 * ?PATIENCE_MS) end,
                  Requests).

children() ->
    try supervisor:which_children(py_loop_sup)
    catch exit:_ -> []
    end.

-spec start_link(key()) -> gen_server:start_ret().
start_link(default) -> gen_server:start_link({local, py_event_loop}, ?MODULE, default, []);
start_link(async) -> gen_server:start_link({local, py_async}, ?MODULE, async, []);
start_link(Number) -> gen_server:start_link(?MODULE, Number, []).

-spec init(key()) -> {ok, #state{}} | {stop, term()}.
init(Key) ->
    process_flag(trap_exit, true),
    case py_context:start_link({self(), 1}, mode(Key)) of
        {ok, Context} -> serve(Key, Context);
        {error, Reason} -> {stop, Reason}
    end.

mode(Key) when is_integer(Key) -> element(2, pool_size());
mode(default) -> element(3, persistent_term:get(?SETTINGS));
mode(async) -> worker.  % It shares modules with the contexts of the VM.

serve(Key, Context) ->
    Serving = make_ref(),
    Arguments = {<<"erlang.tasks">>, <<"serve">>, [], #{}},
    case py_context:submit(Context, call, Arguments, Serving) of
        ok ->
            {ok, Native} = py_context:lookup(Context),
            true = ets:insert(?TABLE, {Key, Native, Context}),
            {ok, #state{key = Key, context = Context, native = Native, serving = Serving}};
        {error, Reason} ->
            {stop, Reason}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, ok | {error, unknown}, #state{}}.
handle_call(finish, _From, #state{native = Native, serving = Serving} = State) ->
    ok = py_nif:context_finish(Native),
    receive
        {Serving, _Result} -> ok
    after ?PATIENCE_MS -> ok
    end,
    {reply, ok, State#state{is_finished = true}};
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Request, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info(_Message, #state{is_finished = true} = State) ->
    {noreply, State};
handle_info({Serving, Result}, #state{serving = Serving} = State) ->
    {stop, {loop_ended, Result}, State};
handle_info({'EXIT', Context, Reason}, #state{context = Context} = State) ->
    {stop, Reason, State};
handle_info(_Stray, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{key = Key, context = Context, native = Native}) ->
    true = ets:delete_object(?TABLE, {Key, Native, Context}),
    try py_context:stop(Context)
    catch exit:_ -> ok  % It has just died.
    end.
