#!/usr/bin/env escript
%% SPDX-License-Identifier: Apache-2.0
%%
%% crash.escript [MESSAGES]
%%
%% Three Python workers, one inside the VM and two in processes of their own, take blocks from one
%% shared channel and put their digests into another. While the stream runs one of the processes is
%% killed with -9; another takes its place. What a worker had in its hands when it was killed is in
%% doubt: nobody can tell whether it was worked on, so it is sent once more.
%% Exit status 0 if each block was answered once, and correctly.
-mode(compile).

-define(BLOCK, 4096).
-define(QUEUE_BYTES, 256 * 1024).

main([]) ->
    main(["60000"]);
main([Messages]) ->
    Count = list_to_integer(Messages),
    {ok, _} = application:ensure_all_started(penstock),
    {ok, _} = application:ensure_all_started(crypto),
    Killed = new(#{mode => process, restart => permanent}),
    Contexts = [{"in the VM", new(#{})}, {"in a process", new(#{mode => process})},
                {"in the process after the kill", Killed}],
    {ok, Work} = py_channel:new(#{shared => true, max_size => ?QUEUE_BYTES}),
    {ok, Digests} = py_channel:new(#{shared => true, max_size => ?QUEUE_BYTES}),
    io:format("~nOne of three workers is killed while ~b blocks of ~b bytes go through them~n",
              [Count, ?BLOCK]),
    Workers = [worker(Name, Context, Work, Digests) || {Name, Context} <- Contexts],
    Block = crypto:strong_rand_bytes(?BLOCK - 4),
    Sender = send_in_background(Work, lists:seq(1, Count), Block),
    {ok, Pid} = py_context:os_pid(Killed),
    Seen = collect(Digests, Block, Count div 3, #{}),
    From = erlang:monotonic_time(microsecond),
    _ = os:cmd("kill -9 " ++ integer_to_list(Pid)),
    {Next, Recovered_us} = receive {again, Os, At} -> {Os, At - From} end,
    Rest = collect_until_sent(Digests, Block, Seen, Sender),
    InDoubt = [N || N <- lists:seq(1, Count), not is_map_key(N, Rest)],
    _ = send_in_background(Work, InDoubt, Block),
    All = collect(Digests, Block, Count - map_size(Rest), Rest),
    ok = py_channel:close(Work),
    Served = [receive {served, Worker, Name, Number} -> {Name, Number} end
              || {Worker, Name} <- Workers],
    report(Count, InDoubt, All, Served, Recovered_us, {Pid, Next}).

new(Opts) ->
    {ok, Context} = py_context:new(Opts),
    ok = add_path(Context),
    Context.

%% A process that takes another one's place knows nothing of what was done there.
add_path(Context) ->
    {ok, _} = py:eval(Context, <<"__import__('sys').path.insert(0, folder)">>,
                      #{folder => unicode:characters_to_binary(
                                    filename:dirname(filename:absname(escript:script_name())))}),
    ok.

%% Serves until the channel is closed; again if its process was killed.
worker(Name, Context, Work, Digests) ->
    Parent = self(),
    {spawn_link(fun() -> serve(Parent, Name, Context, Work, Digests) end), Name}.

serve(Parent, Name, Context, Work, Digests) ->
    case py:call(Context, pipeline, digest, [Work, Digests]) of
        {ok, Served} ->
            Parent ! {served, self(), Name, Served};
        {error, {worker_down, {signal, 9}}} ->
            {ok, Pid} = py:eval(Context, <<"__import__('os').getpid()">>),
            Parent ! {again, Pid, erlang:monotonic_time(microsecond)},
            ok = add_path(Context),
            serve(Parent, Name, Context, Work, Digests)
    end.

send_in_background(Work, Numbers, Block) ->
    {_, Monitor} = spawn_monitor(fun() ->
                                     [ok = py_channel:send(Work, {N, block(N, Block)}, infinity)
                                      || N <- Numbers]
                                 end),
    Monitor.

block(N, Block) -> {bytes, <<N:32, Block/binary>>}.

%% That many more digests.
collect(_Digests, _Block, 0, Seen) ->
    Seen;
collect(Digests, Block, Left, Seen) ->
    {ok, {N, Digest}} = py_channel:recv(Digests),
    collect(Digests, Block, Left - 1, note(N, Digest, Block, Seen)).

%% Until all blocks are sent and worked on, and no digest comes for a while.
collect_until_sent(Digests, Block, Seen, Sender) ->
    case py_channel:recv(Digests, 1000) of
        {ok, {N, Digest}} ->
            collect_until_sent(Digests, Block, note(N, Digest, Block, Seen), Sender);
        {error, timeout} ->
            receive {'DOWN', Sender, process, _, normal} -> Seen
            after 0 -> collect_until_sent(Digests, Block, Seen, Sender)
            end
    end.

note(N, Digest, Block, Seen) ->
    {bytes, Data} = block(N, Block),
    Digest = crypto:hash(sha256, Data),
    maps:update_with(N, fun(Times) -> Times + 1 end, 1, Seen).

report(Count, InDoubt, All, Served, Recovered_us, {Pid, Next}) ->
    [io:format("  ~-32ts~8b blocks~n", [Name, Number]) || {Name, Number} <- Served],
    Duplicated = length([N || {N, Times} <- maps:to_list(All), Times > 1]),
    Lost = Count - map_size(All),
    io:format("Killed   process ~b; process ~b answered ~.1f ms later~n",
              [Pid, Next, Recovered_us / 1000]),
    io:format("In doubt ~b, sent once more~n", [length(InDoubt)]),
    io:format("~b of ~b blocks answered, ~b lost, ~b duplicated~n",
              [map_size(All), Count, Lost, Duplicated]),
    halt(case {Lost, Duplicated} of {0, 0} -> 0; _ -> 1 end).
