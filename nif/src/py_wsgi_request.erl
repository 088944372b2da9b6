%% SPDX-License-Identifier: Apache-2.0
%% @private
%% One request, in the process of its connection: waits for the body and for the response at the
%% same time, and for either no longer than the limits allow.
-module(py_wsgi_request).

-export([run/4]).

%% `pump': `none' when there is no streamed body, or nothing more to come of it.
%% `body': `unwanted' when the application stopped reading.
%% `slot': of a body that the application was to get before it was complete.
%% `server': the monitor of it.
%% `status': of the response, once the sink has it.
-record(request, {settings :: py_wsgi_server:settings() | not_running,
                  request :: py_wsgi:request(),
                  sink :: py_wsgi:sink(),
                  pump = none :: none | py_wsgi_pump:pump(),
                  tag :: reference() | undefined,
                  buffer :: py_buffer:buffer() | undefined,
                  length :: non_neg_integer() | undefined,
                  body = complete :: complete | incomplete | unwanted,
                  deadline = infinity :: integer() | infinity,
                  progress = 0 :: non_neg_integer(),
                  slot :: py_wsgi_slots:slot() | undefined,
                  response :: py_channel:channel() | undefined,
                  ready :: reference() | undefined,
                  server :: reference() | undefined,
                  status :: binary() | undefined}).

%% Of what can be announced; more than anybody sends.
-define(MAX_LENGTH, 1 bsl 63 - 1).
%% How long a source may take to return after its last byte, if the connection is to live on.
-define(IMMINENT_MS, 1000).

-spec run(py_wsgi_server:settings() | not_running, py_wsgi:request(), py_wsgi:body(),
          py_wsgi:sink()) -> py_wsgi:outcome().
run(not_running, Request, _Body, Sink) ->
    refuse(503, #request{settings = not_running, request = Request, sink = Sink});
run(Settings, #{headers := Headers} = Request, Body, Sink) ->
    State = #request{settings = Settings, request = Request, sink = Sink},
    #{max_headers := MaxHeaders, max_body := MaxBody} = Settings,
    Length = length_of(Body),
    case py_wsgi_server:is_stopping(Settings) of
        true -> refuse(503, State);
        false when length(Headers) > MaxHeaders -> refuse(431, State);
        false when is_integer(Length), Length > MaxBody -> refuse(413, State);
        false -> watch(Body, State#request{length = Length})
    end.

length_of(none) -> undefined;
length_of({complete, Bytes}) when is_binary(Bytes) -> byte_size(Bytes);
length_of({stream, undefined, Source}) when is_function(Source, 1) -> undefined;
length_of({stream, Length, Source})
  when is_integer(Length), Length >= 0, Length =< ?MAX_LENGTH, is_function(Source, 1) -> Length;
length_of(Body) -> error(badarg, [Body]).

%% Whatever the request waits for, it does not come from a server that died.
watch(Body, #request{settings = #{server := Server}} = State) ->
    Monitor = erlang:monitor(process, Server),
    try
        start(Body, State#request{server = Monitor})
    after
        erlang:demonitor(Monitor, [flush])
    end.

start(none, State) ->
    dispatch(none, State);
start({complete, Bytes}, State) ->
    dispatch({bytes, Bytes}, State);
start({stream, Length, Source}, #request{settings = Settings} = State) ->
    #{body_high_water := HighWater, max_body := MaxBody, prebuffer := Prebuffer,
      body_timeout := Timeout} = Settings,
    {ok, Buffer} = py_buffer:new(#{content_length => Length, max_size => HighWater,
                                   limit => MaxBody, retain => false}),
    try py_wsgi_server:collect(Settings) of
        true ->
            {Pump, Tag} = py_wsgi_pump:start(Buffer, Prebuffer, Source),
            try collect(State#request{pump = Pump, tag = Tag, buffer = Buffer, body = incomplete,
                                      deadline = now_ms() + Timeout})
            after
                %% Nothing is left to stop, unless a sink or a source has failed.
                py_wsgi_pump:stop(Pump)
            end;
        false ->
            refuse(503, State)
    after
        py_wsgi_server:leave(Settings)
    end.

%% Before the application is called.

collect(#request{tag = Tag, buffer = Buffer, server = Server} = State) ->
    receive
        {Tag, prebuffered} ->
            dispatch(Buffer, State);
        {Tag, {ended, Result, Total}} ->
            case ended(Result, Total, State) of
                {complete, Next} -> dispatch(Buffer, Next#request{length = Total});
                {refused, Status} -> refuse(Status, State)
            end;
        {Tag, _Monitor, process, _Pump, Reason} ->
            killed(Reason, State);
        {'DOWN', Server, process, _, _} ->
            refuse(503, State)
    after patience(State) ->
        case expired(State) of
            {wait, Next} -> collect(Next);
            expired -> time_out(State)
        end
    end.

%% What a body that has come to its end means for a request without response. The pump is as good
%% as gone, and nothing that it still says matters.
ended(ok, Total, #request{length = Length} = State) when Length =:= undefined; Length =:= Total ->
    {complete, State#request{pump = none, tag = undefined, body = complete}};
ended(ok, _Total, _State) -> {refused, 400};
ended({error, limit}, _Total, _State) -> {refused, 413};
ended({error, unwanted}, _Total, State) ->
    {complete, State#request{pump = none, tag = undefined, body = unwanted}};
ended({error, _}, _Total, _State) -> {refused, 400}.

%% The pump was, before it could say how the body ended. That may have come before the buffer had a
%% writer whose death its reader is told of.
killed(Reason, #request{buffer = Buffer} = State) ->
    ok = py_buffer:abort(Buffer, writer_down),
    broken(500, {body, Reason}, State#request{pump = none}).

patience(#request{pump = none}) ->
    infinity;
patience(#request{settings = #{idle_timeout := Idle}, deadline = Deadline}) ->
    max(0, min(Idle, Deadline - now_ms())).

%% Who waits for the application has a client that is not idle.
expired(#request{pump = Pump, deadline = Deadline, progress = Before, request = Request} = State) ->
    Progress = case Request of
                   #{received := Received} -> received(Received, Pump);
                   #{} -> py_wsgi_pump:progress(Pump)
               end,
    case now_ms() < Deadline andalso (Progress =/= Before orelse py_wsgi_pump:is_waiting(Pump)) of
        true -> {wait, State#request{progress = Progress}};
        false -> expired
    end.

%% It may fail because the client has left, and this is no place to leave the line from.
received(Received, Pump) ->
    try Received()
    catch _:_ -> py_wsgi_pump:progress(Pump)
    end.

time_out(#request{pump = Pump, buffer = Buffer} = State) ->
    ok = py_buffer:abort(Buffer, timeout),
    ok = py_wsgi_pump:stop(Pump),
    refuse(408, State).

%% In the queue of the application, or with it.

dispatch(Body, #request{settings = Settings} = State) ->
    {ok, Response} = py_channel:new(#{max_size => maps:get(response_high_water, Settings)}),
    try py_wsgi_server:enter(Settings, Response) andalso not is_full(Settings) of
        true when State#request.body =:= incomplete ->
            stream(Body, State#request{response = Response});
        true -> submit(Body, State#request{response = Response});
        false -> refuse(503, State)
    after
        py_wsgi_server:leave(Settings)
    end.

%% With this request counted. Those of processes that were killed are still in the table when it
%% matters only.
is_full(#{running := Running, threads := Threads, max_queue := MaxQueue} = Settings) ->
    ets:info(Running, size) > Threads + MaxQueue andalso
        begin
            ok = py_wsgi_server:sweep(Settings),
            ets:info(Running, size) > Threads + MaxQueue
        end.

%% An incomplete body needs a slot. While it waits for one it may become complete, and need none.
stream(Body, #request{settings = #{slots := Slots, queue_timeout := Timeout}} = State) ->
    case py_wsgi_slots:ask(Slots) of
        {Answer, Slot} ->
            try
                slot(Answer, Body, State#request{slot = Slot}, now_ms() + Timeout)
            after
                py_wsgi_slots:leave(Slot)
            end;
        stopped ->
            refuse(503, State)
    end.

%% Who gives out slots ends when the server does, and before it if that stops.
slot(granted, Body, State, _Deadline) ->
    submit(Body, State);
slot(queued, Body, #request{slot = {_, Ref} = Slot, tag = Tag} = State, Deadline) ->
    receive
        {Ref, granted} ->
            slot(granted, Body, State, Deadline);
        {'DOWN', Ref, process, _, _} ->
            refuse(503, State);
        {Tag, {ended, Result, Total}} ->
            ok = py_wsgi_slots:leave(Slot),
            case ended(Result, Total, State) of
                {complete, Next} -> submit(Body, Next#request{length = Total});
                {refused, Status} -> refuse(Status, State)
            end;
        {Tag, _Monitor, process, _Pump, Reason} ->
            killed(Reason, State)
    after max(0, min(patience(State), Deadline - now_ms())) ->
        case {now_ms() < Deadline, expired(State)} of
            {true, {wait, Next}} -> slot(queued, Body, Next, Deadline);
            {true, expired} -> time_out(State);
            {false, _} -> refuse(503, State)
        end
    end.

submit(Body, #request{settings = Settings, response = Response} = State) ->
    #{requests := Requests} = Settings,
    case py_channel:send(Requests, message(Body, State)) of
        ok ->
            try
                respond(State#request{ready = make_ref()})
            after
                %% Whoever still writes, because it did not come to its end, learns it now.
                ok = py_channel:close(Response)
            end;
        {error, too_large} ->
            refuse(413, State);
        {error, {unsupported, _, _}} ->
            error(badarg, [State#request.request]);
        _BusyOrClosed ->
            refuse(503, State)
    end.

%% See wsgi.py.
message(Body, #request{response = Response, length = Length, request = Request}) ->
    #{method := Method, target := Target, version := {Major, Minor}, scheme := Scheme, peer := Peer,
      peer_port := PeerPort, server_name := Name, server_port := Port,
      headers := Headers} = Request,
    Protocol = <<"HTTP/", (integer_to_binary(Major))/binary, ".",
                 (integer_to_binary(Minor))/binary>>,
    {Response, Body, Length, Method, Target, Protocol, Scheme, Peer, PeerPort, Name, Port, Headers}.

respond(#request{response = Response, ready = Ref} = State) ->
    took(py_nif:channel_receive_wait(Response, Ref), State).

took({wait, Waiter}, State) ->
    wait(Waiter, State);
took({fired, Result}, #request{ready = Ref} = State) ->
    receive {penstock_ready, Ref} -> ok end,
    took(Result, State);
took({ok, {Status, Headers, Data, true}}, State) ->
    complete(emit({complete, Status, Headers, Data}, State#request{status = Status}));
took({ok, {Status, Headers, <<>>, false}}, State) ->
    continue(emit({head, Status, Headers}, State#request{status = Status}));
took({ok, {Status, Headers, Data, false}}, State) ->
    case emit({head, Status, Headers}, State#request{status = Status}) of
        {ok, Next} -> continue(emit({data, Data}, Next));
        Gone -> continue(Gone)
    end;
took({ok, true}, State) ->
    complete(emit(done, State));
took({ok, Data}, State) when is_binary(Data) ->
    continue(emit({data, Data}, State));
took({error, Reason}, #request{pump = none, settings = Settings} = State) ->
    Code = case py_wsgi_server:is_stopping(Settings) of
               true -> 503;
               false -> 500
           end,
    broken(Code, {application, Reason}, State);
took({error, Reason}, #request{pump = Pump, tag = Tag} = State) ->
    %% Perhaps because of the body.
    case py_wsgi_pump:is_over(Pump) of
        true ->
            receive
                {Tag, {ended, Result, Total}} ->
                    case ended(Result, Total, State) of
                        {complete, Next} -> took({error, Reason}, Next);
                        {refused, Code} -> broken(Code, {body, Result}, State)
                    end;
                {Tag, _Monitor, process, _Pump, Killed} ->
                    killed(Killed, State)
            end;
        false ->
            unread(State),
            took({error, Reason}, State#request{pump = none})
    end.

emit(Event, #request{sink = Sink} = State) ->
    case Sink(Event) of
        ok -> {ok, State};
        {error, Reason} -> {gone, Reason, State}
    end.

continue({ok, State}) -> respond(State);
continue({gone, Reason, State}) -> gone(Reason, State).

%% The connection is fit for another request if all of this one has been read from it.
complete({gone, Reason, State}) ->
    gone(Reason, State);
complete({ok, #request{pump = none, body = complete, status = Status}}) ->
    {ok, Status, keep_alive};
complete({ok, #request{pump = none, status = Status}}) ->
    {ok, Status, close};
complete({ok, #request{status = Status, tag = Tag} = State}) ->
    receive
        {Tag, {ended, Result, Total}} ->
            case ended(Result, Total, State) of
                {complete, Next} -> complete({ok, Next});
                {refused, _} -> {ok, Status, close}
            end;
        {Tag, _Monitor, process, _Pump, _Reason} ->
            {ok, Status, close}
    after imminence(State) ->
        unread(State),
        {ok, Status, close}
    end.

%% The application may have read the last byte before the source knows that it was the last.
imminence(#request{pump = Pump, buffer = Buffer, length = Length}) ->
    #{written := Written} = py_buffer:info(Buffer),
    case py_wsgi_pump:is_over(Pump) orelse Written =:= Length of
        true -> ?IMMINENT_MS;
        false -> 0
    end.

gone(Reason, State) ->
    unread(State),
    {error, {client, Reason}}.

%% Nobody is interested in the rest of the body.
unread(#request{pump = none}) ->
    ok;
unread(#request{pump = Pump, buffer = Buffer}) ->
    ok = py_buffer:abort(Buffer, disconnected),
    ok = py_wsgi_pump:stop(Pump).

%% A refusal, if the client has not got another answer yet.
broken(Code, _Reason, #request{status = undefined} = State) ->
    unread(State),
    refuse(Code, State);
broken(_Code, Reason, State) ->
    unread(State),
    {error, Reason}.

wait(Waiter, #request{tag = Tag, server = Server, ready = Ready} = State) ->
    receive
        {penstock_ready, Ready} ->
            took(py_nif:channel_receive_again(Waiter), State);
        {Tag, prebuffered} ->
            wait(Waiter, State);
        {Tag, {ended, Result, Total}} ->
            case ended(Result, Total, State) of
                {complete, #request{slot = Slot} = Next} ->
                    ok = py_wsgi_slots:leave(Slot),
                    wait(Waiter, Next);
                {refused, Code} ->
                    leave(Waiter, State),
                    broken(Code, {body, Result}, State#request{pump = none})
            end;
        {Tag, _Monitor, process, _Pump, Reason} ->
            leave(Waiter, State),
            killed(Reason, State);
        {'DOWN', Server, process, _, Reason} ->
            leave(Waiter, State),
            broken(503, {server, Reason}, State)
    after patience(State) ->
        case expired(State) of
            {wait, Next} ->
                wait(Waiter, Next);
            expired ->
                leave(Waiter, State),
                #request{pump = Pump, buffer = Buffer} = State,
                ok = py_buffer:abort(Buffer, timeout),
                ok = py_wsgi_pump:stop(Pump),
                broken(408, {body, timeout}, State#request{pump = none})
        end
    end.

leave(Waiter, #request{ready = Ready}) ->
    case py_nif:cancel_wait(Waiter) of
        cancelled -> ok;
        fired -> receive {penstock_ready, Ready} -> ok end
    end.

%% Answers.

refuse(Code, #request{request = Request, sink = Sink}) ->
    Status = status(Code),
    Text = <<Status/binary, "\n">>,
    Headers = [{<<"Content-Type">>, <<"text/plain; charset=utf-8">>},
               {<<"Content-Length">>, integer_to_binary(byte_size(Text))},
               {<<"Connection">>, <<"close">>}],
    Data = case Request of
               #{method := <<"HEAD">>} -> <<>>;
               #{} -> Text
           end,
    case Sink({complete, Status, Headers, Data}) of
        ok -> {ok, Status, close};
        {error, Reason} -> {error, {client, Reason}}
    end.

status(400) -> <<"400 Bad Request">>;
status(408) -> <<"408 Request Timeout">>;
status(413) -> <<"413 Content Too Large">>;
status(431) -> <<"431 Request Header Fields Too Large">>;
status(500) -> <<"500 Internal Server Error">>;
status(503) -> <<"503 Service Unavailable">>.

now_ms() ->
    erlang:monotonic_time(millisecond).
