%% SPDX-License-Identifier: Apache-2.0
%% @doc Buffers that Erlang writes and Python reads as a file: the body of an HTTP request, for one.
%%
%% A buffer is a stream of bytes without boundaries. Passed to Python it is an `erlang.PyBuffer',
%% with `read', `readline', `find' and the rest, and serves as `wsgi.input'. Any process may write;
%% what was written never moves, so that views in Python do not disturb a writer.
%%
%% The writer is the process that last wrote, or tried to, or was named by
%% {@link controlling_process/2}. When it dies without having closed the buffer, readers that want
%% more than is there are told (`erlang.BufferAborted', reason `writer_down'); so they are when no
%% Erlang process refers to the buffer any more (`no_writer').
%%
%% A shared buffer goes to processes that contexts run in, too. One process at a time reads it: the
%% first that does, until nothing there refers to it any more; then another one may go on.
%%
%% Binaries of 8 KiB and more are not copied but kept alive, unless they are a part of one that is
%% over four times as large, or the buffer is shared. Sizes are bytes, timeouts milliseconds. No
%% function here blocks a scheduler, and none polls. What is not a binary is `badarg', what is not a
%% buffer `{error, invalid_buffer}'.
-module(py_buffer).

-export([new/0, new/1, write/2, write/3, close/1, abort/2, controlling_process/2, info/1]).
-export_type([buffer/0, opts/0, info/0, write_error/0]).

-type buffer() :: reference().

%% `content_length': how much will be written; more is refused, less is an error for readers.
%%   Default: unknown. Announcing allocates nothing.
%% `max_size': bytes that may be written and not yet read, 0 (the default) for no bound.
%% `limit': bytes that may be written in all; more aborts the buffer. Default: none.
%% `retain': whether what was read is kept, so that Python can seek back. Default: true.
%% `shared': processes that contexts run in may read it, too. Then `max_size' is 16 MiB at most,
%%   256 KiB by default, in memory that is there from the start.
-type opts() :: #{content_length => non_neg_integer() | undefined,
                  max_size => non_neg_integer(),
                  limit => non_neg_integer() | undefined,
                  retain => boolean(),
                  shared => boolean(),
                  term() => term()}.

%% `size': bytes written and not yet read. `pinned': bytes of binaries kept alive instead of copied.
-type info() :: #{size := non_neg_integer(), written := non_neg_integer(),
                  read := non_neg_integer(), max_size := non_neg_integer(),
                  content_length := non_neg_integer() | undefined,
                  pinned := non_neg_integer(), closed := boolean()}.

%% `closed': by either side, or aborted. `too_long': more than `content_length'. `limit': more than
%% `limit', and the buffer is aborted. `too_large': more than `max_size', so it will never fit.
%% `no_reader': there is no room, and the Python objects that might have read are gone. The buffer
%% is still open; hand it to a reader and write again.
-type write_error() ::
    closed | too_long | limit | too_large | no_reader | enomem | invalid_buffer.

%% @doc Makes a buffer for as many bytes as come.
-spec new() -> {ok, buffer()} | {error, enomem}.
new() ->
    new(#{}).

%% @doc Makes a buffer for that many bytes, or with options. Fails with `badarg'. The errors of a
%% shared one are those of {@link py_channel:new/1}.
-spec new(ContentLength :: non_neg_integer() | undefined | opts()) ->
    {ok, buffer()} | {error, py_nif:share_error()}.
new(Opts) when is_map(Opts) ->
    Retain = maps:get(retain, Opts, true),
    is_boolean(Retain) orelse error(badarg, [Opts]),
    py_nif:buffer_new(size_in(content_length, Opts), py_bytes:max_size(Opts), size_in(limit, Opts),
                      Retain, py_bytes:is_shared(Opts));
new(ContentLength) ->
    new(#{content_length => ContentLength}).

size_in(Key, Opts) ->
    case maps:get(Key, Opts, undefined) of
        undefined -> undefined;
        %% Nothing is so large, and sums of two must not wrap.
        Size when is_integer(Size), Size >= 0, Size < 1 bsl 63 -> Size;
        _ -> error(badarg, [Opts])
    end.

%% @doc Appends a binary, without waiting. `busy': it does not fit now (see `max_size'), and nothing
%% was written.
-spec write(buffer(), binary()) -> ok | busy | {error, write_error()}.
write(Buffer, Bytes) ->
    py_nif:buffer_write(Buffer, py_bytes:piece(Bytes)).

