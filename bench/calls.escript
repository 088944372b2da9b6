#!/usr/bin/env escript
%% -*- erlang -*-
%%! -pa _build/default/lib/penstock/ebin
%% SPDX-License-Identifier: Apache-2.0
%%
%% How fast do Erlang and Python call each other? Beside the same over a {packet, 4} port to a
%% python3.
%%
%%   bench/calls.escript [perf/RESULT.json]

-mode(compile).
-compile({nowarn_unused_function, [{port, 2}]}).

-include("figures.hrl").
-include("port_baseline.hrl").

rows() ->
    [{"py_call_one_caller_p50", "us", fun(C) -> p50([pow(C) || _ <- lists:seq(1, 5000)]) end},
     {"py_call_idle_caller_p50", "us", fun(C) -> p50([idle_pow(C) || _ <- lists:seq(1, 200)]) end},
     {"py_eval_one_caller_p50", "us", fun(C) -> p50([eval(C) || _ <- lists:seq(1, 5000)]) end},
     {"py_call_50_callers_2_contexts", "calls/s", fun(_) -> callers(50, 4000) end},
     {"port_call_one_caller_p50_baseline", "us", fun(_) -> port_latency(5000) end},
     {"port_call_50_callers_baseline", "calls/s", fun(_) -> port_callers(50, 1000) end},
     {"erlang_call_context_p50", "us", python(latencies, [5000])},
     {"erlang_call_thread_p50", "us", python(thread_latency, [5000])},
     {"erlang_call_4_threads", "calls/s", python(threads, [4, 20000])},
     {"port_call_back_p50_baseline", "us", fun(_) -> port_call_back(5000) end},
     {"async_call_one_at_a_time", "us", python(one_at_a_time, [5000])},
     {"async_call_gather_2000", "calls/s", python(gather, [2000])},
     {"schedule_inline_hop", "us", hops(hop, 100000)},
     {"schedule_py_hop", "us", hops(hop_by_queue, 20000)},
     {"erlang_send", "us", fun send/1}].

main(Arguments) ->
    {ok, _} = application:ensure_all_started(penstock),
    ok = py:register_function(bench_echo, fun([X]) -> X end),
    figures("bench/calls.escript", rows(), Arguments).

python(Function, Arguments) ->
    fun(Ctx) ->
        {ok, Value} = py:call(Ctx, calls_functions, Function, Arguments),
        Value
    end.

hops(Function, Count) ->
    fun(Ctx) ->
        Time = timed(fun() -> {ok, 0} = py:call(Ctx, calls_functions, Function, [Count]) end),
        Time / Count
    end.

send(Ctx) ->
    Sink = spawn_link(fun Loop() -> receive _ -> Loop() end end),
    {ok, Time} = py:call(Ctx, calls_functions, send, [Sink, 100000]),
    unlink(Sink),
    exit(Sink, kill),
    Time.

pow(Ctx) ->
    timed(fun() -> {ok, 4.0} = py:call(Ctx, math, pow, [2.0, 2]) end).

idle_pow(Ctx) ->
    receive after 2 -> ok end,
    pow(Ctx).

eval(Ctx) ->
    timed(fun() -> {ok, 4} = py:eval(Ctx, <<"2 + 2">>) end).

callers(Number, Count) ->
    {ok, Contexts} = py:start_contexts(),
    [First, Second | _] = Contexts,
    per_second(Number, Count, fun(N) ->
        Ctx = lists:nth(N rem 2 + 1, [First, Second]),
        fun() -> {ok, 4.0} = py:call(Ctx, math, pow, [2.0, 2]) end
    end).

%% The baseline

port_call_back(Count) ->
    Port = open_baseline(),
    true = port_command(Port, <<"m", Count:64>>),
    Time = answer_calls(Port),
    port_close(Port),
    Time.

answer_calls(Port) ->
    receive
        {Port, {data, <<"e", Number:64>>}} ->
            true = port_command(Port, <<Number:64>>),
            answer_calls(Port);
        {Port, {data, <<"m", Time/float>>}} ->
            Time
    end.
