%% SPDX-License-Identifier: Apache-2.0
%% @doc Calls into Python.
%%
%% Python code runs on the threads of contexts, never on an Erlang scheduler; the calling process
%% waits in `receive'. A context runs one request after the other. `exec', `eval' and calls of
%% `__main__' use a namespace that belongs to the pair of calling process and context, and that is
%% dropped when the process exits; imported modules are shared.
%%
%% Without an explicit context a process uses one of the default pool, always the same, and a call
%% may take 30 s. With one, it waits as long as it takes. A timeout covers waiting in the queue and
%% running; the code is interrupted, and no late answer comes.
%%
%% Results are `{ok, Term}', or `ok' for `exec', or:
%% <ul>
%% <li>`{error, {Class, Message}}': a Python exception. `Class' is an atom, or a binary once Python
%%   has made as many atoms as it may;</li>
%% <li>`{error, interrupted}': it was interrupted, and did not catch that;</li>
%% <li>`{error, timeout}';</li>
%% <li>`{error, {context_died, Reason}}': the context ended before it answered;</li>
%% <li>`{error, {worker_down, Reason}}': the same of the process of a context with that mode;</li>
%% <li>`{error, {unsupported, Type, Path}}': an argument has no form in Python. `Path' begins with
%%   `args', `kwargs' or `locals';</li>
%% <li>`{error, not_started}': the application does not run; `{error, enomem}'.</li>
%% </ul>
-module(py).

-export([start_contexts/0, contexts_started/0, context/0, context/1]).
-export([call/3, call/4, call/5, eval/1, eval/2, eval/3, eval/4, exec/1, exec/2, exec/3]).
-export([async_call/3, async_call/4, await/1, await/2, async_await/1, async_await/2,
         async_gather/1, async_gather/2]).
-export([register_function/2, register_function/3, unregister_function/1]).
-export([interrupt/1, version/0, stats/0]).
-export([part/2]).  % For py_loop.
-export_type([name/0, code/0, options/0, result/0, error/0]).

-type name() :: atom() | binary() | string().
-type code() :: unicode:chardata().

%% `timeout': ms, default infinity. `kwargs': keyword arguments, keys are atoms or binaries.
%% `traceback': whether an exception is `{error, {Class, Message, Traceback}}', the last a binary.
-type options() :: #{timeout => timeout(), kwargs => map(), traceback => boolean()}.

-type error() ::
    {error, {Class :: atom() | binary(), Message :: string()} |
            {Class :: atom() | binary(), Message :: string(), Traceback :: binary()} |
            interrupted | timeout |
            {context_died | worker_down, term()} | py_nif:unsupported() | not_started | enomem |
            corrupt | atom_limit}.
-type result() :: {ok, term()} | error().

-define(POOL_TIMEOUT_MS, 30000).
-define(AWAIT_TIMEOUT_MS, 30000).
%% How long a task may take to say that it was cancelled, when its loop ends.
-define(LAST_WORDS_MS, 2000).

%% @doc The contexts of the default pool, which start with the application.
-spec start_contexts() -> {ok, [pid()]} | {error, not_started}.
start_contexts() ->
    case py_context_router:contexts() of
        [] -> {error, not_started};
        Contexts -> {ok, Contexts}
    end.

%% @doc Whether the default pool runs.
-spec contexts_started() -> boolean().
contexts_started() ->
    py_context_router:contexts() =/= [].

%% @doc The calling process's context in the default pool. Fails with `not_started'.
-spec context() -> pid().
context() ->
    case py_context_router:get_context() of
        {ok, Context} -> Context;
        error -> error(not_started)
    end.

