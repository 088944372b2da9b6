%% SPDX-License-Identifier: Apache-2.0
%% What the tests of py_wsgi are made of: requests, sources, sinks, and what applications tell.
-module(py_wsgi_case).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([init_per_suite/1, end_per_suite/1]).
-export([start/1, with/1, with/2, request/1, run/3, data/1, body/1, environ/3]).
-export([stream/2, source/2, paused/1, for_ever/0, incomplete/1, complete/1]).
-export([open/1, told/1, closed/1]).

-define(WAIT_MS, 20000).

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_case:add_path(Config),
    ok = py:exec(<<"import wsgi_cases">>),
    [{counters, py_nif:debug_counters()} | Config].

end_per_suite(Config) ->
    eventually:counters_return_to(?config(counters, Config)),
    ok = application:stop(penstock).

start(Options) ->
    {ok, Server} = py_wsgi:start_link(maps:merge(#{app => "wsgi_cases", threads => 3}, Options)),
    Server.

with(Test) ->
    with(#{}, Test).

with(Options, Test) ->
    Server = start(Options),
    Test(Server),
    ?assertEqual(ok, py_wsgi:stop(Server)),
    eventually:silence().

request(Target) ->
    #{method => <<"GET">>, target => list_to_binary(Target), version => {1, 1},
      headers => [{<<"Host">>, <<"localhost">>}], scheme => <<"http">>, peer => <<"192.0.2.7">>,
      peer_port => 4711, server_name => <<"localhost">>, server_port => 8080}.

%% The outcome and the events.
run(Server, Request, Body) ->
    Tag = make_ref(),
    Me = self(),
    Outcome = py_wsgi:handle(Server, Request, Body, fun(Event) -> Me ! {Tag, Event}, ok end),
    {Outcome, events(Tag)}.

events(Tag) ->
    receive {Tag, Event} -> [Event | events(Tag)] after 0 -> [] end.

data(Events) ->
    iolist_to_binary([case Event of
                          {data, Data} -> Data;
                          {complete, _, _, Data} -> Data;
                          _ -> <<>>
                      end || Event <- Events]).

body({{ok, <<"200 OK">>, _}, Events}) -> data(Events).

%% As a map, of what /env shows.
environ(Server, Request, Body) ->
    Json = body(run(Server, Request, Body)),
    {ok, Environ} = py:eval(<<"{k: str(v) for k, v in __import__('json').loads(text).items()}">>,
                            #{text => {bytes, Json}}),
    Environ.

stream(Body, Piece) ->
    {stream, byte_size(Body), source(Body, Piece)}.

source(Body, Piece) ->
    fun(Write) -> write(Body, Piece, Write) end.

write(Body, Piece, Write) when byte_size(Body) > Piece ->
    <<First:Piece/binary, Rest/binary>> = Body,
    case Write(First) of
        ok -> write(Rest, Piece, Write);
        {error, _} = Error -> Error
    end;
write(Body, _Piece, Write) ->
    Write(Body).

%% Writes what it is told to.
paused(Test) ->
    fun(Write) ->
        Test ! {paused, self()},
        obey(Test, Write)
    end.

obey(Test, Write) ->
    receive
        {write, Bytes} ->
            Test ! {wrote, Write(Bytes)},
            obey(Test, Write);
        stop ->
            ok
    end.

for_ever() ->
    receive never -> ok end.

%% A request with a body of 100,000 bytes, of which the last 30,000 are missing.
incomplete(Server) ->
    Test = self(),
    Body = {stream, 100000, fun(Write) ->
                                ok = Write(<<0:(70000 * 8)>>),
                                (paused(Test))(Write)
                            end},
    Client = eventually:worker(fun() -> run(Server, request("/reads"), Body) end),
    receive {paused, Source} -> {Client, Source} end.

complete({Client, Source}) ->
    Source ! {write, <<0:(30000 * 8)>>},
    receive {wrote, ok} -> ok end,
    Source ! stop,
    ?assertEqual([<<"100000">>], [body(R) || R <- eventually:workers([Client], client)]).

open(Gate) ->
    {ok, _} = py:call(wsgi_cases, open_gate, [list_to_binary(Gate)]).

%% What applications tell, in any order.
told(Expected) ->
    [case Message of
         {failed, Class, any} ->
             receive {failed, Class, _} -> ok after ?WAIT_MS -> error({untold, Message}) end;
         _ ->
             receive Message -> ok
             after ?WAIT_MS -> error({untold, Message, process_info(self(), messages)})
             end
     end || Message <- Expected],
    ok.

closed(Times) ->
    told([{closed, 1} || _ <- lists:seq(1, Times)]).
