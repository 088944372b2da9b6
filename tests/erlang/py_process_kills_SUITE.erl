%% SPDX-License-Identifier: Apache-2.0
%% Workers that are killed at random times while they have calls in hand, call back, and send and
%% receive on a channel that all of them share: each call has one outcome, and each message that
%% was sent comes once, but for the one that a dead worker had just taken.
%%
%% PENSTOCK_KILLS and PENSTOCK_SEED: how many, and when. The seed is in the log.
-module(py_process_kills_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-define(CASES, kill_cases).
%% Workers at a time, and how long they live in ms.
-define(WORKERS, 4).
-define(LIFE_MS, 60).
%% A bound that only a fault reaches.
-define(PATIENCE_MS, 30_000).

suite() ->
    [{timetrap, {seconds, 240}}].

all() ->
    [kills_under_load, nothing_is_left].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_process_case:prepare(Config),
    [{counters, py_nif:debug_counters()}, {fds, py_process_case:fds()},
     {maps, py_process_case:maps()}, {files, files()} | Config].

end_per_suite(Config) ->
    eventually:counters_return_to(?config(counters, Config)),
    ok = application:stop(penstock).

init_per_testcase(_Case, Config) ->
    Config.

end_per_testcase(_Case, _Config) ->
    _ = py:unregister_function(kill_count),
    py_process_case:end_of_case().

kills_under_load(Config) ->
    Seed = seed(),
    Count = kills(),
    tell("~b kills, seed ~p", [Count, Seed]),
    Folder = filename:join(?config(priv_dir, Config), "messages"),
    ok = file:make_dir(Folder),
    Counted = ets:new(counted, [public, {write_concurrency, true}]),
    Note = fun([Key]) -> ets:update_counter(Counted, Key, 1, {Key, 0}) end,
    ok = py:register_function(kill_count, Note),
    {ok, Channel} = py_channel:new(#{shared => true, max_size => 4096}),
    Sender = eventually:worker(fun() -> send(Channel, 0) end),
    Receiver = eventually:worker(fun() -> receive_all(Channel, []) end),
    Load = #{channel => Channel, folder => unicode:characters_to_binary(Folder),
             env => environment(Config)},
    Times = lists:append(results(
        [eventually:worker(fun() ->
                               _ = rand:seed(exsss, {Seed, Worker, 0}),
                               kill_workers(Load, Worker, max(1, Count div ?WORKERS))
                           end) || Worker <- lists:seq(1, ?WORKERS)])),
    Sender ! enough,
    [Sent] = results([Sender]),
    eventually:equal(0, fun() -> maps:get(size, py_channel:info(Channel)) end),
    ok = py_channel:close(Channel),
    [Got] = results([Receiver]),
    ok = file:write_file(filename:join(Folder, "sent-0"), <<Sent:64/native, Sent:64/native>>),
    ok = file:write_file(filename:join(Folder, "got-0"), << <<(N + 1):64/native>> || N <- Got >>),
    ?assertEqual([], [Row || {_, Often} = Row <- ets:tab2list(Counted), Often =/= 1]),
    {ok, {Came, Missing, Receivers}} =
        py:call(py:context(1), ?CASES, verdict, [maps:get(folder, Load)]),
    report(Times, Came, Missing, ets:info(Counted, size)),
    %% The VM lost none, and each other one that which it took last.
    ?assert(Missing < Receivers),
    ok = file:del_dir_r(Folder).

%% The whole number in one run of the suites: the others are about another Python, or slow.
kills() ->
    case {os:getenv("PENSTOCK_KILLS"), os:getenv("PENSTOCK_PRIV"), py_process_case:preload()} of
        {false, false, []} -> 200;
        {false, _OtherBuild, []} -> 20;
        {false, _OtherBuild, _Sanitizer} -> 8;
        {Number, _, _} -> list_to_integer(Number)
    end.

seed() ->
    case os:getenv("PENSTOCK_SEED") of
        false -> erlang:system_time() band 16#FFFFFFFF;
        Number -> list_to_integer(Number)
    end.

environment(Config) ->
    Tests = filename:dirname(filename:dirname(?config(data_dir, Config))),
    [{"PYTHONPATH", filename:join(Tests, "python")}, {"PYTHONDONTWRITEBYTECODE", "1"}
     | py_process_case:preload()].

report(Times, Came, Missing, Counted) ->
    Sorted = list_to_tuple(lists:sort(Times)),
    Quantile = fun(Part) -> element(max(1, ceil(Part * tuple_size(Sorted))), Sorted) / 1000 end,
    tell("~b kills: next answer after ~.1f ms (median), ~.1f ms (p99), ~.1f ms (longest); "
         "~b messages came, ~b went with who had taken them; ~b callbacks",
         [tuple_size(Sorted), Quantile(0.5), Quantile(0.99), Quantile(1), Came, Missing, Counted]).

%% Also to whoever runs the suites.
tell(Format, Args) ->
    ct:log(Format, Args),
    io:format(user, Format ++ "~n", Args).

%% What all share

send(Channel, Index) ->
    receive
        enough -> Index
    after 0 ->
        ok = py_channel:send(Channel, message(Index), ?PATIENCE_MS),
        receive after case Index rem 20 of 0 -> 1; _ -> 0 end -> ok end,  % sleep: the load
        send(Channel, Index + 1)
    end.

message(Number) ->
    {Number, Data} = from_python(Number),
    {Number, {bytes, Data}}.

from_python(Number) ->
    {Number, binary:copy(<<Number>>, Number * 37 rem 3000)}.

receive_all(Channel, Got) ->
    case py_channel:recv(Channel, infinity) of
        {ok, {Number, Data}} ->
            %% Python's bytes are binaries here.
            ?assert(lists:member({Number, Data}, [message(Number), from_python(Number)])),
            receive_all(Channel, [Number | Got]);
        {error, closed} ->
            lists:reverse(Got)
    end.

%% A worker after the other; how long it took from each kill to the next answer, in us.

kill_workers(Load, Worker, Count) ->
    {Times, Last} = lists:mapfoldl(fun(Number, Victim) ->
                                       kill_one(Load, Victim, Worker * 10_000 + Number)
                                   end, victim(Load, 0), lists:seq(1, Count)),
    ok = stop(Last),
    Times.

%% A context that is to lose so many processes more. One that is not started again ends with its
%% first; of another one the second one has taken its place when it is stopped.
victim(#{env := Env}, Number) ->
    {Restart, Kills} = element(1 + Number rem 2, {{temporary, 1}, {permanent, 2}}),
    {ok, Context} = py_context:new(#{mode => process, restart => Restart, env => Env}),
    {Context, Kills}.

kill_one(#{channel := Channel, folder := Folder} = Load, {Context, _} = Victim, Process) ->
    {ok, Pid} = py_context:os_pid(Context),
    Begin = eventually:worker(fun() ->
                                  Args = [Channel, Folder, Process],
                                  outcome(py:call(Context, ?CASES, 'begin', Args), none)
                              end),
    Callers = [eventually:worker(fun() -> call(Kind, Context, {Process, Place}, 0) end)
               || {Place, Kind} <- [{1, identity}, {2, large}, {3, callback}, {4, threads},
                                    {5, queue}]],
    receive after rand:uniform(?LIFE_MS) -> ok end,  % sleep: the moment
    Killed = erlang:monotonic_time(microsecond),
    {ok, none} = py:call(py:context(1), os, kill, [Pid, 9]),
    Next = next(Load, Victim, Process),
    ok = next_answer(Next, Pid),
    Answered = erlang:monotonic_time(microsecond),
    [Caller ! enough || Caller <- Callers],
    _ = results([Begin | Callers]),
    {Answered - Killed, Next}.

next(_Load, {Context, 2}, _Process) ->
    {Context, 1};
next(Load, Victim, Process) ->
    ok = stop(Victim),
    victim(Load, Process).

stop({Context, _}) ->
    py_context:stop(Context).

next_answer({Context, _} = Next, Pid) ->
    case py:call(Context, os, getpid, [], #{timeout => ?PATIENCE_MS}) of
        {ok, Pid} -> next_answer(Next, Pid);  % The signal is on its way.
        {ok, _Other} -> ok;
        {error, {worker_down, {signal, 9}}} -> next_answer(Next, Pid)
    end.

%% What a caller does until it is told, and that each call has one outcome, the right one.

call(Kind, Context, Key, Count) ->
    Outcomes = outcomes(Kind, Context, {Key, Count}),
    receive
        enough -> alone();
        Stray -> error({stray, Stray})
    after 0 ->
        case lists:member(gone, Outcomes) of
            true -> receive enough -> alone(); Stray -> error({stray, Stray}) end;
            false -> call(Kind, Context, Key, Count + 1)
        end
    end.

alone() ->
    receive Stray -> error({stray, Stray}) after 0 -> ok end.

outcomes(identity, Context, Key) ->
    [outcome(py:call(Context, ?CASES, same, [Key]), Key)];
outcomes(large, Context, Key) ->
    Large = {Key, binary:copy(<<"large">>, 60_000)},
    [outcome(py:call(Context, ?CASES, same, [Large]), Large)];
outcomes(callback, Context, Key) ->
    [outcome(py:call(Context, erlang, call, [kill_count, Key]), 1)];
outcomes(threads, Context, Key) ->
    [outcome(py:call(Context, ?CASES, count_in_threads, [Key, 3]), [1, 1, 1])];
outcomes(queue, Context, Key) ->
    Request = fun(Ref) -> {erlang, call, [kill_count, {Key, Ref}], #{}} end,
    Accepted = [Ref || Ref <- [make_ref() || _ <- lists:seq(1, 20)],
                       ok =:= py_context:submit(Context, call, Request(Ref), Ref)],
    [receive {Ref, Result} -> outcome(Result, 1) after ?PATIENCE_MS -> error({no_answer, Ref}) end
     || Ref <- Accepted].

outcome({ok, Value}, Value) -> answered;
outcome({error, {worker_down, {signal, 9}}}, _Value) -> down;
outcome({error, {context_died, _}}, _Value) -> gone.

results(Workers) ->
    [receive {worker, Worker, Result} -> Result after 120_000 -> error(process_info(Worker)) end
     || Worker <- Workers].

nothing_is_left(Config) ->
    py_process_case:nothing_is_left(Config),
    ?assertEqual([], zombies()),
    eventually:equal([], fun() -> files() -- ?config(files, Config) end).

%% Children that have ended, for whom nobody has waited.
zombies() ->
    {ok, Names} = file:list_dir("/proc"),
    [Name || [Digit | _] = Name <- Names, Digit >= $0, Digit =< $9,
             {ok, Status} <- [file:read_file("/proc/" ++ Name ++ "/status")],
             binary:match(Status, <<"State:\tZ">>) =/= nomatch,
             binary:match(Status, iolist_to_binary(["PPid:\t", os:getpid(), "\n"])) =/= nomatch].

files() ->
    {ok, Names} = file:list_dir("/dev/shm"),
    lists:sort(Names).
