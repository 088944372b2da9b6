%% SPDX-License-Identifier: Apache-2.0
%% py:async_call, await and async_gather; options of calls; sleep.
-module(py_async_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([functions_and_coroutines/1, results_are_messages/1, calls_run_at_the_same_time/1,
         keyword_arguments/1, errors/1, markers/1, gather/1, gather_ends_in_time/1,
         bad_arguments/1, the_loop_may_die/1, awaits_time_out/1, nothing_is_left_behind/1,
         tracebacks/1, timeouts_of_eval_and_exec/1, sleep_is_interrupted/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [functions_and_coroutines, results_are_messages, calls_run_at_the_same_time,
     keyword_arguments, errors, markers, gather, gather_ends_in_time, bad_arguments,
     the_loop_may_die, awaits_time_out, nothing_is_left_behind, tracebacks,
     timeouts_of_eval_and_exec, sleep_is_interrupted].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_case:add_path(Config),
    ok = py:register_function(async_suite_double, fun([X]) -> 2 * X end),
    Config.

end_per_suite(_Config) ->
    application:stop(penstock).

cases(Function, Args) -> py:async_call(async_cases, Function, Args).
result(Function, Args) -> py:await(cases(Function, Args)).

functions_and_coroutines(_Config) ->
    ?assertEqual({ok, 8.0}, py:await(py:async_call(math, pow, [2, 3]))),
    ?assertEqual({ok, 8.0}, py:async_await(py:async_call(<<"math">>, "pow", [2, 3]))),
    ?assertEqual({ok, 5}, result(coroutine, [5])),
    ?assertEqual({ok, <<"later">>}, result(awaitable, [])),
    ?assertEqual({ok, none}, py:await(py:async_call(asyncio, sleep, [0]), 20000)).

results_are_messages(_Config) ->
    Ref = cases(coroutine, [5]),
    ?assertEqual({async_result, Ref, {ok, 5}}, eventually:message(async_result)),
    self() ! {py_response, Ref, {ok, 6}},
    ?assertEqual({ok, 6}, py:await(Ref)),
    ?assertEqual({error, timeout}, py:await(Ref, 0)),
    ok = eventually:silence().

calls_run_at_the_same_time(_Config) ->
    Threads = [cases(meet, [4]) || _ <- lists:seq(1, 4)],
    Coroutines = [cases(meet_in_loop, [500]) || _ <- lists:seq(1, 500)],
    ?assertEqual([{ok, 4}], lists:usort([py:await(Ref) || Ref <- Threads])),
    ?assertEqual([{ok, 500}], lists:usort([py:await(Ref) || Ref <- Coroutines])).

keyword_arguments(_Config) ->
    ?assertEqual({ok, 10}, py:await(py:async_call(async_cases, coroutine, [5], #{twice => true}))),
    ?assertEqual({ok, 10},
                 py:await(py:async_call(async_cases, coroutine, [],
                                        #{<<"value">> => 5, <<"twice">> => true}))).

errors(_Config) ->
    ?assertMatch({error, {'TypeError', "must be real number" ++ _}},
                 py:await(py:async_call(math, pow, [2, x]))),
    ?assertEqual({error, {'ModuleNotFoundError', "No module named 'no_such'"}},
                 py:await(py:async_call(no_such, f, []))),
    ?assertEqual({error, {'AttributeError', "module 'math' has no attribute 'nope'"}},
                 py:await(py:async_call(math, nope, []))),
    ?assertEqual({error, {'SystemExit', "3"}}, result(exits, [])),
    ?assertEqual({error, {'CancelledError', []}}, result(cancelled, [])),
    ?assertEqual({error, {'Unspeakable', []}}, result(unspeakable, [])),
    {error, {'TypeError', Text}} = result(not_a_term, []),
    ?assertEqual("cannot convert 'object' object to an Erlang term (at [1])", Text),
    ?assertEqual({error, {unsupported, bitstring, [args, 2]}},
                 py:await(py:async_call(math, pow, [1, <<1:3>>]))),
    ?assertEqual({error, {unsupported, bitstring, [kwargs, <<"x">>]}},
                 py:await(py:async_call(math, pow, [], #{<<"x">> => <<1:3>>}))),
    ?assertEqual({ok, 5}, result(coroutine, [5])).

markers(_Config) ->
    ?assertEqual({ok, 8}, result(to_erlang, [4])),
    ?assertEqual({ok, <<"done">>}, result(inline, [1000])),
    ?assertEqual({ok, 100}, result(by_queue, [100])),
    ?assertEqual({error, {'RuntimeError', "error: badarith"}}, result(to_erlang, [x])).

gather(_Config) ->
    ?assertEqual({ok, []}, py:async_gather([])),
    ?assertEqual({ok, [1, 4, 8.0]},
                 py:async_gather([{async_cases, coroutine, [1]},
                                  {async_cases, coroutine, [2], #{twice => true}},
                                  {"math", <<"pow">>, [2, 3]}])),
    ?assertEqual({ok, lists:seq(1, 2000)},
                 py:async_gather([{async_cases, coroutine, [N]} || N <- lists:seq(1, 2000)])),
    ?assertMatch({error, {'AttributeError', _}},
                 py:async_gather([{async_cases, coroutine, [1]}, {math, nope, []},
                                  {no_such, f, []}])),
    ok = eventually:silence().

gather_ends_in_time(_Config) ->
    ?assertEqual({error, timeout},
                 py:async_gather([{async_cases, coroutine, [1]},
                                  {async_cases, sleep_here, [self(), 0.2]}], 20)),
    {here} = eventually:message(here),
    %% What comes too late goes to nobody.
    ?assertEqual({ok, none}, result(sleep_here, [self(), 0.3])),
    {here} = eventually:message(here),
    ok = eventually:silence().

bad_arguments(_Config) ->
    [?assertError(badarg, Call())
     || Call <- [fun() -> py:async_call(math, pow, 1) end,
                 fun() -> py:async_call(math, pow, [], []) end,
                 fun() -> py:await(no_ref) end,
                 fun() -> py:await(make_ref(), -1) end,
                 fun() -> py:async_gather([{math, pow, x}]) end,
                 fun() -> py:async_gather([math]) end,
                 fun() -> py:async_gather(math) end,
                 fun() -> py:async_gather([], soon) end,
                 fun() -> py:call(py:context(1), math, pow, [], #{traceback => 1}) end,
                 fun() -> py:eval(py:context(1), "1", #{}, #{kwargs => #{}}) end,
                 fun() -> py:exec(py:context(1), "1", #{timeout => -1}) end]].

the_loop_may_die(_Config) ->
    Ref = cases(here_and_wait, [self()]),
    {here} = eventually:message(here),
    Server = whereis(py_async),
    exit(Server, kill),
    ?assertMatch({error, {context_died, _}}, py:await(Ref)),
    ok = eventually:true(fun() ->
        case whereis(py_async) of
            undefined -> false;
            Other -> Other =/= Server
        end
    end),
    ok = eventually:equal({ok, 5}, fun() -> result(coroutine, [5]) end),
    ok = eventually:silence().

awaits_time_out(_Config) ->
    Ref = cases(sleep_here, [self(), 0.05]),
    {here} = eventually:message(here),
    ?assertEqual({error, timeout}, py:await(Ref, 0)),
    ?assertEqual({ok, none}, py:await(Ref)).

nothing_is_left_behind(_Config) ->
    {dictionary, Before} = process_info(self(), dictionary),
    Refs = [cases(coroutine, [N]) || N <- lists:seq(1, 100)],
    _ = [receive {async_result, Ref, {ok, _}} -> ok end || Ref <- Refs],
    ?assertEqual({dictionary, Before}, process_info(self(), dictionary)),
    ?assertEqual({monitors, []}, process_info(self(), monitors)).

tracebacks(_Config) ->
    Context = py:context(1),
    Options = #{traceback => true},
    {error, {'LookupError', "inside", Traceback}} =
        py:call(Context, async_cases, outer, [], Options),
    {match, _} = re:run(Traceback, "Traceback.*in outer.*in inner.*LookupError: inside", [dotall]),
    ?assertEqual({error, {'LookupError', "inside"}},
                 py:call(Context, async_cases, outer, [], #{traceback => false})),
    {error, {'Unspeakable', [], _}} = py:call(Context, async_cases, unspeakable, [], Options),
    {error, {'ZeroDivisionError', _, _}} = py:eval(Context, "1/0", #{}, Options),
    {error, {'SyntaxError', _, Syntax}} = py:exec(Context, "1/", Options),
    {match, _} = re:run(Syntax, "SyntaxError: invalid syntax"),
    ?assertEqual({ok, 3}, py:eval(Context, "1 + 2", #{}, Options)),
    ?assertEqual({error, interrupted},
                 py:eval(Context, "(_ for _ in ()).throw(KeyboardInterrupt)", #{}, Options)).

timeouts_of_eval_and_exec(_Config) ->
    Context = py:context(1),
    Endless = "__import__('erlang').sleep(60)",  % sleep: it is ended
    ?assertEqual({error, timeout}, py:eval(Context, Endless, #{}, #{timeout => 10})),
    ?assertEqual({error, timeout}, py:exec(Context, Endless, #{timeout => 10})),
    ?assertEqual({ok, 1}, py:eval(Context, "1", #{}, #{timeout => 20000})),
    ?assertEqual(ok, py:exec(Context, "a = 1", #{timeout => infinity})).

sleep_is_interrupted(_Config) ->
    Context = py:context(1),
    Me = self(),
    {Pid, Monitor} = spawn_monitor(fun() ->
        exit({result, py:call(Context, async_cases, sleep_here, [Me, 600])})
    end),
    {here} = eventually:message(here),
    ok = py:interrupt(Context),
    receive
        {'DOWN', Monitor, process, Pid, Reason} ->
            ?assertEqual({result, {error, interrupted}}, Reason)
    end.
