%% SPDX-License-Identifier: Apache-2.0
%% Erlang functions that Python calls: names, arguments, results, failures.
-module(py_callback_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(py_call_case, [at_once/1, echo/0, in/3, usable/1]).

-compile([export_all, nowarn_export_all]).

-define(CASES, callback_cases).

suite() ->
    [{timetrap, {seconds, 60}}].

all() ->
    [{group, names}, {group, attributes}, {group, terms}, {group, failures}, {group, once},
     nothing_is_left].

groups() ->
    [{names, [],
      [names_are_atoms_binaries_or_strings, the_last_registration_counts,
       an_unregistered_name_is_gone, a_function_of_a_module, registered_through_py_callback,
       what_cannot_be_registered, names_are_compared_whole, a_registration_outlives_its_process]},
     {attributes, [],
      [three_ways_to_call, what_is_not_registered_is_no_attribute,
       hasattr_follows_registration_at_once, functions_have_a_name_and_are_equal,
       a_kept_function_may_lose_its_name, names_of_penstock_are_hidden,
       attributes_of_the_package_come_first]},
     {terms, [],
      [arguments_arrive_as_they_were, results_arrive_as_they_were, no_arguments_and_many,
       large_arguments_and_results, pids_of_the_living_and_of_the_dead, wrong_calls_are_refused,
       a_subclass_of_str_is_a_name, a_result_without_a_form_in_python]},
     {failures, [],
      [failures_say_what_it_was, a_reason_without_a_form_in_python, a_long_reason_is_cut,
       a_function_that_is_not_registered, a_function_that_does_not_exist,
       a_failure_that_nobody_catches, exceptions_that_have_no_text, a_handler_that_is_killed,
       a_handler_that_exits, errors_are_found_at_once]},
     {once, [],
      [code_runs_once, nothing_but_the_result_comes_out_of_a_call,
       suspension_required_is_only_a_name]}].

init_per_suite(Config) ->
    py_call_case:start(2, Config).

end_per_suite(Config) ->
    py_call_case:stop(Config).

init_per_testcase(Case, Config) ->
    py_call_case:watch(Case, Config).

end_per_testcase(Case, Config) ->
    py_call_case:unwatch(Case, Config, fun eventually:silence/0).

%% Names

names_are_atoms_binaries_or_strings(_) ->
    [begin
         ok = py:register_function(Name, fun([X]) -> {Name, X} end),
         ?assertMatch({_, 7}, in(?CASES, by_call, [<<"näme"/utf8>>, 7])),
         ok = py:unregister_function(Other),
         ?assertMatch(#{text := <<"Function 'näme' not registered"/utf8>>},
                      in(?CASES, failure, [<<"näme"/utf8>>, 7]))
     end || {Name, Other} <- [{'näme', "näme"}, {<<"näme"/utf8>>, 'näme'},
                              {"näme", <<"näme"/utf8>>}, {["n", <<"äm"/utf8>>, $e], 'näme'}]].

the_last_registration_counts(_) ->
    ok = py:register_function(name, fun(_) -> first end),
    ?assertEqual(<<"first">>, in(?CASES, by_call, [name])),
    ok = py:register_function("name", fun(_) -> second end),
    ?assertEqual(<<"second">>, in(?CASES, by_call, [name])),
    %% Also from inside of the one that goes.
    ok = py:register_function(name, fun(_) ->
                                            ok = py:register_function(name, fun(_) -> fourth end),
                                            third
                                    end),
    ?assertEqual(<<"third">>, in(?CASES, by_call, [name])),
    ?assertEqual(<<"fourth">>, in(?CASES, by_call, [name])).

an_unregistered_name_is_gone(_) ->
    echo(),
    ok = py:unregister_function(echo),
    ok = py_callback:unregister(echo),
    ok = py:unregister_function(<<"never was">>),
    ?assertEqual({error, not_found}, py_callback:lookup(echo)),
    ?assertMatch(#{reason := <<"not_registered">>}, in(?CASES, failure, [echo, 1])).

a_function_of_a_module(_) ->
    ok = py:register_function(sum, lists, sum),
    ?assertEqual(6, in(?CASES, by_call, [sum, 1, 2, 3])),
    ?assertMatch(#{text := <<"error: badarith">>}, in(?CASES, failure, [sum, [1], 2])),
    ok = py:register_function(reverse, lists, reverse),
    ?assertEqual([3, 2, 1], in(?CASES, by_call, [reverse, 1, 2, 3])).

registered_through_py_callback(_) ->
    ok = py_callback:register(count, fun(Args) -> length(Args) end),
    ?assertEqual(3, in(?CASES, by_call, [count, a, b, c])),
    ok = py_callback:register("count", {erlang, hd}),
    ?assertEqual(<<"a">>, in(?CASES, by_call, [count, a, b, c])),
    ?assertEqual({ok, {erlang, hd}}, py_callback:lookup(<<"count">>)).

what_cannot_be_registered(_) ->
    [?assertError(badarg, Register())
     || Register <- [fun() -> py:register_function(name, fun() -> 1 end) end,
                     fun() -> py:register_function(name, fun(_, _) -> 1 end) end,
                     fun() -> py:register_function(name, not_a_function) end,
                     fun() -> py:register_function(17, fun(X) -> X end) end,
                     fun() -> py:register_function([-1], fun(X) -> X end) end,
                     fun() -> py:register_function(<<255>>, lists, "sum") end,
                     fun() -> py_callback:register(name, {lists, sum, 1}) end,
                     fun() -> py_callback:register(name, {"lists", sum}) end,
                     fun() -> py_callback:unregister(17) end]],
    ?assertEqual({error, not_found}, py_callback:lookup(name)).

%% Nothing ends at a zero byte.
names_are_compared_whole(_) ->
    ok = py:register_function(<<"nul">>, fun(_) -> short end),
    ?assertMatch(#{text := <<"Function 'nul", 0, "name' not registered">>},
                 in(?CASES, failure, [<<"nul", 0, "name">>])),
    ok = py:register_function(<<"nul", 0, "name">>, fun(_) -> long end),
    ?assertEqual(<<"long">>, in(?CASES, by_call, [<<"nul", 0, "name">>])),
    ?assertEqual(<<"short">>, in(?CASES, by_call, [<<"nul">>])),
    Long = binary:copy(<<"x">>, 100000),
    ok = py:register_function(Long, fun(_) -> very_long end),
    ?assertEqual(<<"very_long">>, in(?CASES, by_call, [Long])).

a_registration_outlives_its_process(_) ->
    {Pid, Monitor} = spawn_monitor(fun() -> echo() end),
    receive {'DOWN', Monitor, process, Pid, normal} -> ok end,
    ?assertEqual(5, in(?CASES, by_call, [echo, 5])).

%% Attributes

three_ways_to_call(_) ->
    ok = py:register_function(add, fun([A, B]) -> A + B end),
    [?assertEqual(5, in(?CASES, Way, [add, 2, 3])) || Way <- [by_call, by_attribute, by_import]].

what_is_not_registered_is_no_attribute(_) ->
    {{<<"AttributeError">>, <<"module 'erlang' has no attribute 'nothing'">>},
     {<<"ImportError">>, Import}} = in(?CASES, not_there, [nothing]),
    ?assertMatch({_, _}, binary:match(Import, <<"nothing">>)),
    ?assertEqual([false, false], in(?CASES, has, [nothing, '__torch_function__'])).

hasattr_follows_registration_at_once(_) ->
    ok = py:register_function(register, fun([]) -> echo() end),
    ok = py:register_function(unregister, fun([]) -> py:unregister_function(echo) end),
    ?assertEqual([false, true, false],
                 in(?CASES, has_before_and_after, [echo, register, unregister])).

functions_have_a_name_and_are_equal(_) ->
    echo(),
    ?assertEqual([<<"<erlang function 'echo'>">>, <<"Function">>, <<"echo">>, true, true, true,
                  false],
                 in(?CASES, described, [echo])).

a_kept_function_may_lose_its_name(_) ->
    echo(),
    ok = py:register_function(unregister, fun([]) -> py:unregister_function(echo) end),
    ?assertEqual({<<"RuntimeError">>, <<"Function 'echo' not registered">>},
                 in(?CASES, kept_function, [echo, unregister])).

names_of_penstock_are_hidden(_) ->
    ?assertMatch({ok, _}, py_callback:lookup(<<"_py_callback_is_registered">>)),
    ?assertEqual([false], in(?CASES, has, ['_py_callback_is_registered'])).

attributes_of_the_package_come_first(_) ->
    ok = py:register_function(send, fun(_) -> error(not_this_one) end),
    ?assertEqual({ok, true},
                 py:eval(<<"__import__('erlang').send is __import__('erlang')._native.send">>)),
    ?assertMatch(#{text := <<"error: not_this_one">>}, in(?CASES, failure, [send])).

%% Terms

%% What Python writes, and what Erlang gets; taken back it is what it was.
arguments_arrive_as_they_were(_) ->
    Test = self(),
    ok = py:register_function(tell, fun([Value]) -> Test ! {told, Value}, Value end),
    [begin
         ?assertEqual({Expression, true}, {Expression, in(?CASES, evaluate, [Expression])}),
         {told, Told} = eventually:message(told),
         ?assert(Told =:= Expected)
     end || {Expression, Expected} <- terms()].

terms() ->
    [{<<"2**100">>, 1 bsl 100}, {<<"-2**64">>, -(1 bsl 64)}, {<<"-2**63">>, -(1 bsl 63)},
     {<<"2**63-1">>, (1 bsl 63) - 1}, {<<"0">>, 0}, {<<"3**5000">>, power(3, 5000)},
     {<<"0.1">>, 0.1}, {<<"1.7976931348623157e308">>, 1.7976931348623157e308},
     {<<"5e-324">>, 5.0e-324}, {<<"-2.5">>, -2.5}, {<<"1.0">>, 1.0},
     {<<"'back\\\\slash'">>, <<"back\\slash">>}, {<<"'\"\\''">>, <<"\"'">>},
     {<<"'new\\nline\\r\\t\\0'">>, <<"new\nline\r\t", 0>>}, {<<"'[]'">>, <<"[]">>},
     {<<"''">>, <<>>}, {<<"'\\u20ac \\U0001f600'">>, <<"€ 😀"/utf8>>},
     {<<"'None'">>, <<"None">>}, {<<"'{\"a\": 1}'">>, <<"{\"a\": 1}">>},
     {<<"[]">>, []}, {<<"()">>, {}}, {<<"{}">>, #{}}, {<<"[[], [[]], ()]">>, [[], [[]], {}]},
     {<<"[1, 2, 255]">>, [1, 2, 255]}, {<<"None">>, none}, {<<"True">>, true},
     {<<"False">>, false}, {<<"('error', 'x')">>, {<<"error">>, <<"x">>}},
     {<<"{'k': {1: (2.0, [None])}}">>, #{<<"k">> => #{1 => {2.0, [none]}}}},
     {<<"[0.1, 10**30, 'x', None, True]">>, [0.1, power(10, 30), <<"x">>, none, true]}].

power(_, 0) -> 1;
power(Base, N) -> Base * power(Base, N - 1).

results_arrive_as_they_were(_) ->
    Test = self(),
    [begin
         ok = py:register_function(give, fun([]) -> Result end),
         ?assert(in(?CASES, by_call, [give]) =:= Back)
     end || {Result, Back} <- [{ok, <<"ok">>}, {{error, x}, {<<"error">>, <<"x">>}},
                               {undefined, none}, {none, none}, {true, true}, {[], []},
                               {"", []}, {"abc", "abc"}, {<<0, 255>>, <<0, 255>>},
                               {Test, Test}, {#{a => "x"}, #{<<"a">> => "x"}},
                               {1 bsl 70, 1 bsl 70}, {-0.25, -0.25},
                               {<<"q\"\\'\n">>, <<"q\"\\'\n">>}]],
    Ref = make_ref(),
    ok = py:register_function(give, fun([]) -> {Ref, fun() -> Ref end} end),
    {Ref, Fun} = in(?CASES, by_call, [give]),
    ?assertEqual(Ref, Fun()).

no_arguments_and_many(_) ->
    ok = py:register_function(count, fun(Args) -> length(Args) end),
    [?assertEqual(Count, in(?CASES, by_call, [count | lists:seq(1, Count)]))
     || Count <- [0, 1, 2, 255, 256, 70000]].

large_arguments_and_results(_) ->
    echo(),
    [?assert(in(?CASES, by_call, [echo, Term]) =:= Term)
     || Term <- [binary:copy(<<"0123456789">>, 1000000), lists:seq(1, 200000),
                 [binary:copy(<<"x">>, 5000) || _ <- lists:seq(1, 200)]]].

pids_of_the_living_and_of_the_dead(_) ->
    echo(),
    Living = spawn(fun() -> receive stop -> ok end end),
    Dead = spawn(fun() -> ok end),
    eventually:true(fun() -> not is_process_alive(Dead) end),
    ?assertEqual([Living, Dead], in(?CASES, by_call, [echo, [Living, Dead]])),
    ?assertEqual(true, in(?CASES, send_to, [Dead])),
    ?assertEqual(none, in(?CASES, send_to, [Living])),
    exit(Living, kill).

wrong_calls_are_refused(_) ->
    Test = self(),
    ok = py:register_function(echo, fun(Args) -> Test ! {called, Args} end),
    Wrong = in(?CASES, wrong_calls, []),
    [begin
         {Class, Text} = maps:get(Name, Wrong),
         ?assertEqual({Name, Expected}, {Name, Class}),
         ?assertNotEqual({Name, Text, nomatch}, {Name, Text, string:find(Text, Part)})
     end || {Name, Expected, Part} <-
                [{<<"nothing">>, <<"TypeError">>, <<"name of a function">>},
                 {<<"bytes">>, <<"TypeError">>, <<"must be a string, not 'bytes'">>},
                 {<<"none">>, <<"TypeError">>, <<"must be a string">>},
                 {<<"atom">>, <<"TypeError">>, <<"must be a string">>},
                 {<<"number">>, <<"TypeError">>, <<"must be a string">>},
                 {<<"surrogate">>, <<"UnicodeEncodeError">>, <<"surrogates">>},
                 {<<"keyword">>, <<"TypeError">>, <<"call() takes no keyword arguments">>},
                 {<<"attribute keyword">>, <<"TypeError">>,
                  <<"echo() takes no keyword arguments">>},
                 {<<"object">>, <<"TypeError">>, <<"object">>},
                 {<<"inner object">>, <<"TypeError">>, <<"key">>},
                 {<<"evil">>, <<"LookupError">>, <<>>},
                 {<<"surrogate argument">>, <<"ValueError">>, <<"surrogate">>},
                 {<<"deep">>, <<"ValueError">>, <<>>},
                 {<<"cyclic">>, <<"ValueError">>, <<>>},
                 {<<"function">>, <<"TypeError">>, <<"builtin_function_or_method">>}]],
    ?assertEqual(15, map_size(Wrong)),
    usable(py:context(1)).

a_subclass_of_str_is_a_name(_) ->
    echo(),
    ?assertEqual(<<"text">>, in(?CASES, subclass_of_str, [])).

a_result_without_a_form_in_python(_) ->
    [begin
         ok = py:register_function(give, fun([]) -> Result end),
         #{text := Text, class := <<"error">>, reason := Reason} = in(?CASES, failure, [give]),
         ?assertMatch({_, _}, binary:match(Text, <<"what 'give' returned">>)),
         ?assertMatch({_, _}, binary:match(Text, atom_to_binary(Kind))),
         ?assertEqual({<<"unsupported">>, atom_to_binary(Kind)},
                      {element(1, Reason), element(2, Reason)})
     end || {Result, Kind} <- [{[a | b], improper_list}, {{1, [<<1:1>>]}, bitstring},
                               {#{#{} => 1}, unhashable_key}]],
    usable(py:context(1)).

%% Failures

failures_say_what_it_was(_) ->
    ok = py:register_function(fail, fun([<<"error">>, R]) -> error(R);
                                       ([<<"throw">>, R]) -> throw(R);
                                       ([<<"exit">>, R]) -> exit(R)
                                    end),
    [begin
         #{text := Text, class := Told, reason := Back, stack := Stack} =
             in(?CASES, failure, [fail, Class, Reason]),
         ?assertEqual(unicode:characters_to_binary([Class, ": ", Shown]), Text),
         ?assertEqual(Class, Told),
         ?assertEqual(Reason, Back),
         ?assertMatch({_, _}, binary:match(Stack, <<"py_callback_SUITE">>))
     end || Class <- [<<"error">>, <<"throw">>, <<"exit">>],
            {Reason, Shown} <- [{<<"why">>, "<<\"why\">>"}, {17, "17"}, {{1, []}, "{1,[]}"},
                                {<<"ä"/utf8>>, "<<\"ä\"/utf8>>"},
                                {#{<<"k">> => 1.5}, "#{<<\"k\">> => 1.5}"}]],
    %% Exactly these words.
    ok = py:register_function(divide, fun([A, B]) -> A div B end),
    ?assertMatch(#{text := <<"error: badarith">>, reason := <<"badarith">>},
                 in(?CASES, failure, [divide, 1, 0])),
    ok = py:register_function(leave, fun([]) -> exit(normal) end),
    ?assertMatch(#{text := <<"exit: normal">>, class := <<"exit">>}, in(?CASES, failure, [leave])).

a_reason_without_a_form_in_python(_) ->
    ok = py:register_function(fail, fun([]) -> error({bad, [a | b]}) end),
    ?assertMatch(#{text := <<"error: {bad,[a|b]}">>, class := <<"error">>,
                   reason := <<"{bad,[a|b]}">>},
                 in(?CASES, failure, [fail])).

a_long_reason_is_cut(_) ->
    ok = py:register_function(fail, fun([]) -> error(lists:seq(1, 1000000)) end),
    #{text := Text} = in(?CASES, failure, [fail]),
    ?assert(byte_size(Text) < 20000),
    ?assertMatch(<<"error: [1,2,3", _/binary>>, Text).

a_function_that_is_not_registered(_) ->
    ?assertMatch(#{text := <<"Function 'nowhere' not registered">>, class := <<"error">>,
                   reason := <<"not_registered">>, stack := <<>>},
                 in(?CASES, failure, [nowhere, 1])).

a_function_that_does_not_exist(_) ->
    ok = py:register_function(missing, lists, no_such_function),
    ?assertMatch(#{text := <<"error: undef">>, class := <<"error">>, reason := <<"undef">>},
                 in(?CASES, failure, [missing, 1])),
    ok = py:register_function(narrow, fun([only]) -> ok end),
    ?assertMatch(#{text := <<"error: function_clause">>}, in(?CASES, failure, [narrow, 1])).

a_failure_that_nobody_catches(_) ->
    ok = py:register_function(fail, fun([]) -> throw(<<"it">>) end),
    ?assertEqual({error, {'RuntimeError', "throw: <<\"it\">>"}},
                 py:call(py:context(1), ?CASES, let_through, [fail])),
    ?assertEqual({error, {'RuntimeError', "throw: <<\"it\">>"}},
                 py:eval(py:context(1), <<"__import__('erlang').call('fail')">>)),
    usable(py:context(1)).

%% An exception of Python that comes through a handler, and one whose cause is Erlang's.
exceptions_that_have_no_text(_) ->
    Context = py:context(1),
    ok = py:register_function(inner, fun([]) ->
                                             {error, Reason} =
                                                 py:call(Context, ?CASES, raise_bad_text, []),
                                             error(Reason)
                                     end),
    #{text := Text, reason := {Class, _}} = in(?CASES, failure, [inner]),
    ?assertEqual(<<"BadText">>, Class),
    ?assertMatch(<<"error: {'BadText',", _/binary>>, Text),
    ?assertMatch({error, {'BadText', _}}, py:call(Context, ?CASES, raise_from_failure, [inner])),
    usable(Context).

a_handler_that_is_killed(_) ->
    ok = py:register_function(die, fun([]) -> exit(self(), kill), receive never -> ok end end),
    ?assertMatch(#{text := <<"exit: killed">>, class := <<"exit">>, reason := <<"killed">>},
                 in(?CASES, failure, [die])),
    usable(py:context(1)),
    %% The first call of a thread, and one that another handler has answered before.
    [?assertMatch(#{text := <<"exit: killed">>}, in(?CASES, failure, [die]))
     || _ <- lists:seq(1, 100)],
    usable(py:context(1)).

%% By a signal of a process that it is linked to.
a_handler_that_exits(_) ->
    ok = py:register_function(die, fun([]) ->
                                           spawn_link(fun() -> exit(broken) end),
                                           receive never -> ok end
                                   end),
    ?assertMatch(#{text := <<"exit: broken">>, class := <<"exit">>, reason := <<"broken">>},
                 in(?CASES, failure, [die])),
    usable(py:context(1)).

errors_are_found_at_once(_) ->
    ok = py:register_function(die, fun([]) -> exit(self(), kill), receive never -> ok end end),
    ok = py:register_function(fail, fun([]) -> error(x) end),
    ok = py:register_function(give, fun([]) -> [a | b] end),
    [?assertMatch(#{class := _}, at_once(fun() -> in(?CASES, failure, [Name]) end))
     || Name <- [die, fail, give, nowhere]],
    ?assertMatch({{_, _}, {_, _}}, at_once(fun() -> in(?CASES, not_there, [nothing]) end)).

%% Once

%% What comes before a call runs once, however the code was started.
code_runs_once(_) ->
    Counter = counters:new(1, []),
    ok = py:register_function(step, fun([_]) -> counters:add(Counter, 1, 1) end),
    Expected = [<<"a">>, <<"b">>, <<"c">>],
    ?assertEqual({Expected, Expected}, in(?CASES, steps_of_calls, [])),
    ?assertEqual(3, counters:get(Counter, 1)),
    Context = py:context(1),
    ?assertEqual({ok, {Expected, Expected}},
                 py:eval(Context, <<"__import__('callback_cases').steps_of_calls()">>)),
    ?assertEqual(6, counters:get(Counter, 1)),
    ok = py:exec(Context, <<"import erlang\n"
                            "count = 0\n"
                            "for name in 'abc':\n"
                            "    count += 1\n"
                            "    erlang.call('step', name)\n"
                            "    count += 1\n">>),
    ?assertEqual({ok, 6}, py:eval(Context, <<"count">>)),
    ?assertEqual(9, counters:get(Counter, 1)).

nothing_but_the_result_comes_out_of_a_call(_) ->
    echo(),
    ?assertEqual({ok, 5}, py:call(py:context(1), ?CASES, caught_base, [echo, 5])),
    ?assertEqual({ok, 5}, py:eval(py:context(1),
                                  <<"__import__('callback_cases').caught_base('echo', 5)">>)).

suspension_required_is_only_a_name(_) ->
    ?assertEqual([true, false], in(?CASES, suspension, [])).

nothing_is_left(Config) ->
    eventually:counters_return_to(?config(counters, Config)).
