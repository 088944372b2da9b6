%% SPDX-License-Identifier: Apache-2.0
%% Shared memory that cannot be had, in a VM of its own, because a filter of system calls is for
%% life.
-module(py_no_room_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-define(LARGE, 1 bsl 20).
-define(TIMEOUT, 60_000).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [no_room_is_an_error].

no_room_is_an_error(_) ->
    {ok, Peer, _} = peer:start_link(#{connection => standard_io}),
    ok = peer:call(Peer, code, add_paths, [code:get_path()]),
    true = peer:call(Peer, os, putenv, ["PENSTOCK_PRIV", py_deadlock_SUITE:plain_priv()]),
    {ok, _} = peer:call(Peer, application, ensure_all_started, [penstock], ?TIMEOUT),
    [peer:call(Peer, ?MODULE, Case, [], ?TIMEOUT) || Case <- [files_are_limited, memory_is_full]],
    peer:stop(Peer).

%% Beyond the limit the kernel sends a signal that ends a process. Not even what the VM shares
%% channels by can be made.
files_are_limited() ->
    limit_files("4096"),
    ?assertEqual([], [Link || "/memfd:penstock-bells" ++ _ = Link <- py_process_case:fds()]),
    refused(efbig, <<"File too large">>),
    limit_files("unlimited"),
    works_again().

%% The kernel answers as it does when there is no memory for more pages; smaller pieces fit.
memory_is_full() ->
    ok = py:exec(py:context(1), filter()),
    refused(enospc, <<"No space left on device">>),
    [{ok, _} = New(#{shared => true, max_size => 1000}) || {_, New} <- creators()],
    ok.

creators() ->
    [{channel, fun py_channel:new/1}, {byte_channel, fun py_byte_channel:new/1},
     {buffer, fun py_buffer:new/1}].

refused(Reason, Text) ->
    {Fds, Maps} = {py_process_case:fds(), py_process_case:maps()},
    [?assertEqual({Name, {error, Reason}},
                  {Name, New(#{shared => true, max_size => ?LARGE})})
     || {Name, New} <- creators(), _ <- lists:seq(1, 10)],
    [begin
         {error, {python, Failure}} = py_context:new(#{mode => process}),
         ?assertNotEqual(nomatch, binary:match(Failure, Text))
     end || _ <- lists:seq(1, 3)],
    eventually:equal(Fds, fun py_process_case:fds/0),
    ?assertEqual(Maps, py_process_case:maps()),
    ?assertEqual([], py_process_case:workers()).

works_again() ->
    {ok, Context} = py_context:new(#{mode => process}),
    {ok, Channel} = py_channel:new(#{shared => true, max_size => ?LARGE}),
    {ok, Bytes} = py_byte_channel:new(#{shared => true, max_size => ?LARGE}),
    {ok, Buffer} = py_buffer:new(#{shared => true, max_size => ?LARGE}),
    ok = py_byte_channel:send(Bytes, binary:copy(<<"b">>, ?LARGE)),
    ok = py_buffer:write(Buffer, binary:copy(<<"b">>, ?LARGE)),
    ok = py_buffer:close(Buffer),
    ok = py:exec(Context, <<"import erlang\n"
                            "def lengths(terms, data, buffer):\n"
                            "    erlang.Channel(terms).send('here')\n"
                            "    received = erlang.ByteChannel(data).receive_bytes()\n"
                            "    return len(received), len(buffer.read())\n">>),
    ?assertEqual({ok, {?LARGE, ?LARGE}},
                 py:call(Context, '__main__', lengths, [Channel, Bytes, Buffer])),
    ?assertEqual({ok, <<"here">>}, py_channel:recv(Channel, ?TIMEOUT)),
    ok = py_context:stop(Context),
    eventually:equal([], fun py_process_case:workers/0).

%% The soft limit of this process.
limit_files(Bytes) ->
    ?assertEqual("", os:cmd(["prlimit --pid ", os:getpid(), " --fsize=", Bytes, ":unlimited"])).

%% For all threads: fallocate(2) of more than 64 KiB is ENOSPC from here on. Reads like the example
%% of seccomp(2).
filter() ->
    <<"import ctypes, errno, platform, struct\n"
      "number = {'x86_64': 285, 'aarch64': 47}[platform.machine()]\n"
      "seccomp = {'x86_64': 317, 'aarch64': 277}[platform.machine()]\n"
      "program = struct.pack('HBBI' * 6, 0x20, 0, 0, 0, 0x15, 0, 3, number, 0x20, 0, 0, 40,\n"
      "                      0x25, 0, 1, 65536, 0x06, 0, 0, 0x00050000 | errno.ENOSPC,\n"
      "                      0x06, 0, 0, 0x7fff0000)\n"
      "class Filter(ctypes.Structure):\n"
      "    _fields_ = [('length', ctypes.c_ushort), ('code', ctypes.c_char_p)]\n"
      "libc = ctypes.CDLL(None, use_errno=True)\n"
      "assert libc.prctl(38, 1, 0, 0, 0) == 0, 'PR_SET_NO_NEW_PRIVS'\n"
      "everywhere = 1\n"
      "found = ctypes.byref(Filter(6, program))\n"
      "assert libc.syscall(seccomp, 1, everywhere, found) == 0, 'seccomp'\n">>.
