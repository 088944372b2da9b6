%% SPDX-License-Identifier: Apache-2.0
%% @private
%% Records of Python's logging as log events of Erlang.
-module(py_log).

-export([write/6]).
-export_type([where/0]).

%% File, line, logger, module, function, thread; `none' for what a record does not say.
-type where() :: {binary() | none, integer() | none, binary() | none, binary() | none,
                  binary() | none, binary() | none}.

%% @doc Logs a record. `Level' is Python's number, `Time' microseconds since 1970.
-spec write(integer() | none, pid() | none, Leader :: pid(), binary(), where(),
            integer() | none) -> ok.
write(Level, Caller, Leader, Text, {File, Line, Logger, Module, Function, Thread}, Time) ->
    Pairs = [{pid, Caller}, {file, text(File)}, {line, line(Line)}, {time, Time},
             {python_logger, Logger}, {python_module, Module}, {python_function, Function},
             {python_thread, Thread}],
    Known = maps:from_list([Pair || {_, Value} = Pair <- Pairs, Value =/= none]),
    logger:log(level(Level), Text, Known#{gl => Leader}).

%% Numbers between two of Python's levels belong to the lower one; NOTICE, which is often 25, does
%% in Erlang have a name.
level(Level) when not is_integer(Level) -> error;
level(Level) when Level >= 50 -> critical;
level(Level) when Level >= 40 -> error;
level(Level) when Level >= 30 -> warning;
level(Level) when Level >= 25 -> notice;
level(Level) when Level >= 20 -> info;
level(_Level) -> debug.

%% A string, as Erlang's own `file'.
text(none) -> none;
text(Binary) -> unicode:characters_to_list(Binary).

line(Line) when is_integer(Line), Line > 0 -> Line;
line(_Unknown) -> none.
