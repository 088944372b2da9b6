%% SPDX-License-Identifier: Apache-2.0
%% @private
%% What channels and buffers have in common: their sizes, and what they do to binaries before these
%% go out by reference.
-module(py_bytes).

-export([detach/1, max_size/1]).

%% Shorter binaries are copied anyway, see bytes::kPinThreshold.
-define(BY_REFERENCE, 8192).
-define(MAX_SIZE, 16#FFFFFFFFFFFFFFFF).

%% @doc A binary that keeps little more than itself alive: a part of one that is over four times as
%% large is copied. Anything else is returned as it is.
-spec detach(term()) -> term().
detach(Binary) when byte_size(Binary) >= ?BY_REFERENCE, is_binary(Binary) ->
    case binary:referenced_byte_size(Binary) div 4 > byte_size(Binary) of
        true -> binary:copy(Binary);
        false -> Binary
    end;
detach(Other) ->
    Other.

%% @doc The option `max_size', 0 if there is none. Fails with `badarg' for what is not a size.
-spec max_size(map()) -> non_neg_integer().
max_size(#{max_size := MaxSize}) when is_integer(MaxSize), MaxSize >= 0 ->
    min(MaxSize, ?MAX_SIZE);
max_size(#{max_size := _} = Opts) ->
    error(badarg, [Opts]);
max_size(_Opts) ->
    0.
