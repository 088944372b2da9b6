%% SPDX-License-Identifier: Apache-2.0
%% Runs the suites about calls, channels and buffers once more, with the contexts of the default
%% pool in processes (`-penstock context_mode process') and channels and buffers that they share: a
%% hook of Common Test that leaves out what cannot hold there. What is only about processes is in
%% py_process_SUITE and py_shared_*SUITE.
-module(in_processes).

-export([suites/0, id/1, init/2, pre_init_per_suite/3, post_end_per_suite/4,
         pre_init_per_testcase/4]).

-define(SHARED, "contexts of the VM share modules, locks and the GIL, those in processes do not").
-define(ROOM, "a shared channel is bounded, in multiples of 64 bytes").
-define(COPIED, "what goes through a shared channel or buffer is copied").
-define(NO_HANDLES, "a message in a shared channel holds no channels or buffers").
-define(OUTPUT, "what a process prints is the VM's output").
-define(THREADS, "threads of the VM outlive the application, those of a process do not").

suites() ->
    [py_SUITE, py_async_SUITE, py_async_call_SUITE, py_call_storm_SUITE, py_callback_SUITE,
     py_callback_threads_SUITE, py_context_SUITE, py_conversion_SUITE, py_deadlock_SUITE,
     py_event_loop_SUITE, py_event_loop_pool_SUITE, py_reentrancy_SUITE, py_schedule_SUITE,
     penstock_app_SUITE, py_channel_SUITE, py_channel_python_SUITE, py_byte_channel_SUITE,
     py_buffer_SUITE].

left_out() ->
    [{py_SUITE,
      [{?SHARED, [modules_are_shared]}]},
     {py_async_call_SUITE,
      [{?THREADS, [the_application_stops]}]},
     {py_callback_SUITE,
      [{"a send to a dead process says nothing", [pids_of_the_living_and_of_the_dead]}]},
     {py_callback_threads_SUITE,
      [{?THREADS, [the_application_stops_while_threads_wait,
                   a_thread_wakes_after_the_application_stopped]},
       {"a send to a dead process says nothing", [a_handler_outlives_the_threads_process]}]},
     {py_deadlock_SUITE,
      [{?SHARED, [a_handler_wants_the_lock_in_another_context,
                  no_native_function_waits_for_the_gil,
                  a_thread_logs_while_its_handler_logs_elsewhere]},
       {"what a process lends is its own until Erlang has a copy",
        [what_erlang_drops_needs_no_gil]}]},
     {py_event_loop_SUITE,
      [{?SHARED, [names, main_namespace, markers, reloaded_modules]},
       {?OUTPUT, [output_comes_first]}]},
     {py_event_loop_pool_SUITE,
      [{"a process that is stuck is killed", [a_loop_that_is_stuck]}]},
     {py_reentrancy_SUITE,
      [{?SHARED, [a_queued_nested_call_is_given_up]}]},
     {py_channel_SUITE,
      [{?ROOM, [a_channel_is_a_reference, a_full_channel_is_busy_and_queues_nothing,
                filling_a_channel_exactly_is_allowed]},
       {?NO_HANDLES, [a_channel_in_a_channel_is_the_same_reference,
                      a_queued_channel_stays_alive]},
       {?COPIED, [large_binaries_are_pinned_until_received]}]},
     {py_channel_python_SUITE,
      [{"a send to a dead process says nothing", [a_reply_to_a_dead_process_raises]},
       {?NO_HANDLES, [a_reply_reaches_every_kind_of_term]}]},
     {py_byte_channel_SUITE,
      [{?ROOM, [size_is_exactly_the_payload, send_waits_for_room, long_batches_pass,
                send_many_returns_what_did_not_fit, send_many_waits_for_room,
                closing_wakes_and_keeps_what_is_queued]},
       {?COPIED, [a_view_pins_until_it_goes, bytes_of_python_are_not_copied,
                  thousand_slices_of_large_messages_pin_little]},
       {?NO_HANDLES, [a_channel_travels]}]},
     {py_buffer_SUITE,
      [{"a shared buffer is bounded", [new_takes_a_length_or_options]},
       {"into a shared buffer, what is longer goes in pieces",
        [a_full_buffer_is_busy_and_one_too_large_never_fits]},
       {?NO_HANDLES, [a_buffer_travels_and_is_the_same_reference]},
       {?COPIED, [a_part_of_a_large_binary_is_copied]},
       {"one process reads a buffer, not two", [a_view_disturbs_no_writer]}]},
     {penstock_app_SUITE,
      [{"each restart starts as many Pythons, 20 take a quarter of a minute",
        [twenty_restarts_with_blocked_receivers_leave_nothing]},
       {"each process looks for its Python", [another_python_is_not_looked_for_once_python_runs]},
       {"atoms count when they come to the VM", [python_may_make_so_many_atoms_and_no_more]}]}].

%% The hook

id(_Options) ->
    ?MODULE.

%% A name that is not there any more would leave out nothing.
init(?MODULE, _Options) ->
    _ = application:load(penstock),
    ok = made:share(),
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
