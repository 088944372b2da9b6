%% SPDX-License-Identifier: Apache-2.0
%% Buffers that Erlang writes and Python in processes of their own reads. That they behave as those
%% in the VM do is py_buffer_SUITE's matter, which runs with them, too (in_processes).
-module(py_shared_buffer_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-define(CASES, shared_buffer_cases).
-define(TIMEOUT, 30_000).
-define(LINES, <<"one\ntwo\nthree\nfour">>).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, reading}, {group, writing}, {group, readers}, {group, ends}, nothing_is_left].

groups() ->
    [{reading, [],
      [every_method_says_the_same, coroutines_read, applications_read, a_body_of_many_pieces,
       the_vm_reads_as_well, errors_say_so]},
     {writing, [],
      [options, a_large_binary_goes_in_pieces, pieces_may_not_all_find_room,
       a_writer_waits_for_a_reader_elsewhere, python_closes, a_reason_without_room]},
     {readers, [],
      [a_buffer_comes_back_as_itself, unshared_is_refused, one_process_reads_at_a_time,
       what_was_not_read_is_for_the_next, a_worker_forks]},
     {ends, [],
      [a_reader_is_killed_while_a_writer_waits, a_reader_is_killed_while_it_waits,
       kills_at_any_moment, what_was_set_aside_is_lost, a_stopped_reader, it_scribbles]}].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_process_case:prepare(Config),
    [{counters, py_nif:debug_counters()}, {fds, py_process_case:fds()} | Config].

end_per_suite(Config) ->
    eventually:counters_return_to(?config(counters, Config)),
    ok = application:stop(penstock).

init_per_testcase(_Case, Config) ->
    Config.

end_per_testcase(_Case, _Config) ->
    py_process_case:end_of_case().

%% Reading

