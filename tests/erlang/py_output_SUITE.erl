%% SPDX-License-Identifier: Apache-2.0
%% What Python prints.
-module(py_output_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

all() ->
    [{group, text}, {group, threads}, {group, pressure}, {group, lives}].

groups() ->
    [{text, [],
      [print_reaches_the_group_leader_of_the_caller, output_is_there_when_the_call_returns,
       each_caller_has_its_own_leader, a_line_that_has_not_ended_is_written_with_the_call,
       flush_writes_what_there_is, stderr_goes_to_the_group_leader_in_order,
       all_of_unicode_arrives, a_long_line_arrives_whole, bytes_are_utf8,
       streams_look_as_streams_do, strange_writes_are_refused_or_harmless,
       finalizers_may_print, what_cannot_be_raised_is_printed, the_calling_process_is_known,
       output_is_printed_before_an_error_is_answered]},
     {threads, [],
      [threads_print_to_the_leader_of_the_application, lines_of_threads_stay_whole,
       a_thread_that_ends_leaves_its_last_line, a_dead_callers_output_is_not_lost]},
     {pressure, [],
      [ten_megabytes_pass_in_flat_memory, who_is_faster_than_the_leader_waits,
       a_leader_that_dies_is_replaced, a_leader_that_never_answers_is_given_up,
       a_leader_that_refuses_is_reported]},
     {lives, [],
      [a_restart_goes_on, a_stop_while_a_context_prints, a_stop_while_a_thread_prints,
       a_stop_while_a_leader_is_mute, a_killed_py_output_is_replaced,
       stderr_may_go_to_standard_error, bad_settings_are_refused, a_child_by_fork_has_no_erlang,
       nothing_is_redirected_if_told_so]}].

init_per_suite(Config) ->
    _ = application:load(penstock),
    ok = application:set_env(penstock, num_contexts, 3),
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_case:add_path(Config),
    {ok, _} = py:call(output_cases, describe_streams, []),
    Config.

end_per_suite(_Config) ->
    ok = application:stop(penstock),
    ok = application:unset_env(penstock, num_contexts),
    ok = application:unload(penstock).

init_per_testcase(_Case, Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    [{leader, fake_leader:start()} | Config].

end_per_testcase(_Case, Config) ->
    fake_leader:stop(?config(leader, Config)),
    eventually:silence().

%% Text

print_reaches_the_group_leader_of_the_caller(Config) ->
    Leader = ?config(leader, Config),
    ok = fake_leader:run(Leader, fun() -> py:exec("print('hello', 1)") end),
    ?assertEqual(<<"hello 1\n">>, fake_leader:text(Leader)),
    %% Also through a context of one's choice, and by a function.
    {ok, none} = fake_leader:run(Leader, fun() ->
                                             py:call(py:context(2), builtins, print, [<<"two">>])
                                         end),
    ?assertEqual(<<"hello 1\ntwo\n">>, fake_leader:text(Leader)).

%% No wait between the call and the look.
output_is_there_when_the_call_returns(Config) ->
    Leader = ?config(leader, Config),
    Count = 300,
    fake_leader:run(Leader,
                    fun() ->
                        [begin
                             ok = py:exec(["print(", integer_to_list(N), ")"]),
                             io:put_chars(["after ", integer_to_list(N), "\n"])
                         end || N <- lists:seq(1, Count)]
                    end),
    Expected = [[integer_to_list(N), "\nafter ", integer_to_list(N), "\n"]
                || N <- lists:seq(1, Count)],
    ?assertEqual(iolist_to_binary(Expected), fake_leader:text(Leader)).

each_caller_has_its_own_leader(Config) ->
    Context = py:context(1),
    Leaders = [?config(leader, Config) | [fake_leader:start() || _ <- lists:seq(1, 4)]],
    Workers = [fake_leader:adopt(Leader,
                                 fun() ->
                                     [ok = py:exec(Context, io_lib:format("print(~b)\n", [Index]))
                                      || _ <- lists:seq(1, 50)]
                                 end)
               || {Index, Leader} <- lists:zip(lists:seq(1, 5), Leaders)],
    _ = eventually:workers(Workers, printing),
    [?assertEqual(binary:copy(<<($0 + Index), "\n">>, 50), fake_leader:text(Leader))
     || {Index, Leader} <- lists:zip(lists:seq(1, 5), Leaders)],
    [fake_leader:stop(Leader) || Leader <- tl(Leaders)].

a_line_that_has_not_ended_is_written_with_the_call(Config) ->
    Leader = ?config(leader, Config),
    ok = fake_leader:run(Leader, fun() -> py:exec("print('begun', end='')") end),
    ?assertEqual(<<"begun">>, fake_leader:text(Leader)),
    %% It does not come again, and nobody else's line begins with it.
    ok = fake_leader:run(Leader, fun() -> py:exec("print(', ended')") end),
    ?assertEqual(<<"begun, ended\n">>, fake_leader:text(Leader)).

flush_writes_what_there_is(Config) ->
    Leader = ?config(leader, Config),
    {ok, Channel} = py_channel:new(),
    Code = <<"from erlang import Channel\n"
             "def wait(ref):\n"
             "    print('begun', end='', flush=True)\n"
             "    Channel(ref).receive()\n"
             "    print(', ended')\n">>,
    Worker = fake_leader:adopt(Leader,
                               fun() ->
                                   ok = py:exec(py:context(1), Code),
                                   py:call(py:context(1), '__main__', wait, [Channel])
                               end),
    eventually:equal(<<"begun">>, fun() -> fake_leader:text(Leader) end),
    ok = py_channel:send(Channel, go_on),
    [{ok, none}] = eventually:workers([Worker], waiting),
    ?assertEqual(<<"begun, ended\n">>, fake_leader:text(Leader)).

stderr_goes_to_the_group_leader_in_order(Config) ->
    Leader = ?config(leader, Config),
    Code = "import sys\n"
           "for n in range(20):\n"
           "    print('out', n)\n"
           "    print('err', n, file=sys.stderr)\n",
    ok = fake_leader:run(Leader, fun() -> py:exec(Code) end),
    Expected = [io_lib:format("out ~b~nerr ~b~n", [N, N]) || N <- lists:seq(0, 19)],
    ?assertEqual(iolist_to_binary(Expected), fake_leader:text(Leader)).

all_of_unicode_arrives(Config) ->
    Leader = ?config(leader, Config),
    Text = <<"aä€😀\0\x{7f}"/utf8>>,
    {ok, none} = fake_leader:run(Leader, fun() -> py:call(builtins, print, [Text]) end),
    ok = fake_leader:run(Leader, fun() -> py:exec("print('half \\ud800 a pair')") end),
    ?assertEqual(<<Text/binary, "\nhalf \\ud800 a pair\n">>, fake_leader:text(Leader)).

a_long_line_arrives_whole(Config) ->
    Leader = ?config(leader, Config),
    ok = fake_leader:run(Leader, fun() -> py:exec("print('ä€' * 1_500_000)") end),
    ?assertEqual(<<(binary:copy(<<"ä€"/utf8>>, 1500000))/binary, "\n">>,
                 fake_leader:text(Leader)),
    %% One that is made of many small writes, too.
    ok = fake_leader:run(Leader, fun() -> py:exec("for _ in range(30000): print('z', end='')") end),
    ?assertEqual(<<"\n", (binary:copy(<<"z">>, 30000))/binary>>,
                 binary:part(fake_leader:text(Leader), 7500000, 30001)).

bytes_are_utf8(Config) ->
    Leader = ?config(leader, Config),
    {ok, none} = fake_leader:run(Leader, fun() -> py:call(output_cases, write_bytes, []) end),
    ?assertEqual(<<"ä€😀\n\\xff\n"/utf8>>, fake_leader:text(Leader)).

streams_look_as_streams_do(_) ->
    {ok, Streams} = py:call(output_cases, describe_streams, []),
    ?assertEqual([[Name, <<"utf-8">>, <<"backslashreplace">>, false, true, false, false]
                  || Name <- [<<"<stdout>">>, <<"<stderr>">>]], Streams),
    ?assertEqual({ok, 2}, py:eval("__import__('sys').stderr.fileno()")).

strange_writes_are_refused_or_harmless(Config) ->
    Leader = ?config(leader, Config),
    {ok, {Refused, Written}} =
        fake_leader:run(Leader, fun() -> py:call(output_cases, write_strange, []) end),
    ?assertEqual([<<"write() argument must be str, not ", Type/binary>>
                  || Type <- [<<"bytes">>, <<"NoneType">>, <<"int">>]], Refused),
    ?assertEqual([0, 3, 1], Written),
    ?assertEqual(<<"ab\nc\nd\n">>, fake_leader:text(Leader)).

finalizers_may_print(Config) ->
    Leader = ?config(leader, Config),
    {ok, none} =
        fake_leader:run(Leader, fun() -> py:call(output_cases, print_in_finalizers, [500]) end),
    Lines = binary:split(fake_leader:text(Leader), <<"\n">>, [global, trim]),
    ?assertEqual(1, count(<<"finalized">>, Lines)),
    %% Where a finalizer interrupts a line is its own affair, but nothing is lost.
    Text = fake_leader:text(Leader),
    ?assertEqual(500, length(binary:matches(Text, <<"collected">>))),
    ?assertEqual(500, length(binary:matches(Text, <<"line">>))).

what_cannot_be_raised_is_printed(Config) ->
    Leader = ?config(leader, Config),
    {ok, none} = fake_leader:run(Leader, fun() -> py:call(output_cases, make_unraisable, []) end),
    ?assertMatch({_, _}, binary:match(fake_leader:text(Leader), <<"ValueError: nobody to tell">>)).

the_calling_process_is_known(_) ->
    Self = self(),
    ?assertEqual({ok, [Self, none]}, py:call(output_cases, caller, [])).

output_is_printed_before_an_error_is_answered(Config) ->
    Leader = ?config(leader, Config),
    {error, {'ZeroDivisionError', _}} =
        fake_leader:run(Leader, fun() -> py:exec("print('before', end='')\n1 / 0") end),
    ?assertEqual(<<"before">>, fake_leader:text(Leader)).

%% Threads

threads_print_to_the_leader_of_the_application(Config) ->
    Leader = own_leader(Config),
    {ok, none} = py:call(output_cases, print_in_thread, [<<"from a thread">>]),
    eventually:equal(<<"from a thread\n">>, fun() -> fake_leader:text(Leader) end).

lines_of_threads_stay_whole(Config) ->
    Leader = own_leader(Config),
    {Threads, Count} = {8, 200},
    {ok, none} = py:call(output_cases, print_by_threads, [Threads, Count]),
    Dots = binary:copy(<<".">>, 50),
    eventually:equal(Threads * Count,
                     fun() -> length(binary:matches(fake_leader:text(Leader), <<"\n">>)) end),
    Lines = [binary:split(Line, <<" ">>, [global])
             || Line <- binary:split(fake_leader:text(Leader), <<"\n">>, [global, trim])],
    %% Those of each thread are in order.
    [?assertEqual([[<<"thread">>, integer_to_binary(Thread), <<"line">>, integer_to_binary(N), Dots]
                   || N <- lists:seq(0, Count - 1)],
                  [Line || [_, Number | _] = Line <- Lines, Number =:= integer_to_binary(Thread)])
     || Thread <- lists:seq(0, Threads - 1)].

a_thread_that_ends_leaves_its_last_line(Config) ->
    Leader = own_leader(Config),
    {ok, none} = py:call(output_cases, begin_in_thread, [<<"no newline">>]),
    eventually:equal(<<"no newline">>, fun() -> fake_leader:text(Leader) end).

a_dead_callers_output_is_not_lost(Config) ->
    Leader = own_leader(Config),
    {ok, Channel} = py_channel:new(),
    ok = py:exec(py:context(1), "import erlang"),
    Test = self(),
    Caller = spawn(fun() ->
                       Code = <<"import erlang\n"
                                "def wait(ref, pid):\n"
                                "    erlang.reply(pid, ('runs', None))\n"
                                "    erlang.Channel(ref).receive()\n"
                                "    print('to an orphan')\n">>,
                       ok = py:exec(py:context(1), Code),
                       py:call(py:context(1), '__main__', wait, [Channel, Test])
                   end),
    _ = eventually:message(runs),
    eventually:dead(Caller),
    ok = py_channel:send(Channel, go_on),
    eventually:equal(<<"to an orphan\n">>, fun() -> fake_leader:text(Leader) end).

%% Pressure

ten_megabytes_pass_in_flat_memory(Config) ->
    Leader = ?config(leader, Config),
    {ok, none} = fake_leader:run(Leader, fun() -> py:call(py:context(1), output_cases, print_much,
                                                          [100000]) end),
    ?assertEqual(10000000, byte_size(fake_leader:text(Leader))),
    {Memory, Messages} = fake_leader:largest_writer(Leader),
    ct:log("py_output: ~b bytes, ~b messages; ~b requests",
           [Memory, Messages, fake_leader:requests(Leader)]),
    ?assert(Memory < 4000000),
    ?assert(Messages < 1000).

who_is_faster_than_the_leader_waits(Config) ->
    Leader = ?config(leader, Config),
    fake_leader:mute(Leader),
    Context = py:context(1),
    Printer = fake_leader:adopt(Leader,
                                fun() -> py:call(Context, output_cases, print_for_ever, []) end),
    until_python_waits(),
    Shown = byte_size(fake_leader:text(Leader)),
    ?assert(Shown < 700000),
    {message_queue_len, 0} = process_info(whereis(py_output), message_queue_len),
    %% It goes on when the leader does.
    fake_leader:speak(Leader),
    eventually:true(fun() -> byte_size(fake_leader:text(Leader)) > 5 * Shown end),
    %% A wait in print() is interrupted as any other.
    fake_leader:mute(Leader),
    until_python_waits(),
    ok = py:interrupt(Context),
    %% The end of the call waits for its output.
    fake_leader:speak(Leader),
    ?assertEqual([{error, interrupted}], eventually:workers([Printer], printing)),
    %% Every line once, in order, until the one that was interrupted.
    Lines = binary:split(fake_leader:text(Leader), <<"\n">>, [global, trim]),
    Rest = binary:copy(<<"x">>, 1000),
    Expected = [<<"line ", (integer_to_binary(N))/binary, " ", Rest/binary>>
                || N <- lists:seq(0, length(Lines) - 1)],
    ?assert(lists:prefix(lists:droplast(Lines), Expected)).

a_leader_that_dies_is_replaced(Config) ->
    Own = own_leader(Config),
    Leader = fake_leader:start(),
    fake_leader:mute(Leader),
    Printed = fake_leader:adopt(Leader, fun() ->
                                            ok = py:exec("print('first')"),
                                            ok = py:exec("print('second')")
                                        end),
    [ok] = eventually:workers([Printed], printing),
    ?assertEqual(<<"first\nsecond\n">>, fake_leader:text(Leader)),
    ?assertEqual(<<>>, fake_leader:text(Own)),
    fake_leader:stop(Leader),
    %% It never said that it had written them.
    eventually:equal(<<"first\nsecond\n">>, fun() -> fake_leader:text(Own) end),
    {Self, Test} = {self(), group_leader()},
    true = group_leader(Leader, Self),
    try ok = py:exec("print('third')") after group_leader(Test, Self) end,
    eventually:equal(<<"first\nsecond\nthird\n">>, fun() -> fake_leader:text(Own) end).

a_leader_that_never_answers_is_given_up(Config) ->
    Mute = ?config(leader, Config),
    Other = fake_leader:start(),
    fake_leader:mute(Mute),
    Context = py:context(1),
    Printer = fake_leader:adopt(Mute,
                                fun() -> py:call(Context, output_cases, print_for_ever, []) end),
    until_python_waits(),
    %% Seconds later, but it does arrive; the call may not wait for that long, but who dies has no
    %% leader any more.
    Patient = fake_leader:adopt(Other, fun() ->
                                           ok = py:exec(py:context(2), "print('me, too')"),
                                           receive seen -> ok end
                                       end),
    eventually:equal(<<"me, too\n">>, fun() -> fake_leader:text(Other) end),
    Patient ! seen,
    [ok] = eventually:workers([Patient], printing),
    ok = log_capture:start(),
    fake_leader:speak(Mute),
    #{level := warning} = log_capture:until("bytes of output were dropped"),
    _ = log_capture:stop(),
    %% And it is used again.
    ok = py:interrupt(Context),
    [{error, interrupted}] = eventually:workers([Printer], printing),
    ok = fake_leader:run(Mute, fun() -> py:exec(py:context(2), "print('again')") end),
    ?assertMatch({_, _}, binary:match(fake_leader:text(Mute), <<"again\n">>)),
    fake_leader:stop(Other).

a_leader_that_refuses_is_reported(_) ->
    Refusing = spawn_link(fun Refuse() ->
                              receive
                                  {io_request, From, ReplyAs, _} ->
                                      From ! {io_reply, ReplyAs, {error, not_today}},
                                      Refuse()
                              end
                          end),
    ok = log_capture:start(),
    ok = fake_leader:run(Refusing, fun() -> py:exec("print('x')") end),
    #{level := warning} = log_capture:until("refused output"),
    _ = log_capture:stop(),
    unlink(Refusing),
    eventually:dead(Refusing).

%% Lives

a_restart_goes_on(Config) ->
    Leader = ?config(leader, Config),
    [begin
         ok = application:stop(penstock),
         ok = application:start(penstock),
         ok = fake_leader:run(Leader, fun() -> py:exec(["print(", integer_to_list(N), ")"]) end)
     end || N <- lists:seq(1, 5)],
    ?assertEqual(<<"1\n2\n3\n4\n5\n">>, fake_leader:text(Leader)).

a_stop_while_a_context_prints(Config) ->
    Leader = ?config(leader, Config),
    Printers = [fake_leader:adopt(Leader, fun() ->
                                              py:call(py:context(Index), output_cases,
                                                      print_for_ever, [])
                                          end) || Index <- [1, 2, 3]],
    eventually:true(fun() -> fake_leader:requests(Leader) > 10 end),
    ?assert(stop_time() < py_call_case:size(1500, 6000)),
    [?assertMatch({error, _}, Result) || Result <- eventually:workers(Printers, printing)].

a_stop_while_a_thread_prints(Config) ->
    Leader = own_leader(Config),
    {ok, none} = py:call(output_cases, print_for_ever_in_thread, [self()]),
    eventually:true(fun() -> fake_leader:requests(Leader) > 10 end),
    {ok, none} = py:call(output_cases, end_threads, []),
    ?assertEqual({ended, none}, eventually:message(ended)),
    fake_leader:mute(Leader),
    {ok, none} = py:call(output_cases, print_for_ever_in_thread, [self()]),
    until_python_waits(),
    ?assert(stop_time() < 2500),
    %% Its wait for room ended, and so did the thread.
    ?assertEqual({ended, none}, eventually:message(ended)).

a_stop_while_a_leader_is_mute(Config) ->
    Leader = ?config(leader, Config),
    fake_leader:mute(Leader),
    Printers = [fake_leader:adopt(Leader, fun() ->
                                              py:call(py:context(Index), output_cases, Function, [])
                                          end)
                || {Index, Function} <- [{1, print_for_ever}, {2, log_for_ever}]],
    until_python_waits(),
    ?assert(stop_time() < 2500),
    [?assertMatch({error, _}, Result) || Result <- eventually:workers(Printers, printing)].

%% What it had taken and not passed on is lost, nothing else.
a_killed_py_output_is_replaced(Config) ->
    Leader = ?config(leader, Config),
    Old = whereis(py_output),
    fake_leader:mute(Leader),
    ok = fake_leader:run(Leader, fun() -> py:exec("print('before')") end),
    eventually:dead(Old),
    eventually:true(fun() -> is_pid(whereis(py_output)) andalso py:contexts_started() end),
    fake_leader:speak(Leader),
    eventually:equal(ok, fun() -> fake_leader:run(Leader, fun() -> py:exec("print('after')") end)
                         end),
    ?assertEqual(<<"before\nafter\n">>, fake_leader:text(Leader)).

stderr_may_go_to_standard_error(Config) ->
    Leader = ?config(leader, Config),
    restart_with(stderr, standard_error),
    Device = whereis(standard_error),
    Fake = fake_leader:start(),
    true = unregister(standard_error),
    true = register(standard_error, Fake),
    try
        Code = "import sys\nprint('out')\nprint('err', file=sys.stderr)",
        ok = fake_leader:run(Leader, fun() -> py:exec(Code) end),
        ?assertEqual(<<"out\n">>, fake_leader:text(Leader)),
        ?assertEqual(<<"err\n">>, fake_leader:text(Fake))
    after
        unregister(standard_error),
        register(standard_error, Device),
        restart_with(stderr, group_leader)
    end,
    fake_leader:stop(Fake).

bad_settings_are_refused(_) ->
    [begin
         {ok, Default} = application:get_env(penstock, Name),
         ok = application:stop(penstock),
         ok = application:set_env(penstock, Name, Value),
         {error, Reason} = application:start(penstock),
         ?assertMatch({_, _}, binary:match(iolist_to_binary(io_lib:format("~p", [Reason])),
                                           <<"bad_setting">>)),
         ok = application:set_env(penstock, Name, Default),
         ok = application:start(penstock)
     end || {Name, Value} <- [{logging, yes}, {redirect_output, 1}, {stderr, stdout}]].

a_child_by_fork_has_no_erlang(_) ->
    ok = py:register_function(tell, fun([_Who]) -> ok end),
    %% This thread has called before, and knows whom to ask.
    ?assertMatch({ok, _}, py:eval(<<"__import__('erlang').call('tell', 'parent')">>)),
    ?assertEqual({ok, <<"printed; not running inside Erlang">>},
                 py:call(output_cases, fork, [])),
    ok = py:unregister_function(tell).

nothing_is_redirected_if_told_so(_) ->
    {ok, Peer, _} = peer:start(#{connection => standard_io,
                                 args => ["-pa" | code:get_path()]}),
    Run = fun(Module, Function, Arguments) ->
              peer:call(Peer, Module, Function, Arguments, 60000)
          end,
    %% It has not inherited a sanitizer, so it cannot load a library that needs one.
    true = Run(os, unsetenv, ["PENSTOCK_PRIV"]),
    ok = Run(application, load, [penstock]),
    ok = Run(application, set_env, [penstock, redirect_output, false]),
    ok = Run(application, set_env, [penstock, logging, false]),
    {ok, _} = Run(application, ensure_all_started, [penstock]),
    Code = "[type(__import__('sys').stdout).__module__, "
           "__import__('logging').getLogger().handlers]",
    ?assertEqual({ok, [<<"_io">>, []]}, Run(py, eval, [Code])),
    ok = peer:stop(Peer).

%% Steps

%% The leader that text goes to if there is no calling process. Until the application stops.
own_leader(Config) ->
    Leader = ?config(leader, Config),
    ok = application:stop(penstock),
    ok = application:start(penstock),
    true = group_leader(Leader, whereis(py_output)),
    Leader.

restart_with(Name, Value) ->
    ok = application:stop(penstock),
    ok = application:set_env(penstock, Name, Value),
    ok = application:start(penstock).

stop_time() ->
    Started = erlang:monotonic_time(millisecond),
    ok = application:stop(penstock),
    Took = erlang:monotonic_time(millisecond) - Started,
    ct:log("stopped in ~b ms", [Took]),
    Took.

%% py_output waits for its leader, and somebody for room in the channel to py_output.
until_python_waits() ->
    eventually:true(fun() ->
                        State = sys:get_state(py_output),
                        {_, Senders} = py_nif:debug_waiting(element(2, State)),  % Its channel,
                        element(4, State) =:= held andalso Senders > 0           % and its waiter.
                    end).

count(What, List) ->
    length([Found || Found <- List, Found =:= What]).
