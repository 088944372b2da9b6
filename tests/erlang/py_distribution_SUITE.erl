%% SPDX-License-Identifier: Apache-2.0
%% Processes of other nodes, and a node that changes its name.
-module(py_distribution_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

all() ->
    [a_channel_is_itself_when_the_node_gets_a_name, a_remote_process_is_a_pid_in_python,
     a_reply_reaches_a_remote_process, a_channel_carries_remote_terms].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_case:add_path(Config),
    [{named, node() =/= nonode@nohost} | Config].

end_per_suite(Config) ->
    ?config(named, Config) orelse net_kernel:stop(),
    ok = application:stop(penstock).

init_per_testcase(a_channel_is_itself_when_the_node_gets_a_name, Config) ->
    case ?config(named, Config) of
        true -> {skip, "this node has a name for good"};
        false -> Config
    end;
init_per_testcase(_Case, Config) ->
    ok = be_distributed(),
    {ok, Peer, Node} = peer:start(#{name => peer:random_name(), host => "localhost"}),
    [{peer, Peer}, {node, Node} | Config].

end_per_testcase(_Case, Config) ->
    case ?config(peer, Config) of
        undefined -> ok;
        Peer -> peer:stop(Peer)
    end,
    eventually:silence().

a_channel_is_itself_when_the_node_gets_a_name(_) ->
    {ok, Channel} = py_channel:new(),
    {ok, none} = py:call(py:context(1), channel_cases, hold, [Channel]),
    Held = <<"__import__('channel_cases').held">>,
    ?assertEqual({ok, Channel}, py:eval(py:context(1), Held)),
    ok = be_distributed(),
    ?assertEqual({ok, Channel}, py:eval(py:context(1), Held)),
    ok = net_kernel:stop(),
    ?assertEqual({ok, Channel}, py:eval(py:context(1), Held)),
    {ok, none} = py:call(py:context(1), channel_cases, release, []).

a_remote_process_is_a_pid_in_python(Config) ->
    Remote = remote_echo(Config),
    ?assertEqual({ok, <<"Pid">>}, py:call(call_cases, type_name, [Remote])),
    ?assertEqual({ok, [Remote]}, py:call(call_cases, identity, [[Remote]])).

a_reply_reaches_a_remote_process(Config) ->
    Remote = remote_echo(Config),
    {ok, true} = py:call(channel_cases, reply_to, [Remote, {<<"echo">>, self(), [1, <<"two">>]}]),
    ?assertEqual({echoed, [1, <<"two">>]}, eventually:message(echoed)).

a_channel_carries_remote_terms(Config) ->
    Remote = remote_echo(Config),
    {ok, Channel} = py_channel:new(),
    ok = py_channel:send(Channel, {Remote, node(Remote)}),
    ?assertEqual({ok, {Remote, node(Remote)}}, py_channel:recv(Channel)).

remote_echo(Config) ->
    Code = "receive {echo, Pid, Term} -> Pid ! {echoed, Term} end.",
    {ok, Tokens, _} = erl_scan:string(Code),
    {ok, Expressions} = erl_parse:parse_exprs(Tokens),
    spawn(?config(node, Config), erl_eval, exprs, [Expressions, []]).

be_distributed() ->
    case node() of
        nonode@nohost ->
            _ = os:cmd("epmd -daemon"),
            %% It answers a little after the command has returned.
            eventually:true(fun() -> element(1, erl_epmd:names("localhost")) =:= ok end),
            Name = list_to_atom(peer:random_name() ++ "@localhost"),
            {ok, _} = net_kernel:start([Name, shortnames]),
            ok;
        _ ->
            ok
    end.
