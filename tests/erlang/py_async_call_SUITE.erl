%% SPDX-License-Identifier: Apache-2.0
%% erlang.async_call: on asyncio's own loop, on ours and on uvloop.
-module(py_async_call_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(py_call_case, [callers/0, echo/0, entered/1, gate/1, handlers/0, in/3, no_more_than/2,
                       open/1, size/2, usable/1]).

-compile([export_all, nowarn_export_all]).

-define(CASES, async_cases).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, asyncio}, {group, erlang}, {group, uvloop}, outside_of_a_loop, an_idle_loop_sleeps,
     an_interrupt_ends_an_iteration_of_ones_own, nothing_is_left].

groups() ->
    [{asyncio, [], cases()}, {erlang, [], cases()}, {uvloop, [], cases()}].

cases() ->
    [one_call, one_after_the_other, all_at_once, tasks, every_way_to_await, a_task_group,
     ten_thousand_in_flight, large_results, failures_are_runtime_errors, wrong_calls,
     a_killed_worker, a_killed_worker_among_others, all_processes_are_killed,
     a_failure_cancels_a_task_group, a_timeout, a_cancelled_task, a_cancelled_call,
     many_cancelled_tasks, made_outside_of_a_loop, many_successive_loops, between_other_loops,
     two_loops_of_one_thread, loops_in_threads, a_loop_ends_before_its_calls,
     a_loop_stands_still_meanwhile, a_thread_blocks_meanwhile, an_interrupt_ends_the_loop,
     a_timeout_of_the_call_ends_the_loop, a_loop_that_another_context_has_run,
     the_application_stops].

init_per_suite(Config) ->
    py_call_case:start(2, Config).

end_per_suite(Config) ->
    py_call_case:stop(Config).

init_per_group(Loop, Config) ->
    case lists:member(atom_to_binary(Loop), in(?CASES, loops, [])) of
        true -> [{loop, Loop} | Config];
        false -> {skip, "uvloop is not installed for this Python"}
    end.

end_per_group(_Loop, _Config) ->
    ok.

init_per_testcase(Case, Config) ->
    ok = py_call_case:call_from_each_context(),
    [{processes, {length(callers()), length(handlers())}} | py_call_case:watch(Case, Config)].

end_per_testcase(Case, Config) ->
    {Callers, Handlers} = ?config(processes, Config),
    py_call_case:unwatch(Case, Config, fun() ->
                                               no_more_than(Callers, Handlers),
                                               eventually:silence()
                                       end).

%% Calls

one_call(Config) ->
    echo(),
    ?assertEqual(5, in(?CASES, one, [loop(Config), echo, 5])),
    ok = py:register_function(count, fun(Args) -> {length(Args), self()} end),
    {0, First} = in(?CASES, one, [loop(Config), count]),
    {3, Second} = in(?CASES, one, [loop(Config), count, 1, 2, 3]),
    ?assertNotEqual(First, Second),
    ?assertNotEqual(py:context(1), First).

one_after_the_other(Config) ->
    echo(),
    Count = size(1000, 100),
    ?assertEqual(lists:seq(0, Count - 1),
                 in(?CASES, one_after_the_other, [loop(Config), echo, Count])).

%% None ends before all have begun.
all_at_once(Config) ->
    gate(gate),
    Call = in_background(gather, [loop(Config), gate, 50]),
    Handlers = entered(50),
    ?assertEqual(50, length(lists:usort(Handlers))),
    open(lists:reverse(Handlers)),
    ?assertEqual([{ok, 50}], eventually:workers([Call], call)).

tasks(Config) ->
    echo(),
    ?assertEqual(lists:reverse(lists:seq(0, 99)), in(?CASES, tasks, [loop(Config), echo, 100])).

every_way_to_await(Config) ->
    echo(),
    ?assertEqual(lists:duplicate(8, 5), in(?CASES, ensured, [loop(Config), echo, 5])).

a_task_group(Config) ->
    echo(),
    ?assertEqual(lists:seq(0, 99), in(?CASES, group, [loop(Config), echo, 100])).

