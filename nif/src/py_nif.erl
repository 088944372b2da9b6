%% SPDX-License-Identifier: Apache-2.0
%% @doc The native functions. Use {@link py_channel} and {@link py}, which are built on these.
%%
%% None of them blocks a scheduler. A term too large to be converted within a millisecond is
%% converted on a dirty scheduler. Wrong types are `badarg'; a reference that is not a channel is
%% `{error, invalid_channel}'; `{error, enomem}' means that nothing was changed.
-module(py_nif).

-export([channel_new/1, channel_new_shared/1, channel_send/2, channel_try_receive/1,
         channel_close/1, channel_info/1]).
-export([channel_send_wait/3, channel_send_again/2, channel_receive_wait/2,
         channel_receive_again/1, cancel_wait/1]).
-export([byte_channel_new/1, byte_channel_new_shared/1,
         byte_channel_send/2, byte_channel_send_many/2,
         byte_channel_try_receive/1, byte_channel_try_receive_many/2, byte_channel_send_wait/3,
         byte_channel_send_again/2, byte_channel_receive_wait/2, byte_channel_info/1]).
-export([buffer_new/5, buffer_write/2, buffer_piece_size/1, buffer_write_wait/3,
         buffer_write_again/3, buffer_close/1, buffer_abort/2, buffer_set_writer/2, buffer_info/1]).
-export([runtime_start/3, runtime_version/0, runtime_features/0, set_stopped/1]).
-export([context_new/2, process_new/6, context_submit/5, context_interrupt/1, context_interrupt/2,
         context_look_out/2, context_finish/1, context_stop/1, context_kill/1, call_cancel/1,
         call_look_out/2, call_answer/2]).
-export([event_loop_new/0, event_loop_destroy/1, event_loop_set_worker/2, event_loop_wakeup/1,
         event_loop_dispatch/3, poll_events/2, get_pending/1, add_reader/3, add_writer/3,
         remove_reader/2, remove_writer/2, start_reader/1, start_writer/1, stop_reader/1,
         stop_writer/1, close_fd/1, call_later/3, cancel_timer/2]).
-export([create_test_pipe/0, write_test_fd/2, read_test_fd/2, close_test_fd/1,
         create_test_tcp_listener/1, accept_test_tcp/1, connect_test_tcp/2,
         create_test_udp_socket/1, sendto_test_udp/4, recvfrom_test_udp/2, set_udp_broadcast/2]).
-export([output_open/3, output_close/0]).
-export([context_stats/1, node_stats/0]).
-export([debug_counters/0, debug_decode/1, debug_fail_allocations/1, debug_waiting/1,
         priv_dir/0]).
-export_type([channel/0, buffer/0, waiter/0, context/0, call/0, operation/0,
              event_loop/0, event_fd/0, event_timer/0, unsupported/0, send_error/0,
              receive_error/0, byte_send_error/0, byte_receive_error/0, share_error/0,
              counters/0]).

-nifs([channel_new/1, channel_new_shared/1, channel_send/2, channel_try_receive/1,
       channel_close/1, channel_info/1]).
-nifs([channel_send_wait/3, channel_send_again/2, channel_receive_wait/2,
       channel_receive_again/1, cancel_wait/1]).
-nifs([byte_channel_new/1, byte_channel_new_shared/1, byte_channel_send/2, byte_channel_send_many/2,
       byte_channel_try_receive/1, byte_channel_try_receive_many/2, byte_channel_send_wait/3,
       byte_channel_send_again/2, byte_channel_receive_wait/2, byte_channel_info/1]).
-nifs([buffer_new/5, buffer_write/2, buffer_piece_size/1, buffer_write_wait/3,
       buffer_write_again/3, buffer_close/1, buffer_abort/2, buffer_set_writer/2, buffer_info/1]).
-nifs([runtime_start/3, runtime_version/0, runtime_features/0, set_stopped/1]).
-nifs([context_new/2, process_new/6, context_submit/5, context_interrupt/1, context_interrupt/2,
       context_look_out/2, context_finish/1, context_stop/1, context_kill/1, call_cancel/1,
       call_look_out/2, call_answer/2]).
-nifs([event_loop_new/0, event_loop_destroy/1, event_loop_set_worker/2, event_loop_wakeup/1,
       event_loop_dispatch/3, poll_events/2, get_pending/1, add_reader/3, add_writer/3,
       remove_reader/2, remove_writer/2, start_reader/1, start_writer/1, stop_reader/1,
       stop_writer/1, close_fd/1, call_later/3, cancel_timer/2]).
