#!/usr/bin/env escript
%% -*- erlang -*-
%%! -pa _build/default/lib/penstock/ebin
%% SPDX-License-Identifier: Apache-2.0
%%
%% Streams through shared channels: from Erlang to a worker process, beside a context in the VM, a
%% {packet, 4} port whose loop gets terms, too, and one that only counts frames; and from one worker
%% to another, and without Erlang from one Python to another, beside multiprocessing and ZeroMQ.
%%
%%   bench/shared.escript [perf/RESULT.json]

-mode(compile).

-include("figures.hrl").

rows() ->
    [{"core_to_core", "ns", fun(_) -> core_to_core() end}
     || filelib:is_regular(core_to_core_program())] ++
    [{"erlang_to_vm_64B", "msg/s", fun(Context) -> to_python(Context, #{}, 1_000_000) end},
     {"erlang_to_worker_64B", "msg/s",
      in_worker(fun(Context) -> to_python(Context, #{shared => true}, 1_000_000) end)},
     {"erlang_to_port_64B_baseline", "msg/s", fun(_) -> port_terms(small(), 100_000) end},
     {"erlang_to_port_64B_undecoded_baseline", "msg/s", fun(_) -> port(small(), 100_000) end},
     {"round_trip_vm_64B", "us", fun(Context) -> round_trip(Context, #{}, 5000) end},
     {"round_trip_worker_64B", "us",
      in_worker(fun(Context) -> round_trip(Context, #{shared => true}, 5000) end)}]
        ++ [{"worker_to_worker_16KiB_in_place", "msg/s",
             fun(_) -> between_workers(16384, 200_000, rate_in_place) end}]
        ++ [Row || {Name, Size, Count} <- [{"64B", 64, 1_000_000}, {"16KiB", 16384, 200_000}],
                   Row <- [{"worker_to_worker_" ++ Name, "msg/s",
                            fun(_) -> between_workers(Size, Count) end},
                           {"python_to_python_" ++ Name, "msg/s",
                            fun(_) -> program("shared_channel", Size, Count) end} |
                           [{Way ++ "_" ++ Name ++ "_baseline", "msg/s",
                             fun(_) -> program(Way, Size, Count div 4) end}
                            || Way <- baselines()]]]
        ++ [{Name ++ "_round_trip_64B" ++ Kind, "us",
             fun(_) -> program(Way, 64, Count, "there_and_back") end}
            || {Name, Way, Count, Kind} <- [{"python_to_python", "shared_channel", 50_000, ""} |
                                            [{Way, Way, 5000, "_baseline"} || Way <- baselines()]]].

baselines() -> ["multiprocessing_queue", "multiprocessing_pipe", "pyzmq_ipc"].

main(Arguments) ->
    figures("bench/shared.escript", rows(), Arguments).

%% How far the host has put our processors apart.
core_to_core() ->
    list_to_float(string:trim(os:cmd(core_to_core_program()))).

core_to_core_program() ->
    filename:join([here(), "..", "build", "release", "bench", "core_to_core"]).

small() -> {request, self(), binary:copy(<<"x">>, 64)}.

new() ->
    {ok, Context} = py_context:new(#{mode => process}),
    %% What a context in the VM has imported, too, after the first repetition.
    ok = py:exec(Context, iolist_to_binary(["import sys; sys.path.insert(0, '", here(), "')\n",
                                            "import erlang, shared_functions"])),
    Context.

here() -> filename:absname(filename:dirname(escript:script_name())).

in_worker(Measure) ->
    fun(_) ->
        Context = new(),
        Value = Measure(Context),
        ok = py_context:stop(Context),
        Value
    end.

%% `for message in channel', as many as fit waiting.
to_python(Context, Opts, Count) ->
    {ok, Channel} = py_channel:new(Opts#{max_size => 2 bsl 20}),
    Test = self(),
    Message = small(),
    _ = spawn_link(fun() ->
        Test ! started,
        {ok, Count} = py:call(Context, shared_functions, drain, [Channel]),
        Test ! {done, erlang:monotonic_time(microsecond)}
    end),
    receive started -> ok end,
    From = erlang:monotonic_time(microsecond),
    send(Channel, Message, Count),
    ok = py_channel:close(Channel),
    receive {done, To} -> Count * 1.0e6 / (To - From) end.

send(_Channel, _Message, 0) -> ok;
send(Channel, Message, Count) ->
    case py_channel:send(Channel, Message) of
        ok -> ok;
        busy -> ok = py_channel:send(Channel, Message, infinity)
    end,
    send(Channel, Message, Count - 1).

%% The same loop at a port: it gets terms, too.
port_terms(Message, Count) ->
    Script = filename:join(here(), "port_terms.py"),
    port(Message, Count, [Script, integer_to_list(Count)]).

%% The median of one message there and back.
round_trip(Context, Opts, Count) ->
    {ok, There} = py_channel:new(Opts),
    {ok, Back} = py_channel:new(Opts),
    Test = self(),
    _ = spawn_link(fun() ->
        Test ! {done, py:call(Context, shared_functions, echo, [There, Back])}
    end),
    Message = small(),
    Times = [begin
        From = erlang:monotonic_time(),
        ok = py_channel:send(There, Message),
        {ok, _} = py_channel:recv(Back),
        erlang:convert_time_unit(erlang:monotonic_time() - From, native, nanosecond) / 1000
    end || _ <- lists:seq(1, Count)],
    ok = py_channel:close(There),
    receive {done, {ok, Count}} -> ok end,
    lists:nth(Count div 2, lists:sort(Times)).

between_workers(Size, Count) ->
    between_workers(Size, Count, rate_of).

between_workers(Size, Count, Receive) ->
    [Sender, Receiver] = Contexts = [new(), new()],
    {ok, Channel} = py_byte_channel:new(#{shared => true, max_size => 1 bsl 20}),
    Test = self(),
    _ = spawn_link(fun() ->
        Test ! {rate, py:call(Receiver, shared_functions, Receive, [Channel, Count])}
    end),
    {ok, none} = py:call(Sender, shared_functions, send_bytes, [Channel, Size, Count]),
    Rate = receive {rate, {ok, Value}} -> Value end,
    [ok = py_context:stop(Context) || Context <- Contexts],
    Rate.

%% Two plain processes of Python's.
program(Way, Size, Count) -> program(Way, Size, Count, "").

program(Way, Size, Count, What) ->
    Package = filename:join(code:priv_dir(penstock), "python"),
    Command = ["PYTHONPATH=", Package, " /usr/bin/python3 ", here(), "/shared_functions.py ",
               Way, " ",
               integer_to_list(Size), " ", integer_to_list(Count), " ", What],
    list_to_float(string:trim(os:cmd(lists:flatten(Command)))).
