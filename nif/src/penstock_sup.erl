%% SPDX-License-Identifier: Apache-2.0
%% @private
%% The root of the tree. It owns the tables, which therefore survive every process below it:
%%
%%   penstock_sup ─┬─ py_forwarder     sends to processes of other nodes for Python
%%                 ├─ py_output        takes what Python prints and logs
%%                 ├─ py_runtime       starts Python
%%                 ├─ py_context_janitor  forgets contexts that were killed
%%                 ├─ py_context_sup ── py_context, one for each Python thread
%%                 ├─ py_loop_sup ── py_loop, for each event loop, in a context of its own
%%                 └─ py_callback_server ── py_caller, for each Python thread that calls Erlang
%%
%% `rest_for_one': contexts need a runtime that has started, and Python a place for its output.
-module(penstock_sup).
-behaviour(supervisor).

-export([start_link/0, init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    case supervisor:start_link({local, ?MODULE}, ?MODULE, []) of
        {ok, Supervisor} -> {ok, Supervisor};
        {error, {already_started, _}} = Error -> Error;
        {error, Reason} ->
            %% It tells before it ends, and who starts another one at once would meet its tables.
            ok = await_end_of([py_callbacks, py_contexts, py_loops]),
            {error, Reason}
    end.

await_end_of(Tables) ->
    case lists:all(fun(Table) -> ets:whereis(Table) =:= undefined end, Tables) of
        true ->
            ok;
        false ->
            erlang:yield(),
            await_end_of(Tables)
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    ok = py_callback:create_table(),
    ok = py_context:create_table(),
    ok = py_loop:create_table(),
    {ok, {#{strategy => rest_for_one, intensity => 10, period => 10},
          [#{id => py_forwarder, start => {py_forwarder, start_link, []}},
           #{id => py_output, start => {py_output, start_link, []}},
           #{id => py_runtime, start => {py_runtime, start_link, []}},
           #{id => py_context_janitor, start => {py_context_janitor, start_link, []}},
           #{id => py_context_sup, start => {py_context_sup, start_link, []},
             type => supervisor},
           #{id => py_loop_sup, start => {py_loop_sup, start_link, []}, type => supervisor},
           #{id => py_callback_server, start => {py_callback_server, start_link, []}}]}}.
