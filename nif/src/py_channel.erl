%% SPDX-License-Identifier: Apache-2.0
%% @doc Channels of terms between Erlang processes and Python.
%%
%% A channel is one queue. Any number of processes, threads and coroutines may send to it, receive
%% from it and wait for it. Messages of one sender arrive in the order in which they were sent; each
%% goes to exactly one receiver. Waiting receivers are served first come, first served.
%%
%% A channel lives as long as something refers to it, in Erlang or in Python. It does not belong to
%% the process that made it. When no Erlang process refers to it any more, a Python receiver that
%% waits for it is told that it is closed.
%%
%% Sizes are bytes of encoded terms; see `info/1'. Timeouts are milliseconds. No function here
%% blocks a scheduler, and none polls.
-module(py_channel).

-export([new/0, new/1, send/2, send/3, recv/1, recv/2, try_receive/1, close/1, info/1]).
-export([register_callbacks/0]).
-export([handle_receive/1, handle_try_receive/1, handle_info/1]).
-export_type([channel/0, opts/0, info/0]).

-type channel() :: reference().

%% `max_size': bytes that may be queued, 0 (the default) for no limit. `shared': processes that
%% contexts run in may use it, too. Then `max_size' is how large a message may be, 16 MiB at most,
%% 256 KiB by default; twice as many bytes fit, in memory that is there from the start. Other keys
%% are ignored.
-type opts() :: #{max_size => non_neg_integer(), shared => boolean(), term() => term()}.

%% `size': bytes queued now.
-type info() :: #{size := non_neg_integer(), max_size := non_neg_integer(), closed := boolean()}.

%% @doc Makes a channel without limit.
-spec new() -> {ok, channel()} | {error, enomem}.
new() ->
    py_nif:channel_new(0).

%% @doc Makes a channel. Fails with `badarg' for a wrong option. A shared one takes a descriptor and
%% memory at once: `{error, system_limit}', `{error, enospc}' and `{error, efbig}' say that there is
%% no descriptor left, no memory, or that it is larger than files of the VM may be (`ulimit -f').
-spec new(opts()) -> {ok, channel()} | {error, py_nif:share_error()}.
new(Opts) when is_map(Opts) ->
    case py_bytes:is_shared(Opts) of
        true -> py_nif:channel_new_shared(py_bytes:max_size(Opts));
        false -> py_nif:channel_new(py_bytes:max_size(Opts))
    end;
new(Opts) ->
    error(badarg, [Opts]).

%% @doc Puts a term into the channel, without waiting.
%%
%% `busy': it does not fit now, and nothing was queued. `{error, too_large}': it is larger than
%% `max_size' and never will. `{error, {unsupported, Type, Path}}': part of it has no form in
%% Python.
-spec send(channel(), term()) -> ok | busy | {error, py_nif:send_error()}.
send(Channel, Term) ->
    py_nif:channel_send(Channel, Term).

%% @doc Puts a term into the channel, and waits at most `Timeout' ms until there is room.
%% `busy': there was none in time.
-spec send(channel(), term(), timeout()) -> ok | busy | {error, py_nif:send_error()}.
send(Channel, Term, Timeout) ->
    Deadline = py_wait:deadline(Timeout, [Channel, Term, Timeout]),
    case py_nif:channel_send(Channel, Term) of
        busy when Timeout =/= 0 ->
            Ref = make_ref(),
            py_wait:wait(py_nif:channel_send_wait(Channel, Term, Ref), Ref, Deadline, busy,
                         fun(Waiter) -> py_nif:channel_send_again(Waiter, Term) end);
        Result ->
            Result
    end.

%% @doc Takes the oldest message out, and waits for one as long as it takes.
-spec recv(channel()) -> {ok, term()} | {error, py_nif:receive_error()}.
recv(Channel) ->
    recv(Channel, infinity).

%% @doc Takes the oldest message out, and waits at most `Timeout' ms for one.
%% `{error, closed}': closed, and nothing is left.
-spec recv(channel(), timeout()) -> {ok, term()} | {error, timeout | py_nif:receive_error()}.
recv(Channel, Timeout) ->
    Deadline = py_wait:deadline(Timeout, [Channel, Timeout]),
    case py_nif:channel_try_receive(Channel) of
        {error, empty} when Timeout =/= 0 ->
            Ref = make_ref(),
            py_wait:wait(py_nif:channel_receive_wait(Channel, Ref), Ref, Deadline,
                         {error, timeout}, fun py_nif:channel_receive_again/1);
        {error, empty} ->
            {error, timeout};
        Result ->
            Result
    end.

%% @doc Takes the oldest message out, without waiting.
-spec try_receive(channel()) -> {ok, term()} | {error, empty | py_nif:receive_error()}.
try_receive(Channel) ->
    py_nif:channel_try_receive(Channel).

%% @doc Closes the channel: no send succeeds any more, what is queued can still be received, and
%% everybody who waits is woken. Closing again changes nothing.
-spec close(channel()) -> ok | {error, invalid_channel}.
close(Channel) ->
    py_nif:channel_close(Channel).

%% @doc How full the channel is, its limit (0: none), and whether it is closed.
-spec info(channel()) -> info() | {error, invalid_channel}.
info(Channel) ->
    py_nif:channel_info(Channel).

%% @doc Registers the functions below under the names `_py_channel_receive',
%% `_py_channel_try_receive' and `_py_channel_info', so that Python can call them by name. The
%% application does it when it starts; doing it again changes nothing.
-spec register_callbacks() -> ok.
register_callbacks() ->
    ok = py_callback:register(<<"_py_channel_receive">>, fun ?MODULE:handle_receive/1),
    ok = py_callback:register(<<"_py_channel_try_receive">>, fun ?MODULE:handle_try_receive/1),
    ok = py_callback:register(<<"_py_channel_info">>, fun ?MODULE:handle_info/1).

%% @doc `recv/1' as a callback: takes its arguments as a list.
-spec handle_receive([channel()]) -> {ok, term()} | {error, py_nif:receive_error()}.
handle_receive([Channel]) ->
    recv(Channel).

%% @doc `try_receive/1' as a callback.
-spec handle_try_receive([channel()]) ->
    {ok, term()} | {error, empty | py_nif:receive_error()}.
handle_try_receive([Channel]) ->
    try_receive(Channel).

%% @doc `info/1' as a callback.
-spec handle_info([channel()]) -> info() | {error, invalid_channel}.
handle_info([Channel]) ->
    info(Channel).
