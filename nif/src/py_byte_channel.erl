%% SPDX-License-Identifier: Apache-2.0
%% @doc Channels of raw bytes between Erlang processes and Python.
%%
%% As {@link py_channel}, but a message is a binary and arrives in Python as `bytes' (or as a view,
%% without a copy): nothing is encoded. Boundaries are kept, an empty binary is a message too.
%%
%% A binary of 2 KiB or more travels by reference and is copied once, into the `bytes' object; a
%% part of a binary that is over four times as large is copied instead, so that it does not keep the
%% whole alive. `bytes' of 8 KiB or more from Python arrive as a binary without any copy.
%%
%% A channel is one queue: what Python sends into it, Python itself may receive. A dialogue takes
%% two. Sizes are bytes, exactly. Timeouts are milliseconds. No function here blocks a scheduler,
%% and none polls. What is not a binary is `badarg', what is not a byte channel
%% `{error, invalid_channel}'.
-module(py_byte_channel).

-export([new/0, new/1, send/2, send/3, send_many/2, send_many/3]).
-export([recv/1, recv/2, try_receive/1, receive_many/2, receive_many/3, close/1, info/1]).
-export([register_callbacks/0, handle_receive_bytes/1, handle_try_receive_bytes/1]).
-export_type([channel/0, opts/0, info/0]).

-type channel() :: reference().

%% `max_size': bytes that may be queued, 0 (the default) for no limit. `shared': processes that
%% contexts run in may use it, too. Then `max_size' is how large a message may be, 16 MiB at most,
%% 256 KiB by default; twice as many bytes fit, in memory that is there from the start. Other keys
%% are ignored.
-type opts() :: #{max_size => non_neg_integer(), shared => boolean(), term() => term()}.

%% `size': bytes queued now. `pinned': bytes of large binaries that the channel keeps alive, queued
%% or seen by views in Python.
-type info() :: #{size := non_neg_integer(), max_size := non_neg_integer(), closed := boolean(),
                  pinned := non_neg_integer()}.

%% @doc Makes a channel without limit.
-spec new() -> {ok, channel()} | {error, enomem}.
new() ->
    py_nif:byte_channel_new(0).

%% @doc Makes a channel. Fails with `badarg' for a wrong option. A shared one takes a descriptor and
%% memory at once: `{error, system_limit}', `{error, enospc}' and `{error, efbig}' say that there is
%% no descriptor left, no memory, or that it is larger than files of the VM may be (`ulimit -f').
-spec new(opts()) -> {ok, channel()} | {error, py_nif:share_error()}.
new(Opts) when is_map(Opts) ->
    case py_bytes:is_shared(Opts) of
        true -> py_nif:byte_channel_new_shared(py_bytes:max_size(Opts));
        false -> py_nif:byte_channel_new(py_bytes:max_size(Opts))
    end;
new(Opts) ->
    error(badarg, [Opts]).

%% @doc Puts a binary into the channel, without waiting.
%%
%% `busy': it does not fit now, and nothing was queued. `{error, too_large}': it is larger than
%% `max_size' and never will.
-spec send(channel(), binary()) -> ok | busy | {error, py_nif:byte_send_error()}.
send(Channel, Bytes) ->
    py_nif:byte_channel_send(Channel, py_bytes:message(Bytes)).

%% @doc Puts a binary into the channel, and waits at most `Timeout' ms until there is room.
%% `busy': there was none in time.
-spec send(channel(), binary(), timeout()) -> ok | busy | {error, py_nif:byte_send_error()}.
send(Channel, Bytes, Timeout) ->
    Deadline = py_wait:deadline(Timeout, [Channel, Bytes, Timeout]),
    send_until(Channel, py_bytes:message(Bytes), Deadline).

send_until(Channel, Bytes, Deadline) ->
    case py_nif:byte_channel_send(Channel, Bytes) of
        busy ->
            Ref = make_ref(),
            py_wait:wait(py_nif:byte_channel_send_wait(Channel, Bytes, Ref), Ref, Deadline, busy,
                         fun(Waiter) -> py_nif:byte_channel_send_again(Waiter, Bytes) end);
        Result ->
            Result
    end.

%% @doc Puts binaries into the channel, in order, without waiting. The rest that did not fit, or
%% that was refused, is returned: a part of the list, beginning with the first that was not sent.
-spec send_many(channel(), [binary()]) ->
    ok | {busy, Rest} | {{error, py_nif:byte_send_error()}, Rest} | {error, invalid_channel}
    when Rest :: [binary()].
send_many(Channel, Binaries) ->
    py_nif:byte_channel_send_many(Channel, [py_bytes:message(Bytes) || Bytes <- Binaries]).

%% @doc The same, and waits at most `Timeout' ms until there was room for all.
-spec send_many(channel(), [binary()], timeout()) ->
    ok | {busy, Rest} | {{error, py_nif:byte_send_error()}, Rest} | {error, invalid_channel}
    when Rest :: [binary()].
