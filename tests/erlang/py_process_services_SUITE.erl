%% SPDX-License-Identifier: Apache-2.0
%% What the package `erlang' offers, in processes of their own: as in the VM.
-module(py_process_services_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-define(CASES, process_cases).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [markers_are_followed, functions_have_names, answers_are_sent, sleep_ends_with_an_interrupt,
     loops_are_those_of_penstock, loops_start_subprocesses, py_context_calls_as_py_does,
     a_thread_gets_another_process].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    Config.

end_per_suite(_Config) ->
    ok = application:stop(penstock).

init_per_testcase(_Case, Config) ->
    ok = py:register_function(process_double, fun([X]) -> 2 * X end),
    [{context, py_process_case:new(Config)} | Config].

end_per_testcase(_Case, Config) ->
    ok = py_context:stop(?config(context, Config)),
    ok = py:unregister_function(process_double),
    eventually:equal([], fun py_process_case:workers/0),
    eventually:silence().

markers_are_followed(Config) ->
    ok = exec(Config, "import erlang\n"
                      "def to_erlang(n): return erlang.schedule('process_double', n)\n"
                      "def later(n): return erlang.schedule_py('__main__', 'last', [n])\n"
                      "def last(n): return n + 1\n"
                      "def down(n):\n"
                      "    if erlang.consume_time_slice(100) and n:\n"
                      "        return erlang.schedule_inline('__main__', 'down', [n - 1])\n"
                      "    return n\n"),
    ?assertEqual({ok, 14}, call(Config, '__main__', to_erlang, [7])),
    ?assertEqual({ok, 8}, call(Config, '__main__', later, [7])),
    ?assertEqual({ok, 0}, call(Config, '__main__', down, [1000])),
    ?assertMatch({error, {'RuntimeError', _}},
                 eval(Config, "__import__('erlang').schedule('process_none', 1)")).

functions_have_names(Config) ->
    ok = exec(Config, "import erlang\nfrom erlang import process_double\n"),
    ?assertEqual({ok, {14, 16}}, eval(Config, "(process_double(7), erlang.process_double(8))")),
    ?assertMatch({error, {'AttributeError', _}}, eval(Config, "erlang.process_none")).

answers_are_sent(Config) ->
    ok = py:exec(?config(context, Config), "import erlang"),
    {ok, true} = py:eval(?config(context, Config),
                         "erlang.reply(pid, ('result', erlang.atom('an atom')))", #{pid => self()}),
    receive {result, 'an atom'} -> ok after 20000 -> error(no_answer) end.

sleep_ends_with_an_interrupt(Config) ->
    ok = exec(Config, "import erlang"),
    ?assertEqual({error, timeout},
                 py:call(?config(context, Config), erlang, sleep, [3600], #{timeout => 50})),
    ?assertEqual({ok, none}, call(Config, erlang, sleep, [0.001])).

loops_are_those_of_penstock(Config) ->
    {ok, Version} = eval(Config, "list(__import__('sys').version_info[:2])"),
    Expected = case Version < [3, 14] of
        true -> <<"ErlangEventLoop">>;
        false -> <<"_UnixSelectorEventLoop">>
    end,
    ?assertEqual({ok, Expected}, call(Config, ?CASES, loop_of_asyncio, [])),
    ?assertEqual({ok, <<"shared_gil">>}, eval(Config, "str(__import__('erlang').detect_mode())")).

%% Which is not possible in the VM.
loops_start_subprocesses(Config) ->
    ?assertEqual({ok, {3, <<"heard\n">>}}, call(Config, ?CASES, subprocess_of_loop, [])).

py_context_calls_as_py_does(Config) ->
    Context = ?config(context, Config),
    ?assertEqual({ok, 4.0}, py_context:call(Context, math, sqrt, [16])),
    ?assertEqual({error, timeout},
                 py_context:call(Context, ?CASES, spin, [], #{timeout => 50})),
    ok = py_context:exec(Context, "kept = 3"),
    ?assertEqual({ok, 3}, py_context:eval(Context, "kept")),
    ?assertEqual({ok, 5}, py_context:eval(Context, "kept + more", #{more => 2})),
    {error, {'ZeroDivisionError', _, <<"Traceback", _/binary>>}} =
        py:exec(Context, "1 / 0", #{traceback => true}).

%% Nobody tells it that the one it had was killed together with who would tell.
a_thread_gets_another_process(Config) ->
    #{channels := Channels} = py_nif:debug_counters(),
    {ok, 2} = call(Config, erlang, call, [process_double, 1]),
    Old = whereis(py_callback_server),
    exit(Old, kill),
    %% Once its inbox is nobody's, it has been told, ahead of the next request.
    eventually:true(fun() ->
                        #{channels := Now} = py_nif:debug_counters(),
                        not lists:member(whereis(py_callback_server), [undefined, Old])
                            andalso Now =< Channels
                    end),
    ?assertEqual({ok, 4}, call(Config, erlang, call, [process_double, 2])).

exec(Config, Code) ->
    py:exec(?config(context, Config), Code).

eval(Config, Code) ->
    py:eval(?config(context, Config), Code).

call(Config, Module, Function, Args) ->
    py:call(?config(context, Config), Module, Function, Args).
