%% SPDX-License-Identifier: Apache-2.0
%% What each type becomes, both ways, by example and by property.
-module(py_conversion_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include("properties.hrl").

-compile([export_all, nowarn_export_all]).

all() ->
    [erlang_types_become_python_types, python_types_become_erlang_types,
     identities_come_back, integers_of_every_size_come_back, floats_come_back_bit_by_bit,
     nesting_has_a_limit, what_cannot_be_converted_is_named, colliding_keys_are_last_or_refused,
     a_queue_changes_no_term, a_call_changes_terms_as_documented,
     a_channel_through_python_changes_terms_as_documented, nothing_unconvertible_passes,
     random_terms_never_break_a_native_function].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_case:add_path(Config),
    {ok, 1} = py:call(call_cases, identity, [1]),
    [{counters, py_nif:debug_counters()} | Config].

end_per_suite(Config) ->
    eventually:counters_return_to(?config(counters, Config)),
    ok = application:stop(penstock).

%% By example

erlang_types_become_python_types(_) ->
    [?assertEqual({Term, {ok, Type}}, {Term, py:call(call_cases, type_name, [Term])})
     || {Type, Term} <-
            [{<<"bool">>, true}, {<<"bool">>, false},
             {<<"NoneType">>, none}, {<<"NoneType">>, nil}, {<<"NoneType">>, undefined},
             {<<"str">>, atom}, {<<"str">>, null}, {<<"str">>, ''}, {<<"str">>, 'é'},
             {<<"str">>, 'жук'},
             {<<"int">>, 0}, {<<"int">>, -(1 bsl 63)}, {<<"int">>, 1 bsl 64},
             {<<"int">>, 1 bsl 9999},
             {<<"float">>, 1.0},
             {<<"str">>, <<>>}, {<<"str">>, <<"text">>}, {<<"str">>, <<0>>},
             {<<"str">>, <<"жук"/utf8>>}, {<<"bytes">>, <<255>>},
             {<<"bytes">>, <<237, 160, 128>>},  % A surrogate, which is not UTF-8.
             {<<"bytes">>, {bytes, <<"text">>}}, {<<"bytes">>, {bytes, <<>>}},
             {<<"str">>, binary:copy(<<"text">>, 100000)},
             {<<"bytes">>, binary:copy(<<255>>, 100000)},
             {<<"bytes">>, {bytes, binary:copy(<<"text">>, 100000)}},
             {<<"list">>, []}, {<<"list">>, "string"}, {<<"list">>, [1, [2]]},
             {<<"tuple">>, {}}, {<<"tuple">>, {1, 2}}, {<<"tuple">>, {bytes, not_a_binary}},
             {<<"tuple">>, {bytes, <<>>, <<>>}},
             {<<"dict">>, #{}}, {<<"dict">>, #{a => 1}},
             {<<"Pid">>, self()}, {<<"Ref">>, make_ref()}, {<<"Fun">>, fun lists:map/2},
             {<<"Fun">>, fun() -> ok end}, {<<"Port">>, hd(erlang:ports())},
             {<<"Pid">>, remote_pid()}]],
    {ok, Channel} = made:channel(),
    ?assertEqual({ok, <<"PyCapsule">>}, py:call(call_cases, type_name, [Channel])).

python_types_become_erlang_types(_) ->
    ok = py:exec("import erlang, collections, enum\n"
                 "class Colour(enum.IntEnum):\n    RED = 7\n"
                 "Point = collections.namedtuple('Point', 'x y')\n"),
    [?assertEqual({Code, {ok, Term}}, {Code, py:eval(Code)})
     || {Code, Term} <-
            [{"None", none}, {"True", true}, {"False", false}, {"7", 7}, {"-2**200", -(1 bsl 200)},
             {"1.5", 1.5}, {"float('nan')", nan}, {"float('inf')", infinity},
             {"-float('inf')", neg_infinity},
             {"'text'", <<"text">>}, {"''", <<>>}, {"'\\u0436'", <<"ж"/utf8>>}, {"'\\0'", <<0>>},
             {"b'text'", <<"text">>}, {"b'\\xff'", <<255>>}, {"bytearray(b'abc')", <<"abc">>},
             {"memoryview(b'abc')", <<"abc">>}, {"memoryview(b'abcdef')[::2]", <<"ace">>},
             {"[]", []}, {"[1, [2]]", [1, [2]]}, {"()", {}}, {"(1, (2,))", {1, {2}}},
             {"{}", #{}}, {"{'a': {1: 2}}", #{<<"a">> => #{1 => 2}}},
             {"Colour.RED", 7}, {"Point(1, 2)", {1, 2}},
             {"collections.OrderedDict(a=1)", #{<<"a">> => 1}},
             {"erlang.atom('ok')", ok}, {"[erlang.atom('penstock')]", [penstock]},
             {"erlang.atom('true')", true}]].

identities_come_back(_) ->
    {ok, Channel} = made:channel(),
    Test = self(),
    [?assertEqual({ok, Term}, py:call(call_cases, identity, [Term]))
     || Term <- [self(), make_ref(), hd(erlang:ports()), fun lists:map/2, fun() -> Test end,
                 Channel, remote_pid(), remote_reference(), [{#{<<"k">> => self()}}],
                 #{self() => 1, make_ref() => 2}, ets:new(another_resource, [])]].

integers_of_every_size_come_back(_) ->
    Edges = [Sign * ((1 bsl Bits) + Offset)
             || Bits <- [0, 7, 8, 15, 16, 27, 28, 31, 32, 59, 60, 62, 63, 64, 65, 127, 128, 2039,
                         2040, 2047, 2048, 100000],
                Offset <- [-1, 0, 1], Sign <- [1, -1]],
    ?assertEqual({ok, Edges}, py:call(call_cases, identity, [Edges])).

floats_come_back_bit_by_bit(_) ->
    [begin
         {ok, Back} = py:call(call_cases, identity, [Float]),
         ?assertEqual(<<Float/float>>, <<Back/float>>)
     end || Float <- [0.0, -0.0, 1.0, 0.1, 1.7976931348623157e308, 5.0e-324,
                      2.2250738585072014e-308]].

nesting_has_a_limit(_) ->
    %% The tuple of the call's arguments and the list of them are levels, too.
    Deep = nest(9990, []),
    {ok, Back} = py:call(call_cases, identity, [Deep]),
    ?assert(Back =:= Deep),
    ?assertMatch({error, {unsupported, too_deep, [args | _]}},
                 py:call(call_cases, identity, [nest(10001, [])])),
    ok = py:exec("deep = []\nfor _ in range(1000000): deep = [deep]\n"
                 "circle = []\ncircle.append(circle)\n"),
    ?assertMatch({error, {_, _}}, py:eval("deep")),
    ?assertMatch({error, {_, _}}, py:eval("circle")),
    %% What is freed here is nested too deeply for a recursive deallocation.
    ok = py:exec("while deep: deep = deep[0]\ncircle.clear()").

nest(0, Term) -> Term;
nest(Levels, Term) -> nest(Levels - 1, [Term]).

what_cannot_be_converted_is_named(_) ->
    [?assertMatch({error, {unsupported, Type, _}}, py:call(call_cases, identity, [Term]))
     || {Type, Term} <- [{bitstring, <<1:7>>}, {improper_list, [1 | 2]},
                         {unhashable_key, #{[] => 1}}]],
    ok = py:exec("class Opaque:\n    def __str__(self): raise LookupError('no text')\n"),
    [begin
         {error, {Class, Message}} = py:eval(Code),
         ?assert(lists:member(Class, ['TypeError', 'ValueError', 'UnicodeEncodeError'])),
         ?assertNotEqual("", Message)
     end || Code <- ["Opaque()", "[1, {'k': Opaque()}]", "'\\ud800'", "object()", "len", "{1, 2}",
                     "1j"]].

colliding_keys_are_last_or_refused(_) ->
    {ok, Map} = py:call(call_cases, identity, [#{a => 1, <<"a">> => 2}]),
    ?assertEqual([<<"a">>], maps:keys(Map)),
    case py:eval("{'a': 1, b'a': 2}") of
        {ok, Other} -> ?assertEqual(#{<<"a">> => 2}, Other);
        {error, _} -> ok
    end.

%% By property

a_queue_changes_no_term(_) ->
    {ok, Channel} = made:channel(),
    holds(?FORALL(Term, erlang_term(),
                  begin
                      ok = py_channel:send(Channel, Term),
                      {ok, Term} =:= py_channel:try_receive(Channel)
                  end)),
    ?assertMatch(#{size := 0}, py_channel:info(Channel)).

a_call_changes_terms_as_documented(_) ->
    Context = py:context(1),
    holds(?FORALL(Term, erlang_term(),
                  proper:equals({ok, through_python(Term)},
                                py:call(Context, call_cases, identity, [Term])))).

a_channel_through_python_changes_terms_as_documented(_) ->
    {ok, Channel} = made:channel(),
    Server = eventually:worker(
               py_case:caller(py:context(1), channel_cases, echo, [Channel])),
    holds(?FORALL(Term, erlang_term(),
                  begin
                      ok = py_channel:send(Channel, {self(), Term}),
                      {echo, Back} = eventually:message(echo),
                      proper:equals(through_python(Term), Back)
                  end)),
    ok = py_channel:close(Channel),
    ?assertMatch([{ok, _}], eventually:workers([Server], server)).

nothing_unconvertible_passes(_) ->
    {ok, Channel} = made:channel(),
    holds(?FORALL({Term, Bad}, {erlang_term(), unconvertible()},
                  begin
                      {error, {unsupported, _, Path}} =
                          py_channel:send(Channel, [Term, {Bad, Term}]),
                      lists:prefix([2, 1], Path)
                          andalso py_channel:try_receive(Channel) =:= {error, empty}
                  end)).

random_terms_never_break_a_native_function(_) ->
    %% Those with an effect on others, or that wait or open something, are called by other cases.
    Functions = [{Name, Arity} || {Name, Arity} <- py_nif:module_info(nifs),
                                  not lists:member(Name, [set_stopped, runtime_start, output_open,
                                                          output_close, debug_fail_allocations,
                                                          create_test_pipe, create_test_udp_socket,
                                                          create_test_tcp_listener])],
    holds(?FORALL({{Name, Arity}, Terms}, {oneof(Functions), vector(6, proper_types:any())},
                  try apply(py_nif, Name, lists:sublist(harmless(Name, Terms), Arity)) of
                      _ -> true
                  catch
                      error:badarg -> true
                  end)).

%% A small number may be a descriptor of the VM's own, which some functions would write to or close.
harmless(Name, [Number | Rest]) when is_integer(Number), Number >= 0 ->
    case lists:member(Name, [read_test_fd, write_test_fd, close_test_fd, accept_test_tcp,
                             sendto_test_udp, recvfrom_test_udp, set_udp_broadcast]) of
        true -> [-1 - Number | Rest];
        false -> [Number | Rest]
    end;
harmless(_, Terms) ->
    Terms.

%% Terms with a form in Python, whose map keys are distinct there, too.
erlang_term() ->
    ?SIZED(Size, erlang_term(Size)).

erlang_term(Size) when Size =< 1 ->
    scalar();
erlang_term(Size) ->
    Smaller = ?LAZY(erlang_term(Size div 3)),
    frequency([{4, scalar()},
               {1, list(Smaller)},
               {1, loose_tuple(Smaller)},
               {1, ?LET(Pairs, list({key(), Smaller}), maps:from_list(Pairs))}]).

scalar() ->
    oneof([integer(), large_integer(), float(), boolean(), none, undefined, nil, atom(), binary(),
           utf8(), {bytes, binary()}, self(), make_ref(), fun lists:map/2,
           ?LET(Size, integer(8000, 9000), binary:copy(<<"p">>, Size)), [], {}, #{}]).

%% No atoms but those that collide with nothing, no numbers that equal another type's.
key() ->
    oneof([?LET(N, integer(), N + 2 * sign(N)), ?LET(Text, utf8(), <<"key ", Text/binary>>),
           {integer(2, 100), utf8()}, self()]).

sign(N) when N < 0 -> -1;
sign(_) -> 1.

large_integer() ->
    ?LET({Bits, Low, Sign}, {integer(0, 300), integer(0, 1000000), oneof([1, -1])},
         Sign * ((1 bsl Bits) + Low)).

unconvertible() ->
    oneof([<<1:1>>, ?LET(Bits, integer(1, 7), <<0:Bits>>), [a | b], [[] | tail],
           #{[] => 1}, #{{#{}} => 1}, ?LET(Term, scalar(), [Term | improper])]).

%% docs/types.md
through_python(Term) when Term =:= undefined; Term =:= nil -> none;
through_python(Term) when is_boolean(Term); Term =:= none -> Term;
through_python(Term) when is_atom(Term) -> atom_to_binary(Term);
through_python({bytes, Binary}) when is_binary(Binary) -> Binary;
through_python(Terms) when is_list(Terms) -> [through_python(Term) || Term <- Terms];
through_python(Tuple) when is_tuple(Tuple) ->
    list_to_tuple(through_python(tuple_to_list(Tuple)));
through_python(Map) when is_map(Map) ->
    maps:from_list([{through_python(Key), through_python(Value)}
                    || {Key, Value} <- maps:to_list(Map)]);
through_python(Term) -> Term.

holds(Property) ->
    ?assertEqual(true, proper:quickcheck(Property, [{numtests, 400}, {max_size, 30}, long_result,
                                                    quiet])).

%% Of a node that does not exist: NEW_PID_EXT and NEWER_REFERENCE_EXT.
remote_pid() ->
    binary_to_term(<<131, 88, 119, 8, "far@away", 1:32, 2:32, 3:32>>).

remote_reference() ->
    binary_to_term(<<131, 90, 3:16, 119, 8, "far@away", 3:32, 1:32, 2:32, 3:32>>).
