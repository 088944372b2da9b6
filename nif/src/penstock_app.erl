%% SPDX-License-Identifier: Apache-2.0
%% @private
-module(penstock_app).
-behaviour(application).

-export([start/2, prep_stop/1, stop/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Arguments) ->
    case penstock_sup:start_link() of
        {ok, Supervisor} ->
            ok = py_callback:register_callbacks(),
            ok = py_channel:register_callbacks(),
            ok = py_byte_channel:register_callbacks(),
            {ok, Supervisor};
        {error, _} = Error ->
            Error
    end.

%% Before the tree comes down: Python that waits inside Penstock is woken now and in all contexts at
%% once, so that stopping takes as long as the slowest context, and not as long as all of them.
-spec prep_stop(State) -> State.
prep_stop(State) ->
    ok = py_context:announce_stop(),
    ok = py_loop:finish(),
    ok = py_nif:set_stopped(true),
    ok = py_context:stop_all(),
    State.

-spec stop(term()) -> ok.
stop(_State) ->
    ok.
