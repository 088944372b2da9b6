%% SPDX-License-Identifier: Apache-2.0
%% Contexts in processes of their own.
-module(py_process_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-import(py_process_case, [prepare/1, preload/0, new/1, new/2, contexts/0, kill/1, signal/2,
                          is_running/1, workers/0, maps/0, fds/0]).

-define(CASES, process_cases).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, calls}, {group, data}, {group, erlang}, {group, ends}, nothing_is_left].

groups() ->
    [{calls, [],
      [requests_of_every_kind_are_answered, it_is_a_process_of_its_own, options,
       options_that_are_wrong, what_is_raised_is_answered, a_timeout_stops_the_code,
       an_interrupt_is_a_keyboard_interrupt, what_is_queued_is_cancelled,
       many_callers_share_a_context, long_calls_after_many_short_ones, a_pool_of_processes,
       a_forked_child_leaves_its_parent_alone, an_answer_comes_once_to_who_looks]},
     {data, [],
      [terms_come_back_as_they_were, large_terms_cross_in_pieces, what_is_not_shared_is_refused]},
     {erlang, [],
      [functions_are_called, functions_that_call_back, functions_are_called_from_threads,
       functions_are_called_from_a_loop, messages_are_sent, a_dead_caller_is_forgotten,
       a_function_returns_what_is_not_shared, a_function_fails_with_what_is_not_shared,
       calls_that_cannot_be_delivered_fail, calls_after_kills_go_on,
       a_killed_handler_costs_no_call, threads_end_in_every_way]},
     {ends, [],
      [a_crash_is_an_error, each_call_fails_when_it_is_killed, it_stops, it_stops_what_runs,
       a_stopped_process_is_killed, it_ends_with_its_owner, kills_at_any_moment,
       they_end_with_the_vm, descriptors_run_out, it_scribbles]}].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    ok = prepare(Config),
    [{counters, py_nif:debug_counters()}, {fds, fds()}, {maps, maps()} | Config].

end_per_suite(Config) ->
    eventually:counters_return_to(?config(counters, Config)),
    ok = application:stop(penstock).

init_per_testcase(_Case, Config) ->
    ok = py:register_function(process_double, fun([X]) -> 2 * X end),
    Config.

end_per_testcase(_Case, _Config) ->
    [py_context:stop(Context) || Context <- contexts()],
    _ = [py:unregister_function(Name)
         || Name <- [process_double, process_back, process_never, process_channel]],
    eventually:equal([], fun py_process_case:workers/0),
    %% Those of the contexts in the VM stay.
    eventually:equal(py_context_router:num_contexts(),
                     fun() -> length(py_call_case:callers()) end),
    eventually:silence().

%% Calls

