%% SPDX-License-Identifier: Apache-2.0
%% The application's life: starting, stopping, restarting, and what is left behind.
-module(penstock_app_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

%% A stop with Python blocked takes milliseconds; the old limit was five seconds a context.
-define(PROMPT_MS, 1500).

all() ->
    [it_starts_and_stops, what_needs_it_says_so_when_it_does_not_run,
     a_start_that_fails_may_be_tried_again_at_once, a_stop_wakes_blocked_python,
     a_stop_is_seen_as_application_stopped,
     a_stop_wakes_coroutines, a_stop_is_told_again, a_stop_answers_what_is_queued,
     channels_survive_a_restart, callbacks_come_back_after_a_restart,
     twenty_restarts_with_blocked_receivers_leave_nothing,
     code_that_cannot_be_interrupted_does_not_hold_up_the_stop,
     the_number_of_contexts_is_configured, another_python_is_not_looked_for_once_python_runs,
     every_process_of_the_tree_may_be_killed, python_may_make_so_many_atoms_and_no_more,
     a_failed_allocation_is_enomem_and_loses_nothing,
     the_native_functions_are_those_that_the_module_declares,
     the_module_is_loaded_again_while_python_waits].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_case:add_path(Config),
    {ok, 1} = py:call(channel_cases, same, [1]),
    ok = application:stop(penstock),
    Config.

end_per_suite(_Config) ->
    ok.

init_per_testcase(_Case, Config) ->
    _ = application:load(penstock),
    Config.

end_per_testcase(_Case, _Config) ->
    _ = application:stop(penstock),
    ok = application:unload(penstock),
    eventually:silence().

it_starts_and_stops(_) ->
    Processes = processes(),
    ok = application:start(penstock),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ok = application:stop(penstock),
    eventually:equal([], fun() -> [P || P <- processes() -- Processes, is_process_alive(P)] end),
    ok = application:start(penstock),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

what_needs_it_says_so_when_it_does_not_run(_) ->
    ?assertEqual({error, not_started}, py:call(math, sqrt, [16])),
    ?assertEqual({error, not_started}, py:eval("1")),
    ?assertEqual({error, not_started}, py:exec("1")),
    ?assertEqual({error, not_started}, py:start_contexts()),
    ?assertEqual(false, py:contexts_started()),
    ?assertError(not_started, py:context()),
    ?assertError(badarg, py:context(1)).

a_start_that_fails_may_be_tried_again_at_once(_) ->
    ok = application:set_env(penstock, logging, yes),
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, none),
    Reasons = [application:start(penstock) || _ <- lists:seq(1, 1000)],
    ok = logger:set_primary_config(level, Level),
    [?assertMatch({error, {{shutdown, {failed_to_start_child, py_output, _}}, _}}, Reason)
     || Reason <- Reasons],
    ok = application:set_env(penstock, logging, true),
    ok = application:start(penstock).

a_stop_wakes_blocked_python(_) ->
    ok = application:start(penstock),
    {ok, Channel} = made:channel(),
    Blocked = [blocked_receiver(Index, announce_then_collect, Channel)
               || Index <- lists:seq(1, py_context_router:num_contexts())],
    stop_promptly(),
    [?assertMatch({error, {Reason, _}} when Reason =:= 'ApplicationStopped';
                                            Reason =:= context_died, Result)
     || Result <- eventually:workers(Blocked, blocked)],
    ok = py_channel:close(Channel).  % Until here somebody could have sent.

a_stop_wakes_coroutines(_) ->
    ok = application:start(penstock),
    {ok, Channel} = made:channel(),
    Blocked = blocked_receiver(1, announce_then_collect_async, Channel),
    stop_promptly(),
    ?assertMatch([{error, _}], eventually:workers([Blocked], blocked)),
    ok = py_channel:close(Channel).  % Until here somebody could have sent.

%% What Python sees. It tells the test before its context is gone.
a_stop_is_seen_as_application_stopped(_) ->
    ok = application:start(penstock),
    {ok, Channel} = made:channel(),
    ok = py:exec(py:context(1), "import sys"),
    Test = self(),
    Blocked = eventually:worker(
                fun() ->
                    Context = py:context(1),
                    ok = py:exec(Context, <<"from erlang import Channel, reply\n"
                                            "def wait(ref, pid):\n"
                                            "    reply(pid, ('blocked', None))\n"
                                            "    try:\n"
                                            "        Channel(ref).receive()\n"
                                            "    except BaseException as error:\n"
                                            "        reply(pid, ('ended', type(error).__name__))\n"
                                            "        raise\n">>),
                    py:call(Context, '__main__', wait, [Channel, Test])
                end),
    _ = eventually:message(blocked),
    stop_promptly(),
    ?assertEqual({ended, <<"ApplicationStopped">>}, eventually:message(ended)),
    ?assertMatch([{error, _}], eventually:workers([Blocked], blocked)),
    ok = py_channel:close(Channel).  % Until here somebody could have sent.

