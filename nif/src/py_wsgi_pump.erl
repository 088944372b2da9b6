%% SPDX-License-Identifier: Apache-2.0
%% @private
%% Moves a body from where it comes from into the buffer that the application reads, in a process of
%% its own: it waits for the client and for the application, so that its owner need not.
%%
%% The owner receives {Tag, prebuffered} once enough is there, and {Tag, {ended, Result, Total}}
%% when nothing more will come; then the buffer is closed or aborted. If the process ends before it
%% could say that, because it was killed, {Tag, _Monitor, process, _Process, Reason} comes instead:
%% the owner lives on, and can answer its client. The other way round, a pump never outlives its
%% owner, for which a third process watches both: the pump is somewhere in the code of a source.
-module(py_wsgi_pump).

-export([start/3, progress/1, is_waiting/1, is_over/1, stop/1]).
-export_type([pump/0, result/0]).

-record(pump, {process :: pid(), monitor :: reference(), tag :: reference(),
               gauge :: atomics:atomics_ref()}).
-opaque pump() :: #pump{}.

%% `unwanted': the application does not read any more.
-type result() :: ok | {error, unwanted | limit | too_long | {source, term()}}.

%% Positions in the gauge.
-define(WRITTEN, 1).
-define(PHASE, 2).
%% Values of the phase.
-define(READING, 0).
-define(WRITING, 1).
-define(OVER, 2).

%% Of the state of the process itself, which collects nothing: what a client sends goes to the
%% buffer, or is refused. Headers after a chunked body are the exception that this bounds.
-define(MAX_HEAP_WORDS, 256 * 1024).

%% @doc Starts it for the caller, which gets the messages, tagged with the reference.
-spec start(py_buffer:buffer(), Prebuffer :: pos_integer(), py_wsgi:source()) ->
    {pump(), reference()}.
start(Buffer, Prebuffer, Source) ->
    Owner = self(),
    Tag = make_ref(),
    Gauge = atomics:new(2, []),
    {Process, Monitor} =
        spawn_opt(fun() -> run(Buffer, Prebuffer, Source, Owner, Tag, Gauge) end,
                  [{monitor, [{tag, Tag}]},
                   {max_heap_size, #{size => ?MAX_HEAP_WORDS, kill => true,
                                     error_logger => true}}]),
    {#pump{process = Process, monitor = Monitor, tag = Tag, gauge = Gauge}, Tag}.

%% @doc How many bytes have been written.
-spec progress(pump()) -> non_neg_integer().
progress(#pump{gauge = Gauge}) ->
    atomics:get(Gauge, ?WRITTEN).

%% @doc Whether it waits for the application, and not for the client.
-spec is_waiting(pump()) -> boolean().
is_waiting(#pump{gauge = Gauge}) ->
    atomics:get(Gauge, ?PHASE) =:= ?WRITING.

%% @doc Whether the source has come to its end, so that the message that says so is imminent.
-spec is_over(pump()) -> boolean().
is_over(#pump{gauge = Gauge}) ->
    atomics:get(Gauge, ?PHASE) =:= ?OVER.

%% @doc Ends it, wherever it is, and returns when it has: nobody reads from the client any more, and
%% no message of it is left.
-spec stop(pump()) -> ok.
stop(#pump{process = Process, monitor = First, tag = Tag} = Pump) ->
    true = erlang:demonitor(First),
    %% Of its own: what the first had to say may have been received.
    Monitor = erlang:monitor(process, Process),
    %% One that is over is about to give the buffer its reason.
    is_over(Pump) orelse exit(Process, kill),
    receive {'DOWN', Monitor, process, _, _} -> ok end,
    flush(Tag).

flush(Tag) ->
    receive
        {Tag, _} -> flush(Tag);
        {Tag, _, process, _, _} -> flush(Tag)
    after 0 ->
        ok
    end.

run(Buffer, Prebuffer, Source, Owner, Tag, Gauge) ->
    Pump = self(),
    _ = spawn_link(fun() -> guard(Owner, Pump) end),
    ok = py_buffer:controlling_process(Buffer, self()),
    Write = fun(Chunk) -> write(Chunk, Buffer, Prebuffer, Owner, Tag, Gauge) end,
    Result = outcome(run_source(Source, Write), get(Tag)),
    ok = atomics:put(Gauge, ?PHASE, ?OVER),
    %% The owner is told before the application can be, and so before what that makes of it.
    Owner ! {Tag, {ended, Result, atomics:get(Gauge, ?WRITTEN)}},
    ok = case Result of
             ok -> py_buffer:close(Buffer);
             {error, Reason} -> py_buffer:abort(Buffer, reason(Reason))
         end.

%% Linked to the pump, which would have nobody to end it if this were killed.
guard(Owner, Pump) ->
    Owned = erlang:monitor(process, Owner),
    Pumping = erlang:monitor(process, Pump),
    receive
        {'DOWN', Owned, process, _, _} -> exit(Pump, kill);
        {'DOWN', Pumping, process, _, _} -> true
    end.

%% HTTP servers report a client that left by exiting.
run_source(Source, Write) ->
    try Source(Write)
    catch
        exit:Reason -> {error, Reason};
        throw:Reason -> {error, Reason};
        error:Reason:Stack ->
            logger:error("penstock: the source of a body failed: ~p~n~p", [Reason, Stack]),
            {error, Reason}
    end.

%% What a write has failed with says more than what the source made of it.
outcome(ok, undefined) -> ok;
outcome({error, Reason}, undefined) -> {error, {source, Reason}};
outcome(_, Failure) -> {error, Failure}.

reason({source, _}) -> disconnected;
reason(Reason) -> Reason.

%% No piece is larger than what the buffer takes.
write(Chunk, Buffer, Prebuffer, Owner, Tag, Gauge) when byte_size(Chunk) > Prebuffer ->
    <<Piece:Prebuffer/binary, Rest/binary>> = Chunk,
    case write(Piece, Buffer, Prebuffer, Owner, Tag, Gauge) of
        ok -> write(Rest, Buffer, Prebuffer, Owner, Tag, Gauge);
        {error, _} = Error -> Error
    end;
write(Chunk, Buffer, Prebuffer, Owner, Tag, Gauge) ->
    ok = atomics:put(Gauge, ?PHASE, ?WRITING),
    Result = case py_buffer:write(Buffer, Chunk) of
                 busy ->
                     %% More than this cannot be there before somebody reads.
                     Owner ! {Tag, prebuffered},
                     py_buffer:write(Buffer, Chunk, infinity);
                 Other ->
                     Other
             end,
    ok = atomics:put(Gauge, ?PHASE, ?READING),
    case Result of
        ok ->
            Size = byte_size(Chunk),
            Total = atomics:add_get(Gauge, ?WRITTEN, Size),
            Total >= Prebuffer andalso Total - Size < Prebuffer andalso
                (Owner ! {Tag, prebuffered}),
            ok;
        {error, Reason} ->
            _ = put(Tag, failure(Reason)),
            {error, Reason}
    end.

failure(limit) -> limit;
failure(too_long) -> too_long;
failure(_) -> unwanted.
