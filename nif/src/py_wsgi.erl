%% SPDX-License-Identifier: Apache-2.0
%% @doc Serves HTTP requests with a WSGI application (PEP 3333), behind any HTTP server.
%%
%% A server is a process that owns threads of Python, which take requests from one bounded queue.
%% The HTTP server calls `handle/4' in the process of each connection: it tells the request, where
%% the body comes from and where the response goes. No request passes through the server's process.
%%
%% Memory is bounded whatever the sizes of bodies and responses: a source that is faster than the
%% application waits in its write, and an application that is faster than the client waits in its.
%% A body does not occupy a thread before it is complete or `prebuffer' bytes of it are there.
%%
%% Timeouts are milliseconds, sizes are bytes.
-module(py_wsgi).

-export([start_link/1, child_spec/1, stop/1, stop/2, handle/4, info/1]).
-export_type([server/0, options/0, request/0, body/0, source/0, sink/0, event/0, outcome/0]).

-type server() :: pid() | atom().

%% `app': `module:callable', or a module whose callable is `application'.
%% `name': a name to register the server under.
%% `threads' (8): how many requests run at the same time.
%% `paths' ([]): directories in which Python looks for modules first.
%% `max_body' (4 GiB): a larger body is refused with 413.
%% `max_headers' (100): more are refused with 431.
%% `max_queue' (1024): requests that wait for a thread; with more, 503.
%% `max_streaming' (one less than `threads', but at least 1): requests that have been given to the
%%   application before their body was complete. More wait, and their clients with them.
%% `queue_timeout' (30 s): a request that has waited so long for others to be complete gets 503.
%% `idle_timeout' (30 s): a body of which nothing arrives for so long, up to twice, gets 408.
%% `body_timeout' (1 h): a body that is not complete by then gets 408.
%% `prebuffer' (64 KiB): how much of a body must be there before the application is called.
%% `body_high_water' (256 KiB): how much of a body may wait to be read.
%% `response_high_water' (256 KiB): how much of a response may wait to be sent.
%% `grace' (10 s): how long requests may take to end when a supervisor stops the server.
-type options() :: #{app := binary() | string(),
                     name => atom(),
                     threads => pos_integer(),
                     paths => [file:name_all()],
                     max_body => non_neg_integer(),
                     max_headers => non_neg_integer(),
                     max_queue => non_neg_integer(),
                     max_streaming => pos_integer(),
                     queue_timeout => pos_integer(),
                     idle_timeout => pos_integer(),
                     body_timeout => pos_integer(),
                     prebuffer => pos_integer(),
                     body_high_water => pos_integer(),
                     response_high_water => pos_integer(),
                     grace => non_neg_integer()}.

%% As the client sent it; `target' is not decoded. `received': how many bytes have come in so far,
%% if the HTTP server can tell while a piece of the body is incomplete; without, only what the
%% source has written counts as a sign of life.
-type request() :: #{method := binary(),
                     target := binary(),
                     version := {Major :: non_neg_integer(), Minor :: non_neg_integer()},
                     headers := [{Name :: binary(), Value :: binary()}],
                     scheme := binary(),
                     peer := binary(),
                     peer_port := inet:port_number(),
                     server_name := binary(),
                     server_port := inet:port_number(),
                     received => fun(() -> non_neg_integer())}.

%% `stream': the length, if it was announced, and who reads the body from the client.
-type body() :: none | {complete, binary()} |
                {stream, Length :: non_neg_integer() | undefined, source()}.

%% Runs in a process of its own, which ends when the caller of `handle/4' does. Writes the body
%% piece by piece; a write waits while the application is slow, and a source whose write failed
%% returns. `ok' means that the body is complete. The process is killed when the body is no longer
%% wanted. If somebody else kills it, the request ends: with 500, if the response has not begun.
-type source() ::
    fun((fun((binary()) -> ok | {error, term()})) -> ok | {error, term()}).

%% `complete': the whole response. Or `head', then `data' until `done'. If `done' does not come the
%% response is broken, and the client must be able to tell. Without a Content-Length header, and
%% with another status than 204 and 304, framing is up to the HTTP server. Nothing but the headers
%% is to be sent for HEAD; the data of `complete' is empty then.
-type event() :: {complete, Status :: binary(), [{binary(), binary()}], binary()} |
                 {head, Status :: binary(), [{binary(), binary()}]} |
                 {data, binary()} |
                 done.

%% Runs in the caller. An error means that the client is gone.
-type sink() :: fun((event()) -> ok | {error, term()}).

%% `ok': the response is complete, and whether the connection is fit for another request. `error':
%% it is not, so the connection must be cut.
-type outcome() :: {ok, Status :: binary(), keep_alive | close} | {error, Reason :: term()}.

