%% SPDX-License-Identifier: Apache-2.0
%% Calls over a {packet, 4} port to a python3 (port_functions.py), and how calls are timed.

%% In us.
timed(Fun) ->
    From = erlang:monotonic_time(),
    _ = Fun(),
    erlang:convert_time_unit(erlang:monotonic_time() - From, native, nanosecond) / 1000.

p50(Values) -> lists:nth(length(Values) div 2, lists:sort(Values)).

per_second(Number, Count, Make) ->
    Pids = [spawn_monitor(fun() ->
        Call = Make(N),
        receive start -> ok end,
        _ = [Call() || _ <- lists:seq(1, Count)],
        ok
    end) || N <- lists:seq(1, Number)],
    From = erlang:monotonic_time(microsecond),
    _ = [Pid ! start || {Pid, _} <- Pids],
    _ = [receive {'DOWN', Monitor, process, _, normal} -> ok end || {_, Monitor} <- Pids],
    Number * Count * 1.0e6 / (erlang:monotonic_time(microsecond) - From).

open_baseline() ->
    Script = filename:join(filename:dirname(escript:script_name()), "port_functions.py"),
    open_port({spawn_executable, os:find_executable("python3", "/usr/bin")},
              [{packet, 4}, binary, {args, [Script]}]).

frame(Tag) -> <<"c", Tag:64, 2.0/float, 2.0/float>>.

port_latency(Count) ->
    Port = open_baseline(),
    Times = [timed(fun() ->
        true = port_command(Port, frame(1)),
        receive {Port, {data, <<"r", 1:64, 4.0/float>>}} -> ok end
    end) || _ <- lists:seq(1, Count)],
    port_close(Port),
    p50(Times).

%% One process has the port, and gives each answer to whom it is for.
port_callers(Number, Count) ->
    Owner = spawn_link(fun() -> own(open_baseline(), #{}, 0) end),
    Rate = per_second(Number, Count, fun(_) ->
        fun() ->
            Owner ! {call, self()},
            receive {answer, 4.0} -> ok end
        end
    end),
    Owner ! stop,
    Rate.

own(Port, Waiting, Tag) ->
    receive
        {call, Pid} ->
            true = port_command(Port, frame(Tag)),
            own(Port, Waiting#{Tag => Pid}, Tag + 1);
        {Port, {data, <<"r", Done:64, Value/float>>}} ->
            {Pid, Rest} = maps:take(Done, Waiting),
            Pid ! {answer, Value},
            own(Port, Rest, Tag);
        stop ->
            port_close(Port)
    end.
