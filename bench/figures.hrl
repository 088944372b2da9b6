%% SPDX-License-Identifier: Apache-2.0
%% What the benchmark programs have in common: rows of {Name, Unit, fun((Context) -> Value)} are
%% measured in REPEAT rounds of all rows, so that a slow phase of the machine hits a row and its
%% baseline alike. Medians and spread (least, greatest) are printed and, with a file name as
%% argument, written as JSON.

-define(REPEAT, 7).

figures(Command, Rows, Arguments) ->
    {ok, _} = application:ensure_all_started(penstock),
    {ok, _} = py:start_contexts(),
    Ctx = py:context(1),
    Here = filename:absname(filename:dirname(escript:script_name())),
    ok = py:exec(Ctx, iolist_to_binary(["import sys; sys.path.insert(0, '", Here, "')"])),
    Machine = machine(),
    io:format("~ts~n~n", [maps:get(text, Machine)]),
    _ = [Run(Ctx) || {_, _, Run} <- Rows],
    Rounds = [[begin awake(), Run(Ctx) end || {_, _, Run} <- Rows] || _ <- lists:seq(1, ?REPEAT)],
    Measured = [print({Name, Unit, spread([lists:nth(N, Round) || Round <- Rounds])})
                || {N, {Name, Unit, _}} <- lists:enumerate(Rows)],
    [ok = file:write_file(File, json(Machine, Command, Measured)) || File <- Arguments],
    halt(0).

%% All processors busy for a while: virtual ones that have slept are slow at first, and whatever is
%% measured behind a row that sleeps would pay for it.
awake() ->
    Until = erlang:monotonic_time(millisecond) + 100,
    Busy = fun Busy() -> erlang:monotonic_time(millisecond) < Until andalso Busy() end,
    Monitors = [element(2, spawn_monitor(Busy))
                || _ <- lists:seq(1, erlang:system_info(schedulers))],
    _ = [receive {'DOWN', Monitor, process, _, _} -> ok end || Monitor <- Monitors],
    ok.

spread(Values) ->
    Sorted = lists:sort(Values),
    {lists:nth((?REPEAT + 1) div 2, Sorted), hd(Sorted), lists:last(Sorted)}.

%% Frames of a {packet, 4} port to a python3 that counts them.
port(Message, Count) ->
    Script = "import sys,struct\n"
             "read=sys.stdin.buffer.read\n"
             "n=int(sys.argv[1])\n"
             "for _ in range(n):\n"
             "    (size,)=struct.unpack('>I',read(4))\n"
             "    read(size)\n"
             "sys.stdout.buffer.write(struct.pack('>I',2)+b'ok')\n"
             "sys.stdout.buffer.flush()\n",
    port(Message, Count, ["-c", Script, integer_to_list(Count)]).

port(Message, Count, Arguments) ->
    Port = open_port({spawn_executable, os:find_executable("python3", "/usr/bin")},
                     [{packet, 4}, binary, exit_status, {args, Arguments}]),
    From = erlang:monotonic_time(microsecond),
    _ = [port_command(Port, term_to_binary(Message)) || _ <- lists:seq(1, Count)],
    receive {Port, {data, <<"ok">>}} -> ok end,
    To = erlang:monotonic_time(microsecond),
    receive {Port, {exit_status, 0}} -> ok end,
    Count * 1.0e6 / (To - From).

print({Name, Unit, {Median, Least, Greatest}} = Row) ->
    io:format("~-36ts ~14.1f ~-8ts  (~.1f to ~.1f)~n", [Name, Median, Unit, Least, Greatest]),
    Row.

machine() ->
    {ok, Python} = py:version(),
    Trim = fun(Command) -> string:trim(os:cmd(Command)) end,
    Values = #{cpu => Trim("grep -m1 'model name' /proc/cpuinfo | cut -d: -f2"),
               cores => erlang:system_info(logical_processors),
               kernel => Trim("uname -r"),
               otp => erlang:system_info(otp_release),
               python => Python,
               load => Trim("cut -d' ' -f1-3 /proc/loadavg"),
               commit => Trim("git rev-parse --short HEAD")},
    Values#{text => lists:join("\n", [io_lib:format("~-8ts ~ts", [K, to_text(V)])
                                      || {K, V} <- lists:sort(maps:to_list(Values))])}.

to_text(V) when is_integer(V) -> integer_to_list(V);
to_text(V) -> V.

%% Flat and known, so that no JSON library is needed: OTP 25 has none.
json(Machine, Command, Rows) ->
    Fields = [io_lib:format("  ~p: ~p", [atom_to_list(K), unicode:characters_to_list(to_text(V))])
              || {K, V} <- lists:sort(maps:to_list(maps:remove(text, Machine)))],
    Results = [io_lib:format("    {\"name\": ~p, \"unit\": ~p, \"median\": ~.1f, \"least\": ~.1f, "
                             "\"greatest\": ~.1f, \"runs\": ~b}", [Name, Unit, M, L, G, ?REPEAT])
               || {Name, Unit, {M, L, G}} <- Rows],
    ["{\n", lists:join(",\n", Fields), ",\n  \"command\": \"", Command, "\",\n"
     "  \"results\": [\n", lists:join(",\n", Results), "\n  ]\n}\n"].
