%% SPDX-License-Identifier: Apache-2.0
%% The event loops of py_nif, which know no Python, and their workers.
-module(py_event_nif_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([loops/1, readable/1, writable/1, level_triggered/1, both_directions/1, removed/1,
         stopped_and_started/1, closed/1, end_of_file/1, timers/1, timers_are_never_early/1,
         cancelled_timers/1, waiting/1, wake_ups/1, destroyed_while_waited_for/1,
         many_waiters/1, isolated/1, workers/1, own_worker/1, dead_workers/1, restarted_workers/1,
         tcp/1, udp/1, descriptors/1, garbage/1, many_descriptors/1, reused_descriptors/1,
         nothing_is_left_behind/1, collected/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [loops, readable, writable, level_triggered, both_directions, removed, stopped_and_started,
     closed, end_of_file, timers, timers_are_never_early, cancelled_timers, waiting, wake_ups,
     destroyed_while_waited_for, many_waiters, isolated, workers, own_worker, dead_workers,
     restarted_workers, tcp, udp, descriptors, garbage, many_descriptors, reused_descriptors,
     nothing_is_left_behind, collected].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    Config.

end_per_suite(_Config) ->
    application:stop(penstock).

-define(LONG, 20000).

loop() ->
    {ok, Loop} = py_nif:event_loop_new(),
    Loop.

pipe() ->
    {ok, Ends} = py_nif:create_test_pipe(),
    Ends.

close(Fds) -> [ok = py_nif:close_test_fd(Fd) || Fd <- Fds].

%% The next events, sorted.
next(Loop) ->
    {ok, Count} = py_nif:poll_events(Loop, ?LONG),
    Events = py_nif:get_pending(Loop),
    %% Others may have come since.
    ?assert(Count > 0 andalso Count =< length(Events)),
    lists:sort(Events).

%% Nothing happens that the loop had not seen when the next timer came.
silence(Loop) ->
    {ok, _} = py_nif:call_later(Loop, 5, 999),
    ?assertEqual([{999, timer}], next(Loop)).

loops(_Config) ->
    Loop = loop(),
    ?assert(is_reference(Loop)),
    ?assertEqual({ok, 0}, py_nif:poll_events(Loop, 0)),
    ?assertEqual([], py_nif:get_pending(Loop)),
    ?assertEqual(ok, py_nif:event_loop_destroy(Loop)),
    ?assertEqual(ok, py_nif:event_loop_destroy(Loop)),
    ?assertEqual({ok, 0}, py_nif:poll_events(Loop, ?LONG)),
    ?assertEqual({ok, 0}, py_nif:poll_events(Loop, infinity)).

readable(_Config) ->
    Loop = loop(),
    {R, W} = pipe(),
    {ok, Ref} = py_nif:add_reader(Loop, R, 7),
    ?assert(is_reference(Ref)),
    silence(Loop),
    ok = py_nif:write_test_fd(W, <<"x">>),
    ?assertEqual([{7, read}], next(Loop)),
    ?assertEqual({ok, <<"x">>}, py_nif:read_test_fd(R, 10)),
    ?assertEqual({error, would_block}, py_nif:read_test_fd(R, 10)),
    silence(Loop),
    ok = py_nif:remove_reader(Loop, Ref),
    close([R, W]).

writable(_Config) ->
    Loop = loop(),
    {R, W} = pipe(),
    {ok, Ref} = py_nif:add_writer(Loop, W, 1 bsl 64 - 1),
    ?assertEqual([{1 bsl 64 - 1, write}], next(Loop)),
    ok = py_nif:stop_writer(Ref),
    fill(W),
    ok = py_nif:start_writer(Ref),
    silence(Loop),
    {ok, _} = py_nif:read_test_fd(R, 1024 * 1024),
    ?assertEqual([{1 bsl 64 - 1, write}], next(Loop)),
    ok = py_nif:remove_writer(Loop, Ref),
    close([R, W]).

fill(Fd) ->
    case py_nif:write_test_fd(Fd, binary:copy(<<"x">>, 4096)) of
        ok -> fill(Fd);
        {error, would_block} -> ok
    end.

level_triggered(_Config) ->
    Loop = loop(),
    {R, W} = pipe(),
    {ok, _} = py_nif:add_reader(Loop, R, 7),
    ok = py_nif:write_test_fd(W, <<"abc">>),
    [begin
         ?assertEqual([{7, read}], next(Loop)),
         ?assertEqual({ok, Byte}, py_nif:read_test_fd(R, 1))
     end || Byte <- [<<"a">>, <<"b">>, <<"c">>]],
    silence(Loop),
    %% Once for as long as nobody takes it.
    ok = py_nif:write_test_fd(W, <<"d">>),
    {ok, 1} = py_nif:poll_events(Loop, ?LONG),
    ok = py_nif:write_test_fd(W, <<"e">>),
    ?assertEqual([{7, read}], py_nif:get_pending(Loop)),
    ok = py_nif:event_loop_destroy(Loop),
    close([R, W]).

both_directions(_Config) ->
    Loop = loop(),
    {Server, Client} = connection(),
    {ok, Reader} = py_nif:add_reader(Loop, Server, 1),
    {ok, Writer} = py_nif:add_writer(Loop, Server, 2),
    ?assertEqual([{2, write}], next(Loop)),
    ok = py_nif:stop_writer(Writer),
    ok = py_nif:write_test_fd(Client, <<"x">>),
    ?assertEqual([{1, read}], next(Loop)),
    ok = py_nif:start_writer(Writer),
    ok = eventually:true(fun() -> {ok, 2} =:= py_nif:poll_events(Loop, 0) end),
    ?assertEqual([{1, read}, {2, write}], lists:sort(py_nif:get_pending(Loop))),
    %% Another one takes its place.
    {ok, Other} = py_nif:add_reader(Loop, Server, 3),
    ok = py_nif:remove_reader(Loop, Reader),
    ok = py_nif:remove_writer(Loop, Writer),
    ok = eventually:true(fun() -> lists:member({3, read}, py_nif:get_pending(Loop)) end),
    ok = py_nif:remove_reader(Loop, Other),
    silence(Loop),
    close([Server, Client]).

removed(_Config) ->
    Loop = loop(),
    {R, W} = pipe(),
    {ok, Ref} = py_nif:add_reader(Loop, R, 7),
    ok = py_nif:write_test_fd(W, <<"x">>),
    {ok, 1} = py_nif:poll_events(Loop, ?LONG),
    ok = py_nif:remove_reader(Loop, Ref),
    ?assertEqual([], py_nif:get_pending(Loop)),
    ok = py_nif:remove_reader(Loop, Ref),
    ok = py_nif:start_reader(Ref),
    silence(Loop),
    ?assertEqual({error, invalid_fd_ref}, py_nif:remove_reader(loop(), Ref)),
    close([R, W]).

stopped_and_started(_Config) ->
    Loop = loop(),
    {R, W} = pipe(),
    {ok, Ref} = py_nif:add_reader(Loop, R, 7),
    ok = py_nif:stop_reader(Ref),
    ok = py_nif:write_test_fd(W, <<"x">>),
    silence(Loop),
    ok = py_nif:start_reader(Ref),
    ?assertEqual([{7, read}], next(Loop)),
    ok = py_nif:stop_reader(Ref),
    ok = py_nif:stop_reader(Ref),
    silence(Loop),
    ?assertEqual({ok, <<"x">>}, py_nif:read_test_fd(R, 1)),
    close([R, W]).

closed(_Config) ->
    Loop = loop(),
    {Server, Client} = connection(),
    {ok, Reader} = py_nif:add_reader(Loop, Server, 1),
    {ok, Writer} = py_nif:add_writer(Loop, Server, 2),
    ok = py_nif:close_fd(Reader),
    ok = py_nif:close_fd(Reader),
    ok = py_nif:close_fd(Writer),
    ok = py_nif:remove_reader(Loop, Reader),
    ok = py_nif:remove_writer(Loop, Writer),
    ok = py_nif:stop_reader(Reader),
    ok = eventually:equal({ok, <<>>}, fun() -> py_nif:read_test_fd(Client, 1) end),
    silence(Loop),
    close([Client]).

end_of_file(_Config) ->
    Loop = loop(),
    {R, W} = pipe(),
    {ok, Ref} = py_nif:add_reader(Loop, R, 7),
    ok = py_nif:close_test_fd(W),
    ?assertEqual([{7, read}], next(Loop)),
    ?assertEqual({ok, <<>>}, py_nif:read_test_fd(R, 1)),
    ok = py_nif:close_fd(Ref).

timers(_Config) ->
    Loop = loop(),
    [{ok, _} = py_nif:call_later(Loop, Ms, Ms) || Ms <- [30, 10, 20, 0]],
    ?assertEqual([0, 10, 20, 30], timed(Loop, 4)),
    {ok, Timer} = py_nif:call_later(Loop, 3155760000000, 1),
    silence(Loop),
    ok = py_nif:cancel_timer(Loop, Timer).

%% In the order in which they come.
timed(_Loop, Count) when Count =< 0 -> [];
timed(Loop, Count) ->
    {ok, _} = py_nif:poll_events(Loop, ?LONG),
    Ids = [Id || {Id, timer} <- py_nif:get_pending(Loop)],
    Ids ++ timed(Loop, Count - length(Ids)).

timers_are_never_early(_Config) ->
    Loop = loop(),
    [begin
         From = erlang:monotonic_time(),
         {ok, _} = py_nif:call_later(Loop, Ms, 1),
         ?assertEqual([{1, timer}], next(Loop)),
         Passed = erlang:convert_time_unit(erlang:monotonic_time() - From, native, nanosecond),
         ?assert(Passed >= Ms * 1000000)
     end || Ms <- [1, 2, 3, 5, 10, 1, 1, 1]].

cancelled_timers(_Config) ->
    cancelled_timers(loop(), 20).

cancelled_timers(Loop, Ms) ->
    From = erlang:monotonic_time(millisecond),
    Timers = [begin {ok, Timer} = py_nif:call_later(Loop, Ms, N), Timer end
              || N <- lists:seq(1, 1000)],
    [ok = py_nif:cancel_timer(Loop, Timer) || Timer <- Timers ++ Timers],
    case erlang:monotonic_time(millisecond) - From < Ms of
        true ->
            {ok, _} = py_nif:call_later(Loop, Ms, 7),
            ?assertEqual([{7, timer}], next(Loop)),
            {error, invalid_timer} = py_nif:cancel_timer(loop(), hd(Timers));
        false ->
            %% Some have fired: the machine is too slow for this.
            cancelled_timers(loop(), 2 * Ms)
    end.

waiting(_Config) ->
    Loop = loop(),
    {R, W} = pipe(),
    {ok, _} = py_nif:add_reader(Loop, R, 7),
    Waiter = eventually:worker(fun() -> py_nif:poll_events(Loop, infinity) end),
    ok = py_nif:write_test_fd(W, <<"x">>),
    ?assertEqual([{ok, 1}], eventually:workers([Waiter], event)),
    {Time, {ok, 1}} = timer:tc(fun() -> py_nif:poll_events(Loop, ?LONG) end),
    ?assert(Time < ?LONG * 1000),
    [{7, read}] = py_nif:get_pending(Loop),
    {ok, _} = py_nif:read_test_fd(R, 1),
    silence(Loop),
    {Passed, {ok, 0}} = timer:tc(fun() -> py_nif:poll_events(Loop, 10) end),
    ?assert(Passed >= 10000),
    close([R, W]).

wake_ups(_Config) ->
    Loop = loop(),
    Waiter = eventually:worker(fun() -> py_nif:poll_events(Loop, infinity) end),
    ok = eventually:true(fun() ->
        ok = py_nif:event_loop_wakeup(Loop),
        not is_process_alive(Waiter)
    end),
    ?assertEqual([{ok, 0}], eventually:workers([Waiter], wakeup)).

destroyed_while_waited_for(_Config) ->
    Loop = loop(),
    Waiters = [eventually:worker(fun() -> py_nif:poll_events(Loop, infinity) end)
               || _ <- lists:seq(1, 3)],
    ok = py_nif:event_loop_destroy(Loop),
    ?assertEqual([{ok, 0}], lists:usort(eventually:workers(Waiters, destroyed))).

%% More than there are dirty schedulers: schedulers go on.
many_waiters(_Config) ->
    Loop = loop(),
    Count = 2 * erlang:system_info(dirty_io_schedulers),
    Waiters = [eventually:worker(fun() -> py_nif:poll_events(Loop, infinity) end)
               || _ <- lists:seq(1, Count)],
    {ok, _} = py_nif:call_later(Loop, 1, 5),
    ?assertEqual([{ok, 1}], lists:usort(eventually:workers(Waiters, many))).

isolated(_Config) ->
    Loops = [begin
                 Loop = loop(),
                 {R, W} = pipe(),
                 {ok, _} = py_nif:add_reader(Loop, R, N),
                 ok = py_nif:write_test_fd(W, <<"x">>),
                 {N, Loop, R, W}
             end || N <- lists:seq(1, 20)],
    [?assertEqual([{N, read}], next(Loop)) || {N, Loop, _, _} <- Loops],
    [ok = py_nif:event_loop_destroy(Loop) || {_, Loop, _, _} <- Loops],
    [close([R, W]) || {_, _, R, W} <- Loops].

workers(_Config) ->
    Loop = loop(),
    {ok, Worker} = py_event_worker:start_link(<<"worker">>, Loop),
    ok = py_nif:event_loop_set_worker(Loop, Worker),
    {R, W} = pipe(),
    {ok, _} = py_nif:add_reader(Loop, R, 7),
    ok = py_nif:write_test_fd(W, <<"ab">>),
    [begin
         ?assertEqual([{7, read}], next(Loop)),
         {ok, _} = py_nif:read_test_fd(R, 1)
     end || _ <- [a, b]],
    silence(Loop),
    #{id := <<"worker">>, loop := Loop, events := Events} = py_event_worker:info(Worker),
    ?assert(Events >= 3),
    ok = gen_server:stop(Worker),
    ?assertEqual({error, invalid_loop}, py_event_worker:start_link(x, make_ref())),
    {ok, Other, Made} = py_event_worker:start_link(made),
    {ok, _} = py_nif:call_later(Made, 1, 3),
    ?assertEqual([{3, timer}], next(Made)),
    ok = gen_server:stop(Other),
    close([R, W]).

%% One process gets the messages itself.
own_worker(_Config) ->
    Loop = loop(),
    ok = py_nif:event_loop_set_worker(Loop, self()),
    {R, W} = pipe(),
    {ok, Ref} = py_nif:add_reader(Loop, R, 7),
    ok = py_nif:write_test_fd(W, <<"ab">>),
    ?assertEqual({py_event, 7, read}, eventually:message(py_event)),
    {ok, _} = py_nif:call_later(Loop, 5, 8),
    ?assertEqual({py_event, 8, timer}, eventually:message(py_event)),
    ok = py_nif:start_reader(Ref),
    ?assertEqual({py_event, 7, read}, eventually:message(py_event)),
    {ok, Writer} = py_nif:add_writer(Loop, W, 9),
    ?assertEqual({py_event, 9, write}, eventually:message(py_event)),
    ok = py_nif:remove_writer(Loop, Writer),
    ?assertEqual({ok, 0}, py_nif:poll_events(Loop, 0)),
    ok = py_nif:event_loop_set_worker(Loop, undefined),
    silence(Loop),
    ok = eventually:silence(),
    ok = py_nif:event_loop_destroy(Loop),
    close([R, W]).

dead_workers(_Config) ->
    Loop = loop(),
    Pid = spawn(fun() -> ok end),
    ok = py_nif:event_loop_set_worker(Loop, Pid),
    ok = eventually:dead(Pid),
    silence(Loop).

restarted_workers(_Config) ->
    Loop = loop(),
    [begin
         {ok, Worker} = py_event_worker:start_link(N, Loop),
         silence(Loop),
         unlink(Worker),
         ok = eventually:dead(Worker),
         silence(Loop)
     end || N <- lists:seq(1, 5)].

connection() ->
    {ok, {Listener, Port}} = py_nif:create_test_tcp_listener(0),
    {ok, Client} = py_nif:connect_test_tcp(<<"127.0.0.1">>, Port),
    ok = eventually:true(fun() ->
        case py_nif:accept_test_tcp(Listener) of
            {ok, Fd} -> put(accepted, Fd), true;
            {error, would_block} -> would_block
        end
    end),
    ok = py_nif:close_test_fd(Listener),
    {erase(accepted), Client}.

tcp(_Config) ->
    Loop = loop(),
    {ok, {Listener, Port}} = py_nif:create_test_tcp_listener(0),
    {ok, Accepting} = py_nif:add_reader(Loop, Listener, 1),
    {ok, Client} = py_nif:connect_test_tcp(<<"127.0.0.1">>, Port),
    ?assertEqual([{1, read}], next(Loop)),
    {ok, Server} = py_nif:accept_test_tcp(Listener),
    ok = py_nif:close_fd(Accepting),
    {ok, _} = py_nif:add_reader(Loop, Server, 2),
    ok = py_nif:write_test_fd(Client, <<"hello">>),
    ?assertEqual([{2, read}], next(Loop)),
    ?assertEqual({ok, <<"hello">>}, py_nif:read_test_fd(Server, 100)),
    close([Client, Server]),
    ?assertEqual({error, invalid_address}, py_nif:connect_test_tcp(<<"localhost">>, Port)),
    ?assertEqual({error, invalid_address}, py_nif:connect_test_tcp(<<"127.0.0.1">>, 65536)).

udp(_Config) ->
    Loop = loop(),
    {ok, {A, PortA}} = py_nif:create_test_udp_socket(0),
    {ok, {B, PortB}} = py_nif:create_test_udp_socket(0),
    {ok, Ref} = py_nif:add_reader(Loop, B, 4),
    [begin
         ok = py_nif:sendto_test_udp(A, Bytes, <<"127.0.0.1">>, PortB),
         ?assertEqual([{4, read}], next(Loop)),
         ?assertEqual({ok, {Bytes, {<<"127.0.0.1">>, PortA}}}, py_nif:recvfrom_test_udp(B, 2000))
     end || Bytes <- [<<"hello">>, <<>>, binary:copy(<<"x">>, 1500)]],
    ?assertEqual({error, would_block}, py_nif:recvfrom_test_udp(B, 2000)),
    [ok = py_nif:set_udp_broadcast(A, On) || On <- [true, false, 1, 0]],
    ?assertEqual({error, invalid_address},
                 py_nif:sendto_test_udp(A, <<>>, <<"nowhere">>, PortB)),
    ok = py_nif:close_fd(Ref),
    close([A]).

descriptors(_Config) ->
    {R, W} = pipe(),
    close([R, W]),
    [?assertMatch({error, _}, Result)
     || Result <- [py_nif:close_test_fd(-1), py_nif:read_test_fd(-1, 1),
                   py_nif:write_test_fd(-1, <<"x">>), py_nif:accept_test_tcp(-1),
                   py_nif:recvfrom_test_udp(-1, 1), py_nif:set_udp_broadcast(-1, true),
                   py_nif:sendto_test_udp(-1, <<>>, <<"127.0.0.1">>, 1)]],
    {ok, {Udp, _}} = py_nif:create_test_udp_socket(0),
    ?assertEqual({error, accept_failed}, py_nif:accept_test_tcp(Udp)),
    close([Udp]).

garbage(_Config) ->
    Loop = loop(),
    {R, W} = pipe(),
    {ok, Ref} = py_nif:add_reader(Loop, R, 1),
    {ok, Timer} = py_nif:call_later(Loop, 3155760000000, 1),
    Wrong = [make_ref(), self(), 17, foo, <<>>, [], {}, #{}, Ref, Timer, -1, 1 bsl 70, 1.0],
    [begin
         ?assertEqual({error, invalid_loop}, py_nif:event_loop_destroy(Term)),
         ?assertEqual({error, invalid_loop}, py_nif:event_loop_set_worker(Term, self())),
         ?assertEqual({error, invalid_loop}, py_nif:event_loop_wakeup(Term)),
         ?assertEqual({error, invalid_loop}, py_nif:event_loop_dispatch(Term, 1, read)),
         ?assertEqual({error, invalid_loop}, py_nif:poll_events(Term, 0)),
         ?assertEqual([], py_nif:get_pending(Term)),
         ?assertEqual({error, invalid_loop}, py_nif:add_reader(Term, R, 1)),
         ?assertEqual({error, invalid_loop}, py_nif:add_writer(Term, W, 1)),
         ?assertEqual({error, invalid_loop}, py_nif:remove_reader(Term, Ref)),
         ?assertEqual({error, invalid_loop}, py_nif:remove_writer(Term, Ref)),
         ?assertEqual({error, invalid_loop}, py_nif:call_later(Term, 1, 1)),
         ?assertEqual({error, invalid_loop}, py_nif:cancel_timer(Term, Timer))
     end || Term <- Wrong],
    [begin
         ?assertEqual({error, invalid_fd_ref}, py_nif:remove_reader(Loop, Term)),
         ?assertEqual({error, invalid_fd_ref}, py_nif:remove_writer(Loop, Term)),
         [?assertEqual({error, invalid_fd_ref}, py_nif:Function(Term))
          || Function <- [start_reader, start_writer, stop_reader, stop_writer, close_fd]]
     end || Term <- [Loop | Wrong] -- [Ref]],
    [?assertEqual({error, invalid_timer}, py_nif:cancel_timer(Loop, Term))
     || Term <- [Loop | Wrong] -- [Timer]],
    [?assertMatch({error, _}, py_nif:add_reader(Loop, Fd, 1))
     || Fd <- [-1, 123456, 1 bsl 40, foo, <<>>, 1.0]],
    ?assertEqual({error, select_failed}, py_nif:add_reader(Loop, 123456, 1)),
    ?assertEqual({error, invalid_fd}, py_nif:add_reader(Loop, foo, 1)),
    [?assertEqual({error, invalid_callback_id}, py_nif:add_reader(Loop, R, Id))
     || Id <- [-1, foo, 1 bsl 64, 1.0]],
    [?assertError(badarg, Call())
     || Call <- [fun() -> py_nif:event_loop_set_worker(Loop, foo) end,
                 fun() -> py_nif:event_loop_dispatch(Loop, foo, read) end,
                 fun() -> py_nif:event_loop_dispatch(Loop, 1, foo) end,
                 fun() -> py_nif:poll_events(Loop, -1) end,
                 fun() -> py_nif:poll_events(Loop, soon) end,
                 fun() -> py_nif:call_later(Loop, -1, 1) end,
                 fun() -> py_nif:call_later(Loop, 1 bsl 63, 1) end,
                 fun() -> py_nif:read_test_fd(foo, 1) end,
                 fun() -> py_nif:read_test_fd(R, 1 bsl 40) end,
                 fun() -> py_nif:write_test_fd(W, "x") end,
                 fun() -> py_nif:set_udp_broadcast(R, 2) end]],
    ok = py_nif:event_loop_destroy(Loop),
    ?assertEqual({error, invalid_loop}, py_nif:add_reader(Loop, R, 1)),
    ?assertEqual(ok, py_nif:remove_reader(Loop, Ref)),
    ?assertEqual(ok, py_nif:stop_reader(Ref)),
    ?assertEqual(ok, py_nif:cancel_timer(Loop, Timer)),
    {ok, _} = py_nif:call_later(Loop, 1, 1),
    close([R, W]).

many_descriptors(_Config) ->
    Loop = loop(),
    Pipes = [begin {R, W} = pipe(), {N, R, W} end || N <- lists:seq(1, 200)],
    Refs = [begin {ok, Ref} = py_nif:add_reader(Loop, R, N), Ref end || {N, R, _} <- Pipes],
    [ok = py_nif:write_test_fd(W, <<"x">>) || {_, _, W} <- Pipes],
    Seen = collect(Loop, length(Pipes), []),
    ?assertEqual([{N, read} || {N, _, _} <- Pipes], Seen),
    [ok = py_nif:close_fd(Ref) || Ref <- Refs],
    close([W || {_, _, W} <- Pipes]).

collect(Loop, Count, Seen) ->
    case lists:usort(next(Loop) ++ Seen) of
        All when length(All) =:= Count -> All;
        Some -> collect(Loop, Count, Some)
    end.

%% Numbers come again: what was watched under one is not what is.
reused_descriptors(_Config) ->
    Loop = loop(),
    [begin
         {R, W} = pipe(),
         {ok, Ref} = py_nif:add_reader(Loop, R, N),
         ok = py_nif:write_test_fd(W, <<"x">>),
         ?assertEqual([{N, read}], next(Loop)),
         ok = py_nif:remove_reader(Loop, Ref),
         close([R, W])
     end || N <- lists:seq(1, 200)],
    silence(Loop).

nothing_is_left_behind(_Config) ->
    Before = py_nif:debug_counters(),
    Open = fun() -> length(filelib:wildcard("/proc/self/fd/*")) end,
    Fds = Open(),
    [begin
         Loop = loop(),
         {R, W} = pipe(),
         {ok, _} = py_nif:add_reader(Loop, R, 1),
         {ok, Writer} = py_nif:add_writer(Loop, W, 2),
         {ok, _} = py_nif:call_later(Loop, 1000, 3),
         {ok, 1} = py_nif:poll_events(Loop, ?LONG),
         ok = py_nif:close_fd(Writer),
         ok = py_nif:event_loop_destroy(Loop),
         close([R])
     end || _ <- lists:seq(1, 50)],
    ok = eventually:counters_return_to(Before),
    ok = eventually:true(fun() -> Open() =< Fds end).

%% Without a word.
collected(_Config) ->
    Before = py_nif:debug_counters(),
    Pids = [spawn_monitor(fun() ->
        Loop = loop(),
        {ok, _} = py_nif:call_later(Loop, 100000, 1)
    end) || _ <- lists:seq(1, 20)],
    _ = [receive {'DOWN', Monitor, process, Pid, normal} -> ok end || {Pid, Monitor} <- Pids],
    ok = eventually:counters_return_to(Before).
