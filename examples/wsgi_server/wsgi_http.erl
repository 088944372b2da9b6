%% SPDX-License-Identifier: Apache-2.0
%% py_wsgi behind mochiweb: one module between the two, as any HTTP server would need it.
%%
%% mochiweb accepts connections, parses requests and reads bodies; py_wsgi runs the application.
%% What is here: what a request says, which of its lengths are acceptable, and how a response is
%% framed.
-module(wsgi_http).

-export([start_link/2, stop/2, port/1, loop/2]).

%% Bodies up to that size are read by the connection's process; larger ones and those of unknown
%% size by a process of their own.
-define(SMALL_BODY, 65536).
%% Also the longest header line that mochiweb accepts.
-define(SOCKET_BUFFER, 65536).
%% A client that takes nothing for so long is gone.
-define(SEND_TIMEOUT_MS, 30000).
%% After a response that came before the end of its request: how long the client may take to read it
%% before the connection is cut, which would destroy what it has not read.
-define(LINGER_MS, 2000).

%% `Options': `port' (0: any), `ip', and `body_timeout' (ms) for small bodies.
start_link(Server, Options) ->
    Loop = {?MODULE, loop, [#{server => Server,
                              body_timeout => maps:get(body_timeout, Options, 30000)}]},
    mochiweb_http:start_link([{name, undefined}, {port, maps:get(port, Options)},
                              {ip, maps:get(ip, Options, "127.0.0.1")}, {loop, Loop},
                              {nodelay, true}, {recbuf, ?SOCKET_BUFFER}, {backlog, 1024},
                              {max, 4096}, {acceptor_pool_size, 32}]).

%% Accepts no connection from now on; what runs ends, at most `Grace' ms later.
stop({Http, Server}, Grace) ->
    ok = mochiweb_http:stop(Http),
    py_wsgi:stop(Server, Grace).

port(Http) ->
    mochiweb_socket_server:get(Http, port).

loop(Req, Config) ->
    Socket = mochiweb_request:get(socket, Req),
    _ = inet:setopts(Socket, [{send_timeout, ?SEND_TIMEOUT_MS}, {send_timeout_close, true}]),
    %% Whether to close is decided below; mochiweb would, because it has not read the body itself.
    put(mochiweb_request_recv, true),
    Headers = headers(Req),
    Request = request(Req, Socket, Headers),
    Sink = sink(Req, Socket),
    Outcome = case body(Req, Socket, Headers, Config) of
                  {ok, Body} -> py_wsgi:handle(maps:get(server, Config), Request, Body, Sink);
                  {refuse, Status} -> refuse(Status, Sink);
                  gone -> {error, gone}
              end,
    finish(Outcome, Socket).

finish({ok, _, keep_alive}, _Socket) ->
    ok;
finish({ok, _, close}, Socket) ->
    put(mochiweb_request_force_close, true),
    linger(Socket);
finish({error, _}, Socket) ->
    %% Not the end that the client waits for.
    _ = inet:setopts(Socket, [{linger, {true, 0}}]),
    mochiweb_socket:close(Socket),
    exit({shutdown, response_broken}).

linger(Socket) ->
    _ = gen_tcp:shutdown(Socket, write),
    discard(Socket, now_ms() + ?LINGER_MS).

discard(Socket, Deadline) ->
    case gen_tcp:recv(Socket, 0, max(0, Deadline - now_ms())) of
        {ok, _} -> discard(Socket, Deadline);
        {error, _} -> ok
    end.

%% The request.

request(Req, Socket, Headers) ->
    {Peer, PeerPort} = address(inet:peername(Socket)),
    {Name, Port} = address(inet:sockname(Socket)),
    #{method => text(mochiweb_request:get(method, Req)),
      target => list_to_binary(mochiweb_request:get(raw_path, Req)),
      version => mochiweb_request:get(version, Req), headers => Headers, scheme => <<"http">>,
      peer => Peer, peer_port => PeerPort, server_name => Name, server_port => Port,
      received => fun() -> received(Socket) end}.

%% Not mochiweb's `peer', which believes what a client writes into X-Forwarded-For.
address({ok, {Address, Port}}) -> {list_to_binary(inet:ntoa(Address)), Port};
address({error, _}) -> exit({shutdown, closed}).

headers(Req) ->
    [{text(Name), list_to_binary(Value)}
     || {Name, Value} <- mochiweb_headers:to_list(mochiweb_request:get(headers, Req))].

text(Name) when is_atom(Name) -> atom_to_binary(Name);
text(Name) -> list_to_binary(Name).

received(Socket) ->
    case inet:getstat(Socket, [recv_oct]) of
        {ok, [{recv_oct, Bytes}]} -> Bytes;
        {error, _} -> 0
    end.

