%% SPDX-License-Identifier: Apache-2.0
%% What Python prints and logs in processes of its own.
-module(py_process_output_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, text}, {group, pressure}, {group, ends}, {group, logging}, nothing_is_left].

groups() ->
    [{text, [],
      [output_is_there_when_the_call_returns, each_caller_has_its_own_leader,
       it_is_written_as_in_the_vm, threads_print_to_the_leader_of_the_application,
       what_a_subprocess_prints_does_not_come_here]},
     {pressure, [],
      [ten_megabytes_pass, who_is_faster_than_the_leader_waits,
       who_has_printed_has_been_read, two_processes_wait_side_by_side]},
     {ends, [],
      [what_was_printed_before_a_crash_arrives, what_is_printed_at_exit_arrives,
       a_killed_process_waits_for_nobody, a_stop_while_a_leader_is_mute,
       a_killed_py_output_is_replaced, a_child_by_fork_has_no_erlang,
       what_is_no_output_ends_the_process, what_is_no_text_is_shown,
       nothing_is_redirected_if_told_so]},
     {logging, [],
      [levels_are_mapped, a_record_says_where_it_comes_from, exceptions_bring_their_traceback,
       text_and_records_keep_their_order, strange_records_do_no_harm]}].

init_per_suite(Config) ->
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, all),
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_process_case:shared_once(),
    [{level, Level}, {fds, py_process_case:fds()},
     {maps, py_process_case:maps()} | Config].

end_per_suite(Config) ->
    ok = application:stop(penstock),
    ok = logger:set_primary_config(level, ?config(level, Config)).

init_per_testcase(nothing_is_left, Config) ->
    Config;
