%% SPDX-License-Identifier: Apache-2.0
%% Channels that contexts in processes of their own share with the VM and with each other.
-module(py_shared_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-define(CASES, shared_cases).
-define(TIMEOUT, 30_000).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, messages}, {group, handles}, {group, ends}, nothing_is_left].

groups() ->
    [{messages, [],
      [terms_cross, bytes_cross, a_loop_receives, everybody_waits_for_messages,
       everybody_waits_for_room, two_workers_without_erlang, workers_share_the_work,
       large_messages, read_in_place, options]},
     {handles, [],
      [a_channel_comes_back_as_itself, a_channel_is_kept_by_whoever_has_it, unshared_is_refused,
       a_refused_call_keeps_nothing, a_worker_forks, many_channels]},
     {ends, [],
      [closing_ends_everybody, the_last_sender_goes, a_killed_sender, a_killed_receiver,
       a_killed_reader, kills_at_any_moment, a_stopped_receiver, more_workers_than_numbers,
       it_scribbles]}].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_process_case:prepare(Config),
    [{counters, py_nif:debug_counters()}, {fds, py_process_case:fds()},
     {maps, py_process_case:maps()} | Config].

end_per_suite(Config) ->
    eventually:counters_return_to(?config(counters, Config)),
    ok = application:stop(penstock).

init_per_testcase(_Case, Config) ->
    Config.

end_per_testcase(_Case, _Config) ->
    py_process_case:end_of_case().

%% Messages

terms_cross(Config) ->
    Context = new(Config),
    [Source, Target] = channels(2),
    Echo = in_background(Context, echo, [Source, Target]),
    Terms = [1, -7, 1 bsl 200, 2.5, <<"text">>, <<255, 0>>, [], [1, [2]], {}, {3, 4}, #{1 => 2},
             true, false, none, self(), make_ref(), binary:copy(<<"x">>, 200_000)],
    [begin
         ok = py_channel:send(Source, Term),
         ?assertEqual({ok, Term}, py_channel:recv(Target, ?TIMEOUT))
     end || Term <- Terms],
    %% A string comes back as Python sends strings.
    ok = py_channel:send(Source, an_atom),
    ?assertEqual({ok, <<"an_atom">>}, py_channel:recv(Target, ?TIMEOUT)),
    ok = py_channel:close(Source),
    ?assertEqual({ok, length(Terms) + 1}, result(Echo)).