requests_of_every_kind_are_answered(Config) ->
    Context = new(Config),
    ?assertEqual({ok, process}, py_context:mode(Context)),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16])),
    ?assertEqual({ok, <<"cab">>},
                 py:eval(Context, <<"''.join(x)">>, #{x => [<<"c">>, <<"ab">>]})),
    ok = py:exec(Context, <<"kept = 7">>),
    ?assertEqual({ok, 7}, py:eval(Context, <<"kept">>)),
    ?assertEqual({ok, [3, 2, 1]},
                 py:call(Context, builtins, sorted, [[1, 3, 2]], #{kwargs => #{reverse => true}})).

it_is_a_process_of_its_own(Config) ->
    [One, Two] = [new(Config) || _ <- [1, 2]],
    Pids = [begin
                {ok, Pid} = py:call(Context, os, getpid, []),
                ?assertEqual({ok, Pid}, py_context:os_pid(Context)),
                Pid
            end || Context <- [One, Two]],
    ?assertEqual(3, length(lists:usort([list_to_integer(os:getpid()) | Pids]))),
    ?assertEqual(error, py_context:os_pid(py:context(1))).

options(Config) ->
    Cwd = ?config(priv_dir, Config),
    Context = new(Config, #{cwd => Cwd, python => python(),
                            env => [{"PENSTOCK_TRIED", "a=b"}, {"HOME", "/nowhere"}]}),
    ?assertEqual({ok, {<<"a=b">>, <<"/nowhere">>}},
                 py:eval(Context, <<"tuple(__import__('os').environ[name] "
                                    "for name in ('PENSTOCK_TRIED', 'HOME'))">>)),
    Is = [unicode:characters_to_binary(Cwd)],
    ?assertEqual({ok, true}, py:eval(Context, <<"__import__('os').path.samefile('.', cwd[0])">>,
                                     #{cwd => Is})).

options_that_are_wrong(_) ->
    [?assertError(badarg, py_context:new(Opts))
     || Opts <- [#{mode => process, other => 1}, #{mode => process, env => [{"", "x"}]},
                 #{mode => process, env => #{}}, #{mode => process, cwd => 7},
                 #{mode => worker, cwd => "/"}, #{mode => process, python => [0]}]],
    {error, {python, Text}} = py_context:new(#{mode => process, python => "/nowhere/python3"}),
    ?assertMatch({_, _}, binary:match(Text, <<"/nowhere/python3">>)),
    {error, {python, _}} = py_context:new(#{mode => process, cwd => "/nowhere"}),
    {error, {python, Ended}} = py_context:new(#{mode => process, python => "/bin/false"}),
    ?assertEqual(<<"the worker process ended with status 1">>, Ended).

what_is_raised_is_answered(Config) ->
    Context = new(Config),
    [?assertEqual(py:eval(py:context(1), Code), py:eval(Context, Code))
     || Code <- [<<"1 / 0">>, <<"[][1]">>, <<"nowhere">>, <<"{">>, <<"int('x')">>]],
    {error, {'ZeroDivisionError', _, Traceback}} =
        py:call(Context, operator, truediv, [1, 0], #{traceback => true}),
    ?assertMatch({_, _}, binary:match(Traceback, <<"ZeroDivisionError">>)).

a_timeout_stops_the_code(Config) ->
    Context = new(Config),
    import_cases(Context),
    ?assertEqual({error, timeout}, py:call(Context, ?CASES, spin, [], #{timeout => 50})),
    ?assertEqual({ok, 1}, py:call(Context, ?CASES, identity, [1], #{timeout => 20000})).

an_interrupt_is_a_keyboard_interrupt(Config) ->
    Context = new(Config),
    import_cases(Context),
    Call = in_background(Context, spin, []),
    {error, interrupted} = interrupted(Context, Call),
    ?assertEqual({ok, 1}, py:call(Context, ?CASES, identity, [1])).

what_is_queued_is_cancelled(Config) ->
    Context = new(Config),
    import_cases(Context),
    Call = in_background(Context, spin, []),
    eventually:waiting_for_answers([Call]),  % So it is the first.
    ?assertEqual({error, timeout},
                 py:exec(Context, <<"was_run = 1">>, #{timeout => 50})),
    {error, interrupted} = interrupted(Context, Call),
    ?assertMatch({error, {'NameError', _}}, py:eval(Context, <<"was_run">>)).

%% The thread that listens does not know yet that this one is long.
long_calls_after_many_short_ones(Config) ->
    Context = new(Config),
    Short = fun() ->
                [{ok, N} = py:call(Context, ?CASES, identity, [N]) || N <- lists:seq(1, 50)]
            end,
    [begin
         Callers = [eventually:worker(Short) || _ <- lists:seq(1, 4)],
         ?assertEqual({error, timeout}, py:call(Context, ?CASES, spin, [], #{timeout => 15})),
         Results = eventually:workers(Callers, call),
         ?assertEqual(4, length(Results))
     end || _ <- lists:seq(1, 40)].

%% It goes on to wait for requests, in the same memory.
a_forked_child_leaves_its_parent_alone(Config) ->
    Context = new(Config),
    {ok, Child} = py:call(Context, ?CASES, fork_on, []),
    ?assert(Child > 0),
    [?assertEqual({ok, N}, py:call(Context, ?CASES, identity, [N])) || N <- lists:seq(1, 1000)],
    "" = os:cmd("kill -9 " ++ integer_to_list(Child)),
    ?assertEqual({ok, 1}, py:call(Context, ?CASES, identity, [1])).

%% As a message or as the result of a look.
an_answer_comes_once_to_who_looks(Config) ->
    {ok, Native} = py_context:lookup(new(Config)),
    {ok, Local} = py_context:lookup(py:context(1)),
    ?assertEqual(remote, py_nif:context_look_out(Native, 0)),
    ?assertEqual(ok, py_nif:context_look_out(Local, 50000)),
    [?assertError(badarg, py_nif:context_look_out(Native, For)) || For <- [-1, 50001, soon]],
    [begin
         Ref = make_ref(),
         {remote, Call} = py_nif:context_submit(Native, call, {math, sqrt, [16], #{}}, Ref, []),
         ?assertEqual({ok, 4.0}, look(Call, Ref)),
         ?assertEqual(answered, py_nif:call_cancel(Call)),
         receive {Ref, _} = Second -> error(Second) after 0 -> ok end
     end || _ <- lists:seq(1, 1000)].

look(Call, Ref) ->
    receive
        {Ref, Result} -> Result
    after 0 ->
        case py_nif:call_look_out(Call, 10000) of
            Nothing when Nothing =:= empty; Nothing =:= others -> look(Call, Ref);
            Result -> Result
        end
    end.

many_callers_share_a_context(Config) ->
    Context = new(Config),
    Large = binary:copy(<<"x">>, 300000),
    Callers = [eventually:worker(
                 fun() ->
                     [begin
                          Value = case Number rem 50 of 0 -> {Large, Number}; _ -> Number end,
                          {ok, Value} = py:call(Context, ?CASES, identity, [Value])
                      end || Number <- lists:seq(1, 200)],
                     done
                 end) || _ <- lists:seq(1, 20)],
    ?assertEqual(lists:duplicate(20, done), eventually:workers(Callers, calls)).

%% Its workers get the VM's environment. With ThreadSanitizer's library in there, what the VM starts
%% through its own helper (a shell, to kill one) sometimes does not end.
a_pool_of_processes(Config) ->
    case py_process_case:has_tsan() of
        false -> pool_of_processes(Config);
        true -> {skip, "not with ThreadSanitizer"}
    end.

pool_of_processes(Config) ->
    ok = application:stop(penstock),
    ok = application:set_env(penstock, context_mode, process),
    ok = application:set_env(penstock, num_contexts, 2),
    _ = [os:putenv(Name, Value) || {"LD_PRELOAD" = Name, Value} <- preload()],
    {ok, _} = application:ensure_all_started(penstock),
    try
        ok = py:register_function(process_double, fun([X]) -> 2 * X end),
        [First, Second] = [py:context(Index) || Index <- [1, 2]],
        [?assertEqual({ok, process}, py_context:mode(Context)) || Context <- [First, Second]],
        ?assertEqual({ok, 14}, py:call(First, erlang, call, [process_double, 7])),
        {ok, Pid} = py_context:os_pid(First),
        kill(Pid),
        eventually:true(fun() -> case py_context:at(1) of
                                     {ok, First} -> same;
                                     {ok, _} -> true;
                                     error -> none
                                 end end),
        ?assertEqual({ok, 3}, py:call(py:context(1), operator, add, [1, 2])),
        ?assertEqual({ok, 3}, py:call(Second, operator, add, [1, 2]))
    after
        ok = application:stop(penstock),
        true = os:unsetenv("LD_PRELOAD"),
        ok = application:unset_env(penstock, context_mode),
        ok = application:unset_env(penstock, num_contexts),
        {ok, _} = application:ensure_all_started(penstock),
        ok = prepare(Config)
    end.

%% Data

terms_come_back_as_they_were(Config) ->
    Context = new(Config),
    Values = [0, -1, 255, 1 bsl 31, -(1 bsl 63), 1 bsl 2000, 1.5, <<"text">>, <<"h\x{e9}"/utf8>>,
              {bytes, <<0, 255>>}, true, false, none, undefined, 'an atom', '\x{3b1}', self(),
              [], [1, [2, [3]]], {}, {1, {2}},
              #{}, #{<<"k">> => [1], 2 => {3}}, make_ref(), lists:seq(1, 10000)],
    [?assertEqual(py:call(py:context(1), ?CASES, identity, [Value]),
                  py:call(Context, ?CASES, identity, [Value])) || Value <- Values],
    Deep = lists:foldl(fun(_, Inner) -> [Inner] end, [], lists:seq(1, 5000)),
    ?assertEqual({ok, Deep}, py:call(Context, ?CASES, identity, [Deep])).

large_terms_cross_in_pieces(Config) ->
    Context = new(Config),
    [begin
         Bytes = rand:bytes(Size),
         ?assertEqual({ok, {Bytes, Size}},
                      py:call(Context, ?CASES, identity, [{{bytes, Bytes}, Size}]))
     end || Size <- [262143, 262144, 1 bsl 20, 5 bsl 20, 40 bsl 20]].

what_is_not_shared_is_refused(Config) ->
    Context = new(Config),
    {ok, Channel} = py_channel:new(),
    ?assertEqual({error, not_shared}, py:call(Context, ?CASES, identity, [Channel])),
    ?assertEqual({error, not_shared}, py:call(Context, ?CASES, identity, [[1, {Channel}]])),
    ?assertEqual({ok, 1}, py:call(Context, ?CASES, identity, [1])),
    ok = py_channel:close(Channel).

%% Erlang

functions_are_called(Config) ->
    Context = new(Config),
    [?assertEqual({ok, 2 * N}, py:call(Context, erlang, call, [process_double, N]))
     || N <- lists:seq(1, 50)],
    ?assertMatch({error, {'RuntimeError', _}}, py:call(Context, erlang, call, [process_none, 1])).

functions_that_call_back(Config) ->
    [One, Two] = [new(Config) || _ <- [1, 2]],
    ok = py:register_function(process_back,
                              fun([0]) -> 0;
                                 ([N]) ->
                                      Next = element(1 + N rem 3, {One, Two, py:context(1)}),
                                      {ok, Below} = py:call(Next, erlang, call,
                                                            [process_back, N - 1]),
                                      Below + 1
                              end),
    ?assertEqual({ok, 12}, py:call(One, erlang, call, [process_back, 12])).

functions_are_called_from_threads(Config) ->
    Context = new(Config),
    Before = processes(),
    ?assertEqual({ok, [2 * N || N <- lists:seq(0, 15)]},
                 py:call(Context, ?CASES, call_in_threads, [process_double, 16])),
    %% Those that stood for the threads are gone, but for the context's own two.
    eventually:true(fun() -> length(processes() -- Before) =< 2 orelse processes() -- Before end).

functions_are_called_from_a_loop(Config) ->
    Context = new(Config),
    ?assertEqual({ok, [2 * N || N <- lists:seq(0, 199)]},
                 py:call(Context, ?CASES, gather_in_loop, [process_double, 200])).

messages_are_sent(Config) ->
    Context = new(Config),
    {ok, Pid} = py_context:os_pid(Context),
    {ok, none} = py:call(Context, ?CASES, tell, [self(), #{a => self()}]),
    Me = self(),
    receive {Pid, #{<<"a">> := Me}} -> ok; {Pid, #{a := Me}} -> ok after 20000 -> error(none) end,
    true = register(py_process_case, self()),
    {ok, none} = py:call(Context, ?CASES, tell_name, [py_process_case, [1, 2]]),
    receive [1, 2] -> ok after 20000 -> error(none) end,
    true = unregister(py_process_case),
    ?assertEqual({ok, false}, py:call(Context, ?CASES, is_registered, [py_process_case])),
    ?assertEqual({ok, true}, py:call(Context, ?CASES, is_registered, [py_callback_server])).

a_dead_caller_is_forgotten(Config) ->
    Context = new(Config),
    eventually:workers([eventually:worker(
                          fun() ->
                              ok = py:exec(Context, <<"mine = 1">>),
                              {ok, 1} = py:eval(Context, <<"mine">>)
                          end) || _ <- lists:seq(1, 10)], calls),
    %% Each watch ends with a request of its own, behind which this one waits.
    ?assertMatch({error, {'NameError', _}}, py:eval(Context, <<"mine">>)).

a_function_returns_what_is_not_shared(Config) ->
    Context = new(Config),
    ok = py:register_function(process_channel,
                              fun([]) -> {ok, Channel} = py_channel:new(), Channel end),
    {error, {'RuntimeError', Text}} = py:call(Context, erlang, call, [process_channel],
                                              #{timeout => 20000}),
    ?assert(lists:prefix("error: what the function returned holds a channel", Text)),
    ?assertEqual({ok, 2}, py:call(Context, erlang, call, [process_double, 1])).

a_function_fails_with_what_is_not_shared(Config) ->
    Context = new(Config),
    ok = py:register_function(process_channel,
                              fun([]) -> {ok, Channel} = py_channel:new(), exit(Channel) end),
    {error, {'RuntimeError', _}} = py:call(Context, erlang, call, [process_channel],
                                           #{timeout => 20000}),
    ?assertEqual({ok, 2}, py:call(Context, erlang, call, [process_double, 1])).

%% The VM cannot make a term of what is sent.
calls_that_cannot_be_delivered_fail(Config) ->
    Context = new(Config),
    {ok, none} = py:call(Context, ?CASES, call_too_deep, [process_double], #{timeout => 20000}),
    ?assertEqual({ok, 2}, py:call(Context, erlang, call, [process_double, 1])).

%% A call may meet them before the worker has heard of it, once for the handler and once for the
%% thread's process; then it may have run or not. It never waits for ever.
calls_after_kills_go_on(Config) ->
    Others = py_call_case:handlers() ++ py_call_case:callers(),
    Context = new(Config),
    [begin
         ?assertEqual({ok, 2}, py:call(Context, erlang, call, [process_double, 1])),
         Handlers = py_call_case:handlers() -- Others,
         Callers = py_call_case:callers() -- Others,
         ?assert(Handlers =/= [] andalso Callers =/= []),
         [eventually:dead(Pid) || Pid <- case N rem 3 of
                                             0 -> Handlers;
                                             1 -> Callers;
                                             2 -> Handlers ++ Callers
                                         end],
         ?assert(tries(Context) =< 3)
     end || N <- lists:seq(1, 60)].

tries(Context) ->
    case py:call(Context, erlang, call, [process_double, 3], #{timeout => 20000}) of
        {ok, 6} -> 1;
        {error, {'RuntimeError', "exit: " ++ _}} -> 1 + tries(Context)
    end.

%% What the worker has heard of before is no matter of the next call.
a_killed_handler_costs_no_call(Config) ->
    Context = new(Config),
    ok = py:register_function(process_back, fun([]) -> self() end),
    [begin
         {ok, Handler} = py:call(Context, erlang, call, [process_back]),
         eventually:dead(Handler),
         eventually:true(fun() -> not lists:any(fun(Pid) -> is_busy_with(Pid, Handler) end,
                                                py_call_case:callers()) end),
         {ok, _} = py:call(Context, ?CASES, pid, []),
         {ok, Other} = py:call(Context, erlang, call, [process_back]),
         ?assertNotEqual(Handler, Other)
     end || _ <- lists:seq(1, 20)].

is_busy_with(Pid, Handler) ->
    Info = process_info(Pid, [status, message_queue_len, monitors]),
    Info =/= undefined andalso
        ([{status, waiting}, {message_queue_len, 0}] =/= lists:sublist(Info, 2) orelse
         lists:member({process, Handler}, proplists:get_value(monitors, Info))).

threads_end_in_every_way(Config) ->
    Context = new(Config),
    ok = py:register_function(process_back, fun([N]) -> N end),
    Before = length(py_call_case:callers()),
    {ok, none} = py:call(Context, thread_cases, end_in_every_way, [process_back, 24]),
    eventually:true(fun() -> length(py_call_case:callers()) =< Before + 1 end).

%% Ends

a_crash_is_an_error(Config) ->
    [begin
         Context = new(Config),
         Monitor = monitor(process, Context),
         ?assertEqual({error, {worker_down, How}}, py:call(Context, ?CASES, Function, Args)),
         receive {'DOWN', Monitor, process, Context, Reason} ->
             ?assertEqual({worker_down, How}, Reason)
         after 20000 -> error(still_there)
         end,
         ?assertEqual({error, {context_died, noproc}}, py:call(Context, ?CASES, pid, []))
     end || {Function, Args, How} <- [{crash, [], {signal, 11}}, {leave, [3], {exit_status, 3}},
                                      {die, [9], {signal, 9}}]].

each_call_fails_when_it_is_killed(Config) ->
    Context = new(Config),
    {ok, Pid} = py_context:os_pid(Context),
    Test = self(),
    ok = py:register_function(process_never,
                              fun([]) -> Test ! {entered, self()}, receive never -> ok end end),
    First = eventually:worker(fun() -> py:call(Context, erlang, call, [process_never]) end),
    {entered, Handler} = eventually:message(entered),
    Queued = [in_background(Context, identity, [N]) || N <- lists:seq(1, 20)],
    eventually:waiting_for_answers([First | Queued]),
    kill(Pid),
    ?assertEqual(lists:duplicate(21, {error, {worker_down, {signal, 9}}}),
                 eventually:workers([First | Queued], calls)),
    eventually:dead(Handler).

it_stops(Config) ->
    Context = new(Config),
    {ok, Pid} = py_context:os_pid(Context),
    ok = py_context:stop(Context),
    eventually:true(fun() -> not is_running(Pid) end).

it_stops_what_runs(Config) ->
    Context = new(Config),
    {ok, Pid} = py_context:os_pid(Context),
    Calls = [in_background(Context, spin, []) || _ <- [1, 2]],
    eventually:waiting_for_answers(Calls),
    ok = py_context:stop(Context),
    [?assertMatch({error, {_, _}}, Result) || Result <- eventually:workers(Calls, calls)],
    eventually:true(fun() -> not is_running(Pid) end).

%% One that does not react at all.
a_stopped_process_is_killed(Config) ->
    Context = new(Config),
    {ok, Pid} = py_context:os_pid(Context),
    signal("STOP", Pid),
    ?assertEqual({error, timeout}, py:call(Context, ?CASES, pid, [], #{timeout => 50})),
    signal("CONT", Pid),
    ?assertEqual({ok, Pid}, py:call(Context, ?CASES, pid, [])),
    signal("STOP", Pid),
    ok = py_context:stop(Context),
    eventually:true(fun() -> not is_running(Pid) end).

it_ends_with_its_owner(Config) ->
    Context = new(Config),
    {ok, Pid} = py_context:os_pid(Context),
    Call = in_background(Context, spin, []),
    exit(Context, kill),
    [{error, _}] = eventually:workers([Call], calls),
    eventually:true(fun() -> not is_running(Pid) end).

%% While callers call, threads call back and large terms are under way.
kills_at_any_moment(Config) ->
    ok = py:register_function(process_back, fun([N]) -> N end),
    Large = binary:copy(<<"y">>, 400000),
    [begin
         Context = new(Config),
         {ok, Pid} = py_context:os_pid(Context),
         Callers = [eventually:worker(fun() -> until_down(Context, Number, Large) end)
                    || Number <- lists:seq(1, 8)],
         receive after rand:uniform(40) -> ok end,  % sleep: the moment
         kill(Pid),
         [?assertMatch({error, {_, _}}, Result) || Result <- eventually:workers(Callers, calls)]
     end || _ <- lists:seq(1, 8)].

until_down(Context, Number, Large) ->
    Result = case Number rem 4 of
        0 -> py:call(Context, ?CASES, identity, [Large]);
        1 -> py:call(Context, ?CASES, call_in_threads, [process_back, 4]);
        2 -> py:call(Context, erlang, call, [process_back, Number]);
        3 -> py:call(Context, ?CASES, identity, [Number])
    end,
    case Result of
        {ok, _} -> until_down(Context, Number, Large);
        {error, {Reason, _}} when Reason =:= worker_down; Reason =:= context_died -> Result
    end.

%% Whatever they do: the kernel kills them.
they_end_with_the_vm(_) ->
    Peer = peer(#{}),
    Contexts = [element(2, {ok, _} = peer:call(Peer, py_context, new, [#{mode => process}], 60000))
                || _ <- lists:seq(1, 4)],
    Pids = [element(2, {ok, _} = peer:call(Peer, py_context, os_pid, [Context]))
            || Context <- Contexts],
    [peer:cast(Peer, py, exec, [Context, <<"while True: pass">>]) || Context <- tl(Contexts)],
    signal("STOP", lists:last(Pids)),
    ?assertEqual(Pids, [Pid || Pid <- Pids, is_running(Pid)]),
    kill(list_to_integer(peer:call(Peer, os, getpid, []))),
    eventually:true(fun() -> not lists:any(fun py_process_case:is_running/1, Pids) end),
    exit(Peer, kill).

%% An error says so, and what was begun is given back.
descriptors_run_out(_) ->
    Peer = peer(#{exec => {"/bin/sh", ["-c", "ulimit -n 100; exec erl \"$@\"", "sh"]}}),
    ?assertEqual(ok, peer:call(Peer, ?MODULE, run_out, [], 60000)),
    ok = peer:stop(Peer).

run_out() ->
    ok = use_a_process(),  % Loads code, which takes descriptors, too.
    [begin
         [ok] = eventually:workers([eventually:worker(fun() -> take_all([]) end)], taken),
         eventually:true(fun() ->
                             [erlang:garbage_collect(Process) || Process <- processes()],
                             element(1, py_channel:new(#{shared => true})) =:= ok
                         end)
     end || _ <- lists:seq(1, 3)],
    use_a_process().

use_a_process() ->
    {ok, Context} = py_context:new(#{mode => process}),
    {ok, 2} = py:eval(Context, <<"1 + 1">>),
    py_context:stop(Context).

take_all(Channels) ->
    case py_channel:new(#{shared => true}) of
        {ok, Channel} ->
            take_all([Channel | Channels]);
        {error, Reason} ->
            ?assertEqual(system_limit, Reason),
            {error, {python, Message}} = py_context:new(#{mode => process}),
            ?assertMatch({_, _}, binary:match(Message, <<"Too many open files">>)),
            ?assert(length(Channels) > 10),
            ok
    end.

%% A VM of its own, plain, whatever this one is.
peer(Opts) ->
    {ok, Peer, _} = peer:start(Opts#{connection => standard_io}),
    ok = peer:call(Peer, code, add_paths, [code:get_path()]),
    true = peer:call(Peer, os, putenv, ["PENSTOCK_PRIV", py_deadlock_SUITE:plain_priv()]),
    {ok, _} = peer:call(Peer, application, ensure_all_started, [penstock], 60000),
    Peer.

%% Whatever it writes into the memory that it shares with us, we go on.
it_scribbles(Config) ->
    Results = [begin
                   Context = new(Config),
                   {error, Reason} = py:call(Context, ?CASES, scribble, [Seed],
                                             #{timeout => 300}),
                   py_context:stop(Context),
                   ?assertEqual({ok, 1}, py:call(py:context(1), ?CASES, identity, [1])),
                   Reason
               end || Seed <- lists:seq(1, 10)],
    ct:log("~p", [Results]).

nothing_is_left(Config) ->
    py_process_case:nothing_is_left(Config).

%% Helpers

python() ->
    {ok, Python} = py:eval(py:context(1), <<"__import__('sys').executable">>),
    binary_to_list(Python).

in_background(Context, Function, Args) ->
    eventually:worker(fun() -> py:call(Context, ?CASES, Function, Args) end).

%% An import that is interrupted may leave half of a module of Python's.
import_cases(Context) ->
    {ok, 1} = py:call(Context, ?CASES, identity, [1]).

%% It may come before the code begins.
interrupted(Context, Call) ->
    ok = py:interrupt(Context),
    receive {worker, Call, Result} -> Result
    after 5 -> interrupted(Context, Call)
    end.
