#!/usr/bin/env escript
%% -*- erlang -*-
%%! -pa _build/default/lib/penstock/ebin
%% SPDX-License-Identifier: Apache-2.0
%%
%% How fast do raw bytes go from an Erlang process to Python, and back?
%%
%% Byte channels and buffers, beside a {packet, 4} port (from process to process) and beside
%% io.BytesIO (for what happens in Python alone). Messages of 16 KiB and more are taken in turn
%% from a few MiB of distinct binaries, so that they do not come out of the nearest cache.
%%
%%   bench/bytes.escript [perf/RESULT.json]

-mode(compile).

-include("figures.hrl").

rows() ->
    [{"byte_channel_for_64B", "msg/s", channel(drain, 64, 1, 500000)},
     {"byte_channel_for_64B_send_many_100", "msg/s", batches(64, 100, 10000)},
     {"byte_channel_async_for_64B", "msg/s", channel(drain_async, 64, 1, 500000)},
     {"byte_channel_for_1KiB", "msg/s", channel(drain, 1024, 1, 300000)},
     {"byte_channel_for_4KiB", "msg/s", channel(drain, 4096, 256, 200000)},
     {"byte_channel_for_16KiB", "MB/s", megabytes(16384, channel(drain, 16384, 256, 100000))},
     {"byte_channel_view_16KiB", "msg/s", channel(drain_views, 16384, 256, 200000)},
     {"byte_channel_for_1MiB", "MB/s", megabytes(1048576, channel(drain, 1048576, 16, 2000))},
     {"byte_channel_view_1MiB", "msg/s", channel(drain_views, 1048576, 16, 100000)},
     {"port_packet4_16KiB_baseline", "MB/s",
      megabytes(16384, fun(_) -> port(binary:copy(<<"x">>, 16384), 30000) end)},
     {"port_packet4_1MiB_baseline", "MB/s",
      megabytes(1048576, fun(_) -> port(binary:copy(<<"x">>, 1048576), 500) end)},
     {"python_to_erlang_64B", "msg/s", from_python(64, 200000)},
     {"python_to_erlang_16KiB", "MB/s", megabytes(16384, from_python(16384, 50000))},
     {"python_to_erlang_1MiB", "MB/s", megabytes(1048576, from_python(1048576, 5000))},
     {"buffer_write_64B_read_64KiB", "writes/s", buffer(64, 1, 65536, 500000)},
     {"buffer_write_4KiB_read_64KiB", "MB/s", megabytes(4096, buffer(4096, 256, 65536, 200000))},
     {"buffer_write_64KiB_read_64KiB", "MB/s",
      megabytes(65536, buffer(65536, 64, 65536, 30000))},
     {"buffer_write_1MiB_read_64KiB", "MB/s",
      megabytes(1048576, buffer(1048576, 16, 65536, 2000))},
     {"buffer_readline_100B", "lines/s", in_python(readlines_of_buffer)},
     {"bytesio_readline_100B_baseline", "lines/s", in_python(readlines_of_bytesio)},
     {"buffer_for_line_100B", "lines/s", in_python(iterate_buffer)},
     {"bytesio_for_line_100B_baseline", "lines/s", in_python(iterate_bytesio)},
     {"buffer_find_boundary_64MiB", "MB/s", in_python(find_in_buffer)},
     {"bytesio_find_boundary_64MiB_baseline", "MB/s", in_python(find_in_bytesio)}].

main(Arguments) ->
    figures("bench/bytes.escript", rows(), Arguments).

megabytes(Size, Run) ->
    fun(Ctx) -> Run(Ctx) * Size / 1.0e6 end.

distinct(Size, Number) ->
    [crypto:strong_rand_bytes(Size) || _ <- lists:seq(1, Number)].

