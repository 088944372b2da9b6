%% SPDX-License-Identifier: Apache-2.0
%% WSGI without HTTP: what becomes of requests when a process that they depend on is killed, and of
%% what they held when they are.
-module(py_wsgi_deaths_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(py_wsgi_case, [start/1, with/2, request/1, run/3, body/1, for_ever/0, told/1,
                       incomplete/1, complete/1]).

-compile([export_all, nowarn_export_all]).

%% Much less than any of the timeouts that would end a request, too.
-define(AT_ONCE_MS, 1000).
-define(WAIT_MS, 20000).

all() ->
    [{group, servers}, {group, sources}, {group, connections}].

groups() ->
    [{servers, [],
      [a_server_that_dies_while_a_body_is_awaited, a_server_that_dies_while_a_slot_is_awaited,
       a_server_that_stops_while_a_slot_is_awaited, slots_that_die_take_the_server_along]},
     {sources, [],
      [a_source_killed_before_the_application_is_called, a_source_killed_while_a_slot_is_awaited,
       a_source_killed_while_it_is_read, a_source_killed_after_the_response_began,
       a_source_killed_after_the_response, a_source_dies_with_its_connection]},
     {connections, [],
      [a_killed_holder_frees_its_slot, a_killed_waiter_takes_no_slot,
       no_point_of_death_loses_a_slot]}].

init_per_suite(Config) ->
    py_wsgi_case:init_per_suite(Config).

end_per_suite(Config) ->
    py_wsgi_case:end_per_suite(Config).

init_per_testcase(_Case, Config) ->
    true = register(wsgi_test, self()),
    Config.

end_per_testcase(_Case, _Config) ->
    ok.

%% Servers

a_server_that_dies_while_a_body_is_awaited(_) ->
    process_flag(trap_exit, true),
    Server = start(#{}),
    {Client, Source} = client(Server, "/reads", 10, false),
    is_503_at_once(Client, fun() -> exit(Server, kill) end),
    ?assertNot(is_process_alive(Source)).

a_server_that_dies_while_a_slot_is_awaited(_) ->
    process_flag(trap_exit, true),
    Server = start(#{threads => 2, max_streaming => 1}),
    _ = incomplete(Server),
    told([{reading, 1}]),
    {Client, Source} = client(Server, "/reads", 70000, false),
    eventually:equal(#{requests => 2, streaming => 1}, fun() -> py_wsgi:info(Server) end),
    is_503_at_once(Client, fun() -> exit(Server, kill) end),
    ?assertNot(is_process_alive(Source)).

a_server_that_stops_while_a_slot_is_awaited(_) ->
    Server = start(#{threads => 2, max_streaming => 1}),
    _ = incomplete(Server),
    told([{reading, 1}]),
    {Client, _} = client(Server, "/reads", 70000, false),
    eventually:equal(#{requests => 2, streaming => 1}, fun() -> py_wsgi:info(Server) end),
    is_503_at_once(Client, fun() -> eventually:worker(fun() -> py_wsgi:stop(Server, 0) end) end).

is_503_at_once(Client, End) ->
    Start = erlang:monotonic_time(millisecond),
    _ = End(),
    ?assertMatch([{{ok, <<"503 Service Unavailable">>, close}, [{complete, _, _, _}]}],
                 eventually:workers([Client], client)),
    Elapsed = erlang:monotonic_time(millisecond) - Start,
    ct:log("answered after ~b ms", [Elapsed]),
    ?assert(Elapsed < ?AT_ONCE_MS).

slots_that_die_take_the_server_along(_) ->
    process_flag(trap_exit, true),
    Server = start(#{threads => 2}),
    #{slots := Slots} = py_wsgi_server:settings(Server),
    exit(Slots, kill),
    receive {'EXIT', Server, Reason} -> ?assertEqual({slots, killed}, Reason)
    after ?WAIT_MS -> error(no_exit)
    end.

%% Sources: however they are killed, and whether or not the connection's process traps exits.

a_source_killed_before_the_application_is_called(_) ->
    killed(#{}, fun(Server, Ways) ->
        ?assertEqual(500, code(die(client(Server, "/reads", 10, Ways))))
    end).

a_source_killed_while_a_slot_is_awaited(_) ->
    killed(#{threads => 2, max_streaming => 1}, fun(Server, Ways) ->
        First = incomplete(Server),
        told([{reading, 1}]),
        Second = client(Server, "/reads", 70000, Ways),
        eventually:equal(#{requests => 2, streaming => 1}, fun() -> py_wsgi:info(Server) end),
        ?assertEqual(500, code(die(Second))),
        complete(First),
        told([{read, 100000}])
    end).

a_source_killed_while_it_is_read(_) ->
    killed(#{}, fun(Server, Ways) ->
        Client = client(Server, "/reads", 70000, Ways),
        told([{reading, 1}]),
        ?assertEqual(500, code(die(Client))),
        told([{failed, <<"BufferAborted">>, <<"writer_down">>}])
    end).

a_source_killed_after_the_response_began(_) ->
    killed(#{}, fun(Server, Ways) ->
        Client = client(Server, "/reads_late", 70000, Ways),
        told([{reading, 1}]),
        {Outcome, Events} = die(Client),
        ?assertMatch({error, _}, Outcome),
        ?assertMatch([{head, <<"200 OK">>, _}, {data, <<"first">>}], Events),
        told([{failed, <<"BufferAborted">>, <<"writer_down">>}])
    end).

%% It was expected to say that the body is complete.
a_source_killed_after_the_response(_) ->
    with(#{}, fun(Server) ->
        Test = self(),
        Source = fun(Write) ->
                     ok = Write(<<0:(100000 * 8)>>),
                     Test ! {source, self()},
                     for_ever()
                 end,
        Client = eventually:worker(fun() ->
            py_wsgi:handle(Server, request("/unread"), {stream, 100000, Source},
                           fun(_) ->
                               receive {source, Pid} -> exit(Pid, kill) end,
                               ok
                           end)
        end),
        receive {source, Pid} -> Client ! {source, Pid} end,
        Start = erlang:monotonic_time(millisecond),
        ?assertEqual([{ok, <<"200 OK">>, close}], eventually:workers([Client], client)),
        ?assert(erlang:monotonic_time(millisecond) - Start < ?AT_ONCE_MS)
    end).

a_source_dies_with_its_connection(_) ->
    with(#{}, fun(Server) ->
        [begin
             {Client, Source} = client(Server, "/reads", 10, {kill, false}),
             Monitor = erlang:monitor(process, Source),
             unlink(Client),
             exit(Client, Reason),
             receive {'DOWN', Monitor, process, Source, _} -> ok
             after ?WAIT_MS -> error(still_alive)
             end
         end || Reason <- [kill, shutdown]]
    end).

%% Leaves nothing behind in the server.
killed(Options, Test) ->
    with(Options, fun(Server) ->
        [begin
             Test(Server, {Way, Trap}),
             ?assertEqual(#{requests => 0, streaming => 0}, py_wsgi:info(Server))
         end || Way <- [kill, heap, guard], Trap <- [false, true]]
    end).

%% A request whose body stops after that many bytes of 100,000.
client(Server, Target, Size, Trap) when is_boolean(Trap) ->
    client(Server, Target, Size, {kill, Trap});
client(Server, Target, Size, {Way, Trap}) ->
    Test = self(),
    Body = {stream, 100000, fun(Write) ->
                                ok = Write(<<0:(Size * 8)>>),
                                Test ! {source, self()},
                                receive die -> perish(Way) end
                            end},
    Client = eventually:worker(fun() ->
        process_flag(trap_exit, Trap),
        Result = run(Server, request(Target), Body),
        ok = eventually:silence(),
        Result
    end),
    receive {source, Source} -> {Client, Source} end.

perish(kill) ->
    exit(self(), kill);
perish(heap) ->
    length(lists:seq(1, 10000000));
perish(guard) ->
    {links, Linked} = process_info(self(), links),
    [exit(Process, kill) || Process <- Linked],
    for_ever().

die({Client, Source}) ->
    Start = erlang:monotonic_time(millisecond),
    Source ! die,
    [Result] = eventually:workers([Client], client),
    ?assert(erlang:monotonic_time(millisecond) - Start < ?AT_ONCE_MS),
    ?assertNot(is_process_alive(Source)),
    Result.

code({{ok, <<Code:3/binary, _/binary>>, close}, [{complete, _, _, _}]}) ->
    binary_to_integer(Code).

%% Connections

a_killed_holder_frees_its_slot(_) ->
    with(#{threads => 2, max_streaming => 1}, fun(Server) ->
        {First, _} = incomplete(Server),
        told([{reading, 1}]),
        Second = incomplete(Server),
        eventually:equal(#{requests => 2, streaming => 1}, fun() -> py_wsgi:info(Server) end),
        unlink(First),
        exit(First, kill),
        told([{failed, <<"BufferAborted">>, any}, {reading, 1}]),
        complete(Second),
        told([{read, 100000}])
    end).

%% It was given to it, but it has not looked yet.
a_killed_waiter_takes_no_slot(_) ->
    with(#{threads => 2, max_streaming => 1}, fun(Server) ->
        First = incomplete(Server),
        told([{reading, 1}]),
        {Second, _} = incomplete(Server),
        eventually:equal(#{requests => 2, streaming => 1}, fun() -> py_wsgi:info(Server) end),
        true = erlang:suspend_process(Second),
        complete(First),
        told([{read, 100000}]),
        unlink(Second),
        exit(Second, kill),
        a_slot_is_left(Server)
    end).

%% With a single scheduler a process is interrupted when its reductions are used up, and can be
%% killed there. Messages that it looks at in vain while it waits for its body use up some, so their
%% number decides where that is: on the way to a slot, and past it.
no_point_of_death_loses_a_slot(_) ->
    with(#{threads => 2, max_streaming => 1}, fun(Server) ->
        _ = erlang:system_flag(multi_scheduling, block_normal),
        try
            [dies_after(Messages, Server) || Messages <- lists:seq(3500, 4000)]
        after
            erlang:system_flag(multi_scheduling, unblock_normal)
        end,
        a_slot_is_left(Server)
    end).

dies_after(Messages, Server) ->
    {Client, Monitor} = spawn_monitor(fun() ->
        Me = self(),
        run(Server, request("/echo"), {stream, 100000, fun(Write) ->
            process_flag(priority, high),
            _ = [Me ! Message || Message <- lists:seq(1, Messages)],
            ok = Write(<<0:(70000 * 8)>>),
            process_flag(priority, normal),
            erlang:yield(),
            exit(Me, kill)
        end})
    end),
    receive {'DOWN', Monitor, process, Client, Reason} -> ?assertEqual(killed, Reason) end,
    eventually:equal(#{requests => 0, streaming => 0}, fun() -> py_wsgi:info(Server) end).

a_slot_is_left(Server) ->
    Last = incomplete(Server),
    told([{reading, 1}]),
    complete(Last),
    told([{read, 100000}]).