%% As it is not when it was raised where exceptions go no further: in a finalizer, for one.
a_stop_is_told_again(_) ->
    ok = application:start(penstock),
    Test = self(),
    Stubborn = eventually:worker(
                 fun() ->
                     Context = py:context(1),
                     ok = py:exec(Context, <<"from erlang import reply\n"
                                             "def stubborn(pid):\n"
                                             "    for turn in range(3):\n"
                                             "        try:\n"
                                             "            if turn == 0:\n"
                                             "                reply(pid, ('blocked', 0))\n"
                                             "            while True: pass\n"
                                             "        except BaseException:\n"
                                             "            pass\n"
                                             "    reply(pid, ('ended', None))\n">>),
                     py:call(Context, '__main__', stubborn, [Test])
                 end),
    _ = eventually:message(blocked),
    ok = application:stop(penstock),
    ?assertEqual({ended, none}, eventually:message(ended)),
    _ = eventually:workers([Stubborn], stubborn).

a_stop_answers_what_is_queued(_) ->
    ok = application:start(penstock),
    {ok, Channel} = made:channel(),
    Blocked = blocked_receiver(1, announce_then_collect, Channel),
    Queued = [eventually:worker(fun() -> py:call(py:context(1), math, sqrt, [16]) end)
              || _ <- lists:seq(1, 50)],
    eventually:true(fun() -> lists:all(fun is_waiting/1, Queued) end),
    stop_promptly(),
    [?assertMatch({error, {context_died, _}}, Result)
     || Result <- eventually:workers(Queued, queued)],
    ?assertMatch([{error, _}], eventually:workers([Blocked], blocked)),
    ok = py_channel:close(Channel).  % Until here somebody could have sent.

channels_survive_a_restart(_) ->
    ok = application:start(penstock),
    {ok, Channel} = made:channel(),
    ok = py_channel:send(Channel, before),
    ok = application:stop(penstock),
    ok = py_channel:send(Channel, between),
    ?assertMatch(#{closed := false}, py_channel:info(Channel)),
    ok = application:start(penstock),
    ok = py_channel:close(Channel),
    ?assertEqual({ok, [<<"before">>, <<"between">>]}, py:call(channel_cases, collect, [Channel])).

callbacks_come_back_after_a_restart(_) ->
    ok = application:start(penstock),
    ok = py_callback:register(mine, fun(_) -> ok end),
    ok = py_callback:register(<<"yours">>, {erlang, length}),
    ?assertEqual({ok, {erlang, length}}, py_callback:lookup(yours)),
    ok = py_callback:unregister(yours),
    ok = py_callback:unregister(yours),
    ?assertEqual({error, not_found}, py_callback:lookup(yours)),
    ?assertError(badarg, py_callback:register(mine, fun() -> ok end)),
    ?assertError(badarg, py_callback:register(mine, mine)),
    ok = application:stop(penstock),
    ok = application:start(penstock),
    ?assertEqual({error, not_found}, py_callback:lookup(mine)),
    ?assertMatch({ok, _}, py_callback:lookup(<<"_py_channel_receive">>)).

twenty_restarts_with_blocked_receivers_leave_nothing(_) ->
    %% Two rounds make what stays: atoms of messages, memory of allocators, threads of the VM.
    [restart_with_blocked_receivers() || _ <- [1, 2]],
    Before = footprint(),
    [restart_with_blocked_receivers() || _ <- lists:seq(1, 20)],
    eventually:true(fun() ->
                        Now = footprint(),
                        case [{Key, maps:get(Key, Before), maps:get(Key, Now)}
                              || Key <- maps:keys(Before),
                                 maps:get(Key, Now) > maps:get(Key, Before)] of
                            [] -> true;
                            More -> {More, atoms_from(maps:get(atoms, Before))}
                        end
                    end).

%% Atoms by their place in the table.
atoms_from(First) ->
    [binary_to_term(<<131, 75, Place:24>>)
     || Place <- lists:seq(First, erlang:system_info(atom_count) - 1)].

restart_with_blocked_receivers() ->
    ok = application:start(penstock),
    {ok, Channel} = made:channel(),
    Count = py_context_router:num_contexts(),
    Blocked = [blocked_receiver(Index, Function, Channel)
               || {Index, Function} <- lists:zip(lists:seq(1, Count),
                                                 lists:sublist(
                                                   lists:append(
                                                     lists:duplicate(
                                                       Count, [announce_then_collect,
                                                               announce_then_collect_async])),
                                                   Count))],
    Waiter = eventually:worker(fun() -> py_channel:recv(Channel) end),
    stop_promptly(),
    [{error, _} = Result || Result <- eventually:workers(Blocked, blocked)],
    %% Erlang processes wait on: the channel is not the application's.
    ok = py_channel:send(Channel, for_the_waiter),
    ?assertEqual([{ok, for_the_waiter}], eventually:workers([Waiter], waiter)).

footprint() ->
    %% Both collectors have looked.
    ok = application:start(penstock),
    {ok, _} = py:call(py:context(1), gc, collect, []),
    ok = application:stop(penstock),
    [erlang:garbage_collect(Process) || Process <- processes()],
    Counters = py_nif:debug_counters(),
    {ok, Descriptors} = file:list_dir("/proc/self/fd"),
    {ok, Threads} = file:list_dir("/proc/self/task"),
    maps:merge(maps:without([dropped_sends], Counters),
               #{atoms => erlang:system_info(atom_count),
                 processes => length(processes()),
                 tables => length(ets:all()),
                 descriptors => length(Descriptors),
                 threads => length(Threads)}).

