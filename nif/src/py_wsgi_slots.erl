%% SPDX-License-Identifier: Apache-2.0
%% @private
%% Slots for bodies that are incomplete while the application reads them, in a process that gives
%% them out, first come, first served. It knows who has one from the moment it gives it, and watches
%% who asks before that; so a slot comes back however its holder ends, and at once.
%%
%% Cost: three messages and two monitors for each body that is larger than what is waited for first.
-module(py_wsgi_slots).
-behaviour(gen_server).

-export([start_link/1, ask/1, leave/1, held/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([slot/0]).

%% The process, and the reference that its messages carry.
-type slot() :: {pid(), reference()}.

%% `known': who waits or holds, with the monitor; `waiting': those that hold none yet.
-record(state, {free :: non_neg_integer(),
                known = #{} :: #{reference() => reference()},
                waiting = queue:new() :: queue:queue(reference())}).

-spec start_link(pos_integer()) -> {ok, pid()} | {error, term()}.
start_link(Count) ->
    case gen_server:start_link(?MODULE, Count, []) of
        {ok, Slots} -> {ok, Slots};
        {error, Reason} -> {error, Reason};
        ignore -> {error, ignore}
    end.

%% @doc Takes a slot, or gets in line for one; then the caller receives {Reference, granted}, or
%% {'DOWN', Reference, process, _, _} if no slots are given out any more.
-spec ask(pid()) -> {granted | queued, slot()} | stopped.
ask(Slots) ->
    Reference = erlang:monitor(process, Slots, [{alias, demonitor}]),
    ok = gen_server:cast(Slots, {ask, self(), Reference}),
    receive
        {Reference, Answer} -> {Answer, {Slots, Reference}};
        {'DOWN', Reference, process, _, _} -> stopped
    end.

%% @doc Gives the slot back, or leaves the line. No message is left in the mailbox, and none will
%% come. Doing it again changes nothing.
-spec leave(slot()) -> ok.
leave({Slots, Reference}) ->
    true = erlang:demonitor(Reference, [flush]),
    receive {Reference, granted} -> ok after 0 -> ok end,
    gen_server:cast(Slots, {leave, Reference}).

%% @doc How many are held.
-spec held(pid()) -> non_neg_integer() | stopped.
held(Slots) ->
    try
        gen_server:call(Slots, held, infinity)
    catch
        exit:_ -> stopped
    end.

-spec init(pos_integer()) -> {ok, #state{}}.
init(Count) ->
    {ok, #state{free = Count}}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, non_neg_integer() | {error, unknown}, #state{}}.
handle_call(held, _From, #state{known = Known, waiting = Waiting} = State) ->
    {reply, map_size(Known) - queue:len(Waiting), State};
handle_call(_Request, _From, State) ->
    {reply, {error, unknown}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({ask, Process, Reference}, #state{free = Free, known = Known} = State) ->
    Monitor = erlang:monitor(process, Process, [{tag, {gone, Reference}}]),
    Free > 0 orelse (Reference ! {Reference, queued}),
    {noreply, grant(State#state{known = Known#{Reference => Monitor},
                                waiting = queue:in(Reference, State#state.waiting)})};
handle_cast({leave, Reference}, State) ->
    {noreply, forget(Reference, State)};
handle_cast(_Request, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({{gone, Reference}, _Monitor, process, _Process, _Reason}, State) ->
    {noreply, forget(Reference, State)};
handle_info(_Stray, State) ->
    {noreply, State}.

grant(#state{free = 0} = State) ->
    State;
grant(#state{free = Free, waiting = Waiting} = State) ->
    case queue:out(Waiting) of
        {{value, Reference}, Rest} ->
            Reference ! {Reference, granted},
            grant(State#state{free = Free - 1, waiting = Rest});
        {empty, _} ->
            State
    end.

forget(Reference, #state{free = Free, known = Known, waiting = Waiting} = State) ->
    case maps:take(Reference, Known) of
        {Monitor, Rest} ->
            true = erlang:demonitor(Monitor, [flush]),
            %% No longer than the queue of the application.
            case queue:member(Reference, Waiting) of
                true -> State#state{known = Rest, waiting = queue:delete(Reference, Waiting)};
                false -> grant(State#state{known = Rest, free = Free + 1})
            end;
        error ->
            State
    end.