send_many(Channel, Binaries, Timeout) ->
    Deadline = py_wait:deadline(Timeout, [Channel, Binaries, Timeout]),
    send_many_until(Channel, [py_bytes:message(Bytes) || Bytes <- Binaries], Deadline).

send_many_until(Channel, Binaries, Deadline) ->
    case py_nif:byte_channel_send_many(Channel, Binaries) of
        {busy, [Bytes | Rest] = Unsent} ->
            case send_until(Channel, Bytes, Deadline) of
                ok -> send_many_until(Channel, Rest, Deadline);
                Refused -> {Refused, Unsent}
            end;
        Result ->
            Result
    end.

%% @doc Takes the oldest message out, and waits for one as long as it takes.
-spec recv(channel()) -> {ok, binary()} | {error, py_nif:byte_receive_error()}.
recv(Channel) ->
    recv(Channel, infinity).

%% @doc Takes the oldest message out, and waits at most `Timeout' ms for one.
%% `{error, closed}': closed, and nothing is left.
-spec recv(channel(), timeout()) ->
    {ok, binary()} | {error, timeout | py_nif:byte_receive_error()}.
recv(Channel, Timeout) ->
    Deadline = py_wait:deadline(Timeout, [Channel, Timeout]),
    case py_nif:byte_channel_try_receive(Channel) of
        {error, empty} when Timeout =/= 0 ->
            Ref = make_ref(),
            py_wait:wait(py_nif:byte_channel_receive_wait(Channel, Ref), Ref, Deadline,
                         {error, timeout}, fun py_nif:channel_receive_again/1);
        {error, empty} ->
            {error, timeout};
        Result ->
            Result
    end.

%% @doc Takes the oldest message out, without waiting.
-spec try_receive(channel()) -> {ok, binary()} | {error, empty | py_nif:byte_receive_error()}.
try_receive(Channel) ->
    py_nif:byte_channel_try_receive(Channel).

%% @doc Takes out what is there, oldest first, at most `Max' messages (and at most 256), without
%% waiting. The list is never empty.
-spec receive_many(channel(), Max :: pos_integer()) ->
    {ok, [binary(), ...]} | {error, empty | py_nif:byte_receive_error()}.
receive_many(Channel, Max) ->
    py_nif:byte_channel_try_receive_many(Channel, Max).

%% @doc The same, and waits at most `Timeout' ms for the first.
-spec receive_many(channel(), Max :: pos_integer(), timeout()) ->
    {ok, [binary(), ...]} | {error, timeout | py_nif:byte_receive_error()}.
receive_many(Channel, Max, Timeout) ->
    case py_nif:byte_channel_try_receive_many(Channel, Max) of
        {error, empty} ->
            case recv(Channel, Timeout) of
                {ok, First} -> {ok, [First | what_is_there(Channel, Max - 1)]};
                Error -> Error
            end;
        Result ->
            Result
    end.

what_is_there(_Channel, 0) ->
    [];
what_is_there(Channel, Max) ->
    case py_nif:byte_channel_try_receive_many(Channel, Max) of
        {ok, Binaries} -> Binaries;
        {error, _NothingMore} -> []
    end.

%% @doc Closes the channel: no send succeeds any more, what is queued can still be received, and
%% everybody who waits is woken. Closing again changes nothing.
-spec close(channel()) -> ok | {error, invalid_channel}.
close(Channel) ->
    py_nif:channel_close(Channel).

%% @doc How full the channel is, its limit (0: none), what it keeps alive, and whether it is closed.
-spec info(channel()) -> info() | {error, invalid_channel}.
info(Channel) ->
    py_nif:byte_channel_info(Channel).

%% @doc Registers the functions below under the names `_py_byte_channel_receive' and
%% `_py_byte_channel_try_receive', so that Python can call them by name. The application does it
%% when it starts; doing it again changes nothing.
-spec register_callbacks() -> ok.
register_callbacks() ->
    ok = py_callback:register(<<"_py_byte_channel_receive">>, fun ?MODULE:handle_receive_bytes/1),
    ok = py_callback:register(<<"_py_byte_channel_try_receive">>,
                              fun ?MODULE:handle_try_receive_bytes/1).

%% @doc `recv/1' as a callback: takes its arguments as a list.
-spec handle_receive_bytes([channel()]) -> {ok, binary()} | {error, py_nif:byte_receive_error()}.
handle_receive_bytes([Channel]) ->
    recv(Channel).

%% @doc `try_receive/1' as a callback.
-spec handle_try_receive_bytes([channel()]) ->
    {ok, binary()} | {error, empty | py_nif:byte_receive_error()}.
handle_try_receive_bytes([Channel]) ->
    try_receive(Channel).
