#!/usr/bin/env escript
%% -*- erlang -*-
%%! -pa _build/default/lib/penstock/ebin
%% SPDX-License-Identifier: Apache-2.0
%%
%% How fast do messages go from an Erlang process to Python and back?
%%
%% Every row is run in turn with the baseline, REPEAT times: a {packet, 4} port to a python3 that
%% reads its standard input and counts frames (it does not even decode them). Medians and spread
%% (least, greatest) are printed and, with a file name as argument, written as JSON.
%%
%%   bench/erlang_to_python.escript [perf/RESULT.json]

-mode(compile).

-include("figures.hrl").

main(Arguments) ->
    figures("bench/erlang_to_python.escript", rows(), Arguments).

rows() ->
    [{"send_64B_nobody_waiting", "ns/send", fun send_alone/1},
     {"erlang_to_python_for_64B", "msg/s", stream_of(drain, small(64), 300000)},
     {"erlang_to_python_for_1KiB", "msg/s", stream_of(drain, small(1024), 200000)},
     {"erlang_to_python_for_16KiB_bytes", "msg/s", stream_of(drain, bytes(16384), 60000)},
     {"erlang_to_python_async_for_64B", "msg/s", stream_of(drain_async, small(64), 300000)},
     {"port_packet4_64B_baseline", "msg/s", fun(_) -> port(small(64), 100000) end},
     {"port_packet4_16KiB_baseline", "msg/s", fun(_) -> port(bytes(16384), 30000) end},
     {"python_reply_to_erlang", "msg/s", fun(C) -> replies(C, 300000) end},
     {"py_call_math_pow_p50", "us", fun(C) -> call_latency(C, 5000) end},
     {"py_call_idle_caller_p50", "us", fun(C) -> idle_call_latency(C, 200) end}].

stream_of(Function, Message, Count) ->
    fun(Ctx) -> stream(Ctx, Function, Message, Count) end.

small(Size) -> {request, self(), binary:copy(<<"x">>, Size)}.
bytes(Size) -> {request, self(), {bytes, binary:copy(<<"x">>, Size)}}.

%% Sends alone: filled, then dropped, so that no receiver takes part.
send_alone(_Ctx) ->
    {ok, Channel} = py_channel:new(),
    Message = small(64),
    Count = 100000,
    {Micros, ok} = timer:tc(fun() -> send(Channel, Message, Count) end),
    Micros * 1000 / Count.

stream(Ctx, Function, Message, Count) ->
    {ok, Channel} = py_channel:new(#{max_size => 4194304}),
    Parent = self(),
    Receiver = spawn_link(fun() ->
        Parent ! started,
        {ok, 0} = py:call(Ctx, stream_functions, Function, [Channel, Count]),
        Parent ! {done, erlang:monotonic_time(microsecond)}
    end),
    receive started -> Receiver end,
    From = erlang:monotonic_time(microsecond),
    ok = send(Channel, Message, Count),
    receive {done, To} -> Count * 1.0e6 / (To - From) end.

send(_Channel, _Message, 0) -> ok;
send(Channel, Message, Count) ->
    case py_channel:send(Channel, Message) of
        ok -> send(Channel, Message, Count - 1);
        busy ->
            ok = py_channel:send(Channel, Message, infinity),
            send(Channel, Message, Count - 1)
    end.

replies(Ctx, Count) ->
    Parent = self(),
    Caller = spawn_link(fun() ->
        {ok, none} = py:call(Ctx, stream_functions, replies, [Parent, Count])
    end),
    From = erlang:monotonic_time(microsecond),
    ok = collect(Count),
    To = erlang:monotonic_time(microsecond),
    unlink(Caller),
    Count * 1.0e6 / (To - From).

collect(0) -> ok;
collect(Count) -> receive {n, _} -> collect(Count - 1) end.

call_latency(Ctx, Count) -> p50([call_once(Ctx) || _ <- lists:seq(1, Count)]).

idle_call_latency(Ctx, Count) ->
    p50([begin receive after 2 -> ok end, call_once(Ctx) end || _ <- lists:seq(1, Count)]).

call_once(Ctx) ->
    From = erlang:monotonic_time(nanosecond),
    {ok, 4.0} = py:call(Ctx, math, pow, [2.0, 2]),
    (erlang:monotonic_time(nanosecond) - From) / 1000.

p50(Values) -> lists:nth(length(Values) div 2, lists:sort(Values)).
