%% SPDX-License-Identifier: Apache-2.0
%% Tasks in the event loop of the application.
-module(py_event_loop_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([functions_and_coroutines/1, results_are_messages/1, names/1, keyword_arguments/1,
         anything_awaitable/1, none/1, errors/1, tasks_that_cannot_start/1, system_exit/1,
         bad_arguments/1, spawned_tasks/1, order/1, many_at_once/1, sleepers/1,
         run_times_out/1, run_stops_code/1, await_times_out/1, stubborn_tasks/1,
         main_namespace/1, own_namespace/1, namespaces_end_with_their_process/1, eval_awaits/1,
         loops_by_reference/1, markers/1, calls_of_erlang/1, calls_back_into_the_loop/1,
         contexts_of_variables/1, eager_tasks/1, reloaded_modules/1, dead_callers/1,
         nothing_is_left_behind/1, answered_exactly_once/1, output_comes_first/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [functions_and_coroutines, results_are_messages, names, keyword_arguments, anything_awaitable,
     none, errors, tasks_that_cannot_start, system_exit, bad_arguments, spawned_tasks, order,
     many_at_once, sleepers, run_times_out, run_stops_code, await_times_out, stubborn_tasks,
     main_namespace, own_namespace, namespaces_end_with_their_process, eval_awaits,
     loops_by_reference, markers, calls_of_erlang, calls_back_into_the_loop,
     contexts_of_variables, eager_tasks, reloaded_modules, dead_callers, nothing_is_left_behind,
     answered_exactly_once, output_comes_first].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_case:add_path(Config),
    ok = py:register_function(loop_suite_double, fun([X]) -> 2 * X end),
    ok = py:register_function(loop_suite_fail, fun([]) -> error(oops) end),
    ok = py:register_function(loop_suite_run, fun([F, A]) ->
        {ok, Value} = py_event_loop:run(loop_cases, F, A),
        Value
    end),
    Config.

end_per_suite(_Config) ->
    application:stop(penstock).

create(Function, Args) -> py_event_loop:create_task(loop_cases, Function, Args).
run(Function, Args) -> py_event_loop:run(loop_cases, Function, Args).

functions_and_coroutines(_Config) ->
    ?assertEqual({ok, 4.0}, py_event_loop:run(math, sqrt, [16.0])),
    ?assertEqual({ok, 5}, run(coroutine, [5])),
    Ref = create(coroutine, [6]),
    Other = create(plain, [7]),
    ?assertEqual({ok, 6}, py_event_loop:await(Ref)),
    ?assertEqual({ok, 7}, py_event_loop:await(Other, infinity)),
    ?assertEqual(run(loop_of, []), run(loop_of, [])),
    {ok, Thread} = run(thread, []),
    ?assertNotEqual({ok, Thread}, py:call(loop_cases, thread, [])).

results_are_messages(_Config) ->
    Ref = create(coroutine, [5]),
    ?assertEqual({async_result, Ref, {ok, 5}}, eventually:message(async_result)),
    ?assertEqual({error, timeout}, py_event_loop:await(Ref, 0)),
    Failed = create(fails, [<<"x">>]),
    ?assertEqual({async_result, Failed, {error, {'ValueError', "x"}}},
                 eventually:message(async_result)),
    ok = eventually:silence().

names(_Config) ->
    [?assertEqual({ok, 5}, py_event_loop:run(Module, Function, [5]))
     || Module <- [loop_cases, <<"loop_cases">>, "loop_cases"],
        Function <- [plain, <<"plain">>, "coroutine"]],
    Long = lists:duplicate(1000, $x),
    ?assertMatch({error, {'ModuleNotFoundError', _}}, py_event_loop:run(Long, f, [])),
    ?assertMatch({error, {'AttributeError', _}}, py_event_loop:run(math, Long, [])),
    ok = py:exec(["def ", Long, "(): return 'long'"]),
    ?assertEqual({ok, <<"long">>}, py_event_loop:run('__main__', Long, [])),
    %% Atoms that are None and True elsewhere.
    ok = py:exec("def none(): return 1\ndef true(): return 2"),
    ?assertEqual({ok, 1}, py_event_loop:run('__main__', none, [])),
    ?assertEqual({ok, 2}, py_event_loop:run('__main__', true, [])).

keyword_arguments(_Config) ->
    Twice = #{twice => true},
    ?assertEqual({ok, 10}, py_event_loop:run(loop_cases, coroutine, [5], #{kwargs => Twice})),
    ?assertEqual({ok, 10},
                 py_event_loop:await(py_event_loop:create_task(loop_cases, coroutine, [5], Twice))),
    ?assertEqual({ok, 10},
                 py_event_loop:run(loop_cases, coroutine, [],
                                   #{timeout => infinity,
                                     kwargs => #{<<"value">> => 5, <<"twice">> => true}})).

anything_awaitable(_Config) ->
    [?assertEqual({Function, {ok, 5}}, {Function, run(Function, [5])})
     || Function <- [awaitable, future, a_task, generator, coroutine]],
    ?assertEqual({error, {'TypeError', "__await__() returned non-iterator of type 'int'"}},
                 run(not_awaitable, [])).

none(_Config) ->
    ?assertEqual({ok, none}, run(nothing, [])),
    ?assertEqual({ok, none}, run(plain, [none])),
    ?assertEqual({ok, none}, py_event_loop:run(asyncio, sleep, [0])).

errors(_Config) ->
    ?assertEqual({error, {'ValueError', "bad"}}, run(fails, [<<"bad">>])),
    ?assertEqual({error, {'KeyError', "'bad'"}}, run(fails_at_once, [<<"bad">>])),
    ?assertEqual({error, {'CancelledError', []}}, run(cancels, [])),
    ?assertEqual({error, interrupted}, run(interrupts, [])),
    Text = "cannot convert 'object' object to an Erlang term (at [1])",
    ?assertEqual({error, {'TypeError', Text}}, run(not_a_term, [])),
    ?assertEqual({error, {'TypeError', Text}}, run(not_a_term_later, [])),
    {ok, <<"asyncio.run() cannot be called", _/binary>>} = run(run_again, []),
    ?assertEqual({ok, 5}, run(coroutine, [5])).

tasks_that_cannot_start(_Config) ->
    ?assertEqual({error, {'ModuleNotFoundError', "No module named 'no_such'"}},
                 py_event_loop:run(no_such, f, [])),
    ?assertEqual({error, {'AttributeError', "module 'math' has no attribute 'nope'"}},
                 py_event_loop:await(py_event_loop:create_task(math, nope, []))),
    ?assertMatch({error, {'TypeError', "math.sqrt() takes no keyword arguments"}},
                 py_event_loop:await(py_event_loop:create_task(math, sqrt, [1], #{x => 1}))),
    ?assertEqual({error, {unsupported, bitstring, [args, 2]}}, run(plain, [1, <<1:3>>])),
    ?assertEqual({error, {unsupported, bitstring, [args, 2]}},
                 py_event_loop:await(create(plain, [1, <<1:3>>]))),
    ?assertEqual({error, {unsupported, improper_list, [kwargs, <<"x">>]}},
                 py_event_loop:await(py_event_loop:create_task(loop_cases, plain, [],
                                                               #{<<"x">> => [1 | 2]}))),
    ?assertMatch({error, {'TypeError', _}},
                 py_event_loop:await(py_event_loop:create_task(loop_cases, plain, [],
                                                               #{1 => 2}))).

system_exit(_Config) ->
    {ok, Loop} = run(loop_of, []),
    [?assertEqual({error, {'SystemExit', "3"}}, run(Function, [3]))
     || Function <- [exits, exits_at_once], _ <- lists:seq(1, 10)],
    ?assertEqual({ok, Loop}, run(loop_of, [])).

bad_arguments(_Config) ->
    [?assertError(badarg, Call())
     || Call <- [fun() -> py_event_loop:run(math, sqrt, 1) end,
                 fun() -> py_event_loop:run(math, 1.0, []) end,
                 fun() -> py_event_loop:run(math, sqrt, [1], #{timeout => -1}) end,
                 fun() -> py_event_loop:run(math, sqrt, [1], #{kwargs => []}) end,
                 fun() -> py_event_loop:run(math, sqrt, [1], #{other => 1}) end,
                 fun() -> py_event_loop:run(math, sqrt, [1], []) end,
                 fun() -> py_event_loop:create_task(math, sqrt, x) end,
                 fun() -> py_event_loop:create_task(math, sqrt, [1], []) end,
                 fun() -> py_event_loop:create_task({math}, sqrt, [1]) end,
                 fun() -> py_event_loop:spawn_task(math, sqrt, x) end,
                 fun() -> py_event_loop:await(x) end,
                 fun() -> py_event_loop:await(make_ref(), soon) end,
                 fun() -> py_event_loop:exec(1) end,
                 fun() -> py_event_loop:exec(default, "1") end,
                 fun() -> py_event_loop:eval("1", []) end]],
    ok = eventually:silence().

spawned_tasks(_Config) ->
    ?assertEqual(ok, py_event_loop:spawn_task(no_such, f, [])),
    ?assertEqual(ok, py_event_loop:spawn_task(math, sqrt, [<<1:3>>])),
    ?assertEqual(ok, py_event_loop:spawn_task(loop_cases, exits, [1])),
    ?assertEqual(ok, py_event_loop:spawn_task(loop_cases, note, [1], #{})),
    ok = eventually:equal({ok, [1]}, fun() -> run(noted, []) end),
    ok = eventually:silence().

order(_Config) ->
    Refs = [create(note, [N]) || N <- lists:seq(1, 1000)],
    _ = [{ok, none} = py_event_loop:await(Ref) || Ref <- Refs],
    ?assertEqual({ok, lists:seq(1, 1000)}, run(noted, [])).

many_at_once(_Config) ->
    Refs = [{N, create(Function, [N])}
            || N <- lists:seq(1, 10000), Function <- [plain, coroutine]],
    [?assertEqual({ok, N}, py_event_loop:await(Ref, 60000)) || {N, Ref} <- Refs],
    ok = eventually:silence().

sleepers(_Config) ->
    Refs = [create(sleep, [0.01, N]) || N <- lists:seq(1, 500)],
    [?assertEqual({ok, N}, py_event_loop:await(Ref, 60000))
     || {N, Ref} <- lists:zip(lists:seq(1, 500), Refs)],
    ?assertEqual({ok, 10000}, py_event_loop:run(loop_cases, sleepers, [10000, 0.05],
                                                #{timeout => 60000})),
    {Time, {ok, none}} = timer:tc(fun() -> run(sleep, [0.02]) end),
    ?assert(Time >= 20000).

%% No late result comes, and the task is cancelled.
run_times_out(_Config) ->
    [begin
         ?assertEqual({error, timeout},
                      py_event_loop:run(loop_cases, here_and_wait, [self()], #{timeout => Ms})),
         ?assertEqual({gone}, eventually:message(gone)),
         ?assertEqual({here}, eventually:message(here))
     end || Ms <- [20, 50]],
    ?assertEqual({error, timeout},
                 py_event_loop:run(loop_cases, sleep, [30], #{timeout => 0})),
    ok = eventually:equal({ok, 1}, fun() -> run(tasks_running, []) end),
    ok = eventually:silence().

%% A function that does not let the loop go on is interrupted, the loop is not.
run_stops_code(_Config) ->
    {ok, Loop} = run(loop_of, []),
    Other = create(sleep, [0.001, 5]),
    [begin
         ?assertEqual({error, timeout},
                      py_event_loop:run(loop_cases, Function, [self()], #{timeout => 50})),
         ?assertEqual({here}, eventually:message(here))
     end || Function <- [spin, spin_in_coroutine]],
    ?assertEqual({ok, 5}, py_event_loop:await(Other)),
    ?assertEqual({ok, Loop}, run(loop_of, [])),
    ok = eventually:silence().

await_times_out(_Config) ->
    Ref = create(sleep, [0.05, 5]),
    ?assertEqual({error, timeout}, py_event_loop:await(Ref, 0)),
    ?assertEqual({ok, 5}, py_event_loop:await(Ref)),
    ?assertEqual({error, timeout}, py_event_loop:await(make_ref(), 1)).

stubborn_tasks(_Config) ->
    ?assertEqual({error, timeout},
                 py_event_loop:run(loop_cases, stubborn, [self()], #{timeout => 500})),
    ?assertEqual({here}, eventually:message(here)),
    ?assertEqual({gone}, eventually:message(gone)),
    ok = eventually:equal({ok, 1}, fun() -> run(tasks_running, []) end),
    ok = eventually:silence().

%% What py:exec defines, in any context.
main_namespace(_Config) ->
    ok = py:exec("async def f(x): return x + 1\ndef g(x): return x + 2\n"),
    ?assertEqual({ok, 2}, py_event_loop:run('__main__', f, [1])),
    ?assertEqual({ok, 3}, py_event_loop:run("__main__", g, [1])),
    {ok, Contexts} = py:start_contexts(),
    [begin
         Name = ["only", integer_to_list(N)],
         ok = py:exec(Context, ["def ", Name, "(): return ", integer_to_list(N)]),
         ?assertEqual({ok, N}, py_event_loop:run('__main__', lists:flatten(Name), []))
     end || {N, Context} <- lists:enumerate(Contexts)],
    %% It is this process's.
    Worker = eventually:worker(fun() -> py_event_loop:run('__main__', f, [1]) end),
    ?assertMatch([{error, {'AttributeError', _}}], eventually:workers([Worker], main)).

own_namespace(_Config) ->
    ?assertEqual(ok, py_event_loop:exec("import asyncio\na = 1\n"
                                        "async def later(): await asyncio.sleep(0); return a")),
    ?assertEqual({ok, 3}, py_event_loop:eval("a + b", #{b => 2})),
    ?assertEqual({ok, 1}, py_event_loop:run('__main__', later, [])),
    ok = py:exec("a = 5\ndef later(): return 'other'"),
    ?assertEqual({ok, 1}, py_event_loop:run('__main__', later, [])),
    ?assertEqual({error, {'ZeroDivisionError', "division by zero"}}, py_event_loop:exec("1/0")),
    ?assertMatch({error, {'SyntaxError', _}}, py_event_loop:exec("1/")),
    ?assertMatch({error, {'NameError', _}}, py_event_loop:eval("nope")),
    Worker = eventually:worker(fun() -> py_event_loop:eval("a") end),
    ?assertMatch([{error, {'NameError', _}}], eventually:workers([Worker], own)).

namespaces_end_with_their_process(_Config) ->
    ok = py_event_loop:exec("import weakref\nclass Thing: pass\n"),
    Test = self(),
    {Pid, Monitor} = spawn_monitor(fun() ->
        ok = py_event_loop:exec("import loop_cases\nclass Thing: pass\nthing = Thing()\n"
                                "import weakref\nloop_cases.seen = weakref.ref(thing)"),
        Test ! {made},
        receive stop -> ok end
    end),
    {made} = eventually:message(made),
    Gone = fun() -> py_event_loop:eval("__import__('loop_cases').seen() is None") end,
    ?assertEqual({ok, false}, Gone()),
    Pid ! stop,
    receive {'DOWN', Monitor, process, Pid, normal} -> ok end,
    ok = eventually:equal({ok, true}, fun() ->
        ok = py_event_loop:exec("import gc; gc.collect()"),
        Gone()
    end).

eval_awaits(_Config) ->
    ok = py_event_loop:exec("import loop_cases"),
    ?assertEqual({ok, 10}, py_event_loop:eval("loop_cases.coroutine(5, twice=True)")),
    ?assertEqual({error, {'ValueError', "x"}}, py_event_loop:eval("loop_cases.fails('x')")).

loops_by_reference(_Config) ->
    {ok, Loop} = py_event_loop:get_loop(),
    ?assert(is_reference(Loop)),
    ?assertEqual({ok, Loop}, py_event_loop:get_loop()),
    {ok, Other} = py_event_loop_pool:get_loop(),
    ?assertNotEqual(Loop, Other),
    ok = py_event_loop:exec(Loop, "where = 'here'"),
    ok = py_event_loop:exec(Other, "where = 'there'"),
    ?assertEqual({ok, <<"here">>}, py_event_loop:eval("where")),
    ?assertEqual({ok, <<"there">>}, py_event_loop:eval(Other, "where")),
    ?assertEqual({error, {context_died, noproc}}, py_event_loop:eval(make_ref(), "1")).

markers(_Config) ->
    ?assertEqual({ok, 8}, run(schedule, [loop_suite_double, 4])),
    ?assertEqual({ok, 8}, run(schedule_later, [loop_suite_double, 4])),
    ?assertEqual({error, {'RuntimeError', "error: badarith"}},
                 run(schedule, [loop_suite_double, x])),
    ?assertEqual({ok, <<"done">>}, run(inline, [1000])),
    ?assertEqual({ok, 1000}, run(by_queue, [1000])),
    ok = py:exec("import erlang\ndef again(n):\n"
                 "  return erlang.schedule_inline('__main__', 'again', [n - 1]) if n else 'end'\n"
                 "async def hop(n):\n"
                 "  return erlang.schedule_py('__main__', 'hop', [n - 1]) if n else 'end'\n"),
    ?assertEqual({ok, <<"end">>}, py_event_loop:run('__main__', again, [100])),
    ?assertEqual({ok, <<"end">>}, py_event_loop:run('__main__', hop, [100])).

calls_of_erlang(_Config) ->
    [begin
         ?assertEqual({ok, 8}, run(Function, [<<"loop_suite_double">>, 4])),
         ?assertEqual({error, {'RuntimeError', "error: oops"}},
                      run(Function, [<<"loop_suite_fail">>])),
         ?assertMatch({error, {'RuntimeError', "Function 'nope' not registered"}},
                      run(Function, [<<"nope">>]))
     end || Function <- [to_erlang, to_erlang_at_once, call_in_coroutine]],
    Refs = [create(to_erlang, [<<"loop_suite_double">>, N]) || N <- lists:seq(1, 200)],
    ?assertEqual([{ok, 2 * N} || N <- lists:seq(1, 200)],
                 [py_event_loop:await(Ref) || Ref <- Refs]).

%% A function that the loop waits for uses the loop: it cannot wait for its turn.
calls_back_into_the_loop(_Config) ->
    [?assertEqual({Function, Inner, {ok, 5}},
                  {Function, Inner, run(Function, [<<"loop_suite_run">>, Inner, [5]])})
     || Function <- [to_erlang, to_erlang_at_once, call_in_coroutine],
        Inner <- [plain, coroutine, awaitable]],
    %% To some depth.
    Deep = lists:foldl(fun(_, Args) -> [<<"loop_suite_run">>, call_in_coroutine, Args] end,
                       [<<"loop_suite_double">>, 21], lists:seq(1, 5)),
    ?assertEqual({ok, 42}, run(to_erlang_at_once, Deep)),
    ?assertEqual({ok, 5}, run(coroutine, [5])).

contexts_of_variables(_Config) ->
    [?assertEqual({ok, {0, N}}, run(own_context, [N])) || N <- lists:seq(1, 5)].

%% A program may have its tasks begin at once.
eager_tasks(_Config) ->
    {ok, HasEager} = run(has_eager, []),
    _ = [{ok, none} = run(eager, [true]) || HasEager],
    ?assertEqual({ok, 5}, run(coroutine, [5])),
    ?assertEqual({ok, none}, run(nothing, [])),
    ?assertEqual({error, {'SystemExit', "1"}}, run(exits, [1])),
    ?assertEqual({ok, 8}, run(schedule_later, [loop_suite_double, 4])),
    ?assertEqual({ok, none}, run(eager, [false])).

%% Names are looked up anew.
reloaded_modules(_Config) ->
    ok = py:exec("import sys, types\nm = types.ModuleType('loop_suite_module')\n"
                 "m.f = lambda: 1\nsys.modules['loop_suite_module'] = m"),
    ?assertEqual({ok, 1}, py_event_loop:run(loop_suite_module, f, [])),
    ok = py:exec("m.f = lambda: 2"),
    ?assertEqual({ok, 2}, py_event_loop:run(loop_suite_module, f, [])),
    ok = py:exec("m = types.ModuleType('loop_suite_module')\n"
                 "m.f = lambda: 3\nsys.modules['loop_suite_module'] = m"),
    ?assertEqual({ok, 3}, py_event_loop:run(loop_suite_module, f, [])),
    ok = py:exec("del sys.modules['loop_suite_module']"),
    ?assertMatch({error, {'ModuleNotFoundError', _}},
                 py_event_loop:run(loop_suite_module, f, [])).

dead_callers(_Config) ->
    Before = py_nif:debug_counters(),
    Pids = [spawn_monitor(fun() ->
        _ = create(sleep, [0.01]),
        _ = create(plain, [1]),
        run(sleep, [0.01])
    end) || _ <- lists:seq(1, 50)],
    _ = [exit(Pid, kill) || {Pid, _} <- Pids],
    _ = [receive {'DOWN', Monitor, process, Pid, _} -> ok end || {Pid, Monitor} <- Pids],
    ?assertEqual({ok, 5}, run(coroutine, [5])),
    ok = eventually:counters_return_to(Before).

nothing_is_left_behind(_Config) ->
    %% How long it is worth while to look for answers is kept.
    Dictionary = fun() -> lists:sort(lists:keydelete('$penstock_spin', 1, get())) end,
    Known = Dictionary(),
    Before = py_nif:debug_counters(),
    [begin
         _ = run(coroutine, [N]),
         _ = run(fails, [<<"x">>]),
         _ = run(exits_at_once, [1]),
         _ = run(schedule, [loop_suite_double, 1]),
         _ = py_event_loop:run(loop_cases, sleep, [10], #{timeout => 0}),
         ok = py_event_loop:spawn_task(loop_cases, coroutine, [N]),
         _ = py_event_loop:await(create(awaitable, [N]))
     end || N <- lists:seq(1, 100)],
    ok = eventually:equal({ok, 1}, fun() -> run(tasks_running, []) end),
    ok = eventually:counters_return_to(Before),
    ?assertEqual(Known, Dictionary()),
    ?assertEqual({monitors, []}, process_info(self(), monitors)),
    ok = eventually:silence().

%% Many processes, many tasks of all kinds.
answered_exactly_once(_Config) ->
    Kinds = [{plain, fun(N) -> {[N], {ok, N}} end},
             {coroutine, fun(N) -> {[N], {ok, N}} end},
             {sleep, fun(N) -> {[0.001 * (N rem 5), N], {ok, N}} end},
             {fails, fun(N) -> {[integer_to_binary(N)],
                                {error, {'ValueError', integer_to_list(N)}}} end},
             {exits, fun(N) -> {[N], {error, {'SystemExit', integer_to_list(N)}}} end},
             {to_erlang, fun(N) -> {[<<"loop_suite_double">>, N], {ok, 2 * N}} end},
             {schedule, fun(N) -> {[loop_suite_double, N], {ok, 2 * N}} end}],
    Workers = [eventually:worker(fun() ->
        Expected = [begin
                        {Function, Make} = lists:nth((N * 7 + W) rem length(Kinds) + 1, Kinds),
                        {Args, Result} = Make(N),
                        {create(Function, Args), Result}
                    end || N <- lists:seq(1, 200)],
        Results = [{Ref, py_event_loop:await(Ref, 60000)} || {Ref, _} <- lists:reverse(Expected)],
        ?assertEqual(lists:reverse(Expected), Results),
        eventually:silence()
    end) || W <- lists:seq(1, 20)],
    ?assertEqual([ok], lists:usort(eventually:workers(Workers, once))).

output_comes_first(_Config) ->
    Leader = fake_leader:start(),
    {ok, none} = fake_leader:run(Leader, fun() -> run(prints, [<<"from a task">>]) end),
    ?assertEqual(<<"from a task\n">>, fake_leader:text(Leader)),
    fake_leader:stop(Leader).
