%% SPDX-License-Identifier: Apache-2.0
%% What the suites about calls from Python share: the application, functions that are registered for
%% one case, a watchdog, and what stands in Erlang for Python's threads.
-module(py_call_case).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([start/2, stop/1, call_from_each_context/0, watch/2, unwatch/3, size/2, at_once/1,
         echo/0, gate/1, open/1, entered/1, callers/0, handlers/0, no_more_than/2, usable/1,
         running/1, in/3]).

%% Less than what eventually waits, so that the stacks are those of the hang.
-define(STACKS_AFTER_S, 8).
-define(AT_ONCE_MS, 100).
-define(TRIES, 5).
-define(HANG_MS, 20000).

%% The application, with contexts that have each called Erlang once.
start(Contexts, Config) ->
    _ = application:load(penstock),
    ok = application:set_env(penstock, num_contexts, Contexts),
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_case:add_path(Config),
    ok = call_from_each_context(),
    [{counters, py_nif:debug_counters()} | Config].

%% So that each has its process in Erlang, also when what a case killed took those along.
call_from_each_context() ->
    ok = py:register_function(<<"_same">>, fun([Value]) -> Value end),
    [{ok, 1} = py:call(Context, erlang, call, [<<"_same">>, 1])
     || Context <- py_context_router:contexts()],
    ok.

stop(Config) ->
    eventually:counters_return_to(?config(counters, Config)),
    ok = application:stop(penstock),
    ok = application:unset_env(penstock, num_contexts),
    ok = application:unload(penstock).

%% Before a case.
watch(Case, Config) ->
    Stacks = filename:join(?config(priv_dir, Config), atom_to_list(Case) ++ ".stacks"),
    {ok, _} = py:call(watchdog, start, [unicode:characters_to_binary(Stacks), ?STACKS_AFTER_S]),
    [{stacks, Stacks} | Config].

%% After a case. `Check' looks at what it left behind, which makes it fail as well: an exception in
%% end_per_testcase would not. After a failure it shows where everybody was, and starts contexts
%% anew, since one that hangs would let every case fail.
unwatch(_Case, Config, Check) ->
    Result = try
                 forget_functions(),
                 Check(),
                 ok
             catch
                 Class:Reason:Stack -> {fail, {Class, Reason, Stack}}
             end,
    Status = ?config(tc_status, Config),
    {Status, Result} =:= {ok, ok} orelse show(?config(stacks, Config)),
    eventually:true(fun watchdog_stopped/0),
    case Status of
        ok -> Result;
        _ -> ok  % What it failed with is the reason.
    end.

show(Stacks) ->
    {ok, Python} = file:read_file(Stacks),
    ct:log("Python:~n~ts~nErlang:~n~p",
           [Python, [{Pid, process_info(Pid, [current_stacktrace, dictionary, messages])}
                     || Pid <- callers() ++ handlers()]]),
    [exit(Context, kill) || Context <- py_context_router:contexts()].

%% Not by a process that is bound to a context which was killed meanwhile.
watchdog_stopped() ->
    case py_context_router:contexts() of
        [Context | _] ->
            element(1, py:call(Context, watchdog, stop, [], #{timeout => 5000})) =:= ok;
        [] ->
            starting
    end.

%% Those with an underscore are Penstock's own.
forget_functions() ->
    [py:unregister_function(Name)
     || {Name, _} <- ets:tab2list(py_callbacks), binary:first(Name) =/= $_],
    ok.

%% How much to do: in a build with sanitizers everything takes many times as long, and with contexts
%% in processes a call does.
size(Full, Slow) ->
    case string:find(os:getenv("PENSTOCK_PRIV", ""), "san/") of
        nomatch ->
            case application:get_env(penstock, context_mode) of
                {ok, process} -> Slow;
                _ -> Full
            end;
        _ ->
            Slow
    end.

%% What a function returns, which does not take long: the fastest of some tries, as the machine may
%% be busy.
at_once(Function) ->
    Tries = [timer:tc(Function) || _ <- lists:seq(1, ?TRIES)],
    {Fastest, Result} = lists:min(Tries),
    ?assert(Fastest div 1000 < size(?AT_ONCE_MS, 20 * ?AT_ONCE_MS)),
    Result.

%% Functions

%% Returns its argument.
echo() ->
    ok = py:register_function(echo, fun([Value]) -> Value end).

%% Registers a function that tells the test when it is entered, and with what, and returns its first
%% argument once it is let go on.
gate(Name) ->
    Test = self(),
    ok = py:register_function(Name, fun([Value | _] = Args) ->
                                            Test ! {entered, self(), Args},
                                            receive open -> Value end
                                    end).

%% The handler that has entered a gate.
entered(Count) ->
    [begin
         {entered, Handler, _} = eventually:message(entered),
         Handler
     end || _ <- lists:seq(1, Count)].

open(Handlers) ->
    [Handler ! open || Handler <- Handlers],
    ok.

%% Processes

%% Of Python threads that have called Erlang.
callers() ->
    case whereis(py_callback_server) of
        undefined ->
            [];
        Server ->
            {links, Links} = process_info(Server, links),
            [Pid || Pid <- Links, is_pid(Pid), Pid =/= whereis(penstock_sup)]
    end.

%% That run a function for Python, or wait for another one.
handlers() ->
    [Pid || Pid <- processes(),
            {dictionary, Dictionary} <- [process_info(Pid, dictionary)],
            lists:keymember('$penstock_path', 1, Dictionary)].

%% Waits until no more are left than there were. Those of a thread go some time after it.
no_more_than(Callers, Handlers) ->
    eventually:true(fun() ->
                        Now = {length(callers()), length(handlers())},
                        element(1, Now) =< Callers andalso element(2, Now) =< Handlers
                            orelse Now
                    end).

%% The context runs Python, and Python calls Erlang.
usable(Context) ->
    ok = py:register_function(usable, fun([Value]) -> {usable, Value} end),
    ?assertEqual({ok, {<<"usable">>, 1}},
                 py:call(Context, erlang, call, [usable, 1], #{timeout => ?HANG_MS})).

%% Someone's request is running: a second one, which would be answered at once, waits.
running(Context) ->
    eventually:true(fun() ->
                        py:call(Context, call_cases, identity, [1], #{timeout => 20})
                            =:= {error, timeout}
                    end).

%% What a function of tests/erlang/python returns, which is not waited for for ever.
in(Module, Function, Args) ->
    case py:call(py:context(1), Module, Function, Args, #{timeout => ?HANG_MS}) of
        {ok, Value} -> Value;
        Error -> error({Module, Function, Error})
    end.
