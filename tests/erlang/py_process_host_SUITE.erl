%% SPDX-License-Identifier: Apache-2.0
%% A VM that is killed leaves nothing: its workers are gone within a second, whatever they do.
%%
%% PENSTOCK_HOST_KILLS and PENSTOCK_SEED: how many VMs, and when. The seed is in the log.
-module(py_process_host_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-define(CASES, shared_cases).
%% VMs at a time, and for how long their workers work.
-define(HOSTS, 2).
-define(LIFE_MS, 60).
%% What docs/processes.md promises.
-define(PROMISE_MS, 1000).

suite() ->
    [{timetrap, {seconds, 240}}].

all() ->
    [workers_end_with_their_vm].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_process_case:prepare(Config),
    Config.

end_per_suite(_Config) ->
    ok = application:stop(penstock).

workers_end_with_their_vm(Config) ->
    Seed = py_process_kills_SUITE:seed(),
    Count = kills(),
    py_process_kills_SUITE:tell("~b VMs are killed, seed ~p", [Count, Seed]),
    Before = py_process_kills_SUITE:files(),
    [{"PYTHONPATH", Path} | _] = py_process_kills_SUITE:environment(Config),
    Killers = [eventually:worker(fun() ->
                                     _ = rand:seed(exsss, {Seed, Host, 0}),
                                     [kill_host(Path, Seed, {Host, N})
                                      || N <- lists:seq(1, Count div ?HOSTS)]
                                 end) || Host <- lists:seq(1, ?HOSTS)],
    Killed = lists:append(py_process_kills_SUITE:results(Killers)),
    Times = lists:append([Ends || {Ends, _} <- Killed]),
    py_process_kills_SUITE:tell("~b workers, ~b of which were being started: the last one ended "
                                "~b ms after its VM, the median is ~b ms",
                                [length(Times), lists:sum([Others || {_, Others} <- Killed]),
                                 lists:max(Times),
                                 lists:nth((length(Times) + 1) div 2, lists:sort(Times))]),
    ?assertEqual([], [Time || Time <- Times, Time > ?PROMISE_MS]),
    eventually:equal([], fun() -> py_process_kills_SUITE:files() -- Before end).

%% The whole number in one run of the suites; the VMs that are killed are the same in the others.
kills() ->
    case {os:getenv("PENSTOCK_HOST_KILLS"), os:getenv("PENSTOCK_PRIV")} of
        {false, false} -> 20;
        {false, _OtherBuild} -> 2;
        {Number, _} -> list_to_integer(Number)
    end.

%% How long each worker outlived its VM, and how many were being started.
kill_host(Path, Seed, {Host, N}) ->
    Value = lists:flatten(io_lib:format("~s-~b-~b-~b", [os:getpid(), Seed, Host, N])),
    Mark = unicode:characters_to_binary("PENSTOCK_MARK=" ++ Value),
    Peer = py_process_SUITE:peer(#{env => [{"PENSTOCK_MARK", Value}, {"PYTHONPATH", Path},
                                           {"PYTHONDONTWRITEBYTECODE", "1"}]}),
    Workers = peer:call(Peer, ?MODULE, work, [], 60_000),
    Pid = list_to_integer(peer:call(Peer, os, getpid, [])),
    receive after rand:uniform(?LIFE_MS) -> ok end,  % sleep: the moment
    {ok, {Ends, Others}} = py:call(py:context(1), host_cases, kill_host, [Pid, Workers, Mark]),
    exit(Peer, kill),
    eventually:equal({ok, []}, fun() -> py:call(py:context(1), host_cases, names_of, [Mark]) end),
    {Ends, Others}.

%% In the VM that is to die: one worker is stopped, one takes all time it gets, two send and receive
%% on a channel; and others are being started.
work() ->
    Contexts = [element(2, {ok, _} = py_context:new(#{mode => process})) || _ <- lists:seq(1, 4)],
    Pids = [element(2, {ok, _} = py_context:os_pid(Context)) || Context <- Contexts],
    [Stopped, Busy, Sender, Receiver] = Contexts,
    {ok, Channel} = py_channel:new(#{shared => true, max_size => 4096}),
    {ok, none} = py:call(py:context(1), os, kill, [hd(Pids), 19]),
    Works = [fun() -> py:call(Stopped, os, getpid, []) end,
             fun() -> py:exec(Busy, <<"while True: pass">>) end,
             fun() -> py:call(Sender, ?CASES, send_for_ever, [Channel, 2000]) end,
             fun() -> py:call(Receiver, ?CASES, take_for_ever, [Channel]) end,
             fun() -> start_and_stop() end],
    _ = [spawn(Work) || Work <- Works],
    Pids.

start_and_stop() ->
    {ok, Context} = py_context:new(#{mode => process}),
    ok = py_context:stop(Context),
    start_and_stop().
