%% SPDX-License-Identifier: Apache-2.0
%% Calls that go on elsewhere: erlang.schedule, schedule_py, schedule_inline, consume_time_slice.
-module(py_schedule_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(py_call_case, [echo/0, entered/1, gate/1, in/3, open/1, size/2, usable/1]).

-compile([export_all, nowarn_export_all]).

-define(CASES, schedule_cases).
-define(MIB, 1048576).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, markers}, {group, chains}, {group, namespaces}, {group, errors}, {group, ended},
     {group, nested}, {group, slices}, nothing_is_left].

groups() ->
    [{markers, [],
      [a_function_of_erlang, a_function_of_python, a_function_inline, keyword_arguments,
       plain_returns_let_it_through, from_eval, exec_has_no_value, a_marker_inside_of_a_list,
       markers_have_a_repr, wrong_arguments, arguments_inline_stay_what_they_are,
       arguments_elsewhere_are_converted]},
     {chains, [],
      [a_hundred_thousand_hops, hops_need_no_memory, hops_behind_other_requests,
       others_get_their_turn, a_chain_waits_for_another_request, chains_take_turns, mixed_hops,
       many_chains_at_once]},
     {namespaces, [],
      [the_callers_namespace_comes_first, then_comes_main, a_marker_of_a_module_knows_it,
       each_caller_has_its_own]},
     {errors, [],
      [a_hop_that_fails, functions_that_do_not_exist, functions_of_erlang_that_fail]},
     {ended, [],
      [a_timeout_ends_a_chain, an_interrupt_ends_a_chain, a_chain_may_catch_an_interrupt,
       a_timeout_while_erlang_goes_on, a_killed_handler, a_killed_caller, a_killed_context]},
     {nested, [],
      [markers_of_a_nested_call, a_call_and_then_a_marker, a_marker_of_a_coroutines_result]},
     {slices, [],
      [what_a_slice_takes, a_slice_is_used_up, time_counts, each_request_has_a_slice,
       work_is_split]}].

init_per_suite(Config) ->
    py_call_case:start(2, Config).

end_per_suite(Config) ->
    py_call_case:stop(Config).

init_per_testcase(Case, Config) ->
    py_call_case:watch(Case, Config).

end_per_testcase(Case, Config) ->
    py_call_case:unwatch(Case, Config, fun eventually:silence/0).

%% Markers

a_function_of_erlang(_) ->
    ok = py:register_function(add, fun([A, B]) -> {A + B, self()} end),
    {3, Pid} = in(?CASES, to_erlang, [add, 1, 2]),
    ?assertNotEqual(py:context(1), Pid),
    ?assertNotEqual(self(), Pid).

