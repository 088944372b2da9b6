%% SPDX-License-Identifier: Apache-2.0
%% @private
%% Gives each Python thread that calls Erlang a process of its own, see {@link py_caller}.
-module(py_callback_server).
-behaviour(gen_server).

-export([start_link/0, init/1, handle_call/3, handle_cast/2, handle_info/2]).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec init([]) -> {ok, no_state}.
init([]) ->
    process_flag(trap_exit, true),
    {ok, no_state}.

-spec handle_call(term(), gen_server:from(), no_state) -> {reply, {error, unknown}, no_state}.
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State}.

-spec handle_cast(term(), no_state) -> {noreply, no_state}.
handle_cast(_Request, State) ->
    {noreply, State}.

%% It keeps no reference to the inbox for longer than the process of the thread does: when that and
%% its handlers are gone, whoever waits in Python learns that nobody can answer. Handlers that stay
%% have nobody then who tells how they end, until the thread has another process.
-spec handle_info(term(), no_state) -> {noreply, no_state, hibernate} | {noreply, no_state}.
handle_info({penstock_open, Inbox}, State) ->
    Caller = py_caller:start_link(Inbox),
    _ = erlang:monitor(process, Caller, [{tag, {caller, Inbox}}]),
    {noreply, State, hibernate};
handle_info({{caller, Inbox}, _Monitor, process, Caller, Reason}, State) ->
    Reason =:= normal orelse py_caller:is_down(Inbox, Caller, Reason),
    {noreply, State, hibernate};
handle_info(_Stray, State) ->
    {noreply, State}.
