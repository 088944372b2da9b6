%% SPDX-License-Identifier: Apache-2.0
%% @doc The native functions. Use {@link py_channel} and {@link py}, which are built on these.
%%
%% None of them blocks a scheduler. A term too large to be converted within a millisecond is
%% converted on a dirty scheduler. Wrong types are `badarg'; a reference that is not a channel is
%% `{error, invalid_channel}'; `{error, enomem}' means that nothing was changed.
-module(py_nif).

-export([channel_new/1, channel_send/2, channel_try_receive/1, channel_close/1, channel_info/1]).
-export([channel_send_wait/3, channel_send_again/2, channel_receive_wait/2,
         channel_receive_again/1, cancel_wait/1]).
-export([byte_channel_new/1, byte_channel_send/2, byte_channel_send_many/2,
         byte_channel_try_receive/1, byte_channel_try_receive_many/2, byte_channel_send_wait/3,
         byte_channel_send_again/2, byte_channel_receive_wait/2, byte_channel_info/1]).
-export([buffer_new/4, buffer_write/2, buffer_write_wait/3, buffer_write_again/3, buffer_close/1,
         buffer_abort/2, buffer_set_writer/2, buffer_info/1]).
-export([runtime_start/3, runtime_version/0, runtime_features/0, set_stopped/1]).
-export([context_new/2, context_submit/5, context_interrupt/1, context_interrupt/2,
         context_finish/1, context_stop/1, call_cancel/1, call_answer/2]).
-export([output_open/3, output_close/0]).
-export([debug_counters/0, debug_fail_allocations/1]).
-export([priv_dir/0]).
-export_type([channel/0, buffer/0, waiter/0, context/0, call/0, operation/0, unsupported/0,
              send_error/0, receive_error/0, byte_send_error/0, byte_receive_error/0,
              counters/0]).

-nifs([channel_new/1, channel_send/2, channel_try_receive/1, channel_close/1, channel_info/1]).
-nifs([channel_send_wait/3, channel_send_again/2, channel_receive_wait/2,
       channel_receive_again/1, cancel_wait/1]).
-nifs([byte_channel_new/1, byte_channel_send/2, byte_channel_send_many/2,
       byte_channel_try_receive/1, byte_channel_try_receive_many/2, byte_channel_send_wait/3,
       byte_channel_send_again/2, byte_channel_receive_wait/2, byte_channel_info/1]).
-nifs([buffer_new/4, buffer_write/2, buffer_write_wait/3, buffer_write_again/3, buffer_close/1,
       buffer_abort/2, buffer_set_writer/2, buffer_info/1]).
-nifs([runtime_start/3, runtime_version/0, runtime_features/0, set_stopped/1]).
-nifs([context_new/2, context_submit/5, context_interrupt/1, context_interrupt/2,
       context_finish/1, context_stop/1, call_cancel/1, call_answer/2]).
-nifs([output_open/3, output_close/0]).
-nifs([debug_counters/0, debug_fail_allocations/1]).
-on_load(load/0).

-type channel() :: reference().
-type buffer() :: reference().
-type waiter() :: reference().
-type context() :: reference().
-type call() :: reference().
%% `task', `spawn' and `thread' call in a context that runs an event loop: the answer is
%% `{async_result, Ref, Result}', and with `spawn' there is none. `thread': what is no coroutine
%% function runs on a thread of asyncio's executor.
-type operation() :: call | eval | exec | {traceback, call | eval | exec} | task | spawn | thread.

%% What has no form in Python, and where: positions in lists and tuples, from 1 on, and map keys.
-type unsupported() ::
    {unsupported, bitstring | improper_list | too_deep | unhashable_key, Path :: [term()]}.
-type send_error() :: closed | too_large | enomem | invalid_channel | unsupported().
%% `corrupt' and `atom_limit': the message was taken out but cannot be an Erlang term.
-type receive_error() :: closed | corrupt | atom_limit | enomem | invalid_channel.
-type byte_send_error() :: closed | too_large | enomem | invalid_channel.
-type byte_receive_error() :: closed | enomem | invalid_channel.
-type counters() :: #{atom() => integer()}.

%% Channels

