%% SPDX-License-Identifier: Apache-2.0
%% @private
%% Starts Python, which then stays for the life of the VM: a later start of the application finds it
%% running, and only opens it for waits again.
-module(py_runtime).
-behaviour(gen_server).

-export([start_link/0, init/1, handle_call/3, handle_cast/2, handle_info/2]).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec init([]) -> {ok, no_state} | {stop, {python, term()}}.
init([]) ->
    Python = unicode:characters_to_binary(application:get_env(penstock, python, "")),
    Package = unicode:characters_to_binary(filename:join(py_nif:priv_dir(), "python")),
    MaxAtoms = application:get_env(penstock, max_atoms, 10000),
    case py_nif:runtime_start(Python, Package, MaxAtoms) of
        ok ->
            ok = py_nif:set_stopped(false),
            {ok, no_state};
        {error, Reason} ->
            {stop, {python, Reason}}
    end.

-spec handle_call(term(), gen_server:from(), no_state) -> {reply, {error, unknown}, no_state}.
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State}.

-spec handle_cast(term(), no_state) -> {noreply, no_state}.
handle_cast(_Request, State) ->
    {noreply, State}.

-spec handle_info(term(), no_state) -> {noreply, no_state}.
handle_info(_Stray, State) ->
    {noreply, State}.
