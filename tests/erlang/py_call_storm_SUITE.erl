%% SPDX-License-Identifier: Apache-2.0
%% Many calls of every kind at once, whose processes are killed, interrupted and timed out at
%% whatever they do just then. A run is repeated by its seed, as far as the scheduler allows.
-module(py_call_storm_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(py_call_case, [callers/0, echo/0, handlers/0, no_more_than/2, size/2, usable/1]).

-compile([export_all, nowarn_export_all]).

-define(CASES, storm_cases).
-define(CONTEXTS, 2).
%% Processes that are alive at once.
-define(CHUNK, 100).

suite() ->
    [{timetrap, {minutes, 3}}].

all() ->
    [every_kind_of_call, twenty_thousand_callers_are_killed, handlers_are_killed,
     processes_of_threads_are_killed, calls_are_interrupted_and_time_out, nothing_is_left].

init_per_suite(Config) ->
    Started = py_call_case:start(?CONTEXTS, Config),
    functions(),
    %% Event loops and modules are there from now on.
    [{ok, 1} = call(Place, Kind, 1, 20000) || Place <- lists:seq(1, ?CONTEXTS), Kind <- kinds()],
    [{counters, py_nif:debug_counters()} | proplists:delete(counters, Started)].

end_per_suite(Config) ->
    py_call_case:stop(Config).

init_per_testcase(Case, Config) ->
    functions(),
    %% Handlers of all depths that calls get to, as they wait inside of one another.
    [{ok, 136} = py:call(py:context(Place), reentrancy_cases, down, [16])
     || Place <- lists:seq(1, ?CONTEXTS)],
    Seed = {4, length(atom_to_list(Case)), 2026},
    ct:log("seed ~p", [Seed]),
    _ = rand:seed(exsss, Seed),
    ok = py_call_case:call_from_each_context(),
    [{processes, {length(callers()), length(handlers())}} | py_call_case:watch(Case, Config)].

end_per_testcase(Case, Config) ->
    {Callers, Handlers} = ?config(processes, Config),
    py_call_case:unwatch(Case, Config, fun() ->
                                               no_more_than(Callers, Handlers),
                                               eventually:counters_return_to(
                                                 ?config(counters, Config)),
                                               eventually:silence()
                                       end).

%% Nothing is killed: every answer is that of its call.
every_kind_of_call(_) ->
    Calls = size(300, 20),
    Workers = [eventually:worker(fun() ->
                                         [?assertEqual({ok, {Place, N}},
                                                       call(Place, Kind, {Place, N}, 60000))
                                          || N <- lists:seq(1, Calls),
                                             Kind <- [lists:nth(N rem length(kinds()) + 1,
                                                                kinds())]],
                                         Place
                                 end) || Place <- [1, 2], _ <- lists:seq(1, 5)],
    ?assertEqual([1, 2], lists:usort(eventually:workers(Workers, workers))),
    eventually:silence().

twenty_thousand_callers_are_killed(_) ->
    storm(size(20000, 1000), fun() -> ok end).

%% Also those that run functions for the callers.
handlers_are_killed(_) ->
    storm(size(2000, 200), fun() ->
                                   [exit(Handler, kill) || Handler <- handlers(),
                                                           rand:uniform(2) =:= 1]
                           end).

%% And those that stand for the threads.
processes_of_threads_are_killed(_) ->
    storm(size(2000, 200), fun() ->
                                   [exit(Process, kill) || Process <- callers() ++ handlers(),
                                                           rand:uniform(3) =:= 1]
                           end).

%% A call has a right answer or says why not; none has another's.
calls_are_interrupted_and_time_out(_) ->
    Calls = size(400, 30),
    Workers = [begin
                   Seed = rand:uniform(1 bsl 30),
                   eventually:worker(fun() ->
                                             _ = rand:seed(exsss, Seed),
                                             [impatient(Place, N) || N <- lists:seq(1, Calls)],
                                             eventually:silence(),
                                             done
                                     end)
               end || Place <- [1, 2], _ <- lists:seq(1, 4)],
    Interrupter = spawn_link(fun interrupt_for_ever/0),
    Results = [receive {worker, Worker, Result} -> Result end || Worker <- Workers],
    unlink(Interrupter),
    eventually:dead(Interrupter),
    ?assertEqual([done], lists:usort(Results)),
    [usable(py:context(Place)) || Place <- [1, 2]],
    [?assertEqual({ok, N}, call(Place, Kind, N, 20000))
     || Place <- [1, 2], Kind <- kinds(), N <- [1, 2]].

impatient(Place, N) ->
    Value = {self(), N},
    case call(Place, any(interruptible_kinds()), Value, rand:uniform(8) - 1) of
        {ok, Value} -> ok;
        {error, timeout} -> ok;
        {error, interrupted} -> ok;
        %% What was interrupted was inside of it.
        {error, {'RuntimeError', _}} -> ok;
        Other -> error({wrong, Value, Other})
    end.

interrupt_for_ever() ->
    ok = py:interrupt(py:context(rand:uniform(2))),
    spin(rand:uniform(2000)),
    interrupt_for_ever().

nothing_is_left(Config) ->
    eventually:counters_return_to(?config(counters, Config)).

%% Steps

%% Callers that call for as long as they live, which is some moments. `Also' is done to each chunk.
storm(Count, Also) ->
    Test = self(),
    [begin
         Pids = [begin
                     Place = rand:uniform(?CONTEXTS),
                     Kind = any(kinds()),
                     spawn(fun() -> call_for_ever(Test, Place, Kind, 1) end)
                 end || _ <- lists:seq(1, ?CHUNK)],
         [begin
              spin(rand:uniform(100)),
              exit(Pid, kill)
          end || Pid <- Pids],
         Also()
     end || _ <- lists:seq(1, Count div ?CHUNK)],
    [usable(py:context(Place)) || Place <- lists:seq(1, ?CONTEXTS)],
    [?assertEqual({ok, N}, call(Place, Kind, N, 20000))
     || Place <- lists:seq(1, ?CONTEXTS), Kind <- kinds(), N <- [1, 2]],
    py:unregister_function(usable).

call_for_ever(Test, Place, Kind, N) ->
    case call(Place, Kind, {self(), N}, infinity) of
        {ok, {Pid, N}} when Pid =:= self() -> ok;
        %% Somebody who worked for it has been killed.
        {error, {Class, _}} when Class =:= 'RuntimeError'; Class =:= 'IndexError' -> ok;
        Other -> Test ! {wrong, Kind, N, Other}
    end,
    call_for_ever(Test, Place, Kind, N + 1).

%% Some time, at the mercy of the scheduler.
spin(0) -> ok;
spin(N) -> erlang:yield(), spin(N - 1).

any(List) -> lists:nth(rand:uniform(length(List)), List).

call(Place, Kind, Value, Timeout) ->
    py:call(py:context(Place), ?CASES, Kind, [Value], #{timeout => Timeout}).

kinds() ->
    [plain, call, calls, nested, failing, coroutine, cancelled, scheduled, inline, elsewhere,
     thread].

%% Those that run no module of Python's which could be interrupted between taking a lock and seeing
%% to it that it is let go: the lock of imports, for one, would be held for ever.
interruptible_kinds() ->
    [plain, call, calls, nested, failing, scheduled, inline, elsewhere].

functions() ->
    echo(),
    ok = py:register_function(down, fun([N]) ->
                                            {ok, Sum} = py:call(reentrancy_cases, down, [N]),
                                            Sum
                                    end),
    ok = py:register_function(fail, fun([Value]) -> error(Value) end),
    ok = py:register_function(back, fun([Value]) ->
                                            case py:call(?CASES, call, [Value]) of
                                                {ok, Back} -> Back;
                                                {error, Reason} -> throw(Reason)
                                            end
                                    end).
