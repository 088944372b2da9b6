%% SPDX-License-Identifier: Apache-2.0
%% @private
%% Sends what Python sends to processes of other nodes: the native interface reaches local processes
%% only, and a send to another node may have to connect first.
-module(py_forwarder).
-behaviour(gen_server).

-export([start_link/0, init/1, handle_call/3, handle_cast/2, handle_info/2]).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec init([]) -> {ok, no_state}.
init([]) ->
    {ok, no_state}.

-spec handle_call(term(), gen_server:from(), no_state) -> {reply, {error, unknown}, no_state}.
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State}.

-spec handle_cast(term(), no_state) -> {noreply, no_state}.
handle_cast(_Request, State) ->
    {noreply, State}.

-spec handle_info(term(), no_state) -> {noreply, no_state}.
handle_info({penstock_forward, Pid, Term}, State) ->
    _ = Pid ! Term,
    {noreply, State};
handle_info(_Stray, State) ->
    {noreply, State}.
