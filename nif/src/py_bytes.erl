%% SPDX-License-Identifier: Apache-2.0
%% @private
%% What channels and buffers have in common: their sizes, and what they do to binaries before these
%% go out by reference.
-module(py_bytes).

-export([message/1, piece/1, max_size/1, is_shared/1]).

%% Shorter binaries are copied anyway, see bytes::kReferThreshold and bytes::kPinThreshold.
-define(REFERRED_TO_BY_MESSAGES, 2048).
-define(REFERRED_TO_BY_BUFFERS, 8192).
-define(MAX_SIZE, 16#FFFFFFFFFFFFFFFF).

%% @doc A binary to be sent in a message, that keeps little more than itself alive: a part of one
%% that is over four times as large is copied. Anything else is returned as it is.
-spec message(term()) -> term().
message(Binary) when is_binary(Binary), byte_size(Binary) >= ?REFERRED_TO_BY_MESSAGES ->
    detach(Binary);
message(Other) ->
    Other.

%% @doc The same for a piece of a buffer.
-spec piece(term()) -> term().
piece(Binary) when is_binary(Binary), byte_size(Binary) >= ?REFERRED_TO_BY_BUFFERS ->
    detach(Binary);
piece(Other) ->
    Other.

detach(Binary) ->
    case binary:referenced_byte_size(Binary) div 4 > byte_size(Binary) of
        true -> binary:copy(Binary);
        false -> Binary
    end.

%% @doc The option `max_size', 0 if there is none. Fails with `badarg' for what is not a size.
-spec max_size(map()) -> non_neg_integer().
max_size(#{max_size := MaxSize}) when is_integer(MaxSize), MaxSize >= 0 ->
    min(MaxSize, ?MAX_SIZE);
max_size(#{max_size := _} = Opts) ->
    error(badarg, [Opts]);
max_size(_Opts) ->
    0.

%% @doc The option `shared', `false' if there is none. Fails with `badarg' for what is no boolean.
-spec is_shared(map()) -> boolean().
is_shared(#{shared := Shared}) when is_boolean(Shared) ->
    Shared;
is_shared(#{shared := _} = Opts) ->
    error(badarg, [Opts]);
is_shared(_Opts) ->
    false.
