%% SPDX-License-Identifier: Apache-2.0
%% What the suites about contexts in processes of their own share.
-module(py_process_case).

-include_lib("common_test/include/ct.hrl").

-export([prepare/1, shared_once/0, preload/0, has_tsan/0, new/1, new/2, end_of_case/0,
         nothing_is_left/1, contexts/0, kill/1, signal/2, is_running/1, workers/0, maps/0, fds/0]).

prepare(Config) ->
    ok = py_case:add_path(Config),
    ok = shared_once(),
    ok = py_call_case:call_from_each_context().

%% What the VM shares channels by stays once there is one.
shared_once() ->
    Before = length([1 || "/memfd:penstock" ++ _ <- fds()]),
    _ = eventually:workers([eventually:worker(fun() ->
                                {ok, _} = py_channel:new(#{shared => true}),
                                ok
                            end)], shared),
    eventually:true(fun() ->
                        [erlang:garbage_collect(Process) || Process <- processes()],
                        length([1 || "/memfd:penstock" ++ _ <- fds()]) =< Before + 1
                    end).

%% What a VM with a sanitizer has been started with, and has taken out of its environment.
preload() ->
    [Setting || Library <- [os:getenv("PENSTOCK_PRELOAD")], Library =/= false,
                Setting <- [{"LD_PRELOAD", Library} |
                            %% A signal is to end it as it would end any other process.
                            [{Name, os:getenv(Name, "") ++ ":handle_segv=0"}
                             || Name <- ["ASAN_OPTIONS", "TSAN_OPTIONS"]]]].

has_tsan() ->
    string:find(proplists:get_value("LD_PRELOAD", preload(), ""), "libtsan") =/= nomatch.

new(Config) ->
    new(Config, #{}).

new(Config, Opts) ->
    Env = preload() ++ maps:get(env, Opts, []),
    {ok, Context} = py_context:new(Opts#{mode => process, env => Env}),
    ok = py_case:add_path(Context, Config),
    Context.

%% Whatever it started has ended.
end_of_case() ->
    [py_context:stop(Context) || Context <- contexts()],
    eventually:equal([], fun workers/0),
    eventually:silence().

nothing_is_left(Config) ->
    eventually:equal([], fun workers/0),
    eventually:true(fun() ->
                        [erlang:garbage_collect(Process) || Process <- processes()],
                        fds() =:= ?config(fds, Config) orelse fds()
                    end),
    eventually:equal(?config(maps, Config), fun maps/0).

contexts() ->
    [Context || [Context] <- ets:match(py_contexts, {{mode, '$1'}, process})].

kill(Pid) ->
    signal("KILL", Pid).

signal(Name, Pid) ->
    "" = os:cmd("kill -" ++ Name ++ " " ++ integer_to_list(Pid)).

%% A zombie has ended, but nobody has waited for it: that is ours to do.
is_running(Pid) ->
    filelib:is_dir("/proc/" ++ integer_to_list(Pid)).

%% Children that run erlang.worker.
workers() ->
    {ok, Names} = file:list_dir("/proc"),
    [Name || [Digit | _] = Name <- Names, Digit >= $0, Digit =< $9,
             {ok, Words} <- [file:read_file("/proc/" ++ Name ++ "/cmdline")],
             binary:match(Words, <<"erlang.worker">>) =/= nomatch,
             {ok, Status} <- [file:read_file("/proc/" ++ Name ++ "/status")],
             binary:match(Status, iolist_to_binary(["PPid:\t", os:getpid(), "\n"])) =/= nomatch].

%% Mappings of memory that others have, too.
maps() ->
    {ok, Maps} = file:read_file("/proc/self/maps"),
    length(binary:matches(Maps, <<"/memfd:penstock">>)).

%% Memory, sockets and descriptors of processes.
fds() ->
    {ok, Names} = file:list_dir("/proc/self/fd"),
    lists:sort([Link || Name <- Names, {ok, Link} <- [file:read_link("/proc/self/fd/" ++ Name)],
                        lists:prefix("/memfd:penstock", Link) orelse lists:prefix("socket:", Link)
                            orelse string:find(Link, "pidfd") =/= nomatch]).