%% Lengths are not negotiable: what two parsers may understand in two ways is refused.
body(Req, Socket, Headers, Config) ->
    case {values(<<"transfer-encoding">>, Headers), values(<<"content-length">>, Headers)} of
        {[], []} ->
            {ok, none};
        {[], [Value]} ->
            case content_length(Value) of
                {ok, Length} -> sized(Length, Req, Socket, Config);
                error -> {refuse, <<"400 Bad Request">>}
            end;
        {[Coding], []} ->
            case {string:lowercase(Coding), mochiweb_request:get(version, Req)} of
                {<<"chunked">>, {1, 1}} -> {ok, {stream, undefined, source(Req, Socket)}};
                {_, {1, 1}} -> {refuse, <<"501 Not Implemented">>};
                _ -> {refuse, <<"400 Bad Request">>}
            end;
        _ ->
            {refuse, <<"400 Bad Request">>}
    end.

values(Name, Headers) ->
    [Value || {Key, Value} <- Headers, string:lowercase(Key) =:= Name].

content_length(Value) ->
    case re:run(Value, "^[0-9]{1,18}$", [{capture, none}]) of
        match -> {ok, binary_to_integer(Value)};
        nomatch -> error
    end.

sized(0, _Req, _Socket, _Config) ->
    {ok, {complete, <<>>}};
sized(Length, Req, Socket, _Config) when Length > ?SMALL_BODY ->
    {ok, {stream, Length, source(Req, Socket)}};
sized(Length, Req, Socket, #{body_timeout := Timeout}) ->
    continue(Req, Socket),
    case mochiweb_socket:recv(Socket, Length, Timeout) of
        {ok, Body} -> {ok, {complete, Body}};
        {error, timeout} -> {refuse, <<"408 Request Timeout">>};
        {error, _} -> gone
    end.

%% mochiweb exits when the client leaves. A write that fails ends the reading.
source(Req, Socket) ->
    fun(Write) ->
        continue(Req, Socket),
        try mochiweb_request:stream_body(?SMALL_BODY, fun(Piece, ok) -> piece(Piece, Write) end, ok,
                                         without_expect(Req))
        catch
            throw:{write_failed, Reason} -> {error, Reason}
        end
    end.

continue(Req, Socket) ->
    case {mochiweb_request:get_header_value("expect", Req), mochiweb_request:get(version, Req)} of
        {Value, {1, 1}} when is_list(Value) ->
            string:lowercase(Value) =:= "100-continue" andalso
                mochiweb_socket:send(Socket, <<"HTTP/1.1 100 Continue\r\n\r\n">>);
        _ ->
            false
    end.

%% mochiweb's own answer to it says more than it should.
without_expect({mochiweb_request, [Socket, Options, Method, Path, Version, Headers]}) ->
    mochiweb_request:new(Socket, Options, Method, Path, Version,
                         mochiweb_headers:delete_any("expect", Headers)).

piece({0, _Trailers}, _Write) ->
    ok;
piece({_Size, Bytes}, Write) ->
    case Write(Bytes) of
        ok -> ok;
        {error, Reason} -> throw({write_failed, Reason})
    end.

%% The response.

refuse(Status, Sink) ->
    Headers = [{<<"Content-Length">>, <<"0">>}, {<<"Connection">>, <<"close">>}],
    case Sink({complete, Status, Headers, <<>>}) of
        ok -> {ok, Status, close};
        {error, _} = Error -> Error
    end.

%% Whether the data of this response is chunked is in the process dictionary, as mochiweb's own
%% state of a request is.
sink(Req, Socket) ->
    fun(Event) -> mochiweb_socket:send(Socket, framed(Event, Req)) end.

framed({complete, Status, Headers, Data}, Req) ->
    [head(Status, Headers, Req), Data];
framed({head, Status, Headers}, Req) ->
    case {values(<<"content-length">>, Headers), mochiweb_request:get(version, Req)} of
        {[_ | _], _} ->
            put(wsgi_framing, plain),
            head(Status, Headers, Req);
        {[], {1, 1}} ->
            put(wsgi_framing, chunked),
            head(Status, [{<<"Transfer-Encoding">>, <<"chunked">>} | Headers], Req);
        {[], _} ->
            put(wsgi_framing, plain),
            put(mochiweb_request_force_close, true),
            head(Status, Headers, Req)
    end;
framed({data, Data}, _Req) ->
    case get(wsgi_framing) of
        chunked -> [integer_to_binary(byte_size(Data), 16), <<"\r\n">>, Data, <<"\r\n">>];
        plain -> Data
    end;
framed(done, _Req) ->
    case get(wsgi_framing) of
        chunked -> <<"0\r\n\r\n">>;
        plain -> <<>>
    end.

head(Status, Headers, Req) ->
    [<<"HTTP/1.1 ">>, Status, <<"\r\n">>,
     [[Name, <<": ">>, Value, <<"\r\n">>] || {Name, Value} <- Headers],
     case values(<<"date">>, Headers) of
         [] -> [<<"Date: ">>, mochiweb_clock:rfc1123(), <<"\r\n">>];
         _ -> []
     end,
     case mochiweb_request:should_close(Req) andalso values(<<"connection">>, Headers) =:= [] of
         true -> <<"Connection: close\r\n">>;
         false -> keep_alive(Req)
     end,
     <<"\r\n">>].

keep_alive(Req) ->
    case mochiweb_request:get(version, Req) of
        {1, 0} -> <<"Connection: Keep-Alive\r\n">>;
        _ -> []
    end.

now_ms() ->
    erlang:monotonic_time(millisecond).
