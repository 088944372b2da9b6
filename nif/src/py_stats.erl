%% SPDX-License-Identifier: Apache-2.0
%% @doc What Penstock is doing on this node: what is behind {@link py:stats/0}.
-module(py_stats).

-export([stats/0]).
-export_type([stats/0, context_stats/0, link_stats/0, channel_stats/0, buffer_stats/0,
              output_stats/0]).

%% `contexts': of the default pool, of loops, and others. `loops': as {@link
%% py_event_loop_pool:get_stats/0}, and which run.
%%
%% `shared_channels' and `shared_buffers' of `shared_count' that there are, at most 1000. Of what
%% only this VM has there are numbers: `channels' that Erlang refers to, shared ones among them;
%% `buffers'; `waiters', processes of Erlang that wait for a channel or a buffer; `event_loops' of
%% `py_nif'; `interpreters' of `owngil' contexts; `calls' that exist, those that were answered and
%% not yet collected among them.
%%
%% `shared_bytes' of memory that other processes map, or can. `pinned_bytes' of large binaries that
%% queues and Python keep alive, and of Python's bytes that Erlang does. `atoms_created' by Python,
%% of `max_atoms'. `dropped_sends': answers and wake-ups whose process was gone. `output': bytes
%% that wait for `py_output', unless it does not run.
-type stats() :: #{contexts := [context_stats()],
                   loops := #{num_loops := non_neg_integer(), supported := boolean(),
                              owngil_enabled := boolean(), running := [py_loop:key()]},
                   shared_channels := [channel_stats()], shared_buffers := [buffer_stats()],
                   shared_count := non_neg_integer(),
                   channels := integer(), buffers := integer(), waiters := integer(),
                   event_loops := integer(), interpreters := integer(), calls := integer(),
                   shared_bytes := non_neg_integer(), pinned_bytes := integer(),
                   atoms_created := integer(), dropped_sends := integer(),
                   output := none | output_stats()}.

%% `place': the number in the default pool, the loop that it is, or `extra'. `state': `restarting'
%% while a process that ended has no successor yet. `running' and `queued': calls; a context runs
%% one after the other, a loop all at once. What was cancelled is in neither, even if it still runs.
%% `restarts': with `restart => permanent'. `os_pid' and `link': of the process that there is.
-type context_stats() :: #{context := pid(), place := pos_integer() | {loop, py_loop:key()} | extra,
                           mode := py_context:mode(), state := up | restarting,
                           running := non_neg_integer(), queued := non_neg_integer(),
                           restarts => non_neg_integer(), os_pid => pos_integer(),
                           link => link_stats()}.

%% Bytes in the two rings, each of 1 MiB; `has_more': more waits in the VM for room.
-type link_stats() :: #{to_worker := non_neg_integer(), from_worker := non_neg_integer(),
                        has_more := boolean()}.

%% `descriptor': by which `penstock top' calls it. `size' of `capacity' bytes are taken, `pinned'
%% of them by messages that some process reads where they lie. `waiting_*': those in this VM, and
%% one for each other process where somebody waits.
-type channel_stats() :: #{descriptor := integer(), content := terms | bytes,
                           size := non_neg_integer(), capacity := pos_integer(),
                           max_size := pos_integer(), closed := boolean(),
                           pinned := non_neg_integer(), waiting_for_data := non_neg_integer(),
                           waiting_for_space := non_neg_integer()}.

%% Bytes that were `read' and `written', by whichever process. `closed': its end was written, or
%% nobody will read. The others as of a channel.
-type buffer_stats() :: #{descriptor := integer(), read := non_neg_integer(),
                          written := non_neg_integer(), max_size := pos_integer(),
                          closed := boolean(), waiting_for_data := non_neg_integer(),
                          waiting_for_space := non_neg_integer()}.

-type output_stats() :: #{size := non_neg_integer(), max_size := pos_integer()}.

%% @doc See {@link py:stats/0}.
-spec stats() -> stats().
stats() ->
    Loops = maps:from_list(py_loop:all()),
    Counters = maps:remove(contexts, py_nif:debug_counters()),
    maps:merge(maps:merge(Counters, py_nif:node_stats()),
               #{contexts => [Stats || {Place, Context} <- lists:sort(py_context:all()),
                                       Stats <- context(Context, place(Place, Context, Loops))],
                 loops => (py_event_loop_pool:get_stats())#{
                              running => lists:sort(maps:values(Loops))}}).

place(Index, _Context, _Loops) when is_integer(Index) -> Index;
place(_Place, Context, Loops) ->
    case Loops of
        #{Context := Key} -> {loop, Key};
        #{} -> extra
    end.

%% None: it has just ended.
context(Context, Place) ->
    case {py_context:lookup(Context), py_context:mode(Context)} of
        {{ok, Native}, {ok, Mode}} ->
            [maps:merge(native(Native, Place),
                        maps:from_list([{context, Context}, {place, Place}, {mode, Mode}]
                                       ++ [{restarts, Number}
                                           || {ok, Number} <- [py_context:restarts(Context)]]
                                       ++ [{os_pid, OsPid}
                                           || {ok, OsPid} <- [py_context:os_pid(Context)]]))];
        _ ->
            []
    end.

native(none, _Place) ->
    #{state => restarting, running => 0, queued => 0};
native(Native, Place) ->
    {Calls, Stats} = maps:take(calls, py_nif:context_stats(Native)),
    {Running, Queued} = calls(Place, Calls),
    Stats#{state => up, running => Running, queued => Queued}.

%% A loop is one call, in which tasks run.
calls({loop, _Key}, Calls) -> {max(Calls - 1, 0), 0};
calls(_Place, 0) -> {0, 0};
calls(_Place, Calls) -> {1, Calls - 1}.
