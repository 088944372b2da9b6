%% SPDX-License-Identifier: Apache-2.0
%% Calls into Python.
-module(py_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

all() ->
    [{group, calls}, {group, namespaces}, {group, errors}, {group, timeouts}, {group, contexts}].

groups() ->
    [{calls, [],
      [names_may_be_atoms_binaries_or_strings, keyword_arguments_arrive, the_version_is_told,
       eval_sees_its_locals, exec_answers_ok, large_arguments_and_results_pass,
       many_callers_share_a_context]},
     {namespaces, [],
      [a_namespace_belongs_to_a_process_and_a_context, a_namespace_dies_with_its_process,
       main_is_the_namespace_of_the_caller, modules_are_shared]},
     {errors, [],
      [exceptions_are_class_and_message, every_thrower_leaves_the_context_usable,
       what_has_no_form_in_python_is_named, what_has_no_form_in_erlang_is_named,
       bad_arguments_are_badarg]},
     {timeouts, [],
      [a_timeout_stops_the_code, a_timeout_covers_the_queue, a_late_answer_reaches_nobody,
       what_timed_out_in_the_queue_never_runs, an_interrupt_is_a_keyboard_interrupt,
       an_interrupt_of_an_idle_context_harms_nobody]},
     {contexts, [],
      [the_pool_has_a_context_for_each_place, a_process_keeps_its_context,
       all_code_of_a_context_runs_on_one_thread, contexts_run_side_by_side,
       a_context_that_is_killed_is_replaced, callers_of_a_killed_context_are_told,
       a_caller_that_dies_harms_nobody]}].

init_per_suite(Config) ->
    _ = application:load(penstock),
    ok = application:set_env(penstock, num_contexts, 3),
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_case:add_path(Config),
    [{ok, 1} = py:call(py:context(Index), call_cases, identity, [1]) || Index <- [1, 2, 3]],
    [{counters, py_nif:debug_counters()} | Config].

end_per_suite(Config) ->
    eventually:counters_return_to(?config(counters, Config)),
    ok = application:stop(penstock),
    ok = application:unset_env(penstock, num_contexts),
    ok = application:unload(penstock).

end_per_testcase(_Case, _Config) ->
    eventually:silence().

%% Calls

names_may_be_atoms_binaries_or_strings(_) ->
    [?assertEqual({ok, 8.0}, py:call(Module, Function, [2, 3]))
     || {Module, Function} <- [{math, pow}, {<<"math">>, <<"pow">>}, {"math", "pow"},
                               {math, <<"pow">>}]],
    ?assertEqual({ok, 8.0}, py:call(py:context(), math, pow, [2, 3])),
    ?assertEqual({ok, <<"posix">>}, py:eval("__import__('os').name")).

keyword_arguments_arrive(_) ->
    Expected = {ok, [[1, 2], #{<<"a">> => 3, <<"b">> => <<"x">>}]},
    Kwargs = #{a => 3, <<"b">> => <<"x">>},
    ?assertEqual(Expected, py:call(call_cases, arguments, [1, 2], Kwargs)),
    ?assertEqual(Expected, py:call(py:context(1), call_cases, arguments, [1, 2],
                                   #{kwargs => Kwargs, timeout => 20000})),
    ?assertEqual({ok, [[], #{}]}, py:call(call_cases, arguments, [])).

the_version_is_told(_) ->
    {ok, <<"3.", _/binary>>} = py:version().

eval_sees_its_locals(_) ->
    ?assertEqual({ok, 5}, py:eval(<<"a + b">>, #{a => 2, <<"b">> => 3})),
    ?assertEqual({ok, [1, 4]}, py:eval(py:context(2), "[x * x for x in numbers]",
                                       #{numbers => [1, 2]})),
    ?assertEqual({ok, 2}, py:eval(py:context(1), <<"1 + 1">>)).

exec_answers_ok(_) ->
    ?assertEqual(ok, py:exec(<<"x = 1">>)),
    ?assertEqual(ok, py:exec(py:context(1), "x = 1")).

large_arguments_and_results_pass(_) ->
    [begin
         {ok, Back} = py:call(call_cases, identity, [Term]),
         ?assert(Back =:= Term)
     end || Term <- [lists:seq(1, 200000), binary:copy(<<"0123456789">>, 1000000),
                     [binary:copy(<<"x">>, 5000) || _ <- lists:seq(1, 200)]]].

many_callers_share_a_context(_) ->
    Context = py:context(1),
    Callers = [eventually:worker(fun() ->
                                     [{ok, {Caller, N}} =
                                          py:call(Context, call_cases, identity, [{Caller, N}])
                                      || N <- lists:seq(1, 50)],
                                     ok
                                 end) || Caller <- lists:seq(1, 50)],
    ?assertEqual([ok], lists:usort(eventually:workers(Callers, callers))).

%% Namespaces

a_namespace_belongs_to_a_process_and_a_context(_) ->
    First = py:context(1),
    Second = py:context(2),
    ok = py:exec(First, <<"secret = 42">>),
    ?assertEqual({ok, 42}, py:eval(First, <<"secret">>)),
    ?assertMatch({error, {'NameError', _}}, py:eval(Second, <<"secret">>)),
    Other = eventually:worker(fun() -> py:eval(First, <<"secret">>) end),
    ?assertMatch([{error, {'NameError', _}}], eventually:workers([Other], other)).

%% An object in the namespace says when it is gone.
a_namespace_dies_with_its_process(_) ->
    Test = self(),
    Owner = spawn(fun() ->
                      ok = py:exec(py:context(1),
                                   <<"import erlang\n"
                                     "class Last:\n"
                                     "    def __init__(self, pid): self.pid = pid\n"
                                     "    def __del__(self):\n"
                                     "        erlang.send(self.pid, ('gone', 1))\n">>),
                      {ok, _} = py:eval(py:context(1), <<"globals().update(last=Last(pid))">>,
                                        #{pid => Test}),
                      Test ! {ready, self()},
                      receive stop -> ok end
                  end),
    _ = eventually:message(ready),
    {ok, 1} = py:call(py:context(1), call_cases, identity, [1]),
    eventually:silence(),
    Owner ! stop,
    %% A class and its functions refer to each other, so the collector has to look.
    eventually:true(fun() ->
                        {ok, _} = py:call(py:context(1), gc, collect, []),
                        receive {<<"gone">>, 1} -> true after 0 -> still_there end
                    end).

main_is_the_namespace_of_the_caller(_) ->
    Context = py:context(1),
    ok = py:exec(Context, <<"def twice(x): return 2 * x">>),
    ?assertEqual({ok, 6}, py:call(Context, '__main__', twice, [3])),
    Other = eventually:worker(fun() -> py:call(Context, '__main__', twice, [3]) end),
    ?assertMatch([{error, {'AttributeError', _}}], eventually:workers([Other], other)).

modules_are_shared(_) ->
    ok = py:exec(py:context(1), <<"import call_cases\ncall_cases.shared = 17">>),
    ?assertEqual({ok, 17}, py:eval(py:context(2), <<"__import__('call_cases').shared">>)).

%% Errors

exceptions_are_class_and_message(_) ->
    ?assertEqual({error, {'ZeroDivisionError', "division by zero"}}, py:eval("1/0")),
    ?assertMatch({error, {'ModuleNotFoundError', "No module named 'nowhere'"}},
                 py:call(nowhere, f, [])),
    ?assertMatch({error, {'AttributeError', _}}, py:call(math, nothing, [])),
    ?assertMatch({error, {'SyntaxError', _}}, py:exec("def")),
    ?assertMatch({error, {'SyntaxError', _}}, py:eval("x = 1")),
    ?assertMatch({error, {'TypeError', _}}, py:call(math, pow, [])),
    ?assertMatch({error, {'ValueError', _}}, py:call(math, sqrt, [-1])).

every_thrower_leaves_the_context_usable(_) ->
    Context = py:context(1),
    [begin
         Result = py:call(Context, call_cases, throw, [Name]),
         case Name of
             <<"KeyboardInterrupt">> ->
                 ?assertEqual({error, interrupted}, Result);
             <<"Long">> ->
                 ?assertMatch({error, {'ValueError', _}}, Result);
             _ ->
                 {error, {Class, _}} = Result,
                 ?assertEqual({Name, Name}, {Name, atom_to_binary(Class)})
         end,
         ?assertEqual({ok, Name}, py:call(Context, call_cases, identity, [Name]))
     end || Name <- [<<"ValueError">>, <<"KeyError">>, <<"SystemExit">>, <<"GeneratorExit">>,
                     <<"KeyboardInterrupt">>, <<"StopIteration">>, <<"MemoryError">>,
                     <<"FileNotFoundError">>, <<"UnicodeDecodeError">>, <<"Unprintable">>,
                     <<"NotUnicode">>, <<"Long">>]],
    ?assertMatch({error, {'RecursionError', _}}, py:call(Context, call_cases, recurse, [])),
    ?assertMatch({error, {'SystemExit', "3"}}, py:exec(Context, "raise SystemExit(3)")),
    ?assertEqual({ok, 1}, py:call(Context, call_cases, identity, [1])).

what_has_no_form_in_python_is_named(_) ->
    ?assertEqual({error, {unsupported, improper_list, [args, 2, 1]}},
                 py:call(call_cases, arguments, [1, {[a | b]}])),
    ?assertEqual({error, {unsupported, bitstring, [kwargs, key]}},
                 py:call(call_cases, arguments, [], #{key => <<1:1>>})),
    ?assertEqual({error, {unsupported, unhashable_key, [locals, x, #{}]}},
                 py:eval(<<"x">>, #{x => #{#{} => 1}})),
    ?assertEqual({error, {unsupported, improper_list, [args]}},
                 py:call(call_cases, arguments, [1 | 2])).

what_has_no_form_in_erlang_is_named(_) ->
    {error, {'TypeError', Message}} =
        py:eval(<<"{'key': [1, __import__('call_cases').Unconvertible]}">>),
    ?assertMatch({_, _}, binary:match(unicode:characters_to_binary(Message), <<"key">>)),
    ?assertMatch({error, {_, _}}, py:eval(<<"'\\ud800'">>)).

bad_arguments_are_badarg(_) ->
    Context = py:context(1),
    [?assertError(badarg, Call())
     || Call <- [fun() -> py:call(math, pow, not_a_list) end,
                 fun() -> py:call(math, pow, [], not_a_map) end,
                 fun() -> py:call(17, pow, []) end,
                 fun() -> py:call(math, {pow}, []) end,
                 fun() -> py:call(Context, math, pow, [], #{timeout => -1}) end,
                 fun() -> py:call(Context, math, pow, [], #{timeout => soon}) end,
                 fun() -> py:call(Context, math, pow, [], #{tiemout => 1}) end,
                 fun() -> py:call(Context, math, pow, [], #{kwargs => []}) end,
                 fun() -> py:eval(<<"1">>, []) end,
                 fun() -> py:eval(<<255>>, #{}), py:eval([-1]) end,
                 fun() -> py:exec(17) end,
                 fun() -> py:interrupt(not_a_pid) end,
                 fun() -> py:context(0) end,
                 fun() -> py:context(4) end,
                 fun() -> py:context(first) end]],
    Stranger = spawn(fun() -> receive stop -> ok end end),
    ?assertEqual({error, {context_died, noproc}}, py:call(Stranger, math, pow, [1, 2])),
    ?assertEqual({error, {context_died, noproc}}, py:interrupt(Stranger)),
    [?assertError(badarg, Call())
     || Call <- [fun() -> py_nif:context_submit(make_ref(), call, {}, make_ref(), []) end,
                 fun() -> py_nif:context_interrupt(make_ref()) end,
                 fun() -> py_nif:context_stop(self()) end,
                 fun() -> py_nif:call_cancel(make_ref()) end,
                 fun() -> py_nif:set_stopped(maybe) end,
                 fun() -> py_nif:runtime_start("python", <<>>, 1) end,
                 fun() -> py_nif:runtime_start(<<>>, <<>>, -1) end]].

%% Timeouts

a_timeout_stops_the_code(_) ->
    Context = py:context(1),
    ?assertEqual({error, timeout},
                 py:call(Context, call_cases, linger, [600], #{timeout => 50})),
    ?assertEqual({ok, 1}, py:call(Context, call_cases, identity, [1], #{timeout => 20000})).

a_timeout_covers_the_queue(_) ->
    Context = py:context(1),
    Busy = eventually:worker(fun() -> py:call(Context, call_cases, linger, [600]) end),
    wait_until_running(Context),
    ?assertEqual({error, timeout},
                 py:call(Context, call_cases, identity, [1], #{timeout => 50})),
    ok = py:interrupt(Context),
    ?assertEqual([{error, interrupted}], eventually:workers([Busy], busy)).

a_late_answer_reaches_nobody(_) ->
    Context = py:context(1),
    [_ = py:call(Context, call_cases, identity, [N], #{timeout => N rem 2})
     || N <- lists:seq(1, 500)],
    ?assertEqual({ok, last}, atom_back(py:call(Context, call_cases, identity, [last]))),
    eventually:silence().

atom_back({ok, Binary}) -> {ok, binary_to_existing_atom(Binary)}.

what_timed_out_in_the_queue_never_runs(Config) ->
    Context = py:context(1),
    Path = unicode:characters_to_binary(filename:join(?config(priv_dir, Config), "touched")),
    Busy = eventually:worker(fun() -> py:call(Context, call_cases, linger, [600]) end),
    wait_until_running(Context),
    ?assertEqual({error, timeout},
                 py:call(Context, call_cases, touch, [Path], #{timeout => 20})),
    ok = py:interrupt(Context),
    _ = eventually:workers([Busy], busy),
    ?assertEqual({ok, 1}, py:call(Context, call_cases, identity, [1])),
    ?assertEqual({error, enoent}, file:read_file(Path)).

an_interrupt_is_a_keyboard_interrupt(_) ->
    Context = py:context(1),
    ok = py:exec(Context, <<"import time\n"
                            "def patient():\n"
                            "    try:\n"
                            %% sleep: something that an interrupt ends
                            "        while True: time.sleep(0.001)\n"
                            "    except KeyboardInterrupt:\n"
                            "        return 'interrupted'\n">>),
    Test = self(),
    Helper = spawn_link(fun() ->
                            wait_until_running(Context),
                            ok = py:interrupt(Context),
                            Test ! {helper, done}
                        end),
    ?assertEqual({ok, <<"interrupted">>}, py:call(Context, '__main__', patient, [])),
    ?assertEqual({helper, done}, eventually:message(helper)),
    true = is_pid(Helper).

an_interrupt_of_an_idle_context_harms_nobody(_) ->
    Context = py:context(1),
    [begin
         ok = py:interrupt(Context),
         ?assertEqual({ok, N}, py:call(Context, call_cases, identity, [N]))
     end || N <- lists:seq(1, 100)].

%% Contexts

the_pool_has_a_context_for_each_place(_) ->
    ?assertEqual(true, py:contexts_started()),
    {ok, Contexts} = py:start_contexts(),
    ?assertEqual(Contexts, [py:context(Index) || Index <- [1, 2, 3]]),
    ?assertEqual({ok, Contexts}, py:start_contexts()),
    ?assertEqual(3, length(lists:usort(Contexts))),
    ?assertEqual(Contexts, py_context_router:contexts()),
    ?assertEqual(3, py_context_router:num_contexts()).

a_process_keeps_its_context(_) ->
    Mine = py:context(),
    [?assertEqual(Mine, begin erlang:yield(), py:context() end) || _ <- lists:seq(1, 100)],
    Other = py:context(3),
    ok = py_context_router:bind_context(Other),
    ?assertEqual(Other, py:context()),
    ok = py_context_router:unbind_context(),
    ?assert(lists:member(py:context(), py_context_router:contexts())).

all_code_of_a_context_runs_on_one_thread(_) ->
    Threads = [begin
                   Context = py:context(Index),
                   Callers = [eventually:worker(
                                fun() -> py:call(Context, call_cases, thread_id, []) end)
                              || _ <- lists:seq(1, 20)],
                   [{ok, Thread}] = lists:usort(eventually:workers(Callers, callers)),
                   Thread
               end || Index <- [1, 2, 3]],
    ?assertEqual(3, length(lists:usort(Threads))).

%% Each waits for the other: that only works if both run.
contexts_run_side_by_side(_) ->
    {ok, There} = made:channel(),
    {ok, Back} = made:channel(),
    First = eventually:worker(
              fun() -> ok = py:exec(py:context(1), <<"import erlang">>),
                       py:eval(py:context(1),
                               <<"(erlang.Channel(there).send('ping'), "
                                 "erlang.Channel(back).receive())[1]">>, both(There, Back)) end),
    Second = eventually:worker(
               fun() -> ok = py:exec(py:context(2), <<"import erlang">>),
                        py:eval(py:context(2),
                                <<"(erlang.Channel(back).send('pong'), "
                                  "erlang.Channel(there).receive())[1]">>, both(There, Back)) end),
    ?assertEqual([{ok, <<"pong">>}, {ok, <<"ping">>}],
                 eventually:workers([First, Second], both)).

both(There, Back) -> #{there => There, back => Back}.

a_context_that_is_killed_is_replaced(_) ->
    Old = py:context(2),
    ok = py:exec(Old, <<"x = 1">>),
    ok = py_context_router:bind_context(Old),
    exit(Old, kill),
    eventually:true(fun() ->
                        case py_context:at(2) of
                            {ok, New} -> New =/= Old;
                            error -> starting
                        end
                    end),
    New = py:context(2),
    ?assertEqual({ok, 4.0}, py:call(New, math, sqrt, [16])),
    ?assertMatch({error, {'NameError', _}}, py:eval(New, <<"x">>)),
    %% A process that was bound to it is bound anew.
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ?assertEqual({error, {context_died, noproc}}, py:call(Old, math, sqrt, [16])),
    ok = py_context_router:unbind_context().

callers_of_a_killed_context_are_told(_) ->
    Context = py:context(3),
    Callers = [eventually:worker(fun() -> py:call(Context, call_cases, linger, [600]) end)
               || _ <- lists:seq(1, 10)],
    wait_until_running(Context),
    exit(Context, kill),
    %% What ran may still have said how it was stopped.
    Results = lists:usort(eventually:workers(Callers, callers)),
    ?assert(lists:member({error, {context_died, killed}}, Results)),
    [?assertMatch({error, {Reason, _}} when Reason =:= context_died;
                                            Reason =:= 'ApplicationStopped', Result)
     || Result <- Results],
    eventually:true(fun() -> py_context:at(3) =/= {ok, Context} andalso py_context:at(3) =/= error
                    end).

a_caller_that_dies_harms_nobody(_) ->
    Context = py:context(1),
    Callers = [spawn(fun() -> py:call(Context, call_cases, identity, [N]) end)
               || N <- lists:seq(1, 1000)],
    [exit(Caller, kill) || Caller <- Callers],
    ?assertEqual({ok, <<"next">>}, py:call(Context, call_cases, identity, [next])).

%% Steps

%% Someone's request is running: a second one, which would be answered at once, waits.
wait_until_running(Context) ->
    eventually:true(fun() ->
                        py:call(Context, call_cases, identity, [1], #{timeout => 20})
                            =:= {error, timeout}
                    end).