%% @doc Makes a channel for at most `MaxSize' bytes, 0 for no limit.
-spec channel_new(MaxSize :: non_neg_integer()) -> {ok, channel()} | {error, enomem}.
channel_new(_MaxSize) -> erlang:nif_error(not_loaded).

%% @doc See {@link py_channel:send/2}.
-spec channel_send(channel(), term()) -> ok | busy | {error, send_error()}.
channel_send(_Channel, _Term) -> erlang:nif_error(not_loaded).

%% @doc Takes the oldest message out, without waiting.
-spec channel_try_receive(channel()) -> {ok, term()} | {error, empty | receive_error()}.
channel_try_receive(_Channel) -> erlang:nif_error(not_loaded).

%% @doc See {@link py_channel:close/1}.
-spec channel_close(channel()) -> ok | {error, invalid_channel}.
channel_close(_Channel) -> erlang:nif_error(not_loaded).

%% @doc See {@link py_channel:info/1}.
-spec channel_info(channel()) ->
    #{size := non_neg_integer(), max_size := non_neg_integer(), closed := boolean()} |
    {error, invalid_channel}.
channel_info(_Channel) -> erlang:nif_error(not_loaded).

%% Waiting for a channel or a buffer
%%
%% Each looks, and puts the calling process in line if it must wait:
%%   {wait, Waiter}   wait for {penstock_ready, Ref}, then call the .._again function
%%   {fired, Result}  the result, and {penstock_ready, Ref} is in the mailbox or on its way
%%   Result           finished; no message will come
%% A process that dies while it waits is taken out of line, and its wake-up is passed on.

%% @doc Sends when there is room.
-spec channel_send_wait(channel(), term(), reference()) ->
    {wait, waiter()} | {fired, ok | {error, send_error()}} | ok | {error, send_error()}.
channel_send_wait(_Channel, _Term, _Ref) -> erlang:nif_error(not_loaded).

%% @doc After `{penstock_ready, Ref}': tries again, at the old place in line.
-spec channel_send_again(waiter(), term()) ->
    {wait, waiter()} | {fired, ok | {error, send_error()}} | ok | {error, send_error()}.
channel_send_again(_Waiter, _Term) -> erlang:nif_error(not_loaded).

%% @doc Takes a message when there is one.
-spec channel_receive_wait(channel(), reference()) ->
    {wait, waiter()} | {fired, {ok, term()} | {error, receive_error()}} |
    {ok, term()} | {error, receive_error()}.
channel_receive_wait(_Channel, _Ref) -> erlang:nif_error(not_loaded).

%% @doc After `{penstock_ready, Ref}': tries again, at the old place in line.
-spec channel_receive_again(waiter()) ->
    {wait, waiter()} | {fired, {ok, term()} | {error, receive_error()}} |
    {ok, term()} | {error, receive_error()}.
channel_receive_again(_Waiter) -> erlang:nif_error(not_loaded).

%% @doc Leaves the line. `fired': too late, `{penstock_ready, Ref}' is in the mailbox or on its way;
%% take it out. The wake-up has been passed on.
-spec cancel_wait(waiter()) -> cancelled | fired.
cancel_wait(_Waiter) -> erlang:nif_error(not_loaded).

%% Byte channels

%% @doc Makes a channel of raw bytes, for at most `MaxSize' of them, 0 for no limit.
-spec byte_channel_new(MaxSize :: non_neg_integer()) -> {ok, channel()} | {error, enomem}.
byte_channel_new(_MaxSize) -> erlang:nif_error(not_loaded).

%% @doc See {@link py_byte_channel:send/2}.
-spec byte_channel_send(channel(), binary()) -> ok | busy | {error, byte_send_error()}.
byte_channel_send(_Channel, _Bytes) -> erlang:nif_error(not_loaded).

%% @doc See {@link py_byte_channel:send_many/2}.
-spec byte_channel_send_many(channel(), [binary()]) ->
    ok | {busy, [binary()]} | {{error, byte_send_error()}, [binary()]} |
    {error, invalid_channel}.
byte_channel_send_many(_Channel, _Binaries) -> erlang:nif_error(not_loaded).

%% @doc Takes the oldest message out, without waiting.
-spec byte_channel_try_receive(channel()) ->
    {ok, binary()} | {error, empty | byte_receive_error()}.
byte_channel_try_receive(_Channel) -> erlang:nif_error(not_loaded).

%% @doc See {@link py_byte_channel:receive_many/2}.
-spec byte_channel_try_receive_many(channel(), pos_integer()) ->
    {ok, [binary(), ...]} | {error, empty | byte_receive_error()}.
byte_channel_try_receive_many(_Channel, _Max) -> erlang:nif_error(not_loaded).

%% @doc Sends when there is room.
-spec byte_channel_send_wait(channel(), binary(), reference()) ->
    {wait, waiter()} | {fired, ok | {error, byte_send_error()}} | ok | {error, byte_send_error()}.
byte_channel_send_wait(_Channel, _Bytes, _Ref) -> erlang:nif_error(not_loaded).

%% @doc After `{penstock_ready, Ref}': tries again, at the old place in line.
-spec byte_channel_send_again(waiter(), binary()) ->
    {wait, waiter()} | {fired, ok | {error, byte_send_error()}} | ok | {error, byte_send_error()}.
