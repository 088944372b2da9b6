%% SPDX-License-Identifier: Apache-2.0
%% @doc What a dependent application does first: a message through a channel to Python and back.
-module(consumer).

-export([main/0]).

-spec main() -> no_return().
main() ->
    {ok, _} = application:ensure_all_started(consumer),
    {ok, Channel} = py_channel:new(#{max_size => 65536}),
    {Serving, Monitor} = spawn_monitor(fun() -> serve(Channel) end),
    ok = py_channel:send(Channel, {question, self(), 21}),
    Answer = receive
        {answer, Number} -> Number;
        {'DOWN', Monitor, process, Serving, Reason} -> exit(Reason)
    end,
    ok = py_channel:close(Channel),
    receive {'DOWN', Monitor, process, Serving, normal} -> ok end,
    io:format("answer ~p from ~ts~n", [Answer, code:priv_dir(penstock)]),
    halt(0).

%% Python's names belong to the process that made them.
serve(Channel) ->
    ok = py:exec(<<"import erlang\n"
                   "def serve(ref):\n"
                   "    for _, pid, number in erlang.Channel(ref):\n"
                   "        erlang.reply(pid, ('answer', 2 * number))\n"
                   "    return 'done'\n">>),
    {ok, <<"done">>} = py:eval(<<"serve(ref)">>, #{ref => Channel}).
