%% SPDX-License-Identifier: Apache-2.0
%% Records of Python's logging in Erlang's logger.
-module(py_logging_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

all() ->
    [levels_are_mapped, a_record_says_where_it_comes_from, exceptions_bring_their_traceback,
     stacks_come_too, records_are_there_when_the_call_returns, python_levels_count,
     erlangs_level_counts, text_is_unicode, a_large_record_is_cut_and_says_so,
     what_cannot_be_formatted_arrives_anyway, strange_records_do_no_harm,
     threads_log_without_a_caller, basic_config_does_what_python_says,
     the_handler_may_be_configured_again, filters_of_the_handler_count,
     text_and_records_keep_their_order, a_waiting_record_can_be_interrupted].

init_per_suite(Config) ->
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, all),
    _ = application:load(penstock),
    ok = application:set_env(penstock, num_contexts, 3),
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_case:add_path(Config),
    [{level, Level} | Config].

end_per_suite(Config) ->
    ok = application:stop(penstock),
    ok = application:unset_env(penstock, num_contexts),
    ok = application:unload(penstock),
    ok = logger:set_primary_config(level, ?config(level, Config)).

end_per_testcase(_Case, _Config) ->
    eventually:silence().

levels_are_mapped(_) ->
    Levels = [{1, debug}, {10, debug}, {15, debug}, {20, info}, {24, info}, {25, notice},
              {29, notice}, {30, warning}, {35, warning}, {40, error}, {45, error},
              {50, critical}, {60, critical}, {1000000, critical}],
    Events = captured(output_cases, log_levels, [[Number || {Number, _} <- Levels]]),
    ?assertEqual([{Level, <<"level ", (integer_to_binary(Number))/binary>>}
                  || {Number, Level} <- Levels],
                 [{Level, Text} || #{level := Level, msg := {string, Text}} <- Events]).

a_record_says_where_it_comes_from(_) ->
    Leader = fake_leader:start(),
    Test = self(),
    Before = erlang:system_time(microsecond),
    [#{level := warning, msg := {string, Text}, meta := Meta}] =
        captured(fun() ->
                     Located = fake_leader:run(Leader,
                                               fun() ->
                                                   Test ! {caller, self()},
                                                   py:call(output_cases, log_here, [<<"ä"/utf8>>])
                                               end),
                     Test ! {located, Located}
                 end),
    {caller, Caller} = eventually:message(caller),
    {located, {ok, {Line, File}}} = eventually:message(located),
    ?assertEqual(<<"here: ä"/utf8>>, Text),
    Name = unicode:characters_to_list(File),
    ?assertMatch(#{pid := Caller, gl := Leader, line := Line, file := Name,
                   python_logger := "cases.output", python_module := "output_cases",
                   python_function := "log_here", python_thread := [_ | _]}, Meta),
    #{time := Time} = Meta,
    ?assert(Time >= Before - 1000 andalso Time =< erlang:system_time(microsecond) + 1000),
    %% A formatter makes sense of it.
    Shown = logger_formatter:format(#{level => warning, msg => {string, Text}, meta => Meta},
                                    #{template => [file, ":", line, " ", python_logger, " ", msg]}),
    ?assertEqual(lists:flatten(io_lib:format("~ts:~b cases.output ~ts", [Name, Line, Text])),
                 unicode:characters_to_list(Shown)),
    fake_leader:stop(Leader).

exceptions_bring_their_traceback(_) ->
    [#{level := error, msg := {string, Text}}] = captured(output_cases, log_exception, []),
    [First, Second | _] = Lines = binary:split(Text, <<"\n">>, [global]),
    ?assertEqual(<<"looked up">>, First),
    ?assertEqual(<<"Traceback (most recent call last):">>, Second),
    ?assertEqual(<<"KeyError: 'missing'">>, lists:last(Lines)).

stacks_come_too(_) ->
    [#{msg := {string, <<"from there\nStack (most recent call last):\n", Rest/binary>>}}] =
        captured(output_cases, log_stack, []),
    ?assertMatch({_, _}, binary:match(Rest, <<"log_stack">>)).

%% No wait between the calls and the look.
records_are_there_when_the_call_returns(_) ->
    Events = captured(fun() ->
                          [{ok, none} = py:call(output_cases, log_text, [integer_to_binary(N), 1])
                           || N <- lists:seq(1, 200)]
                      end),
    ?assertEqual([integer_to_binary(N) || N <- lists:seq(1, 200)], texts(Events)).

python_levels_count(_) ->
    Code = "import logging\n"
           "logger = logging.getLogger('levels')\n"
           "logger.info('no')\n"
           "logger.setLevel(logging.INFO)\n"
           "logger.info('yes')\n"
           "logging.getLogger('levels.child').debug('no')\n",
    ?assertEqual([<<"yes">>], texts(captured(fun() -> ok = py:exec(Code) end))).

erlangs_level_counts(_) ->
    ok = logger:set_primary_config(level, error),
    try
        ?assertEqual([<<"level 40">>],
                     texts(captured(output_cases, log_levels, [[10, 20, 30, 40]])))
    after
        logger:set_primary_config(level, all)
    end.

text_is_unicode(_) ->
    Text = <<"aä€😀\n%s ~p"/utf8>>,
    ?assertEqual([Text], texts(captured(output_cases, log_text, [Text, 1]))),
    ?assertEqual([<<"half \\ud800 a pair">>], texts(captured(output_cases, log_surrogate, []))).

a_large_record_is_cut_and_says_so(_) ->
    [Whole] = texts(captured(output_cases, log_text, [<<"x">>, 900000])),
    ?assertEqual(900000, byte_size(Whole)),
    [Cut] = texts(captured(output_cases, log_text, [<<"ä"/utf8>>, 10000000])),
    ?assertEqual(<<(binary:copy(<<"ä"/utf8>>, 65536))/binary, "... (9934464 more characters)">>,
                 Cut).

what_cannot_be_formatted_arrives_anyway(_) ->
    Events = captured(output_cases, log_evil, []),
    [Argument, Object, TooFew, NoNumber, Evil] = texts(Events),
    [?assertEqual(error, Level) || #{level := Level} <- Events],
    ?assertMatch(<<"argument %s (cannot be formatted)\nTraceback", _/binary>>, Argument),
    ?assertMatch({_, _}, binary:match(Argument, <<"RuntimeError: no text">>)),
    ?assertMatch(<<"a Evil (cannot be formatted)\n", _/binary>>, Object),
    ?assertMatch(<<"too few %s %s (cannot be formatted)\n", _/binary>>, TooFew),
    ?assertMatch(<<"not a number %d (cannot be formatted)\n", _/binary>>, NoNumber),
    ?assertMatch(<<"evil\nTraceback", _/binary>>, Evil).

strange_records_do_no_harm(_) ->
    Output = whereis(py_output),
    Events = captured(output_cases, log_strange_records, []),
    Texts = texts(Events),
    ?assertEqual(6, length(Texts)),
    ?assertMatch([<<>>, <<"None">>, <<"huge">>, <<"low">>, <<"half">>, <<"past">>], Texts),
    Metas = [Meta || #{meta := Meta} <- Events],
    [?assert(is_integer(Time)) || #{time := Time} <- Metas],
    ?assertEqual(Output, whereis(py_output)),
    %% As the default handler would do it.
    [logger_formatter:format(Event, #{}) || Event <- Events].

threads_log_without_a_caller(_) ->
    Output = whereis(py_output),
    ok = log_capture:start(),
    {ok, none} = py:call(output_cases, log_in_thread, []),
    #{msg := {string, <<"from a thread">>}, meta := Meta} = log_capture:next(),
    _ = log_capture:stop(),
    ?assertMatch(#{pid := Output, python_thread := "a thread of ours"}, Meta).

%% "This function does nothing if the root logger already has handlers configured, unless the
%% keyword argument force is set to True."
basic_config_does_what_python_says(_) ->
    Leader = fake_leader:start(),
    Handlers = fun(How) ->
                   fake_leader:run(Leader, fun() -> py:call(output_cases, configure, [How]) end)
               end,
    Unchanged = captured(fun() ->
                             ?assertEqual({ok, [<<"erlang.logging.Handler">>]},
                                          Handlers(<<"basic">>))
                         end),
    ?assertEqual([], texts(Unchanged)),
    Forced = captured(fun() ->
                          ?assertEqual({ok, [<<"logging.StreamHandler">>]}, Handlers(<<"force">>))
                      end),
    ?assertEqual([], texts(Forced)),
    %% That handler writes to stderr.
    ?assertEqual(<<"formatted configured\n">>, fake_leader:text(Leader)),
    fake_leader:stop(Leader).

the_handler_may_be_configured_again(_) ->
    [#{level := info, msg := {string, Text}}] = captured(output_cases, configure, [<<"dict">>]),
    ?assertEqual(<<"mine: configured">>, Text).

filters_of_the_handler_count(_) ->
    Events = captured(fun() ->
                          ?assertEqual({ok, [<<"drop this">>, <<"keep this">>]},
                                       py:call(output_cases, filtered, []))
                      end),
    ?assertEqual([<<"keep this">>], texts(Events)).

%% Here both end in one mailbox.
text_and_records_keep_their_order(_) ->
    Test = self(),
    Leader = spawn_link(fun Loop() ->
                            receive
                                {io_request, From, As, {put_chars, unicode, Text}} ->
                                    Test ! {event, #{msg => {string, Text}}},
                                    From ! {io_reply, As, ok},
                                    Loop()
                            end
                        end),
    ok = log_capture:start(),
    Count = 50,
    {ok, none} =
        fake_leader:run(Leader, fun() -> py:call(output_cases, log_and_print, [Count]) end),
    %% The two come from different processes: each kind in its order. Text that waited for more to
    %% be sent with it would be fewer requests, and this would wait for the rest.
    Events = [log_capture:next() || _ <- lists:seq(1, 2 * Count)],
    Found = texts(Events),
    _ = log_capture:stop(),
    Numbered = fun(First, End) -> [<<First, " ", (integer_to_binary(N))/binary, End/binary>>
                                   || N <- lists:seq(0, Count - 1)]
               end,
    ?assertEqual(Numbered($p, <<"\n">>), [Text || <<$p, _/binary>> = Text <- Found]),
    ?assertEqual(Numbered($l, <<>>), [Text || <<$l, _/binary>> = Text <- Found]),
    unlink(Leader),
    eventually:dead(Leader).

%% One that waits holds no lock that keeps others from being interrupted.
a_waiting_record_can_be_interrupted(_) ->
    Leader = fake_leader:start(),
    fake_leader:mute(Leader),
    Printer = fake_leader:adopt(Leader, fun() ->
                                            py:call(py:context(3), output_cases, print_for_ever, [])
                                        end),
    py_output_SUITE:until_python_waits(),
    Test = self(),
    Loggers = [fake_leader:adopt(Leader, fun() ->
                                             py:call(py:context(Index), output_cases, log_for_ever,
                                                     [Test])
                                         end) || Index <- [1, 2]],
    [{logging, none} = eventually:message(logging) || _ <- Loggers],
    eventually:true(fun() -> lists:all(fun is_waiting/1, Loggers) end),
    %% In either order.
    [ok = py:interrupt(py:context(Index)) || Index <- [2, 1, 3]],
    fake_leader:speak(Leader),
    ?assertEqual([{error, interrupted}, {error, interrupted}, {error, interrupted}],
                 eventually:workers(Loggers ++ [Printer], waiting)),
    fake_leader:stop(Leader).

is_waiting(Pid) ->
    process_info(Pid, current_function) =:= {current_function, {py_context, await_monitored, 5}}.

%% Steps

%% The log events of Python during a call, without waiting for any.
captured(Module, Function, Arguments) ->
    captured(fun() -> {ok, _} = py:call(Module, Function, Arguments) end).

captured(Function) ->
    [Event || #{meta := #{python_logger := _}} = Event <- log_capture:during(Function)].

texts(Events) ->
    [Text || #{msg := {string, Text}} <- Events].
