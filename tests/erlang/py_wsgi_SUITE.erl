%% SPDX-License-Identifier: Apache-2.0
%% WSGI without HTTP: how an application starts, what it is told, and what becomes of its answer.
-module(py_wsgi_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(py_wsgi_case, [start/1, with/1, with/2, request/1, run/3, data/1, body/1, environ/3,
                       stream/2, told/1, closed/1]).

-compile([export_all, nowarn_export_all]).

-define(WAIT_MS, 20000).

all() ->
    [{group, starting}, {group, requests}, {group, responses}].

groups() ->
    [{starting, [],
      [an_application_that_cannot_be_imported_is_an_error, options_are_checked,
       an_application_may_be_dotted, a_server_may_have_a_name]},
     {requests, [],
      [the_environment_is_that_of_pep_3333, targets_are_split_and_unquoted,
       headers_are_joined_and_filtered, text_is_latin_1, the_validator_is_content]},
     {responses, [],
      [a_short_response_is_one_event, blocks_of_unknown_length_are_streamed,
       large_blocks_are_cut_and_complete, an_empty_block_sends_no_headers, no_content_has_no_body,
       head_has_no_body, head_of_an_endless_response_ends, nothing_is_an_empty_response,
       write_and_file_wrapper_work, errors_before_the_headers_are_500,
       errors_after_the_headers_break_the_response, errors_after_the_end_are_not_seen,
       more_than_announced_is_cut, less_than_announced_breaks_the_response,
       headers_of_the_application_are_not_changed, headers_cannot_be_injected, latin_1_headers_pass,
       a_client_that_leaves_stops_the_application,
       a_slow_client_stops_the_application, a_sink_that_fails_leaves_nothing_behind]}].

init_per_suite(Config) ->
    py_wsgi_case:init_per_suite(Config).

end_per_suite(Config) ->
    py_wsgi_case:end_per_suite(Config).

init_per_testcase(_Case, Config) ->
    true = register(wsgi_test, self()),
    Config.

end_per_testcase(_Case, _Config) ->
    ok.

%% Starting

an_application_that_cannot_be_imported_is_an_error(_) ->
    process_flag(trap_exit, true),
    Failures = [{"nosuch:app", 'ModuleNotFoundError'}, {"wsgi_cases:nosuch", 'AttributeError'},
                {"wsgi_cases:not_callable", 'TypeError'}],
    [begin
         ?assertMatch({error, {app, {Class, _}}}, py_wsgi:start_link(#{app => App})),
         receive {'EXIT', _, {app, {Class, _}}} -> ok end
     end || {App, Class} <- Failures],
    eventually:silence().

options_are_checked(_) ->
    App = "wsgi_cases",
    [?assertError(badarg, py_wsgi:start_link(Options))
     || Options <- [#{}, #{app => App, threads => 0}, #{app => App, unknown => 1},
                    #{app => App, prebuffer => 2000, body_high_water => 1000},
                    #{app => App, max_body => infinity}, #{app => App, max_body => 1 bsl 63},
                    #{app => App, idle_timeout => 1 bsl 32}]],
    Server = start(#{}),
    [?assertError(badarg, py_wsgi:handle(Server, request("/echo"), Body, fun(_) -> ok end))
     || Body <- [{stream, -1, fun(_) -> ok end}, {stream, 1 bsl 63, fun(_) -> ok end},
                 {complete, "list"}, {stream, 1, no_function}]],
    ok = py_wsgi:stop(Server).

an_application_may_be_dotted(_) ->
    Server = start(#{app => <<"wsgi_cases:nested.callable">>}),
    ?assertEqual(<<"x">>, body(run(Server, request("/echo"), {complete, <<"x">>}))),
    ok = py_wsgi:stop(Server).

a_server_may_have_a_name(_) ->
    {ok, Supervisor} = supervisor_of(#{app => "wsgi_cases", name => my_wsgi, threads => 1}),
    ?assertEqual(<<"x">>, body(run(my_wsgi, request("/echo"), {complete, <<"x">>}))),
    ?assertEqual(#{requests => 0, streaming => 0}, py_wsgi:info(my_wsgi)),
    process_flag(trap_exit, true),
    exit(Supervisor, shutdown),
    receive {'EXIT', Supervisor, shutdown} -> ok after ?WAIT_MS -> error(no_exit) end,
    ?assertEqual({error, not_running}, py_wsgi:info(my_wsgi)).

supervisor_of(Options) ->
    supervisor:start_link(?MODULE, Options).

%% As a supervisor.
init(Options) ->
    {ok, {#{}, [py_wsgi:child_spec(Options)]}}.

%% Requests

the_environment_is_that_of_pep_3333(_) ->
    with(fun(Server) ->
        Environ = environ(Server, (request("/env?a=b&c=%20"))#{method := <<"POST">>},
                          {complete, <<"four">>}),
        Expected = #{<<"REQUEST_METHOD">> => <<"POST">>, <<"SCRIPT_NAME">> => <<>>,
                     <<"PATH_INFO">> => <<"/env">>, <<"QUERY_STRING">> => <<"a=b&c=%20">>,
                     <<"SERVER_PROTOCOL">> => <<"HTTP/1.1">>, <<"SERVER_NAME">> => <<"localhost">>,
                     <<"SERVER_PORT">> => <<"8080">>, <<"REMOTE_ADDR">> => <<"192.0.2.7">>,
                     <<"CONTENT_LENGTH">> => <<"4">>, <<"HTTP_HOST">> => <<"localhost">>,
                     <<"wsgi.url_scheme">> => <<"http">>, <<"wsgi.multithread">> => <<"True">>,
                     <<"wsgi.multiprocess">> => <<"False">>, <<"wsgi.run_once">> => <<"False">>,
                     <<"wsgi.input_terminated">> => <<"True">>},
        ?assertEqual(Expected, maps:with(maps:keys(Expected), Environ)),
        ?assertNot(maps:is_key(<<"CONTENT_LENGTH">>, environ(Server, request("/env"), none)))
    end).

targets_are_split_and_unquoted(_) ->
    with(fun(Server) ->
        [?assertEqual({Target, Path, Query},
                      begin
                          #{<<"PATH_INFO">> := P, <<"QUERY_STRING">> := Q} =
                              environ(Server, request(Target), none),
                          {Target, P, Q}
                      end)
         || {Target, Path, Query} <- [{"/%65nv", <<"/env">>, <<>>},
                                      {"http://example.org/env?x=?", <<"/env">>, <<"x=?">>},
                                      {"/env?http://y/", <<"/env">>, <<"http://y/">>}]]
    end).

headers_are_joined_and_filtered(_) ->
    with(fun(Server) ->
        Headers = [{<<"Accept">>, <<"a">>}, {<<"accept">>, <<"b">>}, {<<"Cookie">>, <<"x=1">>},
                   {<<"COOKIE">>, <<"y=2">>}, {<<"X_Forwarded_For">>, <<"forged">>},
                   {<<"Proxy">>, <<"http://evil">>}, {<<"Content-Type">>, <<"text/x">>},
                   {<<"Content-Length">>, <<"77">>}],
        Environ = environ(Server, (request("/env"))#{headers := Headers}, none),
        ?assertMatch(#{<<"HTTP_ACCEPT">> := <<"a,b">>, <<"HTTP_COOKIE">> := <<"x=1; y=2">>,
                       <<"CONTENT_TYPE">> := <<"text/x">>}, Environ),
        [?assertNot(maps:is_key(Key, Environ))
         || Key <- [<<"HTTP_X_FORWARDED_FOR">>, <<"HTTP_PROXY">>, <<"HTTP_CONTENT_LENGTH">>,
                    <<"HTTP_CONTENT_TYPE">>, <<"CONTENT_LENGTH">>]]
    end).

%% Bytes arrive as characters of that number, whether they are UTF-8 or not.
text_is_latin_1(_) ->
    with(fun(Server) ->
        Headers = [{<<"X-Utf">>, <<"ä"/utf8>>}, {<<"X-Latin">>, <<228>>}],
        Environ = environ(Server, (request("/env?%E4"))#{headers := Headers}, none),
        ?assertMatch(#{<<"HTTP_X_UTF">> := <<"Ã¤"/utf8>>, <<"HTTP_X_LATIN">> := <<"ä"/utf8>>},
                     Environ),
        Raw = environ(Server, (request("/env"))#{target := <<"/env?", 228>>}, none),
        ?assertMatch(#{<<"QUERY_STRING">> := <<"ä"/utf8>>}, Raw)
    end).

the_validator_is_content(_) ->
    Server = start(#{app => "wsgi_cases:checked"}),
    Typed = fun(Target) ->
                (request(Target))#{headers := [{<<"Content-Type">>, <<"text/plain">>}]}
            end,
    ?assertMatch({{ok, <<"200 OK">>, keep_alive}, _}, run(Server, Typed("/written"), none)),
    ?assertMatch({{ok, <<"200 OK">>, keep_alive}, _}, run(Server, Typed("/blocks?50"), none)),
    closed(1),
    ?assertMatch({{ok, <<"204 No Content">>, keep_alive}, _},
                 run(Server, Typed("/no_content"), none)),
    closed(1),
    ?assertMatch({{ok, <<"200 OK">>, keep_alive}, [{complete, _, _, <<>>}]},
                 run(Server, (Typed("/no_blocks"))#{method := <<"HEAD">>}, none)),
    Body = crypto:strong_rand_bytes(200000),
    ?assertEqual(<<"200000">>, body(run(Server, Typed("/reads?1000"), stream(Body, 7000)))),
    told([{reading, 1}, {read, 200000}]),
    ok = py_wsgi:stop(Server).

%% Responses

a_short_response_is_one_event(_) ->
    with(fun(Server) ->
        ?assertEqual({{ok, <<"200 OK">>, keep_alive},
                      [{complete, <<"200 OK">>,
                        [{<<"Content-Type">>, <<"application/octet-stream">>},
                         {<<"Content-Length">>, <<"5">>}], <<"hello">>}]},
                     run(Server, request("/echo"), {complete, <<"hello">>}))
    end).

blocks_of_unknown_length_are_streamed(_) ->
    with(fun(Server) ->
        {Outcome, [{head, <<"200 OK">>, [{<<"Content-Type">>, <<"text/plain">>}]} | Events]} =
            run(Server, request("/blocks?1000"), none),
        ?assertEqual({ok, <<"200 OK">>, keep_alive}, Outcome),
        ?assertEqual(done, lists:last(Events)),
        ?assertEqual(iolist_to_binary([[integer_to_binary(N), $;] || N <- lists:seq(0, 999)]),
                     data(Events)),
        closed(1)
    end).

large_blocks_are_cut_and_complete(_) ->
    with(fun(Server) ->
        [begin
             {{ok, _, keep_alive}, Events} =
                 run(Server, request("/large_block?" ++ integer_to_list(Size)), none),
             ?assertEqual(binary:copy(<<0>>, Size), data(Events)),
             [?assert(byte_size(Data) =< 65536) || {data, Data} <- Events]
         end || Size <- [1, 65535, 65536, 65537, 1000000]]
    end).

an_empty_block_sends_no_headers(_) ->
    with(fun(Server) ->
        {{ok, <<"202 Accepted">>, keep_alive}, Events} = run(Server, request("/empty_blocks"),
              none),
        ?assertEqual(<<"second">>, data(Events))
    end).

no_content_has_no_body(_) ->
    with(fun(Server) ->
        ?assertEqual({{ok, <<"204 No Content">>, keep_alive},
                      [{complete, <<"204 No Content">>, [], <<>>}]},
                     run(Server, request("/no_content"), none)),
        closed(1)
    end).

head_has_no_body(_) ->
    with(fun(Server) ->
        ?assertMatch({{ok, _, keep_alive}, [{complete, <<"200 OK">>, _, <<>>}]},
                     run(Server, (request("/large_block?100"))#{method := <<"HEAD">>}, none)),
        {{ok, _, keep_alive}, [{complete, _, Headers, <<>>}]} =
            run(Server, (request("/raises_late"))#{method := <<"HEAD">>}, none),
        ?assertEqual({value, {<<"Content-Length">>, <<"3">>}},
                     lists:keysearch(<<"Content-Length">>, 1, Headers)),
        closed(1)
    end).

head_of_an_endless_response_ends(_) ->
    with(fun(Server) ->
        ?assertMatch({{ok, _, keep_alive}, [{complete, <<"200 OK">>, _, <<>>}]},
                     run(Server, (request("/endless"))#{method := <<"HEAD">>}, none)),
        closed(1)
    end).

nothing_is_an_empty_response(_) ->
    with(fun(Server) ->
        ?assertMatch({{ok, _, keep_alive}, [{complete, <<"200 OK">>, [_, {_, <<"0">>}], <<>>}]},
                     run(Server, request("/no_blocks"), none))
    end).

write_and_file_wrapper_work(_) ->
    with(fun(Server) ->
        ?assertEqual(<<"one two three">>, body(run(Server, request("/written"), none))),
        ?assertEqual(binary:copy(<<0>>, 200000), body(run(Server, request("/wrapped_file"), none)))
    end).

errors_before_the_headers_are_500(_) ->
    with(fun(Server) ->
        [?assertMatch({{ok, <<"500 Internal Server Error">>, keep_alive}, [{complete, _, _, _}]},
                      run(Server, request(Target), none))
         || Target <- ["/raises_before", "/raises_first", "/no_start", "/nosuch"]],
        closed(1)
    end).

errors_after_the_headers_break_the_response(_) ->
    with(fun(Server) ->
        ?assertMatch({{error, {application, closed}}, [{head, _, _}, {data, <<"first">>}]},
                     run(Server, request("/raises_after"), none)),
        closed(1)
    end).

errors_after_the_end_are_not_seen(_) ->
    with(fun(Server) ->
        ?assertMatch({{ok, <<"200 OK">>, keep_alive}, [{complete, _, _, <<"all">>}]},
                     run(Server, request("/raises_late"), none)),
        closed(1)
    end).

more_than_announced_is_cut(_) ->
    with(fun(Server) ->
        {{ok, _, keep_alive}, Events} = run(Server, request("/too_much"), none),
        ?assertEqual(<<"abc">>, data(Events))
    end).

less_than_announced_breaks_the_response(_) ->
    with(fun(Server) ->
        {{error, {application, closed}}, Events} = run(Server, request("/too_little"), none),
        ?assertEqual(<<"abc">>, data(Events)),
        closed(1)
    end).

headers_of_the_application_are_not_changed(_) ->
    with(fun(Server) ->
        [?assertEqual(list_to_binary(Text),
                      body(run(Server, request("/shared_headers?" ++ Text), none)))
         || Text <- ["a", "bcd", "", "ef"]]
    end).

headers_cannot_be_injected(_) ->
    with(fun(Server) ->
        [?assertMatch({{ok, <<"500 Internal Server Error">>, keep_alive}, _},
                      run(Server, request("/header?a" ++ Bad), none))
         || Bad <- ["%0D%0AX-Evil: 1", "%0A", "%00", "%7F"]]
    end).

latin_1_headers_pass(_) ->
    with(fun(Server) ->
        {_, [{complete, _, [{<<"X-Value">>, Value} | _], _}]} =
            run(Server, request("/header?%E4%09b"), none),
        ?assertEqual(<<228, 9, "b">>, Value)
    end).

a_client_that_leaves_stops_the_application(_) ->
    with(fun(Server) ->
        Leaves = fun({data, _}) -> {error, closed}; (_) -> ok end,
        ?assertEqual({error, {client, closed}},
                     py_wsgi:handle(Server, request("/endless"), none, Leaves)),
        closed(1)
    end).

%% Of 100 blocks of 64 KiB, only as many are made as the high-water mark and the sink hold.
a_slow_client_stops_the_application(_) ->
    with(fun(Server) ->
        Test = self(),
        Client = eventually:worker(fun() ->
            py_wsgi:handle(Server, request("/big?100"), none,
                           fun({data, _}) -> Test ! {at_data, self()}, receive go -> ok end;
                              (_) -> ok
                           end)
        end),
        receive {at_data, Client} -> ok after ?WAIT_MS -> error(no_data) end,
        Before = produced(0),
        ?assert(Before =< 8),
        %% Each block that is taken lets one more be made.
        Client ! go,
        receive {at_data, Client} -> ok after ?WAIT_MS -> error(no_data) end,
        ?assert(produced(Before) =< 9),
        unlink(Client),
        exit(Client, kill),
        eventually:message(closed),
        _ = produced(0)
    end).

%% How many blocks have been made, once no more are for a while.
produced(Last) ->
    receive {produced, N} -> produced(N)
    after 200 -> Last  % sleep: nothing may come
    end.

a_sink_that_fails_leaves_nothing_behind(_) ->
    with(fun(Server) ->
        ?assertError(sink, py_wsgi:handle(Server, request("/endless"), none,
                                          fun(_) -> error(sink) end)),
        closed(1),
        ?assertEqual(#{requests => 0, streaming => 0}, py_wsgi:info(Server))
    end).
