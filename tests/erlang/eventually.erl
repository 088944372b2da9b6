%% SPDX-License-Identifier: Apache-2.0
%% What tests wait with: conditions with a deadline that only a hang reaches.
-module(eventually).

-export([true/1, equal/2, message/1, silence/0, counters_return_to/1, worker/1, workers/2,
         waiting/1, waiting_for_answers/1, dead/1, without_references/1]).

-define(DEADLINE_MS, 20000).

%% Looks again and again until the condition holds.
true(Condition) ->
    true(Condition, erlang:monotonic_time(millisecond) + ?DEADLINE_MS).

true(Condition, Deadline) ->
    case Condition() of
        true -> ok;
        Other ->
            erlang:monotonic_time(millisecond) < Deadline orelse
                error({never_became_true, Other}),
            receive after 1 -> ok end,  % sleep: between two looks
            true(Condition, Deadline)
    end.

equal(Expected, Value) ->
    true(fun() -> case Value() of Expected -> true; Other -> Other end end).

%% The next message that the function accepts.
message(Pattern) ->
    receive
        Message when is_tuple(Message), element(1, Message) =:= Pattern -> Message
    after ?DEADLINE_MS -> error({no_message, Pattern, process_info(self(), messages)})
    end.

%% Nothing is in the mailbox. For the end of a test that made all others finish first.
silence() ->
    receive Message -> error({stray, Message}) after 0 -> ok end.

%% Nothing that was made since is alive any more. Some of it may wait for the collector.
counters_return_to(Before) ->
    true(fun() ->
             [erlang:garbage_collect(Process) || Process <- processes()],
             Now = py_nif:debug_counters(),
             %% Less is well: what others had dropped may have been collected meanwhile.
             case [{Key, maps:get(Key, Before), maps:get(Key, Now)}
                   || Key <- [channels, buffers, waiters, calls, pinned_bytes, event_loops],
                      maps:get(Key, Now) > maps:get(Key, Before)] of
                 [] -> true;
                 Left -> Left
             end
         end).

%% Runs a function in a process of its own; its result comes as {worker, Pid, Result}.
worker(Function) ->
    Test = self(),
    spawn_link(fun() -> Test ! {worker, self(), Function()} end).

%% Results of workers, in the order of the workers.
workers(Pids, Tag) ->
    [receive {worker, Pid, Result} -> Result
     after ?DEADLINE_MS -> error({no_result, Tag, process_info(Pid)})
     end || Pid <- Pids].

%% Each process is in line for a channel or a buffer, and sleeps.
waiting(Pids) ->
    [equal({status, waiting},
           fun() ->
               case process_info(Pid, current_function) of
                   {current_function, {py_wait, wait, _}} -> process_info(Pid, status);
                   Elsewhere -> Elsewhere
               end
           end) || Pid <- Pids].

%% Each process has called Python, and sleeps until it is answered.
waiting_for_answers(Pids) ->
    [equal({status, waiting},
           fun() ->
               case process_info(Pid, current_function) of
                   {current_function, {py_context, await_monitored, _}} ->
                       process_info(Pid, status);
                   Elsewhere -> Elsewhere
               end
           end) || Pid <- Pids].

%% Kills a process, and returns when it is dead.
dead(Pid) ->
    Monitor = monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

%% The result of what `Prepare' returns (see py_case:caller/4), run by a process whose references go
%% while it waits.
without_references(Prepare) ->
    Test = self(),
    {Pid, Monitor} = spawn_monitor(fun() -> Test ! {without_references, (Prepare())()} end),
    true(fun() ->
             erlang:garbage_collect(Pid),
             receive {'DOWN', Monitor, process, Pid, _} -> true after 0 -> waiting end
         end),
    {without_references, Result} = message(without_references),
    Result.
