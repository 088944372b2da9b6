%% SPDX-License-Identifier: Apache-2.0
%% @doc Tasks in an asyncio event loop that runs with the application, on a thread of its own.
%%
%% A task is a call of a function. What it returns is awaited if it can be; a function that is no
%% coroutine function runs in the loop itself, and so holds up all other tasks for as long as it
%% takes ({@link py:async_call/3} runs such functions on other threads). `__main__' is what the
%% calling process has defined with {@link exec/1}, or with `py:exec' in any context.
%%
%% Results are `{ok, Term}', where `None' is `none', or as {@link py} has them: `{error, {Class,
%% Message}}' for whatever Python raises, also when the task cannot start, and `{error,
%% {context_died, Reason}}' when the loop dies. It is started again then.
%%
%% Tasks of one process start in the order in which they were created.
-module(py_event_loop).

-export([run/3, run/4, create_task/3, create_task/4, await/1, await/2, spawn_task/3, spawn_task/4]).
-export([exec/1, exec/2, eval/1, eval/2, get_loop/0]).
-export_type([loop/0]).

%% Stands for one loop, until that dies.
-type loop() :: reference().

-define(AWAIT_TIMEOUT_MS, 5000).
-define(CODE_TIMEOUT_MS, 30000).

%% @doc Runs `Module.Function(*Args)' as a task and waits for its result, at most 5 s.
-spec run(py:name(), py:name(), [term()]) -> py:result().
run(Module, Function, Args) ->
    py_loop:run(default, Module, Function, Args, #{}).

%% @doc The same with options: `timeout' in ms or `infinity', and `kwargs', a map. After the timeout
%% the task is cancelled, and its result never comes.
-spec run(py:name(), py:name(), [term()], py_loop:opts()) -> py:result().
run(Module, Function, Args, Opts) ->
    py_loop:run(default, Module, Function, Args, Opts).

%% @doc Starts a task and does not wait. Its result comes as the message `{async_result, Ref,
%% Result}', or to {@link await/1}.
-spec create_task(py:name(), py:name(), [term()]) -> reference().
create_task(Module, Function, Args) ->
    py_loop:create_task(default, task, Module, Function, Args, #{}).

%% @doc The same with keyword arguments.
-spec create_task(py:name(), py:name(), [term()], map()) -> reference().
create_task(Module, Function, Args, Kwargs) ->
    py_loop:create_task(default, task, Module, Function, Args, Kwargs).

%% @doc The result of a task that the calling process has created, for at most 5 s.
-spec await(reference()) -> py:result().
await(Ref) ->
    py_loop:await(Ref, ?AWAIT_TIMEOUT_MS).

%% @doc The same, for at most `Timeout' ms. After `{error, timeout}' the task goes on, and its
%% result may still come, as the message or to another `await'.
-spec await(reference(), timeout()) -> py:result().
await(Ref, Timeout) ->
    py_loop:await(Ref, Timeout).

%% @doc Starts a task whose result, or failure, nobody is told.
-spec spawn_task(py:name(), py:name(), [term()]) -> ok.
spawn_task(Module, Function, Args) ->
    py_loop:spawn_task(default, Module, Function, Args, #{}).

%% @doc The same with keyword arguments.
-spec spawn_task(py:name(), py:name(), [term()], map()) -> ok.
spawn_task(Module, Function, Args, Kwargs) ->
    py_loop:spawn_task(default, Module, Function, Args, Kwargs).

%% @doc Runs statements in the loop, in a namespace that the calling process has there until it
%% dies; at most 30 s.
-spec exec(py:code()) -> ok | py:error().
exec(Code) ->
    py_loop:exec(default, Code, ?CODE_TIMEOUT_MS).

%% @doc The same in any loop.
-spec exec(loop(), py:code()) -> ok | py:error().
exec(Loop, Code) when is_reference(Loop) ->
    py_loop:exec(Loop, Code, ?CODE_TIMEOUT_MS);
exec(Loop, Code) ->
    error(badarg, [Loop, Code]).

%% @doc The value of an expression in that namespace; what can be awaited is. At most 30 s.
-spec eval(py:code()) -> py:result().
eval(Code) ->
    py_loop:eval(default, Code, #{}, ?CODE_TIMEOUT_MS).

%% @doc `eval(Code, Locals)': with variables. `eval(Loop, Code)': in any loop.
-spec eval(loop(), py:code()) -> py:result();
          (py:code(), map()) -> py:result().
eval(Loop, Code) when is_reference(Loop) ->
    py_loop:eval(Loop, Code, #{}, ?CODE_TIMEOUT_MS);
eval(Code, Locals) ->
    py_loop:eval(default, Code, Locals, ?CODE_TIMEOUT_MS).

%% @doc The loop of this module. Another one takes its place when it dies.
-spec get_loop() -> {ok, loop()} | {error, not_available}.
get_loop() ->
    py_loop:reference(default).
