%% SPDX-License-Identifier: Apache-2.0
%% The pool of event loops, and what happens when loops die.
-module(py_event_loop_pool_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([affinity/1, same_functions/1, loops_run_at_the_same_time/1, isolated_timers/1,
         order/1, statistics/1, answered_exactly_once/1,
         a_loop_that_is_killed/1, a_loop_that_ends_itself/1, a_loop_that_is_stuck/1,
         storms/1, stops_with_the_application/1, not_started/1, own_gil/1]).

-define(SIZE, 3).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [affinity, same_functions, loops_run_at_the_same_time, isolated_timers, order, statistics,
     answered_exactly_once, a_loop_that_is_killed, a_loop_that_ends_itself, a_loop_that_is_stuck,
     storms, stops_with_the_application, not_started, own_gil].

init_per_testcase(own_gil, Config) ->
    case py_nif:runtime_features() of
        #{owngil := true} ->
            ok = application:set_env(penstock, event_loop_pool_owngil, true),
            start(Config);
        #{owngil := false} ->
            {skip, "this Python has one GIL"}
    end;
init_per_testcase(_Case, Config) ->
    start(Config).

start(Config) ->
    ok = application:set_env(penstock, event_loop_pool_size, ?SIZE),
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_case:add_path(Config),
    Config.

end_per_testcase(_Case, _Config) ->
    _ = application:stop(penstock),
    ok = application:unset_env(penstock, event_loop_pool_size),
    ok = application:unset_env(penstock, event_loop_pool_owngil).

create(Function, Args) -> py_event_loop_pool:create_task(loop_cases, Function, Args).
run(Function, Args) -> py_event_loop_pool:run(loop_cases, Function, Args).

%% A process on each loop, which does what it is asked to.
one_on_each() -> one_on_each(#{}).

one_on_each(Found) when map_size(Found) =:= ?SIZE -> maps:values(Found);
one_on_each(Found) ->
    Pid = spawn_link(fun Loop() -> receive {From, Ask} -> From ! {self(), Ask()}, Loop() end end),
    {ok, Loop} = ask(Pid, fun py_event_loop_pool:get_loop/0),
    one_on_each(Found#{Loop => Pid}).

ask(Pid, Function) ->
    Pid ! {self(), Function},
    receive {Pid, Answer} -> Answer end.

%% The process behind the calling process's loop, and that of its context.
processes_of(Loop) ->
    [{_, _, Context}] = ets:match_object(py_loops, {'_', Loop, '_'}),
    {links, Links} = process_info(Context, links),
    [Process] = [Pid || Pid <- Links, is_pid(Pid)],
    {Process, Context}.

affinity(_Config) ->
    {ok, Loop} = py_event_loop_pool:get_loop(),
    {ok, Id} = run(loop_of, []),
    [begin
         ?assertEqual({ok, Loop}, py_event_loop_pool:get_loop()),
         ?assertEqual({ok, Id}, run(loop_of, []))
     end || _ <- lists:seq(1, 20)],
    Ids = [ask(Pid, fun() -> run(loop_of, []) end) || Pid <- one_on_each()],
    ?assertEqual(?SIZE, length(lists:usort(Ids))).

same_functions(_Config) ->
    ?assertEqual({ok, 4.0}, py_event_loop_pool:run(math, sqrt, [16.0])),
    ?assertEqual({ok, 4.0},
                 py_event_loop_pool:await(py_event_loop_pool:create_task(math, sqrt, [16.0]))),
    Twice = #{twice => true},
    ?assertEqual({ok, 10}, py_event_loop_pool:run(loop_cases, coroutine, [5],
                                                  #{kwargs => Twice, timeout => 10000})),
    ?assertEqual({ok, 10},
                 py_event_loop_pool:await(
                     py_event_loop_pool:create_task(loop_cases, coroutine, [5], Twice), 10000)),
    ok = py_event_loop_pool:spawn_task(loop_cases, note, [1]),
    ok = py_event_loop_pool:spawn_task(loop_cases, note, [], #{value => 2}),
    ok = eventually:equal({ok, [1, 2]}, fun() ->
        case run(noted, []) of
            {ok, []} -> again;
            {ok, [1]} -> {ok, [1 | element(2, run(noted, []))]};
            Other -> Other
        end
    end),
    ok = py_event_loop_pool:exec("a = 1"),
    ?assertEqual({ok, 1}, py_event_loop_pool:eval("a")),
    ?assertEqual({ok, 3}, py_event_loop_pool:eval("a + b", #{b => 2})),
    ?assertEqual({error, timeout},
                 py_event_loop_pool:run(loop_cases, sleep, [30], #{timeout => 1})),
    ?assertMatch({error, {'ValueError', "x"}}, run(fails, [<<"x">>])),
    ok = eventually:silence().

%% One that is held up does not hold up others.
loops_run_at_the_same_time(_Config) ->
    [First | Others] = one_on_each(),
    Test = self(),
    Ref = ask(First, fun() -> create(here_and_sleep, [Test, 0.5]) end),
    {here} = eventually:message(here),
    [?assertEqual({ok, 5}, ask(Pid, fun() -> run(coroutine, [5]) end)) || Pid <- Others],
    ?assertEqual({error, timeout}, ask(First, fun() -> py_event_loop_pool:await(Ref, 0) end)),
    ?assertEqual({ok, none}, ask(First, fun() -> py_event_loop_pool:await(Ref) end)).

%% Each loop has its timers.
isolated_timers(_Config) ->
    Workers = [eventually:worker(fun() ->
        Refs = [create(sleep, [0.01, N]) || N <- lists:seq(1, 15)],
        [py_event_loop_pool:await(Ref) || Ref <- Refs]
    end) || _ <- lists:seq(1, 20)],
    ?assertEqual([[{ok, N} || N <- lists:seq(1, 15)]],
                 lists:usort(eventually:workers(Workers, timers))).

order(_Config) ->
    Refs = [create(note, [N]) || N <- lists:seq(1, 300)],
    _ = [{ok, none} = py_event_loop_pool:await(Ref) || Ref <- Refs],
    ?assertEqual({ok, lists:seq(1, 300)}, run(noted, [])).

statistics(_Config) ->
    ?assertEqual(#{num_loops => ?SIZE, supported => true, owngil_enabled => false},
                 py_event_loop_pool:get_stats()).

answered_exactly_once(_Config) ->
    Before = py_nif:debug_counters(),
    Workers = [eventually:worker(fun() ->
        Refs = [{N, create(Function, [N])}
                || N <- lists:seq(1, 100), Function <- [plain, coroutine, awaitable]],
        _ = [{ok, N} = py_event_loop_pool:await(Ref, 60000) || {N, Ref} <- Refs],
        eventually:silence()
    end) || _ <- lists:seq(1, 50)],
    ?assertEqual([ok], lists:usort(eventually:workers(Workers, once))),
    ok = eventually:counters_return_to(Before).

%% Its tasks are answered, another one takes its place, and nobody else notices.
a_loop_that_is_killed(_Config) ->
    Before = py_nif:debug_counters(),
    [First | Others] = one_on_each(),
    Test = self(),
    [begin
         {ok, Loop} = ask(First, fun py_event_loop_pool:get_loop/0),
         Refs = ask(First, fun() -> [create(here_and_wait, [Test]) || _ <- lists:seq(1, 10)] end),
         Sleeping = [ask(Pid, fun() -> create(sleep, [0.05, 5]) end) || Pid <- Others],
         _ = [{here} = eventually:message(here) || _ <- Refs],
         ok = eventually:dead(element(Victim, processes_of(Loop))),
         Answers = ask(First, fun() -> [py_event_loop_pool:await(Ref) || Ref <- Refs] end),
         [?assertMatch({error, {context_died, _}}, Answer) || Answer <- Answers],
         [?assertEqual({ok, 5}, ask(Pid, fun() -> py_event_loop_pool:await(Ref) end))
          || {Pid, Ref} <- lists:zip(Others, Sleeping)],
         ok = eventually:equal({ok, 5}, fun() ->
             ask(First, fun() -> run(coroutine, [5]) end)
         end),
         ?assertNotEqual({ok, Loop}, ask(First, fun py_event_loop_pool:get_loop/0)),
         _ = [{gone} = eventually:message(gone) || _ <- Refs]
     end || Victim <- [1, 2, 1, 2]],
    ok = eventually:counters_return_to(Before).

a_loop_that_ends_itself(_Config) ->
    Ref = create(here_and_wait, [self()]),
    {here} = eventually:message(here),
    Stop = create(ends_the_loop, []),
    ?assertMatch({error, {context_died, _}}, py_event_loop_pool:await(Ref)),
    _ = py_event_loop_pool:await(Stop),
    ok = eventually:equal({ok, 5}, fun() -> run(coroutine, [5]) end),
    {gone} = eventually:message(gone),
    ok = eventually:silence().

%% In C code that nothing can end.
a_loop_that_is_stuck(_Config) ->
    {ok, Loop} = py_event_loop_pool:get_loop(),
    Waiting = create(here_and_wait, [self()]),
    {here} = eventually:message(here),
    Stuck = create(here_and_sleep, [self(), 3]),
    {here} = eventually:message(here),
    Queued = create(plain, [1]),
    {Process, _} = processes_of(Loop),
    ok = eventually:dead(Process),
    [?assertMatch({error, {context_died, _}}, py_event_loop_pool:await(Ref, 20000))
     || Ref <- [Waiting, Stuck, Queued]],
    ok = eventually:equal({ok, 5}, fun() -> run(coroutine, [5]) end),
    {gone} = eventually:message(gone),
    ok = eventually:silence().

%% Loops die while many use them: each task is answered once.
storms(_Config) ->
    Before = py_nif:debug_counters(),
    Workers = [eventually:worker(fun() ->
        Refs = [create(Function, [N])
                || N <- lists:seq(1, 100), Function <- [plain, coroutine, awaitable]],
        Answers = [py_event_loop_pool:await(Ref, 60000) || Ref <- Refs],
        ok = eventually:silence(),
        [Answer || Answer <- Answers, not is_answer(Answer)]
    end) || _ <- lists:seq(1, 30)],
    [begin
         [{_, Native, _} | _] = ets:lookup(py_loops, Key),
         {Process, Context} = processes_of(Native),
         ok = eventually:dead(lists:nth(Key rem 2 + 1, [Process, Context])),
         ok = eventually:true(fun() ->
             case ets:lookup(py_loops, Key) of [{_, Other, _}] -> Other =/= Native; [] -> none end
         end)
     end || _ <- lists:seq(1, 2), Key <- lists:seq(1, ?SIZE)],
    ?assertEqual([[]], lists:usort(eventually:workers(Workers, storm))),
    ?assertEqual({ok, 5}, run(coroutine, [5])),
    ok = eventually:counters_return_to(Before).

is_answer({ok, _}) -> true;
is_answer({error, {context_died, _}}) -> true;
is_answer(_) -> false.

stops_with_the_application(_Config) ->
    Refs = [create(here_and_wait, [self()]) || _ <- lists:seq(1, 10)],
    Default = py_event_loop:create_task(loop_cases, here_and_wait, [self()]),
    _ = [{here} = eventually:message(here) || _ <- [Default | Refs]],
    {Time, ok} = timer:tc(fun() -> application:stop(penstock) end),
    ?assert(Time < 2000000),
    [?assertMatch({error, {context_died, _}}, py_event_loop_pool:await(Ref))
     || Ref <- [Default | Refs]],
    _ = [{gone} = eventually:message(gone) || _ <- [Default | Refs]],
    ok = eventually:silence().

not_started(_Config) ->
    ok = application:stop(penstock),
    ?assertEqual({error, not_started}, run(plain, [1])),
    ?assertEqual({error, not_started}, py_event_loop_pool:await(create(plain, [1]))),
    ?assertEqual(ok, py_event_loop_pool:spawn_task(math, sqrt, [1])),
    ?assertEqual({error, not_started}, py_event_loop:eval("1")),
    ?assertEqual({error, not_available}, py_event_loop_pool:get_loop()),
    ?assertEqual({error, not_available}, py_event_loop:get_loop()),
    {ok, _} = application:ensure_all_started(penstock),
    ?assertEqual({ok, 4.0}, py_event_loop_pool:run(math, sqrt, [16.0])).

own_gil(Config) ->
    #{owngil_enabled := true} = py_event_loop_pool:get_stats(),
    [begin
         ok = ask(Pid, fun() ->
             {ok, Loop} = py_event_loop_pool:get_loop(),
             py_event_loop:exec(Loop, py_case:path_code(Config))
         end),
         ?assertEqual({ok, 5}, ask(Pid, fun() -> run(coroutine, [5]) end))
     end || Pid <- one_on_each()].
