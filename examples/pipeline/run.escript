#!/usr/bin/env escript
%% SPDX-License-Identifier: Apache-2.0
%%
%% run.escript [DIR]
%%
%% Sends every file under DIR (default: Python's standard library) through one bounded channel to
%% two Python workers, which compute its sha256, lines and words; checks every digest against
%% Erlang's own.
%% Exit status 0 if all digests were verified.
%%
%% Needs penstock on the code path:
%% ERL_LIBS=_build/default/lib escript examples/pipeline/run.escript
-mode(compile).

-define(WORKERS, 2).
-define(QUEUE_BYTES, 16 * 1024 * 1024).
-define(TERMINAL_REDRAW_MS, 100).
-define(LOG_REDRAW_MS, 2000).

%% What the collector knows. `sent' is the sender's count, known when it has finished.
-record(progress, {total, started, redraw_ms, terminal, channel, files,
                   done = 0, bytes = 0, verified = 0, wrong = [], results = [], latencies = [],
                   skipped = [], sent = unknown, busy = 0, workers}).

main(Arguments) ->
    ok = start(),
    Dir = directory(Arguments),
    case files(Dir) of
        {error, Reason} ->
            io:format("~ts: ~ts~n", [shown(Dir), file:format_error(Reason)]),
            halt(1);
        {[], Unreadable} ->
            report_skipped(Unreadable),
            io:format("Nothing to do: ~ts holds no files.~n", [shown(Dir)]);
        {Files, Unreadable} ->
            io:format("~b files in ~ts, ~b Python workers, queue of ~b MiB~n",
                      [length(Files), shown(Dir), ?WORKERS, ?QUEUE_BYTES div (1024 * 1024)]),
            Progress = run(Files, Unreadable),
            report(Progress),
            halt(status(Progress))
    end.

start() ->
    ok = application:load(penstock),
    ok = application:set_env(penstock, num_contexts, ?WORKERS),
    {ok, _} = application:ensure_all_started(penstock),
    {ok, _} = application:ensure_all_started(crypto),
    %% All contexts share one interpreter, so one of them can set the path for all.
    {ok, _} = py:eval(<<"__import__('sys').path.insert(0, folder)">>,
                      #{folder => unicode:characters_to_binary(
                                    filename:dirname(filename:absname(escript:script_name())))}),
    ok.

directory([Dir]) when Dir =/= "" ->
    unicode:characters_to_binary(Dir);
directory(_) ->
    {ok, Dir} = py:eval(<<"__import__('sysconfig').get_path('stdlib')">>),
    Dir.

%% Walking

%% All regular files below, largest trees included, links not followed; and what could not be read.
files(Dir) ->
    case file:list_dir_all(Dir) of
        {ok, Names} -> walk([filename:join(Dir, raw(Name)) || Name <- lists:sort(Names)], [], []);
        {error, _} = Error -> Error
    end.

walk([], Files, Unreadable) ->
    {lists:reverse(Files), Unreadable};
walk([Path | Rest], Files, Unreadable) ->
    case file:read_link_info(Path, [raw]) of
        {ok, Info} when element(3, Info) =:= regular ->
            walk(Rest, [Path | Files], Unreadable);
        {ok, Info} when element(3, Info) =:= directory ->
            case file:list_dir_all(Path) of
                {ok, Names} ->
                    Inside = [filename:join(Path, raw(Name)) || Name <- lists:sort(Names)],
                    walk(Inside ++ Rest, Files, Unreadable);
                {error, Reason} ->
                    walk(Rest, Files, [{Path, Reason} | Unreadable])
            end;
        {ok, _LinkOrDevice} ->
            walk(Rest, Files, Unreadable);
        {error, Reason} ->
            walk(Rest, Files, [{Path, Reason} | Unreadable])
    end.

raw(Name) when is_binary(Name) -> Name;
raw(Name) -> unicode:characters_to_binary(Name).

%% Running

run(Files, Unreadable) ->
    {ok, Channel} = py_channel:new(#{max_size => ?QUEUE_BYTES}),
    Expected = ets:new(expected, [public]),
    Workers = [start_worker(Index, Channel) || Index <- lists:seq(1, ?WORKERS)],
    Collector = self(),
    _ = spawn_link(fun() -> send_files(Files, Channel, Expected, Collector, 0, 0) end),
    Terminal = is_terminal(),
    Progress = collect(#progress{total = length(Files), started = now_us(), channel = Channel,
                                 files = Expected, skipped = Unreadable, workers = Workers,
                                 terminal = Terminal,
                                 redraw_ms = case Terminal of
                                                 true -> ?TERMINAL_REDRAW_MS;
                                                 false -> ?LOG_REDRAW_MS
                                             end}, now_us()),
    Progress.

start_worker(Index, Channel) ->
    Context = py:context(Index),
    {_, Monitor} = spawn_monitor(fun() ->
                                     exit({worker, py:call(Context, pipeline, work, [Channel])})
                                 end),
    Monitor.

send_files([], Channel, _Expected, Collector, Sent, Busy) ->
    ok = py_channel:close(Channel),
    Collector ! {sender_done, Sent, Busy};
send_files([Path | Rest], Channel, Expected, Collector, Sent, Busy) ->
    case file:read_file(Path) of
        {ok, Content} ->
            true = ets:insert(Expected, {Path, crypto:hash(sha256, Content), byte_size(Content),
                                         now_us()}),
            Message = {work, Collector, Path, {bytes, Content}},
            case send(Channel, Message) of
                {ok, Waits} ->
                    send_files(Rest, Channel, Expected, Collector, Sent + 1, Busy + Waits);
                {error, Reason} ->
                    Collector ! {skipped, Path, Reason},
                    send_files(Rest, Channel, Expected, Collector, Sent, Busy)
            end;
        {error, Reason} ->
            Collector ! {skipped, Path, Reason},
            send_files(Rest, Channel, Expected, Collector, Sent, Busy)
    end.

%% How often the gate was closed: 0 or 1.
send(Channel, Message) ->
    case py_channel:send(Channel, Message) of
        ok ->
            {ok, 0};
        busy ->
            case py_channel:send(Channel, Message, infinity) of
                ok -> {ok, 1};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

collect(#progress{sent = Sent, done = Sent, workers = []} = Progress, _NextRedraw) ->
    draw(Progress),
    Progress#progress.terminal andalso io:nl(),
    Progress;
collect(Progress, NextRedraw) ->
    receive
        {result, Path, Digest, Lines, Words} ->
            collect(redraw(result(Path, Digest, Lines, Words, Progress), NextRedraw));
        {skipped, Path, Reason} ->
            Skipped = [{Path, Reason} | Progress#progress.skipped],
            collect(Progress#progress{skipped = Skipped}, NextRedraw);
        {sender_done, Sent, Busy} ->
            collect(Progress#progress{sent = Sent, busy = Busy}, NextRedraw);
        {'DOWN', Monitor, process, _, {worker, {ok, _Served}}} ->
            collect(without_worker(Monitor, Progress), NextRedraw);
        {'DOWN', Monitor, process, _, Reason} ->
            io:format("~na worker failed: ~tp~n", [Reason]),
            %% The others drain the channel; what this one had taken is missing at the end.
            collect(without_worker(Monitor, Progress), NextRedraw)
    after Progress#progress.redraw_ms ->
        case Progress#progress.workers of
            [] when Progress#progress.sent =/= unknown ->
                Progress;  % All workers ended, and what they replied has been read.
            _ ->
                draw(Progress),
                collect(Progress, next_redraw(Progress))
        end
    end.

collect({Progress, NextRedraw}) ->
    collect(Progress, NextRedraw).

without_worker(Monitor, #progress{workers = Workers} = Progress) ->
    Progress#progress{workers = lists:delete(Monitor, Workers)}.

result(Path, Digest, Lines, Words, #progress{done = Done, bytes = Bytes, results = Results,
                                             latencies = Latencies} = Progress) ->
    Now = now_us(),
    [{_, Expected, Size, Sent}] = ets:take(Progress#progress.files, Path),
    Next = Progress#progress{done = Done + 1, bytes = Bytes + Size,
                             results = [{Size, Path, Lines, Words} | Results],
                             latencies = [Now - Sent | Latencies]},
    case Digest of
        Expected -> Next#progress{verified = Progress#progress.verified + 1};
        _ -> Next#progress{wrong = [Path | Progress#progress.wrong]}
    end.

%% Reporting

redraw(Progress, NextRedraw) ->
    case now_us() >= NextRedraw of
        true ->
            draw(Progress),
            {Progress, next_redraw(Progress)};
        false ->
            {Progress, NextRedraw}
    end.

next_redraw(#progress{redraw_ms = Redraw_ms}) ->
    now_us() + Redraw_ms * 1000.

draw(#progress{total = Total, done = Done, bytes = Bytes, channel = Channel,
               terminal = Terminal} = Progress) ->
    #{size := Size, max_size := MaxSize} = py_channel:info(Channel),
    Seconds = seconds(Progress),
    Width = 30,
    Filled = Done * Width div Total,
    Line = io_lib:format("[~s~s] ~b/~b files  ~.1f MB/s  ~b messages/s  queue ~b %",
                         [lists:duplicate(Filled, $#), lists:duplicate(Width - Filled, $.),
                          Done, Total, Bytes / 1.0e6 / Seconds, round(Done / Seconds),
                          Size * 100 div MaxSize]),
    case Terminal of
        true -> io:format("\r~s\e[K", [Line]);
        false -> io:format("~s~n", [Line])
    end.

report(#progress{done = Done, bytes = Bytes, results = Results, verified = Verified, busy = Busy,
                 latencies = Latencies, skipped = Skipped, wrong = Wrong} = Progress) ->
    Seconds = seconds(Progress),
    {Lines, Words} = lists:foldl(fun({_, _, L, W}, {SumL, SumW}) -> {SumL + L, SumW + W} end,
                                 {0, 0}, Results),
    io:format("~nFiles    ~b (~.1f MB) in ~.2f s: ~.1f MB/s, ~b messages/s~n",
              [Done, Bytes / 1.0e6, Seconds, Bytes / 1.0e6 / Seconds, round(Done / Seconds)]),
    io:format("Content  ~b lines, ~b words~n", [Lines, Words]),
    Sorted = lists:sort(Latencies),
    io:format("Latency  p50 ~.2f ms, p99 ~.2f ms from send to reply~n",
              [percentile(Sorted, 50) / 1000, percentile(Sorted, 99) / 1000]),
    io:format("Gate     closed ~b times (busy)~n", [Busy]),
    io:format("Largest~n", []),
    [io:format("  ~10b bytes ~8b lines ~8b words  ~ts~n", [Size, L, W, shown(Path)])
     || {Size, Path, L, W} <- lists:sublist(lists:reverse(lists:sort(Results)), 10)],
    report_skipped(Skipped),
    [io:format("WRONG digest: ~ts~n", [shown(Path)]) || Path <- Wrong],
    io:format("~b of ~b digests verified~n", [Verified, expected(Progress)]).

report_skipped(Skipped) ->
    [io:format("skipped ~ts: ~ts~n", [shown(Path), reason(Reason)])
     || {Path, Reason} <- lists:reverse(Skipped)].

%% A file's name need not be UTF-8.
shown(Path) ->
    case unicode:characters_to_list(Path) of
        Text when is_list(Text) -> Text;
        _ -> binary_to_list(Path)
    end.

reason(too_large) -> "larger than the queue";
reason(closed) -> "the channel was closed";
reason(Reason) when is_atom(Reason) -> file:format_error(Reason);
reason(Reason) -> io_lib:format("~tp", [Reason]).

expected(#progress{sent = Sent}) -> Sent.

status(#progress{verified = Verified} = Progress) ->
    case expected(Progress) of
        Verified -> 0;
        _ -> 1
    end.

percentile([], _) -> 0;
percentile(Sorted, Percent) ->
    lists:nth(max(1, ceil(length(Sorted) * Percent / 100)), Sorted).

seconds(#progress{started = Started}) ->
    max(1, now_us() - Started) / 1.0e6.

now_us() ->
    erlang:monotonic_time(microsecond).

%% An escript has no shell that could tell, so ask what standard output is.
is_terminal() ->
    case file:read_link_all("/proc/self/fd/1") of
        {ok, "/dev/pts/" ++ _} -> true;
        {ok, "/dev/tty" ++ _} -> true;
        {ok, "/dev/console"} -> true;
        _ -> false
    end.