-nifs([create_test_pipe/0, write_test_fd/2, read_test_fd/2, close_test_fd/1,
       create_test_tcp_listener/1, accept_test_tcp/1, connect_test_tcp/2,
       create_test_udp_socket/1, sendto_test_udp/4, recvfrom_test_udp/2, set_udp_broadcast/2]).
-nifs([output_open/3, output_close/0]).
-nifs([context_stats/1, node_stats/0]).
-nifs([debug_counters/0, debug_decode/1, debug_fail_allocations/1, debug_waiting/1]).
-on_load(load/0).

-type channel() :: reference().
-type buffer() :: reference().
-type waiter() :: reference().
-type context() :: reference().
-type call() :: reference().
-type event_loop() :: reference().
-type event_fd() :: reference().
-type event_timer() :: reference().
%% `task', `spawn' and `thread' call in a context that runs an event loop: the answer is
%% `{async_result, Ref, Result}', and with `spawn' there is none. `thread': what is no coroutine
%% function runs on a thread of asyncio's executor.
-type operation() :: call | eval | exec | {traceback, call | eval | exec} | task | spawn | thread.

%% What has no form in Python, and where: positions in lists and tuples, from 1 on, and map keys.
-type unsupported() ::
    {unsupported, bitstring | improper_list | too_deep | unhashable_key, Path :: [term()]}.
-type send_error() :: closed | too_large | enomem | invalid_channel | not_shared | unsupported().
%% `corrupt' and `atom_limit': the message was taken out but cannot be an Erlang term.
-type receive_error() :: closed | corrupt | atom_limit | enomem | invalid_channel.
-type byte_send_error() :: closed | too_large | enomem | invalid_channel.
-type byte_receive_error() :: closed | enomem | invalid_channel.
%% Of what processes share: no memory for its pages (`enospc'), larger than files of the VM may be
%% (`efbig'), no descriptor left (`system_limit').
-type share_error() :: enomem | enospc | efbig | system_limit.
-type counters() :: #{atom() => integer()}.

%% Channels

%% @doc Makes a channel for at most `MaxSize' bytes, 0 for no limit.
-spec channel_new(MaxSize :: non_neg_integer()) -> {ok, channel()} | {error, enomem}.
channel_new(_MaxSize) -> erlang:nif_error(not_loaded).

-spec channel_new_shared(MaxSize :: non_neg_integer()) ->
    {ok, channel()} | {error, share_error()}.
channel_new_shared(_MaxSize) -> erlang:nif_error(not_loaded).

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

-spec byte_channel_new_shared(MaxSize :: non_neg_integer()) ->
    {ok, channel()} | {error, share_error()}.
byte_channel_new_shared(_MaxSize) -> erlang:nif_error(not_loaded).

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
                 Limit :: non_neg_integer() | undefined, Retain :: boolean(),
                 Shared :: boolean()) ->
    {ok, buffer()} | {error, share_error()}.
buffer_new(_ContentLength, _MaxSize, _Limit, _Retain, _Shared) -> erlang:nif_error(not_loaded).

%% @doc See {@link py_buffer:write/3}: how much goes into a shared buffer at a time; 0: it is none.
-spec buffer_piece_size(buffer()) -> non_neg_integer() | {error, invalid_buffer}.
buffer_piece_size(_Buffer) -> erlang:nif_error(not_loaded).

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
-spec buffer_abort(buffer(), term()) ->
    ok | {error, invalid_buffer | enomem | too_large | not_shared | unsupported()}.
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

%% @doc Starts a context in a process of its own, which belongs to the calling process, and waits
%% until it runs requests: as long as Python takes to start. `Python': the interpreter, `<<>>' for
%% the one that Penstock was built for; `Package': the directory of the package `erlang'; `Cwd':
%% `<<>>' for the VM's; `Env': `<<"NAME=value">>' each, all that it gets; `Limit': bytes, 0: none.
%%
%% `{penstock_stopped, Ref, Reason}' comes when the process has ended: `{worker_down, {signal |
%% exit_status, Number} | corrupt | out_of_memory | timeout}', or `stopped' after `context_stop/1'.
-spec process_new(Ref :: reference(), Python :: binary(), Package :: binary(), Cwd :: binary(),
                  Env :: [binary()], Limit :: non_neg_integer()) ->
    {ok, context(), OsPid :: pos_integer()} | {error, {python, binary()}}.
process_new(_Ref, _Python, _Package, _Cwd, _Env, _Limit) -> erlang:nif_error(not_loaded).

%% @doc Queues a request: `{Module, Function, Args, Kwargs}' to call, `{Code, Locals}' to eval,
%% `{Code}' to exec. The answer is the message `{Ref, ok | {ok, Term} | {error, Reason}}'; exactly
%% one comes, unless the call is cancelled. `Path': the contexts (their processes) whose threads
%% wait for the caller; if this one is among them the request runs there, inside of the one that
%% waits.
%% `{traceback, Operation}': an exception is answered with its traceback. `task', `spawn' and
%% `thread' return `ok', as nobody can cancel them. `remote' instead of `ok': the caller may look
%% for the answer, see `call_look_out/2'.
-spec context_submit(context(), operation(), tuple(), Ref :: reference(), Path :: [pid()]) ->
    {ok | remote, call()} | ok |
    {error, {context_died, stopped} | enomem | not_shared | unsupported()}.
context_submit(_Context, _Operation, _Arguments, _Ref, _Path) -> erlang:nif_error(not_loaded).

%% @doc Raises `KeyboardInterrupt' in whatever the context runs.
-spec context_interrupt(context()) -> ok.
context_interrupt(_Context) -> erlang:nif_error(not_loaded).