%% @doc A context of the default pool, from 1 on. Fails with `badarg' when there is no such.
-spec context(pos_integer()) -> pid().
context(Index) when is_integer(Index), Index > 0 ->
    case py_context:at(Index) of
        {ok, Context} -> Context;
        error -> error(badarg, [Index])
    end;
context(Index) ->
    error(badarg, [Index]).

%% @doc Calls `Module.Function(*Args)' in the default pool, for at most 30 s.
-spec call(name(), name(), [term()]) -> result().
call(Module, Function, Args) ->
    call(Module, Function, Args, #{}).

%% @doc `call(Module, Function, Args, Kwargs)': the same, with keyword arguments.
%% `call(Context, Module, Function, Args)': in that context, as long as it takes.
-spec call(name(), name(), [term()], map()) -> result();
          (pid(), name(), name(), [term()]) -> result().
call(Context, Module, Function, Args) when is_pid(Context) ->
    call(Context, Module, Function, Args, #{});
call(Module, Function, Args, Kwargs) when is_list(Args), is_map(Kwargs) ->
    in_pool(call, call_arguments(Module, Function, Args, Kwargs));
call(Module, Function, Args, Kwargs) ->
    error(badarg, [Module, Function, Args, Kwargs]).

%% @doc Calls in that context, with options.
-spec call(pid(), name(), name(), [term()], options()) -> result().
call(Context, Module, Function, Args, Options)
  when is_pid(Context), is_list(Args), is_map(Options) ->
    Kwargs = maps:get(kwargs, Options, #{}),
    is_map(Kwargs) orelse error(badarg, [Context, Module, Function, Args, Options]),
    request_with(Context, call, call_arguments(Module, Function, Args, Kwargs),
                 maps:remove(kwargs, Options));
call(Context, Module, Function, Args, Options) ->
    error(badarg, [Context, Module, Function, Args, Options]).

%% @doc The value of an expression, in the default pool, within 30 s.
-spec eval(code()) -> result().
eval(Code) ->
    eval(Code, #{}).

%% @doc `eval(Code, Locals)': with variables, whose names are atoms or binaries.
%% `eval(Context, Code)': in that context, as long as it takes.
-spec eval(code(), map()) -> result();
          (pid(), code()) -> result().
eval(Context, Code) when is_pid(Context) ->
    eval(Context, Code, #{});
eval(Code, Locals) when is_map(Locals) ->
    in_pool(eval, {text(Code), Locals});
eval(Code, Locals) ->
    error(badarg, [Code, Locals]).

%% @doc The value of an expression in that context, with variables.
-spec eval(pid(), code(), map()) -> result().
eval(Context, Code, Locals) when is_pid(Context), is_map(Locals) ->
    request(Context, eval, {text(Code), Locals}, infinity);
eval(Context, Code, Locals) ->
    error(badarg, [Context, Code, Locals]).

%% @doc The same, with options: `timeout', `traceback'.
-spec eval(pid(), code(), map(), options()) -> result().
eval(Context, Code, Locals, Options)
  when is_pid(Context), is_map(Locals), is_map(Options) ->
    request_with(Context, eval, {text(Code), Locals}, Options);
eval(Context, Code, Locals, Options) ->
    error(badarg, [Context, Code, Locals, Options]).

%% @doc Runs statements in the default pool, within 30 s.
-spec exec(code()) -> ok | error().
exec(Code) ->
    in_pool(exec, {text(Code)}).

%% @doc Runs statements in that context, as long as it takes.
-spec exec(pid(), code()) -> ok | error().
exec(Context, Code) when is_pid(Context) ->
    request(Context, exec, {text(Code)}, infinity);
exec(Context, Code) ->
    error(badarg, [Context, Code]).

%% @doc Runs statements in that context, with options: `timeout', `traceback'.
-spec exec(pid(), code(), options()) -> ok | error().
exec(Context, Code, Options) when is_pid(Context), is_map(Options) ->
    request_with(Context, exec, {text(Code)}, Options);
exec(Context, Code, Options) ->
    error(badarg, [Context, Code, Options]).

%% @doc Starts `Module.Function(*Args)' and does not wait: on an asyncio loop if it is a coroutine
%% function, else on a thread. The result comes as the message `{async_result, Ref, Result}', or to
%% `await/1'.
-spec async_call(name(), name(), [term()]) -> reference().
async_call(Module, Function, Args) ->
    async_call(Module, Function, Args, #{}).

%% @doc The same, with keyword arguments.
-spec async_call(name(), name(), [term()], map()) -> reference().
async_call(Module, Function, Args, Kwargs) ->
    py_loop:create_task(async, thread, Module, Function, Args, Kwargs).

%% @doc The result of an `async_call' of this process, for at most 30 s.
-spec await(reference()) -> result().
await(Ref) ->
    await(Ref, ?AWAIT_TIMEOUT_MS).

%% @doc The same, for at most `Timeout' ms; after that the result may still come, as a message.
-spec await(reference(), timeout()) -> result().
await(Ref, Timeout) when is_reference(Ref) ->
    is_timeout(Timeout) orelse error(badarg, [Ref, Timeout]),
    Monitor = erlang:monitor(process, py_async),
    Result = receive
        {async_result, Ref, Found} -> Found;
        {py_response, Ref, Found} -> Found;
        {'DOWN', Monitor, process, _Server, Reason} ->
            receive
                {async_result, Ref, Found} -> Found
            after min(Timeout, ?LAST_WORDS_MS) ->
                {error, {context_died, Reason}}
            end
    after Timeout ->
        {error, timeout}
    end,
    erlang:demonitor(Monitor, [flush]),
    Result;
await(Ref, Timeout) ->
    error(badarg, [Ref, Timeout]).

%% @doc `await/1' by its other name.
-spec async_await(reference()) -> result().
async_await(Ref) ->
    await(Ref).

%% @doc `await/2' by its other name.
-spec async_await(reference(), timeout()) -> result().
async_await(Ref, Timeout) ->
    await(Ref, Timeout).

%% @doc Runs calls at the same time, for at most 30 s: all their values, in their order, or the
%% first error in that order.
-spec async_gather([{name(), name(), [term()]} | {name(), name(), [term()], map()}]) ->
    {ok, [term()]} | error().
async_gather(Calls) ->
    async_gather(Calls, ?AWAIT_TIMEOUT_MS).

%% @doc The same, for at most `Timeout' ms.
-spec async_gather([{name(), name(), [term()]} | {name(), name(), [term()], map()}], timeout()) ->
    {ok, [term()]} | error().
async_gather(Calls, Timeout) when is_list(Calls) ->
    is_timeout(Timeout) orelse error(badarg, [Calls, Timeout]),
    Started = [case Call of
        {Module, Function, Args} when is_list(Args) ->
            {text(Module), text(Function), Args, #{}};
        {Module, Function, Args, Kwargs} when is_list(Args), is_map(Kwargs) ->
            {text(Module), text(Function), Args, Kwargs};
        _ ->
            error(badarg, [Calls, Timeout])
    end || Call <- Calls],
    %% In a process of its own, where results that come too late end.
    Parent = self(),
    Tag = make_ref(),
    {Pid, Monitor} = spawn_monitor(fun() -> Parent ! {Tag, gather(Started, Timeout)}, ok end),
    receive
        {Tag, Result} ->
            erlang:demonitor(Monitor, [flush]),
            Result;
        {'DOWN', Monitor, process, Pid, {Reason, _Stack}} ->
            error(Reason, [Calls, Timeout])
    end;
async_gather(Calls, Timeout) ->
    error(badarg, [Calls, Timeout]).

-spec gather([{name(), name(), [term()], map()}], timeout()) -> {ok, [term()]} | error().
gather(Calls, Timeout) ->
    Deadline = py_wait:deadline(Timeout, [Calls, Timeout]),
    Refs = [async_call(Module, Function, Args, Kwargs)
            || {Module, Function, Args, Kwargs} <- Calls],
    Results = [await(Ref, py_wait:remaining(Deadline)) || Ref <- Refs],
    case [Error || {error, _} = Error <- Results] of
        [] -> {ok, [Value || {ok, Value} <- Results]};
        [First | _] -> First
    end.

request_with(Context, Operation, Arguments, Options) ->
    Timeout = maps:get(timeout, Options, infinity),
    WithTraceback = maps:get(traceback, Options, false),
    is_timeout(Timeout) andalso is_boolean(WithTraceback)
        andalso map_size(maps:without([timeout, traceback], Options)) =:= 0
        orelse error(badarg, [Context, Operation, Arguments, Options]),
    request(Context, case WithTraceback of
        true -> {traceback, Operation};
        false -> Operation
    end, Arguments, Timeout).

%% @doc Lets Python call a function by name: `erlang.call(Name, A, B)' calls `Function([A, B])'.
%% Takes the place of one that had the name before. Names are atoms, binaries or strings.
-spec register_function(py_callback:name(), fun(([term()]) -> term())) -> ok.
register_function(Name, Function) ->
    py_callback:register(Name, Function).

%% @doc The same for `Module:Function/1'.
-spec register_function(py_callback:name(), module(), Function :: atom()) -> ok.
register_function(Name, Module, Function) ->
    py_callback:register(Name, {Module, Function}).

%% @doc Removes a name; one that is not registered is no error.
-spec unregister_function(py_callback:name()) -> ok.
unregister_function(Name) ->
    py_callback:unregister(Name).

%% @doc Raises `KeyboardInterrupt' in what the context runs now: waits inside Penstock end at once,
%% code that sleeps in C sees it when it returns.
-spec interrupt(pid()) -> ok | {error, {context_died, noproc}}.
interrupt(Context) when is_pid(Context) ->
    py_context:interrupt(Context);
interrupt(Context) ->
    error(badarg, [Context]).

%% @doc The version of Python, as `sys.version' has it.
-spec version() -> {ok, binary()} | {error, not_started}.
version() ->
    case py_nif:runtime_version() of
        <<>> -> {error, not_started};
        Version -> {ok, Version}
    end.

%% @doc What Penstock is doing on this node, for whoever operates it: see {@link py_stats:stats()}.
%%
%% It is read from tables and memory, and nobody is asked: a context that is busy, whose process is
%% stopped, or that has just died holds nothing up. So the numbers are of slightly different
%% moments. With the application stopped there are no contexts and no loops.
-spec stats() -> py_stats:stats().
stats() ->
    py_stats:stats().

in_pool(Operation, Arguments) ->
    case py_context_router:get_context() of
        {ok, Context} -> request(Context, Operation, Arguments, ?POOL_TIMEOUT_MS);
        error -> {error, not_started}
    end.

request(Context, Operation, Arguments, Timeout) ->
    case py_context:request(Context, Operation, Arguments, Timeout) of
        {error, {unsupported, Type, [Position | Path]}} ->
            {error, {unsupported, Type, [part(Operation, Position) | Path]}};
        Result ->
            Result
    end.

%% @private What an argument of a request is called.
-spec part(py_nif:operation(), pos_integer()) -> args | kwargs | locals.
part({traceback, Operation}, Position) -> part(Operation, Position);
part(call, 3) -> args;
part(call, 4) -> kwargs;
part(eval, 2) -> locals.

%% What `receive' accepts.
is_timeout(infinity) -> true;
is_timeout(Timeout) -> is_integer(Timeout) andalso Timeout >= 0 andalso Timeout =< 16#FFFFFFFF.

call_arguments(Module, Function, Args, Kwargs) ->
    {text(Module), text(Function), Args, Kwargs}.

text(Atom) when is_atom(Atom) -> atom_to_binary(Atom);
text(Binary) when is_binary(Binary) -> Binary;
text(Text) ->
    case unicode:characters_to_binary(Text) of
        Binary when is_binary(Binary) -> Binary;
        _ -> error(badarg)
    end.