a_function_of_python(_) ->
    [?assertEqual(3, in(?CASES, Kind, [?CASES, add, [1, 2]])) || Kind <- [to_python, inline]],
    [?assertEqual(9, in(?CASES, Kind, [?CASES, add, {1, 2}, #{times => 3}]))
     || Kind <- [to_python, inline]],
    [?assertEqual(4.0, in(?CASES, Kind, [math, sqrt, [16]])) || Kind <- [to_python, inline]],
    [?assertEqual(<<"a/b">>, in(?CASES, Kind, ['os.path', join, [a, b]]))
     || Kind <- [to_python, inline]].

a_function_inline(_) ->
    ?assertEqual(#{}, in(?CASES, inline, [builtins, dict])),
    ?assertEqual(#{}, in(?CASES, inline, [builtins, dict, none, none])),
    ?assertEqual(#{}, in(?CASES, to_python, [builtins, dict, none, none])).

keyword_arguments(_) ->
    [?assertEqual(30, in(?CASES, by_keywords, [Kind])) || Kind <- [schedule_py, schedule_inline]].

plain_returns_let_it_through(_) ->
    echo(),
    ?assertEqual(0, in(?CASES, deep, [100, echo])).

from_eval(_) ->
    echo(),
    Context = py:context(1),
    ok = py:exec(Context, <<"import erlang">>),
    ?assertEqual({ok, 5}, py:eval(Context, <<"erlang.schedule('echo', 5)">>)),
    ?assertEqual({ok, 2.0}, py:eval(Context, <<"erlang.schedule_py('math', 'sqrt', [4])">>)),
    ?assertEqual({ok, 2.0}, py:eval(Context, <<"erlang.schedule_inline('math', 'sqrt', [4])">>)),
    ?assertEqual({ok, 2.0}, py:eval(<<"__import__('erlang').schedule_py('math', 'sqrt', [4])">>)).

exec_has_no_value(_) ->
    ok = py:register_function(never, fun(_) -> error(called) end),
    ?assertEqual(ok, py:exec(py:context(1), <<"import erlang\nerlang.schedule('never')">>)),
    usable(py:context(1)).

a_marker_inside_of_a_list(_) ->
    [?assertMatch(<<"[<erlang.", _/binary>>, in(?CASES, in_a_list, [Kind]))
     || Kind <- [schedule_py, schedule_inline]],
    {error, {'TypeError', Text}} = py:call(py:context(1), ?CASES, leaky_list, []),
    ?assertNotEqual(nomatch, string:find(Text, "ScheduleMarker")).

markers_have_a_repr(_) ->
    ?assertEqual([<<"<erlang.ScheduleMarker callback='name'>">>, <<"<erlang.ScheduleMarker m.f>">>,
                  <<"<erlang.InlineScheduleMarker m.f>">>, true, true, true],
                 in(?CASES, reprs, [])).

wrong_arguments(_) ->
    Wrong = in(?CASES, wrong_arguments, []),
    ?assertEqual(14, map_size(Wrong)),
    ?assertEqual([<<"TypeError">>], lists:usort(maps:values(Wrong))).

arguments_inline_stay_what_they_are(_) ->
    ?assertEqual(10, in(?CASES, keep_objects, [10])).

arguments_elsewhere_are_converted(_) ->
    echo(),
    [begin
         {error, {'TypeError', Text}} =
             py:call(py:context(1), ?CASES, object_through_erlang, [Kind]),
         ?assertNotEqual(nomatch, string:find(Text, "Opaque"))
     end || Kind <- [py, erlang]],
    usable(py:context(1)).

%% Chains

a_hundred_thousand_hops(_) ->
    Count = size(100000, 5000),
    ?assertEqual(Count, in(?CASES, chain, [schedule_inline, Count])).

hops_need_no_memory(_) ->
    Count = size(100000, 5000),
    Grown = in(?CASES, measured_chain, [Count]),
    ct:log("grown by ~b KiB", [Grown div 1024]),
    ?assert(Grown < size(2 * ?MIB, 16 * ?MIB)).

hops_behind_other_requests(_) ->
    Count = size(20000, 500),
    ?assertEqual(Count, in(?CASES, chain, [schedule_py, Count])).

%% A chain without an end does not keep others out.
others_get_their_turn(_) ->
    Context = py:context(1),
    [begin
         Chain = in_background(begin_for_ever, [Kind, self()]),
         _ = eventually:message(<<"began">>),
         [?assertEqual({ok, N}, py:call(Context, call_cases, identity, [N]))
          || N <- lists:seq(1, 100)],
         usable(Context),
         {ok, First} = py:call(Context, ?CASES, hops_so_far, []),
         eventually:true(fun() -> py:call(Context, ?CASES, hops_so_far, []) > {ok, First} end),
         interrupt_until_ended(Context, Chain)
     end || Kind <- [schedule_inline, schedule_py]].

%% What it waits for can only run between its hops.
a_chain_waits_for_another_request(_) ->
    none = in(?CASES, forget_order, []),
    Chain = in_background(until, [flag]),
    {ok, <<"flag">>} = py:call(py:context(1), ?CASES, note, [flag]),
    [{ok, Hops}] = eventually:workers([Chain], chain),
    ?assert(is_integer(Hops)).

%% None gets two hops in a row while others wait.
chains_take_turns(_) ->
    Context = py:context(1),
    none = in(?CASES, forget_order, []),
    %% Both are queued while the context is busy.
    gate(gate),
    Busy = in_background(erlang, call, [gate, 1]),
    Handlers = entered(1),
    Refs = [begin
                Ref = make_ref(),
                ok = py_context:submit(Context, call,
                                       {atom_to_binary(?CASES), <<"turns">>, [Name, 5], #{}}, Ref),
                Ref
            end || Name <- [<<"a">>, <<"b">>]],
    open(Handlers),
    [{ok, 1}] = eventually:workers([Busy], busy),
    [_, {ok, Order}] = [receive {Ref, Result} -> Result end || Ref <- Refs],
    ?assertEqual(<<"ababababab">>, Order).

mixed_hops(_) ->
    echo(),
    ?assertEqual(<<"end">>, in(?CASES, mixed, [echo, 300])),
    %% Through Erlang, too, whose function calls Python again.
    Context = py:context(1),
    ok = py:register_function(go_on, fun([N]) ->
                                             {ok, Value} = py:call(Context, ?CASES, chain,
                                                                   [schedule_inline, N]),
                                             Value
                                     end),
    ?assertEqual(50, in(?CASES, to_erlang, [go_on, 50])).

many_chains_at_once(_) ->
    Hops = size(200, 20),
    Workers = [eventually:worker(fun() ->
                                         py:call(py:context(N rem 2 + 1), ?CASES, chain,
                                                 [lists:nth(N rem 2 + 1, [schedule_inline,
                                                                          schedule_py]), Hops + N])
                                 end) || N <- lists:seq(1, 50)],
    ?assertEqual([{ok, Hops + N} || N <- lists:seq(1, 50)],
                 eventually:workers(Workers, workers)).

%% Namespaces

the_callers_namespace_comes_first(_) ->
    Context = py:context(1),
    ok = py:exec(Context, <<"import erlang, sys\n"
                            "def where(): return 'namespace'\n"
                            "def begin(kind): return getattr(erlang, kind)('__main__', 'where')\n"
                            "sys.modules['__main__'].where = lambda: 'main'\n">>),
    [?assertEqual({ok, <<"namespace">>}, py:call(Context, '__main__', 'begin', [Kind]))
     || Kind <- [schedule_py, schedule_inline]],
    [?assertEqual({ok, <<"namespace">>},
                  py:eval(Context, ["erlang.", Kind, "('__main__', 'where')"]))
     || Kind <- ["schedule_py", "schedule_inline"]],
    ok = py:exec(Context, <<"del sys.modules['__main__'].where">>).

then_comes_main(_) ->
    Context = py:context(1),
    ok = py:exec(Context, <<"import erlang, sys\n"
                            "sys.modules['__main__'].only_there = lambda: 'main'\n">>),
    [?assertEqual({ok, <<"main">>},
                  py:eval(Context, ["erlang.", Kind, "('__main__', 'only_there')"]))
     || Kind <- ["schedule_py", "schedule_inline"]],
    ok = py:exec(Context, <<"del sys.modules['__main__'].only_there">>).

a_marker_of_a_module_knows_it(_) ->
    [?assertEqual(5, in(?CASES, chain, [Kind, 5])) || Kind <- [schedule_py, schedule_inline]].

%% Chains that run in turns on one thread.
each_caller_has_its_own(_) ->
    Context = py:context(1),
    Hops = size(200, 20),
    Workers = [eventually:worker(
                 fun() ->
                         ok = py:exec(Context,
                                      ["import erlang\n"
                                       "me = ", integer_to_list(N), "\n"
                                       "def go(kind, left):\n"
                                       "    if left == 0: return me\n"
                                       "    return getattr(erlang, kind)('__main__', 'go', "
                                       "[kind, left - 1])\n"]),
                         [{ok, N} = py:call(Context, '__main__', go, [Kind, Hops])
                          || Kind <- [schedule_inline, schedule_py]],
                         N
                 end) || N <- lists:seq(1, 20)],
    ?assertEqual(lists:seq(1, 20), eventually:workers(Workers, workers)).

%% Errors

a_hop_that_fails(_) ->
    [?assertEqual({error, {'LookupError', "on the way"}},
                  py:call(py:context(1), ?CASES, fail_after, [Kind, Count]))
     || Kind <- [schedule_py, schedule_inline], Count <- [0, 1, 10]],
    usable(py:context(1)).

functions_that_do_not_exist(_) ->
    Context = py:context(1),
    [?assertMatch({error, {'NameError', _}}, py:call(Context, ?CASES, inline, [Module, nothing]))
     || Module <- [?CASES, math, '__main__']],
    [?assertMatch({error, {'AttributeError', _}},
                  py:call(Context, ?CASES, to_python, [Module, nothing]))
     || Module <- [?CASES, math, '__main__']],
    [?assertMatch({error, {'ModuleNotFoundError', _}},
                  py:call(Context, ?CASES, Kind, [nowhere, nothing]))
     || Kind <- [inline, to_python]],
    [?assertMatch({error, {'TypeError', _}}, py:call(Context, ?CASES, Kind, [?CASES, add, [1]]))
     || Kind <- [inline, to_python]],
    usable(Context).

functions_of_erlang_that_fail(_) ->
    Context = py:context(1),
    ok = py:register_function(fail, fun([<<"error">>]) -> error(x);
                                       ([<<"throw">>]) -> throw(x);
                                       ([<<"exit">>]) -> exit(x)
                                    end),
    [?assertEqual({error, {'RuntimeError', Text}},
                  py:call(Context, ?CASES, to_erlang, [fail, Class]))
     || {Class, Text} <- [{error, "error: x"}, {throw, "throw: x"}, {exit, "exit: x"}]],
    ?assertEqual({error, {'RuntimeError', "Function 'nowhere' not registered"}},
                 py:call(Context, ?CASES, to_erlang, [nowhere])),
    %% What it returns never goes to Python, so it may be anything.
    ok = py:register_function(give, fun([]) -> [a | b] end),
    ?assertEqual({ok, [a | b]}, py:call(Context, ?CASES, to_erlang, [give])).

%% Calls that are ended

a_timeout_ends_a_chain(_) ->
    Context = py:context(1),
    [begin
         ?assertEqual({error, timeout},
                      py:call(Context, ?CASES, for_ever, [Kind], #{timeout => 100})),
         usable(Context),
         %% It does not go on.
         Hops = py:call(Context, ?CASES, hops_so_far, []),
         usable(Context),
         ?assertEqual(Hops, py:call(Context, ?CASES, hops_so_far, []))
     end || Kind <- [schedule_inline, schedule_py]].

an_interrupt_ends_a_chain(_) ->
    Context = py:context(1),
    [begin
         Chain = in_background(begin_for_ever, [Kind, self()]),
         _ = eventually:message(<<"began">>),
         interrupt_until_ended(Context, Chain),
         usable(Context)
     end || Kind <- [schedule_inline, schedule_py]].

a_chain_may_catch_an_interrupt(_) ->
    Context = py:context(1),
    Chain = in_background(catch_interrupt, [schedule_inline]),
    usable(Context),
    Result = interrupted_result(Context, Chain),
    ?assert(lists:member(Result, [{ok, <<"caught">>}, {error, interrupted}])).

%% One may come between two hops, where nothing runs that it could interrupt.
interrupt_until_ended(Context, Chain) ->
    ?assertEqual({error, interrupted}, interrupted_result(Context, Chain)).

interrupted_result(Context, Chain) ->
    ok = py:interrupt(Context),
    receive {worker, Chain, Result} -> Result
    after 20 -> interrupted_result(Context, Chain)
    end.

%% The call is over; the function is not, and its answer reaches nobody.
a_timeout_while_erlang_goes_on(_) ->
    gate(gate),
    Context = py:context(1),
    ?assertEqual({error, timeout},
                 py:call(Context, ?CASES, to_erlang, [gate, late], #{timeout => 100})),
    [Handler] = entered(1),
    usable(Context),
    Monitor = monitor(process, Handler),
    open([Handler]),
    receive {'DOWN', Monitor, process, Handler, Reason} -> ?assertEqual(normal, Reason)
    after 20000 -> error(still_there)
    end.

a_killed_handler(_) ->
    gate(gate),
    Chain = in_background(to_erlang, [gate, 1]),
    [Handler] = entered(1),
    %% The context is free meanwhile.
    usable(py:context(1)),
    exit(Handler, kill),
    ?assertEqual([{error, {'RuntimeError', "exit: killed"}}], eventually:workers([Chain], chain)).

a_killed_caller(_) ->
    Context = py:context(1),
    [begin
         Test = self(),
         Caller = spawn(fun() -> py:call(Context, ?CASES, begin_for_ever, [Kind, Test]) end),
         _ = eventually:message(<<"began">>),
         eventually:dead(Caller),
         %% Nobody would stop it but an interrupt.
         usable(Context),
         exit(Context, kill),
         eventually:true(fun() -> py_context:at(1) =/= {ok, Context}
                                      andalso py_context:at(1) =/= error end),
         usable(py:context(1))
     end || Kind <- [schedule_inline]].

a_killed_context(_) ->
    [begin
         Context = py:context(1),
         Chain = in_background(begin_for_ever, [Kind, self()]),
         _ = eventually:message(<<"began">>),
         exit(Context, kill),
         [{error, {Reason, _}}] = eventually:workers([Chain], chain),
         ?assert(lists:member(Reason, [context_died, 'ApplicationStopped'])),
         eventually:true(fun() -> py_context:at(1) =/= {ok, Context}
                                      andalso py_context:at(1) =/= error end),
         usable(py:context(1))
     end || Kind <- [schedule_inline, schedule_py]].

%% Inside of a call that waits

markers_of_a_nested_call(_) ->
    Context = py:context(1),
    echo(),
    ok = py:register_function(nested, fun([Function, Args]) ->
                                              {ok, Value} = py:call(Context, ?CASES, Function,
                                                                    Args),
                                              Value
                                      end),
    [?assertEqual(Expected, in(erlang, call, [nested, Function, Args]))
     || {Function, Args, Expected} <- [{to_erlang, [echo, 5], 5},
                                       {to_python, [math, sqrt, [16]], 4.0},
                                       {inline, [math, sqrt, [16]], 4.0},
                                       {chain, [schedule_inline, 1000], 1000},
                                       {chain, [schedule_py, 200], 200},
                                       {mixed, [echo, 30], <<"end">>}]].

a_call_and_then_a_marker(_) ->
    echo(),
    ?assertEqual(2, in(?CASES, schedule_and_call, [echo])).

a_marker_of_a_coroutines_result(_) ->
    echo(),
    ?assertEqual(6, in(?CASES, in_a_coroutine, [echo])).

%% Slices

what_a_slice_takes(_) ->
    ?assertEqual([false, <<"ValueError">>, <<"ValueError">>, <<"ValueError">>, <<"ValueError">>,
                  <<"TypeError">>, <<"TypeError">>, <<"TypeError">>],
                 in(?CASES, percents, [[1, 0, 101, -1, 1 bsl 70, 1.5, <<"1">>, none]])),
    ?assertEqual([true], in(?CASES, percents, [[100]])),
    ?assertMatch({error, {'TypeError', _}},
                 py:eval(<<"__import__('erlang').consume_time_slice()">>)).

%% Not later than by what was declared, whatever time has passed.
a_slice_is_used_up(_) ->
    [?assert(lists:member(true, in(?CASES, slices, [Percent, Count])))
     || {Percent, Count} <- [{50, 2}, {25, 4}, {10, 10}, {1, 100}]],
    %% And it begins anew.
    Used = [Is || Is <- in(?CASES, slices, [50, 100]), Is],
    ?assert(length(Used) >= 50),
    ?assertEqual([true, true, true], in(?CASES, slices, [100, 3])).

time_counts(_) ->
    Seconds = in(?CASES, slice_by_time, []),
    ?assert(Seconds < size(0.5, 5)).

%% What one has used is not held against the next: the first try that no switch of the machine's
%% interrupts shows it.
each_request_has_a_slice(_) ->
    eventually:equal([false], fun() ->
                                      _ = in(?CASES, slices, [99, 1]),
                                      in(?CASES, slices, [50, 1])
                              end).

work_is_split(_) ->
    ?assertEqual(500500, in(?CASES, working, [lists:seq(1, 1000)])).

nothing_is_left(Config) ->
    eventually:counters_return_to(?config(counters, Config)).

%% Steps

in_background(Function, Args) ->
    in_background(?CASES, Function, Args).

in_background(Module, Function, Args) ->
    eventually:worker(fun() -> py:call(py:context(1), Module, Function, Args) end).
