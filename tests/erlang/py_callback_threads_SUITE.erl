%% SPDX-License-Identifier: Apache-2.0
%% Calls of Erlang functions from every kind of thread, and how such calls and threads end.
-module(py_callback_threads_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(py_call_case, [callers/0, echo/0, entered/1, gate/1, handlers/0, in/3, no_more_than/2,
                       open/1, size/2, usable/1]).

-compile([export_all, nowarn_export_all]).

-include("../../nif/src/py_wire.hrl").

-define(CASES, thread_cases).

suite() ->
    [{timetrap, {seconds, 90}}].

all() ->
    [{group, kinds}, {group, many}, {group, ends}, {group, waits}, {group, application},
     nothing_is_left].

groups() ->
    [{kinds, [],
      [a_thread, a_pool_of_threads, a_thread_that_python_did_not_start, the_end_of_an_object,
       the_end_of_a_thread, an_import, an_import_in_several_threads]},
     {many, [],
      [handlers_run_side_by_side, a_waiting_thread_does_not_hold_the_gil,
       every_answer_reaches_its_thread, ten_thousand_short_threads]},
     {ends, [],
      [threads_end_in_every_way, a_killed_handler, a_killed_process_of_a_thread,
       a_thread_whose_processes_are_all_killed, a_handler_that_nobody_watches,
       a_handler_that_answers_meanwhile, a_thread_ends_before_its_process_comes,
       a_handler_outlives_its_thread]},
     {waits, [],
      [an_interrupt_ends_a_wait, a_timeout_ends_a_wait, a_late_answer_reaches_nobody,
       a_killed_caller_leaves_nothing, a_killed_context_ends_its_wait,
       an_interrupt_is_not_for_other_threads, nor_for_a_thread_that_is_being_started]},
     {application, [],
      [the_callback_server_is_killed, a_call_is_lost_with_the_callback_server,
       a_handler_outlives_the_threads_process,
       the_application_stops_while_threads_wait, a_thread_wakes_after_the_application_stopped]}].

init_per_suite(Config) ->
    py_call_case:start(2, Config).

end_per_suite(Config) ->
    py_call_case:stop(Config).

init_per_testcase(Case, Config) ->
    ok = py_call_case:call_from_each_context(),
    [{processes, {length(callers()), length(handlers())}} | py_call_case:watch(Case, Config)].

%% Whatever a case did, no process is left of its threads.
end_per_testcase(Case, Config) ->
    {Callers, Handlers} = ?config(processes, Config),
    py_call_case:unwatch(Case, Config, fun() ->
                                               no_more_than(Callers, Handlers),
                                               eventually:silence()
                                       end).

%% Kinds of threads

a_thread(_) ->
    echo(),
    ?assertEqual(returned(7), in(?CASES, in_thread, [echo, 7])),
    ok = py:register_function(fail, fun([Reason]) -> exit(Reason) end),
    ?assertEqual({<<"raised">>, <<"RuntimeError">>, <<"exit: 7">>},
                 in(?CASES, in_thread, [fail, 7])).

a_pool_of_threads(_) ->
    ok = py:register_function(double, fun([X]) -> 2 * X end),
    Values = lists:seq(1, 200),
    ?assertEqual([2 * X || X <- Values], in(?CASES, in_executor, [4, double, Values])).

a_thread_that_python_did_not_start(_) ->
    echo(),
    Found = in(?CASES, in_foreign_thread, [echo, 5]),
    ?assert(length(Found) >= 4),
    ?assertEqual([5], lists:usort(Found)).

the_end_of_an_object(_) ->
    tells(gone),
    none = in(?CASES, at_the_end_of_objects, [gone]),
    ?assertEqual([<<"cycle">>, <<"reference">>, <<"thread">>], told(3)).

%% What its thread-local variables hold goes when Python has half forgotten the thread.
the_end_of_a_thread(_) ->
    tells(gone),
    Count = size(50, 10),
    ?assertEqual([returned(none)], lists:usort(in(?CASES, at_the_end_of_threads, [gone, Count]))),
    ?assertEqual(lists:seq(0, Count - 1), told(Count)).

an_import(_) ->
    ok = py:register_function(at_import, fun([_]) -> imported end),
    ?assertEqual(<<"imported">>, in(?CASES, at_an_import, [])),
    %% The handler imports, too, in the thread that holds the lock of the import.
    Context = py:context(1),
    ok = py:register_function(at_import, fun([_]) ->
                                                 {ok, Value} = py:call(Context, math, sqrt, [9]),
                                                 Value
                                         end),
    ?assertEqual(3.0, in(?CASES, at_an_import, [])).

an_import_in_several_threads(_) ->
    ok = py:register_function(at_import, fun([_]) -> imported end),
    ?assertEqual(lists:duplicate(8, returned(<<"imported">>)),
                 in(?CASES, at_an_import_in_threads, [8])).

%% Many threads

handlers_run_side_by_side(_) ->
    gate(gate),
    Call = in_background(in_threads, [8, gate]),
    Handlers = entered(8),
    ?assertEqual(8, length(lists:usort(Handlers))),
    open(lists:reverse(Handlers)),
    ?assertEqual([{ok, [returned(N) || N <- lists:seq(0, 7)]}], eventually:workers([Call], call)).

a_waiting_thread_does_not_hold_the_gil(_) ->
    gate(gate),
    Call = in_background(in_threads, [2, gate]),
    Handlers = entered(2),
    %% The other context's thread, and one more.
    echo(),
    [?assertEqual({ok, returned(N)}, py:call(py:context(2), ?CASES, in_thread, [echo, N]))
     || N <- lists:seq(1, 100)],
    open(Handlers),
    ?assertEqual([{ok, [returned(0), returned(1)]}], eventually:workers([Call], call)).

every_answer_reaches_its_thread(_) ->
    ok = py:register_function(next, fun([Thread, Task, Value]) -> {Thread, Task, Value + 1} end),
    Tasks = size(200, 20),
    ?assertEqual(lists:duplicate(8, returned(Tasks * 5)), in(?CASES, chained, [8, Tasks, 5])).

ten_thousand_short_threads(_) ->
    echo(),
    Count = size(10000, 500),
    Before = length(processes()),
    ?assertEqual({ok, Count}, py:call(py:context(1), ?CASES, short_threads, [Count, 50, echo],
                                      #{timeout => 80000})),
    eventually:true(fun() -> length(processes()) =< Before + 5 orelse length(processes()) end).

%% Ends

threads_end_in_every_way(_) ->
    echo(),
    none = in(?CASES, end_in_every_way, [echo, size(120, 24)]).

a_killed_handler(_) ->
    gate(gate),
    Call = in_background(in_threads, [3, gate]),
    [First | Others] = entered(3),
    exit(First, kill),
    open(Others),
    [{ok, Results}] = eventually:workers([Call], call),
    ?assertEqual(1, count({<<"raised">>, <<"RuntimeError">>, <<"exit: killed">>}, Results)),
    ?assertEqual(2, length([N || {<<"returned">>, N} <- Results])).

%% Its handlers go on, and what they answer still reaches the thread; later calls get a new process.
%% The next may be for a handler that ends just then, and says that nobody can answer it.
a_killed_process_of_a_thread(_) ->
    echo(),
    gate(gate),
    Before = callers(),
    Call = in_background(thrice_in_a_thread, [gate, echo]),
    Handlers = entered(1),
    [Caller] = callers() -- Before,
    %% It has told which process the handler is, without which the call would be lost.
    eventually:equal({status, waiting}, fun() -> process_info(Caller, status) end),
    eventually:dead(Caller),
    open(Handlers),
    [{ok, {<<"returned">>, {First, Second, Third}}}] = eventually:workers([Call], call),
    ?assertEqual(returned(1), First),
    case Second of
        {<<"returned">>, 2} -> ok;
        {<<"raised">>, <<"RuntimeError">>, <<"exit: ", _/binary>>} -> ok
    end,
    ?assertEqual(3, Third).

a_thread_whose_processes_are_all_killed(_) ->
    echo(),
    gate(gate),
    Before = callers(),
    Call = in_background(thrice_in_a_thread, [gate, echo]),
    [Handler] = entered(1),
    [Caller] = callers() -- Before,
    eventually:dead(Caller),
    eventually:dead(Handler),
    [{ok, {<<"returned">>, {First, _, Third}}}] = eventually:workers([Call], call),
    ?assertMatch({<<"raised">>, <<"RuntimeError">>, <<"exit: ", _/binary>>}, First),
    ?assertEqual(3, Third).

%% It ends with the process that watched it, with a call still to be done; and what waits inside of
%% keeps the thread's inbox alive.
a_handler_that_nobody_watches(_) ->
    Test = self(),
    Context = py:context(1),
    Inner = fun() -> py:call(Context, erlang, call, [inner, 1], #{timeout => 20000}) end,
    ok = py:register_function(inner, fun([Value]) -> Test ! {inner, self()}, Value end),
    ok = py:register_function(outer, fun([]) -> Inner();
                                        ([1]) -> Holding = end_caller(inner_handler(Test)),
                                                 Result = Inner(),
                                                 Holding ! go_on,
                                                 Result
                                     end),
    {ok, {<<"ok">>, 1}} = py:call(Context, erlang, call, [outer]),
    {inner, Handler} = eventually:message(inner),
    Monitor = monitor(process, Handler),
    Call = in_background(Context, erlang, call, [outer, 1], infinity),
    receive {who, Asking} -> Asking ! {inner_is, Handler} after 20000 -> error(not_called) end,
    [{ok, Result}] = eventually:workers([Call], call),
    case Result of
        {<<"ok">>, 1} -> {inner, _} = eventually:message(inner);
        {<<"error">>, {<<"RuntimeError">>, _}} -> ok
    end,
    receive {'DOWN', Monitor, process, Handler, normal} -> ok
    after 20000 -> error(still_there)
    end,
    usable(Context),
    {ok, {<<"ok">>, 1}} = py:call(Context, erlang, call, [outer]),
    {inner, Last} = eventually:message(inner),
    eventually:dead(Last).  % It would stay for the next call from there.

inner_handler(Test) ->
    Test ! {who, self()},
    receive {inner_is, Handler} -> Handler end.

%% The handler finds that its caller is gone, and behind that what comes until then: it is held for
%% as long as the process that is returned lives.
end_caller(Handler) ->
    {monitors, [{process, Caller}]} = process_info(Handler, monitors),
    Me = self(),
    Holding = spawn_link(fun() ->
                             true = erlang:suspend_process(Handler),
                             eventually:dead(Caller),
                             eventually:true(fun() -> queued(Handler) =:= 1 end),
                             Me ! held,
                             eventually:true(fun() -> queued(Handler) =:= 2 orelse told() end)
                         end),
    receive held -> Holding end.

queued(Pid) ->
    {message_queue_len, Count} = process_info(Pid, message_queue_len),
    Count.

told() ->
    receive go_on -> true after 0 -> false end.

%% Its thread has learned that the process which started it is gone, and waits for another one: it
%% ends after the answer, so it must not get the next call. All processes are played here, since
%% nothing else makes it end just then.
a_handler_that_answers_meanwhile(_) ->
    Server = whereis(py_callback_server),
    true = unregister(py_callback_server),
    true = register(py_callback_server, self()),
    try
        Call = in_background(thrice_in_a_thread, [gate, echo]),
        [First, Handler, Second, Other] = [actor() || _ <- lists:seq(1, 4)],
        {penstock_open, Inbox} = eventually:message(penstock_open),
        Put = fun(Message) -> ok = py_nif:channel_send(Inbox, Message) end,
        Put({?OPENED, First}),
        Id = call_at(First),
        Put({?STARTED, Id, Handler}),
        Put({?DOWN, 0, First, exit, <<"killed">>, killed, <<>>}),
        {penstock_open, _} = eventually:message(penstock_open),
        Put({?VALUE, Id, Handler, 1}),
        Put({?OPENED, Second}),
        Put({?VALUE, call_at(Second), Other, 2}),
        Put({?VALUE, call_at(Other), Other, 3}),
        ?assertEqual([{ok, returned({returned(1), returned(2), 3})}],
                     eventually:workers([Call], call)),
        %% They come by two processes.
        ?assertEqual(lists:sort([{at, Other, penstock_release}, {at, Second, penstock_close}]),
                     lists:sort([eventually:message(at), eventually:message(at)]))
    after
        true = unregister(py_callback_server),
        true = register(py_callback_server, Server)
    end.

%% What is sent to it comes to the test.
actor() ->
    Test = self(),
    spawn_link(fun() -> forward(Test) end).

forward(Test) ->
    receive Message -> Test ! {at, self(), Message} end,
    forward(Test).

call_at(Process) ->
    {at, At, {penstock_call, Id, _, _, _}} = eventually:message(at),
    ?assertEqual(Process, At),
    Id.

%% It was asked for by a thread that did not wait for it.
a_thread_ends_before_its_process_comes(_) ->
    echo(),
    Before = length(callers()),
    [begin
         {ok, Context} = py_context:new(#{}),
         ok = sys:suspend(py_callback_server),
         {error, timeout} = py:call(Context, erlang, call, [echo, 1], #{timeout => 50}),
         Resume = fun() -> ok = sys:resume(py_callback_server) end,
         Stop = fun() -> ok = py_context:stop(Context) end,
         case Which of
             before_it_is_started ->
                 Stop(),
                 Resume();
             before_it_is_seen ->
                 Resume(),
                 eventually:equal(Before + 1, fun() -> length(callers()) end),
                 Stop()
         end,
         eventually:equal(Before, fun() -> length(callers()) end)
     end || Which <- [before_it_is_started, before_it_is_seen]].

%% The thread has gone on after an interrupt, and has ended; the function has not.
a_handler_outlives_its_thread(_) ->
    echo(),
    gate(gate),
    Context = py:context(1),
    Call = in_background(interrupted, [gate, echo]),
    [Handler] = entered(1),
    ok = py:interrupt(Context),
    [{ok, _}] = eventually:workers([Call], call),
    exit(Context, kill),
    eventually:true(fun() -> py_context:at(1) =/= {ok, Context}
                                 andalso py_context:at(1) =/= error end),
    Monitor = monitor(process, Handler),
    ?assert(is_process_alive(Handler)),
    open([Handler]),
    receive {'DOWN', Monitor, process, Handler, normal} -> ok
    after 20000 -> error(still_there)
    end,
    usable(py:context(1)).

%% Waits that are ended

an_interrupt_ends_a_wait(_) ->
    gate(gate),
    Context = py:context(1),
    Call = in_background(Context, erlang, call, [gate, 1], infinity),
    [Handler] = entered(1),
    ok = py:interrupt(Context),
    ?assertEqual([{error, interrupted}], eventually:workers([Call], call)),
    open([Handler]),
    usable(Context).

a_timeout_ends_a_wait(_) ->
    gate(gate),
    Context = py:context(1),
    ?assertEqual({error, timeout},
                 py:call(Context, erlang, call, [gate, 1], #{timeout => 100})),
    [Handler] = entered(1),
    usable(Context),
    open([Handler]),
    usable(Context).

%% Given while others wait on the same thread, at the same depth.
a_late_answer_reaches_nobody(_) ->
    gate(gate),
    Test = self(),
    Context = py:context(1),
    ok = py:register_function(late, fun([0]) -> Test ! {late, self()}, receive go -> 0 end;
                                       ([Number]) -> Number
                                    end),
    Call = in_background(interrupted, [gate, late]),
    [Handler] = entered(1),
    ok = py:interrupt(Context),
    {late, Second} = eventually:message(late),
    Monitor = monitor(process, Handler),
    open([Handler]),
    %% It has answered, and has been let go.
    receive {'DOWN', Monitor, process, Handler, Reason} -> ?assertEqual(normal, Reason)
    after 20000 -> error(still_there)
    end,
    Second ! go,
    ?assertEqual([{ok, {{<<"raised">>, <<"KeyboardInterrupt">>, <<>>}, lists:seq(0, 99)}}],
                 eventually:workers([Call], call)).

%% The process that called Python is killed while that waits for Erlang.
a_killed_caller_leaves_nothing(_) ->
    gate(gate),
    Context = py:context(1),
    Caller = spawn(fun() -> py:call(Context, erlang, call, [gate, 1]) end),
    [Handler] = entered(1),
    eventually:dead(Caller),
    open([Handler]),
    usable(Context).

a_killed_context_ends_its_wait(_) ->
    gate(gate),
    Context = py:context(1),
    Call = in_background(Context, erlang, call, [gate, 1], infinity),
    [Handler] = entered(1),
    exit(Context, kill),
    [{error, {Reason, _}}] = eventually:workers([Call], call),
    ?assert(lists:member(Reason, [context_died, 'ApplicationStopped'])),
    open([Handler]),
    eventually:true(fun() -> py_context:at(1) =/= {ok, Context}
                                 andalso py_context:at(1) =/= error end),
    usable(py:context(1)).

an_interrupt_is_not_for_other_threads(_) ->
    gate(gate),
    echo(),
    Context = py:context(1),
    none = in(?CASES, start, [other, gate, echo]),
    [Handler] = entered(1),
    ok = py:interrupt(Context),
    Call = in_background(Context, erlang, call, [gate, 1], infinity),
    [Mine] = entered(1),
    ok = py:interrupt(Context),
    ?assertEqual([{error, interrupted}], eventually:workers([Call], call)),
    open([Handler, Mine]),
    ?assertEqual([returned(<<"other">>), returned(<<"other">>)], result(other)),
    none = in(?CASES, join_all, []).

%% All that were started begin: none was interrupted before it could.
nor_for_a_thread_that_is_being_started(_) ->
    Context = py:context(1),
    [begin
         Call = in_background(start_threads, [1000000]),
         interrupt_until_ended(Context, Call)
     end || _ <- lists:seq(1, size(200, 20))],
    Started = in(?CASES, all_begin, []),
    ct:log("~b threads", [Started]),
    ?assert(Started > 0).

interrupt_until_ended(Context, Call) ->
    ok = py:interrupt(Context),
    receive {worker, Call, Result} -> ?assertEqual({error, interrupted}, Result)
    after 1 -> interrupt_until_ended(Context, Call)
    end.

%% The application

%% What runs goes on, and answers; the next call starts afresh.
the_callback_server_is_killed(_) ->
    gate(gate),
    echo(),
    Old = whereis(py_callback_server),
    [none = in(?CASES, start, [Key, gate, echo]) || Key <- [one, two, three]],
    Contexts = py_context_router:contexts(),
    Context = py:context(2),
    Call = in_background(Context, erlang, call, [gate, 1], infinity),
    Handlers = entered(4),
    exit(Old, kill),
    eventually:true(fun() -> not lists:member(whereis(py_callback_server), [undefined, Old]) end),
    eventually:true(fun() -> callers() =:= [] end),
    open(Handlers),
    ?assertEqual([{ok, 1}], eventually:workers([Call], call)),
    Results = [result(Key) || Key <- [one, two, three]],
    [?assertMatch([{<<"returned">>, _}, {<<"returned">>, _}], Result) || Result <- Results],
    ?assertEqual(Contexts, py_context_router:contexts()),
    [usable(py:context(Index)) || Index <- [1, 2]],
    none = in(?CASES, join_all, []).

%% A call that is with it when it dies has nobody to answer it.
a_call_is_lost_with_the_callback_server(_) ->
    echo(),
    Old = whereis(py_callback_server),
    ok = sys:suspend(Old),
    none = in(?CASES, start, [lost, echo, echo]),
    eventually:true(fun() -> element(2, process_info(Old, message_queue_len)) > 0 end),
    exit(Old, kill),
    [First, Last] = result(lost),
    ?assertEqual(<<"raised">>, element(1, First)),
    ?assertEqual(<<"returned">>, element(1, Last)),
    usable(py:context(1)),
    none = in(?CASES, join_all, []).

%% What it was asked for before the thread knew that it would end is done.
a_handler_outlives_the_threads_process(_) ->
    echo(),
    Context = py:context(1),
    Before = handlers(),
    {ok, 1} = py:call(Context, erlang, call, [echo, 1]),
    %% Only those that were there, or this one's if it was new.
    Handlers = lists:usort(Before ++ handlers()),
    [true = erlang:suspend_process(Handler) || Handler <- Handlers],
    Callers = callers(),
    %% The threads are not told before they call.
    Server = whereis(py_callback_server),
    true = erlang:suspend_process(Server),
    [eventually:dead(Caller) || Caller <- Callers],
    Call = in_background(Context, erlang, call, [echo, 2], infinity),
    eventually:true(fun() ->
                        lists:any(fun(Handler) ->
                                      {messages, Messages} = process_info(Handler, messages),
                                      lists:keymember(penstock_call, 1, Messages)
                                  end, Handlers)
                    end),
    [true = erlang:resume_process(Handler) || Handler <- Handlers],
    ?assertEqual([{ok, 2}], eventually:workers([Call], call)),
    true = erlang:resume_process(Server),
    usable(Context).

the_application_stops_while_threads_wait(_) ->
    gate(gate),
    [none = in(?CASES, start, [Key, gate, echo]) || Key <- [one, two, three]],
    Context = py:context(2),
    Call = in_background(Context, erlang, call, [gate, 1], infinity),
    Handlers = entered(4),
    ok = application:stop(penstock),
    [{error, {Reason, _}}] = eventually:workers([Call], call),
    ?assert(lists:member(Reason, [context_died, 'ApplicationStopped'])),
    open(Handlers),
    {ok, _} = application:ensure_all_started(penstock),
    echo(),
    [?assertEqual([{<<"raised">>, <<"ApplicationStopped">>, <<>>}, returned(atom_to_binary(Key))],
                  result(Key)) || Key <- [one, two, three]],
    none = in(?CASES, join_all, []).

%% The first thing that it learns, once it has the GIL, is that its process is gone; by then the
%% application would have started again.
a_thread_wakes_after_the_application_stopped(Config) ->
    echo(),
    gate(gate),
    Before = callers(),
    none = in(?CASES, start, [late, gate, echo]),
    Handlers = entered(1),
    [Caller] = callers() -- Before,
    Fifo = filename:join(?config(priv_dir, Config), "gil"),
    Holder = in_background(py:context(2), ?CASES, hold_the_gil,
                           [unicode:characters_to_binary(Fifo), self()], infinity),
    [_] = told(1),
    eventually:dead(Caller),
    _ = sys:get_state(py_callback_server),
    ok = py_nif:set_stopped(true),
    ok = py_nif:set_stopped(false),
    ok = file:write_file(Fifo, "!", [raw]),
    [{ok, none}] = eventually:workers([Holder], call),
    ?assertEqual([{<<"raised">>, <<"ApplicationStopped">>, <<>>}, returned(<<"late">>)],
                 result(late)),
    open(Handlers),
    none = in(?CASES, join_all, []).

%% Steps

returned(Value) ->
    {<<"returned">>, Value}.

count(What, List) ->
    length([found || Each <- List, Each =:= What]).

in_background(Function, Args) ->
    in_background(py:context(1), ?CASES, Function, Args, 60000).

in_background(Context, Module, Function, Args, Timeout) ->
    eventually:worker(fun() -> py:call(Context, Module, Function, Args, #{timeout => Timeout})
                      end).

tells(Name) ->
    Test = self(),
    ok = py:register_function(Name, fun([Value]) -> Test ! {told, Value} end).

told(Count) ->
    lists:sort([begin {told, Value} = eventually:message(told), Value end
                || _ <- lists:seq(1, Count)]).

%% Once a thread that was started has ended.
result(Key) ->
    eventually:true(fun() -> in(?CASES, result, [Key]) =/= none end),
    in(?CASES, result, [Key]).

nothing_is_left(Config) ->
    eventually:counters_return_to(?config(counters, Config)).
