%% SPDX-License-Identifier: Apache-2.0
%% Ways to a deadlock between the GIL, locks of Python's, schedulers and contexts. None may take
%% longer than ten seconds; the stacks are written after eight.
-module(py_deadlock_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(py_call_case, [echo/0, entered/1, gate/1, in/3, open/1, size/2, usable/1]).

-compile([export_all, nowarn_export_all]).

-define(CASES, deadlock_cases).
-define(LIMIT_MS, 10000).
%% A timeout that ends what waits for a thread that cannot answer.
-define(OPTIONS, #{timeout => 200}).

suite() ->
    [{timetrap, {seconds, 60}}].

%% In the order of the patterns.
all() ->
    [{group, locks}, {group, schedulers}, {group, calls_to_oneself}, {group, cycles},
     {group, deaths}, {group, places}, {group, full_queues}, {group, hooks}, {group, process},
     nothing_is_left].

groups() ->
    [{locks, [],
      [a_lock_is_held_across_a_call, threads_want_the_lock_of_one_that_calls,
       a_handler_wants_the_lock_in_another_context, collections_while_threads_call]},
     {schedulers, [],
      [no_native_function_waits_for_the_gil, what_erlang_drops_needs_no_gil,
       handlers_run_while_the_gil_is_held, one_scheduler_is_enough]},
     {calls_to_oneself, [],
      [many_processes_call_round_about, calls_to_oneself_are_interrupted,
       a_call_to_oneself_by_way_of_the_pool]},
     {cycles, [],
      [a_cycle_of_two, a_cycle_of_three, cycles_of_one_direction_side_by_side]},
     {deaths, [],
      [callers_are_killed_while_they_wait, handlers_are_killed_while_they_call,
       callers_that_die_have_namespaces]},
     {places, [],
      [a_thread_calls_the_context_that_joins_it, a_pool_calls_the_context_that_waits_for_it,
       a_loop_and_its_executor, a_loop_in_a_thread, a_collection_calls_its_own_context,
       an_import_is_begun_inside_of_itself]},
     {full_queues, [],
      [contexts_at_full_rate, a_channel_of_one_message_between_contexts]},
     {hooks, [],
      [logging_calls_erlang, logging_calls_erlang_which_logs, threads_log_at_once,
       a_thread_logs_while_its_handler_logs_elsewhere, a_trace_function_calls_erlang,
       an_unraisable_hook_calls_erlang]},
     {process, [],
      [functions_at_exit_call_erlang, functions_around_fork_call_erlang]}].

init_per_suite(Config) ->
    py_call_case:start(3, Config).

end_per_suite(Config) ->
    py_call_case:stop(Config).

init_per_testcase(Case, Config) ->
    [{began, erlang:monotonic_time(millisecond)} | py_call_case:watch(Case, Config)].

end_per_testcase(Case, Config) ->
    Took = erlang:monotonic_time(millisecond) - ?config(began, Config),
    py_call_case:unwatch(Case, Config, fun() ->
                                               eventually:silence(),
                                               ?assert(Took < size(?LIMIT_MS, 5 * ?LIMIT_MS))
                                       end).

%% 1. A lock is held with the GIL, or wanted with it

a_lock_is_held_across_a_call(_) ->
    into(back, 1),
    ?assertEqual(5, in(?CASES, under_a_lock, [back, 5])),
    %% By the same thread once more.
    Context = py:context(1),
    echo(),
    ok = py:register_function(again, fun([N]) ->
                                             value(py:call(Context, ?CASES, under_a_lock,
                                                           [echo, N]))
                                     end),
    ?assertEqual(5, in(?CASES, under_a_lock, [again, 5])).

threads_want_the_lock_of_one_that_calls(_) ->
    into(back, 2),
    Calls = size(100, 10),
    ?assertEqual(lists:duplicate(8, returned(Calls)),
                 in(?CASES, threads_under_a_lock, [back, 8, Calls])).

%% Python's own deadlock, which the handler's timeout ends.
a_handler_wants_the_lock_in_another_context(_) ->
    echo(),
    ok = py:register_function(wants, fun([N]) ->
                                             {error, timeout} =
                                                 py:call(py:context(2), ?CASES, under_a_lock,
                                                         [echo, N], ?OPTIONS),
                                             N
                                     end),
    ?assertEqual(5, in(?CASES, under_a_lock, [wants, 5])),
    usable(py:context(2)).

collections_while_threads_call(_) ->
    into(back, 2),
    Count = size(200, 20),
    ?assertEqual(lists:duplicate(4, returned(Count)),
                 in(?CASES, collect_while_calling, [back, Count])).

%% 2. A scheduler waits for the GIL

%% While a piece of C code keeps it: each comes back long before that ends.
no_native_function_waits_for_the_gil(_) ->
    {Context, Holder} = holding_the_gil(),
    {ok, Native} = py_context:lookup(py:context(2)),
    {ok, Channel} = made:channel(),
    [begin
         {ok, Call} = py_nif:context_submit(Native, call, {<<"math">>, <<"sqrt">>, [4], #{}},
                                            make_ref(), [Context]),
         ok = py_nif:context_interrupt(Native, Call),
         cancelled = py_nif:call_cancel(Call),
         ok = py_channel:send(Channel, {N, self()}),
         {ok, _} = py_nif:channel_try_receive(Channel),
         _ = py_nif:debug_counters()
     end || N <- lists:seq(1, 100)],
    ok = py_channel:close(Channel),
    %% It is held even now.
    eventually:silence(),
    ?assertEqual([{ok, <<"held">>}], eventually:workers([Holder], holder)),
    usable(py:context(2)).

%% References to what Python made, dropped by schedulers.
what_erlang_drops_needs_no_gil(_) ->
    {ok, Lent} = py:eval(py:context(2), <<"[bytes(100000) for _ in range(200)]">>),
    ?assertEqual(200, length(Lent)),
    #{pinned_bytes := Before} = py_nif:debug_counters(),
    ?assert(Before >= 200 * 100000),
    Test = self(),
    Keeper = spawn(fun() ->
                       receive {keep, Kept} -> Test ! kept, receive stop -> Kept end end
                   end),
    Keeper ! {keep, Lent},
    receive kept -> ok end,
    {_, Holder} = holding_the_gil(),
    eventually:dead(Keeper),
    true = erlang:garbage_collect(),
    ?assertEqual([{ok, <<"held">>}], eventually:workers([Holder], holder)),
    usable(py:context(2)).

handlers_run_while_the_gil_is_held(_) ->
    gate(gate),
    Call = in_background(2, erlang, call, [gate, 1]),
    Handlers = entered(1),
    {_, Holder} = holding_the_gil(),
    Monitors = [monitor(process, Handler) || Handler <- Handlers],
    [exit(Handler, kill) || Handler <- Handlers],
    [receive {'DOWN', Monitor, process, _, killed} -> ok end || Monitor <- Monitors],
    ?assertEqual([{ok, <<"held">>}], eventually:workers([Holder], holder)),
    ?assertMatch([{error, {'RuntimeError', "exit: killed"}}], eventually:workers([Call], call)).

%% A VM that has no other one to fall back on.
one_scheduler_is_enough(Config) ->
    Python = filename:join(filename:dirname(filename:dirname(?config(data_dir, Config))),
                           "python"),
    {ok, Peer, _} = peer:start_link(#{connection => standard_io, args => ["+S", "1:1"]}),
    ok = peer:call(Peer, code, add_paths, [code:get_path()]),
    true = peer:call(Peer, os, putenv, ["PENSTOCK_PRIV", plain_priv()]),
    {ok, _} = peer:call(Peer, application, ensure_all_started, [penstock], 60000),
    ?assertEqual(1, peer:call(Peer, erlang, system_info, [schedulers_online])),
    ok = peer:call(Peer, py, exec, [["import sys; sys.path.insert(0, '", Python, "')"]]),
    ?assertEqual({ok, 55}, peer:call(Peer, ?MODULE, in_one_scheduler, [10], 30000)),
    peer:stop(Peer).

in_one_scheduler(Depth) ->
    Context = py:context(1),
    ok = py:register_function(down, fun([N]) ->
                                            value(py:call(Context, reentrancy_cases, down, [N]))
                                    end),
    py:call(Context, reentrancy_cases, down, [Depth]).

%% The peer does not run under a sanitizer.
plain_priv() ->
    filename:join(filename:dirname(code:where_is_file("py_nif.beam")), "../priv").

%% 3. A context calls itself

many_processes_call_round_about(_) ->
    into(back, 1),
    Count = size(100, 10),
    Workers = [in_background(1, erlang, call, [back, N]) || N <- lists:seq(1, Count)],
    ?assertEqual([{ok, N} || N <- lists:seq(1, Count)], eventually:workers(Workers, workers)).

calls_to_oneself_are_interrupted(_) ->
    Context = py:context(1),
    into(back, 1),
    [begin
         Worker = in_background(1, erlang, call, [back, N]),
         ok = py:interrupt(Context),
         [Result] = eventually:workers([Worker], worker),
         ?assert(lists:member(Result, [{ok, N}, {error, interrupted}])
                 orelse element(1, element(2, Result)) =:= 'RuntimeError')
     end || N <- lists:seq(1, size(500, 50))],
    usable(Context).

a_call_to_oneself_by_way_of_the_pool(_) ->
    ok = py:register_function(back, fun([N]) ->
                                            ok = py_context_router:unbind_context(),
                                            value(py:call(reentrancy_cases, identity, [N]))
                                    end),
    [?assertEqual({ok, N}, py:call(py:context(N rem 3 + 1), erlang, call, [back, N]))
     || N <- lists:seq(1, size(300, 50))].

%% 4. Cycles

a_cycle_of_two(_) ->
    cycle([2, 1, 2, 1]).

a_cycle_of_three(_) ->
    cycle([2, 3, 1, 2, 3, 1]).

%% The way back is known to the context that waits; another process on the same way waits its turn.
cycles_of_one_direction_side_by_side(_) ->
    along(),
    Workers = [in_background(1, reentrancy_cases, along, [[1, 2, 3, 1, 2, 3]])
               || _ <- lists:seq(1, size(50, 10))],
    ?assertEqual([{ok, [1, 2, 3, 1, 2, 3]}], lists:usort(eventually:workers(Workers, workers))).

cycle(Places) ->
    along(),
    [?assertEqual({ok, [1 | Places]},
                  py:call(py:context(1), reentrancy_cases, along, [[1 | Places]]))
     || _ <- lists:seq(1, size(100, 10))].

%% 5. Somebody dies meanwhile

callers_are_killed_while_they_wait(_) ->
    gate(gate),
    [begin
         Caller = spawn(fun() -> py:call(py:context(1), erlang, call, [gate, N]) end),
         Handlers = entered(1),
         exit(Caller, kill),
         open(Handlers),
         usable(py:context(1))
     end || N <- lists:seq(1, size(100, 10))].

handlers_are_killed_while_they_call(_) ->
    gate(gate),
    Test = self(),
    Context = py:context(1),
    ok = py:register_function(outer, fun([N]) ->
                                             Test ! {outer, self()},
                                             py:call(Context, erlang, call, [gate, N])
                                     end),
    [begin
         Call = in_background(1, erlang, call, [outer, N]),
         {outer, Handler} = eventually:message(outer),
         Inner = entered(1),
         exit(Handler, kill),
         [exit(Each, kill) || Each <- Inner],
         ?assertEqual([{error, {'RuntimeError', "exit: killed"}}],
                      eventually:workers([Call], call))
     end || N <- lists:seq(1, size(100, 10))].

%% The VM tells the library of each death, while Python makes and drops namespaces.
callers_that_die_have_namespaces(_) ->
    echo(),
    [begin
         Callers = [spawn(fun() -> py:exec(py:context(N rem 3 + 1),
                                           <<"import erlang\nx = erlang.call('echo', 1)">>) end)
                    || N <- lists:seq(1, 100)],
         [exit(Caller, kill) || Caller <- Callers]
     end || _ <- lists:seq(1, size(20, 2))],
    [usable(py:context(Place)) || Place <- [1, 2, 3]].

%% 6. Where a call may come from

%% That context cannot run anything before the thread has ended: the handler's timeout says so.
a_thread_calls_the_context_that_joins_it(_) ->
    calls_with_a_timeout(1),
    ?assertEqual(returned({<<"error">>, <<"timeout">>}), in(?CASES, joined_thread, [calls])),
    calls_with_a_timeout(2),
    ?assertEqual(returned({<<"ok">>, <<"thread">>}), in(?CASES, joined_thread, [calls])).

a_pool_calls_the_context_that_waits_for_it(_) ->
    calls_with_a_timeout(1),
    ?assertEqual(lists:duplicate(4, returned({<<"error">>, <<"timeout">>})),
                 in(?CASES, pooled_thread, [calls])),
    calls_with_a_timeout(2),
    [?assertEqual(returned({<<"ok">>, <<"thread">>}), Result)
     || Result <- in(?CASES, pooled_thread, [calls])].

a_loop_and_its_executor(_) ->
    into(back, 2),
    ?assertEqual([0, 1, 2, 3, 0, 1, 2, 3], in(?CASES, loop_and_executor, [back])).

a_loop_in_a_thread(_) ->
    into(back, 2),
    ?assertEqual(returned(lists:seq(0, 19)), in(?CASES, loop_in_a_thread, [back])).

a_collection_calls_its_own_context(_) ->
    into(back, 1),
    ?assertEqual([returned(<<"collected">>)], in(?CASES, call_inside_of_a_collection, [back])).

%% The handler asks the thread that imports to import the same.
an_import_is_begun_inside_of_itself(_) ->
    Context = py:context(1),
    ok = py:register_function(at_import,
                              fun([N]) ->
                                      value(py:eval(Context,
                                                    <<"'calls_at_import' in "
                                                      "dir(__import__('calls_at_import')) "
                                                      "or n">>, #{n => N}))
                              end),
    echo(),
    ?assertEqual(1, in(?CASES, importing, [echo])).

%% 7. Everything is full

contexts_at_full_rate(_) ->
    into(second, 2),
    into(third, 3),
    Calls = size(2000, 100),
    Workers = [in_background(1, ?CASES, rate, [second, Calls]),
               in_background(2, ?CASES, rate, [third, Calls]),
               in_background(1, ?CASES, rate, [third, Calls])],
    ?assertEqual(lists:duplicate(3, {ok, Calls}), eventually:workers(Workers, workers)).

a_channel_of_one_message_between_contexts(_) ->
    into(back, 3),
    {ok, Channel} = made:channel(#{max_size => 8}),
    Count = size(2000, 100),
    Workers = [in_background(1, ?CASES, send_all, [Channel, Count]),
               in_background(2, ?CASES, receive_all, [Channel, Count, back])],
    ?assertEqual([{ok, none}, {ok, Count * (Count - 1) div 2}],
                 eventually:workers(Workers, workers)),
    ok = py_channel:close(Channel).  % Until here somebody could have sent.

%% 8. is with 5: the VM's own notices. 9. Hooks of Python's that call Erlang

logging_calls_erlang(_) ->
    tells(log),
    none = in(?CASES, log, [log, <<"text">>]),
    ?assertEqual({told, <<"text">>}, eventually:message(told)).

%% With logging's lock held by the thread that runs what the handler asks for.
logging_calls_erlang_which_logs(_) ->
    Context = py:context(1),
    Test = self(),
    ok = py:register_function(log, fun([<<"again">>]) -> Test ! {told, again};
                                      ([Text]) ->
                                           Test ! {told, Text},
                                           py:call(Context, ?CASES, log_again, [again])
                                   end),
    none = in(?CASES, log, [log, <<"text">>]),
    ?assertEqual([{told, <<"text">>}, {told, again}],
                 [eventually:message(told), eventually:message(told)]).

threads_log_at_once(_) ->
    into(log, 2),
    ?assertEqual(lists:duplicate(4, returned(none)),
                 in(?CASES, log_in_threads, [log, 4, size(100, 10)])).

%% Python's own deadlock, which the handler's timeout ends.
a_thread_logs_while_its_handler_logs_elsewhere(_) ->
    Test = self(),
    ok = py:register_function(log, fun([<<"text">>]) ->
                                           Test ! {told, py:call(py:context(2), ?CASES, log_again,
                                                                 [again], ?OPTIONS)};
                                      ([_]) -> again
                                   end),
    none = in(?CASES, log, [log, <<"text">>]),
    ?assertEqual({told, {error, timeout}}, eventually:message(told)),
    %% The interrupt may have come between logging's taking its lock and its trying to let it go.
    none = in(?CASES, forget_logger, []),
    usable(py:context(2)).

a_trace_function_calls_erlang(_) ->
    into(back, 1),
    Count = size(100, 10),
    ?assertEqual({Count * (Count - 1) div 2, true}, in(?CASES, traced, [back, Count])).

an_unraisable_hook_calls_erlang(_) ->
    tells(log),
    none = in(?CASES, unraisable, [log]),
    ?assertEqual({told, <<"LookupError">>}, eventually:message(told)).

%% 10. The ends of processes

functions_at_exit_call_erlang(_) ->
    tells(log),
    none = in(?CASES, at_exit, [log]),
    ?assertEqual({told, <<"at exit">>}, eventually:message(told)),
    usable(py:context(1)).

functions_around_fork_call_erlang(_) ->
    tells(log),
    none = in(?CASES, fork, [log]),
    ?assertEqual([{told, <<"fork">>}, {told, <<"fork">>}],
                 [eventually:message(told), eventually:message(told)]),
    usable(py:context(1)).

nothing_is_left(Config) ->
    eventually:counters_return_to(?config(counters, Config)).

%% Steps

value({ok, Value}) -> Value.

returned(Value) -> {<<"returned">>, Value}.

%% Returns what it is given, by way of a context.
into(Name, Place) ->
    ok = py:register_function(Name, fun([N]) ->
                                            value(py:call(py:context(Place), reentrancy_cases,
                                                          identity, [N]))
                                    end).

calls_with_a_timeout(Place) ->
    ok = py:register_function(calls, fun([N]) ->
                                             py:call(py:context(Place), reentrancy_cases, identity,
                                                     [N], ?OPTIONS)
                                     end).

along() ->
    ok = py:register_function(along, fun([[]]) -> [];
                                        ([[Place | _] = Places]) ->
                                             value(py:call(py:context(Place), reentrancy_cases,
                                                           along, [Places]))
                                     end).

tells(Name) ->
    Test = self(),
    ok = py:register_function(Name, fun([Value]) -> Test ! {told, Value}, ok end).

in_background(Place, Module, Function, Args) ->
    eventually:worker(fun() -> py:call(py:context(Place), Module, Function, Args) end).

%% A context whose thread keeps the GIL for half a second, from now on.
holding_the_gil() ->
    Context = py:context(1),
    Holder = in_background(1, ?CASES, hold_gil_and_tell, [self(), 500000]),
    _ = eventually:message(<<"holding">>),
    {Context, Holder}.
