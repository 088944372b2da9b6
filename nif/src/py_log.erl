%% SPDX-License-Identifier: Apache-2.0
%% @private
%% Records of Python's logging as log events of Erlang.
-module(py_log).

-export([write/6]).
-export_type([where/0]).

-define(MAX_LINE, 16#7FFFFFFF).
%% The end of the year 9999 in microseconds.
-define(MAX_TIME, 253402300799999999).

%% File, line, logger, module, function, thread; `none' for what a record does not say.
-type where() :: {binary() | none, integer() | none, binary() | none, binary() | none,
                  binary() | none, binary() | none}.

%% @doc Logs a record. `Level' is Python's number, `Time' microseconds since 1970. The metadata is
%% that of Erlang's own events, and strings called `python_...'; `python_logger' is always there.
-spec write(integer() | none, pid() | none, Leader :: pid(), binary(), where(),
            integer() | none) -> ok.
write(Level, Caller, Leader, Text, {File, Line, Logger, Module, Function, Thread}, Time) ->
    Pairs = [{pid, Caller}, {file, text(File)}, {line, line(Line)}, {time, time(Time)},
             {python_module, text(Module)}, {python_function, text(Function)},
             {python_thread, text(Thread)}],
    Known = maps:from_list([Pair || {_, Value} = Pair <- Pairs, Value =/= none]),
    Name = case text(Logger) of none -> ""; Named -> Named end,
    logger:log(level(Level), shown(Text), Known#{gl => Leader, python_logger => Name}).

%% Numbers between two of Python's levels belong to the lower one; NOTICE, which is often 25, does
%% in Erlang have a name.
level(Level) when not is_integer(Level) -> error;
level(Level) when Level >= 50 -> critical;
level(Level) when Level >= 40 -> error;
level(Level) when Level >= 30 -> warning;
level(Level) when Level >= 25 -> notice;
level(Level) when Level >= 20 -> info;
level(_Level) -> debug.

%% A string, as Erlang's own `file' is: formatters show binaries as terms.
text(none) -> none;
text(Binary) -> unicode:characters_to_list(shown(Binary)).

%% A worker process may say that anything is UTF-8.
shown(Binary) ->
    case unicode:characters_to_binary(Binary) of
        Binary -> Binary;
        _ -> unicode:characters_to_binary(Binary, latin1)
    end.

%% What formatters can show; they are not prepared for anything else, and their handler would go.
line(Line) when is_integer(Line), Line > 0, Line =< ?MAX_LINE -> Line;
line(_Other) -> none.

time(Time) when is_integer(Time), Time >= 0, Time =< ?MAX_TIME -> Time;
time(_Other) -> none.
