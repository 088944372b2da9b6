%% SPDX-License-Identifier: Apache-2.0
%% A handler of `logger' that sends events to a test, as {event, Event}, from the process that logs.
-module(log_capture).

-export([start/0, stop/0, next/0, until/1, during/1]).
-export([log/2]).

start() ->
    logger:add_handler(?MODULE, ?MODULE, #{config => #{test => self()}, level => all}).

%% Returns what has come, and was not taken.
stop() ->
    ok = logger:remove_handler(?MODULE),
    collected().

%% Waits for an event.
next() ->
    {event, Event} = eventually:message(event),
    Event.

%% Waits for an event of Erlang whose text contains something.
until(Text) ->
    Event = next(),
    case string:find(text(Event), Text) of
        nomatch -> until(Text);
        _ -> Event
    end.

%% The events of the time in which a function runs.
during(Function) ->
    ok = start(),
    try Function() after logger:remove_handler(?MODULE) end,
    collected().

log(Event, #{config := #{test := Test}}) ->
    Test ! {event, Event},
    ok.

text(#{msg := {Format, Arguments}}) when is_list(Format) ->
    lists:flatten(io_lib:format(Format, Arguments));
text(#{}) ->
    "".

collected() ->
    receive {event, Event} -> [Event | collected()] after 0 -> [] end.
