%% SPDX-License-Identifier: Apache-2.0
%% What py:stats/0 says, and the command `penstock top', which looks at this VM from outside.
-module(py_stats_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-define(CASES, process_cases).
-define(SHARED, shared_cases).
-define(TIMEOUT, 30_000).

suite() ->
    [{timetrap, {seconds, 120}}].

all() ->
    [{group, stats}, {group, top}, nothing_is_left].

groups() ->
    [{stats, [],
      [a_node_at_rest, busy_contexts, tasks_of_loops, a_stopped_process, a_process_that_ended,
       a_process_that_is_started_again, shared_channels, what_is_kept_alive, many_look_at_once,
       without_the_application]},
     {top, [],
      [what_passes, channels_under_traffic, a_full_channel, who_waits, read_in_place, a_buffer,
       a_channel_that_is_closed,
       a_link_that_is_full, what_the_vm_counts, a_worker_process, the_only_node,
       it_leaves_nothing]}].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_process_case:prepare(Config),
    {ok, Python} = py:eval(<<"__import__('sys').executable">>),
    [{python, binary_to_list(Python)}, {counters, py_nif:debug_counters()},
     {fds, py_process_case:fds()}, {maps, py_process_case:maps()} | Config].

end_per_suite(Config) ->
    eventually:counters_return_to(?config(counters, Config)),
    ok = application:stop(penstock).

init_per_testcase(_Case, Config) ->
    Config.

end_per_testcase(_Case, _Config) ->
    py_process_case:end_of_case().

%% py:stats/0

a_node_at_rest(_) ->
    Stats = #{contexts := Contexts, loops := Loops} = py:stats(),
    Pool = [Context || #{context := Context, place := Place} <- Contexts, is_integer(Place)],
    ?assertEqual(py_context_router:contexts(), Pool),
    [?assertMatch(#{mode := worker, state := up, running := 0, queued := 0}, Each)
     || Each <- Contexts],
    #{num_loops := Count, running := Running} = Loops,
    ?assertEqual(lists:seq(1, Count) ++ [async, default], Running),
    ?assertEqual(lists:sort([{loop, Key} || Key <- Running]),
                 lists:sort([Place || #{place := {loop, _} = Place} <- Contexts])),
    ?assertMatch(#{output := #{size := 0, max_size := 1048576}, shared_channels := [],
                   shared_count := 0, event_loops := 0}, Stats),
    %% Each counter that there is.
    ?assertEqual([], maps:keys(py_nif:debug_counters()) -- maps:keys(Stats)).

%% One that runs, two that wait for it: in the VM, and in a process.
busy_contexts(Config) ->
    {ok, Thread} = py_context:new(),
    ok = py_case:add_path(Thread, Config),
    [begin
         Calls = [in_background(Context, ?CASES, spin, []) || _ <- [1, 2, 3]],
         eventually:equal({1, 2}, fun() -> calls(Context) end),
         {error, timeout} = py:call(Context, ?CASES, spin, [], #{timeout => 1}),
         ?assertEqual({1, 2}, calls(Context)),
         ok = py_context:stop(Context),
         [{error, _} = result(Each) || Each <- Calls],
         ?assertEqual(none, context(Context))
     end || Context <- [Thread, new(Config)]].

%% A loop runs all at once.
tasks_of_loops(Config) ->
    ok = py_event_loop:exec(py_case:path_code(Config)),
    {ok, Source} = py_channel:new(),
    Refs = [py_event_loop:create_task(stats_cases, receive_one, [Source]) || _ <- [1, 2]],
    eventually:equal([{2, 0}], fun() -> loop_calls(default) end),
    [ok = py_channel:send(Source, N) || N <- [1, 2]],
    ?assertEqual([{ok, 1}, {ok, 2}],
                 lists:sort([py_event_loop:await(Ref, ?TIMEOUT) || Ref <- Refs])),
    eventually:equal([{0, 0}], fun() -> loop_calls(default) end).

loop_calls(Key) ->
    [{Running, Queued} || #{place := {loop, Loop}, running := Running, queued := Queued}
                              <- maps:get(contexts, py:stats()), Loop =:= Key].

%% Its ring is full, and more waits; nobody waits for it here.
a_stopped_process(Config) ->
    Context = new(Config),
    {ok, Pid} = py_context:os_pid(Context),
    ?assertMatch(#{os_pid := Pid, link := #{has_more := false}}, context(Context)),
    py_process_case:signal("STOP", Pid),
    Calls = fill(Context),
    #{link := Link} = context(Context),
    #{to_worker := Queued, from_worker := 0, has_more := true} = Link,
    ?assert(Queued > 500_000 andalso Queued =< 1 bsl 20),
    ?assertEqual({1, length(Calls) - 1}, calls(Context)),
    py_process_case:signal("CONT", Pid),
    [{ok, _} = result(Each) || Each <- Calls],
    eventually:equal({0, 0}, fun() -> calls(Context) end),
    %% An answer is delivered before its room is given back.
    eventually:equal(#{to_worker => 0, from_worker => 0, has_more => false},
                     fun() -> maps:get(link, context(Context)) end).

%% Calls of more than the ring holds.
fill(Context) ->
    Large = binary:copy(<<"x">>, 100_000),
    Calls = [in_background(Context, ?CASES, identity, [Large]) || _ <- lists:seq(1, 20)],
    eventually:waiting_for_answers(Calls),
    Calls.

a_process_that_ended(Config) ->
    Context = new(Config),
    {ok, Pid} = py_context:os_pid(Context),
    Call = in_background(Context, ?CASES, spin, []),
    eventually:equal({1, 0}, fun() -> calls(Context) end),
    py_process_case:kill(Pid),
    {error, {worker_down, {signal, 9}}} = result(Call),
    eventually:equal(none, fun() -> context(Context) end).

a_process_that_is_started_again(Config) ->
    Context = py_process_case:new(Config, #{restart => permanent}),
    #{restarts := 0, state := up, os_pid := First} = context(Context),
    %% The second one that ends soon leaves a pause behind it.
    [begin
         #{os_pid := Pid} = context(Context),
         py_process_case:kill(Pid),
         eventually:true(fun() ->
                             case context(Context) of
                                 #{state := up, restarts := N, os_pid := Next} -> Next =/= Pid;
                                 #{state := restarting, running := 0, queued := 0} = Stats
                                   when not is_map_key(os_pid, Stats), N > 1 -> true;
                                 Other -> Other
                             end
                         end)
     end || N <- [1, 2]],
    eventually:true(fun() ->
                        case context(Context) of
                            #{state := up, restarts := 2, os_pid := Last} -> Last =/= First;
                            Other -> Other
                        end
                    end).

shared_channels(_) ->
    #{shared_bytes := Before} = py:stats(),
    {ok, Terms} = py_channel:new(#{shared => true, max_size => 65536}),
    {ok, Bytes} = py_byte_channel:new(#{shared => true, max_size => 1024}),
    [ok = py_channel:send(Terms, N) || N <- [1, 2, 3]],
    ok = py_channel:close(Terms),
    Waiting = eventually:worker(fun() -> py_byte_channel:recv(Bytes, ?TIMEOUT) end),
    eventually:waiting([Waiting]),
    #{shared_channels := Channels, shared_count := 2, shared_bytes := Bytes2} = py:stats(),
    ?assertMatch([#{content := bytes, size := 0, max_size := 1024, closed := false,
                    waiting_for_data := 1, waiting_for_space := 0},
                  #{content := terms, size := 192, max_size := 65536, capacity := 262144,
                    closed := true, waiting_for_data := 0}],
                 lists:sort(fun(#{content := A}, #{content := B}) -> A =< B end, Channels)),
    ?assert(Bytes2 >= Before + 262144 + 2048),
    [{ok, N} = py_channel:recv(Terms, 0) || N <- [1, 2, 3]],
    ok = py_byte_channel:send(Bytes, <<"x">>),
    {ok, <<"x">>} = result(Waiting).

what_is_kept_alive(_) ->
    #{pinned_bytes := Before, channels := Channels} = py:stats(),
    {ok, Channel} = py_channel:new(),
    ok = py_channel:send(Channel, binary:copy(<<"x">>, 1_000_000)),
    #{pinned_bytes := Now, channels := More} = py:stats(),
    ?assertEqual({Before + 1_000_000, Channels + 1}, {Now, More}),
    {ok, _} = py_channel:recv(Channel, 0).

%% While contexts come and go.
many_look_at_once(_) ->
    Looking = [eventually:worker(fun() -> [py:stats() || _ <- lists:seq(1, 200)], done end)
               || _ <- lists:seq(1, 4)],
    [begin
         {ok, Context} = py_context:new(),
         {ok, _} = py_channel:new(#{shared => true}),
         {ok, 3} = py:eval(Context, <<"1 + 2">>),
         ok = py_context:stop(Context)
     end || _ <- lists:seq(1, 20)],
    [done = result(Each) || Each <- Looking].

without_the_application(Config) ->
    ok = application:stop(penstock),
    ?assertMatch(#{contexts := [], loops := #{running := []}, output := none}, py:stats()),
    {ok, _} = application:ensure_all_started(penstock),
    ok = py_process_case:prepare(Config).

%% penstock top

%% What lies in a channel, and how much passes, to the message.
what_passes(_) ->
    Context = py:context(1),
    {ok, Channel} = py_channel:new(#{shared => true, max_size => 1024}),
    #{shared_channels := [#{descriptor := Descriptor}]} = py:stats(),
    Look = fun() ->
               {ok, #{Descriptor := Found}} =
                   py:call(Context, stats_cases, look, [list_to_binary(package())]),
               Found
           end,
    {0, 0, none} = Look(),
    %% Round the ring, so that some lie before its end and some behind.
    [begin
         [ok = py_channel:send(Channel, N) || N <- lists:seq(1, 10)],
         [{ok, N} = py_channel:recv(Channel, 0) || N <- lists:seq(1, 4)],
         {6, 384, {2.5, 64.0, 64.0}} = Look(),
         [{ok, N} = py_channel:recv(Channel, 0) || N <- lists:seq(5, 10)],
         [ok = py_channel:send(Channel, binary:copy(<<"x">>, 200)) || _ <- [1, 2, 3]],
         %% What lies unused at the ring's end is part of the record behind it.
         {3, Used, {0.5, Each, 64.0}} = Look(),
         true = Used >= 768 andalso Used =< 960 andalso Each >= 256.0 andalso Each =< 320.0,
         [{ok, _} = py_channel:recv(Channel, 0) || _ <- [1, 2, 3]],
         ok = py_channel:send(Channel, 1),
         {ok, 1} = py_channel:recv(Channel, 0),
         {0, 0, _} = Look()
     end || _ <- lists:seq(1, 20)],
    {ok, none} = py:call(Context, stats_cases, drop, []).

channels_under_traffic(Config) ->
    [Sender, Receiver] = [new(Config) || _ <- [1, 2]],
    {ok, Between} = py_channel:new(#{shared => true}),
    Running = [in_background(Sender, ?SHARED, send_for_ever, [Between, 100]),
               in_background(Receiver, ?SHARED, take_for_ever, [Between])],
    {ok, SenderPid} = py_context:os_pid(Sender),
    {ok, ReceiverPid} = py_context:os_pid(Receiver),
    %% Once both are at it.
    eventually:true(fun() ->
                        #{<<"channels">> := [Channel], <<"members">> := Members,
                          <<"links">> := Links} = top(Config, self),
                        #{<<"rates">> := Rates, <<"senders">> := Senders,
                          <<"mapped_by">> := Mapped} = Channel,
                        Number = number_of(SenderPid, Members),
                        %% A worker may have written over it: other suites have that done.
                        Vm = [N || #{<<"pid">> := Pid, <<"number">> := N} <- Members,
                                   integer_to_list(Pid) =:= os:getpid()],
                        ?assert(lists:member(Vm, [[0], []])),
                        ?assertEqual(lists:sort([SenderPid, ReceiverPid]),
                                     lists:sort([Pid || #{<<"worker">> := Pid} <- Links])),
                        plausible(Rates) andalso lists:member(Number, Senders)
                            andalso lists:member(ReceiverPid, Mapped)
                    end),
    [ok = py_context:stop(Context) || Context <- [Sender, Receiver]],
    [{error, _} = result(Each) || Each <- Running].

plausible(#{<<"in_bytes">> := InBytes, <<"out_bytes">> := OutBytes, <<"in_messages">> := In,
            <<"out_messages">> := Out}) ->
    is_float(In) andalso is_float(Out) andalso In > 0 andalso Out > 0
        andalso InBytes >= 64 * In andalso OutBytes >= 64 * Out andalso InBytes =< 320 * In.

number_of(OsPid, Members) ->
    hd([Number || #{<<"pid">> := Pid, <<"number">> := Number} <- Members, Pid =:= OsPid]).

a_full_channel(Config) ->
    {ok, Full} = py_byte_channel:new(#{shared => true, max_size => 1024}),
    Count = fill_channel(Full, 0),
    Waiting = eventually:worker(fun() -> py_byte_channel:send(Full, <<"late">>, ?TIMEOUT) end),
    eventually:waiting([Waiting]),
    #{<<"channels">> := [Channel]} = top(Config, self),
    ?assertMatch(#{<<"content">> := <<"bytes">>, <<"fill">> := 1.0, <<"messages">> := Count,
                   <<"messages_are_exact">> := true, <<"max_size">> := 1024,
                   <<"waiting_for_space">> := [0], <<"waiting_for_data">> := [],
                   <<"senders">> := [0], <<"taking">> := none, <<"unfinished">> := [],
                   <<"rates">> := #{<<"in_messages">> := 0.0, <<"out_bytes">> := 0.0}}, Channel),
    {ok, _} = py_byte_channel:recv(Full, 0),
    ok = result(Waiting).

fill_channel(Channel, Count) ->
    case py_byte_channel:send(Channel, <<"full">>) of
        ok -> fill_channel(Channel, Count + 1);
        busy -> Count
    end.

who_waits(Config) ->
    Context = new(Config),
    {ok, Pid} = py_context:os_pid(Context),
    {ok, Empty} = py_channel:new(#{shared => true}),
    Waiting = [in_background(Context, ?SHARED, receive_one, [Empty]),
               eventually:worker(fun() -> py_channel:recv(Empty, ?TIMEOUT) end)],
    eventually:equal({2, 0}, fun() -> py_nif:debug_waiting(Empty) end),
    #{<<"channels">> := [#{<<"waiting_for_data">> := Numbers}], <<"members">> := Members} =
        top(Config, self),
    ?assertEqual([0, number_of(Pid, Members)], Numbers),
    Text = top_text(Config, [os:getpid(), "--once"]),
    ?assertMatch({match, _}, re:run(Text, ["\\d+ +terms +0% .* 0,", integer_to_list(
                                               number_of(Pid, Members))])),
    [ok = py_channel:send(Empty, N) || N <- [1, 2]],
    ?assertEqual([{ok, 1}, {ok, 2}], lists:sort([result(Each) || Each <- Waiting])).

read_in_place(Config) ->
    Context = new(Config),
    {ok, Source} = py_byte_channel:new(#{shared => true, max_size => 65536}),
    [ok = py_byte_channel:send(Source, binary:copy(<<"x">>, Size)) || Size <- [60_000, 100]],
    {ok, 60_000} = py:call(Context, ?SHARED, keep_in_place, [Source]),
    #{shared_channels := [#{pinned := Pinned, size := Size}]} = py:stats(),
    ?assertEqual({(60_000 + 63) div 64 * 64, Pinned + 128}, {Pinned, Size}),
    #{<<"channels">> := [Channel], <<"members">> := Members} = top(Config, self),
    {ok, Pid} = py_context:os_pid(Context),
    Number = number_of(Pid, Members),
    ?assertMatch(#{<<"pinned">> := Pinned, <<"readers">> := [Number], <<"used">> := Size,
                   <<"messages">> := 1}, Channel),
    {ok, none} = py:call(Context, ?SHARED, release_kept, []),
    ?assertMatch(#{shared_channels := [#{pinned := 0, size := 128}]}, py:stats()),
    ?assertMatch(#{<<"channels">> := [#{<<"pinned">> := 0, <<"readers">> := []}]},
                 top(Config, self)),
    {ok, _} = py_byte_channel:recv(Source, 0).

%% A worker has read some of it, and waits for no more.
a_buffer(Config) ->
    Context = new(Config),
    {ok, Buffer} = py_buffer:new(#{shared => true, max_size => 65536}),
    ok = py_buffer:write(Buffer, binary:copy(<<"x">>, 10_000)),
    #{shared_buffers := [#{descriptor := Descriptor} = Unread], shared_count := 1} = py:stats(),
    ?assertMatch(#{read := 0, written := 10_000, max_size := 65536, closed := false,
                   waiting_for_data := 0, waiting_for_space := 0}, Unread),
    {ok, _} = py:call(Context, buffer_cases, read_some, [Buffer, 4000]),
    ok = py_buffer:close(Buffer),
    ?assertMatch(#{shared_buffers := [#{read := 4000, written := 10_000, closed := true}]},
                 py:stats()),
    #{<<"buffers">> := [Shown]} = top(Config, self),
    ?assertMatch(#{<<"descriptor">> := Descriptor, <<"max_size">> := 65536,
                   <<"unread">> := 6000, <<"state">> := <<"closed">>, <<"in_bytes">> := 0.0,
                   <<"out_bytes">> := 0.0}, Shown),
    #{<<"used">> := Used} = Shown,
    ?assert(Used >= 6000 andalso Used =< 10_000),
    ?assertMatch({match, _}, re:run(top_text(Config, [os:getpid(), "--once"]),
                                    "\\n +\\d+ +\\d+% +6000 +0 +0 .* closed\\n")),
    %% It lives until here.
    #{written := 10_000} = py_buffer:info(Buffer).

a_channel_that_is_closed(Config) ->
    {ok, Channel} = py_channel:new(#{shared => true}),
    [ok = py_channel:send(Channel, N) || N <- [1, 2, 3]],
    ok = py_channel:close(Channel),
    ?assertMatch(#{<<"channels">> := [#{<<"closed">> := true, <<"messages">> := 3,
                                        <<"used">> := 192}]}, top(Config, self)),
    [{ok, N} = py_channel:recv(Channel, 0) || N <- [1, 2, 3]].

%% Its worker is stopped.
a_link_that_is_full(Config) ->
    Context = new(Config),
    {ok, Pid} = py_context:os_pid(Context),
    py_process_case:signal("STOP", Pid),
    Calls = fill(Context),
    #{<<"links">> := [#{<<"worker">> := Pid, <<"to_worker">> := To, <<"to_vm">> := From}]} =
        top(Config, self),
    #{link := #{to_worker := Used}} = context(Context),
    ?assertMatch(#{<<"used">> := Used, <<"capacity">> := 1048576, <<"sender_wants_room">> := true,
                   <<"bytes_per_second">> := 0.0}, To),
    ?assertMatch(#{<<"used">> := 0, <<"sender_wants_room">> := false}, From),
    py_process_case:signal("CONT", Pid),
    [{ok, _} = result(Each) || Each <- Calls].

what_the_vm_counts(Config) ->
    {ok, Channel} = py_channel:new(),
    ok = py_channel:send(Channel, binary:copy(<<"x">>, 1_000_000)),
    #{<<"node">> := Node} = top(Config, self),
    ?assertEqual([], [{Key, Counted, Value}
                      || {Key, Value} <- maps:to_list(py_nif:debug_counters()),
                         Key =/= interpreters, Key =/= calls,
                         Counted <- [maps:get(atom_to_binary(Key), Node)], Counted =/= Value]),
    {ok, _} = py_channel:recv(Channel, 0).

a_worker_process(Config) ->
    Context = new(Config),
    {ok, Pid} = py_context:os_pid(Context),
    #{<<"hint">> := Hint, <<"links">> := [_], <<"channels">> := []} = top(Config, Pid),
    ?assertMatch({match, _}, re:run(Hint, ["its node, process ", os:getpid()])).

%% If others run on this machine it asks which one.
the_only_node(Config) ->
    Text = top_text(Config, ["--once"]),
    ?assertMatch({match, _}, re:run(Text, ["\\b", os:getpid(), "\\b"])).

%% No descriptor, no mapping, and no word that is changed.
it_leaves_nothing(Config) ->
    {ok, Channel} = py_channel:new(#{shared => true}),
    [ok = py_channel:send(Channel, N) || N <- lists:seq(1, 100)],
    Stats = fun() -> maps:get(shared_channels, py:stats()) end,
    {Files, Mappings, Channels} = {py_process_case:fds(), mappings(), Stats()},
    _ = [top(Config, self) || _ <- [1, 2, 3]],
    %% What other cases had may have gone meanwhile.
    ?assertEqual([], py_process_case:fds() -- Files),
    ?assertEqual([], mappings() -- Mappings),
    ?assertEqual([], Stats() -- Channels),
    [{ok, N} = py_channel:recv(Channel, 0) || N <- lists:seq(1, 100)].

mappings() ->
    {ok, Maps} = file:read_file("/proc/self/maps"),
    [Line || Line <- binary:split(Maps, <<"\n">>, [global]),
             binary:match(Line, <<"/memfd:penstock">>) =/= nomatch].

nothing_is_left(Config) ->
    py_process_case:nothing_is_left(Config).

%% Helpers

new(Config) ->
    py_process_case:new(Config).

in_background(Context, Module, Function, Args) ->
    eventually:worker(fun() -> py:call(Context, Module, Function, Args) end).

result(Worker) ->
    receive {worker, Worker, Result} -> Result
    after ?TIMEOUT -> error({no_result, Worker})
    end.

context(Context) ->
    case [Stats || #{context := Pid} = Stats <- maps:get(contexts, py:stats()), Pid =:= Context] of
        [Stats] -> Stats;
        [] -> none
    end.

calls(Context) ->
    #{running := Running, queued := Queued} = context(Context),
    {Running, Queued}.

package() ->
    filename:join(py_nif:priv_dir(), "python").

top(Config, self) ->
    top(Config, os:getpid());
top(Config, Pid) when is_integer(Pid) ->
    top(Config, integer_to_list(Pid));
top(Config, Pid) ->
    Line = top_text(Config, [Pid, "--once", "--json", "--interval", "0.05"]),
    {ok, Look} = py:call(py:context(1), json, loads, [Line]),
    Look.

top_text(Config, Words) ->
    list_to_binary(os:cmd(lists:join($\s, ["PYTHONPATH='" ++ package() ++ "'",
                                           ?config(python, Config), "-B -m penstock top"
                                           | Words]))).
