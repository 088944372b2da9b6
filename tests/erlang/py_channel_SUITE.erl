%% SPDX-License-Identifier: Apache-2.0
%% Channels, seen from Erlang, with nobody but Erlang processes there. With Python:
%% py_channel_python_SUITE.
-module(py_channel_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

all() ->
    [{group, options}, {group, order_and_size}, {group, closing}, {group, waiting},
     {group, waiting_senders}, {group, dying}, {group, terms}].

groups() ->
    [{options, [parallel],
      [new_refuses_a_bad_max_size, unknown_options_are_ignored, a_channel_is_a_reference,
       what_is_not_a_channel_is_invalid_channel, a_bad_timeout_is_badarg,
       callbacks_are_registered_by_name]},
     {order_and_size, [parallel],
      [messages_arrive_in_the_order_of_their_sender, each_message_goes_to_one_receiver,
       a_full_channel_is_busy_and_queues_nothing, filling_a_channel_exactly_is_allowed,
       a_message_larger_than_the_limit_is_too_large, size_counts_what_is_queued,
       an_empty_binary_is_a_message, an_empty_channel_says_so,
       a_backlog_costs_no_more_per_message]},
     {closing, [parallel],
      [closing_keeps_what_is_queued, closing_twice_is_ok, close_wakes_every_receiver,
       close_wakes_every_sender, closing_a_channel_with_many_waiters_wakes_them_all]},
     {waiting, [parallel],
      [recv_takes_a_message_that_comes_later, recv_that_times_out_leaves_no_message,
       a_message_after_a_timeout_is_for_the_next_receiver, waiting_receivers_are_served_in_order,
       racing_timeouts_lose_no_message]},
     {waiting_senders, [parallel],
      [send_waits_for_room, send_that_times_out_queues_nothing, waiting_senders_all_get_through,
       send_does_not_wait_for_what_never_fits, racing_send_timeouts_lose_no_room]},
     {dying, [],
      [a_dead_waiter_loses_no_message, a_waiter_that_dies_after_its_wake_up_passes_it_on,
       ten_thousand_waiters_die_and_leave_nothing, twenty_thousand_processes_die_at_random]},
     {terms, [parallel],
      [a_channel_in_a_channel_is_the_same_reference, a_queued_channel_stays_alive,
       terms_without_a_form_in_python_are_named_with_their_path,
       ten_thousand_levels_pass_and_one_more_does_not, large_terms_pass,
       large_binaries_are_pinned_until_received]}].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    [{counters, py_nif:debug_counters()} | Config].

end_per_suite(Config) ->
    eventually:counters_return_to(?config(counters, Config)),
    ok = application:stop(penstock).

%% Options

new_refuses_a_bad_max_size(_) ->
    [?assertError(badarg, made:channel(#{max_size => Bad}))
     || Bad <- [-1, infinity, 1.5, <<"10">>, undefined]],
    ?assertError(badarg, made:channel([])),
    ?assertError(badarg, py_nif:channel_new(-1)).

unknown_options_are_ignored(_) ->
    {ok, Channel} = made:channel(#{colour => blue, max_size => 10}),
    #{max_size := 10} = py_channel:info(Channel).

a_channel_is_a_reference(_) ->
    {ok, Channel} = made:channel(),
    true = is_reference(Channel),
    ?assertEqual(#{size => 0, max_size => 0, closed => false}, py_channel:info(Channel)).

what_is_not_a_channel_is_invalid_channel(_) ->
    [begin
         ?assertEqual({error, invalid_channel}, py_channel:send(Bad, x)),
         ?assertEqual({error, invalid_channel}, py_channel:send(Bad, x, 10)),
         ?assertEqual({error, invalid_channel}, py_channel:recv(Bad)),
         ?assertEqual({error, invalid_channel}, py_channel:recv(Bad, 0)),
         ?assertEqual({error, invalid_channel}, py_channel:try_receive(Bad)),
         ?assertEqual({error, invalid_channel}, py_channel:info(Bad)),
         ?assertEqual({error, invalid_channel}, py_channel:close(Bad)),
         ?assertEqual({error, invalid_channel}, py_nif:channel_receive_wait(Bad, make_ref())),
         ?assertEqual({error, invalid_channel}, py_nif:channel_send_wait(Bad, x, make_ref()))
     end || Bad <- [make_ref(), channel, self(), 17, <<>>, {}, [1 | 2], fun() -> ok end,
                    ets:new(another_resource, [])]].

a_bad_timeout_is_badarg(_) ->
    {ok, Channel} = made:channel(),
    [begin
         ?assertError(badarg, py_channel:recv(Channel, Bad)),
         ?assertError(badarg, py_channel:send(Channel, x, Bad))
     end || Bad <- [-1, 1.5, soon, 1 bsl 32]],
    ?assertEqual({error, empty}, py_channel:try_receive(Channel)).

callbacks_are_registered_by_name(_) ->
    ok = py_channel:register_callbacks(),
    {ok, Channel} = made:channel(),
    ok = py_channel:send(Channel, hello),
    {ok, TryReceive} = py_callback:lookup(<<"_py_channel_try_receive">>),
    {ok, Receive} = py_callback:lookup('_py_channel_receive'),
    {ok, Info} = py_callback:lookup(<<"_py_channel_info">>),
    ?assertMatch(#{closed := false}, Info([Channel])),
    ?assertEqual({ok, hello}, Receive([Channel])),
    ?assertEqual({error, empty}, TryReceive([Channel])),
    ?assertEqual({error, not_found}, py_callback:lookup(nobody)).

%% Order and size

messages_arrive_in_the_order_of_their_sender(_) ->
    {ok, Channel} = made:channel(),
    Count = 5000,
    Senders = [eventually:worker(fun() ->
                                     [ok = py_channel:send(Channel, {Name, N})
                                      || N <- lists:seq(1, Count)]
                                 end) || Name <- [a, b, c]],
    Received = [element(2, {ok, _} = py_channel:recv(Channel)) || _ <- lists:seq(1, 3 * Count)],
    _ = eventually:workers(Senders, senders),
    [?assertEqual(lists:seq(1, Count), [N || {Sender, N} <- Received, Sender =:= Name])
     || Name <- [a, b, c]],
    ?assertEqual({error, empty}, py_channel:try_receive(Channel)).

each_message_goes_to_one_receiver(_) ->
    {ok, Channel} = made:channel(),
    Receivers = [eventually:worker(fun() -> drain(Channel, []) end) || _ <- lists:seq(1, 8)],
    [ok = py_channel:send(Channel, N) || N <- lists:seq(1, 20000)],
    ok = py_channel:close(Channel),
    Received = eventually:workers(Receivers, receivers),
    ?assertEqual(lists:seq(1, 20000), lists:sort(lists:append(Received))),
    %% What one receiver got is in order.
    [?assertEqual(lists:sort(Some), Some) || Some <- Received].

a_full_channel_is_busy_and_queues_nothing(_) ->
    {ok, Channel} = made:channel(#{max_size => 200}),
    Message = <<0:(80 * 8)>>,
    ?assertEqual([ok, ok, busy], [py_channel:send(Channel, Message) || _ <- [1, 2, 3]]),
    #{size := Size} = py_channel:info(Channel),
    ?assert(Size >= 160 andalso Size =< 200),
    {ok, Message} = py_channel:try_receive(Channel),
    ?assertEqual(ok, py_channel:send(Channel, small)).

filling_a_channel_exactly_is_allowed(_) ->
    {ok, Unbounded} = made:channel(),
    ok = py_channel:send(Unbounded, <<"four">>),
    #{size := Size} = py_channel:info(Unbounded),
    {ok, Channel} = made:channel(#{max_size => 3 * Size}),
    ?assertEqual([ok, ok, ok, busy],
                 [py_channel:send(Channel, <<"four">>) || _ <- lists:seq(1, 4)]),
    ?assertMatch(#{size := Full, max_size := Full}, py_channel:info(Channel)).

a_message_larger_than_the_limit_is_too_large(_) ->
    {ok, Channel} = made:channel(#{max_size => 100}),
    [?assertEqual({error, too_large}, py_channel:send(Channel, Term))
     || Term <- [<<0:(101 * 8)>>, binary:copy(<<0>>, 100000), lists:seq(1, 1000)]],
    ?assertMatch(#{size := 0}, py_channel:info(Channel)).

size_counts_what_is_queued(_) ->
    {ok, Channel} = made:channel(),
    Terms = [atom, 1, <<0:8000>>, binary:copy(<<1>>, 100000), {bytes, <<"x">>}, [a, b]],
    Sizes = [begin
                 ok = py_channel:send(Channel, Term),
                 maps:get(size, py_channel:info(Channel))
             end || Term <- Terms],
    ?assertEqual(Sizes, lists:usort(Sizes)),
    ?assert(lists:last(Sizes) > 101000),
    Left = [begin
                {ok, Term} = py_channel:try_receive(Channel),
                maps:get(size, py_channel:info(Channel))
            end || Term <- Terms],
    ?assertEqual([lists:last(Sizes) - Size || Size <- Sizes], Left).

an_empty_binary_is_a_message(_) ->
    {ok, Channel} = made:channel(),
    ok = py_channel:send(Channel, <<>>),
    ok = py_channel:send(Channel, {bytes, <<>>}),
    ?assertEqual({ok, <<>>}, py_channel:try_receive(Channel)),
    ?assertEqual({ok, {bytes, <<>>}}, py_channel:try_receive(Channel)),
    ?assertEqual({error, empty}, py_channel:try_receive(Channel)).

an_empty_channel_says_so(_) ->
    {ok, Channel} = made:channel(),
    ?assertEqual({error, empty}, py_channel:try_receive(Channel)),
    ?assertEqual({error, empty}, py_nif:channel_try_receive(Channel)),
    ?assertEqual({error, timeout}, py_channel:recv(Channel, 0)).

%% Enqueueing does not touch what is queued: reductions and memory are linear in the messages.
a_backlog_costs_no_more_per_message(_) ->
    {ok, Channel} = made:channel(),
    [ok = py_channel:send(Channel, {message, N}) || N <- lists:seq(1, 200000)],
    [{ok, {message, N}} = py_channel:try_receive(Channel) || N <- lists:seq(1, 200000)],
    ?assertMatch(#{size := 0}, py_channel:info(Channel)).

%% Closing

closing_keeps_what_is_queued(_) ->
    {ok, Channel} = made:channel(),
    [ok = py_channel:send(Channel, N) || N <- [1, 2, 3]],
    ok = py_channel:close(Channel),
    ?assertEqual({error, closed}, py_channel:send(Channel, 4)),
    ?assertEqual({error, closed}, py_channel:send(Channel, 4, 1000)),
    #{size := Size, closed := true} = py_channel:info(Channel),
    ?assert(Size > 0),
    ?assertEqual([{ok, 1}, {ok, 2}, {ok, 3}, {error, closed}, {error, closed}],
                 [py_channel:recv(Channel) || _ <- lists:seq(1, 5)]),
    ?assertEqual({error, closed}, py_channel:try_receive(Channel)).

closing_twice_is_ok(_) ->
    {ok, Channel} = made:channel(),
    ok = py_channel:close(Channel),
    ok = py_channel:close(Channel).

close_wakes_every_receiver(_) ->
    {ok, Channel} = made:channel(),
    Receivers = [eventually:worker(fun() -> py_channel:recv(Channel) end) || _ <- lists:seq(1, 50)],
    eventually:waiting(Receivers),
    ok = py_channel:close(Channel),
    ?assertEqual(lists:duplicate(50, {error, closed}), eventually:workers(Receivers, receivers)).

close_wakes_every_sender(_) ->
    {Channel, _} = full_channel(),
    Senders = [eventually:worker(fun() -> py_channel:send(Channel, <<0:400>>, infinity) end)
               || _ <- lists:seq(1, 50)],
    eventually:waiting(Senders),
    ok = py_channel:close(Channel),
    ?assertEqual(lists:duplicate(50, {error, closed}), eventually:workers(Senders, senders)).

%% Beyond what one NIF call wakes on a normal scheduler.
closing_a_channel_with_many_waiters_wakes_them_all(_) ->
    {ok, Channel} = made:channel(),
    Receivers = [eventually:worker(fun() -> py_channel:recv(Channel) end)
                 || _ <- lists:seq(1, 2000)],
    eventually:waiting(Receivers),
    ok = py_channel:close(Channel),
    ?assertEqual([{error, closed}], lists:usort(eventually:workers(Receivers, receivers))).

%% Waiting receivers

recv_takes_a_message_that_comes_later(_) ->
    {ok, Channel} = made:channel(),
    Receiver = eventually:worker(fun() -> {py_channel:recv(Channel, 60000), mailbox()} end),
    eventually:waiting([Receiver]),
    ok = py_channel:send(Channel, late),
    ?assertEqual([{{ok, late}, []}], eventually:workers([Receiver], receiver)).

recv_that_times_out_leaves_no_message(_) ->
    {ok, Channel} = made:channel(),
    Started = erlang:monotonic_time(millisecond),
    ?assertEqual({error, timeout}, py_channel:recv(Channel, 20)),
    ?assert(erlang:monotonic_time(millisecond) - Started >= 20),
    ok = py_channel:send(Channel, x),
    ok = py_channel:close(Channel),
    eventually:silence(),
    ?assertEqual({ok, x}, py_channel:recv(Channel)).

a_message_after_a_timeout_is_for_the_next_receiver(_) ->
    {ok, Channel} = made:channel(),
    Waiting = eventually:worker(fun() -> py_channel:recv(Channel) end),
    eventually:waiting([Waiting]),
    ?assertEqual({error, timeout}, py_channel:recv(Channel, 1)),
    ok = py_channel:send(Channel, for_the_other),
    ?assertEqual([{ok, for_the_other}], eventually:workers([Waiting], waiting)).

waiting_receivers_are_served_in_order(_) ->
    {ok, Channel} = made:channel(),
    Receivers = [begin
                     Pid = eventually:worker(fun() -> py_channel:recv(Channel) end),
                     eventually:waiting([Pid]),
                     Pid
                 end || _ <- lists:seq(1, 20)],
    [begin
         ok = py_channel:send(Channel, N),
         ?assertEqual([{ok, N}], eventually:workers([lists:nth(N, Receivers)], N))
     end || N <- lists:seq(1, 20)].

%% Receivers give up at the very moment at which messages come.
racing_timeouts_lose_no_message(_) ->
    {ok, Channel} = made:channel(),
    Count = 3000,
    Receivers = [eventually:worker(fun() ->
                                       {receive_with_short_timeouts(Channel, []), mailbox()}
                                   end) || _ <- lists:seq(1, 6)],
    [begin
         ok = py_channel:send(Channel, N),
         %% sleep: so that receivers time out between messages
         N rem 3 =:= 0 andalso receive after 1 -> ok end
     end || N <- lists:seq(1, Count)],
    ok = py_channel:close(Channel),
    Results = eventually:workers(Receivers, receivers),
    ?assertEqual([[]], lists:usort([Mailbox || {_, Mailbox} <- Results])),
    ?assertEqual(lists:seq(1, Count), lists:sort(lists:append([Got || {Got, _} <- Results]))).

receive_with_short_timeouts(Channel, Received) ->
    case py_channel:recv(Channel, 1) of
        {ok, Message} -> receive_with_short_timeouts(Channel, [Message | Received]);
        {error, timeout} -> receive_with_short_timeouts(Channel, Received);
        {error, closed} -> Received
    end.

%% Waiting senders

send_waits_for_room(_) ->
    {Channel, _} = full_channel(),
    Sender = eventually:worker(fun() ->
                                   {py_channel:send(Channel, <<1:400>>, 60000), mailbox()}
                               end),
    eventually:waiting([Sender]),
    {ok, <<0:400>>} = py_channel:try_receive(Channel),
    ?assertEqual([{ok, []}], eventually:workers([Sender], sender)),
    ?assertEqual(<<1:400>>, lists:last(all_in(Channel))).

send_that_times_out_queues_nothing(_) ->
    {Channel, _} = full_channel(),
    ?assertEqual(busy, py_channel:send(Channel, <<1:400>>, 0)),
    ?assertEqual(busy, py_channel:send(Channel, <<1:400>>, 20)),
    ?assertEqual([<<0:400>>], lists:usort(all_in(Channel))),
    eventually:silence().

waiting_senders_all_get_through(_) ->
    {Channel, Count} = full_channel(),
    Senders = [eventually:worker(fun() -> {py_channel:send(Channel, <<N:400>>, infinity), mailbox()}
                                 end) || N <- lists:seq(1, 200)],
    eventually:waiting(Senders),
    Received = [element(2, {ok, _} = py_channel:recv(Channel, 20000))
                || _ <- lists:seq(1, Count + 200)],
    ?assertEqual([<<N:400>> || N <- lists:seq(0, 200)], lists:usort(Received)),
    ?assertEqual([{ok, []}], lists:usort(eventually:workers(Senders, senders))).

send_does_not_wait_for_what_never_fits(_) ->
    {Channel, _} = full_channel(),
    ?assertEqual({error, too_large}, py_channel:send(Channel, <<0:8000>>, infinity)),
    ?assertMatch({error, {unsupported, improper_list, [1]}},
                 py_channel:send(Channel, {[a | b]}, infinity)).

racing_send_timeouts_lose_no_room(_) ->
    {Channel, Count} = full_channel(),
    Senders = [eventually:worker(fun() ->
                                     Sent = [N || N <- lists:seq(1, 300),
                                                  py_channel:send(Channel, <<N:400>>, 1) =:= ok],
                                     {length(Sent), mailbox()}
                                 end) || _ <- lists:seq(1, 6)],
    Receiver = eventually:worker(fun() -> length(drain(Channel, [])) end),
    Results = eventually:workers(Senders, senders),
    ok = py_channel:close(Channel),
    [Received] = eventually:workers([Receiver], receiver),
    ?assertEqual([[]], lists:usort([Mailbox || {_, Mailbox} <- Results])),
    ?assertEqual(Count + lists:sum([Sent || {Sent, _} <- Results]), Received),
    ?assertMatch(#{size := 0}, py_channel:info(Channel)).

%% Dying

a_dead_waiter_loses_no_message(_) ->
    {ok, Channel} = made:channel(),
    Dead = spawn(fun() -> py_channel:recv(Channel) end),
    eventually:waiting([Dead]),
    Alive = eventually:worker(fun() -> py_channel:recv(Channel) end),
    eventually:waiting([Alive]),
    eventually:dead(Dead),
    ok = py_channel:send(Channel, hello),
    ?assertEqual([{ok, hello}], eventually:workers([Alive], alive)).

%% The first in line is suspended when its wake-up comes, and killed before it can look.
a_waiter_that_dies_after_its_wake_up_passes_it_on(_) ->
    {ok, Channel} = made:channel(),
    First = spawn(fun() -> py_channel:recv(Channel) end),
    eventually:waiting([First]),
    Second = eventually:worker(fun() -> py_channel:recv(Channel) end),
    eventually:waiting([Second]),
    true = erlang:suspend_process(First),
    ok = py_channel:send(Channel, hello),
    eventually:dead(First),
    ?assertEqual([{ok, hello}], eventually:workers([Second], second)).

ten_thousand_waiters_die_and_leave_nothing(_) ->
    Before = py_nif:debug_counters(),
    {ok, Channel} = made:channel(),
    {Full, _} = full_channel(),
    Waiters = [spawn(fun() ->
                         case N rem 2 of
                             0 -> py_channel:recv(Channel);
                             1 -> py_channel:send(Full, <<0:400>>, infinity)
                         end
                     end) || N <- lists:seq(1, 10000)],
    eventually:true(fun() ->
                        maps:get(waiters, py_nif:debug_counters())
                            >= maps:get(waiters, Before) + 10000
                    end),
    [exit(Waiter, kill) || Waiter <- Waiters],
    eventually:equal(maps:get(waiters, Before),
                     fun() -> maps:get(waiters, py_nif:debug_counters()) end),
    %% Both channels work as if nobody had ever waited.
    ok = py_channel:send(Channel, hello),
    ?assertEqual({ok, hello}, py_channel:recv(Channel, 20000)),
    ?assertEqual([<<0:400>>], lists:usort(all_in(Full))),
    ?assertEqual(ok, py_channel:send(Full, <<1:400>>)).

twenty_thousand_processes_die_at_random(_) ->
    Before = py_nif:debug_counters(),
    {ok, Channel} = made:channel(#{max_size => 4096}),
    rand:seed(exsss, {1, 2, 3}),
    [begin
         Processes = [spawn_monitor(fun() -> random_traffic(Channel) end)
                      || _ <- lists:seq(1, 200)],
         [exit(Pid, kill)
          || {_, Pid} <- lists:sort([{rand:uniform(), Pid} || {Pid, _} <- Processes])],
         [receive {'DOWN', Monitor, process, Pid, _} -> ok end || {Pid, Monitor} <- Processes]
     end || _ <- lists:seq(1, 100)],
    eventually:equal(maps:get(waiters, Before),
                     fun() -> maps:get(waiters, py_nif:debug_counters()) end),
    ok = py_channel:close(Channel),
    _ = drain(Channel, []),
    ?assertMatch(#{size := 0}, py_channel:info(Channel)).

random_traffic(Channel) ->
    case rand:uniform(4) of
        1 -> py_channel:recv(Channel, rand:uniform(5));
        2 -> py_channel:recv(Channel);
        3 -> py_channel:send(Channel, <<0:1024>>, infinity);
        4 -> py_channel:send(Channel, self(), rand:uniform(5))
    end,
    random_traffic(Channel).

%% Terms

a_channel_in_a_channel_is_the_same_reference(_) ->
    {ok, Outer} = made:channel(),
    {ok, Inner} = made:channel(),
    ok = py_channel:send(Outer, {here, [Inner, #{channel => Inner}]}),
    ?assertEqual({ok, {here, [Inner, #{channel => Inner}]}}, py_channel:recv(Outer)).

a_queued_channel_stays_alive(_) ->
    {ok, Outer} = made:channel(),
    Maker = spawn(fun() ->
                      {ok, Inner} = made:channel(#{max_size => 777}),
                      ok = py_channel:send(Inner, letter),
                      ok = py_channel:send(Outer, Inner)
                  end),
    eventually:true(fun() -> not is_process_alive(Maker) end),
    {ok, Inner} = py_channel:recv(Outer, 20000),
    ?assertMatch(#{max_size := 777, closed := false}, py_channel:info(Inner)),
    ?assertEqual({ok, letter}, py_channel:recv(Inner)),
    %% And from now on it is this reference.
    ok = py_channel:send(Outer, {again, Inner}),
    ?assertEqual({ok, {again, Inner}}, py_channel:recv(Outer)).

terms_without_a_form_in_python_are_named_with_their_path(_) ->
    {ok, Channel} = made:channel(),
    [?assertEqual({error, {unsupported, Type, Path}}, py_channel:send(Channel, Term))
     || {Type, Path, Term} <-
            [{improper_list, [], [1 | 2]},
             {improper_list, [2, 1], {a, [[b | c]]}},
             {bitstring, [], <<1:3>>},
             {bitstring, [1, key, 2], [#{key => {x, <<1:9>>}}]},
             {bitstring, [2], {bytes, <<1:3>>}},
             {unhashable_key, [[]], #{[] => 1}},
             {unhashable_key, [#{}], #{#{} => 1}},
             {unhashable_key, [1, {a, [b]}, 2], [#{{a, [b]} => 1}]}]],
    ?assertMatch(#{size := 0}, py_channel:info(Channel)).

ten_thousand_levels_pass_and_one_more_does_not(_) ->
    {ok, Channel} = made:channel(),
    [begin
         Deep = nest(10000, Wrap),
         ok = py_channel:send(Channel, Deep),
         {ok, Back} = py_channel:recv(Channel),
         ?assert(Back =:= Deep),
         {error, {unsupported, too_deep, Path}} = py_channel:send(Channel, nest(10001, Wrap)),
         ?assertEqual(10000, length(Path)),
         ?assertMatch({error, {unsupported, too_deep, _}},
                      py_channel:send(Channel, nest(1000000, Wrap)))
     end || Wrap <- [fun(X) -> [X] end, fun(X) -> {X} end, fun(X) -> #{k => X} end]].

nest(0, _Wrap) -> leaf;
nest(Levels, Wrap) -> Wrap(nest(Levels - 1, Wrap)).

%% Larger than what is converted at once on a normal scheduler.
large_terms_pass(_) ->
    {ok, Channel} = made:channel(),
    [begin
         ok = py_channel:send(Channel, Term),
         {ok, Back} = py_channel:recv(Channel),
         ?assert(Back =:= Term),
         Receiver = eventually:worker(fun() -> py_channel:recv(Channel) =:= {ok, Term} end),
         eventually:waiting([Receiver]),
         ok = py_channel:send(Channel, Term, 10),
         ?assertEqual([true], eventually:workers([Receiver], receiver))
     end || Term <- [lists:seq(1, 300000),
                     list_to_tuple(lists:seq(1, 50000)),
                     maps:from_list([{N, {N, <<N:64>>}} || N <- lists:seq(1, 20000)]),
                     [binary:copy(<<"x">>, 4000) || _ <- lists:seq(1, 100)],
                     1 bsl 2000000,
                     fun() -> lists:seq(1, 10) end]].

large_binaries_are_pinned_until_received(_) ->
    {ok, Channel} = made:channel(),
    Binary = binary:copy(<<"large">>, 200000),
    ok = py_channel:send(Channel, {file, Binary, {bytes, Binary}}),
    #{pinned_bytes := Pinned} = py_nif:debug_counters(),
    ?assert(Pinned >= 2 * byte_size(Binary)),
    #{size := Size} = py_channel:info(Channel),
    ?assert(Size > 2 * byte_size(Binary) andalso Size < 2 * byte_size(Binary) + 100),
    ?assertEqual({ok, {file, Binary, {bytes, Binary}}}, py_channel:recv(Channel)).

%% Steps

%% One message fits; of a shared one, some more.
full_channel() ->
    {ok, Channel} = made:channel(#{max_size => 100}),
    {Channel, fill(Channel, 0)}.

fill(Channel, Count) ->
    case py_channel:send(Channel, <<0:400>>) of
        ok -> fill(Channel, Count + 1);
        busy -> Count
    end.

all_in(Channel) ->
    case py_channel:try_receive(Channel) of
        {ok, Message} -> [Message | all_in(Channel)];
        {error, empty} -> []
    end.

drain(Channel, Received) ->
    case py_channel:recv(Channel) of
        {ok, Message} -> drain(Channel, [Message | Received]);
        {error, closed} -> lists:reverse(Received)
    end.

mailbox() ->
    receive Message -> [Message | mailbox()] after 0 -> [] end.