%% @doc Appends a binary, and waits at most `Timeout' ms until there is room. `busy': there was none
%% in time.
%%
%% Into a shared buffer, a binary that is larger than `max_size' goes in pieces, between which other
%% writers may write. `{busy, Rest}': there was no room in time for all of it, but for what comes
%% before `Rest'. An error may come behind some of them, too; see `info/1'.
-spec write(buffer(), binary(), timeout()) ->
    ok | busy | {busy, Rest :: binary()} | {error, write_error()}.
write(Buffer, Data, 0) ->
    write(Buffer, Data);
write(Buffer, Data, Timeout) ->
    Deadline = py_wait:deadline(Timeout, [Buffer, Data, Timeout]),
    Bytes = py_bytes:piece(Data),
    case write_until(Buffer, Bytes, Deadline) of
        {error, too_large} ->
            case py_nif:buffer_piece_size(Buffer) of
                0 -> {error, too_large};
                %% Half of it, so that reading and writing overlap.
                Size -> write_pieces(Buffer, Bytes, max(1, Size div 2), Deadline, busy)
            end;
        Result ->
            Result
    end.

write_pieces(Buffer, Bytes, Size, Deadline, Busy) when byte_size(Bytes) > Size ->
    <<Piece:Size/binary, Rest/binary>> = Bytes,
    case write_until(Buffer, Piece, Deadline) of
        ok -> write_pieces(Buffer, Rest, Size, Deadline, {busy, Rest});
        busy -> Busy;
        Error -> Error
    end;
write_pieces(Buffer, Bytes, _Size, Deadline, Busy) ->
    case write_until(Buffer, Bytes, Deadline) of
        busy -> Busy;
        Result -> Result
    end.

write_until(Buffer, Bytes, Deadline) ->
    case py_nif:buffer_write(Buffer, Bytes) of
        busy ->
            Ref = make_ref(),
            py_wait:wait(py_nif:buffer_write_wait(Buffer, Bytes, Ref), Ref, Deadline, busy,
                         fun(Waiter) -> py_nif:buffer_write_again(Waiter, Buffer, Bytes) end);
        Result ->
            Result
    end.

%% @doc Says that this was all. Readers get what is there, then the end; if less was written than
%% announced, `erlang.BodyTruncated'. Closing again, or after `abort/2', changes nothing.
-spec close(buffer()) -> ok | {error, invalid_buffer}.
close(Buffer) ->
    py_nif:buffer_close(Buffer).

%% @doc Says that the rest will never come: readers that want more than is there get
%% `erlang.BufferAborted' with `Reason' converted as any term. After `close/1' it changes nothing.
%%
%% Of a shared buffer, `too_large' is a reason of more than 3584 bytes, and `not_shared' one that
%% holds channels or buffers; then the buffer goes on.
-spec abort(buffer(), Reason :: term()) ->
    ok | {error, invalid_buffer | enomem | too_large | not_shared | py_nif:unsupported()}.
abort(Buffer, Reason) ->
    py_nif:buffer_abort(Buffer, Reason).

%% @doc Makes a local process the writer, whose death readers are told of. One that writes becomes
%% it by itself.
-spec controlling_process(buffer(), pid()) -> ok | {error, invalid_buffer}.
controlling_process(Buffer, Pid) ->
    py_nif:buffer_set_writer(Buffer, Pid).

%% @doc How full the buffer is, and how far it was written and read.
-spec info(buffer()) -> info() | {error, invalid_buffer}.
info(Buffer) ->
    py_nif:buffer_info(Buffer).