%% time.sleep is C code that sees no interrupt before it returns: the thread is left to itself, and
%% ends when it can.
code_that_cannot_be_interrupted_does_not_hold_up_the_stop(_) ->
    ok = application:set_env(penstock, num_contexts, 3),
    ok = application:start(penstock),
    Contexts = maps:get(contexts, py_nif:debug_counters()),
    Sleeping = [eventually:worker(fun() -> py:call(py:context(Index), time, sleep, [4]) end)
                || Index <- [1, 2, 3]],
    eventually:true(fun() -> lists:all(fun is_waiting/1, Sleeping) end),
    Started = erlang:monotonic_time(millisecond),
    ok = application:stop(penstock),
    %% Two seconds for all of them together.
    ?assert(erlang:monotonic_time(millisecond) - Started < 4000),
    [?assertMatch({error, {context_died, _}}, Result)
     || Result <- eventually:workers(Sleeping, sleeping)],
    eventually:true(fun() ->
                        [erlang:garbage_collect(Process) || Process <- processes()],
                        maps:get(contexts, py_nif:debug_counters()) =< Contexts - 3
                    end),
    ok = application:start(penstock),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

the_number_of_contexts_is_configured(_) ->
    [begin
         ok = application:set_env(penstock, num_contexts, Count),
         ok = application:start(penstock),
         {ok, Contexts} = py:start_contexts(),
         ?assertEqual(Count, length(Contexts)),
         ?assertError(badarg, py:context(Count + 1)),
         ok = application:stop(penstock)
     end || Count <- [1, 5, 2]].

another_python_is_not_looked_for_once_python_runs(_) ->
    ok = application:set_env(penstock, python, "/nowhere/python3"),
    ok = application:start(penstock),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

every_process_of_the_tree_may_be_killed(_) ->
    ok = application:start(penstock),
    {ok, Channel} = made:channel(),
    [begin
         Old = whereis(Name),
         exit(Old, kill),
         eventually:true(fun() -> is_pid(whereis(Name)) andalso whereis(Name) =/= Old end),
         eventually:true(fun() -> py:contexts_started() end),
         eventually:equal({ok, 4.0}, fun() -> py:call(math, sqrt, [16]) end),
         ok = py_channel:send(Channel, Name),
         ?assertMatch({ok, _}, py:call(channel_cases, try_receive, [Channel]))
     end || Name <- [py_forwarder, py_output, py_runtime, py_context_sup]].

python_may_make_so_many_atoms_and_no_more(_) ->
    #{atoms_created := Created} = py_nif:debug_counters(),
    ok = application:set_env(penstock, max_atoms, Created + 10),
    ok = application:start(penstock),
    Tag = integer_to_list(erlang:unique_integer([positive])),
    ok = py:exec(["import erlang\n"
                  "made = 0\n"
                  "try:\n"
                  "    for n in range(100):\n"
                  "        erlang.atom('penstock_test_", Tag, "_%d' % n)\n"
                  "        made += 1\n"
                  "except RuntimeError:\n"
                  "    pass\n"]),
    {ok, Made} = py:eval("made"),
    ?assert(Made =< 10),
    ?assert(maps:get(atoms_created, py_nif:debug_counters()) =< Created + 10),
    %% Existing ones are free, of any script.
    [begin
         Code = ["erlang.atom('", atom_to_list(Atom), "')"],
         ?assertEqual({ok, Atom}, py:eval(Code))
     end || Atom <- ['ok', 'é', 'жук', 'with space', py_SUITE]],
    %% And strings never become atoms.
    Atoms = erlang:system_info(atom_count),
    {ok, _} = py:eval(["['penstock_str_", Tag, "_%d' % n for n in range(1000)]"]),
    ?assertEqual(Atoms, erlang:system_info(atom_count)).