every_method_says_the_same(Config) ->
    [Here, There] = [begin
                         ok = py_buffer:write(Buffer, ?LINES),
                         ok = py_buffer:close(Buffer),
                         {ok, Said} = py:call(Context, ?CASES, methods, [Buffer]),
                         Said
                     end || {Context, {ok, Buffer}} <- [{py:context(1), py_buffer:new()},
                                                        {new(Config), shared(#{})}]],
    ?assertEqual(Here, There).

coroutines_read(Config) ->
    Context = new(Config),
    {ok, Buffer} = shared(#{max_size => 10}),
    Reader = in_background(Context, in_coroutines, [Buffer]),
    [ok = py_buffer:write(Buffer, <<Byte>>, ?TIMEOUT) || <<Byte>> <= ?LINES],
    ok = py_buffer:close(Buffer),
    {ok, [First, Line, Lines, <<>>]} = result(Reader),
    ?assertEqual(?LINES, iolist_to_binary([First, Line, Lines])),
    ?assertEqual(<<"four">>, lists:last(Lines)).

applications_read(Config) ->
    Context = new(Config),
    {ok, Text} = shared(#{}),
    Reader = in_background(Context, as_text, [#{<<"wsgi.input">> => Text}]),
    %% A character in two pieces.
    ok = py_buffer:write(Text, <<"zu", 195>>),
    ok = py_buffer:write(Text, <<188, "m\nEnde">>),
    ok = py_buffer:close(Text),
    ?assertEqual({ok, [<<"zu", 195, 188, "m">>, <<"Ende">>]}, result(Reader)),
    %% More than fits at a time, of a length that is announced.
    Body = crypto:strong_rand_bytes(1_000_000),
    {ok, Input} = shared(#{content_length => byte_size(Body), max_size => 10_000}),
    Call = in_background(Context, body, [#{<<"wsgi.input">> => Input,
                                           <<"CONTENT_LENGTH">> => <<"1000000">>}]),
    ok = py_buffer:write(Input, Body, ?TIMEOUT),
    ?assertEqual({ok, Body}, result(Call)),
    ?assertMatch(#{size := 0, written := 1_000_000, read := 1_000_000}, py_buffer:info(Input)),
    ?assertEqual({error, too_long}, py_buffer:write(Input, <<"x">>)).

a_body_of_many_pieces(Config) ->
    Context = new(Config),
    [begin
         Body = crypto:strong_rand_bytes(3_000_000),
         {ok, Buffer} = shared(Opts),
         Reader = in_background(Context, digest, [Buffer]),
         [ok = py_buffer:write(Buffer, Piece, ?TIMEOUT) || Piece <- pieces(Body)],
         ok = py_buffer:close(Buffer),
         ?assertEqual({ok, sha256(Body)}, result(Reader))
     end || Opts <- [#{}, #{retain => false}, #{max_size => 20_000, retain => false}]].

the_vm_reads_as_well(Config) ->
    {ok, Buffer} = shared(#{}),
    ok = py_buffer:write(Buffer, ?LINES),
    ?assertEqual({ok, <<"one">>}, py:call(py:context(1), ?CASES, read_some, [Buffer, 3])),
    ok = py_buffer:close(Buffer),
    ?assertEqual({ok, <<"\ntwo\nthree\nfour">>}, py:call(new(Config), ?CASES, read, [Buffer])).

errors_say_so(Config) ->
    Context = new(Config),
    Outcome = fun(Opts, Bytes, End) ->
                  {ok, Buffer} = shared(Opts),
                  Reader = eventually:worker(
                               fun() -> py:call(Context, buffer_cases, outcome, [Buffer]) end),
                  ok = py_buffer:write(Buffer, Bytes),
                  End(Buffer),
                  {ok, Said} = result(Reader),
                  Said
              end,
    ?assertEqual([<<"BodyTruncated">>, true, <<"truncated">>, 10, 4, <<"1234">>],
                 Outcome(#{content_length => 10}, <<"1234">>, fun py_buffer:close/1)),
    Reason = {disconnected, #{after_ms => 17, text => <<"x">>}},
    ?assertEqual([<<"BufferAborted">>, true,
                  {<<"disconnected">>, #{<<"after_ms">> => 17, <<"text">> => <<"x">>}},
                  none, none, <<"1234">>],
                 Outcome(#{}, <<"1234">>, fun(Buffer) -> py_buffer:abort(Buffer, Reason) end)),
    ?assertMatch([_, _, <<"limit">>, _, _, <<"1234">>],
                 Outcome(#{limit => 4}, <<"1234">>,
                         fun(Buffer) -> {error, limit} = py_buffer:write(Buffer, <<"5">>) end)),
    ?assertMatch([_, _, <<"writer_down">>, _, _, <<"1234">>],
                 Outcome(#{}, <<"1234">>,
                         fun(Buffer) ->
                             Writer = spawn(fun() -> receive stop -> ok end end),
                             ok = py_buffer:controlling_process(Buffer, Writer),
                             eventually:dead(Writer)
                         end)),
    NoWriter = eventually:without_references(
                   fun() ->
                       {ok, Buffer} = shared(#{}),
                       py_case:caller(Context, buffer_cases, outcome, [Buffer])
                   end),
    ?assertMatch({ok, [<<"BufferAborted">>, true, <<"no_writer">> | _]}, NoWriter).

%% Writing

options(_Config) ->
    [?assertError(badarg, py_buffer:new(Opts))
     || Opts <- [#{shared => yes}, #{shared => true, max_size => -1},
                 #{shared => true, max_size => 16 * 1024 * 1024 + 1}]],
    {ok, Buffer} = shared(#{content_length => 7}),
    ?assertEqual(#{size => 0, written => 0, read => 0, max_size => 1 bsl 18, content_length => 7,
                   pinned => 0, closed => false}, py_buffer:info(Buffer)),
    ok = py_buffer:write(Buffer, <<"1234567">>),
    ?assertMatch(#{size := 7, written := 7}, py_buffer:info(Buffer)),
    ?assertEqual({error, too_long}, py_buffer:write(Buffer, <<"8">>)),
    ok = py_buffer:close(Buffer),
    ?assertMatch(#{closed := true}, py_buffer:info(Buffer)),
    ?assertEqual({error, closed}, py_buffer:write(Buffer, <<"8">>, ?TIMEOUT)),
    {ok, Plain} = py_buffer:new(#{shared => false}),
    ?assertMatch(#{max_size := 0}, py_buffer:info(Plain)).

a_large_binary_goes_in_pieces(Config) ->
    Context = new(Config),
    Body = crypto:strong_rand_bytes(10 * 1024 * 1024),
    {ok, Buffer} = shared(#{retain => false}),
    Reader = in_background(Context, digest, [Buffer]),
    ?assertEqual({error, too_large}, py_buffer:write(Buffer, Body)),
    ?assertEqual({error, too_large}, py_buffer:write(Buffer, Body, 0)),
    ?assertEqual(ok, py_buffer:write(Buffer, Body, ?TIMEOUT)),
    ok = py_buffer:close(Buffer),
    ?assertEqual({ok, sha256(Body)}, result(Reader)),
    {ok, Limited} = shared(#{limit => 1_000_000}),
    ?assertEqual({error, limit}, py_buffer:write(Limited, Body, ?TIMEOUT)),
    {ok, Announced} = shared(#{content_length => 1_000_000}),
    ?assertEqual({error, too_long}, py_buffer:write(Announced, Body, ?TIMEOUT)),
    ?assertMatch(#{written := 0, closed := false}, py_buffer:info(Announced)).

pieces_may_not_all_find_room(Config) ->
    {ok, Buffer} = shared(#{max_size => 10}),
    ?assertEqual({busy, <<"abcdef">>}, py_buffer:write(Buffer, <<"1234567890abcdef">>, 20)),
    ?assertEqual(busy, py_buffer:write(Buffer, <<"abcdef">>, 20)),
    eventually:silence(),
    Reader = in_background(new(Config), read, [Buffer]),
    ok = py_buffer:write(Buffer, <<"abcdef">>, ?TIMEOUT),
    ok = py_buffer:close(Buffer),
    ?assertEqual({ok, <<"1234567890abcdef">>}, result(Reader)).

a_writer_waits_for_a_reader_elsewhere(Config) ->
    Context = new(Config),
    {ok, Buffer} = shared(#{max_size => 10}),
    ok = py_buffer:write(Buffer, <<"1234567890">>),
    ?assertEqual(busy, py_buffer:write(Buffer, <<"a">>)),
    Writers = [writer(Buffer, <<"abc">>) || _ <- [1, 2]],
    eventually:waiting(Writers),
    {ok, <<"123456">>} = py:call(Context, ?CASES, keep, [Buffer, 6]),
    ?assertEqual([ok, ok], [result(Writer) || Writer <- Writers]),
    ?assertMatch(#{size := 10, read := 6}, py_buffer:info(Buffer)),
    ?assertEqual({ok, <<"7890abcabc">>}, py:call(Context, ?CASES, read_some, [Buffer, 100])).

python_closes(Config) ->
    {ok, Buffer} = shared(#{max_size => 4}),
    ok = py_buffer:write(Buffer, <<"data">>),
    Writer = writer(Buffer, <<"more">>),
    eventually:waiting([Writer]),
    {ok, <<"data">>} = py:call(new(Config), buffer_cases, close_and_read, [Buffer]),
    ?assertEqual({error, closed}, result(Writer)),
    ?assertMatch(#{closed := true}, py_buffer:info(Buffer)).

a_reason_without_room(_Config) ->
    {ok, Buffer} = shared(#{}),
    {ok, Channel} = py_channel:new(),
    ?assertEqual({error, too_large}, py_buffer:abort(Buffer, binary:copy(<<"x">>, 4000))),
    ?assertEqual({error, not_shared}, py_buffer:abort(Buffer, {because_of, Channel})),
    ?assertMatch({error, {unsupported, bitstring, _}}, py_buffer:abort(Buffer, <<1:1>>)),
    ok = py_buffer:write(Buffer, <<"still">>),
    ok = py_buffer:abort(Buffer, binary:copy(<<"x">>, 3000)).

%% Readers

a_buffer_comes_back_as_itself(Config) ->
    Context = new(Config),
    {ok, Buffer} = shared(#{}),
    {ok, Channel} = py_channel:new(#{shared => true}),
    ?assertEqual({ok, [Buffer, Channel, Buffer]},
                 py:call(Context, ?CASES, same, [[Buffer, Channel, Buffer]])),
    {ok, none} = py:call(Context, erlang, send, [self(), {here, Buffer}]),
    receive {<<"here">>, Again} -> ?assertEqual(Buffer, Again) end.

unshared_is_refused(Config) ->
    Context = new(Config),
    {ok, Plain} = py_buffer:new(),
    {ok, Shared} = shared(#{}),
    {ok, Channel} = py_channel:new(#{shared => true}),
    ?assertEqual({error, not_shared}, py:call(Context, ?CASES, same, [[Shared, Plain]])),
    ?assertEqual({error, not_shared}, py_channel:send(Channel, Shared)),
    {ok, [<<"ValueError">>, Text]} = py:call(py:context(1), ?CASES, send_buffer, [Channel, Plain]),
    ?assertNotEqual(nomatch, string:find(Text, "shared => true")).

one_process_reads_at_a_time(Config) ->
    [First, Second] = [new(Config), new(Config)],
    {ok, Buffer} = shared(#{}),
    ok = py_buffer:write(Buffer, ?LINES),
    {ok, <<"one">>} = py:call(First, ?CASES, keep, [Buffer, 3]),
    [begin
         {ok, Refusals} = py:call(Context, ?CASES, may_not_read, [Buffer]),
         ?assertEqual([[<<"RuntimeError">>, <<"the buffer is being read in another process">>]],
                      lists:usort(Refusals))
     end || Context <- [Second, py:context(1)]],
    ?assertEqual({ok, <<"\ntwo">>}, py:call(First, ?CASES, read_some, [Buffer, 4])),
    {ok, none} = py:call(First, ?CASES, drop, []),
    ?assertEqual({ok, <<"\nthree">>}, py:call(Second, ?CASES, read_some, [Buffer, 6])),
    ?assertEqual({ok, <<"\nfo">>}, py:call(First, ?CASES, read_some, [Buffer, 3])),
    ?assertEqual({ok, <<"ur">>}, py:call(py:context(1), ?CASES, read_some, [Buffer, 3])).

%% Also of one that only looked, and was interrupted.
what_was_not_read_is_for_the_next(Config) ->
    [First, Second] = [new(Config), new(Config)],
    {ok, Buffer} = shared(#{}),
    ok = py_buffer:write(Buffer, ?LINES),
    Reader = in_background(First, read, [Buffer]),
    eventually:true(fun() ->
                        ok = py:interrupt(First),
                        not is_process_alive(Reader)
                    end),
    {error, interrupted} = result(Reader),
    ok = py_buffer:close(Buffer),
    ?assertEqual({ok, ?LINES}, py:call(Second, ?CASES, read, [Buffer])).

a_worker_forks(Config) ->
    Context = new(Config),
    {ok, Buffer} = shared(#{}),
    ok = py_buffer:write(Buffer, ?LINES),
    ?assertEqual({ok, 7}, py:call(Context, ?CASES, fork_and_read, [Buffer])),
    ok = py_buffer:close(Buffer),
    ?assertEqual({ok, <<"ne\ntwo\nthree\nfour">>}, py:call(Context, ?CASES, read, [Buffer])).

%% Ends

a_reader_is_killed_while_a_writer_waits(Config) ->
    {ok, Buffer} = shared(#{max_size => 10}),
    ok = py_buffer:write(Buffer, <<"1234567890">>),
    Reader = new(Config),
    {ok, Pid} = py_context:os_pid(Reader),
    {ok, <<"123">>} = py:call(Reader, ?CASES, keep, [Buffer, 3]),
    Writer = writer(Buffer, <<"abcd">>),
    eventually:waiting([Writer]),
    py_process_case:kill(Pid),
    ?assertEqual({error, no_reader}, result(Writer)),
    %% Another one goes on.
    Other = in_background(new(Config), read, [Buffer]),
    ok = py_buffer:write(Buffer, <<"abc">>, ?TIMEOUT),
    ok = py_buffer:close(Buffer),
    ?assertEqual({ok, <<"4567890abc">>}, result(Other)).

a_reader_is_killed_while_it_waits(Config) ->
    {ok, Buffer} = shared(#{}),
    Reader = new(Config),
    {ok, Pid} = py_context:os_pid(Reader),
    {ok, <<>>} = py:call(Reader, ?CASES, keep, [Buffer]),
    Waiting = in_background(Reader, read, [Buffer]),
    ok = py_buffer:write(Buffer, <<"some">>),
    py_process_case:kill(Pid),
    ?assertEqual({error, {worker_down, {signal, 9}}}, result(Waiting)),
    ok = py_buffer:write(Buffer, <<" more">>),
    ok = py_buffer:close(Buffer),
    Next = new(Config),
    eventually:equal({ok, <<"some more">>}, fun() -> py:call(Next, ?CASES, read, [Buffer]) end).

%% The writer goes on or is told, and the next reader finds a part of what was written, from where
%% the dead one stopped on.
kills_at_any_moment(Config) ->
    Body = crypto:strong_rand_bytes(200_000),
    Test = self(),
    Writing = fun Write(Buffer) ->
                  case py_buffer:write(Buffer, Body, ?TIMEOUT) of
                      ok -> Write(Buffer);
                      Other -> ok = py_buffer:controlling_process(Buffer, Test), Other
                  end
              end,
    [begin
         {ok, Buffer} = shared(#{max_size => 4096, retain => false}),
         Reader = new(Config),
         {ok, Pid} = py_context:os_pid(Reader),
         Reading = in_background(Reader, read_for_ever, [Buffer]),
         Writer = eventually:worker(fun() -> Writing(Buffer) end),
         Until = rand:uniform(1_000_000),
         eventually:true(fun() -> maps:get(read, py_buffer:info(Buffer)) > Until end),
         py_process_case:kill(Pid),
         {error, {worker_down, {signal, 9}}} = result(Reading),
         ?assertEqual({error, no_reader}, result(Writer)),
         ok = py_buffer:close(Buffer),
         #{read := Read, written := Written} = py_buffer:info(Buffer),
         Left = binary:part(<<Body/binary, Body/binary>>, Read rem byte_size(Body), Written - Read),
         ?assertEqual({ok, Left},
                      py:call(new(Config), ?CASES, read, [Buffer]))
     end || _ <- lists:seq(1, 4)].

%% A reader that needs more at a time than fits takes bytes along.
what_was_set_aside_is_lost(Config) ->
    {ok, Buffer} = shared(#{max_size => 10}),
    Reader = new(Config),
    {ok, Pid} = py_context:os_pid(Reader),
    Reading = in_background(Reader, read, [Buffer]),
    [ok = py_buffer:write(Buffer, <<"12345">>, ?TIMEOUT) || _ <- lists:seq(1, 10)],
    py_process_case:kill(Pid),
    {error, {worker_down, {signal, 9}}} = result(Reading),
    eventually:equal({error, closed}, fun() -> py_buffer:write(Buffer, <<"12345">>, 100) end),
    ?assertMatch({ok, [<<"BufferAborted">>, true, <<"reader_down">> | _]},
                 py:call(new(Config), buffer_cases, outcome, [Buffer])).

a_stopped_reader(Config) ->
    Context = new(Config),
    {ok, Pid} = py_context:os_pid(Context),
    {ok, Buffer} = shared(#{max_size => 5000}),
    Reader = in_background(Context, digest, [Buffer]),
    Body = crypto:strong_rand_bytes(400_000),
    Writer = writer(Buffer, Body),
    [begin
         py_process_case:signal("STOP", Pid),
         py_process_case:signal("CONT", Pid)
     end || _ <- lists:seq(1, 20)],
    ok = result(Writer),
    ok = py_buffer:close(Buffer),
    ?assertEqual({ok, sha256(Body)}, result(Reader)).

%% A worker that writes anything into a buffer spoils that buffer, and nothing else.
it_scribbles(Config) ->
    [begin
         Context = new(Config),
         {ok, Buffer} = shared(#{max_size => 1024}),
         {ok, _} = py:call(Context, shared_cases, scribble, [Buffer, Seed]),
         [begin
              _ = py_buffer:write(Buffer, binary:copy(<<"x">>, N)),
              _ = py_buffer:write(Buffer, <<"y">>, 1),
              _ = py_buffer:info(Buffer),
              _ = py:call(py:context(1), ?CASES, read_some, [Buffer, 10], #{timeout => 5})
          end || N <- lists:seq(1, 200)],
         py_context:stop(Context),
         ok = py_buffer:close(Buffer),
         ?assertEqual({ok, [1]}, py:call(py:context(1), ?CASES, same, [[1]]))
     end || Seed <- lists:seq(1, 4)].

nothing_is_left(Config) ->
    eventually:equal([], fun py_process_case:workers/0),
    eventually:true(fun() ->
                        [erlang:garbage_collect(Process) || Process <- processes()],
                        py_process_case:fds() =:= ?config(fds, Config)
                            orelse py_process_case:fds()
                    end).

%% Helpers

new(Config) ->
    py_process_case:new(Config).

shared(Opts) ->
    py_buffer:new(Opts#{shared => true}).

in_background(Context, Function, Args) ->
    eventually:worker(fun() -> py:call(Context, ?CASES, Function, Args) end).

%% Its death is not the writer's.
writer(Buffer, Bytes) ->
    Test = self(),
    eventually:worker(fun() ->
                          Result = py_buffer:write(Buffer, Bytes, ?TIMEOUT),
                          ok = py_buffer:controlling_process(Buffer, Test),
                          Result
                      end).

result(Worker) ->
    receive {worker, Worker, Result} -> Result
    after ?TIMEOUT -> error({no_result, Worker})
    end.

%% Of all sizes.
pieces(<<>>) ->
    [];
pieces(Bytes) ->
    Size = min(byte_size(Bytes), rand:uniform(30_000)),
    <<Piece:Size/binary, Rest/binary>> = Bytes,
    [Piece | pieces(Rest)].

sha256(Bytes) ->
    string:lowercase(binary:encode_hex(crypto:hash(sha256, Bytes))).
