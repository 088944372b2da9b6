%% SPDX-License-Identifier: Apache-2.0
%% @doc Tasks in a pool of event loops, each with a thread of its own.
%%
%% All tasks of a process run in the same loop, so that they start in the order in which it created
%% them, and what they share needs no lock. Other than that everything is as in {@link
%% py_event_loop}. The pool has `event_loop_pool_size' loops (of the application's environment;
%% default: one for each scheduler). They share Python's GIL, unless `event_loop_pool_owngil' is
%% true: then each has an interpreter of its own, which needs Python 3.12.
-module(py_event_loop_pool).

-export([run/3, run/4, create_task/3, create_task/4, await/1, await/2, spawn_task/3, spawn_task/4]).
-export([exec/1, eval/1, eval/2, get_loop/0, get_stats/0]).

-define(AWAIT_TIMEOUT_MS, 5000).
-define(CODE_TIMEOUT_MS, 30000).

%% @doc See {@link py_event_loop:run/3}.
-spec run(py:name(), py:name(), [term()]) -> py:result().
run(Module, Function, Args) ->
    py_loop:run(own(), Module, Function, Args, #{}).

%% @doc See {@link py_event_loop:run/4}.
-spec run(py:name(), py:name(), [term()], py_loop:opts()) -> py:result().
run(Module, Function, Args, Opts) ->
    py_loop:run(own(), Module, Function, Args, Opts).

%% @doc See {@link py_event_loop:create_task/3}.
-spec create_task(py:name(), py:name(), [term()]) -> reference().
create_task(Module, Function, Args) ->
    py_loop:create_task(own(), task, Module, Function, Args, #{}).

%% @doc See {@link py_event_loop:create_task/4}.
-spec create_task(py:name(), py:name(), [term()], map()) -> reference().
create_task(Module, Function, Args, Kwargs) ->
    py_loop:create_task(own(), task, Module, Function, Args, Kwargs).

%% @doc See {@link py_event_loop:await/1}.
-spec await(reference()) -> py:result().
await(Ref) ->
    py_loop:await(Ref, ?AWAIT_TIMEOUT_MS).

%% @doc See {@link py_event_loop:await/2}.
-spec await(reference(), timeout()) -> py:result().
await(Ref, Timeout) ->
    py_loop:await(Ref, Timeout).

%% @doc See {@link py_event_loop:spawn_task/3}.
-spec spawn_task(py:name(), py:name(), [term()]) -> ok.
spawn_task(Module, Function, Args) ->
    py_loop:spawn_task(own(), Module, Function, Args, #{}).

%% @doc See {@link py_event_loop:spawn_task/4}.
-spec spawn_task(py:name(), py:name(), [term()], map()) -> ok.
spawn_task(Module, Function, Args, Kwargs) ->
    py_loop:spawn_task(own(), Module, Function, Args, Kwargs).

%% @doc See {@link py_event_loop:exec/1}: in the calling process's loop.
-spec exec(py:code()) -> ok | py:error().
exec(Code) ->
    py_loop:exec(own(), Code, ?CODE_TIMEOUT_MS).

%% @doc See {@link py_event_loop:eval/1}: in the calling process's loop.
-spec eval(py:code()) -> py:result().
eval(Code) ->
    py_loop:eval(own(), Code, #{}, ?CODE_TIMEOUT_MS).

%% @doc The same with variables.
-spec eval(py:code(), map()) -> py:result().
eval(Code, Locals) ->
    py_loop:eval(own(), Code, Locals, ?CODE_TIMEOUT_MS).

%% @doc The calling process's loop, always the same one until it dies.
-spec get_loop() -> {ok, py_event_loop:loop()} | {error, not_available}.
get_loop() ->
    py_loop:reference(own()).

%% @doc What the pool is.
-spec get_stats() ->
    #{num_loops := non_neg_integer(), supported := boolean(), owngil_enabled := boolean()}.
get_stats() ->
    {Size, Mode} = py_loop:pool_size(),
    #{num_loops => Size, supported => true, owngil_enabled => Mode =:= owngil}.

own() ->
    case py_loop:pool_size() of
        {0, _Mode} -> 1;
        {Size, _Mode} -> erlang:phash2(self(), Size) + 1
    end.
