%% SPDX-License-Identifier: Apache-2.0
%% Byte channels, seen from Erlang, and with Python at the other end. What they share with channels
%% of terms (waiting in line, deaths) is tested in py_channel_SUITE.
-module(py_byte_channel_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-define(LARGE, 100000).

all() ->
    [{group, alone}, {group, python}].

groups() ->
    [{alone, [parallel],
      [new_takes_the_options_of_channels, only_binaries_are_sent,
       what_is_not_a_byte_channel_is_invalid_channel, boundaries_and_empty_messages_are_kept,
       size_is_exactly_the_payload, a_binary_that_circulates_stays_one,
       a_small_part_of_a_large_binary_is_copied,
       recv_times_out_and_leaves_no_message,
       recv_waits_for_a_message, send_waits_for_room, send_many_returns_what_did_not_fit,
       send_many_waits_for_room, long_batches_pass, receive_many_takes_what_is_there,
       receive_many_waits_for_the_first, a_dead_waiter_loses_no_message,
       closing_wakes_and_keeps_what_is_queued, callbacks_are_registered_by_name]},
     {python, [],
      [a_large_binary_is_not_copied, bytes_cross_both_ways, python_iterates_until_closed,
       coroutines_share_a_channel,
       a_view_pins_until_it_goes, bytes_of_python_are_not_copied,
       thousand_slices_of_large_messages_pin_little, the_last_sender_goes,
       an_interrupt_ends_a_receive, a_channel_travels]}].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_case:add_path(Config),
    [{counters, py_nif:debug_counters()} | Config].

end_per_suite(Config) ->
    eventually:counters_return_to(?config(counters, Config)),
    ok = application:stop(penstock).

%% Alone

new_takes_the_options_of_channels(_) ->
    {ok, Channel} = made:byte_channel(#{max_size => 10, colour => blue}),
    ?assertEqual(#{size => 0, max_size => 10, closed => false, pinned => 0},
                 py_byte_channel:info(Channel)),
    [?assertError(badarg, made:byte_channel(Bad))
     || Bad <- [#{max_size => -1}, #{max_size => infinity}, [], 10]].

only_binaries_are_sent(_) ->
    {ok, Channel} = made:byte_channel(),
    [begin
         ?assertError(badarg, py_byte_channel:send(Channel, Bad)),
         ?assertError(badarg, py_byte_channel:send(Channel, Bad, 10)),
         ?assertError(badarg, py_byte_channel:send_many(Channel, [Bad]))
     end || Bad <- ["iolist", [<<"iolist">>], <<1:7>>, foo, 17, {bytes, <<"x">>}]],
    ?assertError(badarg, py_byte_channel:recv(Channel, -1)),
    ?assertError(badarg, py_byte_channel:receive_many(Channel, 0)).

what_is_not_a_byte_channel_is_invalid_channel(_) ->
    {ok, OfTerms} = made:channel(),
    {ok, OfBytes} = made:byte_channel(),
    Invalid = {error, invalid_channel},
    [begin
         ?assertEqual(Invalid, py_byte_channel:send(Bad, <<"x">>)),
         ?assertEqual(Invalid, py_byte_channel:send(Bad, <<"x">>, 10)),
         ?assertEqual(Invalid, py_byte_channel:send_many(Bad, [<<"x">>])),
         ?assertEqual(Invalid, py_byte_channel:recv(Bad)),
         ?assertEqual(Invalid, py_byte_channel:recv(Bad, 0)),
         ?assertEqual(Invalid, py_byte_channel:try_receive(Bad)),
         ?assertEqual(Invalid, py_byte_channel:receive_many(Bad, 2)),
         ?assertEqual(Invalid, py_byte_channel:info(Bad)),
         ?assertEqual(Invalid, py_nif:byte_channel_receive_wait(Bad, make_ref())),
         ?assertEqual(Invalid, py_nif:byte_channel_send_wait(Bad, <<>>, make_ref()))
     end || Bad <- [OfTerms, make_ref(), channel, 17, <<>>]],
    ?assertEqual(Invalid, py_byte_channel:close(make_ref())),
    ?assertEqual(Invalid, py_channel:send(OfBytes, <<"x">>)),
    ?assertEqual(Invalid, py_channel:try_receive(OfBytes)),
    ?assertEqual(Invalid, py_channel:recv(OfBytes)),
    ?assertEqual(Invalid, py_channel:info(OfBytes)).

boundaries_and_empty_messages_are_kept(_) ->
    {ok, Channel} = made:byte_channel(),
    Messages = [<<>>, <<"ab">>, <<"ab">>, <<>>, binary:copy(<<"c">>, ?LARGE), <<0>>,
                binary:copy(<<"d">>, 2047), binary:copy(<<"d">>, 2048), <<>>],
    [ok = py_byte_channel:send(Channel, Message) || Message <- Messages],
    ?assertEqual(Messages, [element(2, {ok, _} = py_byte_channel:try_receive(Channel))
                            || _ <- Messages]),
    ?assertEqual({error, empty}, py_byte_channel:try_receive(Channel)).

size_is_exactly_the_payload(_) ->
    {ok, Channel} = made:byte_channel(#{max_size => ?LARGE + 4}),
    ok = py_byte_channel:send(Channel, <<"test">>),
    #{size := 4, pinned := 0} = py_byte_channel:info(Channel),
    ok = py_byte_channel:send(Channel, binary:copy(<<1>>, ?LARGE)),
    #{size := ?LARGE + 4, pinned := ?LARGE} = py_byte_channel:info(Channel),
    ok = py_byte_channel:send(Channel, <<>>),
    busy = py_byte_channel:send(Channel, <<1>>),
    {error, too_large} = py_byte_channel:send(Channel, binary:copy(<<1>>, ?LARGE + 5)),
    {ok, <<"test">>} = py_byte_channel:recv(Channel),
    #{size := ?LARGE} = py_byte_channel:info(Channel),
    ok = py_byte_channel:send(Channel, <<"more">>),
    {ok, _} = py_byte_channel:recv(Channel),
    #{size := 4, pinned := 0} = py_byte_channel:info(Channel).

a_large_binary_is_not_copied(_) ->
    {ok, Channel} = made:byte_channel(),
    Binary = crypto:strong_rand_bytes(10 * ?LARGE),
    ok = py_byte_channel:send(Channel, Binary),
    {ok, Same} = py_byte_channel:recv(Channel),
    ?assertEqual(Binary, Same),
    {binary, Binaries} = process_info(self(), binary),
    ?assertEqual(1, length(lists:usort([Id || {Id, Size, _} <- Binaries, Size >= 10 * ?LARGE]))).

%% It used to get one more wrapping each time round.
a_binary_that_circulates_stays_one(_) ->
    {ok, OfBytes} = made:byte_channel(),
    {ok, OfTerms} = made:channel(),
    Binary = crypto:strong_rand_bytes(?LARGE),
    Last = lists:foldl(fun(_, Before) ->
                           ok = py_byte_channel:send(OfBytes, Before),
                           {ok, Between} = py_byte_channel:recv(OfBytes),
                           ok = py_channel:send(OfTerms, {it, Between}),
                           {ok, {it, After}} = py_channel:recv(OfTerms),
                           After
                       end, Binary, lists:seq(1, 100)),
    ?assertEqual(Binary, Last),
    ?assertEqual(?LARGE, binary:referenced_byte_size(Last)).

%% Row A13: otherwise 10 KB would keep 1 MB alive.
a_small_part_of_a_large_binary_is_copied(_) ->
    {ok, Channel} = made:byte_channel(),
    Binary = crypto:strong_rand_bytes(10 * ?LARGE),
    ok = py_byte_channel:send(Channel, binary:part(Binary, 500, 10000)),
    ok = py_byte_channel:send(Channel, binary:part(Binary, 500, 5 * ?LARGE)),
    {ok, Small} = py_byte_channel:recv(Channel),
    {ok, Half} = py_byte_channel:recv(Channel),
    ?assertEqual(binary:part(Binary, 500, 10000), Small),
    ?assertEqual(binary:part(Binary, 500, 5 * ?LARGE), Half),
    Referenced = fun(Part) -> binary:referenced_byte_size(py_bytes:message(Part)) end,
    ?assertEqual(10000, Referenced(binary:part(Binary, 500, 10000))),
    ?assertEqual(10 * ?LARGE, Referenced(binary:part(Binary, 500, 5 * ?LARGE))).

recv_times_out_and_leaves_no_message(_) ->
    {ok, Channel} = made:byte_channel(),
    ?assertEqual({error, timeout}, py_byte_channel:recv(Channel, 0)),
    ?assertEqual({error, timeout}, py_byte_channel:recv(Channel, 10)),
    ?assertEqual({error, timeout}, py_byte_channel:receive_many(Channel, 7, 10)),
    ok = py_byte_channel:send(Channel, <<"x">>),
    eventually:silence(),
    ?assertEqual({ok, <<"x">>}, py_byte_channel:recv(Channel, 0)).

recv_waits_for_a_message(_) ->
    {ok, Channel} = made:byte_channel(),
    Receivers = [eventually:worker(fun() -> py_byte_channel:recv(Channel) end)
                 || _ <- lists:seq(1, 3)],
    eventually:waiting(Receivers),
    [ok = py_byte_channel:send(Channel, Bytes) || Bytes <- [<<1>>, <<>>, <<0:(8 * ?LARGE)>>]],
    ?assertEqual(lists:sort([{ok, <<1>>}, {ok, <<>>}, {ok, <<0:(8 * ?LARGE)>>}]),
                 lists:sort(eventually:workers(Receivers, receivers))).

send_waits_for_room(_) ->
    {ok, Channel} = made:byte_channel(#{max_size => 10}),
    ok = py_byte_channel:send(Channel, <<"12345678">>, 0),
    ?assertEqual(busy, py_byte_channel:send(Channel, <<"abc">>, 10)),
    Sender = eventually:worker(fun() -> py_byte_channel:send(Channel, <<"abc">>, 60000) end),
    eventually:waiting([Sender]),
    {ok, <<"12345678">>} = py_byte_channel:recv(Channel),
    ?assertEqual([ok], eventually:workers([Sender], sender)),
    ?assertEqual({ok, <<"abc">>}, py_byte_channel:recv(Channel)).

send_many_returns_what_did_not_fit(_) ->
    {ok, Channel} = made:byte_channel(#{max_size => 10}),
    ?assertEqual({busy, [<<"e">>, <<>>]},
                 py_byte_channel:send_many(Channel, [<<"1234">>, <<"567890">>, <<"e">>, <<>>])),
    TooLarge = binary:copy(<<"x">>, 11),
    ?assertEqual({{error, too_large}, [TooLarge]}, py_byte_channel:send_many(Channel, [TooLarge])),
    ?assertEqual(ok, py_byte_channel:send_many(Channel, [])),
    ok = py_byte_channel:close(Channel),
    ?assertEqual({{error, closed}, [<<>>]}, py_byte_channel:send_many(Channel, [<<>>])).

send_many_waits_for_room(_) ->
    {ok, Channel} = made:byte_channel(#{max_size => 100}),
    Messages = [<<N:32>> || N <- lists:seq(1, 1000)],
    ?assertMatch({busy, [<<26:32>> | _]}, py_byte_channel:send_many(Channel, Messages, 10)),
    {ok, _} = py_byte_channel:receive_many(Channel, 100),
    Sender = eventually:worker(fun() -> py_byte_channel:send_many(Channel, Messages, 60000) end),
    ?assertEqual(Messages, take(Channel, 1000)),
    ?assertEqual([ok], eventually:workers([Sender], sender)).

%% Longer than what one NIF call does.
long_batches_pass(_) ->
    {ok, Channel} = made:byte_channel(),
    Messages = [<<N:24>> || N <- lists:seq(1, 12345)],
    ok = py_byte_channel:send_many(Channel, Messages),
    #{size := 37035} = py_byte_channel:info(Channel),
    ?assertEqual(Messages, take(Channel, 12345)).

receive_many_takes_what_is_there(_) ->
    {ok, Channel} = made:byte_channel(),
    ok = py_byte_channel:send_many(Channel, [<<"a">>, <<"b">>, <<"c">>]),
    ?assertEqual({ok, [<<"a">>, <<"b">>]}, py_byte_channel:receive_many(Channel, 2)),
    ?assertEqual({ok, [<<"c">>]}, py_byte_channel:receive_many(Channel, 2, 0)),
    ?assertEqual({error, empty}, py_byte_channel:receive_many(Channel, 2)),
    ok = py_byte_channel:close(Channel),
    ?assertEqual({error, closed}, py_byte_channel:receive_many(Channel, 2)),
    ?assertEqual({error, closed}, py_byte_channel:receive_many(Channel, 2, infinity)).

receive_many_waits_for_the_first(_) ->
    {ok, Channel} = made:byte_channel(),
    Receiver = eventually:worker(fun() -> py_byte_channel:receive_many(Channel, 2, 60000) end),
    eventually:waiting([Receiver]),
    ok = py_byte_channel:send(Channel, <<"late">>),
    ?assertMatch([{ok, [<<"late">>]}], eventually:workers([Receiver], receiver)).

a_dead_waiter_loses_no_message(_) ->
    {ok, Channel} = made:byte_channel(),
    Receiver = spawn(fun() -> py_byte_channel:recv(Channel) end),
    eventually:waiting([Receiver]),
    eventually:dead(Receiver),
    ok = py_byte_channel:send(Channel, <<"x">>),
    ?assertEqual({ok, <<"x">>}, py_byte_channel:recv(Channel, 0)).

closing_wakes_and_keeps_what_is_queued(_) ->
    {ok, Channel} = made:byte_channel(#{max_size => 3}),
    ok = py_byte_channel:send(Channel, <<"abc">>),
    Sender = eventually:worker(fun() -> py_byte_channel:send(Channel, <<"d">>, infinity) end),
    eventually:waiting([Sender]),
    ok = py_byte_channel:close(Channel),
    ok = py_byte_channel:close(Channel),
    ?assertEqual([{error, closed}], eventually:workers([Sender], sender)),
    ?assertEqual({ok, <<"abc">>}, py_byte_channel:recv(Channel)),
    ?assertEqual({error, closed}, py_byte_channel:recv(Channel)),
    ?assertEqual({error, closed}, py_byte_channel:try_receive(Channel)).

callbacks_are_registered_by_name(_) ->
    ok = py_byte_channel:register_callbacks(),
    {ok, Channel} = made:byte_channel(),
    ok = py_byte_channel:send(Channel, <<"a">>),
    ?assertEqual({ok, <<"a">>}, py_byte_channel:handle_receive_bytes([Channel])),
    ?assertEqual({error, empty}, py_byte_channel:handle_try_receive_bytes([Channel])).

%% Python

bytes_cross_both_ways(_) ->
    {ok, In} = made:byte_channel(),
    {ok, Out} = made:byte_channel(),
    Sizes = [0, 1, 63, 64, 65, 1023, 1024, 1025, 2047, 2048, 2049, 8191, 8192, 65536,
             1048576],
    Messages = [crypto:strong_rand_bytes(Size) || Size <- Sizes],
    Echo = call(fun() -> py:call(py:context(1), byte_channel_cases, echo, [In, Out]) end),
    ok = py_byte_channel:send_many(In, Messages),
    ?assertEqual(Messages, take(Out, length(Messages))),
    ok = py_byte_channel:close(In),
    ?assertEqual([{ok, length(Messages)}], eventually:workers([Echo], echo)).

python_iterates_until_closed(_) ->
    {ok, Channel} = made:byte_channel(#{max_size => 65536}),
    Sum = call(fun() -> py:call(py:context(1), byte_channel_cases, digest, [Channel]) end),
    Chunks = [crypto:strong_rand_bytes(rand:uniform(20000)) || _ <- lists:seq(1, 500)],
    [ok = py_byte_channel:send(Channel, Chunk, infinity) || Chunk <- Chunks],
    ok = py_byte_channel:close(Channel),
    ?assertEqual([{ok, sha256(Chunks)}],
                 eventually:workers([Sum], digest)).

coroutines_share_a_channel(_) ->
    {ok, Channel} = made:byte_channel(),
    Sum = call(fun() -> py:call(py:context(1), byte_channel_cases, sum_in_coroutines, [Channel, 4])
               end),
    [ok = py_byte_channel:send(Channel, <<N:32>>) || N <- lists:seq(1, 2000)],
    ok = py_byte_channel:close(Channel),
    ?assertEqual([{ok, [2000, 2001000]}],
                 [{ok, Total} || {ok, Total} <- eventually:workers([Sum], sum)]).

a_view_pins_until_it_goes(_) ->
    {ok, Channel} = made:byte_channel(),
    Context = py:context(1),
    Binary = crypto:strong_rand_bytes(?LARGE),
    ok = py_byte_channel:send(Channel, Binary),
    {ok, ?LARGE} = py:call(Context, byte_channel_cases, hold_view, [Channel]),
    #{size := 0, pinned := ?LARGE} = py_byte_channel:info(Channel),
    {ok, Hash} = py:call(Context, byte_channel_cases, hash_held_view, []),
    ?assertEqual(sha256(Binary), Hash),
    {ok, none} = py:call(Context, byte_channel_cases, drop_view, []),
    #{pinned := 0} = py_byte_channel:info(Channel).

%% Python's bytes are in the binary's memory until Erlang drops it, and then are freed at once.
bytes_of_python_are_not_copied(_) ->
    {ok, Channel} = made:byte_channel(),
    Context = py:context(1),
    [erlang:garbage_collect(Process) || Process <- processes()],
    Before = maps:get(pinned_bytes, py_nif:debug_counters()),
    {ok, true} = py:call(Context, byte_channel_cases, send_tracked, [Channel, ?LARGE]),
    Holder = spawn(fun() ->
                       {ok, Bytes} = py_byte_channel:recv(Channel),
                       receive {size, From} -> From ! {size, byte_size(Bytes)} end,
                       receive stop -> ok end
                   end),
    Holder ! {size, self()},
    ?assertEqual({size, ?LARGE}, eventually:message(size)),
    ?assertEqual(Before + ?LARGE, maps:get(pinned_bytes, py_nif:debug_counters())),
    eventually:dead(Holder),
    eventually:equal(Before, fun() -> maps:get(pinned_bytes, py_nif:debug_counters()) end).

%% Row A13: 64 bytes of each of a thousand messages of 1 MiB.
thousand_slices_of_large_messages_pin_little(_) ->
    {ok, Channel} = made:byte_channel(#{max_size => 4 bsl 20}),
    Context = py:context(1),
    Slicer = call(fun() -> py:call(Context, byte_channel_cases, keep_slices, [Channel]) end),
    [ok = py_byte_channel:send(Channel, crypto:strong_rand_bytes(1 bsl 20), infinity)
     || _ <- lists:seq(1, 1000)],
    ok = py_byte_channel:close(Channel),
    ?assertEqual([{ok, 1000}], eventually:workers([Slicer], slicer)),
    #{pinned := 0} = py_byte_channel:info(Channel),
    {ok, none} = py:call(Context, byte_channel_cases, drop_slices, []).

the_last_sender_goes(_) ->
    Digest = eventually:without_references(
                 fun() ->
                     {ok, Channel} = made:byte_channel(),
                     ok = py_byte_channel:send(Channel, <<"last">>),
                     py_case:caller(py:context(1), byte_channel_cases, digest, [Channel])
                 end),
    ?assertEqual({ok, sha256(<<"last">>)}, Digest).

an_interrupt_ends_a_receive(_) ->
    {ok, Channel} = made:byte_channel(),
    Context = py:context(1),
    Caller = call(fun() -> py:call(Context, byte_channel_cases, digest, [Channel]) end),
    eventually:true(fun() ->
                        ok = py:interrupt(Context),
                        not is_process_alive(Caller)
                    end),
    ?assertEqual([{error, interrupted}], eventually:workers([Caller], caller)),
    ok = py_byte_channel:send(Channel, <<"kept">>),
    ?assertEqual({ok, <<"kept">>}, py_byte_channel:recv(Channel, 0)).

a_channel_travels(_) ->
    {ok, Carrier} = made:channel(),
    {ok, Channel} = made:byte_channel(),
    ok = py_channel:send(Carrier, {take, Channel}),
    ?assertEqual({ok, {take, Channel}}, py_channel:recv(Carrier)),
    {ok, [Channel, Channel]} = py:call(py:context(1), byte_channel_cases, both_forms, [Channel]).

%% Steps

call(Fun) ->
    eventually:worker(Fun).

take(_Channel, 0) ->
    [];
take(Channel, Count) ->
    {ok, Messages} = py_byte_channel:receive_many(Channel, Count, 60000),
    Messages ++ take(Channel, Count - length(Messages)).

sha256(Bytes) ->
    string:lowercase(binary:encode_hex(crypto:hash(sha256, Bytes))).