init_per_testcase(_Case, Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_process_case:shared_once(),
    Context = py_process_case:new(Config),
    [{context, Context}, {leader, fake_leader:start()} | Config].

end_per_testcase(nothing_is_left, _Config) ->
    ok;
end_per_testcase(_Case, Config) ->
    fake_leader:stop(?config(leader, Config)),
    [py_context:stop(Context) || Context <- py_process_case:contexts()],
    eventually:equal([], fun py_process_case:workers/0),
    eventually:silence().

%% Text

%% No wait between the call and the look.
output_is_there_when_the_call_returns(Config) ->
    Count = 300,
    fake_leader:run(?config(leader, Config),
                    fun() ->
                        [begin
                             ok = exec(Config, ["print(", integer_to_list(N), ", end='')"]),
                             io:put_chars([" after ", integer_to_list(N), "\n"])
                         end || N <- lists:seq(1, Count)]
                    end),
    Expected = [[integer_to_list(N), " after ", integer_to_list(N), "\n"]
                || N <- lists:seq(1, Count)],
    ?assertEqual(iolist_to_binary(Expected), text(Config)).

each_caller_has_its_own_leader(Config) ->
    Leaders = [?config(leader, Config) | [fake_leader:start() || _ <- lists:seq(1, 4)]],
    Workers = [fake_leader:adopt(Leader,
                                 fun() ->
                                     [ok = exec(Config, io_lib:format("print(~b)\n", [Index]))
                                      || _ <- lists:seq(1, 50)]
                                 end)
               || {Index, Leader} <- lists:zip(lists:seq(1, 5), Leaders)],
    _ = eventually:workers(Workers, printing),
    [?assertEqual(binary:copy(<<($0 + Index), "\n">>, 50), fake_leader:text(Leader))
     || {Index, Leader} <- lists:zip(lists:seq(1, 5), Leaders)],
    [fake_leader:stop(Leader) || Leader <- tl(Leaders)].

it_is_written_as_in_the_vm(Config) ->
    ok = in_group(Config, fun() -> exec(Config, "import sys\n"
                                                "for n in range(20):\n"
                                                "    print('out', n)\n"
                                                "    print('err', n, file=sys.stderr)\n") end),
    Lines = iolist_to_binary([io_lib:format("out ~b~nerr ~b~n", [N, N])
                              || N <- lists:seq(0, 19)]),
    ?assertEqual(Lines, text(Config)),
    {ok, none} = in_group(Config, fun() -> call(Config, write_bytes, []) end),
    ?assertEqual(<<Lines/binary, "ä€😀\n\\xff\n"/utf8>>, text(Config)),
    ?assertMatch({ok, [[<<"<stdout>">>, <<"utf-8">> | _], [<<"<stderr>">>, <<"utf-8">> | _]]},
                 call(Config, describe_streams, [])),
    Self = self(),
    ?assertEqual({ok, [Self, none]}, call(Config, caller, [])).

threads_print_to_the_leader_of_the_application(Config) ->
    true = group_leader(?config(leader, Config), whereis(py_output)),
    try
        {Threads, Count} = {4, 100},
        {ok, none} = call(Config, print_by_threads, [Threads, Count]),
        eventually:equal(Threads * Count,
                         fun() -> length(binary:matches(text(Config), <<"\n">>)) end),
        Dots = binary:copy(<<".">>, 50),
        Lines = [binary:split(Line, <<" ">>, [global])
                 || Line <- binary:split(text(Config), <<"\n">>, [global, trim])],
        [?assertEqual([[<<"thread">>, integer_to_binary(Thread), <<"line">>, integer_to_binary(N),
                        Dots] || N <- lists:seq(0, Count - 1)],
                      [Line || [_, Number | _] = Line <- Lines,
                               Number =:= integer_to_binary(Thread)])
         || Thread <- lists:seq(0, Threads - 1)]
    after
        true = group_leader(group_leader(), whereis(py_output))
    end.

%% It goes where the VM's goes, and there is a descriptor for it.
what_a_subprocess_prints_does_not_come_here(Config) ->
    ok = in_group(Config, fun() -> exec(Config, "import subprocess, sys\n"
                                                "print('before')\n"
                                                "subprocess.run(['/bin/true'], env={},\n"
                                                "               stdout=sys.stdout, check=True)\n"
                                                "print('after')\n") end),
    ?assertEqual(<<"before\nafter\n">>, text(Config)).

%% Pressure

ten_megabytes_pass(Config) ->
    {ok, none} = in_group(Config, fun() -> call(Config, print_much, [100000]) end),
    ?assertEqual(10000000, byte_size(text(Config))),
    %% One line, too.
    ok = in_group(Config, fun() -> exec(Config, "print('ä€' * 1_500_000)") end),
    ?assertEqual(17500001, byte_size(text(Config))).

who_is_faster_than_the_leader_waits(Config) ->
    Leader = ?config(leader, Config),
    fake_leader:mute(Leader),
    Printer = fake_leader:adopt(Leader, fun() -> call(Config, print_for_ever, []) end),
    py_output_SUITE:until_python_waits(),
    Shown = byte_size(text(Config)),
    ?assert(Shown < 700000),
    %% It goes on when the leader does.
    fake_leader:speak(Leader),
    eventually:true(fun() -> byte_size(text(Config)) > 10 * Shown end),
    %% A wait in print() is interrupted as any other.
    fake_leader:mute(Leader),
    py_output_SUITE:until_python_waits(),
    ok = py:interrupt(?config(context, Config)),
    %% The end of the call waits for its output.
    fake_leader:speak(Leader),
    ?assertEqual([{error, interrupted}], eventually:workers([Printer], printing)),
    %% Every line once, in order, until the one that was interrupted.
    Lines = binary:split(text(Config), <<"\n">>, [global, trim]),
    Rest = binary:copy(<<"x">>, 1000),
    Expected = [<<"line ", (integer_to_binary(N))/binary, " ", Rest/binary>>
                || N <- lists:seq(0, length(Lines) - 1)],
    ?assert(lists:prefix(lists:droplast(Lines), Expected)).

%% Who prints 20 MB is never more than what may be queued ahead of the leader: in front of it, of
%% py_output, in the VM for the process, and in the process.
who_has_printed_has_been_read(Config) ->
    Leader = ?config(leader, Config),
    Test = self(),
    ok = py:register_function(process_printed,
                              fun([]) ->
                                  Test ! {printed, byte_size(fake_leader:text(Leader))},
                                  none
                              end),
    Lines = py_call_case:size(200000, 60000),
    {ok, none} = in_group(Config, fun() -> call(Config, print_and_call,
                                                [Lines, process_printed]) end),
    {printed, Size} = eventually:message(printed),
    ok = py:unregister_function(process_printed),
    ct:log("~b of ~b bytes had arrived", [Size, 100 * Lines]),
    ?assert(Size > 100 * Lines - 4000000).

two_processes_wait_side_by_side(Config) ->
    Leader = ?config(leader, Config),
    Other = py_process_case:new(Config),
    fake_leader:mute(Leader),
    Printers = [fake_leader:adopt(Leader, fun() -> py:call(Context, output_cases, print_much,
                                                           [30000]) end)
                || Context <- [?config(context, Config), Other]],
    py_output_SUITE:until_python_waits(),
    fake_leader:speak(Leader),
    ?assertEqual([{ok, none}, {ok, none}], eventually:workers(Printers, printing)),
    ?assertEqual(6000000, byte_size(text(Config))).

%% Ends

what_was_printed_before_a_crash_arrives(Config) ->
    {error, {worker_down, {signal, 9}}} =
        in_group(Config, fun() -> exec(Config, "import os, signal\n"
                                               "print('last words')\n"
                                               "os.kill(os.getpid(), signal.SIGKILL)\n") end),
    ?assertEqual(<<"last words\n">>, text(Config)).

what_is_printed_at_exit_arrives(Config) ->
    Leader = ?config(leader, Config),
    true = group_leader(Leader, whereis(py_output)),
    try
        ok = exec(Config, "import atexit\natexit.register(print, 'farewell', end='')"),
        ok = py_context:stop(?config(context, Config)),
        eventually:equal(<<"farewell">>, fun() -> text(Config) end)
    after
        true = group_leader(group_leader(), whereis(py_output))
    end.

%% Neither does who calls it, nor the end of the context.
a_killed_process_waits_for_nobody(Config) ->
    Leader = ?config(leader, Config),
    fake_leader:mute(Leader),
    Printer = fake_leader:adopt(Leader, fun() -> call(Config, print_for_ever, []) end),
    py_output_SUITE:until_python_waits(),
    {ok, OsPid} = py_context:os_pid(?config(context, Config)),
    py_process_case:kill(OsPid),
    ?assertEqual([{error, {worker_down, {signal, 9}}}], eventually:workers([Printer], printing)),
    %% What waits in line for room arrives, and nothing waits any more.
    fake_leader:speak(Leader),
    eventually:true(fun() ->
                        {_, Senders} = py_nif:debug_waiting(element(2, sys:get_state(py_output))),
                        Senders =:= 0
                    end).

a_stop_while_a_leader_is_mute(Config) ->
    Leader = ?config(leader, Config),
    fake_leader:mute(Leader),
    Printer = fake_leader:adopt(Leader, fun() -> call(Config, print_for_ever, []) end),
    py_output_SUITE:until_python_waits(),
    ?assert(py_output_SUITE:stop_time() < py_call_case:size(3500, 8000)),
    [{error, _}] = eventually:workers([Printer], printing).

a_killed_py_output_is_replaced(Config) ->
    Old = whereis(py_output),
    eventually:dead(Old),
    eventually:true(fun() -> is_pid(whereis(py_output)) andalso py:contexts_started() end),
    %% The tree has started anew, and its contexts with it.
    Context = py_process_case:new(Config),
    ok = in_group(Config, fun() -> py:exec(Context, "print('after')") end),
    ?assertEqual(<<"after\n">>, text(Config)).

a_child_by_fork_has_no_erlang(Config) ->
    ?assertEqual({ok, <<"printed; not running inside Erlang">>}, call(Config, fork, [])),
    ok = in_group(Config, fun() -> exec(Config, "print('parent')") end),
    ?assertEqual(<<"parent\n">>, text(Config)).

what_is_no_output_ends_the_process(Config) ->
    Output = whereis(py_output),
    [begin
         Context = py_process_case:new(Config),
         ?assertEqual({error, {worker_down, corrupt}},
                      py:exec(Context, ["from erlang import _output, atom\n"
                                        "_output.send(", Message, ")\n"
                                        "while True: pass\n"]))
     end || Message <- ["(atom('text'), 1, None, b'x')", "(atom('text'), atom('stdout'), None, 1)",
                        "(atom('log'), 1, None, b'x', (None,) * 5, 1)", "(1, 2)", "7",
                        "(atom('log'), 1, None, b'x', (None, b'x', *(None,) * 4), 1)",
                        "(atom('text'), atom('stdout'), 5, b'x')"]],
    ?assertEqual(Output, whereis(py_output)).

what_is_no_text_is_shown(Config) ->
    [Event] = captured(fun() ->
                           ok = exec(Config, "from erlang import _native, _output, atom\n"
                                             "_native._note_output()\n"
                                             "_output.send((atom('log'), 40, None, b'\\xff',\n"
                                             "              (b'\\xfe', *(None,) * 5), 1))\n")
                       end),
    ?assertMatch(#{msg := {string, <<"ÿ"/utf8>>}, meta := #{file := "þ"}}, Event).

nothing_is_redirected_if_told_so(Config) ->
    Settings = [{redirect_output, false}, {logging, false}],
    Code = "[type(__import__('sys').stdout).__module__, "
           "len(__import__('logging').getLogger().handlers)]",
    ?assertEqual({ok, [<<"erlang._output">>, 1]}, py:eval(?config(context, Config), Code)),
    ok = application:stop(penstock),
    Before = [{Name, application:get_env(penstock, Name, true)} || {Name, _} <- Settings],
    [ok = application:set_env(penstock, Name, Value) || {Name, Value} <- Settings],
    ok = application:start(penstock),
    Context = py_process_case:new(Config),
    Found = py:eval(Context, Code),
    ok = application:stop(penstock),
    [ok = application:set_env(penstock, Name, Value) || {Name, Value} <- Before],
    ?assertEqual({ok, [<<"_io">>, 0]}, Found).

%% Logging

levels_are_mapped(Config) ->
    Levels = [{1, debug}, {10, debug}, {20, info}, {25, notice}, {30, warning}, {40, error},
              {50, critical}, {1000000, critical}],
    Events = captured(Config, log_levels, [[Number || {Number, _} <- Levels]]),
    ?assertEqual([{Level, <<"level ", (integer_to_binary(Number))/binary>>}
                  || {Number, Level} <- Levels],
                 [{Level, Text} || #{level := Level, msg := {string, Text}} <- Events]).

a_record_says_where_it_comes_from(Config) ->
    Leader = ?config(leader, Config),
    Test = self(),
    Before = erlang:system_time(microsecond),
    [#{level := warning, msg := {string, Text}, meta := Meta}] =
        log_capture:during(fun() ->
                               Located = in_group(Config, fun() ->
                                                              Test ! {caller, self()},
                                                              call(Config, log_here, [<<"a">>])
                                                          end),
                               Test ! {located, Located}
                           end),
    {caller, Caller} = eventually:message(caller),
    {located, {ok, {Line, File}}} = eventually:message(located),
    ?assertEqual(<<"here: a">>, Text),
    Name = unicode:characters_to_list(File),
    ?assertMatch(#{pid := Caller, gl := Leader, line := Line, file := Name,
                   python_logger := "cases.output", python_module := "output_cases",
                   python_function := "log_here", python_thread := [_ | _]}, Meta),
    #{time := Time} = Meta,
    ?assert(Time >= Before - 1000 andalso Time =< erlang:system_time(microsecond) + 1000).

exceptions_bring_their_traceback(Config) ->
    [#{level := error, msg := {string, Text}}] = captured(Config, log_exception, []),
    Lines = binary:split(Text, <<"\n">>, [global]),
    ?assertEqual(<<"looked up">>, hd(Lines)),
    ?assertEqual(<<"KeyError: 'missing'">>, lists:last(Lines)).

text_and_records_keep_their_order(Config) ->
    Count = 50,
    ok = log_capture:start(),
    {ok, none} = in_group(Config, fun() -> call(Config, log_and_print, [Count]) end),
    Events = log_capture:stop(),
    ?assertEqual([iolist_to_binary(io_lib:format("l ~b", [N])) || N <- lists:seq(0, Count - 1)],
                 [Text || #{msg := {string, Text}} <- Events]),
    ?assertEqual(iolist_to_binary([io_lib:format("p ~b~n", [N]) || N <- lists:seq(0, Count - 1)]),
                 text(Config)).

strange_records_do_no_harm(Config) ->
    Output = whereis(py_output),
    Events = captured(Config, log_strange_records, []),
    ?assertEqual([<<>>, <<"None">>, <<"huge">>, <<"low">>, <<"half">>, <<"past">>],
                 [Text || #{msg := {string, Text}} <- Events]),
    ?assertEqual(Output, whereis(py_output)).

nothing_is_left(Config) ->
    py_process_case:nothing_is_left(Config).

%% Steps

exec(Config, Code) ->
    py:exec(?config(context, Config), Code).

call(Config, Function, Args) ->
    py:call(?config(context, Config), output_cases, Function, Args).

in_group(Config, Function) ->
    fake_leader:run(?config(leader, Config), Function).

text(Config) ->
    fake_leader:text(?config(leader, Config)).

captured(Config, Function, Args) ->
    captured(fun() -> {ok, none} = call(Config, Function, Args) end).

captured(Function) ->
    [Event || #{meta := #{python_logger := _}} = Event <- log_capture:during(Function)].