%% @doc The same, only if the context still runs that call.
-spec context_interrupt(context(), call()) -> ok.
context_interrupt(_Context, _Call) -> erlang:nif_error(not_loaded).

%% @doc Has what a context in another process says delivered, as `call_look_out/2' does: `remote'.
%% `ok': it is in this one, and there is nothing to be done.
-spec context_look_out(context(), For :: non_neg_integer()) -> ok | remote.
context_look_out(_Context, _For) -> erlang:nif_error(not_loaded).

%% @doc Refuses further requests; what is queued still runs. An event loop ends: what runs there is
%% answered with `{error, {context_died, stopped}}'.
-spec context_finish(context()) -> ok.
context_finish(_Context) -> erlang:nif_error(not_loaded).

%% @doc Refuses further requests, interrupts the running one, answers the queued ones with
%% `{error, {context_died, stopped}}', and lets the thread end.
-spec context_stop(context()) -> ok.
context_stop(_Context) -> erlang:nif_error(not_loaded).

%% @doc Kills the process of a context, for a call that takes too long. No other context ends.
-spec context_kill(context()) -> ok.
context_kill(_Context) -> erlang:nif_error(not_loaded).

%% @doc `cancelled': no answer will come. `answered': it is in the mailbox or on its way.
-spec call_cancel(call()) -> cancelled | answered.
call_cancel(_Call) -> erlang:nif_error(not_loaded).

%% @doc Looks for answers of the process that runs the call, for at most that many nanoseconds, up
%% to 50,000, and returns when there were some: the call's own, which then does not come as a
%% message, or `others'; else `empty'. Only the caller may.
-spec call_look_out(call(), For :: non_neg_integer()) ->
    ok | {ok, term()} | {error, term()} | others | empty.
call_look_out(_Call, _For) -> erlang:nif_error(not_loaded).

%% @doc Answers a call that runs and was handed to Erlang (erlang.schedule).
-spec call_answer(call(), {ok, term()} | {error, term()}) -> ok.
call_answer(_Call, _Result) -> erlang:nif_error(not_loaded).

%% Event loops of Erlang
%%
%% Each is a thread that sleeps until a descriptor is ready or a timer is due: processes learn of it
%% by poll_events/2 and get_pending/1, or, with a worker, by messages `{py_event, CallbackId, read |
%% write | timer}'. A descriptor that has been reported is watched again by start_reader/1 or
%% start_writer/1, or, once get_pending/1 has returned the event, by the next call of that or of
%% poll_events/2. Callback ids are numbers of 64 bits that the loop only gives
%% back. `{error, invalid_loop}' and `{error, invalid_fd_ref}' are answers to anything else in their
%% places, and `{error, invalid_loop}' also to adding something to a loop that was destroyed.

%% @doc Starts a loop, which ends with `event_loop_destroy/1' or the last reference to it.
-spec event_loop_new() -> {ok, event_loop()} | {error, enomem | system_limit}.
event_loop_new() -> erlang:nif_error(not_loaded).

%% @doc Ends it, and every wait for its events. Idempotent.
-spec event_loop_destroy(event_loop()) -> ok | {error, invalid_loop}.
event_loop_destroy(_Loop) -> erlang:nif_error(not_loaded).

