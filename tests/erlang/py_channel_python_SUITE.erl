%% SPDX-License-Identifier: Apache-2.0
%% Channels from Erlang to Python and back. The Python halves are in python/channel_cases.py.
-module(py_channel_python_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-define(CONTEXTS, 4).

all() ->
    [the_quick_start_of_the_documentation, the_asynchronous_quick_start,
     the_worker_pool_of_the_documentation, python_receives_in_order,
     an_asynchronous_iteration_receives_in_order, closing_drains_then_ends_an_iteration,
     none_is_an_ordinary_message, an_empty_binary_is_a_message,
     threads_share_a_channel, coroutines_share_a_channel,
     waiters_of_all_kinds_share_a_channel, a_python_receive_times_out,
     try_receive_tells_a_message_from_the_end, python_closes,
     a_context_manager_closes, a_cancelled_wait_loses_no_message,
     a_slow_receiver_holds_the_sender_back, python_sends_and_erlang_receives,
     a_channel_comes_back_as_the_same_reference,
     a_python_handle_keeps_the_channel_but_not_its_sender,
     a_blocked_receive_ends_when_the_last_reference_dies,
     a_blocked_coroutine_ends_when_the_last_reference_dies,
     what_was_sent_before_the_last_reference_died_is_received,
     an_interrupt_ends_a_blocked_receive, a_timeout_ends_a_blocked_receive,
     many_blocked_receivers_hold_no_scheduler,
     a_reply_to_a_dead_process_raises, a_reply_reaches_every_kind_of_term,
     an_erlang_waiter_and_a_dead_one_beside_python].

init_per_suite(Config) ->
    _ = application:load(penstock),
    ok = application:set_env(penstock, num_contexts, ?CONTEXTS),
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_case:add_path(Config),
    %% Imports and first calls make what then stays.
    [{ok, _} = py:call(py:context(Index), channel_cases, same, [1])
     || Index <- lists:seq(1, ?CONTEXTS)],
    [{counters, py_nif:debug_counters()} | Config].

end_per_suite(Config) ->
    eventually:counters_return_to(?config(counters, Config)),
    ok = application:stop(penstock),
    ok = application:unset_env(penstock, num_contexts),
    ok = application:unload(penstock).

end_per_testcase(_Case, _Config) ->
    eventually:silence().

%% As documented

the_quick_start_of_the_documentation(_) ->
    {ok, Ch} = made:channel(),
    Server = python(1, serve, [Ch]),
    ok = py_channel:send(Ch, {request, self(), <<"data">>}),
    Result = receive {response, R} -> R after 20000 -> nothing end,
    ?assertEqual(<<"DATA">>, Result),
    ok = py_channel:close(Ch),
    ?assertEqual([{ok, none}], eventually:workers([Server], server)).

the_asynchronous_quick_start(_) ->
    {ok, Ch} = made:channel(),
    Server = python(1, run_serve_async, [Ch]),
    [begin
         ok = py_channel:send(Ch, {request, self(), Data}),
         ?assertEqual({response, Upper}, eventually:message(response))
     end || {Data, Upper} <- [{<<"a">>, <<"A">>}, {<<"b">>, <<"B">>}]],
    ok = py_channel:close(Ch),
    ?assertEqual([{ok, none}], eventually:workers([Server], server)).

the_worker_pool_of_the_documentation(_) ->
    {ok, Ch} = made:channel(#{max_size => 100000}),
    Pool = python(1, worker_pool, [Ch, 4, self()]),
    [ok = py_channel:send(Ch, {work, Item}, infinity) || Item <- lists:seq(1, 1000)],
    ok = py_channel:close(Ch),
    ?assertEqual([{ok, none}], eventually:workers([Pool], pool)),
    Processed = [receive {processed, Item, _Worker} -> Item after 20000 -> missing end
                 || _ <- lists:seq(1, 1000)],
    ?assertEqual(lists:seq(1, 1000), lists:sort(Processed)).

%% Receiving

python_receives_in_order(_) ->
    receives_in_order(collect),
    receives_in_order(collect_by_receive).

an_asynchronous_iteration_receives_in_order(_) ->
    receives_in_order(collect_async).

receives_in_order(Function) ->
    {ok, Channel} = made:channel(),
    Receiver = python(1, Function, [Channel]),
    Messages = lists:seq(1, 20000),
    [ok = py_channel:send(Channel, N) || N <- Messages],
    ok = py_channel:close(Channel),
    ?assertEqual([{ok, Messages}], eventually:workers([Receiver], receiver)).

closing_drains_then_ends_an_iteration(_) ->
    [begin
         {ok, Channel} = made:channel(),
         [ok = py_channel:send(Channel, N) || N <- [1, 2, 3]],
         ok = py_channel:close(Channel),
         ?assertEqual({ok, [1, 2, 3]}, py:call(channel_cases, Function, [Channel])),
         ?assertEqual({ok, []}, py:call(channel_cases, Function, [Channel]))
     end || Function <- [collect, collect_by_receive, collect_async]].

none_is_an_ordinary_message(_) ->
    [begin
         {ok, Channel} = made:channel(),
         [ok = py_channel:send(Channel, Term) || Term <- [1, none, undefined, nil, 2]],
         ok = py_channel:close(Channel),
         ?assertEqual({ok, [1, none, none, none, 2]},
                      py:call(channel_cases, Function, [Channel]))
     end || Function <- [collect, collect_by_receive, collect_async]].

an_empty_binary_is_a_message(_) ->
    {ok, Channel} = made:channel(),
    [ok = py_channel:send(Channel, Term) || Term <- [<<>>, {bytes, <<>>}, []]],
    ok = py_channel:close(Channel),
    ?assertEqual({ok, [<<>>, <<>>, []]}, py:call(channel_cases, collect, [Channel])).

threads_share_a_channel(_) ->
    shared(collect_with_threads).

coroutines_share_a_channel(_) ->
    shared(collect_with_coroutines).

shared(Function) ->
    {ok, Channel} = made:channel(),
    Receiver = python(1, Function, [Channel, 5]),
    Messages = lists:seq(1, 10000),
    [ok = py_channel:send(Channel, N) || N <- Messages],
    ok = py_channel:close(Channel),
    [{ok, Parts}] = eventually:workers([Receiver], receiver),
    ?assertEqual(5, length(Parts)),
    [?assertEqual(lists:sort(Part), Part) || Part <- Parts],
    ?assertEqual(Messages, lists:sort(lists:append(Parts))).

waiters_of_all_kinds_share_a_channel(_) ->
    {ok, Channel} = made:channel(),
    Python = [python(1, collect_with_threads, [Channel, 2]),
              python(2, collect_with_coroutines, [Channel, 3]),
              python(3, collect, [Channel])],
    Erlang = [eventually:worker(fun() -> drain(Channel, []) end) || _ <- [1, 2, 3]],
    Messages = lists:seq(1, 20000),
    [begin
         ok = py_channel:send(Channel, N),
         N rem 100 =:= 0 andalso erlang:yield()
     end || N <- Messages],
    ok = py_channel:close(Channel),
    [{ok, Threads}, {ok, Coroutines}, {ok, Context}] = eventually:workers(Python, python),
    Drained = eventually:workers(Erlang, erlang),
    ?assertEqual(Messages, lists:sort(lists:append([Context | Threads ++ Coroutines ++ Drained]))).

an_erlang_waiter_and_a_dead_one_beside_python(_) ->
    {ok, Channel} = made:channel(),
    Dead = [spawn(fun() -> py_channel:recv(Channel) end) || _ <- lists:seq(1, 100)],
    Blocked = python(1, announce_then_collect, [Channel, self()]),
    eventually:message(blocked),
    [exit(Pid, kill) || Pid <- Dead],
    [ok = py_channel:send(Channel, N) || N <- [1, 2, 3]],
    ok = py_channel:close(Channel),
    [{ok, Received}] = eventually:workers([Blocked], blocked),
    %% A process that was killed after it had taken a message took that message with it.
    ?assertEqual([], Received -- [1, 2, 3]).

a_python_receive_times_out(_) ->
    {ok, Channel} = made:channel(),
    ?assertEqual({ok, {<<"timeout">>, true}}, py:call(channel_cases, receive_for, [Channel, 0.02])),
    ok = py_channel:send(Channel, here),
    ?assertEqual({ok, <<"here">>}, py:call(channel_cases, receive_for, [Channel, 0.02])).

try_receive_tells_a_message_from_the_end(_) ->
    {ok, Channel} = made:channel(),
    ?assertEqual({ok, none}, py:call(channel_cases, try_receive, [Channel])),
    ok = py_channel:send(Channel, <<"last">>),
    ok = py_channel:close(Channel),
    ?assertEqual({ok, <<"last">>}, py:call(channel_cases, try_receive, [Channel])),
    ?assertMatch({ok, {<<"closed">>, _}}, py:call(channel_cases, try_receive_closed, [Channel])),
    ?assertMatch({error, {'ChannelClosed', _}}, py:call(channel_cases, try_receive, [Channel])).

%% Closing from Python

python_closes(_) ->
    {ok, Channel} = made:channel(),
    Waiting = eventually:worker(fun() -> py_channel:recv(Channel) end),
    {ok, none} = py:call(channel_cases, close, [Channel]),
    ?assertEqual([{error, closed}], eventually:workers([Waiting], waiting)),
    ?assertMatch(#{closed := true}, py_channel:info(Channel)),
    ?assertEqual({error, closed}, py_channel:send(Channel, x)).

a_context_manager_closes(_) ->
    {ok, Channel} = made:channel(),
    ok = py_channel:send(Channel, 1),
    ?assertEqual({ok, 1}, py:call(channel_cases, close_by_context_manager, [Channel])),
    ?assertMatch(#{closed := true}, py_channel:info(Channel)),
    {ok, Second} = made:channel(),
    ?assertMatch({error, {'LookupError', _}},
                 py:call(channel_cases, close_by_context_manager_and_exception, [Second])),
    ?assertMatch(#{closed := true}, py_channel:info(Second)).

a_cancelled_wait_loses_no_message(_) ->
    {ok, Channel} = made:channel(),
    ?assertEqual({ok, <<"after">>}, py:call(channel_cases, cancel_then_receive, [Channel])),
    ok = py_channel:close(Channel).  % Until here somebody could have sent.

%% Back-pressure, and the other direction

a_slow_receiver_holds_the_sender_back(_) ->
    {ok, Channel} = made:channel(#{max_size => 10000}),
    Receiver = python(1, slow_sum, [Channel]),
    Message = <<"0123456789">>,
    [ok = py_channel:send(Channel, Message, infinity) || _ <- lists:seq(1, 50000)],
    ok = py_channel:close(Channel),
    ?assertEqual([{ok, 500000}], eventually:workers([Receiver], receiver)).

python_sends_and_erlang_receives(_) ->
    {ok, Channel} = made:channel(#{max_size => 1000}),
    Terms = [{<<"item">>, N} || N <- lists:seq(1, 5000)],
    Sender = python(1, send_all, [Channel, Terms]),
    ?assertEqual(Terms, drain(Channel, [])),
    ?assertEqual([{ok, none}], eventually:workers([Sender], sender)).

%% Identity and life

a_channel_comes_back_as_the_same_reference(_) ->
    {ok, Channel} = made:channel(),
    ?assertEqual({ok, Channel}, py:call(channel_cases, same, [Channel])),
    ?assertEqual({ok, {[Channel], #{<<"k">> => Channel}}},
                 py:call(channel_cases, same, [{[Channel], #{k => Channel}}])).

a_python_handle_keeps_the_channel_but_not_its_sender(_) ->
    run_and_die(fun() ->
                    {ok, Channel} = made:channel(#{max_size => 4242}),
                    ok = py_channel:send(Channel, kept),
                    {ok, none} = py:call(py:context(1), channel_cases, hold, [Channel])
                end),
    {ok, Channel} = py:eval(py:context(1), <<"__import__('channel_cases').held">>),
    ?assertMatch(#{max_size := 4242, closed := false}, py_channel:info(Channel)),
    ?assertEqual({ok, kept}, py_channel:recv(Channel)),
    {ok, none} = py:call(py:context(1), channel_cases, release, []).

a_blocked_receive_ends_when_the_last_reference_dies(_) ->
    ends_when_the_last_reference_dies(announce_then_collect).

a_blocked_coroutine_ends_when_the_last_reference_dies(_) ->
    ends_when_the_last_reference_dies(announce_then_collect_async).

ends_when_the_last_reference_dies(Function) ->
    Blocked = blocked_on_a_channel_of_its_own(Function, []),
    ?assertEqual([{ok, []}], eventually:workers([Blocked], blocked)).

what_was_sent_before_the_last_reference_died_is_received(_) ->
    Blocked = blocked_on_a_channel_of_its_own(announce_then_collect, [1, 2, 3]),
    ?assertEqual([{ok, [1, 2, 3]}], eventually:workers([Blocked], blocked)).

%% A process whose call waits for a channel that it does not refer to itself: only the owner does,
%% and that dies once Python is blocked.
blocked_on_a_channel_of_its_own(Function, Messages) ->
    Test = self(),
    Owner = spawn(fun() ->
                      {ok, Channel} = made:channel(),
                      Test ! {channel_name, self(), Channel},
                      receive {die, Terms} -> [ok = py_channel:send(Channel, T) || T <- Terms] end
                  end),
    Channel = receive {channel_name, Owner, C} -> C end,
    Blocked = python(1, Function, [Channel, self()]),
    eventually:message(blocked),
    Owner ! {die, Messages},
    eventually:true(fun() -> not is_process_alive(Owner) end),
    %% A reference is gone when its process is, or when the collector says so.
    [erlang:garbage_collect(Process) || Process <- processes()],
    Blocked.

%% Interrupts and timeouts

an_interrupt_ends_a_blocked_receive(_) ->
    {ok, Channel} = made:channel(),
    Blocked = python(1, how_a_receive_ends, [Channel, self()]),
    eventually:message(blocked),
    ok = py:interrupt(py:context(1)),
    ?assertEqual([{ok, {<<"raised">>, <<"KeyboardInterrupt">>}}],
                 eventually:workers([Blocked], blocked)),
    %% The context works on, and the channel lost nothing.
    ok = py_channel:send(Channel, still_there),
    ?assertEqual({ok, <<"still_there">>},
                 py:call(py:context(1), channel_cases, try_receive, [Channel])).

a_timeout_ends_a_blocked_receive(_) ->
    {ok, Channel} = made:channel(),
    Context = py:context(1),
    ?assertEqual({error, timeout},
                 py:call(Context, channel_cases, collect, [Channel], #{timeout => 50})),
    ?assertEqual({ok, 4.0}, py:call(Context, math, sqrt, [16], #{timeout => 20000})),
    ok = py_channel:send(Channel, still_there),
    ?assertEqual({ok, still_there}, py_channel:recv(Channel, 0)).

many_blocked_receivers_hold_no_scheduler(_) ->
    {ok, Channel} = made:channel(),
    Blocked = [python(Index, announce_then_collect, [Channel, self()])
               || Index <- lists:seq(1, ?CONTEXTS)],
    [eventually:message(blocked) || _ <- Blocked],
    %% Both kinds of dirty schedulers and the normal ones answer at once.
    {ok, _} = file:read_file(code:which(?MODULE)),
    {ok, Other} = made:channel(),
    ok = py_channel:send(Other, lists:seq(1, 100000)),
    {ok, _} = py_channel:recv(Other),
    ok = py_channel:close(Channel),
    ?assertEqual(lists:duplicate(?CONTEXTS, {ok, []}), eventually:workers(Blocked, blocked)).

%% Replies

a_reply_to_a_dead_process_raises(_) ->
    Dead = spawn(fun() -> ok end),
    eventually:true(fun() -> not is_process_alive(Dead) end),
    ?assertEqual({ok, {<<"ProcessError">>, true}},
                 py:call(channel_cases, refused_reply, [Dead, hello])),
    ?assertEqual({ok, {<<"TypeError">>, false}},
                 py:call(channel_cases, refused_reply, [not_a_pid, hello])).

a_reply_reaches_every_kind_of_term(_) ->
    {ok, Channel} = made:channel(),
    Server = python(1, echo, [Channel]),
    Terms = [0, -1, 1 bsl 100, 1.5, <<"text">>, <<255, 254>>, [], [1, [2, {3}]], {}, #{},
             #{<<"k">> => [true, false, none]}, self(), make_ref(), Channel,
             binary:copy(<<"large ">>, 100000), lists:seq(1, 100000)],
    [begin
         ok = py_channel:send(Channel, {self(), Term}),
         ?assertEqual({echo, Term}, eventually:message(echo))
     end || Term <- Terms],
    ok = py_channel:close(Channel),
    ?assertEqual([{ok, length(Terms)}], eventually:workers([Server], server)).

%% Steps

python(Index, Function, Arguments) ->
    Context = py:context(Index),
    eventually:worker(py_case:caller(Context, channel_cases, Function, Arguments)).

run_and_die(Function) ->
    {Pid, Monitor} = spawn_monitor(Function),
    receive {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(normal, Reason) end.

drain(Channel, Received) ->
    case py_channel:recv(Channel, 20000) of
        {ok, Message} -> drain(Channel, [Message | Received]);
        {error, closed} -> lists:reverse(Received)
    end.