%% Messages per second, until Python has taken the last one.
channel(Function, Size, Number, Count) ->
    fun(Ctx) ->
        {ok, Channel} = py_byte_channel:new(#{max_size => 16777216}),
        Messages = distinct(Size, Number),
        per_second(Ctx, Function, Channel, Count,
                   fun() -> send(Channel, Messages, Messages, Count) end)
    end.

batches(Size, Batch, Count) ->
    fun(Ctx) ->
        {ok, Channel} = py_byte_channel:new(#{max_size => 16777216}),
        Messages = lists:duplicate(Batch, binary:copy(<<"x">>, Size)),
        per_second(Ctx, drain, Channel, Batch * Count,
                   fun() ->
                       [ok = py_byte_channel:send_many(Channel, Messages, infinity)
                        || _ <- lists:seq(1, Count)],
                       ok
                   end)
    end.

per_second(Ctx, Function, Ref, Count, Write) ->
    Parent = self(),
    Receiver = spawn_link(fun() ->
        Parent ! started,
        {ok, _} = py:call(Ctx, bytes_functions, Function, [Ref, Count]),
        Parent ! {done, erlang:monotonic_time(microsecond)}
    end),
    receive started -> Receiver end,
    From = erlang:monotonic_time(microsecond),
    ok = Write(),
    receive {done, To} -> Count * 1.0e6 / (To - From) end.

send(_Channel, _Next, _All, 0) -> ok;
send(Channel, [], All, Count) -> send(Channel, All, All, Count);
send(Channel, [Message | Next], All, Count) ->
    case py_byte_channel:send(Channel, Message) of
        ok -> ok;
        busy -> ok = py_byte_channel:send(Channel, Message, infinity)
    end,
    send(Channel, Next, All, Count - 1).

from_python(Size, Count) ->
    fun(Ctx) ->
        {ok, Channel} = py_byte_channel:new(#{max_size => 16777216}),
        Sender = spawn_link(fun() ->
            {ok, _} = py:call(Ctx, bytes_functions, send, [Channel, Size, Count])
        end),
        {ok, _} = py_byte_channel:recv(Channel),
        From = erlang:monotonic_time(microsecond),
        ok = receive_all(Channel, Count - 1),
        To = erlang:monotonic_time(microsecond),
        unlink(Sender),
        Count * 1.0e6 / (To - From)
    end.

receive_all(_Channel, 0) -> ok;
receive_all(Channel, Count) ->
    {ok, _} = py_byte_channel:recv(Channel),
    receive_all(Channel, Count - 1).

%% Writes per second.
buffer(Size, Number, Read, Count) ->
    fun(Ctx) ->
        {ok, Buffer} = py_buffer:new(#{max_size => 4194304, retain => false}),
        Pieces = distinct(Size, Number),
        Parent = self(),
        Reader = spawn_link(fun() ->
            Parent ! started,
            {ok, Total} = py:call(Ctx, bytes_functions, read, [Buffer, Read]),
            Total = Size * Count,
            Parent ! {done, erlang:monotonic_time(microsecond)}
        end),
        receive started -> Reader end,
        From = erlang:monotonic_time(microsecond),
        ok = write(Buffer, Pieces, Pieces, Count),
        ok = py_buffer:close(Buffer),
        receive {done, To} -> Count * 1.0e6 / (To - From) end
    end.

write(_Buffer, _Next, _All, 0) -> ok;
write(Buffer, [], All, Count) -> write(Buffer, All, All, Count);
write(Buffer, [Piece | Next], All, Count) ->
    case py_buffer:write(Buffer, Piece) of
        ok -> ok;
        busy -> ok = py_buffer:write(Buffer, Piece, infinity)
    end,
    write(Buffer, Next, All, Count - 1).

%% Python measures itself, over what Erlang wrote into a buffer.
in_python(Function) ->
    fun(Ctx) ->
        {ok, Buffer} = py_buffer:new(),
        {ok, Pieces} = py:call(Ctx, bytes_functions, contents, [Function]),
        [ok = py_buffer:write(Buffer, Piece) || Piece <- Pieces],
        ok = py_buffer:close(Buffer),
        {ok, PerSecond} = py:call(Ctx, bytes_functions, Function, [Buffer]),
        PerSecond
    end.
