#!/usr/bin/env escript
%% -*- erlang -*-
%%! -pa _build/default/lib/penstock/ebin
%% SPDX-License-Identifier: Apache-2.0
%%
%% How fast are tasks in event loops? Beside calls of the same function over a {packet, 4} port to a
%% python3.
%%
%%   bench/tasks.escript [perf/RESULT.json]

-mode(compile).
-compile({nowarn_unused_function, [{port, 2}]}).

-include("figures.hrl").

rows() ->
    [{"task_one_caller_p50", "us", fun(_) -> p50(fun() -> task(math, sqrt) end, 5000) end},
     {"run_one_caller_p50", "us", fun(_) -> p50(fun run/0, 5000) end},
     {"coroutine_one_caller_p50", "us",
      fun(_) -> p50(fun() -> task(tasks_functions, sqrt) end, 5000) end},
     {"port_call_one_caller_p50_baseline", "us", fun(_) -> port_latency(5000) end},
     {"fire_and_collect_10000", "tasks/s", fun(_) -> collect(math, sqrt) end},
     {"fire_and_collect_10000_coroutines", "tasks/s", fun(_) -> collect(tasks_functions, sqrt) end},
     {"port_fire_and_collect_10000_baseline", "calls/s", fun(_) -> port_collect(10000) end},
     {"pool_50_processes", "tasks/s", fun(_) -> pool(math, sqrt) end},
     {"pool_50_processes_coroutines", "tasks/s", fun(_) -> pool(tasks_functions, sqrt) end},
     {"port_50_callers_baseline", "calls/s", fun(_) -> port_callers(50, 1000) end},
     {"async_call_one_caller_p50", "us", fun(_) -> p50(fun async_call/0, 1000) end}].

main(Arguments) ->
    {ok, _} = application:ensure_all_started(penstock),
    figures("bench/tasks.escript", rows(), Arguments).

task(Module, Function) ->
    Ref = py_event_loop:create_task(Module, Function, [16.0]),
    {ok, 4.0} = py_event_loop:await(Ref).

run() -> {ok, 4.0} = py_event_loop:run(math, sqrt, [16.0]).

async_call() -> {ok, 4.0} = py:await(py:async_call(tasks_functions, sqrt, [16.0])).

%% In us.
p50(Fun, Count) ->
    Times = [begin
                 From = erlang:monotonic_time(),
                 _ = Fun(),
                 erlang:monotonic_time() - From
             end || _ <- lists:seq(1, Count)],
    Median = lists:nth(Count div 2, lists:sort(Times)),
    erlang:convert_time_unit(Median, native, nanosecond) / 1000.

per_second(Count, Fun) ->
    From = erlang:monotonic_time(microsecond),
    _ = Fun(),
    Count * 1.0e6 / (erlang:monotonic_time(microsecond) - From).

collect(Module, Function) ->
    per_second(10000, fun() ->
        Refs = [py_event_loop:create_task(Module, Function, [16.0]) || _ <- lists:seq(1, 10000)],
        [{ok, 4.0} = py_event_loop:await(Ref, 60000) || Ref <- Refs]
    end).

pool(Module, Function) ->
    callers(50, 1000, fun() ->
        Ref = py_event_loop_pool:create_task(Module, Function, [16.0]),
        {ok, 4.0} = py_event_loop_pool:await(Ref, 60000)
    end).

callers(Number, Count, Call) ->
    Pids = [spawn_monitor(fun() ->
        receive start -> ok end,
        _ = [Call() || _ <- lists:seq(1, Count)],
        ok
    end) || _ <- lists:seq(1, Number)],
    per_second(Number * Count, fun() ->
        _ = [Pid ! start || {Pid, _} <- Pids],
        [receive {'DOWN', Monitor, process, _, normal} -> ok end || {_, Monitor} <- Pids]
    end).

%% The baseline: math.pow, which is as quick

open_baseline() ->
    Script = filename:join(filename:dirname(escript:script_name()), "port_functions.py"),
    open_port({spawn_executable, os:find_executable("python3", "/usr/bin")},
              [{packet, 4}, binary, {args, [Script]}]).

frame(Tag) -> <<"c", Tag:64, 2.0/float, 2.0/float>>.

port_latency(Count) ->
    Port = open_baseline(),
    Median = p50(fun() ->
        true = port_command(Port, frame(1)),
        receive {Port, {data, <<"r", 1:64, 4.0/float>>}} -> ok end
    end, Count),
    port_close(Port),
    Median.

port_collect(Count) ->
    Port = open_baseline(),
    Rate = per_second(Count, fun() ->
        _ = [true = port_command(Port, frame(Tag)) || Tag <- lists:seq(1, Count)],
        [receive {Port, {data, <<"r", Tag:64, 4.0/float>>}} -> ok end || Tag <- lists:seq(1, Count)]
    end),
    port_close(Port),
    Rate.

%% One process has the port, and gives each answer to whom it is for.
port_callers(Number, Count) ->
    Owner = spawn_link(fun() -> own(open_baseline(), #{}, 0) end),
    Rate = callers(Number, Count, fun() ->
        Owner ! {call, self()},
        receive {answer, 4.0} -> ok end
    end),
    Owner ! stop,
    Rate.

own(Port, Waiting, Tag) ->
    receive
        {call, Pid} ->
            true = port_command(Port, frame(Tag)),
            own(Port, Waiting#{Tag => Pid}, Tag + 1);
        {Port, {data, <<"r", Done:64, Value/float>>}} ->
            {Pid, Rest} = maps:take(Done, Waiting),
            Pid ! {answer, Value},
            own(Port, Rest, Tag);
        stop ->
            port_close(Port)
    end.
