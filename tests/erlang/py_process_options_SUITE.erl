%% SPDX-License-Identifier: Apache-2.0
%% Contexts in processes of their own that are started again, are limited, or are killed.
-module(py_process_options_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-define(CASES, process_cases).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [wrong_values, {group, restart}, {group, on_timeout}, {group, memory_limit}, nothing_is_left].

groups() ->
    [{restart, [],
      [another_process_takes_its_place, calls_wait_for_the_next_process, pauses_become_longer,
       a_timeout_covers_the_wait, a_start_that_fails_is_tried_again, it_stops_during_a_pause,
       it_stops_for_good, the_application_stops_during_a_pause, kills_at_any_moment,
       its_functions_and_messages_go_on, it_works_under_a_supervisor, it_stays_bound,
       a_killed_context_is_gone]},
     {on_timeout, [],
      [a_timeout_kills, a_timeout_kills_code_that_cannot_be_interrupted,
       a_timeout_kills_one_that_is_stopped, an_answer_in_time_kills_nobody,
       others_are_interrupted]},
     {memory_limit, [],
      [an_allocation_fails, it_is_the_limit_of_the_process, too_little_to_start,
       an_argument_that_is_too_large, a_request_that_is_too_large]}].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_process_case:shared_once(),
    [{counters, py_nif:debug_counters()}, {fds, py_process_case:fds()},
     {maps, py_process_case:maps()} | Config].

end_per_suite(_Config) ->
    ok = application:stop(penstock).

%% A sanitizer's shadow is memory, too.
init_per_group(memory_limit, Config) ->
    case py_process_case:preload() of
        [] -> Config;
        _ -> {skip, "not with sanitizers"}
    end;
init_per_group(_Group, Config) ->
    Config.

end_per_group(_Group, _Config) ->
    ok.

end_per_testcase(_Case, _Config) ->
    [py_context:stop(Context) || Context <- py_process_case:contexts()],
    _ = py:unregister_function(process_wait),
    eventually:equal([], fun py_process_case:workers/0),
    eventually:silence().

wrong_values(_) ->
    [?assertError(badarg, py_context:new(Opts))
     || Wrong <- [#{restart => always}, #{restart => true}, #{on_timeout => stop},
                  #{memory_limit => 0}, #{memory_limit => -1}, #{memory_limit => 1.5},
                  #{memory_limit => 1 bsl 63}, #{memory_limit => infinity}],
        Opts <- [Wrong#{mode => process}]],
    [?assertError(badarg, py_context:new(Opts))
     || Opts <- [#{restart => permanent}, #{mode => worker, on_timeout => kill},
                 #{mode => owngil, memory_limit => 1 bsl 30}]],
    ?assertError(badarg, py_context:start_link(make_ref(), {process, #{restart => 1}})).

%% Restart

another_process_takes_its_place(Config) ->
    Context = permanent(Config),
    Monitor = monitor(process, Context),
    Pid = os_pid(Context),
    ok = py:exec(Context, <<"kept = 1">>),
    ?assertEqual({error, {worker_down, {exit_status, 3}}}, py:call(Context, os, '_exit', [3])),
    {ok, Next} = py:call(Context, os, getpid, []),
    ?assertNotEqual(Pid, Next),
    ?assertEqual({ok, Next}, py_context:os_pid(Context)),
    ?assertEqual({ok, process}, py_context:mode(Context)),
    ?assertMatch({error, {'NameError', _}}, py:eval(Context, <<"kept">>)),
    demonitor(Monitor),
    receive {'DOWN', Monitor, process, _, Reason} -> error(Reason) after 0 -> ok end.

calls_wait_for_the_next_process(Config) ->
    Context = permanent(Config),
    %% Later ones do not follow at once.
    [kill(Context) || _ <- lists:seq(1, 3)],
    Callers = [eventually:worker(fun() -> py:call(Context, operator, add, [N, N]) end)
               || N <- lists:seq(1, 20)],
    ?assertEqual([{ok, 2 * N} || N <- lists:seq(1, 20)], eventually:workers(Callers, calls)).

pauses_become_longer(_) ->
    {Pauses, _} = lists:mapfoldl(fun(_, Ends) -> py_worker:pause(Ends, 50) end, 0,
                                 lists:seq(1, 12)),
    ?assertEqual([0, 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000, 10000, 10000], Pauses),
    ?assertEqual({0, 1}, py_worker:pause(7, 10000)),
    ?assertEqual({10000, 1001}, py_worker:pause(1000, 0)).

a_timeout_covers_the_wait(Config) ->
    {Context, _Folder} = unable_to_start(Config),
    ?assertEqual({error, timeout}, py:call(Context, os, getpid, [], #{timeout => 20})),
    ?assertEqual(error, py_context:os_pid(Context)),
    ?assertEqual(ok, py:interrupt(Context)),
    ?assertEqual({error, {context_died, stopped}},
                 py_context:submit(Context, eval, {<<"1">>, #{}}, make_ref())).

a_start_that_fails_is_tried_again(Config) ->
    {Context, Folder} = unable_to_start(Config),
    Caller = eventually:worker(fun() -> py:call(Context, os, getcwd, []) end),
    waiting_for_a_process([Caller]),
    ok = file:make_dir(Folder),
    [{ok, Cwd}] = eventually:workers([Caller], calls),
    ?assertEqual(unicode:characters_to_binary(filename:basename(Folder)), filename:basename(Cwd)).

it_stops_during_a_pause(Config) ->
    {Context, _Folder} = unable_to_start(Config),
    Callers = [eventually:worker(fun() -> py:call(Context, os, getpid, []) end) || _ <- [1, 2]],
    waiting_for_a_process(Callers),
    ok = py_context:stop(Context),
    [?assertEqual({error, {context_died, normal}}, Result)
     || Result <- eventually:workers(Callers, calls)],
    ?assertEqual({error, {context_died, noproc}}, py:call(Context, os, getpid, [])).

it_stops_for_good(Config) ->
    Context = permanent(Config),
    Pid = os_pid(Context),
    Call = eventually:worker(fun() -> py:call(Context, ?CASES, spin, []) end),
    eventually:waiting_for_answers([Call]),
    ok = py_context:stop(Context),
    [{error, _}] = eventually:workers([Call], calls),
    eventually:true(fun() -> not py_process_case:is_running(Pid) end),
    ?assertEqual(error, py_context:mode(Context)),
    ?assertEqual([], [Row || Row <- ets:tab2list(py_contexts), mentions(Context, Row)]).

the_application_stops_during_a_pause(Config) ->
    {Context, _Folder} = unable_to_start(Config),
    Caller = eventually:worker(fun() -> py:call(Context, os, getpid, []) end),
    waiting_for_a_process([Caller]),
    ok = application:stop(penstock),
    [{error, {context_died, _}}] = eventually:workers([Caller], calls),
    {ok, _} = application:ensure_all_started(penstock).

%% Each call is answered, and none waits for a process that is gone.
kills_at_any_moment(Config) ->
    Context = permanent(Config),
    Test = self(),
    Callers = [eventually:worker(fun() -> call_until_told(Context, Number, 0) end)
               || Number <- lists:seq(1, 6)],
    [begin
         receive after rand:uniform(30) -> ok end,  % sleep: the moment
         kill(Context)
     end || _ <- lists:seq(1, 5)],
    ?assertMatch({ok, _}, py:call(Context, os, getpid, [])),
    [Caller ! {enough, Test} || Caller <- Callers],
    Answered = eventually:workers(Callers, calls),
    ct:log("answered: ~p", [Answered]),
    [?assert(Count > 0) || Count <- Answered].

call_until_told(Context, Number, Count) ->
    receive
        {enough, _} -> Count
    after 0 ->
        case py:call(Context, ?CASES, identity, [Number]) of
            {ok, Number} -> call_until_told(Context, Number, Count + 1);
            {error, {worker_down, {signal, 9}}} -> call_until_told(Context, Number, Count);
            %% The path to the modules of the test went with the process.
            {error, {'ModuleNotFoundError', _}} -> call_until_told(Context, Number, Count + 1)
        end
    end.

%% What the first one had begun in Erlang ends; the second one has inboxes of its own.
its_functions_and_messages_go_on(Config) ->
    Context = permanent(Config),
    Test = self(),
    ok = py:register_function(process_wait,
                              fun([Value]) ->
                                  Test ! {entered, self()},
                                  receive {go, Other} -> [Value, Other] end
                              end),
    First = eventually:worker(fun() -> py:call(Context, erlang, call, [process_wait, 1]) end),
    {entered, Handler} = eventually:message(entered),
    kill(Context),
    [{error, {worker_down, {signal, 9}}}] = eventually:workers([First], calls),
    Second = eventually:worker(fun() -> py:call(Context, erlang, call, [process_wait, 2]) end),
    {entered, Other} = eventually:message(entered),
    Handler ! {go, 1},
    Other ! {go, 2},
    ?assertEqual([{ok, [2, 2]}], eventually:workers([Second], calls)).

it_works_under_a_supervisor(Config) ->
    process_flag(trap_exit, true),
    Opts = opts(Config, #{restart => permanent}),
    {ok, Context} = py_context:start_link({self(), 1}, {process, Opts}),
    kill(Context),
    ?assertMatch({ok, 3}, py:call(Context, operator, add, [1, 2])),
    ok = py_context:stop(Context),
    receive {'EXIT', Context, normal} -> ok after 20000 -> error(no_exit) end,
    process_flag(trap_exit, false).

it_stays_bound(Config) ->
    Context = permanent(Config),
    ok = py_context_router:bind_context(Context),
    {Unable, _} = unable_to_start(Config),
    ?assertEqual(Context, py:context()),
    kill(Context),
    ?assertEqual(Context, py:context()),
    ok = py_context_router:bind_context(Unable),
    ?assertEqual(Unable, py:context()),
    ok = py_context_router:unbind_context().

a_killed_context_is_gone(Config) ->
    {Context, _Folder} = unable_to_start(Config),
    Other = permanent(Config),
    Pid = os_pid(Other),
    [eventually:dead(Each) || Each <- [Context, Other]],
    eventually:true(fun() -> not py_process_case:is_running(Pid) end),
    eventually:equal([], fun() ->
                             [Row || Row <- ets:tab2list(py_contexts), Each <- [Context, Other],
                                     mentions(Each, Row)]
                         end).

%% Timeouts

a_timeout_kills(Config) ->
    Context = new(Config, #{on_timeout => kill}),
    Monitor = monitor(process, Context),
    Running = eventually:worker(fun() -> py:call(Context, ?CASES, spin, []) end),
    eventually:waiting_for_answers([Running]),
    ?assertEqual({error, timeout}, py:call(Context, ?CASES, spin, [], #{timeout => 50})),
    ?assertEqual([{error, {worker_down, timeout}}], eventually:workers([Running], calls)),
    receive {'DOWN', Monitor, process, Context, Reason} ->
        ?assertEqual({worker_down, timeout}, Reason)
    after 20000 -> error(still_there)
    end.

a_timeout_kills_code_that_cannot_be_interrupted(Config) ->
    Context = new(Config, #{on_timeout => kill, restart => permanent}),
    Pid = os_pid(Context),
    ?assertEqual({error, timeout}, py:call(Context, time, sleep, [3600], #{timeout => 50})),
    {ok, Next} = py:call(Context, os, getpid, [], #{timeout => 20000}),
    ?assertNotEqual(Pid, Next).

a_timeout_kills_one_that_is_stopped(Config) ->
    Context = new(Config, #{on_timeout => kill, restart => permanent}),
    py_process_case:signal("STOP", os_pid(Context)),
    ?assertEqual({error, timeout}, py:call(Context, os, getpid, [], #{timeout => 50})),
    ?assertMatch({ok, _}, py:call(Context, os, getpid, [], #{timeout => 20000})).

an_answer_in_time_kills_nobody(Config) ->
    Context = new(Config, #{on_timeout => kill}),
    Pid = os_pid(Context),
    [{ok, N} = py:call(Context, ?CASES, identity, [N], #{timeout => 20000})
     || N <- lists:seq(1, 50)],
    ?assertEqual({ok, Pid}, py:call(Context, os, getpid, [])).

others_are_interrupted(Config) ->
    Context = new(Config, #{on_timeout => interrupt}),
    Pid = os_pid(Context),
    ?assertEqual({error, timeout}, py:call(Context, ?CASES, spin, [], #{timeout => 50})),
    ?assertEqual({ok, Pid}, py:call(Context, os, getpid, [], #{timeout => 20000})).

%% Memory

-define(LIMIT, 150000000).

an_allocation_fails(Config) ->
    Context = new(Config, #{memory_limit => ?LIMIT}),
    Pid = os_pid(Context),
    ?assertMatch({error, {'MemoryError', _}}, py:eval(Context, "len(bytearray(200_000_000))")),
    ?assertEqual({ok, 20000000}, py:eval(Context, "len(bytearray(20_000_000))")),
    ?assertEqual({ok, Pid}, py:call(Context, os, getpid, [])).

%% Not of the address space: what is only reserved does not count, nor what is shared.
it_is_the_limit_of_the_process(Config) ->
    Context = new(Config, #{memory_limit => ?LIMIT}),
    ok = py:exec(Context, "import mmap, resource"),
    ?assertEqual({ok, {?LIMIT, ?LIMIT}},
                 py:eval(Context, "resource.getrlimit(resource.RLIMIT_DATA)")),
    ?assertEqual({ok, 200000000}, py:eval(Context, "len(mmap.mmap(-1, 200_000_000))")),
    Other = new(Config, #{}),
    ?assertEqual({ok, 200000000}, py:eval(Other, "len(bytearray(200_000_000))")).

too_little_to_start(Config) ->
    {error, {python, Text}} = py_context:new(opts(Config, #{memory_limit => 1000000})),
    ct:log("~ts", [Text]),
    ?assertMatch({_, _}, binary:match(Text, <<"with a memory limit of 1000000 bytes">>)).

%% On its way in. Others that wait are told as well.
an_argument_that_is_too_large(Config) ->
    Context = new(Config, #{memory_limit => ?LIMIT, restart => permanent}),
    Large = binary:copy(<<"x">>, 200000000),
    ?assertEqual({error, {worker_down, out_of_memory}},
                 py:call(Context, builtins, len, [Large], #{timeout => 20000})),
    ?assertEqual({ok, 1}, py:call(Context, builtins, len, [<<"x">>])).

%% Wherever it is on its way when there is no more room, its caller is told, and nobody waits.
a_request_that_is_too_large(Config) ->
    Fill = <<"taken = []\n"
             "try:\n"
             "    while True: taken.append(bytearray(2_000_000))\n"
             "except MemoryError: pass\n"
             "del taken[-8:]\n">>,
    Results = [begin
                   Context = new(Config, #{memory_limit => ?LIMIT}),
                   ok = py:exec(Context, Fill),
                   Result = py:eval(Context, <<"len(x)">>, #{x => binary:copy(<<"x">>, Size)}),
                   ok = py_context:stop(Context),
                   {Size, Result}
               end || Size <- lists:seq(500000, 12000000, 500000)],
    ct:log("~p", [Results]),
    ?assertEqual({500000, {ok, 500000}}, hd(Results)),
    ?assertEqual({12000000, {error, {worker_down, out_of_memory}}}, lists:last(Results)),
    [?assert(Result =:= {ok, Size}
                 orelse lists:member(Result, [{error, enomem},
                                              {error, {worker_down, out_of_memory}}])
                 orelse element(1, element(2, Result)) =:= 'MemoryError')
     || {Size, Result} <- Results].

nothing_is_left(Config) ->
    eventually:counters_return_to(?config(counters, Config)),
    py_process_case:nothing_is_left(Config).

%% Steps

permanent(Config) ->
    new(Config, #{restart => permanent}).

new(Config, Opts) ->
    py_process_case:new(Config, Opts).

opts(_Config, Opts) ->
    Opts#{mode => process, env => py_process_case:preload()}.

%% A context whose process was killed, and whose directory is gone.
unable_to_start(Config) ->
    Folder = filename:join(?config(priv_dir, Config),
                           "cwd" ++ integer_to_list(erlang:unique_integer([positive]))),
    ok = file:make_dir(Folder),
    {ok, Context} = py_context:new(opts(Config, #{cwd => Folder, restart => permanent})),
    ok = file:del_dir(Folder),
    kill(Context),
    {Context, Folder}.

%% Each has called a context that has no process now.
waiting_for_a_process(Pids) ->
    [eventually:equal({status, waiting},
                      fun() ->
                          case process_info(Pid, current_function) of
                              {current_function, {gen, do_call, _}} -> process_info(Pid, status);
                              Elsewhere -> Elsewhere
                          end
                      end) || Pid <- Pids].

os_pid(Context) ->
    eventually:true(fun() -> py_context:os_pid(Context) =/= error end),
    {ok, Pid} = py_context:os_pid(Context),
    Pid.

%% And returns when that has been noticed.
kill(Context) ->
    Pid = os_pid(Context),
    py_process_case:kill(Pid),
    eventually:true(fun() -> py_context:os_pid(Context) =/= {ok, Pid} end).

mentions(Context, {{_About, Context}, _}) -> true;
mentions(Context, {Key, Value}) -> Key =:= Context orelse Value =:= Context.
