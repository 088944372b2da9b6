#!/usr/bin/env escript
%% -*- erlang -*-
%%! -pa _build/default/lib/penstock/ebin
%% SPDX-License-Identifier: Apache-2.0
%%
%% What does it cost that Python is in another process? Beside a context in the VM, and a
%% {packet, 4} port to a python3.
%%
%%   bench/processes.escript [perf/RESULT.json]

-mode(compile).
-compile({nowarn_unused_function, [{port, 2}]}).

-include("figures.hrl").
-include("port_baseline.hrl").

-define(BUSY, "sum(range(12_000_000))").

rows() ->
    [{"call_in_vm_p50", "us", fun(C) -> p50(C, pow, 5000) end},
     {"call_p50", "us", in_process(fun(C) -> p50(C, pow, 5000) end)},
     {"call_port_p50_baseline", "us", fun(_) -> port_latency(5000) end},
     {"call_64_KiB_in_vm_p50", "us", fun(C) -> p50(C, bytes(65536), 2000) end},
     {"call_64_KiB_p50", "us", in_process(fun(C) -> p50(C, bytes(65536), 2000) end)},
     {"call_50_callers_in_vm", "calls/s", fun(C) -> callers(C, 50, 2000) end},
     {"call_50_callers", "calls/s", in_process(fun(C) -> callers(C, 50, 2000) end)},
     {"call_50_callers_port_baseline", "calls/s", fun(_) -> port_callers(50, 1000) end},
     {"erlang_call_in_vm_p50", "us", fun(C) -> call_back(C, 5000) end},
     {"erlang_call_p50", "us", in_process(fun(C) -> call_back(C, 5000) end)},
     {"two_busy_workers_against_one", "times", fun(_) -> two_busy_workers() end},
     {"two_busy_python3_baseline", "times", fun(_) -> two_busy_python3() end},
     {"start", "ms", fun(_) -> start() end},
     {"start_python3_baseline", "ms", fun(_) -> start_python() end},
     {"killed_to_next_answer", "ms", fun(_) -> recover() end}].

main(Arguments) ->
    {ok, _} = application:ensure_all_started(penstock),
    ok = py:register_function(bench_echo, fun([X]) -> X end),
    figures("bench/processes.escript", rows(), Arguments).

new() ->
    {ok, Context} = py_context:new(#{mode => process}),
    Here = filename:absname(filename:dirname(escript:script_name())),
    ok = py:exec(Context, iolist_to_binary(["import sys; sys.path.insert(0, '", Here, "')"])),
    Context.

in_process(Measure) ->
    fun(_) ->
        Context = new(),
        Value = Measure(Context),
        ok = py_context:stop(Context),
        Value
    end.

p50(Context, What, Count) ->
    p50([timed(fun() -> call(Context, What) end) || _ <- lists:seq(1, Count)]).

call(Context, pow) -> {ok, 4.0} = py:call(Context, math, pow, [2.0, 2]);
call(Context, {bytes, _} = Bytes) ->
    {ok, <<_/binary>>} = py:call(Context, calls_functions, identity, [Bytes]).

bytes(Size) -> {bytes, rand:bytes(Size)}.

call_back(Context, Count) ->
    {ok, Value} = py:call(Context, calls_functions, latencies, [Count]),
    Value.

callers(Context, Number, Count) ->
    per_second(Number, Count, fun(_) -> fun() -> call(Context, pow) end end).

%% How much faster two processes do what one does alone, each bound to a processor; and two plain
%% ones, as processors that are not all ours may be less than two.
two_busy_workers() ->
    Contexts = [new(), new()],
    Ratio = two_against_one(fun(Context) -> {ok, _} = py:eval(Context, <<?BUSY>>) end, Contexts),
    [ok = py_context:stop(Context) || Context <- Contexts],
    Ratio.

two_busy_python3() ->
    Code = "import sys\nfor _ in sys.stdin: print(" ++ ?BUSY ++ ", flush=True)",
    Ports = [open_port({spawn_executable, os:find_executable("python3", "/usr/bin")},
                       [{args, ["-c", Code]}, {line, 80}]) || _ <- [1, 2]],
    Ratio = two_against_one(fun(Port) ->
        true = port_connect(Port, self()),
        Port ! {self(), {command, "\n"}},
        receive {Port, {data, {eol, _}}} -> ok end
    end, Ports),
    [true = port_close(Port) || Port <- Ports],
    Ratio.

two_against_one(Work, [One, Two] = Both) ->
    _ = [Work(Each) || Each <- Both],
    Alone = timed(fun() -> [Work(Each) || Each <- Both ++ Both] end) / 4,
    Together = timed(fun() ->
        {_, Monitor} = spawn_monitor(fun() -> [Work(Two) || _ <- [1, 2]], unlink_port(Two) end),
        [Work(One) || _ <- [1, 2]],
        receive {'DOWN', Monitor, process, _, normal} -> ok end
    end),
    2 * Alone / (Together / 2).

%% Who has connected himself is linked to it.
unlink_port(Port) when is_port(Port) -> unlink(Port);
unlink_port(_) -> ok.

start() ->
    From = erlang:monotonic_time(),
    {ok, Context} = py_context:new(#{mode => process}),
    Time = since(From),
    ok = py_context:stop(Context),
    Time.

start_python() ->
    From = erlang:monotonic_time(),
    Port = open_port({spawn_executable, os:find_executable("python3", "/usr/bin")},
                     [exit_status, {args, ["-c", "pass"]}]),
    receive {Port, {exit_status, 0}} -> ok end,
    since(From).

%% With a supervisor that starts another one as soon as it is told.
recover() ->
    Context = new(),
    {ok, Pid} = py_context:os_pid(Context),
    Monitor = monitor(process, Context),
    From = erlang:monotonic_time(),
    "" = os:cmd("kill -9 " ++ integer_to_list(Pid)),
    receive {'DOWN', Monitor, process, Context, {worker_down, _}} -> ok end,
    Next = new(),
    {ok, 4.0} = py:call(Next, math, pow, [2.0, 2]),
    Time = since(From),
    ok = py_context:stop(Next),
    Time.

since(From) ->
    erlang:convert_time_unit(erlang:monotonic_time() - From, native, microsecond) / 1000.
