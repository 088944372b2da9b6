%% SPDX-License-Identifier: Apache-2.0
%% Buffers that Erlang writes and Python reads. What Python's methods do in detail is tested in
%% tests/python/test_buffer*.py.
-module(py_buffer_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

all() ->
    [{group, writing}, {group, reading}, {group, dying}, {group, memory}].

groups() ->
    [{writing, [parallel],
      [new_takes_a_length_or_options, bad_options_are_badarg, only_binaries_are_written,
       what_is_not_a_buffer_is_invalid_buffer, nothing_is_written_after_close,
       more_than_announced_is_too_long, more_than_the_limit_aborts,
       a_full_buffer_is_busy_and_one_too_large_never_fits, write_times_out,
       many_writers_each_in_order, close_wakes_a_waiting_writer]},
     {reading, [],
      [python_reads_what_erlang_wrote, python_reads_while_erlang_writes,
       a_reader_makes_room_for_a_waiting_writer, a_read_larger_than_the_bound_does_not_hang,
       a_buffer_travels_and_is_the_same_reference, python_closes,
       less_than_announced_is_an_error_that_says_so, an_abort_carries_its_reason,
       coroutines_read, an_interrupt_ends_a_read]},
     {dying, [],
      [the_death_of_the_writer_is_noticed, the_death_of_a_named_writer_is_noticed,
       naming_a_dead_writer_aborts, a_writer_that_closed_may_die, the_next_writer_counts,
       the_last_reference_goes, a_writer_learns_that_its_reader_is_gone,
       a_dead_waiter_leaves_nothing]},
     {memory, [],
      [a_forged_length_allocates_nothing, what_was_read_is_freed, a_view_disturbs_no_writer,
       a_part_of_a_large_binary_is_copied]}].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_case:add_path(Config),
    [{counters, py_nif:debug_counters()} | Config].

end_per_suite(Config) ->
    eventually:counters_return_to(?config(counters, Config)),
    ok = application:stop(penstock).

%% Writing

new_takes_a_length_or_options(_) ->
    Info = #{size => 0, written => 0, read => 0, max_size => 0, content_length => undefined,
             pinned => 0, closed => false},
    [begin
         {ok, Buffer} = New,
         ?assertEqual(maps:merge(Info, Expected), py_buffer:info(Buffer))
     end || {New, Expected} <- [{made:buffer(), #{}},
                                {made:buffer(undefined), #{}},
                                {made:buffer(0), #{content_length => 0}},
                                {made:buffer(17), #{content_length => 17}},
                                {made:buffer(#{}), #{}},
                                {made:buffer(#{content_length => 5, max_size => 3,
                                                 retain => false, limit => 9, colour => blue}),
                                 #{content_length => 5, max_size => 3}}]].

bad_options_are_badarg(_) ->
    [?assertError(badarg, made:buffer(Bad))
     || Bad <- [-1, 1.5, <<"10">>, infinity, [], 1 bsl 63, 1 bsl 64, #{content_length => -1},
                #{max_size => -1}, #{limit => infinity}, #{retain => 1}]].

only_binaries_are_written(_) ->
    {ok, Buffer} = made:buffer(),
    [begin
         ?assertError(badarg, py_buffer:write(Buffer, Bad)),
         ?assertError(badarg, py_buffer:write(Buffer, Bad, 10))
     end || Bad <- ["list", [<<"iolist">>], <<1:7>>, foo, 17]],
    ?assertError(badarg, py_buffer:write(Buffer, <<>>, -1)),
    ?assertError(badarg, py_buffer:controlling_process(Buffer, foo)),
    ?assertEqual(0, maps:get(written, py_buffer:info(Buffer))),
    ok = py_buffer:close(Buffer).

what_is_not_a_buffer_is_invalid_buffer(_) ->
    {ok, Channel} = made:channel(),
    Invalid = {error, invalid_buffer},
    [begin
         ?assertEqual(Invalid, py_buffer:write(Bad, <<"x">>)),
         ?assertEqual(Invalid, py_buffer:write(Bad, <<"x">>, 10)),
         ?assertEqual(Invalid, py_buffer:close(Bad)),
         ?assertEqual(Invalid, py_buffer:abort(Bad, x)),
         ?assertEqual(Invalid, py_buffer:info(Bad)),
         ?assertEqual(Invalid, py_buffer:controlling_process(Bad, self())),
         ?assertEqual(Invalid, py_nif:buffer_write_wait(Bad, <<>>, make_ref()))
     end || Bad <- [Channel, make_ref(), buffer, 17, <<>>]].

nothing_is_written_after_close(_) ->
    {ok, Buffer} = made:buffer(),
    ok = py_buffer:write(Buffer, <<"all">>),
    ok = py_buffer:close(Buffer),
    ok = py_buffer:close(Buffer),
    ok = py_buffer:abort(Buffer, too_late),
    ?assertEqual({error, closed}, py_buffer:write(Buffer, <<"more">>)),
    ?assertEqual({error, closed}, py_buffer:write(Buffer, <<"more">>, infinity)),
    ?assertMatch(#{size := 3, closed := true}, py_buffer:info(Buffer)).

more_than_announced_is_too_long(_) ->
    {ok, Buffer} = made:buffer(10),
    ok = py_buffer:write(Buffer, <<"12345">>),
    ?assertEqual({error, too_long}, py_buffer:write(Buffer, <<"678901">>)),
    ?assertEqual({error, too_long}, py_buffer:write(Buffer, binary:copy(<<"x">>, 20000))),
    ok = py_buffer:write(Buffer, <<"67890">>),
    ?assertEqual({error, too_long}, py_buffer:write(Buffer, <<"1">>)),
    ok = py_buffer:write(Buffer, <<>>),
    ?assertMatch(#{written := 10}, py_buffer:info(Buffer)).

more_than_the_limit_aborts(_) ->
    {ok, Buffer} = made:buffer(#{limit => 5}),
    ok = py_buffer:write(Buffer, <<"12345">>),
    ?assertEqual({error, limit}, py_buffer:write(Buffer, <<"6">>)),
    ?assertEqual({error, closed}, py_buffer:write(Buffer, <<"6">>)),
    ?assertMatch(#{written := 5, closed := true}, py_buffer:info(Buffer)).

a_full_buffer_is_busy_and_one_too_large_never_fits(_) ->
    {ok, Buffer} = made:buffer(#{max_size => 10}),
    ok = py_buffer:write(Buffer, <<"12345678">>),
    ?assertEqual(busy, py_buffer:write(Buffer, <<"901">>)),
    ?assertEqual({error, too_large}, py_buffer:write(Buffer, <<"12345678901">>)),
    ?assertEqual({error, too_large}, py_buffer:write(Buffer, <<"12345678901">>, infinity)),
    ok = py_buffer:write(Buffer, <<"90">>),
    ?assertMatch(#{size := 10}, py_buffer:info(Buffer)),
    ok = py_buffer:close(Buffer).

write_times_out(_) ->
    {ok, Buffer} = made:buffer(#{max_size => 1}),
    ok = py_buffer:write(Buffer, <<"1">>, 0),
    ?assertEqual(busy, py_buffer:write(Buffer, <<"2">>, 0)),
    ?assertEqual(busy, py_buffer:write(Buffer, <<"2">>, 10)),
    eventually:silence(),
    ?assertMatch(#{size := 1}, py_buffer:info(Buffer)),
    ok = py_buffer:close(Buffer).

many_writers_each_in_order(_) ->
    {ok, Buffer} = made:buffer(),
    Test = self(),
    Writers = [spawn_link(fun() ->
                              [ok = py_buffer:write(Buffer, <<Writer:16, N:16>>)
                               || N <- lists:seq(1, 500)],
                              Test ! {written, self()},
                              receive stop -> ok end
                          end) || Writer <- lists:seq(1, 8)],
    [receive {written, Writer} -> ok end || Writer <- Writers],
    ok = py_buffer:close(Buffer),
    {ok, All} = py:call(buffer_cases, read, [Buffer]),
    Records = [{Writer, N} || <<Writer:16, N:16>> <= All],
    [?assertEqual(lists:seq(1, 500), [N || {W, N} <- Records, W =:= Writer])
     || Writer <- lists:seq(1, 8)],
    [begin unlink(Writer), eventually:dead(Writer) end || Writer <- Writers].

close_wakes_a_waiting_writer(_) ->
    {ok, Buffer} = made:buffer(#{max_size => 1}),
    ok = py_buffer:write(Buffer, <<"1">>),
    Writer = eventually:worker(fun() -> py_buffer:write(Buffer, <<"2">>, infinity) end),
    eventually:waiting([Writer]),
    ok = py_buffer:close(Buffer),
    ?assertEqual([{error, closed}], eventually:workers([Writer], writer)).

%% Reading

python_reads_what_erlang_wrote(_) ->
    Body = crypto:strong_rand_bytes(300000),
    [begin
         {ok, Buffer} = made:buffer(Opts),
         [ok = py_buffer:write(Buffer, Piece) || Piece <- pieces(Body)],
         ok = py_buffer:close(Buffer),
         ?assertEqual({ok, Body}, py:call(buffer_cases, read, [Buffer])),
         ?assertEqual({ok, <<>>}, py:call(buffer_cases, read, [Buffer]))
     end || Opts <- [#{}, #{content_length => 300000}, #{retain => false},
                     #{max_size => 300000, retain => false}]].

python_reads_while_erlang_writes(_) ->
    Body = crypto:strong_rand_bytes(3000000),
    {ok, Buffer} = made:buffer(#{max_size => 70000, retain => false}),
    Reader = reader(digest, Buffer),
    [ok = py_buffer:write(Buffer, Piece, infinity) || Piece <- pieces(Body)],
    ok = py_buffer:close(Buffer),
    ?assertEqual([{ok, sha256(Body)}], eventually:workers([Reader], reader)).

a_reader_makes_room_for_a_waiting_writer(_) ->
    {ok, Buffer} = made:buffer(#{max_size => 10}),
    ok = py_buffer:write(Buffer, <<"1234567890">>),
    Writer = eventually:worker(fun() -> py_buffer:write(Buffer, <<"abc">>, 60000) end),
    eventually:waiting([Writer]),
    {ok, <<"12345">>} = py:call(buffer_cases, read_some, [Buffer, 5]),
    ?assertEqual([ok], eventually:workers([Writer], writer)),
    ?assertMatch(#{size := 8, read := 5}, py_buffer:info(Buffer)),
    ok = py_buffer:close(Buffer).

%% The reader needs more than the writer may write ahead.
a_read_larger_than_the_bound_does_not_hang(_) ->
    Body = crypto:strong_rand_bytes(100000),
    {ok, Buffer} = made:buffer(#{content_length => 100000, max_size => 1000, retain => false}),
    Reader = reader(read, Buffer),
    [ok = py_buffer:write(Buffer, binary:part(Body, N * 1000, 1000), 60000)
     || N <- lists:seq(0, 99)],
    ?assertEqual([{ok, Body}], eventually:workers([Reader], reader)).

a_buffer_travels_and_is_the_same_reference(_) ->
    {ok, Buffer} = made:buffer(),
    {ok, Channel} = made:channel(),
    ok = py_channel:send(Channel, #{<<"wsgi.input">> => Buffer}),
    ?assertEqual({ok, #{<<"wsgi.input">> => Buffer}}, py_channel:recv(Channel)),
    ?assertEqual({ok, [Buffer]}, py:call(buffer_cases, itself, [[Buffer]])),
    ok = py_buffer:close(Buffer).

python_closes(_) ->
    {ok, Buffer} = made:buffer(),
    ok = py_buffer:write(Buffer, <<"data">>),
    {ok, <<"data">>} = py:call(buffer_cases, close_and_read, [Buffer]),
    ?assertEqual({error, closed}, py_buffer:write(Buffer, <<"more">>)).

less_than_announced_is_an_error_that_says_so(_) ->
    {ok, Buffer} = made:buffer(10),
    ok = py_buffer:write(Buffer, <<"1234">>),
    Reader = reader(outcome, Buffer),
    ok = py_buffer:close(Buffer),
    ?assertEqual([{ok, [<<"BodyTruncated">>, true, <<"truncated">>, 10, 4, <<"1234">>]}],
                 eventually:workers([Reader], reader)).

an_abort_carries_its_reason(_) ->
    {ok, Buffer} = made:buffer(),
    ok = py_buffer:write(Buffer, <<"1234">>),
    Reader = reader(outcome, Buffer),
    ok = py_buffer:abort(Buffer, {disconnected, #{after_ms => 17}}),
    ?assertEqual([{ok, [<<"BufferAborted">>, true, {<<"disconnected">>, #{<<"after_ms">> => 17}},
                        none, none, <<"1234">>]}],
                 eventually:workers([Reader], reader)),
    ?assertEqual({error, closed}, py_buffer:write(Buffer, <<"5">>)),
    {ok, Other} = made:buffer(),
    ?assertMatch({error, {unsupported, bitstring, _}}, py_buffer:abort(Other, <<1:1>>)),
    ok = py_buffer:close(Other).

coroutines_read(_) ->
    {ok, Buffer} = made:buffer(#{max_size => 100}),
    Reader = reader(lines_in_coroutine, Buffer),
    [ok = py_buffer:write(Buffer, <<"line\n">>, 60000) || _ <- lists:seq(1, 1000)],
    ok = py_buffer:close(Buffer),
    ?assertEqual([{ok, 1000}], eventually:workers([Reader], reader)).

an_interrupt_ends_a_read(_) ->
    {ok, Buffer} = made:buffer(),
    ok = py_buffer:write(Buffer, <<"kept">>),
    Context = py:context(1),
    Reader = eventually:worker(fun() -> py:call(Context, buffer_cases, read, [Buffer]) end),
    eventually:true(fun() ->
                        ok = py:interrupt(Context),
                        not is_process_alive(Reader)
                    end),
    ?assertEqual([{error, interrupted}], eventually:workers([Reader], reader)),
    ok = py_buffer:close(Buffer),
    ?assertEqual({ok, <<"kept">>}, py:call(Context, buffer_cases, read, [Buffer])).

%% Dying

the_death_of_the_writer_is_noticed(_) ->
    {ok, Buffer} = made:buffer(10),
    Writer = writer(Buffer, <<"1234">>),
    Reader = reader(outcome, Buffer),
    eventually:dead(Writer),
    ?assertMatch([{ok, [<<"BufferAborted">>, true, <<"writer_down">>, _, _, <<"1234">>]}],
                 eventually:workers([Reader], reader)),
    ?assertEqual({error, closed}, py_buffer:write(Buffer, <<"5">>)).

the_death_of_a_named_writer_is_noticed(_) ->
    {ok, Buffer} = made:buffer(),
    Writer = spawn(fun() -> receive stop -> ok end end),
    ok = py_buffer:controlling_process(Buffer, Writer),
    Reader = reader(outcome, Buffer),
    eventually:dead(Writer),
    ?assertMatch([{ok, [<<"BufferAborted">>, true, <<"writer_down">>, _, _, <<>>]}],
                 eventually:workers([Reader], reader)).

naming_a_dead_writer_aborts(_) ->
    {ok, Buffer} = made:buffer(),
    Writer = spawn(fun() -> ok end),
    eventually:dead(Writer),
    ok = py_buffer:controlling_process(Buffer, Writer),
    ?assertEqual({error, closed}, py_buffer:write(Buffer, <<"5">>)).

a_writer_that_closed_may_die(_) ->
    {ok, Buffer} = made:buffer(),
    Writer = writer(Buffer, <<"1234">>),
    ok = py_buffer:close(Buffer),
    eventually:dead(Writer),
    ?assertEqual({ok, <<"1234">>}, py:call(buffer_cases, read, [Buffer])).

%% Only the last one's death matters.
the_next_writer_counts(_) ->
    {ok, Buffer} = made:buffer(),
    First = writer(Buffer, <<"12">>),
    ok = py_buffer:write(Buffer, <<"34">>),
    eventually:dead(First),
    ok = py_buffer:write(Buffer, <<"56">>),
    ok = py_buffer:close(Buffer),
    ?assertEqual({ok, <<"123456">>}, py:call(buffer_cases, read, [Buffer])).

the_last_reference_goes(_) ->
    Outcome = eventually:without_references(
                  fun() ->
                      {ok, Buffer} = made:buffer(),
                      py_case:caller(py:context(1), buffer_cases, outcome, [Buffer])
                  end),
    ?assertMatch({ok, [<<"BufferAborted">>, true, <<"no_writer">> | _]}, Outcome).

a_writer_learns_that_its_reader_is_gone(_) ->
    {ok, Buffer} = made:buffer(#{max_size => 4}),
    ok = py_buffer:write(Buffer, <<"1234">>),
    Context = py:context(1),
    {ok, 4} = py:call(Context, buffer_cases, hold, [Buffer]),
    Test = self(),
    Writer = spawn_link(fun() ->
                            Test ! {result, py_buffer:write(Buffer, <<"5">>, infinity)},
                            receive stop -> ok end
                        end),
    eventually:waiting([Writer]),
    {ok, none} = py:call(Context, buffer_cases, drop, []),
    ?assertEqual({result, {error, no_reader}}, eventually:message(result)),
    ?assertEqual(busy, py_buffer:write(Buffer, <<"5">>)),
    {ok, <<"1234">>} = py:call(Context, buffer_cases, read_some, [Buffer, 4]),
    ok = py_buffer:write(Buffer, <<"5">>),
    Writer ! stop,
    ok = py_buffer:close(Buffer).

a_dead_waiter_leaves_nothing(_) ->
    {ok, Buffer} = made:buffer(#{max_size => 4}),
    ok = py_buffer:write(Buffer, <<"1234">>),
    Waiter = spawn(fun() -> py_buffer:write(Buffer, <<"5">>, infinity) end),
    eventually:waiting([Waiter]),
    %% Who tried last is the writer.
    ok = py_buffer:controlling_process(Buffer, self()),
    eventually:dead(Waiter),
    {ok, <<"1234">>} = py:call(buffer_cases, read_some, [Buffer, 4]),
    ok = py_buffer:write(Buffer, <<"6">>),
    ok = py_buffer:close(Buffer),
    ?assertEqual({ok, <<"6">>}, py:call(buffer_cases, read, [Buffer])).

%% Memory

a_forged_length_allocates_nothing(_) ->
    {ok, Before} = py:call(buffer_cases, resident_kib, []),
    Buffers = [element(2, {ok, _} = made:buffer(1 bsl 62)) || _ <- lists:seq(1, 100)],
    [ok = py_buffer:write(Buffer, <<"x">>) || Buffer <- Buffers],
    {ok, After} = py:call(buffer_cases, resident_kib, []),
    ?assert(After - Before < 16384),
    [{ok, [<<"BodyTruncated">> | _]} = begin
                                           ok = py_buffer:close(Buffer),
                                           py:call(buffer_cases, outcome, [Buffer])
                                       end || Buffer <- lists:sublist(Buffers, 3)].

%% 256 MiB through 256 KiB.
what_was_read_is_freed(_) ->
    {ok, Buffer} = made:buffer(#{max_size => 262144, retain => false}),
    Chunk = crypto:strong_rand_bytes(65536),
    {ok, Before} = py:call(py:context(2), buffer_cases, resident_kib, []),
    Reader = eventually:worker(fun() -> py:call(py:context(1), buffer_cases, count, [Buffer]) end),
    [ok = py_buffer:write(Buffer, binary:copy(Chunk), infinity) || _ <- lists:seq(1, 4096)],
    #{pinned := Pinned} = py_buffer:info(Buffer),
    ok = py_buffer:close(Buffer),
    ?assertEqual([{ok, 65536 * 4096}], eventually:workers([Reader], reader)),
    {ok, After} = py:call(py:context(2), buffer_cases, resident_kib, []),
    ?assert(Pinned =< 262144 + 65536),
    ?assert(After - Before < 65536, {After, Before}).

%% While a GiB is written and read.
a_view_disturbs_no_writer(_) ->
    {ok, Buffer} = made:buffer(#{max_size => 4 bsl 20, retain => false}),
    Holder = py:context(2),
    ok = py_buffer:write(Buffer, <<"held">>),
    {ok, <<"held">>} = py:call(Holder, buffer_cases, hold_view, [Buffer]),
    Reader = reader(count, Buffer),
    Piece = crypto:strong_rand_bytes(1 bsl 20),
    [ok = py_buffer:write(Buffer, Piece, infinity) || _ <- lists:seq(1, 1024)],
    ok = py_buffer:close(Buffer),
    ?assertEqual([{ok, (1 bsl 30) + 4}], eventually:workers([Reader], reader)),
    {ok, <<"held">>} = py:call(Holder, buffer_cases, held_view, []),
    {ok, none} = py:call(Holder, buffer_cases, drop, []).

a_part_of_a_large_binary_is_copied(_) ->
    {ok, Buffer} = made:buffer(),
    Large = crypto:strong_rand_bytes(1000000),
    ok = py_buffer:write(Buffer, binary:part(Large, 0, 10000)),
    ?assertMatch(#{pinned := 10000}, py_buffer:info(Buffer)),
    ok = py_buffer:write(Buffer, Large),
    ?assertMatch(#{pinned := 1010000}, py_buffer:info(Buffer)),
    ok = py_buffer:close(Buffer).

%% Steps

reader(Function, Buffer) ->
    eventually:worker(fun() -> py:call(py:context(1), buffer_cases, Function, [Buffer]) end).

%% Has written when this returns.
writer(Buffer, Bytes) ->
    Test = self(),
    Writer = spawn(fun() ->
                       ok = py_buffer:write(Buffer, Bytes),
                       Test ! {written, self()},
                       receive stop -> ok end
                   end),
    receive {written, Writer} -> Writer end.

%% Of all sizes, shorter and longer than what is copied.
pieces(<<>>) ->
    [];
pieces(Bytes) ->
    Size = min(byte_size(Bytes), rand:uniform(20000)),
    <<Piece:Size/binary, Rest/binary>> = Bytes,
    [Piece | pieces(Rest)].

sha256(Bytes) ->
    string:lowercase(binary:encode_hex(crypto:hash(sha256, Bytes))).