byte_channel_send_again(_Waiter, _Bytes) -> erlang:nif_error(not_loaded).

%% @doc Takes a message when there is one. Goes on with `channel_receive_again/1'.
-spec byte_channel_receive_wait(channel(), reference()) ->
    {wait, waiter()} | {fired, {ok, binary()} | {error, byte_receive_error()}} |
    {ok, binary()} | {error, byte_receive_error()}.
byte_channel_receive_wait(_Channel, _Ref) -> erlang:nif_error(not_loaded).

%% @doc See {@link py_byte_channel:info/1}.
-spec byte_channel_info(channel()) -> py_byte_channel:info() | {error, invalid_channel}.
byte_channel_info(_Channel) -> erlang:nif_error(not_loaded).

%% Buffers

%% @doc See {@link py_buffer:new/1}; `undefined' is unknown, or none.
-spec buffer_new(ContentLength :: non_neg_integer() | undefined, MaxSize :: non_neg_integer(),
                 Limit :: non_neg_integer() | undefined, Retain :: boolean()) ->
    {ok, buffer()} | {error, enomem}.
buffer_new(_ContentLength, _MaxSize, _Limit, _Retain) -> erlang:nif_error(not_loaded).

%% @doc See {@link py_buffer:write/2}.
-spec buffer_write(buffer(), binary()) -> ok | busy | {error, py_buffer:write_error()}.
buffer_write(_Buffer, _Bytes) -> erlang:nif_error(not_loaded).

%% @doc Writes when there is room.
-spec buffer_write_wait(buffer(), binary(), reference()) ->
    {wait, waiter()} | {fired, ok | {error, py_buffer:write_error()}} | ok |
    {error, py_buffer:write_error()}.
buffer_write_wait(_Buffer, _Bytes, _Ref) -> erlang:nif_error(not_loaded).

%% @doc After `{penstock_ready, Ref}': tries again.
-spec buffer_write_again(waiter(), buffer(), binary()) ->
    {wait, waiter()} | {fired, ok | {error, py_buffer:write_error()}} | ok |
    {error, py_buffer:write_error()}.
buffer_write_again(_Waiter, _Buffer, _Bytes) -> erlang:nif_error(not_loaded).

%% @doc See {@link py_buffer:close/1}.
-spec buffer_close(buffer()) -> ok | {error, invalid_buffer}.
buffer_close(_Buffer) -> erlang:nif_error(not_loaded).

%% @doc See {@link py_buffer:abort/2}.
-spec buffer_abort(buffer(), term()) -> ok | {error, invalid_buffer | enomem | unsupported()}.
buffer_abort(_Buffer, _Reason) -> erlang:nif_error(not_loaded).

%% @doc See {@link py_buffer:controlling_process/2}.
-spec buffer_set_writer(buffer(), pid()) -> ok | {error, invalid_buffer}.
buffer_set_writer(_Buffer, _Pid) -> erlang:nif_error(not_loaded).

%% @doc See {@link py_buffer:info/1}.
-spec buffer_info(buffer()) -> py_buffer:info() | {error, invalid_buffer}.
buffer_info(_Buffer) -> erlang:nif_error(not_loaded).

%% Python

%% @doc Starts Python, once for the life of the VM; later calls only set `MaxAtoms'. `Python' is the
%% executable, `<<>>' for the one that the library was built with; `PackagePath' is the folder that
%% holds the `erlang' package. Takes some 50 ms, on a dirty scheduler.
-spec runtime_start(Python :: binary(), PackagePath :: binary(), MaxAtoms :: non_neg_integer()) ->
    ok | {error, Message :: binary() | enomem}.
runtime_start(_Python, _PackagePath, _MaxAtoms) -> erlang:nif_error(not_loaded).

%% @doc What `sys.version' says; empty before the start.
-spec runtime_version() -> binary().
runtime_version() -> erlang:nif_error(not_loaded).

%% @doc Facts about the Python that the library was built for. `owngil': whether a context can have
%% a GIL of its own.
-spec runtime_features() ->
    #{version := binary(), free_threaded := boolean(), owngil := boolean()}.
runtime_features() -> erlang:nif_error(not_loaded).

%% @doc While true, every wait of Python inside Penstock ends with `erlang.ApplicationStopped'.
-spec set_stopped(boolean()) -> ok.
set_stopped(_Stopped) -> erlang:nif_error(not_loaded).

%% @doc Starts a Python thread that belongs to the calling process: it is stopped when that dies.
%% `{penstock_stopped, Ref}' comes when the thread has ended, for whatever reason.
%% `worker': of the one interpreter; `owngil': with an interpreter of its own, which starts (some
%% 30 ms) and ends with the thread.
-spec context_new(Ref :: reference(), py_context:mode()) ->
    {ok, context()} | {error, enomem | {unsupported | python, binary()}}.