%% @doc From now on events are messages to that process, while it lives; `undefined': to nobody.
-spec event_loop_set_worker(event_loop(), pid() | undefined) -> ok | {error, invalid_loop}.
event_loop_set_worker(_Loop, _Worker) -> erlang:nif_error(not_loaded).

%% @doc Ends all waits in poll_events/2 that go on now.
-spec event_loop_wakeup(event_loop()) -> ok | {error, invalid_loop}.
event_loop_wakeup(_Loop) -> erlang:nif_error(not_loaded).

%% @doc Adds an event to those that are pending, as a worker does with the messages it gets.
-spec event_loop_dispatch(event_loop(), CallbackId :: non_neg_integer(), read | write | timer) ->
    ok | {error, invalid_loop}.
event_loop_dispatch(_Loop, _CallbackId, _Kind) -> erlang:nif_error(not_loaded).

%% @doc How many events are pending; waits for the first, on a dirty scheduler, for at most
%% `Timeout' ms.
-spec poll_events(event_loop(), timeout()) -> {ok, non_neg_integer()} | {error, invalid_loop}.
poll_events(_Loop, _Timeout) -> erlang:nif_error(not_loaded).

%% @doc Takes the pending events, oldest first; none of what is no loop.
-spec get_pending(event_loop()) -> [{CallbackId :: non_neg_integer(), read | write | timer}].
get_pending(_Loop) -> erlang:nif_error(not_loaded).

%% @doc Watches a descriptor for something to read, or its end. `select_failed': it is not open, or
%% a file, which is always ready.
-spec add_reader(event_loop(), Fd :: integer(), CallbackId :: non_neg_integer()) ->
    {ok, event_fd()} |
    {error, invalid_loop | invalid_fd | invalid_callback_id | select_failed}.
add_reader(_Loop, _Fd, _CallbackId) -> erlang:nif_error(not_loaded).

%% @doc Watches a descriptor for room to write.
-spec add_writer(event_loop(), Fd :: integer(), CallbackId :: non_neg_integer()) ->
    {ok, event_fd()} |
    {error, invalid_loop | invalid_fd | invalid_callback_id | select_failed}.
add_writer(_Loop, _Fd, _CallbackId) -> erlang:nif_error(not_loaded).

%% @doc Stops watching for good. Idempotent.
-spec remove_reader(event_loop(), event_fd()) -> ok | {error, invalid_loop | invalid_fd_ref}.
remove_reader(_Loop, _Fd) -> erlang:nif_error(not_loaded).

%% @doc The same.
-spec remove_writer(event_loop(), event_fd()) -> ok | {error, invalid_loop | invalid_fd_ref}.
remove_writer(_Loop, _Fd) -> erlang:nif_error(not_loaded).

%% @doc Watches again, after stop_reader/1 or a report.
-spec start_reader(event_fd()) -> ok | {error, invalid_fd_ref}.
start_reader(_Fd) -> erlang:nif_error(not_loaded).

%% @doc The same.
-spec start_writer(event_fd()) -> ok | {error, invalid_fd_ref}.
start_writer(_Fd) -> erlang:nif_error(not_loaded).

%% @doc Stops watching, for a while; the descriptor stays open.
-spec stop_reader(event_fd()) -> ok | {error, invalid_fd_ref}.
stop_reader(_Fd) -> erlang:nif_error(not_loaded).

%% @doc The same.
-spec stop_writer(event_fd()) -> ok | {error, invalid_fd_ref}.
stop_writer(_Fd) -> erlang:nif_error(not_loaded).

%% @doc Stops watching a descriptor, in both directions, and closes it, soon. Idempotent.
-spec close_fd(event_fd()) -> ok | {error, invalid_fd_ref}.
close_fd(_Fd) -> erlang:nif_error(not_loaded).

%% @doc An event `{CallbackId, timer}' in so many ms.
-spec call_later(event_loop(), Delay :: non_neg_integer(), CallbackId :: non_neg_integer()) ->
    {ok, event_timer()} | {error, invalid_loop | invalid_callback_id}.
call_later(_Loop, _Delay, _CallbackId) -> erlang:nif_error(not_loaded).

%% @doc Not any more, unless it has happened. Idempotent.
-spec cancel_timer(event_loop(), event_timer()) -> ok | {error, invalid_loop | invalid_timer}.
cancel_timer(_Loop, _Timer) -> erlang:nif_error(not_loaded).

%% Descriptors to try them with. All are non-blocking; `{error, would_block}' where a blocking one
%% would wait.

%% @doc Both ends of a pipe.
-spec create_test_pipe() -> {ok, {Read :: integer(), Write :: integer()}} | {error, pipe_failed}.
create_test_pipe() -> erlang:nif_error(not_loaded).

%% @doc Writes all of it.
-spec write_test_fd(integer(), binary()) -> ok | {error, would_block | write_failed}.
write_test_fd(_Fd, _Bytes) -> erlang:nif_error(not_loaded).

%% @doc At most so many bytes, `<<>>' at the end.
-spec read_test_fd(integer(), Max :: non_neg_integer()) ->
    {ok, binary()} | {error, would_block | read_failed}.