%% The first allocation fails, then the second, ..., until none does. With what failed before, and
%% after memory is back, the channel holds exactly what was sent with `ok'.
a_failed_allocation_is_enomem_and_loses_nothing(_) ->
    ok = application:start(penstock),
    Injected = fail_allocation(1, 0),
    ct:log("~b allocations failed", [Injected]),
    ?assert(Injected > 0).

fail_allocation(Countdown, Injected) ->
    Terms = [small, <<0:(7000 * 8)>>, lists:seq(1, 3000), lists:duplicate(100, <<0:8000>>)],
    ok = py_nif:debug_fail_allocations(Countdown),
    Results = try
                  case made:channel() of
                      {ok, Channel} ->
                          {Channel, [{Term, py_channel:send(Channel, Term, 0)}
                                     || _ <- lists:seq(1, 20), Term <- Terms]};
                      {error, enomem} ->
                          none
                  end
              after
                  ok = py_nif:debug_fail_allocations(0)
              end,
    case Results of
        none ->
            fail_allocation(Countdown + 1, Injected + 1);
        {Made, Sends} ->
            ?assertEqual([], [Result || {_, Result} <- Sends, Result =/= ok,
                                        Result =/= {error, enomem}]),
            ok = py_channel:close(Made),
            ?assertEqual([{ok, Term} || {Term, ok} <- Sends],
                         [py_channel:recv(Made) || {_, ok} <- Sends]),
            ?assertEqual({error, closed}, py_channel:recv(Made)),
            ?assertMatch(#{size := 0}, py_channel:info(Made)),
            case [failed || {_, {error, enomem}} <- Sends] of
                [] -> Injected;
                Failed -> fail_allocation(Countdown + 1, Injected + length(Failed))
            end
    end.

the_native_functions_are_those_that_the_module_declares(_) ->
    Native = lists:sort(py_nif:module_info(nifs)),
    Exported = lists:sort(py_nif:module_info(exports)
                          -- [{module_info, 0}, {module_info, 1}, {priv_dir, 0}]),
    ?assertEqual(Exported, Native),
    %% None of them says that it is not loaded; none accepts nonsense.
    [?assert(lists:member(try apply(py_nif, Name, lists:duplicate(Arity, [bad]))
                          catch error:Reason -> Reason
                          end, [badarg, {error, invalid_channel}, {error, invalid_buffer},
                                {error, invalid_loop}, {error, invalid_fd_ref}, []]))
     || {Name, Arity} <- Native, Arity > 0].

%% As a release upgrade does, with live channels, waiters and blocked Python.
the_module_is_loaded_again_while_python_waits(_) ->
    ok = application:start(penstock),
    {ok, Channel} = made:channel(),
    Blocked = blocked_receiver(1, announce_then_collect, Channel),
    Waiter = eventually:worker(fun() -> py_channel:recv(Channel) end),
    [begin
         {module, py_nif} = code:load_file(py_nif),
         _ = code:soft_purge(py_nif),
         ok = py_channel:send(Channel, N)
     end || N <- lists:seq(1, 30)],
    ok = py_channel:close(Channel),
    [{ok, Received}] = eventually:workers([Blocked], blocked),
    [{ok, One}] = eventually:workers([Waiter], waiter),
    ?assertEqual(lists:seq(1, 30), lists:sort([One | Received])),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

%% Steps

blocked_receiver(Index, Function, Channel) ->
    Context = py:context(Index),
    Arguments = [Channel, self()],
    Blocked = eventually:worker(py_case:caller(Context, channel_cases, Function, Arguments)),
    _ = eventually:message(blocked),
    Blocked.

stop_promptly() ->
    Started = erlang:monotonic_time(millisecond),
    ok = application:stop(penstock),
    Took = erlang:monotonic_time(millisecond) - Started,
    ct:log("stopped in ~b ms", [Took]),
    ?assert(Took < ?PROMPT_MS).

is_waiting(Pid) ->
    process_info(Pid, current_function) =:= {current_function, {py_context, await_monitored, 5}}.
