%% SPDX-License-Identifier: Apache-2.0
%% Contexts in interpreters with a GIL of their own, where Python can have them.
-module(py_owngil_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-define(LARGE, 100000).

all() ->
    [the_features_are_told, other_modes_are_badarg |
     case py_nif:runtime_features() of
         #{owngil := true} -> [{group, calls}, {group, data}, {group, erlang}, {group, ends}];
         #{owngil := false} -> [it_is_refused_with_a_reason]
     end].

groups() ->
    [{calls, [],
      [requests_of_every_kind_are_answered, it_is_an_interpreter_of_its_own,
       one_thread_runs_all_requests, what_is_raised_is_answered, a_timeout_stops_the_code,
       an_interrupt_is_a_keyboard_interrupt, an_interrupt_ends_a_wait,
       many_callers_share_a_context, contexts_start_side_by_side,
       the_standard_library_is_imported_side_by_side,
       daemon_threads_are_refused_clearly]},
     {data, [],
      [terms_come_back_as_they_were, a_channel_is_shared_with_other_contexts,
       coroutines_receive, each_message_is_taken_once,
       bytes_are_lent_to_erlang_and_come_back, bytes_that_come_back_are_the_same_object,
       bytes_go_to_other_interpreters, views_of_others_bytes, buffers_are_read,
       a_buffer_is_read_in_one_interpreter_at_a_time]},
     {erlang, [],
      [functions_are_called, functions_are_called_from_threads, functions_are_called_from_a_loop,
       a_handler_calls_back, calls_go_in_circles, markers_go_on]},
     {ends, [],
      [a_killed_context_is_gone, waiting_threads_end_with_it, endless_threads_end_with_it,
       a_thread_in_c_is_waited_for, finalizers_run, erlang_keeps_bytes_of_an_interpreter_that_ended,
       a_binary_that_goes_late_harms_nobody, the_application_stops, fifty_rounds_leave_nothing]}].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    [{counters, py_nif:debug_counters()} | Config].

end_per_suite(Config) ->
    eventually:counters_return_to(?config(counters, Config)),
    ok = application:stop(penstock).

init_per_testcase(_Case, Config) ->
    ok = py:register_function(owngil_double, fun([X]) -> 2 * X end),
    ok = py:register_function(owngil_never, fun([]) -> receive never -> ok end end),
    Config.

%% Each case stops its contexts, or has them stopped; unless it fails.
end_per_testcase(_Case, Config) ->
    _ = [py_context:stop(Context) || ?config(tc_status, Config) =/= ok,
                                     [Context] <- ets:match(py_contexts, {{mode, '$1'}, owngil})],
    _ = [py:unregister_function(Name) || Name <- [owngil_double, owngil_never]],
    eventually:equal(0, fun interpreters/0),
    eventually:silence().

the_features_are_told(_) ->
    #{version := Version, free_threaded := IsFree, owngil := IsPossible} =
        py_nif:runtime_features(),
    {ok, Running} = py:version(),
    ?assertMatch({0, _}, binary:match(Running, Version)),
    {ok, Configured} = py:eval(<<"__import__('sysconfig').get_config_var('Py_GIL_DISABLED')">>),
    ?assertEqual(Configured =:= 1, IsFree),
    {ok, IsNew} = py:eval(<<"__import__('sys').version_info >= (3, 12)">>),
    ?assertEqual(IsNew andalso not IsFree, IsPossible).

other_modes_are_badarg(_) ->
    [?assertError(badarg, py_nif:context_new(make_ref(), Mode))
     || Mode <- [own_gil, subinterp, <<"owngil">>, #{}]].

it_is_refused_with_a_reason(_) ->
    {error, {unsupported, Reason}} = py_nif:context_new(make_ref(), owngil),
    ?assertEqual({error, {unsupported, Reason}}, py_context:new(#{mode => owngil})),
    case py_nif:runtime_features() of
        #{free_threaded := true} ->
            ?assertMatch({_, _}, binary:match(Reason, <<"free-threaded">>));
        #{} ->
            ?assertEqual(<<"own-GIL contexts need Python 3.12 or newer">>, Reason)
    end.

%% Calls

requests_of_every_kind_are_answered(Config) ->
    Context = start(Config),
    ?assertEqual({ok, 8.0}, py:call(Context, math, pow, [2, 3])),
    ?assertEqual({ok, 5}, py:eval(Context, <<"a + b">>, #{a => 2, b => 3})),
    ?assertEqual(ok, py:exec(Context, <<"def twice(x, y=0): return 2 * x + y">>)),
    ?assertEqual({ok, 6}, py:call(Context, '__main__', twice, [3])),
    ?assertEqual({ok, 10}, py:call(Context, '__main__', twice, [3], #{kwargs => #{y => 4}})),
    %% A process has a namespace of its own.
    Other = eventually:worker(fun() -> py:eval(Context, <<"twice">>) end),
    ?assertMatch([{error, {'NameError', _}}], eventually:workers([Other], other)),
    stop(Context).

it_is_an_interpreter_of_its_own(Config) ->
    Contexts = [start(Config), start(Config), py:context(1)],
    ok = py_case:add_path(Config),
    [ok = py:exec(Context, <<"import math, erlang\nmath.mine = mine = object()">>)
     || Context <- Contexts],
    Ids = [element(2, py:eval(Context, <<"(id(math), id(erlang._native), id(math.mine))">>))
           || Context <- Contexts],
    [?assertEqual(3, length(lists:usort([element(N, Id) || Id <- Ids]))) || N <- [1, 2, 3]],
    [stop(Context) || Context <- lists:sublist(Contexts, 2)].

one_thread_runs_all_requests(Config) ->
    Context = start(Config),
    Identity = <<"__import__('threading').get_ident()">>,
    Callers = [eventually:worker(fun() -> py:eval(Context, Identity) end)
               || _ <- lists:seq(1, 20)],
    ?assertMatch([{ok, _}], lists:usort(eventually:workers(Callers, callers))),
    stop(Context).

what_is_raised_is_answered(Config) ->
    Context = start(Config),
    ?assertEqual({error, {'ZeroDivisionError', "division by zero"}}, py:eval(Context, <<"1/0">>)),
    ?assertMatch({error, {'ModuleNotFoundError', _}}, py:call(Context, nowhere, f, [])),
    ?assertMatch({error, {'SystemExit', "3"}}, py:exec(Context, "raise SystemExit(3)")),
    ?assertMatch({error, {'TypeError', _}}, py:eval(Context, <<"object()">>)),
    ?assertMatch({error, {'RecursionError', _}},
                 begin ok = py:exec(Context, <<"def f(): return f()">>),
                       py:call(Context, '__main__', f, [])
                 end),
    ?assertEqual({ok, 1}, py:eval(Context, <<"1">>)),
    stop(Context).

a_timeout_stops_the_code(Config) ->
    Context = start(Config),
    ok = py:exec(Context, <<"def loop():\n while True: pass">>),
    ?assertEqual({error, timeout}, py:call(Context, '__main__', loop, [], #{timeout => 50})),
    ?assertEqual({ok, 1}, py:eval(Context, <<"1">>)),
    {ok, Channel} = py_channel:new(),
    ?assertEqual({error, timeout}, py:call(Context, owngil_cases, announce_then_receive,
                                           [Channel, self()], #{timeout => 50})),
    ?assertEqual({blocked, none}, eventually:message(blocked)),
    ?assertEqual({ok, 1}, py:eval(Context, <<"1">>)),
    %% Without a reference to it nobody could send, and the code would end by itself.
    ok = py_channel:close(Channel),
    stop(Context).

an_interrupt_is_a_keyboard_interrupt(Config) ->
    Context = start(Config),
    ok = py:exec(Context, <<"import erlang\n"
                            "def patient(pid):\n"
                            "    try:\n"
                            "        erlang.reply(pid, ('running', None))\n"
                            "        while True: pass\n"
                            "    except KeyboardInterrupt:\n"
                            "        return 'interrupted'\n">>),
    Interrupter = eventually:worker(fun() ->
                                        receive go -> py:interrupt(Context) end
                                    end),
    Relay = spawn_link(fun() -> receive {running, _} -> Interrupter ! go end end),
    ?assertEqual({ok, <<"interrupted">>}, py:call(Context, '__main__', patient, [Relay])),
    ?assertEqual([ok], eventually:workers([Interrupter], interrupter)),
    [begin
         ok = py:interrupt(Context),
         ?assertEqual({ok, N}, py:eval(Context, <<"n">>, #{n => N}))
     end || N <- lists:seq(1, 100)],
    stop(Context).

an_interrupt_ends_a_wait(Config) ->
    Context = start(Config),
    {ok, Channel} = py_channel:new(),
    [begin
         Blocked = call_and_wait(Context, Function, Arguments),
         ok = py:interrupt(Context),
         ?assertMatch([{error, _}], eventually:workers([Blocked], blocked)),
         ?assertEqual({ok, 1}, py:eval(Context, <<"1">>))
     end || {Function, Arguments} <- [{announce_then_receive, [Channel, self()]},
                                      {announce_then_await, [Channel, self()]},
                                      {announce_then_call, [self()]},
                                      {announce_then_loop, [self()]}]],
    stop(Context).

many_callers_share_a_context(Config) ->
    Context = start(Config),
    Callers = [eventually:worker(fun() ->
                                     [{ok, {Caller, N}} =
                                          py:call(Context, owngil_cases, identity, [{Caller, N}])
                                      || N <- lists:seq(1, 50)],
                                     ok
                                 end) || Caller <- lists:seq(1, 50)],
    ?assertEqual([ok], lists:usort(eventually:workers(Callers, callers))),
    stop(Context).

contexts_start_side_by_side(Config) ->
    Workers = [eventually:worker(fun() ->
                                     Context = start(Config),
                                     Result = py:call(Context, owngil_cases, gather,
                                                      [owngil_double, 10]),
                                     stop(Context),
                                     Result
                                 end) || _ <- lists:seq(1, 8)],
    ?assertEqual([{ok, lists:seq(0, 18, 2)}], lists:usort(eventually:workers(Workers, workers))).

%% Some of its modules have types that all interpreters share.
the_standard_library_is_imported_side_by_side(Config) ->
    Code = <<"import datetime, decimal, ssl, sqlite3, uuid, http.client, subprocess\n"
             "assert datetime.datetime.now() - datetime.datetime.now() <= datetime.timedelta()\n"
             "assert decimal.Decimal('1.1') * 10 == 11\n"
             "assert subprocess.run(['true']).returncode == 0\n">>,
    Workers = [eventually:worker(fun() ->
                                     [begin
                                          Context = start(Config),
                                          ok = py:exec(Context, Code),
                                          stop(Context)
                                      end || _ <- lists:seq(1, 5)],
                                     ok
                                 end) || _ <- lists:seq(1, 4)],
    ?assertEqual([ok], lists:usort(eventually:workers(Workers, workers))).

daemon_threads_are_refused_clearly(Config) ->
    Context = start(Config),
    {ok, Text} = py:call(Context, owngil_cases, start_daemon, []),
    ?assertMatch({_, _}, binary:match(Text, <<"daemon">>)),
    stop(Context).

%% Data

terms_come_back_as_they_were(Config) ->
    Context = start(Config),
    {ok, Channel} = py_channel:new(),
    {ok, Buffer} = py_buffer:new(),
    [?assertEqual({ok, Term}, py:call(Context, owngil_cases, identity, [Term]))
     || Term <- [1, -1, 1 bsl 200, 1.5, <<"text">>, <<255, 0>>, binary:copy(<<"large">>, 50000),
                 binary:copy(<<255>>, 50000), [], [1, [2]], {}, {1, {2}}, #{1 => #{2 => []}},
                 true, false, none, self(), make_ref(), fun lists:map/2, Channel, Buffer,
                 lists:seq(1, 100000)]],
    ?assertEqual({ok, <<"ok">>}, py:call(Context, owngil_cases, identity, [ok])),
    ?assertEqual({ok, ok}, py:eval(Context, <<"__import__('erlang').atom('ok')">>)),
    stop(Context).

%% Through two interpreters and back.
a_channel_is_shared_with_other_contexts(Config) ->
    ok = py_case:add_path(Config),
    Contexts = [start(Config), py:context(1), start(Config)],
    Channels = [begin {ok, Channel} = py_channel:new(), Channel end || _ <- lists:seq(1, 4)],
    Relays = [eventually:worker(py_case:caller(Context, owngil_cases, relay, [In, Out]))
              || {Context, In, Out} <- lists:zip3(Contexts, lists:droplast(Channels),
                                                  tl(Channels))],
    Terms = [{N, binary:copy(<<N>>, 3000 * (N rem 5))} || N <- lists:seq(1, 100)],
    [ok = py_channel:send(hd(Channels), Term) || Term <- Terms],
    ?assertEqual([{ok, Term} || Term <- Terms],
                 [py_channel:recv(lists:last(Channels)) || _ <- Terms]),
    [ok = py_channel:close(Channel) || Channel <- Channels],
    ?assertEqual([{ok, 100}, {ok, 100}, {ok, 100}], eventually:workers(Relays, relays)),
    [stop(Context) || Context <- [hd(Contexts), lists:last(Contexts)]].

coroutines_receive(Config) ->
    Context = start(Config),
    {ok, Channel} = py_channel:new(),
    Blocked = call_and_wait(Context, announce_then_await, [Channel, self()]),
    ok = py_channel:send(Channel, {at, last}),
    ?assertEqual([{ok, {<<"at">>, <<"last">>}}], eventually:workers([Blocked], blocked)),
    stop(Context).

each_message_is_taken_once(Config) ->
    ok = py_case:add_path(Config),
    Contexts = [start(Config), start(Config), py:context(1)],
    {ok, In} = py_channel:new(),
    {ok, Out} = py_channel:new(),
    Relays = [eventually:worker(py_case:caller(Context, owngil_cases, relay, [In, Out]))
              || Context <- Contexts],
    Numbers = lists:seq(1, 3000),
    [ok = py_channel:send(In, N) || N <- Numbers],
    ok = py_channel:close(In),
    Counts = [Count || {ok, Count} <- eventually:workers(Relays, relays)],
    ?assertEqual(3000, lists:sum(Counts)),
    ?assertEqual(Numbers, lists:sort([element(2, py_channel:recv(Out)) || _ <- Numbers])),
    [stop(Context) || Context <- lists:sublist(Contexts, 2)].

%% Nothing is called in the context meanwhile: its helper thread takes them.
bytes_are_lent_to_erlang_and_come_back(Config) ->
    Context = start(Config),
    {ok, Channel} = py_byte_channel:new(),
    {ok, none} = py:call(Context, owngil_cases, make_bytes, [?LARGE]),
    {ok, Before} = py:call(Context, owngil_cases, references, []),
    Counters = py_nif:debug_counters(),
    {ok, none} = py:call(Context, owngil_cases, send_kept, [Channel]),
    Holder = eventually:worker(fun() ->
                                   {ok, Binary} = py_byte_channel:recv(Channel),
                                   receive Ask -> Ask ! {size, byte_size(Binary)} end
                               end),
    eventually:true(fun() -> maps:get(pinned_bytes, py_nif:debug_counters()) > 0 end),
    ?assertEqual({ok, Before + 1}, py:call(Context, owngil_cases, references, [])),
    Holder ! self(),
    ?assertEqual({size, ?LARGE}, eventually:message(size)),
    _ = eventually:workers([Holder], holder),
    eventually:counters_return_to(Counters),
    eventually:equal({ok, Before}, fun() -> py:call(Context, owngil_cases, references, []) end),
    stop(Context).

bytes_that_come_back_are_the_same_object(Config) ->
    Context = start(Config),
    {ok, Channel} = py_byte_channel:new(),
    {ok, none} = py:call(Context, owngil_cases, make_bytes, [?LARGE]),
    {ok, none} = py:call(Context, owngil_cases, send_kept, [Channel]),
    ?assertEqual({ok, true}, py:call(Context, owngil_cases, receive_is_kept, [Channel])),
    stop(Context).

bytes_go_to_other_interpreters(Config) ->
    ok = py_case:add_path(Config),
    Own = start(Config),
    Other = start(Config),
    {ok, Channel} = py_byte_channel:new(),
    Expected = {ok, binary:copy(list_to_binary(lists:seq(0, 255)), ?LARGE div 256)},
    [begin
         {ok, none} = py:call(From, owngil_cases, send_bytes, [Channel, ?LARGE]),
         ?assertEqual(Expected, py:call(To, owngil_cases, Receive, [Channel])),
         {ok, none} = py:call(To, owngil_cases, forget, [])
     end || From <- [Own, Other, py:context(1)], To <- [Own, Other, py:context(1)],
            Receive <- [receive_bytes, receive_view]],
    %% Answers lend as well.
    ?assertEqual({ok, binary:copy(<<"y">>, ?LARGE)},
                 py:call(Own, owngil_cases, return_bytes, [?LARGE])),
    stop(Own),
    stop(Other).

%% The view lives longer than the interpreter whose bytes it shows.
views_of_others_bytes(Config) ->
    ok = py_case:add_path(Config),
    Own = start(Config),
    Viewer = start(Config),
    {ok, Channel} = py_byte_channel:new(),
    {ok, none} = py:call(Own, owngil_cases, send_bytes, [Channel, ?LARGE]),
    {ok, Bytes} = py:call(Viewer, owngil_cases, receive_view, [Channel]),
    stop(Own),
    eventually:equal(1, fun interpreters/0),
    ?assertEqual({ok, Bytes}, py:eval(Viewer, <<"bytes(__import__('owngil_cases').kept[0])">>)),
    {ok, none} = py:call(Viewer, owngil_cases, forget, []),
    ?assertEqual({ok, 1}, py:eval(Viewer, <<"1">>)),
    stop(Viewer).

buffers_are_read(Config) ->
    Context = start(Config),
    Bytes = binary:copy(<<"0123456789">>, 10000),
    [begin
         {ok, Buffer} = py_buffer:new(),
         Reader = eventually:worker(py_case:caller(Context, owngil_cases, Function, [Buffer])),
         [ok = py_buffer:write(Buffer, binary:part(Bytes, 1000 * N, 1000))
          || N <- lists:seq(0, 99)],
         ok = py_buffer:close(Buffer),
         ?assertEqual([{ok, Bytes}], eventually:workers([Reader], reader))
     end || Function <- [read_buffer_in_loop, read_buffer_blocking]],
    stop(Context).

%% Whoever reads first has it until the last object that has read goes.
a_buffer_is_read_in_one_interpreter_at_a_time(Config) ->
    ok = py_case:add_path(Config),
    Own = start(Config),
    Other = start(Config),
    {ok, Buffer} = py_buffer:new(),
    ok = py_buffer:write(Buffer, <<"first\nsecond\nthird\n">>),
    [{ok, none} = py:call(Context, owngil_cases, keep, [Buffer])
     || Context <- [Own, Other, py:context(1)]],
    ?assertEqual({ok, <<"first\n">>}, py:call(Own, owngil_cases, read_kept_line, [])),
    [?assertMatch({error, {'RuntimeError', "the buffer is being read in another interpreter"}},
                  py:call(Context, owngil_cases, Function, []))
     || Context <- [Other, py:context(1)],
        Function <- [read_kept_line, await_kept_line, view_kept]],
    {ok, none} = py:call(Own, owngil_cases, forget, []),
    ?assertEqual({ok, <<"second\n">>}, py:call(Other, owngil_cases, await_kept_line, [])),
    ?assertMatch({error, {'RuntimeError', _}}, py:call(Own, owngil_cases, identity_read, [Buffer])),
    stop(Other),
    eventually:equal(1, fun interpreters/0),
    ?assertEqual({ok, <<"third\n">>}, py:call(py:context(1), owngil_cases, read_kept_line, [])),
    {ok, none} = py:call(py:context(1), owngil_cases, forget, []),
    stop(Own).

%% Erlang

functions_are_called(Config) ->
    Context = start(Config),
    ?assertEqual({ok, 42}, py:call(Context, owngil_cases, call, [owngil_double, 21])),
    ?assertMatch({error, {'RuntimeError', "Function 'owngil_nothing' not registered"}},
                 py:call(Context, owngil_cases, call, [owngil_nothing])),
    ?assertMatch({error, {'RuntimeError', "error: " ++ _}},
                 py:call(Context, owngil_cases, call, [owngil_double, [not_a_number]])),
    stop(Context).

functions_are_called_from_threads(Config) ->
    Context = start(Config),
    Expected = {ok, lists:seq(0, 18, 2)},
    [?assertEqual(Expected, py:call(Context, owngil_cases, Function, [owngil_double, 10]))
     || Function <- [call_in_threads, call_in_pool]],
    stop(Context).

functions_are_called_from_a_loop(Config) ->
    Context = start(Config),
    ?assertEqual({ok, lists:seq(0, 998, 2)},
                 py:call(Context, owngil_cases, gather, [owngil_double, 500])),
    stop(Context).

a_handler_calls_back(Config) ->
    Context = start(Config),
    Down = fun([N]) when N > 0 ->
                   {ok, Depth} = py:call(Context, owngil_cases, call, [owngil_down, N - 1]),
                   Depth + 1;
              ([0]) ->
                   0
           end,
    ok = py:register_function(owngil_down, Down),
    ?assertEqual({ok, 50}, py:call(Context, owngil_cases, call, [owngil_down, 50])),
    ok = py:unregister_function(owngil_down),
    stop(Context).

calls_go_in_circles(Config) ->
    ok = py_case:add_path(Config),
    Contexts = {start(Config), py:context(1), start(Config)},
    ok = py:register_function(
           owngil_circle,
           fun([N]) when N > 0 ->
                   {ok, Depth} = py:call(element(N rem 3 + 1, Contexts), owngil_cases, call,
                                         [owngil_circle, N - 1]),
                   Depth + 1;
              ([0]) ->
                   0
           end),
    ?assertEqual({ok, 30}, py:call(element(1, Contexts), owngil_cases, call, [owngil_circle, 30])),
    ok = py:unregister_function(owngil_circle),
    stop(element(1, Contexts)),
    stop(element(3, Contexts)).

markers_go_on(Config) ->
    Context = start(Config),
    ?assertEqual({ok, 10000}, py:call(Context, owngil_cases, count_down, [10000])),
    ?assertEqual({ok, <<"later">>}, py:call(Context, owngil_cases, go_on_in_python, [])),
    ?assertEqual({ok, 40}, py:call(Context, owngil_cases, go_on_in_erlang, [owngil_double])),
    stop(Context).

%% Ends

a_killed_context_is_gone(Config) ->
    {ok, Channel} = py_channel:new(),
    [begin
         Context = start(Config),
         Blocked = call_and_wait(Context, Function, Arguments),
         true = unlink(Context),
         exit(Context, kill),
         ?assertMatch([{error, {Reason, _}}] when Reason =:= context_died;
                                                  Reason =:= 'ApplicationStopped',
                      eventually:workers([Blocked], blocked)),
         eventually:equal(0, fun interpreters/0)
     end || {Function, Arguments} <- [{announce_then_receive, [Channel, self()]},
                                      {announce_then_await, [Channel, self()]},
                                      {announce_then_call, [self()]},
                                      {announce_then_loop, [self()]}]].

waiting_threads_end_with_it(Config) ->
    [stop_with_thread(Config, Function)
     || Function <- [start_receiver, start_loop, start_caller, start_pool]].

endless_threads_end_with_it(Config) ->
    stop_with_thread(Config, start_endless).

%% Longer than a stop has patience.
a_thread_in_c_is_waited_for(Config) ->
    stop_with_thread(Config, start_sleeper).

finalizers_run(Config) ->
    Context = start(Config),
    {ok, Channel} = py_channel:new(),
    {ok, none} = py:call(Context, owngil_cases, keep_last, [self(), Channel]),
    stop(Context),
    ?assertEqual({gone, <<"ApplicationStopped">>}, eventually:message(gone)).

erlang_keeps_bytes_of_an_interpreter_that_ended(Config) ->
    Context = start(Config),
    {ok, Binary} = py:call(Context, owngil_cases, return_bytes, [?LARGE]),
    stop(Context),
    eventually:equal(0, fun interpreters/0),
    ?assertEqual(binary:copy(<<"y">>, ?LARGE), Binary).

%% Dropped while the interpreter ends, or after it.
a_binary_that_goes_late_harms_nobody(Config) ->
    Before = py_nif:debug_counters(),
    Test = self(),
    Holders = [begin
                   Context = start(Config),
                   Holder = spawn_link(fun() ->
                                           {ok, Binary} = py:call(Context, owngil_cases,
                                                                  return_bytes, [?LARGE]),
                                           Test ! {held, Context},
                                           receive go -> Test ! {size, byte_size(Binary)} end
                                       end),
                   ?assertEqual({held, Context}, eventually:message(held)),
                   stop(Context),
                   Holder
               end || _ <- lists:seq(1, 5)],
    [begin
         Holder ! go,
         ?assertEqual({size, ?LARGE}, eventually:message(size))
     end || Holder <- Holders],
    eventually:counters_return_to(Before),
    %% They went to the main interpreter, which has them dropped by now or soon.
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

the_application_stops(Config) ->
    Contexts = [start(Config) || _ <- [1, 2]],
    [true = unlink(Context) || Context <- Contexts],  % They end by themselves.
    {ok, Channel} = py_channel:new(),
    Blocked = [call_and_wait(Context, announce_then_receive, [Channel, self()])
               || Context <- Contexts],
    ok = application:stop(penstock),
    [?assertMatch({error, {'ApplicationStopped', _}}, Result)
     || Result <- eventually:workers(Blocked, blocked)],
    [eventually:dead(Context) || Context <- Contexts],
    eventually:equal(0, fun interpreters/0),
    ok = py_channel:close(Channel),  % Until here somebody could have sent.
    ok = application:start(penstock).

fifty_rounds_leave_nothing(Config) ->
    %% The first make what stays: atoms of messages, memory of allocators, threads of the VM.
    [a_round(Config) || _ <- [1, 2]],
    Before = footprint(),
    [a_round(Config) || _ <- lists:seq(1, 50)],
    eventually:counters_return_to(Before),
    eventually:true(fun() ->
                        Now = footprint(),
                        case [{Key, maps:get(Key, Before), maps:get(Key, Now)}
                              || Key <- maps:keys(Before),
                                 maps:get(Key, Now) > maps:get(Key, Before)] of
                            [] -> true;
                            More -> More
                        end
                    end).

a_round(Config) ->
    Context = start(Config),
    {ok, Channel} = py_channel:new(),
    ok = py_channel:send(Channel, {some, [term]}),
    ?assertEqual({ok, [0, 2, 4]},
                 py:call(Context, owngil_cases, gather, [owngil_double, 3])),
    ?assertMatch({ok, _}, py:call(Context, owngil_cases, announce_then_receive,
                                  [Channel, self()])),
    ?assertEqual({blocked, none}, eventually:message(blocked)),
    {ok, Large} = py:call(Context, owngil_cases, return_bytes, [?LARGE]),
    ?assertEqual(?LARGE, byte_size(Large)),
    stop(Context).

footprint() ->
    [erlang:garbage_collect(Process) || Process <- processes()],
    {ok, Descriptors} = file:list_dir("/proc/self/fd"),
    {ok, Threads} = file:list_dir("/proc/self/task"),
    maps:merge(maps:without([dropped_sends], py_nif:debug_counters()),
               #{processes => length(processes()),
                 descriptors => length(Descriptors),
                 threads => length(Threads)}).

%% Steps

%% A context that knows the modules of these tests.
start(Config) ->
    {ok, Context} = py_context:new(#{mode => owngil}),
    true = link(Context),
    ok = py_case:add_path(Context, Config),
    Context.

stop(Context) ->
    ok = py_context:stop(Context).

%% A call, once it has said that it is about to wait.
call_and_wait(Context, Function, Arguments) ->
    Caller = eventually:worker(py_case:caller(Context, owngil_cases, Function, Arguments)),
    ?assertEqual({blocked, none}, eventually:message(blocked)),
    Caller.

stop_with_thread(Config, Function) ->
    Context = start(Config),
    {ok, Channel} = py_channel:new(),
    {ok, none} = py:call(Context, owngil_cases, Function, [Channel, self()]),
    ?assertEqual({blocked, none}, eventually:message(blocked)),
    stop(Context),
    eventually:equal(0, fun interpreters/0).

interpreters() ->
    maps:get(interpreters, py_nif:debug_counters()).
