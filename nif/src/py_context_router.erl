%% SPDX-License-Identifier: Apache-2.0
%% @doc Which context of the default pool a process uses.
%%
%% A process is bound to a context when it first needs one, by the scheduler that it runs on then,
%% and stays with it, because its namespace is there. If that context dies it is bound anew.
%%
%% A function that a context waits for uses that context, unless it has bound itself to another: the
%% thread that waits runs the call at once. If it had to wait for another context, which may just as
%% well wait for this one, neither would ever go on.
-module(py_context_router).

-export([get_context/0, bind_context/1, unbind_context/0, contexts/0, num_contexts/0]).
-export([set_count/1]).

-define(BOUND, '$penstock_context').
-define(COUNT, {penstock, num_contexts}).

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
-spec set_count(pos_integer()) -> ok.
set_count(Count) when is_integer(Count), Count > 0 ->
    persistent_term:put(?COUNT, Count).

%% The innermost of those that wait. It is none for ever: the next call of the same function may be
%% for another one.
choose() ->
    Contexts = contexts(),
    case [Context || Context <- py_caller:path(), lists:member(Context, Contexts)] of
        [] -> bind_by_scheduler(Contexts);
        Waiting -> {ok, lists:last(Waiting)}
    end.

bind_by_scheduler([]) ->
    error;
bind_by_scheduler(Contexts) ->
    Scheduler = erlang:system_info(scheduler_id),
    Context = lists:nth((Scheduler - 1) rem length(Contexts) + 1, Contexts),
    ok = bind_context(Context),
    {ok, Context}.
