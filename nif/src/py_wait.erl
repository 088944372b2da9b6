%% SPDX-License-Identifier: Apache-2.0
%% @private
%% How a process waits for a channel or a buffer: in line, by a message, with one deadline.
-module(py_wait).

-export([deadline/2, remaining/1, wait/5]).
-export_type([deadline/0]).

-type deadline() :: infinity | integer().

%% @doc When a wait ends, of CLOCK_MONOTONIC in ms. Takes what `receive' takes, so that a wait has
%% one timer; anything else is `badarg' with `Arguments'.
-spec deadline(timeout(), [term()]) -> deadline().
deadline(infinity, _Arguments) ->
    infinity;
deadline(Timeout, _Arguments) when is_integer(Timeout), Timeout >= 0, Timeout =< 16#FFFFFFFF ->
    erlang:monotonic_time(millisecond) + Timeout;
deadline(_Timeout, Arguments) ->
    error(badarg, Arguments).

%% @doc Waits for the wake-ups that `Again' asks for, until it has a result or time is up. `First'
%% is what the `_wait' function said that put the process in line. No message of this wait is left
%% in the mailbox, whatever happens.
-spec wait(First, reference(), deadline(), Expired, fun((py_nif:waiter()) -> First)) ->
    Result | Expired when First :: {wait, py_nif:waiter()} | {fired, Result} | Result.
wait({wait, Waiter}, Ref, Deadline, Expired, Again) ->
    receive
        {penstock_ready, Ref} -> wait(Again(Waiter), Ref, Deadline, Expired, Again)
    after remaining(Deadline) ->
        case py_nif:cancel_wait(Waiter) of
            cancelled -> ok;
            fired -> flush(Ref)
        end,
        Expired
    end;
wait({fired, Result}, Ref, _Deadline, _Expired, _Again) ->
    flush(Ref),
    Result;
wait(Result, _Ref, _Deadline, _Expired, _Again) ->
    Result.

%% The message has been sent or is being sent, so this waits for microseconds at most.
flush(Ref) ->
    receive
        {penstock_ready, Ref} -> ok
    end.

%% @doc What is left until then, in ms.
-spec remaining(deadline()) -> timeout().
remaining(infinity) ->
    infinity;
remaining(Deadline) ->
    max(0, Deadline - erlang:monotonic_time(millisecond)).
