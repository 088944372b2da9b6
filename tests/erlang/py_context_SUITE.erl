%% SPDX-License-Identifier: Apache-2.0
%% Contexts of one's own, and how the pool's are chosen.
-module(py_context_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_context_of_ones_own/1, it_outlives_its_maker/1, a_linked_context/1,
         one_context_a_place/1, stopping_ends_what_runs/1, bad_options/1, not_started/1,
         sticky/1, round_robin/1, a_bound_context_wins/1]).

suite() -> [{timetrap, {minutes, 1}}].

all() ->
    [a_context_of_ones_own, it_outlives_its_maker, a_linked_context, one_context_a_place,
     stopping_ends_what_runs, bad_options, not_started, sticky, round_robin,
     a_bound_context_wins].

init_per_testcase(Case, Config) ->
    _ = application:load(penstock),
    Case =:= round_robin andalso application:set_env(penstock, context_choice, round_robin),
    ok = application:set_env(penstock, num_contexts, 3),
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_context_router:unbind_context(),
    Config.

end_per_testcase(_Case, _Config) ->
    _ = application:stop(penstock),
    ok = application:unload(penstock).

a_context_of_ones_own(_Config) ->
    {ok, Context} = py_context:new(),
    {ok, Pool} = py:start_contexts(),
    ?assertNot(lists:member(Context, Pool)),
    ?assertEqual({ok, worker}, py_context:mode(Context)),
    ok = py_context:exec(Context, "x = 20"),
    ?assertEqual({ok, 21}, py_context:eval(Context, "x + 1")),
    ?assertEqual({ok, 22}, py_context:eval(Context, "x + y", #{y => 2})),
    ?assertEqual({ok, 4.0}, py_context:call(Context, math, pow, [2, 2])),
    ?assertEqual({error, timeout},
                 py_context:call(Context, erlang, sleep, [60], #{timeout => 1})),
    ?assertMatch({error, {'NameError', _}}, py_context:eval(hd(Pool), "x")),
    ok = py_context:stop(Context),
    ok = py_context:stop(Context),
    ?assertEqual({error, {context_died, noproc}}, py_context:eval(Context, "x")),
    ?assertEqual(error, py_context:mode(Context)).

it_outlives_its_maker(_Config) ->
    Me = self(),
    {Pid, Monitor} = spawn_monitor(fun() -> Me ! {made, py_context:new(#{mode => worker})} end),
    {made, {ok, Context}} = eventually:message(made),
    receive {'DOWN', Monitor, process, Pid, normal} -> ok end,
    ?assertEqual({ok, 2}, py_context:eval(Context, "1 + 1")),
    %% Killed, it does not come back.
    exit(Context, kill),
    ok = eventually:equal({error, {context_died, noproc}},
                          fun() -> py_context:eval(Context, "1 + 1") end).

a_linked_context(_Config) ->
    {ok, Context} = py_context:start_link({self(), 1}, worker),
    ?assertEqual({ok, Context}, py_context:at({self(), 1})),
    ?assert(lists:member(Context, element(2, process_info(self(), links)))),
    ok = py_context:stop(Context),
    ?assertEqual(error, py_context:at({self(), 1})).

one_context_a_place(_Config) ->
    process_flag(trap_exit, true),
    {ok, Context} = py_context:start_link(mine, worker),
    ?assertEqual({error, {already_started, Context}}, py_context:start_link(mine, worker)),
    ?assertEqual({ok, 2}, py_context:eval(Context, "1 + 1")),
    exit(Context, kill),
    receive {'EXIT', Context, killed} -> ok end,
    {ok, Next} = py_context:start_link(mine, worker),
    ?assertEqual({ok, Next}, py_context:at(mine)),
    ok = py_context:stop(Next).

stopping_ends_what_runs(_Config) ->
    {ok, Context} = py_context:new(),
    Me = self(),
    Code = "import erlang\n"
           "def f(pid):\n    erlang.send(pid, (erlang.atom('here'),))\n"
           "    erlang.sleep(600)\n",  % sleep: it is ended
    {Pid, Monitor} = spawn_monitor(fun() ->
        ok = py:exec(Context, Code),
        exit({result, py:call(Context, '__main__', f, [Me])})
    end),
    {here} = eventually:message(here),
    ok = py_context:stop(Context),
    receive
        {'DOWN', Monitor, process, Pid, {result, Result}} ->
            ?assertMatch({error, {Reason, _}} when Reason =:= context_died;
                                                   Reason =:= 'ApplicationStopped', Result)
    end.

bad_options(_Config) ->
    [?assertError(badarg, Call())
     || Call <- [fun() -> py_context:new(worker) end,
                 fun() -> py_context:new(#{mode => threads}) end,
                 fun() -> py_context:new(#{mod => worker}) end,
                 fun() -> py_context:start_link(mine, other) end]].

not_started(_Config) ->
    ok = application:stop(penstock),
    ?assertEqual({error, not_started}, py_context:new()),
    ?assertEqual({error, not_started}, py:await(py:async_call(math, pow, [1, 2]))).

sticky(_Config) ->
    {ok, Bound} = py_context_router:get_context(),
    ?assertEqual([{ok, Bound}], lists:usort([py_context_router:get_context()
                                             || _ <- lists:seq(1, 10)])),
    {ok, Contexts} = py:start_contexts(),
    Turns = [Context || {ok, Context} <- [py_context_router:next_context()
                                          || _ <- lists:seq(1, 30)]],
    ?assertEqual(lists:sort(Contexts), lists:usort(Turns)).

round_robin(_Config) ->
    {ok, [A, B, C] = Contexts} = py:start_contexts(),
    Turns = [Context || {ok, Context} <- [py_context_router:get_context()
                                          || _ <- lists:seq(1, 6)]],
    ?assertEqual(lists:sort(Contexts), lists:sort(lists:sublist(Turns, 3))),
    ?assertEqual(lists:sublist(Turns, 3), lists:nthtail(3, Turns)),
    Threads = [Id || {ok, Id} <- [py:call(threading, get_ident, []) || _ <- lists:seq(1, 3)]],
    ?assertEqual(3, length(lists:usort(Threads))),
    %% One that is gone has no turn until it is back.
    exit(B, kill),
    ok = eventually:true(fun() ->
        {ok, Now} = py:start_contexts(),
        length(Now) =:= 3 andalso not lists:member(B, Now)
    end),
    ?assert(is_process_alive(A) andalso is_process_alive(C)),
    ?assertEqual({ok, 4.0}, py:call(math, pow, [2, 2])).

a_bound_context_wins(_Config) ->
    {ok, Own} = py_context:new(),
    ok = py_context_router:bind_context(Own),
    ok = py:exec("here = 1"),
    ?assertEqual({ok, 1}, py:eval(Own, "here")),
    ok = py_context_router:unbind_context(),
    ?assertMatch({error, {'NameError', _}}, py:eval("here")).