context_new(_Ref, _Mode) -> erlang:nif_error(not_loaded).

%% @doc Queues a request: `{Module, Function, Args, Kwargs}' to call, `{Code, Locals}' to eval,
%% `{Code}' to exec. The answer is the message `{Ref, ok | {ok, Term} | {error, Reason}}'; exactly
%% one comes, unless the call is cancelled. `Path': the contexts (their processes) whose threads
%% wait for the caller; if this one is among them the request runs there, inside of the one that
%% waits.
%% `{traceback, Operation}': an exception is answered with its traceback. `task', `spawn' and
%% `thread' return `ok', as nobody can cancel them.
-spec context_submit(context(), operation(), tuple(), Ref :: reference(), Path :: [pid()]) ->
    {ok, call()} | ok | {error, {context_died, stopped} | enomem | unsupported()}.
context_submit(_Context, _Operation, _Arguments, _Ref, _Path) -> erlang:nif_error(not_loaded).

%% @doc Raises `KeyboardInterrupt' in whatever the context runs.
-spec context_interrupt(context()) -> ok.
context_interrupt(_Context) -> erlang:nif_error(not_loaded).

%% @doc The same, only if the context still runs that call.
-spec context_interrupt(context(), call()) -> ok.
context_interrupt(_Context, _Call) -> erlang:nif_error(not_loaded).

%% @doc Refuses further requests; what is queued still runs. An event loop ends: what runs there is
%% answered with `{error, {context_died, stopped}}'.
-spec context_finish(context()) -> ok.
context_finish(_Context) -> erlang:nif_error(not_loaded).

%% @doc Refuses further requests, interrupts the running one, answers the queued ones with
%% `{error, {context_died, stopped}}', and lets the thread end.
-spec context_stop(context()) -> ok.
context_stop(_Context) -> erlang:nif_error(not_loaded).

%% @doc `cancelled': no answer will come. `answered': it is in the mailbox or on its way.
-spec call_cancel(call()) -> cancelled | answered.
call_cancel(_Call) -> erlang:nif_error(not_loaded).

%% @doc Answers a call that runs and was handed to Erlang (erlang.schedule).
-spec call_answer(call(), {ok, term()} | {error, term()}) -> ok.
call_answer(_Call, _Result) -> erlang:nif_error(not_loaded).

%% Python's output

%% @doc What Python prints and logs goes to that channel of terms from now on. Returns the channel
%% that was there before, which is closed; what is queued in it may still be taken. The two flags
%% count if Python has not started yet.
-spec output_open(channel(), Logs :: boolean(), Text :: boolean()) ->
    none | {ok, channel()} | {error, invalid_channel}.
output_open(_Channel, _Logs, _Text) -> erlang:nif_error(not_loaded).

%% @doc What Python prints goes to where it would go without us from now on. Returns as above.
-spec output_close() -> none | {ok, channel()}.
output_close() -> erlang:nif_error(not_loaded).

%% Insight

%% @doc What is alive in the library: `channels' and `buffers' that Erlang refers to, `waiters',
%% `calls', `contexts', `pinned_bytes' of large binaries that queues and Python refer to and of
%% Python's that Erlang does, `atoms_created' by Python, `dropped_sends' to processes that were
%% gone, and `interpreters' of `owngil' contexts, those included that cannot end because code in
%% them goes on.
-spec debug_counters() -> counters().
debug_counters() -> erlang:nif_error(not_loaded).

%% @doc Lets the `Countdown'-th allocation of message memory from now on, and all after it, fail; 0
%% ends that. For tests: it is for the whole VM.
-spec debug_fail_allocations(Countdown :: non_neg_integer()) -> ok.
debug_fail_allocations(_Countdown) -> erlang:nif_error(not_loaded).

-spec load() -> ok | {error, {atom(), string()}}.
load() ->
    erlang:load_nif(filename:join(priv_dir(), "penstock_nif"), 0).

%% @private
%% PENSTOCK_PRIV names the priv folder of another build, one with sanitizers for example.
-spec priv_dir() -> file:filename().
priv_dir() ->
    case os:getenv("PENSTOCK_PRIV") of
        false ->
            case code:priv_dir(penstock) of
                {error, bad_name} ->
                    %% Not in a lib folder: ebin/../priv.
                    Ebin = filename:dirname(code:which(?MODULE)),
                    filename:join(filename:dirname(Ebin), "priv");
                Dir ->
                    Dir
            end;
        Dir ->
            Dir
    end.
