%% SPDX-License-Identifier: Apache-2.0
%% A group leader that remembers what is written to it, and that can be told to answer nothing.
-module(fake_leader).

-export([start/0, stop/1, mute/1, speak/1, text/1, requests/1, largest_writer/1, run/2, adopt/2]).

-record(state, {written = [] :: [unicode:chardata()], requests = 0, is_mute = false,
                unanswered = [], memory = 0, messages = 0}).

start() ->
    spawn_link(fun() -> loop(#state{}) end).

stop(Leader) ->
    unlink(Leader),
    eventually:dead(Leader).

%% From now on requests are taken, but not answered.
mute(Leader) -> call(Leader, mute).

%% Answers what it was asked, and what comes.
speak(Leader) -> call(Leader, speak).

%% Everything that was written, as a binary.
text(Leader) -> unicode:characters_to_binary(lists:reverse(call(Leader, written))).

requests(Leader) -> call(Leader, requests).

%% The largest memory (bytes) and mailbox (messages) of whoever wrote, looked at with each request.
largest_writer(Leader) -> call(Leader, largest_writer).

%% Runs a function in a process of this group leader; returns its result.
run(Leader, Function) ->
    [Result] = eventually:workers([worker(Leader, Function)], in_group),
    Result.

worker(Leader, Function) ->
    eventually:worker(fun() ->
                          true = group_leader(Leader, self()),
                          Function()
                      end).

%% A process that runs in the group of that leader, as run/2, but is not waited for; see
%% eventually:workers/2.
adopt(Leader, Function) -> worker(Leader, Function).

call(Leader, Request) ->
    Ref = monitor(process, Leader),
    Leader ! {Request, self(), Ref},
    receive
        {Ref, Answer} -> demonitor(Ref, [flush]), Answer;
        {'DOWN', Ref, process, _, Reason} -> error(Reason)
    end.

loop(State) ->
    receive
        {io_request, From, ReplyAs, {put_chars, unicode, Text}} ->
            Next = note(From, State#state{written = [Text | State#state.written],
                                          requests = State#state.requests + 1}),
            case State#state.is_mute of
                true -> loop(Next#state{unanswered = [{From, ReplyAs} | Next#state.unanswered]});
                false -> From ! {io_reply, ReplyAs, ok}, loop(Next)
            end;
        {mute, From, Ref} ->
            From ! {Ref, ok},
            loop(State#state{is_mute = true});
        {speak, From, Ref} ->
            [Asker ! {io_reply, ReplyAs, ok}
             || {Asker, ReplyAs} <- lists:reverse(State#state.unanswered)],
            From ! {Ref, ok},
            loop(State#state{is_mute = false, unanswered = []});
        {Request, From, Ref} ->
            From ! {Ref, answer(Request, State)},
            loop(State)
    end.

answer(written, State) -> State#state.written;
answer(requests, State) -> State#state.requests;
answer(largest_writer, State) -> {State#state.memory, State#state.messages}.

note(From, State) ->
    case process_info(From, [memory, message_queue_len]) of
        [{memory, Memory}, {message_queue_len, Messages}] ->
            State#state{memory = max(Memory, State#state.memory),
                        messages = max(Messages, State#state.messages)};
        undefined ->
            State
    end.
