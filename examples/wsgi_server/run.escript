#!/usr/bin/env escript
%% SPDX-License-Identifier: Apache-2.0
%%
%% run.escript APP [PORT [OPTION=NUMBER ...]]
%%
%% Serves the WSGI application APP, `module:callable', on http://127.0.0.1:PORT until SIGTERM, then
%% lets running requests end. Modules are found in the current directory, in PYTHONPATH, and beside
%% this file. PORT 0 is any free one. OPTION is one of py_wsgi's, such as threads=16, or
%% small_body_timeout: how many ms a body of at most 64 KiB may take to arrive.
%%
%% Needs penstock and mochiweb on the code path:
%% ERL_LIBS=_build/default/lib escript examples/wsgi_server/run.escript flaskapp:app 8080
-mode(compile).

-define(GRACE_MS, 10000).
-define(OPTIONS, ["threads", "max_body", "max_headers", "max_queue", "max_streaming",
                  "queue_timeout", "idle_timeout", "body_timeout", "prebuffer", "body_high_water",
                  "response_high_water", "grace", "small_body_timeout"]).

main([App | Rest]) ->
    {Port, Options} = arguments(Rest),
    Here = filename:dirname(filename:absname(escript:script_name())),
    ok = load(filename:join(Here, "wsgi_http.erl")),
    ok = load(filename:join(Here, "wsgi_signal.erl")),
    {ok, _} = application:ensure_all_started(penstock),
    process_flag(trap_exit, true),
    Server = case py_wsgi:start_link((maps:without([small_body_timeout], Options))
                                     #{app => App, paths => paths(Here)}) of
                 {ok, Pid} -> Pid;
                 {error, Reason} -> fail("cannot start ~ts: ~tp", [App, Reason])
             end,
    Http = case wsgi_http:start_link(Server, http_options(Port, Options)) of
               {ok, Started} -> Started;
               {error, Error} -> fail("cannot listen on port ~b: ~tp", [Port, Error])
           end,
    %% The VM gives nobody SIGINT, so `make serve' turns Ctrl-C into SIGTERM.
    ok = wsgi_signal:forward(self()),
    io:format("Serving ~ts on http://127.0.0.1:~b (process ~s, Ctrl-C or SIGTERM to stop)~n",
              [App, wsgi_http:port(Http), os:getpid()]),
    serve(Http, Server, maps:get(grace, Options, ?GRACE_MS));
main([]) ->
    fail("usage: run.escript APP [PORT [OPTION=NUMBER ...]]", []).

serve(Http, Server, Grace) ->
    receive
        stop ->
            io:format("Stopping: ~b requests run~n", [maps:get(requests, py_wsgi:info(Server))]),
            ok = wsgi_http:stop({Http, Server}, Grace),
            io:format("Stopped~n"),
            halt(0);
        {'EXIT', Pid, Reason} when Pid =:= Http; Pid =:= Server ->
            fail("the server ended: ~tp", [Reason]);
        _ ->
            serve(Http, Server, Grace)
    end.

arguments([]) ->
    {8080, #{}};
arguments([Port | Options]) ->
    {list_to_integer(Port),
     maps:from_list([option(string:split(Option, "=")) || Option <- Options])}.

option([Name, Value]) ->
    lists:member(Name, ?OPTIONS)
        orelse fail("~ts is none of ~ts", [Name, lists:join(" ", ?OPTIONS)]),
    {list_to_atom(Name), list_to_integer(Value)}.

http_options(Port, #{small_body_timeout := Timeout}) -> #{port => Port, body_timeout => Timeout};
http_options(Port, _) -> #{port => Port}.

paths(Here) ->
    {ok, Current} = file:get_cwd(),
    [Current | string:lexemes(os:getenv("PYTHONPATH", ""), ":")] ++ [Here].

load(File) ->
    case compile:file(File, [binary, report]) of
        {ok, Module, Code} ->
            {module, Module} = code:load_binary(Module, File, Code),
            ok;
        error ->
            fail("cannot compile ~ts", [File])
    end.

-spec fail(string(), [term()]) -> no_return().
fail(Format, Arguments) ->
    io:format(standard_error, Format ++ "~n", Arguments),
    halt(1).
