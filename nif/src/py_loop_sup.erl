%% SPDX-License-Identifier: Apache-2.0
%% @private
%% The event loops: that of `py:async_call', that of `py_event_loop', and the pool's. One that dies
%% is started again, and the others do not notice.
-module(py_loop_sup).
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
    Size = application:get_env(penstock, event_loop_pool_size, erlang:system_info(schedulers)),
    Mode = application:get_env(penstock, event_loop_mode, worker),
    PoolMode = case application:get_env(penstock, event_loop_pool_owngil, false) of
        true -> owngil;
        false -> Mode
    end,
    ok = py_loop:configure(Size, PoolMode, Mode),
    {ok, {#{strategy => one_for_one, intensity => 20, period => 10},
          [#{id => {py_loop, Key}, start => {py_loop, start_link, [Key]}}
           || Key <- [async, default | lists:seq(1, Size)]]}}.
