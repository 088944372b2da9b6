%% SPDX-License-Identifier: Apache-2.0
%% Channels and buffers as the suites make them: shared between processes where contexts are
%% processes (in_processes), and then bounded, with room for all that a suite sends unasked.
-module(made).

-export([share/0, is_shared/0, channel/0, channel/1, byte_channel/0, byte_channel/1, buffer/0,
         buffer/1]).

-define(ROOM, (4 bsl 20)).

%% From now on, in this VM.
share() ->
    persistent_term:put(?MODULE, shared).

is_shared() ->
    persistent_term:get(?MODULE, plain) =:= shared.

channel() ->
    channel(#{}).

channel(Opts) ->
    py_channel:new(options(Opts)).

byte_channel() ->
    byte_channel(#{}).

byte_channel(Opts) ->
    py_byte_channel:new(options(Opts)).

buffer() ->
    buffer(#{}).

buffer(Opts) when is_map(Opts) ->
    py_buffer:new(options(Opts));
buffer(ContentLength) ->
    case is_shared() of
        true -> buffer(#{content_length => ContentLength});
        false -> py_buffer:new(ContentLength)
    end.

options(Opts) when is_map(Opts) ->
    case is_shared() of
        true -> maps:merge(#{shared => true, max_size => ?ROOM}, Opts);
        false -> Opts
    end;
options(Other) ->
    Other.
