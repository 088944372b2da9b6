%% SPDX-License-Identifier: Apache-2.0
%% @private
%% How often a process looks for what a Python thread is to send it, before it waits for it.
%%
%% A scheduler without work sleeps, most often in epoll_wait. A message from a thread that is none
%% of its own then costs that thread a system call and the sleeper several: 12 to 25 us, for an
%% answer that takes 2. A process that looks and yields keeps its scheduler awake meanwhile, and
%% leaves it to all others. It does so for as long as it paid lately, as everything does that waits
%% in Penstock (core/include/penstock/spin.hpp).
-module(py_spin).

-export([new/0, mine/0, keep/1, start/1, goes_on/1, hit/1, miss/1]).
-export_type([budget/0, looks/0]).

%% For how many ns, or if negative how many waits there were without looking.
-type budget() :: integer().
%% The looks that are left, and until when.
-type looks() :: none | {pos_integer(), integer()}.

-define(LEAST_NS, 5000).
-define(MOST_NS, 50000).
%% Now and then it tries again, for long enough to see both sides wake: else two that let each other
%% sleep would never find out.
-define(TRIAL_EVERY, 16).
-define(TRIAL_NS, 100000).
-define(KEY, '$penstock_spin').
%% Looks between two looks at the clock.
-define(LOOKS, 8).

-spec new() -> budget().
new() -> ?MOST_NS.

%% @doc The calling process's own, which it keeps in its dictionary.
-spec mine() -> budget().
mine() ->
    case get(?KEY) of
        undefined -> new();
        Budget -> Budget
    end.

-spec keep(budget()) -> ok.
keep(Budget) ->
    _ = put(?KEY, Budget),
    ok.

%% @doc Begins to look. After each look without success: yield, and `goes_on/1'.
-spec start(budget()) -> looks().
start(Budget) when Budget > 0 -> {?LOOKS, erlang:monotonic_time(nanosecond) + Budget};
start(_Budget) -> none.

-spec goes_on(looks()) -> looks().
goes_on({1, Until}) ->
    case erlang:monotonic_time(nanosecond) < Until of
        true -> {?LOOKS, Until};
        false -> none
    end;
goes_on({Looks, Until}) ->
    {Looks - 1, Until}.

%% @doc What was waited for came while it was looked for.
-spec hit(budget()) -> budget().
hit(Budget) -> min(2 * Budget, ?MOST_NS).

%% @doc It did not.
-spec miss(budget()) -> budget().
miss(Budget) when Budget > ?LEAST_NS -> Budget - Budget div 4;
miss(Budget) when Budget > 0 -> 0;
miss(Budget) when Budget > -?TRIAL_EVERY -> Budget - 1;
miss(_Budget) -> ?TRIAL_NS.