bytes_cross(Config) ->
    Context = new(Config),
    {ok, Source} = py_byte_channel:new(#{shared => true, max_size => 1 bsl 20}),
    {ok, Target} = py_byte_channel:new(#{shared => true, max_size => 1 bsl 20}),
    Echo = in_background(Context, echo_bytes, [Source, Target]),
    Pieces = [binary:copy(<<N>>, Size) || {N, Size} <- [{1, 0}, {2, 1}, {3, 64}, {4, 5000},
                                                         {5, 65536}, {6, 65537}, {7, 1 bsl 20}]],
    [begin
         ok = py_byte_channel:send(Source, Piece, ?TIMEOUT),
         ?assertEqual({ok, Piece}, py_byte_channel:recv(Target, ?TIMEOUT))
     end || Piece <- Pieces],
    ok = py_byte_channel:send_many(Source, lists:duplicate(100, <<"many">>), ?TIMEOUT),
    [{ok, <<"many">>} = py_byte_channel:recv(Target, ?TIMEOUT) || _ <- lists:seq(1, 100)],
    ok = py_byte_channel:close(Source),
    ?assertEqual({ok, length(Pieces) + 100}, result(Echo)).

a_loop_receives(Config) ->
    Context = new(Config),
    [Source] = channels(1),
    All = in_background(Context, receive_all_on_loop, [Source]),
    [begin
         eventually:equal({1, 0}, fun() -> py_nif:debug_waiting(Source) end),
         ok = py_channel:send(Source, N)
     end || N <- lists:seq(1, 20)],
    ok = py_channel:close(Source),
    ?assertEqual({ok, lists:seq(1, 20)}, result(All)).

%% A thread of the VM's, one of a worker's, and a process of Erlang's: each gets one.
everybody_waits_for_messages(Config) ->
    First = new(Config),
    Second = new(Config),
    [Source] = channels(1),
    Waiting = [in_background(First, receive_one, [Source]),
               in_background(Second, receive_one, [Source]),
               in_background(py:context(1), receive_one, [Source]),
               eventually:worker(fun() -> py_channel:recv(Source, ?TIMEOUT) end)],
    %% Two here, and two processes.
    eventually:equal({4, 0}, fun() -> py_nif:debug_waiting(Source) end),
    [ok = py_channel:send(Source, N) || N <- [1, 2, 3, 4]],
    ?assertEqual([{ok, 1}, {ok, 2}, {ok, 3}, {ok, 4}],
                 lists:sort([result(Each) || Each <- Waiting])).

everybody_waits_for_room(Config) ->
    Context = new(Config),
    {ok, Target} = py_channel:new(#{shared => true, max_size => 1024}),
    Count = fill(Target, 0),
    Worker = in_background(Context, send_all, [Target, 1000, 50]),
    Erlang = eventually:worker(fun() ->
                                   [ok = py_channel:send(Target, N, ?TIMEOUT)
                                    || N <- lists:seq(2000, 2049)],
                                   50
                               end),
    eventually:equal({0, 2}, fun() -> py_nif:debug_waiting(Target) end),
    Numbers = [element(2, {ok, _} = py_channel:recv(Target, ?TIMEOUT))
               || _ <- lists:seq(1, Count + 100)],
    ?assertEqual({ok, 50}, result(Worker)),
    ?assertEqual(50, result(Erlang)),
    {Early, Late} = lists:split(Count, Numbers),
    ?assertEqual(lists:seq(0, Count - 1), Early),
    ?assertEqual({lists:seq(1000, 1049), lists:seq(2000, 2049)},
                 lists:partition(fun(N) -> N < 2000 end, Late)).

fill(Channel, Count) ->
    case py_channel:send(Channel, Count) of
        ok -> fill(Channel, Count + 1);
        busy -> Count
    end.

two_workers_without_erlang(Config) ->
    First = new(Config),
    Second = new(Config),
    [Between] = channels(1),
    Receiving = in_background(Second, receive_all, [Between]),
    {ok, 20000} = py:call(First, ?CASES, send_all, [Between, 1, 20000]),
    ok = py_channel:close(Between),
    ?assertEqual({ok, lists:seq(1, 20000)}, result(Receiving)).

%% Each message goes to one of them, in the order of its sender.
workers_share_the_work(Config) ->
    Workers = [new(Config) || _ <- [1, 2, 3]],
    [Work] = channels(1),
    Receiving = [in_background(Worker, receive_all, [Work]) || Worker <- Workers],
    Sending = [in_background(Context, send_all, [Work, First, 5000])
               || {Context, First} <- [{new(Config), 10000}, {py:context(1), 20000}]],
    [ok = py_channel:send(Work, N, ?TIMEOUT) || N <- lists:seq(1, 5000)],
    [{ok, 5000} = result(Each) || Each <- Sending],
    ok = py_channel:close(Work),
    Received = [element(2, {ok, _} = result(Each)) || Each <- Receiving],
    [?assertEqual(lists:sort(Of), Of) || Numbers <- Received, Low <- [0, 10000, 20000],
                                         Of <- [[N || N <- Numbers, N >= Low, N < Low + 10000]]],
    ?assertEqual(lists:seq(1, 5000) ++ lists:seq(10000, 14999) ++ lists:seq(20000, 24999),
                 lists:sort(lists:append(Received))).

large_messages(Config) ->
    Context = new(Config),
    {ok, Source} = py_channel:new(#{shared => true, max_size => 4_000_000}),
    {ok, Target} = py_channel:new(#{shared => true, max_size => 4_000_000}),
    Echo = in_background(Context, echo, [Source, Target]),
    Sizes = [65_500, 65_550, 131_072, 1_000_000, 3_999_900, 10, 2_000_000],
    [begin
         Term = {Size, crypto:strong_rand_bytes(Size)},
         ok = py_channel:send(Source, Term, ?TIMEOUT),
         ?assertEqual({ok, Term}, py_channel:recv(Target, ?TIMEOUT))
     end || Size <- Sizes],
    ?assertEqual({error, too_large}, py_channel:send(Source, binary:copy(<<"x">>, 4_000_001))),
    ok = py_channel:close(Source),
    ?assertEqual({ok, length(Sizes)}, result(Echo)).

read_in_place(Config) ->
    Context = new(Config),
    {ok, Source} = py_byte_channel:new(#{shared => true, max_size => 1 bsl 20}),
    [begin
         Bytes = rand:bytes(Size),
         ok = py_byte_channel:send(Source, Bytes),
         {ok, Size} = py:call(Context, ?CASES, Function, [Source]),
         %% Its room is kept until it is released, if it was not copied.
         #{size := Kept} = py_byte_channel:info(Source),
         ?assertEqual(IsInPlace, Kept > 0),
         ?assertEqual({ok, crypto:hash(sha256, Bytes)}, py:call(Context, ?CASES, hash_kept, [])),
         {ok, none} = py:call(Context, ?CASES, release_kept, []),
         ?assertMatch(#{size := 0}, py_byte_channel:info(Source))
     end || {Size, IsInPlace} <- [{100, false}, {10_000, true}, {70_000, true}, {1_000_000, true}],
            Function <- [keep_in_place, keep_in_place_on_loop]],
    %% In the VM, and of channels that are not shared, it changes nothing.
    {ok, Other} = py_byte_channel:new(),
    [begin
         ok = py_byte_channel:send(Each, binary:copy(<<"z">>, 20_000)),
         {ok, 20_000} = py:call(py:context(1), ?CASES, keep_in_place, [Each]),
         ?assertMatch(#{size := 0}, py_byte_channel:info(Each)),
         {ok, none} = py:call(py:context(1), ?CASES, release_kept, [])
     end || Each <- [Source, Other]].

options(_Config) ->
    [?assertError(badarg, Module:new(Opts))
     || Module <- [py_channel, py_byte_channel],
        Opts <- [#{shared => yes}, #{shared => true, max_size => -1},
                 #{shared => true, max_size => 16 * 1024 * 1024 + 1}]],
    {ok, Channel} = py_channel:new(#{shared => true}),
    ?assertEqual(#{size => 0, max_size => 1 bsl 18, closed => false}, py_channel:info(Channel)),
    ok = py_channel:send(Channel, hello),
    ?assertEqual(#{size => 64, max_size => 1 bsl 18, closed => false}, py_channel:info(Channel)),
    ok = py_channel:close(Channel),
    ?assertMatch(#{closed := true}, py_channel:info(Channel)),
    ?assertEqual({error, closed}, py_channel:send(Channel, more)),
    ?assertEqual({ok, hello}, py_channel:recv(Channel)),
    ?assertEqual({error, closed}, py_channel:recv(Channel)),
    {ok, Plain} = py_channel:new(#{shared => false}),
    ?assertEqual(0, maps:get(max_size, py_channel:info(Plain))).

%% Handles

a_channel_comes_back_as_itself(Config) ->
    Context = new(Config),
    [Channel] = channels(1),
    {ok, Bytes} = py_byte_channel:new(#{shared => true}),
    ?assertEqual({ok, [Channel, Bytes, Channel]},
                 py:call(Context, ?CASES, same, [[Channel, Bytes, Channel]])),
    {ok, none} = py:call(Context, erlang, send, [self(), {here, Channel}]),
    receive {<<"here">>, Again} -> ?assertEqual(Channel, Again) end,
    ok = py:register_function(shared_same, fun([X]) -> X end),
    ?assertEqual({ok, Channel}, py:call(Context, erlang, call, [shared_same, Channel])),
    ok = py:unregister_function(shared_same).

%% Its memory goes when nobody refers to it any more, here or there.
a_channel_is_kept_by_whoever_has_it(Config) ->
    Context = new(Config),
    {ok, Before} = py:call(Context, ?CASES, mappings, []),
    Files = py_process_case:fds(),
    ok = elsewhere(fun() ->
        [Channel] = channels(1),
        [{ok, none} = py:call(Context, ?CASES, keep, [Channel]) || _ <- [1, 2, 3]],
        ok = py_channel:send(Channel, 1),
        {ok, More} = py:call(Context, ?CASES, mappings, []),
        ?assertEqual(Before + 1, More),
        ok
    end),
    ?assertNotEqual(Files, py_process_case:fds()),
    {ok, none} = py:call(Context, ?CASES, drop, []),
    eventually:equal({ok, Before}, fun() -> py:call(Context, ?CASES, mappings, []) end),
    eventually:equal(Files, fun py_process_case:fds/0),
    [Other] = channels(1),
    [?assertEqual({ok, Other}, py:call(Context, ?CASES, same, [Other])) || _ <- lists:seq(1, 200)].

unshared_is_refused(Config) ->
    Context = new(Config),
    [Shared] = channels(1),
    {ok, Plain} = py_channel:new(),
    ?assertEqual({error, not_shared}, py:call(Context, ?CASES, keep, [Plain])),
    ?assertEqual({error, not_shared}, py_channel:send(Shared, Plain)),
    ?assertEqual({error, not_shared}, py_channel:send(Shared, Plain, 100)),
    {ok, Text} = py:call(py:context(1), ?CASES, send_channel, [Shared, Plain]),
    ?assertNotEqual(nomatch, string:find(Text, "shared => true")),
    {ok, Same} = py:call(Context, ?CASES, send_channel, [Shared, Shared]),
    ?assertEqual(Text, Same).

%% Nothing is kept of what was on its way with something that cannot be sent.
a_refused_call_keeps_nothing(Config) ->
    Context = new(Config),
    {ok, Before} = py:call(Context, ?CASES, mappings, []),
    Files = py_process_case:fds(),
    ok = elsewhere(fun() ->
        [New] = channels(1),
        {ok, Plain} = py_channel:new(),
        ?assertEqual({error, not_shared}, py:call(Context, ?CASES, keep, [[New, New, Plain]])),
        ok
    end),
    eventually:equal(Files, fun py_process_case:fds/0),
    [Other] = channels(1),
    ?assertEqual({ok, Other}, py:call(Context, ?CASES, same, [Other])),
    eventually:equal({ok, Before}, fun() -> py:call(Context, ?CASES, mappings, []) end).

%% A child of a worker has none of the memory, and ends as others do.
a_worker_forks(Config) ->
    Context = new(Config),
    [Channel] = channels(1),
    ?assertEqual({ok, 7}, py:call(Context, ?CASES, fork_and_use, [Channel])),
    ok = py_channel:send(Channel, still),
    ?assertEqual({ok, <<"still">>}, py:call(Context, ?CASES, receive_one, [Channel])).

many_channels(Config) ->
    Context = new(Config),
    Channels = [element(2, {ok, _} = py_channel:new(#{shared => true, max_size => 100}))
                || _ <- lists:seq(1, 100)],
    {ok, none} = py:call(Context, ?CASES, keep, [Channels]),
    [Source, Target] = channels(2),
    Echo = in_background(Context, echo, [Source, Target]),
    [begin
         ok = py_channel:send(Source, N),
         {ok, N} = py_channel:recv(Target, ?TIMEOUT)
     end || N <- lists:seq(1, 100)],
    ok = py_channel:close(Source),
    ?assertEqual({ok, 100}, result(Echo)).

%% Ends

closing_ends_everybody(Config) ->
    Contexts = [new(Config), new(Config), py:context(1)],
    [Source] = channels(1),
    Receiving = [in_background(Context, receive_all, [Source]) || Context <- Contexts]
        ++ [eventually:worker(fun() -> py_channel:recv(Source, ?TIMEOUT) end)],
    eventually:equal({4, 0}, fun() -> py_nif:debug_waiting(Source) end),
    ok = py_channel:close(Source),
    ?assertEqual([{ok, []}, {ok, []}, {ok, []}, {error, closed}],
                 [result(Each) || Each <- Receiving]).

the_last_sender_goes(Config) ->
    Sender = new(Config),
    Receiver = new(Config),
    Test = self(),
    ok = elsewhere(fun() ->
        [Between] = channels(1),
        spawn(fun() ->
                  Call = py_case:caller(Receiver, ?CASES, receive_all, [Between]),
                  Test ! {all, Call()}
              end),
        eventually:equal({1, 0}, fun() -> py_nif:debug_waiting(Between) end),
        {ok, none} = py:call(Sender, ?CASES, send_and_end, [Between]),
        %% Erlang could send for as long as that.
        #{closed := false} = py_channel:info(Between),
        ok
    end),
    eventually:true(fun() ->
                        [erlang:garbage_collect(Process) || Process <- processes()],
                        receive {all, All} -> All =:= {ok, [<<"last">>]} orelse All
                        after 0 -> waiting
                        end
                    end).

%% What it sent came, each message whole and in order, and the others go on.
a_killed_sender(Config) ->
    {ok, Target} = py_channel:new(#{shared => true, max_size => 4096}),
    Receiver = new(Config),
    [begin
         Sender = new(Config),
         {ok, Pid} = py_context:os_pid(Sender),
         Sending = in_background(Sender, send_for_ever, [Target, 3000]),
         Some = take(Target, 200 + rand:uniform(200)),
         py_process_case:kill(Pid),
         {error, {worker_down, {signal, 9}}} = result(Sending),
         %% The message of a living one comes behind all of the dead one's.
         Alive = in_background(Receiver, send_all, [Target, 1, 1]),
         Rest = take_until(Target, 1),
         {ok, 1} = result(Alive),
         Numbers = [N || {Of, N, _} <- Some ++ Rest, Of =:= Pid],
         ?assertEqual(lists:seq(0, length(Numbers) - 1), Numbers)
     end || _ <- lists:seq(1, 10)].

take(Target, Count) ->
    [element(2, {ok, _} = py_channel:recv(Target, ?TIMEOUT)) || _ <- lists:seq(1, Count)].

take_until(Target, Last) ->
    case py_channel:recv(Target, ?TIMEOUT) of
        {ok, Last} -> [];
        {ok, Other} -> [Other | take_until(Target, Last)]
    end.

a_killed_receiver(Config) ->
    {ok, Source} = py_channel:new(#{shared => true, max_size => 4096}),
    [begin
         Receiver = new(Config),
         {ok, Pid} = py_context:os_pid(Receiver),
         Receiving = in_background(Receiver, take_for_ever, [Source]),
         [ok = py_channel:send(Source, {N, binary:copy(<<"x">>, 2000)}, ?TIMEOUT)
          || N <- lists:seq(1, 100 + rand:uniform(100))],
         py_process_case:kill(Pid),
         {error, {worker_down, {signal, 9}}} = result(Receiving),
         %% Somebody else takes what it left.
         Other = new(Config),
         Last = in_background(Other, receive_all, [Source]),
         ok = py_channel:send(Source, last, ?TIMEOUT),
         eventually:equal(0, fun() -> maps:get(size, py_channel:info(Source)) end),
         ok = py_context:stop(Other),
         {error, _} = result(Last)
     end || _ <- lists:seq(1, 5)].

%% What it read in place was room that somebody waits for.
a_killed_reader(Config) ->
    {ok, Source} = py_byte_channel:new(#{shared => true, max_size => 65536}),
    [begin
         Reader = new(Config),
         {ok, Pid} = py_context:os_pid(Reader),
         ok = py_byte_channel:send(Source, binary:copy(<<"x">>, 60_000), ?TIMEOUT),
         {ok, 60_000} = py:call(Reader, ?CASES, Function, [Source]),
         fill(Source),
         Last = binary:copy(<<"z">>, 1000),
         Sending = eventually:worker(fun() -> py_byte_channel:send(Source, Last, ?TIMEOUT) end),
         eventually:equal({0, 1}, fun() -> py_nif:debug_waiting(Source) end),
         py_process_case:kill(Pid),
         ok = result(Sending),
         {ok, Last} = py_byte_channel:recv(Source, ?TIMEOUT)
     end || Function <- [keep_in_place, keep_in_place_on_loop]].

%% Until there is no room although nothing is queued.
fill(Source) ->
    case py_byte_channel:send(Source, binary:copy(<<"y">>, 1000)) of
        ok -> {ok, _} = py_byte_channel:recv(Source, 0), fill(Source);
        busy -> ok
    end.

kills_at_any_moment(Config) ->
    {ok, Channel} = py_channel:new(#{shared => true, max_size => 4096}),
    Survivor = new(Config),
    _ = in_background(Survivor, take_for_ever, [Channel]),
    [begin
         Contexts = [new(Config), new(Config)],
         Pids = [element(2, py_context:os_pid(Context)) || Context <- Contexts],
         Busy = [in_background(Context, Function, Args)
                 || Context <- Contexts,
                    {Function, Args} <- [{send_for_ever, [Channel, 2000]}]],
         Taking = [in_background(Context, take_for_ever, [Channel]) || Context <- Contexts],
         receive after rand:uniform(60) -> ok end,  % sleep: the moment
         [py_process_case:kill(Pid) || Pid <- Pids],
         [{error, _} = result(Each) || Each <- Busy ++ Taking]
     end || _ <- lists:seq(1, 8)],
    [ok = py_channel:send(Channel, N, ?TIMEOUT) || N <- lists:seq(1, 2000)],
    eventually:equal(0, fun() -> maps:get(size, py_channel:info(Channel)) end).

%% One that is stopped while it takes a message keeps the others waiting, and nothing is lost.
a_stopped_receiver(Config) ->
    Context = new(Config),
    {ok, Pid} = py_context:os_pid(Context),
    [Source] = channels(1),
    Receiving = in_background(Context, receive_all, [Source]),
    [begin
         [ok = py_channel:send(Source, {Turn, N}, ?TIMEOUT) || N <- lists:seq(1, 1000)],
         py_process_case:signal("STOP", Pid),
         [ok = py_channel:send(Source, {Turn, N}, ?TIMEOUT) || N <- lists:seq(1001, 1010)],
         py_process_case:signal("CONT", Pid)
     end || Turn <- lists:seq(1, 20)],
    ok = py_channel:close(Source),
    {ok, All} = result(Receiving),
    ?assertEqual([{Turn, N} || Turn <- lists:seq(1, 20), N <- lists:seq(1, 1010)], All).

%% Each that ends gives its number back.
%% With ThreadSanitizer a worker takes more than a second to start.
more_workers_than_numbers(Config) ->
    case py_process_case:has_tsan() of
        false -> workers_one_after_the_other(Config);
        true -> {skip, "70 workers with ThreadSanitizer"}
    end.

workers_one_after_the_other(Config) ->
    [begin
         Context = new(Config),
         [Channel] = channels(1),
         ?assertEqual({ok, Channel}, py:call(Context, ?CASES, same, [Channel])),
         ok = py_context:stop(Context)
     end || _ <- lists:seq(1, 70)].

%% A worker that writes anything into a channel spoils that channel, and nothing else.
it_scribbles(Config) ->
    [begin
         Context = new(Config),
         {ok, Channel} = py_channel:new(#{shared => true, max_size => 1024}),
         {ok, _} = py:call(Context, ?CASES, scribble, [Channel, Seed]),
         [begin
              _ = py_channel:send(Channel, {N, binary:copy(<<"x">>, N)}),
              _ = py_channel:try_receive(Channel),
              _ = py_channel:recv(Channel, 0),
              _ = py_channel:info(Channel)
          end || N <- lists:seq(1, 800)],
         Waiting = [eventually:worker(fun() -> py_channel:recv(Channel, 50) end)
                    || _ <- lists:seq(1, 3)],
         [result(Each) || Each <- Waiting],
         py_context:stop(Context),
         ok = py_channel:close(Channel),
         ?assertEqual({ok, 1}, py:call(py:context(1), ?CASES, same, [1]))
     end || Seed <- lists:seq(1, 5)].

nothing_is_left(Config) ->
    eventually:equal([], fun py_process_case:workers/0),
    eventually:true(fun() ->
                        [erlang:garbage_collect(Process) || Process <- processes()],
                        py_process_case:fds() =:= ?config(fds, Config)
                            orelse py_process_case:fds()
                    end),
    eventually:equal(?config(maps, Config), fun py_process_case:maps/0).

%% Helpers

new(Config) ->
    py_process_case:new(Config).

channels(Count) ->
    [element(2, {ok, _} = py_channel:new(#{shared => true})) || _ <- lists:seq(1, Count)].

%% In a process whose references go with it.
elsewhere(Function) ->
    result(eventually:worker(Function)).

in_background(Context, Function, Args) ->
    eventually:worker(fun() -> py:call(Context, ?CASES, Function, Args) end).

result(Worker) ->
    receive {worker, Worker, Result} -> Result
    after ?TIMEOUT -> error({no_result, Worker})
    end.
