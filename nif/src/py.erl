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
%% <li>`{error, {unsupported, Type, Path}}': an argument has no form in Python. `Path' begins with
%%   `args', `kwargs' or `locals';</li>
%% <li>`{error, not_started}': the application does not run; `{error, enomem}'.</li>
%% </ul>
-module(py).

-export([start_contexts/0, contexts_started/0, context/0, context/1]).
-export([call/3, call/4, call/5, eval/1, eval/2, eval/3, exec/1, exec/2]).
-export([register_function/2, register_function/3, unregister_function/1]).
-export([interrupt/1, version/0]).
-export_type([name/0, code/0, options/0, result/0, error/0]).

-type name() :: atom() | binary() | string().
-type code() :: unicode:chardata().

%% `timeout': ms, default infinity. `kwargs': keyword arguments, keys are atoms or binaries.
-type options() :: #{timeout => timeout(), kwargs => map()}.

-type error() ::
    {error, {Class :: atom() | binary(), Message :: string()} | interrupted | timeout |
            {context_died, term()} | py_nif:unsupported() | not_started | enomem | corrupt |
            atom_limit}.
-type result() :: {ok, term()} | error().

-define(POOL_TIMEOUT_MS, 30000).

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
    Timeout = maps:get(timeout, Options, infinity),
    is_map(Kwargs) andalso is_timeout(Timeout)
        andalso map_size(maps:without([kwargs, timeout], Options)) =:= 0
        orelse error(badarg, [Context, Module, Function, Args, Options]),
    request(Context, call, call_arguments(Module, Function, Args, Kwargs), Timeout);
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

%% @doc Lets Python call a function by name: `erlang.call(Name, A, B)' calls `Function([A, B])'. Takes
%% the place of one that had the name before. Names are atoms, binaries or strings.
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
