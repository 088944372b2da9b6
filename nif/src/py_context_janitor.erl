%% SPDX-License-Identifier: Apache-2.0
%% @private
%% Forgets contexts that were killed. One of the pool is forgotten by its successor; one that a
%% program started has none, and what the table says about it keeps its native half.
-module(py_context_janitor).
-behaviour(gen_server).

-export([start_link/0, watch/1, init/1, handle_call/3, handle_cast/2, handle_info/2]).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Forgets the calling context when it dies without having done so itself.
-spec watch(py_context:place()) -> ok.
watch(Place) ->
    gen_server:cast(?MODULE, {watch, self(), Place}).

-spec init([]) -> {ok, no_state}.
init([]) ->
    {ok, no_state}.

-spec handle_call(term(), gen_server:from(), no_state) -> {reply, {error, unknown}, no_state}.
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State}.

-spec handle_cast(term(), no_state) -> {noreply, no_state}.
handle_cast({watch, Context, Place}, State) ->
    _ = erlang:monitor(process, Context, [{tag, {ended, Place}}]),
    {noreply, State};
handle_cast(_Stray, State) ->
    {noreply, State}.

-spec handle_info(term(), no_state) -> {noreply, no_state}.
handle_info({{ended, Place}, _Monitor, process, Context, _Reason}, State) ->
    ok = py_context:forget(Place, Context),
    {noreply, State};
handle_info(_Stray, State) ->
    {noreply, State}.
