%% SPDX-License-Identifier: Apache-2.0
%% WSGI without HTTP: bodies that come slowly, wrongly or not at all, limits, and ends.
-module(py_wsgi_limits_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(py_wsgi_case, [start/1, with/1, with/2, request/1, run/3, body/1, environ/3, stream/2,
                       source/2, paused/1, for_ever/0, open/1, told/1, closed/1,
                       incomplete/1, complete/1]).

-compile([export_all, nowarn_export_all]).

-define(WAIT_MS, 20000).

all() ->
    [{group, bodies}, {group, limits}, {group, stopping}, {group, threads}].

groups() ->
    [{bodies, [],
      [small_bodies_arrive, streamed_bodies_arrive, pieces_that_do_not_fit_together_arrive,
       chunked_bodies_have_a_known_length_if_complete,
       the_application_is_not_called_before_enough_is_there,
       a_slow_application_slows_the_source, a_body_shorter_than_announced_is_400,
       a_body_longer_than_announced_is_400, a_client_that_leaves_aborts_the_body,
       a_source_that_fails_aborts_the_body,
       an_unread_body_is_given_up, a_connection_survives_a_body_that_was_read]},
     {limits, [],
      [a_large_announced_body_is_413, a_large_chunked_body_is_413, many_headers_are_431,
       an_idle_body_is_408, a_body_that_takes_too_long_is_408,
       an_idle_body_that_is_being_read_aborts_the_reader, signs_of_life_count,
       a_full_queue_is_503, incomplete_bodies_wait_for_a_slot, waiting_for_a_slot_ends,
       dead_requests_do_not_count]},
     {stopping, [],
      [running_requests_are_waited_for, bodies_that_arrive_are_waited_for, grace_ends,
       code_that_does_not_end_is_left_behind, nothing_runs_is_503]},
     {threads, [],
      [requests_run_side_by_side, an_interrupted_request_is_500, a_killed_context_is_replaced,
       code_that_cannot_be_interrupted_is_given_up, a_server_that_dies_is_noticed]}].

init_per_suite(Config) ->
    py_wsgi_case:init_per_suite(Config).

end_per_suite(Config) ->
    py_wsgi_case:end_per_suite(Config).

init_per_testcase(_Case, Config) ->
    true = register(wsgi_test, self()),
    Config.

end_per_testcase(_Case, _Config) ->
    ok.

%% Bodies

small_bodies_arrive(_) ->
    with(fun(Server) ->
        [?assertEqual(Body, body(run(Server, request("/echo"), {complete, Body})))
         || Body <- [<<>>, <<"ascii">>, <<"ä"/utf8>>, <<255, 0>>, crypto:strong_rand_bytes(60000)]]
    end).

streamed_bodies_arrive(_) ->
    with(fun(Server) ->
        [begin
             Body = crypto:strong_rand_bytes(Size),
             ?assertEqual(Body, body(run(Server, request("/echo"), {stream, Length, source(Body,
                   Piece)})))
         end || Size <- [0, 1, 65535, 65536, 65537, 3000000], Piece <- [16384, 1000000],
                Length <- [Size, undefined]]
    end).

%% A second piece has no room before the application reads, and it is not called before there are
%% `prebuffer' bytes: which of both gives in?
pieces_that_do_not_fit_together_arrive(_) ->
    with(#{prebuffer => 65536, body_high_water => 65536}, fun(Server) ->
        Body = crypto:strong_rand_bytes(400000),
        [?assertEqual(Body, body(run(Server, request("/echo"),
                                     {stream, Length, source(Body, 40000)})))
         || Length <- [400000, undefined]]
    end).

chunked_bodies_have_a_known_length_if_complete(_) ->
    with(fun(Server) ->
        Environ = environ(Server, request("/env"), {stream, undefined, source(<<"12345">>, 2)}),
        ?assertMatch(#{<<"CONTENT_LENGTH">> := <<"5">>}, Environ)
    end).

the_application_is_not_called_before_enough_is_there(_) ->
    with(fun(Server) ->
        Test = self(),
        Client = eventually:worker(fun() -> run(Server, request("/reads"), {stream, 100000,
              paused(Test)}) end),
        Source = receive {paused, Pid} -> Pid end,
        Source ! {write, binary:copy(<<0>>, 65535)},
        receive {wrote, ok} -> ok end,
        ?assertEqual(#{requests => 0, streaming => 0}, py_wsgi:info(Server)),
        Source ! {write, <<0>>},
        receive {wrote, ok} -> ok end,
        told([{reading, 1}]),
        ?assertEqual(#{requests => 1, streaming => 1}, py_wsgi:info(Server)),
        Source ! {write, binary:copy(<<0>>, 100000 - 65536)},
        receive {wrote, ok} -> ok end,
        Source ! stop,
        told([{read, 100000}]),
        ?assertEqual([<<"100000">>], [body(R) || R <- eventually:workers([Client], client)]),
        ?assertEqual(#{requests => 0, streaming => 0}, py_wsgi:info(Server))
    end).

a_slow_application_slows_the_source(_) ->
    with(fun(Server) ->
        Counter = atomics:new(1, []),
        Piece = binary:copy(<<0>>, 32768),
        Source = fun(Write) ->
                     [begin ok = Write(Piece), atomics:add(Counter, 1, 1) end
                      || _ <- lists:seq(1, 100)],
                     ok
                 end,
        Client = eventually:worker(fun() ->
            run(Server, request("/gated_reader?slow"), {stream, 100 * 32768, Source})
        end),
        told([{entered, <<"slow">>}]),
        eventually:true(fun() -> atomics:get(Counter, 1) >= 8 end),
        receive after 100 -> ok end,  % sleep: nothing more may be written
        ?assert(atomics:get(Counter, 1) =< 10),
        open("slow"),
        ?assertEqual([<<"3276800">>], [body(R) || R <- eventually:workers([Client], client)])
    end).

a_body_shorter_than_announced_is_400(_) ->
    with(fun(Server) ->
        ?assertMatch({{ok, <<"400 Bad Request">>, close}, [_]},
                     run(Server, request("/reads"), {stream, 100, source(<<"short">>, 5)})),
        %% The application was called before that was known.
        ?assertMatch({{ok, <<"400 Bad Request">>, close}, [_]},
                     run(Server, request("/reads"), {stream, 100000, source(<<0:(70000 * 8)>>,
                           10000)})),
        told([{reading, 1}, {failed, <<"BodyTruncated">>, any}])
    end).

a_body_longer_than_announced_is_400(_) ->
    with(fun(Server) ->
        ?assertMatch({{ok, <<"400 Bad Request">>, close}, [_]},
                     run(Server, request("/reads"), {stream, 10, source(<<"much too long">>, 5)}))
    end).

a_client_that_leaves_aborts_the_body(_) ->
    with(fun(Server) ->
        Leaves = fun(Write) -> ok = Write(<<0:(70000 * 8)>>), {error, closed} end,
        ?assertMatch({{ok, <<"400 Bad Request">>, close}, [_]},
                     run(Server, request("/reads"), {stream, 100000, Leaves})),
        told([{reading, 1}, {failed, <<"BufferAborted">>, <<"disconnected">>}])
    end).

a_source_that_fails_aborts_the_body(_) ->
    with(fun(Server) ->
        [begin
             Fails = fun(Write) -> ok = Write(<<0:(70000 * 8)>>), Fail() end,
             ?assertMatch({{ok, <<"400 Bad Request">>, close}, [_]},
                          run(Server, request("/reads"), {stream, 100000, Fails})),
             told([{reading, 1}, {failed, <<"BufferAborted">>, <<"disconnected">>}])
         end || Fail <- [fun() -> exit({shutdown, recv_error}) end, fun() -> error(oops) end]]
    end).

an_unread_body_is_given_up(_) ->
    with(fun(Server) ->
        Test = self(),
        Source = fun(Write) ->
                     Test ! {source, self()},
                     Endless = fun Again() ->
                                   case Write(<<0:(10000 * 8)>>) of
                                       ok -> Again();
                                       {error, _} = Error -> Error
                                   end
                               end,
                     Endless()
                 end,
        {{ok, <<"200 OK">>, close}, [{complete, _, _, <<"unread">>}]} =
            run(Server, request("/unread"), {stream, 1 bsl 31, Source}),
        receive {source, Pid} -> ?assertNot(is_process_alive(Pid)) end
    end).

a_connection_survives_a_body_that_was_read(_) ->
    with(fun(Server) ->
        %% Also if the application has answered before the source has returned.
        Test = self(),
        Client = eventually:worker(fun() ->
            py_wsgi:handle(Server, request("/echo"), {stream, 70000, paused(Test)},
                           fun(Event) ->
                               is_last(Event) andalso (Test ! {answered, 1}),
                               ok
                           end)
        end),
        Source = receive {paused, Pid} -> Pid end,
        Source ! {write, binary:copy(<<"x">>, 70000)},
        receive {wrote, ok} -> ok end,
        told([{answered, 1}]),
        Source ! stop,
        ?assertEqual([{ok, <<"200 OK">>, keep_alive}], eventually:workers([Client], client)),
        [?assertMatch({{ok, <<"200 OK">>, keep_alive}, _},
                      run(Server, request("/echo"), stream(binary:copy(<<"x">>, 300000), 10000)))
         || _ <- lists:seq(1, 50)]
    end).

is_last({complete, _, _, _}) -> true;
is_last({data, Data}) -> byte_size(Data) =:= 70000 - 65536;
is_last(_) -> false.

%% Limits

a_large_announced_body_is_413(_) ->
    with(#{max_body => 1000}, fun(Server) ->
        Never = fun(_) -> error(started) end,
        [?assertMatch({{ok, <<"413 Content Too Large">>, close}, [{complete, _, _, _}]},
                      run(Server, request("/reads"), Body))
         || Body <- [{stream, 1001, Never}, {complete, binary:copy(<<0>>, 1001)}]],
        ?assertEqual(<<"1000">>, body(run(Server, request("/reads"), {complete, binary:copy(<<0>>,
              1000)}))),
        told([{reading, 1}, {read, 1000}])
    end).

a_large_chunked_body_is_413(_) ->
    with(#{max_body => 100000}, fun(Server) ->
        ?assertMatch({{ok, <<"413 Content Too Large">>, close}, [_]},
                     run(Server, request("/reads"), {stream, undefined, source(<<0:(200000 * 8)>>,
                           10000)})),
        told([{reading, 1}, {failed, <<"BufferAborted">>, <<"limit">>}])
    end).

many_headers_are_431(_) ->
    with(#{max_headers => 3}, fun(Server) ->
        Headers = fun(N) -> [{<<"A">>, <<"b">>} || _ <- lists:seq(1, N)] end,
        ?assertMatch({{ok, <<"431 ", _/binary>>, close}, [_]},
                     run(Server, (request("/env"))#{headers := Headers(4)}, none)),
        ?assertMatch({{ok, <<"200 OK">>, keep_alive}, [_]},
                     run(Server, (request("/env"))#{headers := Headers(3)}, none))
    end).

an_idle_body_is_408(_) ->
    with(#{idle_timeout => 50}, fun(Server) ->
        ?assertMatch({{ok, <<"408 Request Timeout">>, close}, [_]},
                     run(Server, request("/reads"), {stream, 100,
                           fun(Write) -> ok = Write(<<"a">>), for_ever() end}))
    end).

a_body_that_takes_too_long_is_408(_) ->
    with(#{idle_timeout => 10000, body_timeout => 100}, fun(Server) ->
        Drips = fun Drip(Write) ->
                    ok = Write(<<"a">>),
                    receive after 5 -> Drip(Write) end  % sleep: the client is slow
                end,
        ?assertMatch({{ok, <<"408 Request Timeout">>, close}, [_]},
                     run(Server, request("/reads"), {stream, 100000, Drips}))
    end).

an_idle_body_that_is_being_read_aborts_the_reader(_) ->
    with(#{idle_timeout => 100}, fun(Server) ->
        Stops = fun(Write) -> ok = Write(<<0:(70000 * 8)>>), for_ever() end,
        ?assertMatch({{ok, <<"408 Request Timeout">>, close}, [_]},
                     run(Server, request("/reads"), {stream, 100000, Stops})),
        told([{reading, 1}, {failed, <<"BufferAborted">>, <<"timeout">>}])
    end).

%% What has come in so far but is not a whole piece yet.
signs_of_life_count(_) ->
    with(#{idle_timeout => 50, body_timeout => 600}, fun(Server) ->
        Request = (request("/reads"))#{received => fun() -> erlang:unique_integer([monotonic]) end},
        Start = erlang:monotonic_time(millisecond),
        ?assertMatch({{ok, <<"408 Request Timeout">>, close}, [_]},
                     run(Server, Request, {stream, 100, fun(_) -> for_ever() end})),
        ?assert(erlang:monotonic_time(millisecond) - Start >= 600)
    end).

a_full_queue_is_503(_) ->
    with(#{threads => 1, max_queue => 1}, fun(Server) ->
        Running = [eventually:worker(fun() -> run(Server, request("/gated?full"), none) end)],
        told([{entered, <<"full">>}]),
        Queued = eventually:worker(fun() -> run(Server, request("/echo"), none) end),
        eventually:equal(2, fun() -> maps:get(requests, py_wsgi:info(Server)) end),
        ?assertMatch({{ok, <<"503 Service Unavailable">>, close}, [_]}, run(Server,
              request("/echo"), none)),
        open("full"),
        ?assertEqual([<<"gated">>, <<>>], [body(R) || R <- eventually:workers(Running ++ [Queued],
              clients)])
    end).

%% One runs, one waits, and one becomes complete while it waits.
incomplete_bodies_wait_for_a_slot(_) ->
    with(#{threads => 2, max_streaming => 1}, fun(Server) ->
        First = incomplete(Server),
        told([{reading, 1}]),
        Second = incomplete(Server),
        Third = incomplete(Server),
        eventually:equal(#{requests => 3, streaming => 1}, fun() -> py_wsgi:info(Server) end),
        %% Others still have a thread.
        ?assertEqual(<<"x">>, body(run(Server, request("/echo"), {complete, <<"x">>}))),
        complete(Third),
        told([{reading, 1}, {read, 100000}]),
        complete(First),
        told([{read, 100000}, {reading, 1}]),
        complete(Second),
        told([{read, 100000}])
    end).

waiting_for_a_slot_ends(_) ->
    with(#{threads => 2, max_streaming => 1, queue_timeout => 50}, fun(Server) ->
        First = incomplete(Server),
        told([{reading, 1}]),
        Large = {stream, 100000, fun(Write) -> ok = Write(<<0:(70000 * 8)>>), for_ever() end},
        ?assertMatch({{ok, <<"503 Service Unavailable">>, close}, [_]},
                     run(Server, request("/reads"), Large)),
        %% The holder of the slot is killed: the next one that waits in vain finds that out.
        {Client, _} = First,
        unlink(Client),
        exit(Client, kill),
        told([{failed, <<"BufferAborted">>, any}]),
        eventually:equal(#{requests => 0, streaming => 0}, fun() -> py_wsgi:info(Server) end),
        Last = incomplete(Server),
        told([{reading, 1}]),
        complete(Last),
        told([{read, 100000}])
    end).

dead_requests_do_not_count(_) ->
    with(#{threads => 1, max_queue => 0}, fun(Server) ->
        [begin
             Client = spawn(fun() -> run(Server, request("/gated?dead"), none) end),
             told([{entered, <<"dead">>}]),
             exit(Client, kill),
             open("dead")
         end || _ <- [1, 2, 3]],
        ?assertEqual(<<"x">>, body(run(Server, request("/echo"), {complete, <<"x">>})))
    end).

%% Stopping

running_requests_are_waited_for(_) ->
    Server = start(#{threads => 2}),
    Client = eventually:worker(fun() -> run(Server, request("/gated?stopping"), none) end),
    told([{entered, <<"stopping">>}]),
    Stopping = eventually:worker(fun() -> py_wsgi:stop(Server, ?WAIT_MS) end),
    eventually:true(fun() ->
        case run(Server, request("/echo"), none) of
            {{ok, <<"503 Service Unavailable">>, close}, _} -> true;
            Other -> Other
        end
    end),
    open("stopping"),
    ?assertMatch([ok, {{ok, <<"200 OK">>, keep_alive}, _}], eventually:workers([Stopping, Client],
          both)).

bodies_that_arrive_are_waited_for(_) ->
    Server = start(#{threads => 2}),
    Test = self(),
    Client = eventually:worker(fun() ->
        run(Server, request("/echo"), {stream, 3, paused(Test)})
    end),
    Source = receive {paused, Pid} -> Pid end,
    Stopping = eventually:worker(fun() -> py_wsgi:stop(Server, ?WAIT_MS) end),
    eventually:true(fun() ->
        case run(Server, request("/echo"), none) of
            {{ok, <<"503 Service Unavailable">>, close}, _} -> true;
            Other -> Other
        end
    end),
    Source ! {write, <<"abc">>},
    receive {wrote, ok} -> ok end,
    Source ! stop,
    [ok, Answer] = eventually:workers([Stopping, Client], both),
    ?assertEqual(<<"abc">>, body(Answer)).

grace_ends(_) ->
    Server = start(#{threads => 2}),
    Client = eventually:worker(fun() -> run(Server, request("/gated?never"), none) end),
    told([{entered, <<"never">>}]),
    ok = py_wsgi:stop(Server, 50),
    [{Outcome, _}] = eventually:workers([Client], client),
    ?assert(case Outcome of {ok, <<"50", _/binary>>, _} -> true; _ -> Outcome end).

code_that_does_not_end_is_left_behind(_) ->
    Server = start(#{threads => 1}),
    Client = eventually:worker(fun() -> run(Server, request("/stuck?behind"), none) end),
    told([{entered, <<"stuck">>}]),
    ok = py_wsgi:stop(Server, 0),
    ?assertMatch([{{ok, <<"503 Service Unavailable">>, close}, _}],
                 eventually:workers([Client], client)),
    ?assertEqual({ok, false}, left("behind")).

left(Name) ->
    py:eval(<<"name in __import__('wsgi_cases').left">>, #{name => list_to_binary(Name)}).

nothing_runs_is_503(_) ->
    Server = start(#{}),
    ok = py_wsgi:stop(Server),
    ?assertMatch({{ok, <<"503 Service Unavailable">>, close}, _}, run(Server, request("/echo"),
          none)),
    ?assertMatch({{ok, <<"503 Service Unavailable">>, close}, _}, run(nosuch_server,
          request("/echo"), none)).

%% Threads

requests_run_side_by_side(_) ->
    with(#{threads => 4}, fun(Server) ->
        Clients = [eventually:worker(fun() -> run(Server, request("/gated?side" ++ [N]), none) end)
                   || N <- "1234"],
        told([{entered, <<"side", N>>} || N <- "1234"]),
        [open("side" ++ [N]) || N <- "1234"],
        ?assertEqual([<<"gated">>], lists:usort([body(R) || R <- eventually:workers(Clients, c)]))
    end).

an_interrupted_request_is_500(_) ->
    with(#{threads => 1}, fun(Server) ->
        Client = eventually:worker(fun() -> run(Server, request("/gated?interrupted"), none) end),
        told([{entered, <<"interrupted">>}]),
        {ok, Context} = py_context:at({Server, 1}),
        ok = py:interrupt(Context),
        [?assertMatch({{ok, <<"500", _/binary>>, _}, _}, R) || R <- eventually:workers([Client],
              c)],
        ?assertEqual(<<"x">>, body(run(Server, request("/echo"), {complete, <<"x">>})))
    end).

a_killed_context_is_replaced(_) ->
    with(#{threads => 1}, fun(Server) ->
        [begin
             Client = eventually:worker(fun() -> run(Server, request(Target), none) end),
             told([{entered, Gate}]),
             {ok, Context} = py_context:at({Server, 1}),
             exit(Context, kill),
             [{Outcome, _}] = eventually:workers([Client], client),
             ?assert(case Outcome of
                         {ok, <<"500", _/binary>>, _} -> Target =:= "/gated?killed";
                         {error, {application, closed}} -> Target =:= "/gated_blocks?killed2"
                     end),
             ?assertEqual(<<"x">>, body(run(Server, request("/echo"), {complete, <<"x">>})))
         end || {Target, Gate} <- [{"/gated?killed", <<"killed">>},
                                   {"/gated_blocks?killed2", <<"killed2">>}]],
        closed(1)
    end).

code_that_cannot_be_interrupted_is_given_up(_) ->
    with(#{threads => 1}, fun(Server) ->
        Client = eventually:worker(fun() -> run(Server, request("/stuck?given_up"), none) end),
        told([{entered, <<"stuck">>}]),
        {ok, Context} = py_context:at({Server, 1}),
        exit(Context, kill),
        ?assertMatch([{{ok, <<"500", _/binary>>, _}, _}], eventually:workers([Client], client)),
        %% Before the old thread is free.
        ?assertEqual(<<"x">>, body(run(Server, request("/echo"), {complete, <<"x">>}))),
        ?assertEqual({ok, false}, left("given_up"))
    end).

a_server_that_dies_is_noticed(_) ->
    process_flag(trap_exit, true),
    Server = start(#{threads => 1}),
    Client = eventually:worker(fun() -> run(Server, request("/gated?dies"), none) end),
    told([{entered, <<"dies">>}]),
    exit(Server, kill),
    [{Outcome, _}] = eventually:workers([Client], client),
    ?assert(case Outcome of {ok, <<"50", _/binary>>, _} -> true; _ -> Outcome end),
    %% Its settings have survived it.
    ?assertMatch({{ok, <<"503 Service Unavailable">>, close}, _}, run(Server, request("/echo"),
          none)),
    ?assertEqual({error, not_running}, py_wsgi:info(Server)).
