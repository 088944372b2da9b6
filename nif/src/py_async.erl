%% SPDX-License-Identifier: Apache-2.0
%% @private
%% Runs what `py:async_call' asks for: a context of its own in which an asyncio loop starts a task
%% for each call. Calls go there through a channel; results come from Python straight to who asked.
-module(py_async).
-behaviour(gen_server).

-export([start_link/0, submit/5, finish/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(state, {context :: pid(), channel :: py_channel:channel(), loop :: pid()}).

%% Of the channel: what has not been taken up by the loop.
-define(MAX_QUEUED_BYTES, 67108864).
-define(PATIENCE_MS, 500).

%% @doc Has `Module.Function(*Args, **Kwargs)' run. `{async_result, Ref, Result}' comes to `Caller'.
-spec submit(pid(), binary(), binary(), [term()], map()) ->
    {ok, reference()} | {error, term()}.
submit(Caller, Module, Function, Args, Kwargs) ->
    case ets:whereis(?MODULE) =/= undefined andalso ets:lookup(?MODULE, channel) of
        [{channel, Channel}] ->
            Ref = make_ref(),
            Task = {Caller, Ref, Module, Function, Args, Kwargs},
            case py_channel:send(Channel, Task, infinity) of
                ok -> {ok, Ref};
                {error, {unsupported, Type, [Position | Path]}} ->
                    {error, {unsupported, Type, [part(Position) | Path]}};
                {error, _} = Error -> Error
            end;
        _NotRunning ->
            {error, not_started}
    end.

part(5) -> args;
part(6) -> kwargs.

%% @doc Lets the loop end before the application stops: idle, it does so at once, and cleanly. One
%% with tasks that do not end is left to be interrupted.
-spec finish() -> ok.
finish() ->
    try
        gen_server:call(?MODULE, finish)
    catch
        exit:_ -> ok
    end.

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec init([]) -> {ok, #state{}} | {stop, term()}.
init([]) ->
    process_flag(trap_exit, true),
    {ok, Channel} = py_channel:new(#{max_size => ?MAX_QUEUED_BYTES}),
    case py_context:start_link({self(), 1}) of
        {ok, Context} ->
            ?MODULE = ets:new(?MODULE, [named_table, {read_concurrency, true}]),
            true = ets:insert(?MODULE, {channel, Channel}),
            Loop = spawn_link(fun() ->
                case py:call(Context, 'erlang.tasks', serve, [Channel]) of
                    {ok, none} -> ok;
                    {error, Reason} -> exit({loop_ended, Reason})
                end
            end),
            {ok, #state{context = Context, channel = Channel, loop = Loop}};
        {error, Reason} ->
            {stop, Reason}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, ok | {error, unknown}, #state{}}.
handle_call(finish, _From, #state{channel = Channel, loop = Loop} = State) ->
    ok = py_channel:close(Channel),
    receive
        {'EXIT', Loop, _Reason} -> ok
    after ?PATIENCE_MS -> ok
    end,
    {reply, ok, State};
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Request, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({'EXIT', Pid, Reason}, #state{context = Context, loop = Loop} = State)
  when Pid =:= Context; Pid =:= Loop ->
    {stop, Reason, State};
handle_info(_Stray, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{context = Context, channel = Channel, loop = Loop}) ->
    unlink(Loop),
    exit(Loop, kill),
    ok = py_channel:close(Channel),
    _ = is_process_alive(Context) andalso py_context:stop(Context),
    ok.
