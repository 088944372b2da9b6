%% SPDX-License-Identifier: Apache-2.0
%% @private
%% The default pool of contexts: `num_contexts' of them, one for each online scheduler by default.
-module(py_context_sup).
-behaviour(supervisor).

-export([start_link/0, init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    case supervisor:start_link({local, ?MODULE}, ?MODULE, []) of
        {ok, Supervisor} -> {ok, Supervisor};
        {error, Reason} -> {error, Reason}
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Count = application:get_env(penstock, num_contexts, erlang:system_info(schedulers_online)),
    ok = py_context_router:set_count(Count),
    {ok, {#{strategy => one_for_one, intensity => 10, period => 10},
          [#{id => {py_context, Index},
             start => {py_context, start_link, [Index]}} || Index <- lists:seq(1, Count)]}}.