-define(DEFAULTS, #{threads => 8, paths => [], max_body => 4 bsl 30, max_headers => 100,
                    max_queue => 1024, queue_timeout => 30000, idle_timeout => 30000,
                    body_timeout => 3600000,
                    prebuffer => 65536, body_high_water => 262144, response_high_water => 262144,
                    grace => 10000}).

%% @doc Starts a server. Fails with `{app, {Class, Message}}' if the application cannot be imported,
%% with `not_started' if Penstock does not run.
-spec start_link(options()) -> {ok, pid()} | {error, term()}.
start_link(#{app := App} = Options) ->
    All = maps:merge(?DEFAULTS, Options),
    ok = check(All, Options),
    Threads = maps:get(threads, All),
    py_wsgi_server:start_link(maps:merge(#{max_streaming => max(1, Threads - 1)},
                                         All#{app := unicode:characters_to_binary(App)}));
start_link(Options) ->
    error(badarg, [Options]).

%% @doc For a supervisor.
-spec child_spec(options()) -> supervisor:child_spec().
child_spec(Options) ->
    Grace = maps:get(grace, maps:merge(?DEFAULTS, Options)),
    #{id => {?MODULE, maps:get(name, Options, maps:get(app, Options))},
      start => {?MODULE, start_link, [Options]}, shutdown => Grace + 5000}.

%% @doc Stops a server with the grace that its options give.
-spec stop(server()) -> ok.
stop(Server) ->
    gen_server:stop(Server, normal, infinity).

%% @doc Refuses new requests from now on, waits at most `Grace' ms for the running ones, and stops.
-spec stop(server(), Grace :: non_neg_integer()) -> ok.
stop(Server, Grace) when is_integer(Grace), Grace >= 0 ->
    ok = gen_server:call(Server, {grace, Grace}, infinity),
    stop(Server);
stop(Server, Grace) ->
    error(badarg, [Server, Grace]).

%% @doc Runs a request to its end. What the limits forbid is answered through the sink, too. The
%% messages that a source or this function sends to the caller are taken out of its mailbox.
-spec handle(server(), request(), body(), sink()) -> outcome().
handle(Server, Request, Body, Sink) when is_map(Request), is_function(Sink, 1) ->
    py_wsgi_request:run(py_wsgi_server:settings(Server), Request, Body, Sink);
handle(Server, Request, Body, Sink) ->
    error(badarg, [Server, Request, Body, Sink]).

%% @doc How many requests run or wait for a thread, and of how many of these the body is incomplete.
-spec info(server()) -> #{requests := non_neg_integer(), streaming := non_neg_integer()} |
                        {error, not_running}.
info(Server) ->
    case py_wsgi_server:settings(Server) of
        #{running := Running, slots := Slots} = Settings ->
            ok = py_wsgi_server:sweep(Settings),
            case {ets:info(Running, size), py_wsgi_slots:held(Slots)} of
                {Requests, Incomplete} when is_integer(Requests), is_integer(Incomplete) ->
                    #{requests => Requests, streaming => Incomplete};
                _Killed ->
                    {error, not_running}
            end;
        not_running ->
            {error, not_running}
    end.

check(All, Options) ->
    Least = #{threads => 1, max_body => 0, max_headers => 0, max_queue => 0, max_streaming => 1,
              queue_timeout => 1, idle_timeout => 1, body_timeout => 1, prebuffer => 1,
              body_high_water => 1, response_high_water => 1024, grace => 0},
    %% What py_buffer and `receive' take.
    Most = #{max_body => 1 bsl 63 - 1, queue_timeout => 16#FFFFFFFF, idle_timeout => 16#FFFFFFFF,
             body_timeout => 16#FFFFFFFF, grace => 16#FFFFFFFF},
    _ = [is_integer(Value) andalso Value >= Low andalso Value =< maps:get(Key, Most, Value)
             orelse error(badarg, [Options])
         || {Key, Low} <- maps:to_list(Least), {ok, Value} <- [maps:find(Key, All)]],
    map_size(maps:without([app, name, paths | maps:keys(Least)], All)) =:= 0
        andalso maps:get(prebuffer, All) =< maps:get(body_high_water, All)
        orelse error(badarg, [Options]),
    ok.
