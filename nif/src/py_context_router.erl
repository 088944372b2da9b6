%% SPDX-License-Identifier: Apache-2.0
%% @doc Which context of the default pool a process uses.
%%
%% Sticky (the default): a process is bound to a context when it first needs one, by the scheduler
%% that it runs on then, and stays with it, because its namespace is there. If that context dies it
%% is bound anew. With `{context_choice, round_robin}' in the application's environment a process
%% that is not bound takes the next context with each call: for functions of modules, not for
%% namespaces.
-module(py_context_router).

-export([get_context/0, next_context/0, bind_context/1, unbind_context/0]).
-export([contexts/0, num_contexts/0]).
-export([configure/2]).

-define(BOUND, '$penstock_context').
-define(COUNT, {penstock, num_contexts}).
-define(CHOICE, {penstock, context_choice}).

%% @doc The calling process's context. `error' if none is running.
-spec get_context() -> {ok, pid()} | error.
get_context() ->
    case get(?BOUND) of
        undefined -> choose();
        Context ->
            case py_context:lookup(Context) of
                {ok, _} -> {ok, Context};
                error -> choose()
            end
    end.

choose() ->
    case persistent_term:get(?CHOICE, sticky) of
        sticky -> bind_by_scheduler();
        {round_robin, _Counter} -> next_context()
    end.

%% @doc The next context of the pool, whatever the calling process is bound to.
-spec next_context() -> {ok, pid()} | error.
next_context() ->
    Turn = case persistent_term:get(?CHOICE, sticky) of
        {round_robin, Counter} -> atomics:add_get(Counter, 1, 1);
        sticky -> erlang:unique_integer([positive, monotonic])
    end,
    nth_of(contexts(), Turn).

nth_of([], _Turn) -> error;
nth_of(Contexts, Turn) -> {ok, lists:nth(Turn rem length(Contexts) + 1, Contexts)}.

%% @doc Binds the calling process to a context.
-spec bind_context(pid()) -> ok.
bind_context(Context) when is_pid(Context) ->
    _ = put(?BOUND, Context),
    ok.

%% @doc Lets the next call choose anew.
-spec unbind_context() -> ok.
unbind_context() ->
    _ = erase(?BOUND),
    ok.

%% @doc All contexts that are running, in their order.
-spec contexts() -> [pid()].
contexts() ->
    [Context || Index <- lists:seq(1, num_contexts()),
                {ok, Context} <- [py_context:at(Index)]].

%% @doc How many contexts the pool has, running or being restarted.
-spec num_contexts() -> non_neg_integer().
num_contexts() ->
    persistent_term:get(?COUNT, 0).

%% @private
-spec configure(pos_integer(), sticky | round_robin) -> ok.
configure(Count, Choice) when is_integer(Count), Count > 0 ->
    persistent_term:put(?COUNT, Count),
    persistent_term:put(?CHOICE, case Choice of
        sticky -> sticky;
        round_robin -> {round_robin, atomics:new(1, [])}
    end).

bind_by_scheduler() ->
    case contexts() of
        [] ->
            error;
        Contexts ->
            Scheduler = erlang:system_info(scheduler_id),
            {ok, Context} = nth_of(Contexts, Scheduler - 1),
            ok = bind_context(Context),
            {ok, Context}
    end.
