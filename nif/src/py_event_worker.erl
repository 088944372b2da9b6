%% SPDX-License-Identifier: Apache-2.0
%% @doc The worker of a low-level event loop ({@link py_nif:event_loop_new/0}): the process that the
%% loop sends its events to. It makes them pending, for {@link py_nif:poll_events/2} and {@link
%% py_nif:get_pending/1}; as a process it has a place in a supervision tree, and may be started
%% again with the same loop. While there is none the loop makes its events pending itself.
%%
%% A process of one's own may be the worker instead. It gets `{py_event, CallbackId, read | write |
%% timer}'.
-module(py_event_worker).
-behaviour(gen_server).

-export([start_link/1, start_link/2, info/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-record(state, {id :: term(), loop :: py_nif:event_loop(), events = 0 :: non_neg_integer()}).

%% @doc See {@link start_link/2}; the loop is made, too.
-spec start_link(Id :: term()) -> {ok, pid(), py_nif:event_loop()} | {error, term()}.
start_link(Id) ->
    case py_nif:event_loop_new() of
        {ok, Loop} ->
            case start_link(Id, Loop) of
                {ok, Worker} -> {ok, Worker, Loop};
                {error, Reason} -> {error, Reason}
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Starts a worker and makes it that of the loop. `Id' is what {@link info/1} says.
-spec start_link(Id :: term(), py_nif:event_loop()) -> {ok, pid()} | {error, term()}.
start_link(Id, Loop) ->
    case py_nif:event_loop_set_worker(Loop, undefined) of
        ok ->
            case gen_server:start_link(?MODULE, {Id, Loop}, []) of
                {ok, Worker} -> {ok, Worker};
                {error, Reason} -> {error, Reason}
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Its id, its loop, and how many events it has seen.
-spec info(pid()) ->
    #{id := term(), loop := py_nif:event_loop(), events := non_neg_integer()}.
info(Worker) ->
    gen_server:call(Worker, info).

-spec init({term(), py_nif:event_loop()}) -> {ok, #state{}}.
init({Id, Loop}) ->
    ok = py_nif:event_loop_set_worker(Loop, self()),
    {ok, #state{id = Id, loop = Loop}}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, map() | {error, unknown}, #state{}}.
handle_call(info, _From, #state{id = Id, loop = Loop, events = Events} = State) ->
    {reply, #{id => Id, loop => Loop, events => Events}, State};
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Request, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({py_event, CallbackId, Kind}, #state{loop = Loop, events = Events} = State) ->
    _ = py_nif:event_loop_dispatch(Loop, CallbackId, Kind),
    {noreply, State#state{events = Events + 1}};
handle_info(_Stray, State) ->
    {noreply, State}.
