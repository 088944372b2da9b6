%% SPDX-License-Identifier: Apache-2.0
%% Runs the suites about calls once more, with the contexts of the default pool in processes
%% (`-penstock context_mode process'): a hook of Common Test that leaves out what cannot hold there.
%% What is only about processes is in py_process_SUITE.
-module(in_processes).

-export([suites/0, id/1, init/2, pre_init_per_suite/3, post_end_per_suite/4,
         pre_init_per_testcase/4]).

-define(CHANNELS, "channels do not go to a process").
-define(SHARED, "contexts of the VM share modules, locks and the GIL, those in processes do not").
-define(OUTPUT, "what a process prints is the VM's output").
-define(THREADS, "threads of the VM outlive the application, those of a process do not").

suites() ->
    [py_SUITE, py_async_SUITE, py_async_call_SUITE, py_call_storm_SUITE, py_callback_SUITE,
     py_callback_threads_SUITE, py_context_SUITE, py_conversion_SUITE, py_deadlock_SUITE,
     py_event_loop_SUITE, py_event_loop_pool_SUITE, py_reentrancy_SUITE, py_schedule_SUITE,
     penstock_app_SUITE].

left_out() ->
    [{py_SUITE,
      [{?SHARED, [modules_are_shared]},
       {?CHANNELS, [contexts_run_side_by_side]}]},
     {py_async_call_SUITE,
      [{?THREADS, [the_application_stops]}]},
     {py_callback_SUITE,
      [{"a send to a dead process says nothing", [pids_of_the_living_and_of_the_dead]}]},
     {py_callback_threads_SUITE,
      [{?THREADS, [the_application_stops_while_threads_wait,
                   a_thread_wakes_after_the_application_stopped]},
       {"a send to a dead process says nothing", [a_handler_outlives_the_threads_process]}]},
     {py_conversion_SUITE,
      [{?CHANNELS, [erlang_types_become_python_types, identities_come_back,
                    a_channel_through_python_changes_terms_as_documented]}]},
     {py_deadlock_SUITE,
      [{?SHARED, [a_handler_wants_the_lock_in_another_context,
                  no_native_function_waits_for_the_gil,
                  a_thread_logs_while_its_handler_logs_elsewhere]},
       {?CHANNELS, [a_channel_of_one_message_between_contexts]},
       {"what a process lends is its own until Erlang has a copy",
        [what_erlang_drops_needs_no_gil]}]},
     {py_event_loop_SUITE,
      [{?SHARED, [names, main_namespace, markers, reloaded_modules]},
       {?OUTPUT, [output_comes_first]}]},
     {py_event_loop_pool_SUITE,
      [{"a process that is stuck is killed", [a_loop_that_is_stuck]}]},
     {py_reentrancy_SUITE,
      [{?SHARED, [a_queued_nested_call_is_given_up]}]},
     {penstock_app_SUITE,
      [{?CHANNELS, [a_stop_wakes_blocked_python, a_stop_is_seen_as_application_stopped,
                    a_stop_wakes_coroutines, a_stop_answers_what_is_queued,
                    channels_survive_a_restart, every_process_of_the_tree_may_be_killed,
                    twenty_restarts_with_blocked_receivers_leave_nothing,
                    the_module_is_loaded_again_while_python_waits]},
       {"each process looks for its Python", [another_python_is_not_looked_for_once_python_runs]},
       {"atoms count when they come to the VM", [python_may_make_so_many_atoms_and_no_more]}]}].

%% The hook

id(_Options) ->
    ?MODULE.

%% A name that is not there any more would leave out nothing.
init(?MODULE, _Options) ->
    _ = application:load(penstock),
    {ok, process} = application:get_env(penstock, context_mode),
    Gone = [{Suite, Case} || {Suite, Reasons} <- left_out(), {_, Cases} <- Reasons, Case <- Cases,
                             {module, Suite} =:= code:ensure_loaded(Suite),
                             not erlang:function_exported(Suite, Case, 1)],
    Gone =:= [] orelse error({no_such_cases, Gone}),
    {ok, maps:from_list([{{Suite, Case}, Reason}
                         || {Suite, Reasons} <- left_out(), {Reason, Cases} <- Reasons,
                            Case <- Cases])}.

%% Event loops, where they are the matter: each is one more process to start.
pre_init_per_suite(Suite, Config, Reasons) ->
    Mode = case lists:member(Suite, [py_event_loop_SUITE, py_event_loop_pool_SUITE]) of
        true -> process;
        false -> worker
    end,
    ok = application:set_env(penstock, event_loop_mode, Mode),
    {Config, Reasons}.

post_end_per_suite(_Suite, _Config, Return, Reasons) ->
    ok = application:unset_env(penstock, event_loop_mode),
    {Return, Reasons}.

pre_init_per_testcase(Suite, Case, Config, Reasons) ->
    case Reasons of
        #{{Suite, Case} := Reason} -> {{skip, Reason}, Reasons};
        #{} -> {Config, Reasons}
    end.
