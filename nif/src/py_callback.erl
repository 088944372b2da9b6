%% SPDX-License-Identifier: Apache-2.0
%% @doc Erlang functions that Python may call by name.
%%
%% The registry is a table that lives as long as the application runs; it does not depend on the
%% process that registered a name. Nothing here blocks.
-module(py_callback).

-export([register/2, unregister/1, lookup/1]).
-export([create_table/0, register_callbacks/0, handle_is_registered/1]).
-export_type([name/0, callback/0]).

-type name() :: atom() | binary() | string().

%% Takes the list of the arguments.
-type callback() :: fun(([term()]) -> term()) | {module(), Function :: atom()}.

-define(TABLE, py_callbacks).

%% @doc Registers a function, in place of the one that had the name before. `badarg' if the
%% application does not run.
-spec register(name(), callback()) -> ok.
register(Name, {Module, Function} = Callback) when is_atom(Module), is_atom(Function) ->
    insert(Name, Callback);
register(Name, Callback) when is_function(Callback, 1) ->
    insert(Name, Callback);
register(Name, Callback) ->
    error(badarg, [Name, Callback]).

%% @doc Removes a name; one that is not registered is no error.
-spec unregister(name()) -> ok.
unregister(Name) ->
    true = ets:delete(?TABLE, key(Name)),
    ok.

%% @doc The function of that name.
-spec lookup(name()) -> {ok, callback()} | {error, not_found}.
lookup(Name) ->
    case ets:lookup(?TABLE, key(Name)) of
        [{_, Callback}] -> {ok, Callback};
        [] -> {error, not_found}
    end.

%% @private The calling process owns the table.
-spec create_table() -> ok.
create_table() ->
    ?TABLE = ets:new(?TABLE, [named_table, public, {read_concurrency, true}]),
    ok.

%% @private What `hasattr(erlang, Name)' asks.
-spec register_callbacks() -> ok.
register_callbacks() ->
    ok = ?MODULE:register(<<"_py_callback_is_registered">>, fun ?MODULE:handle_is_registered/1).

%% @private
-spec handle_is_registered([binary()]) -> boolean().
handle_is_registered([Name]) ->
    lookup(Name) =/= {error, not_found}.

insert(Name, Callback) ->
    true = ets:insert(?TABLE, {key(Name), Callback}),
    ok.

key(Name) when is_binary(Name) -> Name;
key(Name) when is_atom(Name) -> atom_to_binary(Name);
key(Name) ->
    try unicode:characters_to_binary(Name) of
        Binary when is_binary(Binary) -> Binary;
        _ -> error(badarg, [Name])
    catch
        error:_ -> error(badarg, [Name])
    end.
