#!/usr/bin/env escript
%% SPDX-License-Identifier: Apache-2.0
%%
%% evaluate.escript erlang FILE    evaluates the expressions of FILE, which share their variables
%% evaluate.escript python FILE    executes FILE in a Python context
%%
%% Both in a VM in which penstock is started. Exit status 1 and the reason if anything raises.

-mode(compile).

main([Language, File]) ->
    {ok, _} = application:ensure_all_started(penstock),
    {ok, Code} = file:read_file(File),
    try run(Language, Code) of
        _ -> halt(0)
    catch
        Class:Reason:Stack ->
            io:format("~ts~n", [erl_error:format_exception(Class, Reason, Stack)]),
            halt(1)
    end.

run("python", Code) ->
    ok = py:exec(Code);
run("erlang", Code) ->
    {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list(Code)),
    evaluate(Tokens, erl_eval:new_bindings()).

evaluate([], Bindings) ->
    Bindings;
evaluate(Tokens, Bindings) ->
    {Form, [Dot | Rest]} = lists:splitwith(fun(Token) -> element(1, Token) =/= dot end, Tokens),
    {ok, Expressions} = erl_parse:parse_exprs(Form ++ [Dot]),
    {value, _, After} = erl_eval:exprs(Expressions, Bindings),
    evaluate(Rest, After).
