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

-define(REPEAT, 7).

main(Arguments) ->
    {ok, _} = application:ensure_all_started(penstock),
    {ok, _} = py:start_contexts(),
    Ctx = py:context(1),
    Here = filename:absname(filename:dirname(escript:script_name())),
    ok = py:exec(Ctx, iolist_to_binary(["import sys; sys.path.insert(0, '", Here, "')"])),
    Machine = machine(),
    io:format("~ts~n~n", [maps:get(text, Machine)]),
    Rows = [print({Name, Unit, measure(Run, Ctx)}) || {Name, Unit, Run} <- rows()],
    [ok = file:write_file(File, json(Machine, Rows)) || File <- Arguments],
    halt(0).

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

measure(Run, Ctx) ->
    _ = Run(Ctx),
    Values = lists:sort([Run(Ctx) || _ <- lists:seq(1, ?REPEAT)]),
    {lists:nth((?REPEAT + 1) div 2, Values), hd(Values), lists:last(Values)}.

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

port(Message, Count) ->
    Script = "import sys,struct\n"
             "read=sys.stdin.buffer.read\n"
             "n=int(sys.argv[1])\n"
             "for _ in range(n):\n"
             "    (size,)=struct.unpack('>I',read(4))\n"
             "    read(size)\n"
             "sys.stdout.buffer.write(struct.pack('>I',2)+b'ok')\n"
             "sys.stdout.buffer.flush()\n",
    Arguments = ["-c", Script, integer_to_list(Count)],
    Port = open_port({spawn_executable, os:find_executable("python3", "/usr/bin")},
                     [{packet, 4}, binary, exit_status, {args, Arguments}]),
    From = erlang:monotonic_time(microsecond),
    _ = [port_command(Port, term_to_binary(Message)) || _ <- lists:seq(1, Count)],
    receive {Port, {data, <<"ok">>}} -> ok end,
    To = erlang:monotonic_time(microsecond),
    receive {Port, {exit_status, 0}} -> ok end,
    Count * 1.0e6 / (To - From).

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

print({Name, Unit, {Median, Least, Greatest}} = Row) ->
    io:format("~-36ts ~14.1f ~-8ts  (~.1f to ~.1f)~n", [Name, Median, Unit, Least, Greatest]),
    Row.

machine() ->
    {ok, Python} = py:version(),
    Trim = fun(Command) -> string:trim(os:cmd(Command)) end,
    Values = #{cpu => Trim("grep -m1 'model name' /proc/cpuinfo | cut -d: -f2"),
               cores => erlang:system_info(logical_processors),
               kernel => Trim("uname -r"),
               otp => erlang:system_info(otp_release),
               python => Python,
               load => Trim("cut -d' ' -f1-3 /proc/loadavg"),
               commit => Trim("git rev-parse --short HEAD")},
    Values#{text => lists:join("\n", [io_lib:format("~-8ts ~ts", [K, to_text(V)])
                                      || {K, V} <- lists:sort(maps:to_list(Values))])}.

to_text(V) when is_integer(V) -> integer_to_list(V);
to_text(V) -> V.

%% Flat and known, so that no JSON library is needed: OTP 25 has none.
json(Machine, Rows) ->
    Fields = [io_lib:format("  ~p: ~p", [atom_to_list(K), unicode:characters_to_list(to_text(V))])
              || {K, V} <- lists:sort(maps:to_list(maps:remove(text, Machine)))],
    Results = [io_lib:format("    {\"name\": ~p, \"unit\": ~p, \"median\": ~.1f, \"least\": ~.1f, "
                             "\"greatest\": ~.1f, \"runs\": ~b}", [Name, Unit, M, L, G, ?REPEAT])
               || {Name, Unit, {M, L, G}} <- Rows],
    ["{\n", lists:join(",\n", Fields), ",\n  \"command\": \"bench/erlang_to_python.escript\",\n"
     "  \"results\": [\n", lists:join(",\n", Results), "\n  ]\n}\n"].
