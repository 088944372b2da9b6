%% SPDX-License-Identifier: Apache-2.0
%% Sends `stop' to a process when the VM gets SIGTERM, instead of halting.
-module(wsgi_signal).
-behaviour(gen_event).

-export([forward/1, init/1, handle_event/2, handle_call/2]).

forward(Process) ->
    ok = os:set_signal(sigterm, handle),
    ok = gen_event:swap_handler(erl_signal_server, {erl_signal_handler, []}, {?MODULE, Process}).

init({Process, _}) ->
    {ok, Process}.

handle_event(sigterm, Process) ->
    Process ! stop,
    {ok, Process};
handle_event(_, Process) ->
    {ok, Process}.

handle_call(_Request, Process) ->
    {ok, {error, unknown}, Process}.