read_test_fd(_Fd, _Max) -> erlang:nif_error(not_loaded).

-spec close_test_fd(integer()) -> ok | {error, close_failed}.
close_test_fd(_Fd) -> erlang:nif_error(not_loaded).

%% @doc Listens at a port of 127.0.0.1, 0 for any.
-spec create_test_tcp_listener(inet:port_number()) ->
    {ok, {integer(), inet:port_number()}} | {error, socket_failed}.
create_test_tcp_listener(_Port) -> erlang:nif_error(not_loaded).

-spec accept_test_tcp(integer()) -> {ok, integer()} | {error, would_block | accept_failed}.
accept_test_tcp(_Fd) -> erlang:nif_error(not_loaded).

%% @doc Begins to connect: done when the descriptor is writable.
-spec connect_test_tcp(Host :: binary(), inet:port_number()) ->
    {ok, integer()} | {error, invalid_address | socket_failed | connect_failed}.
connect_test_tcp(_Host, _Port) -> erlang:nif_error(not_loaded).

%% @doc A socket for datagrams at a port of 127.0.0.1, 0 for any.
-spec create_test_udp_socket(inet:port_number()) ->
    {ok, {integer(), inet:port_number()}} | {error, socket_failed}.
create_test_udp_socket(_Port) -> erlang:nif_error(not_loaded).

-spec sendto_test_udp(integer(), binary(), Host :: binary(), inet:port_number()) ->
    ok | {error, invalid_address | would_block | sendto_failed}.
sendto_test_udp(_Fd, _Bytes, _Host, _Port) -> erlang:nif_error(not_loaded).

-spec recvfrom_test_udp(integer(), Max :: non_neg_integer()) ->
    {ok, {binary(), {Host :: binary(), inet:port_number()}}} |
    {error, would_block | recvfrom_failed}.
recvfrom_test_udp(_Fd, _Max) -> erlang:nif_error(not_loaded).

-spec set_udp_broadcast(integer(), boolean() | 0 | 1) -> ok | {error, setsockopt_failed}.
set_udp_broadcast(_Fd, _On) -> erlang:nif_error(not_loaded).

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

%% @doc How many calls a context has in its hands, and what lies in the memory that it shares with
%% its process, if it has one: bytes each way, and whether more waits for room here. Asks nobody.
-spec context_stats(context()) ->
    #{calls := non_neg_integer(), link => py_stats:link_stats()}.
context_stats(_Context) -> erlang:nif_error(not_loaded).

%% @doc What the VM shares with other processes: bytes, and of at most 1000 channels and buffers how
%% they are; and how much of Python's output waits. Asks nobody.
-spec node_stats() ->
    #{shared_bytes := non_neg_integer(), shared_count := non_neg_integer(),
      shared_channels := [py_stats:channel_stats()],
      shared_buffers := [py_stats:buffer_stats()], output := none | py_stats:output_stats()}.
node_stats() -> erlang:nif_error(not_loaded).

%% @doc What is alive in the library: `channels' and `buffers' that Erlang refers to, `waiters',
%% `calls', `contexts', `event_loops' of Erlang, `pinned_bytes' of large binaries that queues and
%% Python refer to and of Python's that Erlang does, `atoms_created' by Python, `dropped_sends' to
%% processes that were gone, and `interpreters' of `owngil' contexts, those included that cannot
%% end because code in them goes on.
-spec debug_counters() -> counters().
debug_counters() -> erlang:nif_error(not_loaded).

%% @doc Lets the `Countdown'-th allocation of message memory from now on, and all after it, fail; 0
%% ends that. For tests: it is for the whole VM.
-spec debug_fail_allocations(Countdown :: non_neg_integer()) -> ok.
debug_fail_allocations(_Countdown) -> erlang:nif_error(not_loaded).

%% @doc What a worker process sends, in the form in which it comes.
-spec debug_decode(binary()) -> {ok, term()} | {error, corrupt | atom_limit | enomem}.
debug_decode(_Bytes) -> erlang:nif_error(not_loaded).

%% @doc How many wait for a message of a channel, and how many for room in it.
-spec debug_waiting(channel()) ->
          {Receivers :: non_neg_integer(), Senders :: non_neg_integer()} | {error, invalid_channel}.
debug_waiting(_Channel) -> erlang:nif_error(not_loaded).

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
