%% SPDX-License-Identifier: Apache-2.0
%% @private
%% The default pool of contexts: `num_contexts' of them, one for each online scheduler by default;
%% and the contexts that programs start by themselves, which are not started again.
-module(py_context_sup).
-behaviour(supervisor).

-export([start_link/0, start_extra/1, init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    case supervisor:start_link({local, ?MODULE}, ?MODULE, []) of
        {ok, Supervisor} -> {ok, Supervisor};
        {error, Reason} -> {error, Reason}
    end.

%% @doc Starts a context that is none of the pool's.
-spec start_extra(py_context:kind()) -> {ok, pid()} | {error, term()}.
start_extra(Mode) ->
    Place = make_ref(),
    Child = #{id => Place, start => {py_context, start_link, [Place, Mode]}, restart => temporary},
    try supervisor:start_child(?MODULE, Child) of
        {ok, Context} -> {ok, Context};
        {error, {Reason, _Child}} -> {error, Reason};
        {error, Reason} -> {error, Reason}
    catch
        exit:{noproc, _} -> {error, not_started}
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Count = application:get_env(penstock, num_contexts, erlang:system_info(schedulers_online)),
    Choice = application:get_env(penstock, context_choice, sticky),
    Mode = application:get_env(penstock, context_mode, worker),
    ok = py_context_router:configure(Count, Choice),
    {ok, {#{strategy => one_for_one, intensity => 10, period => 10},
          [#{id => {py_context, Index},
             start => {py_context, start_link, [Index, Mode]}} || Index <- lists:seq(1, Count)]}}.