%% All of them wait in Erlang at once.
ten_thousand_in_flight(Config) ->
    Count = size(10000, 500),
    Counter = counters:new(1, []),
    ok = py:register_function(all, fun([N]) ->
                                           counters:add(Counter, 1, 1),
                                           eventually:equal(Count,
                                                            fun() -> counters:get(Counter, 1) end),
                                           N
                                   end),
    ?assertEqual({ok, Count}, py:call(py:context(1), ?CASES, gather, [loop(Config), all, Count],
                                      #{timeout => 60000})).

large_results(Config) ->
    Echo = fun([Value]) -> Value end,
    ok = py:register_function(echo, Echo),
    [?assert(in(?CASES, one, [loop(Config), echo, Term]) =:= Term)
     || Term <- [binary:copy(<<"x">>, Size) || Size <- [65535, 65536, 65537, 5000000]]
                    ++ [lists:seq(1, 100000)]].

%% Failures

failures_are_runtime_errors(Config) ->
    ok = py:register_function(errs, fun(_) -> error(<<"e">>) end),
    ok = py:register_function(throws, fun(_) -> throw({<<"t">>, 1}) end),
    ok = py:register_function(exits, fun(_) -> exit(17) end),
    ok = py:register_function(gives, fun(_) -> [a | b] end),
    [[<<"RuntimeError">>, <<"error: <<\"e\">>">>, <<"error">>, <<"e">>],
     [<<"RuntimeError">>, <<"throw: {<<\"t\">>,1}">>, <<"throw">>, {<<"t">>, 1}],
     [<<"RuntimeError">>, <<"exit: 17">>, <<"exit">>, 17],
     [<<"RuntimeError">>, Given, <<"error">>, {<<"unsupported">>, <<"improper_list">>, _}],
     [<<"RuntimeError">>, <<"Function 'nowhere' not registered">>, <<"error">>,
      <<"not_registered">>]] =
        in(?CASES, failures, [loop(Config), errs, throws, exits, gives, nowhere]),
    ?assertNotEqual(nomatch, string:find(Given, "what 'gives' returned")).

wrong_calls(Config) ->
    echo(),
    ?assertEqual({lists:duplicate(4, <<"TypeError">>), 5},
                 in(?CASES, wrong_calls, [loop(Config)])).

a_killed_worker(Config) ->
    ok = py:register_function(die, fun(_) -> exit(self(), kill), receive never -> ok end end),
    ?assertEqual([[<<"RuntimeError">>, <<"exit: killed">>, <<"exit">>, <<"killed">>]],
                 in(?CASES, failures, [loop(Config), die])).

a_killed_worker_among_others(Config) ->
    gate(gate),
    Call = in_background(failures, [loop(Config) | lists:duplicate(50, gate)]),
    [exit(Handler, kill) || Handler <- entered(50)],
    [{ok, Failures}] = eventually:workers([Call], call),
    ?assertEqual(lists:duplicate(50, [<<"RuntimeError">>, <<"exit: killed">>, <<"exit">>,
                                      <<"killed">>]), Failures).

%% Nobody is left who could tell of the others' ends.
all_processes_are_killed(Config) ->
    echo(),
    gate(gate),
    Call = in_background(lost, [loop(Config), gate, echo]),
    Workers = entered(2),
    [eventually:dead(Caller) || Caller <- callers()],
    [eventually:dead(Worker) || Worker <- Workers],
    [{ok, {Lost, Again}}] = eventually:workers([Call], call),
    ?assertMatch([{<<"raised">>, <<"RuntimeError">>, <<"exit: ", _/binary>>},
                  {<<"raised">>, <<"RuntimeError">>, <<"exit: ", _/binary>>}], Lost),
    ?assertEqual(5, Again),
    ok = py_call_case:call_from_each_context().

a_failure_cancels_a_task_group(Config) ->
    gate(gate),
    Test = self(),
    ok = py:register_function(fail, fun([]) ->
                                            Test ! {failing, self()},
                                            receive now -> error(x) end
                                    end),
    Call = in_background(group_with_a_failure, [loop(Config), gate, fail]),
    Handlers = entered(3),
    {failing, Failing} = eventually:message(failing),
    Failing ! now,
    ?assertEqual([{ok, {[<<"error: x">>], [true, true, true]}}],
                 eventually:workers([Call], call)),
    open(Handlers).

%% Cancellation

a_timeout(Config) ->
    gate(gate),
    echo(),
    ?assertEqual({<<"TimeoutError">>, lists:seq(0, 99)},
                 in(?CASES, timeout, [loop(Config), gate, echo])),
    open(entered(1)).

%% The answer comes between others, and is dropped.
a_cancelled_task(Config) ->
    gate(gate),
    Test = self(),
    ok = py:register_function(second, fun([0]) ->
                                              Test ! {second, self()},
                                              receive go -> 0 end;
                                         ([Value]) ->
                                              Value
                                      end),
    Call = in_background(cancel, [loop(Config), gate, second, self()]),
    [Handler] = entered(1),
    _ = eventually:message(<<"cancelled">>),
    {second, Second} = eventually:message(second),
    Monitor = monitor(process, Handler),
    open([Handler]),
    receive {'DOWN', Monitor, process, Handler, Reason} -> ?assertEqual(normal, Reason)
    after 20000 -> error(still_there)
    end,
    Second ! go,
    ?assertEqual([{ok, {<<"CancelledError">>, lists:seq(0, 99)}}],
                 eventually:workers([Call], call)).

a_cancelled_call(Config) ->
    gate(gate),
    echo(),
    ?assertEqual({true, <<"CancelledError">>, 2},
                 in(?CASES, cancel_the_call_itself, [loop(Config), gate, echo])),
    open(entered(1)).

many_cancelled_tasks(Config) ->
    echo(),
    gate(gate),
    Count = size(1000, 100),
    ?assertEqual({Count, lists:seq(0, 9)},
                 in(?CASES, cancel_all, [loop(Config), gate, echo, Count])),
    open(entered(Count)).

%% Loops

made_outside_of_a_loop(Config) ->
    echo(),
    ?assertEqual(5, in(?CASES, made_outside, [loop(Config), echo, 5])).

many_successive_loops(Config) ->
    echo(),
    _ = in(?CASES, successive_loops, [loop(Config), echo, 2]),
    Files = in(?CASES, open_files, []),
    Count = size(300, 30),
    ?assertEqual(lists:seq(0, Count - 1),
                 in(?CASES, successive_loops, [loop(Config), echo, Count])),
    %% Others open files for a moment, too. The thread may keep a ring for its next loop that it did
    %% not have before: a loop whose last call is dropped by Erlang leaves none.
    eventually:true(fun() ->
                        Now = in(?CASES, open_files, []),
                        map_size(Now) =< map_size(Files) + 1 orelse {Files, Now}
                    end).

two_loops_of_one_thread(Config) ->
    echo(),
    ?assertEqual(lists:seq(0, 49), in(?CASES, two_loops_in_turn, [loop(Config), echo, 50])).

%% A call goes on while other loops run on the thread, and are left open.
between_other_loops(Config) ->
    echo(),
    gate(gate),
    Test = self(),
    ok = py:register_function('_between', fun([]) -> Test ! {between, none}, ok end),
    Call = in_background(between_other_loops, [loop(Config), gate, echo]),
    Workers = entered(1),
    _ = eventually:message(between),
    open(Workers),
    ?assertEqual([{ok, [1, 0, 1, 2]}], eventually:workers([Call], call)).

loops_in_threads(Config) ->
    echo(),
    Count = size(500, 50),
    ?assertEqual(lists:duplicate(2, {<<"returned">>, Count}),
                 in(?CASES, loops_in_threads, [loop(Config), echo, 2, Count])).

%% What they return reaches nobody, and nothing of them is left.
a_loop_ends_before_its_calls(Config) ->
    gate(gate),
    echo(),
    none = in(?CASES, leave_calls, [loop(Config), gate, 10]),
    First = entered(10),
    ?assertEqual({2, 3}, in(?CASES, leave_a_bare_loop, [loop(Config), gate, echo])),
    Second = entered(1),
    [exit(Handler, kill) || Handler <- lists:sublist(First, 5)],
    open(First ++ Second),
    usable(py:context(1)),
    ?assertEqual(5, in(?CASES, one, [loop(Config), echo, 5])).

a_loop_stands_still_meanwhile(Config) ->
    echo(),
    Numbers = lists:seq(0, 9),
    ?assertEqual({Numbers, Numbers}, in(?CASES, stop_and_go_on, [loop(Config), echo, echo])).

a_thread_blocks_meanwhile(Config) ->
    gate(gate),
    echo(),
    Call = in_background(blocking_and_async, [loop(Config), gate, echo, 100]),
    [Handler] = entered(1),
    %% All have been answered before the thread looks after its loop again.
    eventually:true(fun() -> length(handlers()) =< length(callers()) + 1 end),
    open([Handler]),
    ?assertEqual([{ok, {<<"blocking">>, lists:seq(0, 99)}}], eventually:workers([Call], call)).

%% From outside

an_interrupt_ends_the_loop(Config) ->
    gate(gate),
    echo(),
    Call = in_background(interrupted, [loop(Config), gate, echo]),
    Handlers = entered(1),
    ok = py:interrupt(py:context(1)),
    ?assertEqual([{ok, {{<<"raised">>, <<"KeyboardInterrupt">>}, {<<"returned">>, 2}}}],
                 eventually:workers([Call], call)),
    open(Handlers).

a_timeout_of_the_call_ends_the_loop(Config) ->
    gate(gate),
    echo(),
    ?assertEqual({error, timeout},
                 py:call(py:context(1), ?CASES, one, [loop(Config), gate, 1], #{timeout => 200})),
    open(entered(1)),
    ?assertEqual(5, in(?CASES, one, [loop(Config), echo, 5])).

%% Of a context, and of a thread that nobody can interrupt otherwise.
the_application_stops(Config) ->
    gate(gate),
    none = in(?CASES, keep_thread, [thread, loop(Config), gate, echo]),
    Call = in_background(one, [loop(Config), gate, 1]),
    Handlers = entered(2),
    ok = application:stop(penstock),
    [{error, {Reason, _}}] = eventually:workers([Call], call),
    ?assert(lists:member(Reason, [context_died, 'ApplicationStopped'])),
    open(Handlers),
    {ok, _} = application:ensure_all_started(penstock),
    eventually:equal({<<"raised">>, <<"ApplicationStopped">>, <<>>},
                     fun() -> in(?CASES, kept_result, [thread]) end),
    echo(),
    ?assertEqual(5, in(?CASES, one, [loop(Config), echo, 5])),
    ?assertEqual({ok, 5}, py:call(py:context(2), ?CASES, one, [loop(Config), echo, 5])).

a_loop_that_another_context_has_run(Config) ->
    echo(),
    gate(gate),
    ?assertEqual(5, in(?CASES, on_shared, [loop(Config), echo, 5])),
    ?assertEqual({error, timeout}, py:call(py:context(2), ?CASES, on_shared,
                                           [loop(Config), gate, 1], #{timeout => 200})),
    open(entered(1)),
    usable(py:context(2)),
    none = in(?CASES, close_shared, [loop(Config)]).

%% Of a loop in which nobody waits for Erlang.
an_interrupt_ends_an_iteration_of_ones_own(_) ->
    ?assertEqual({error, timeout}, py:call(py:context(1), ?CASES, sleep_on, [own_iteration],
                                           #{timeout => 200})),
    usable(py:context(1)).

outside_of_a_loop(_) ->
    echo(),
    ?assertEqual({true, {<<"raised">>, <<"RuntimeError">>}, 7}, in(?CASES, outside, [echo])).

%% It is woken for the answer, and not before.
an_idle_loop_sleeps(_) ->
    gate(gate),
    Call = in_background(wakeups, [asyncio, gate]),
    [Handler] = entered(1),
    receive after 300 -> ok end,  % sleep: time in which a loop that polls would come round
    open([Handler]),
    [{ok, {1, Rounds}}] = eventually:workers([Call], call),
    ?assert(Rounds < 10).

nothing_is_left(Config) ->
    eventually:counters_return_to(?config(counters, Config)).

%% Steps

loop(Config) ->
    ?config(loop, Config).

in_background(Function, Args) ->
    eventually:worker(fun() -> py:call(py:context(1), ?CASES, Function, Args) end).
