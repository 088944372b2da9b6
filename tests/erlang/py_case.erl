%% SPDX-License-Identifier: Apache-2.0
%% Python halves of test cases.
-module(py_case).

-include_lib("common_test/include/ct.hrl").

-export([add_path/1, add_path/2, path_code/1, caller/4]).

%% Makes the modules of tests/erlang/python importable in every context of the pool: they share an
%% interpreter.
add_path(Config) ->
    py:exec(path_code(Config)).

%% In one context.
add_path(Context, Config) ->
    py:exec(Context, path_code(Config)).

path_code(Config) ->
    Folder = filename:join(filename:dirname(filename:dirname(?config(data_dir, Config))), "python"),
    ["import sys\nsys.dont_write_bytecode = True\n"
     "if '", Folder, "' not in sys.path: sys.path.insert(0, '", Folder, "')\n"].

%% A call that keeps no reference to its arguments while it waits: the function is entered with them
%% in registers, and only the answer is left to receive.
caller(Context, Module, Function, Arguments) ->
    fun() -> py:call(Context, Module, Function, Arguments) end.
