%% SPDX-License-Identifier: Apache-2.0
%% Terms that a worker process sends and that are meant to do harm, and what the fuzzers keep: read
%% by the VM, refused, or as large as their length allows.
-module(py_bombs_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-define(MANY, 100_000).
-define(NIL, 106).

all() ->
    [claims_are_refused, strangers_are_refused, opaque_terms_are_of_their_kind,
     floods_are_bounded, keys_that_are_one, new_atoms_are_counted, what_fuzzers_keep].

init_per_suite(Config) ->
    {ok, _} = application:ensure_all_started(penstock),
    [{counters, py_nif:debug_counters()} | Config].

end_per_suite(Config) ->
    eventually:counters_return_to(?config(counters, Config)),
    ok = application:stop(penstock).

%% More is claimed than there is.
claims_are_refused(_) ->
    [begin
         [refused(<<Tag, Claim:32, ?NIL>>) || Tag <- [108, 105, 116, 109, 6, 7, 111]],
         refused(<<8, 1, Claim:32, 131, 90>>),
         refused(binary:copy(<<108, 1:32, 105, Claim:32>>, 1000))
     end || Claim <- [3, 16#7FFFFFFF, 16#80000000, 16#FFFFFFFF]].

%% What has no business between processes: other tags of external term format, addresses.
strangers_are_refused(_) ->
    Tags = [68, 80, 82, 77, 88, 89, 90, 99, 100, 101, 102, 103, 107, 112, 113, 114, 115, 117, 120,
            131, 0, 255],
    [refused(<<Tag, (binary:copy(<<1>>, 64))/binary>>) || Tag <- Tags],
    [refused(<<Tag, Kind, 16#41:64>>) || Tag <- [9, 10, 11], Kind <- [0, 1, 2, 3, 4, 255]],
    refused(<<4, 16#41:64/native>>),
    [refused(<<5, Word:64/native>>) || Word <- [0, 16#41, 16#3FB, 16#FFFFFFFFFFFFFFFF bxor 4]],
    [refused(<<70, Bits:64>>) || Bits <- [16#7FF8 bsl 48, 16#7FF0 bsl 48, 16#FFF0 bsl 48]],
    refused(<<108, 1:32, 97, 1, 97, 1>>),
    refused(<<119, 2, 255, 254>>),
    refused(<<118, 1021:16, (binary:copy(<<"a">>, 1021))/binary>>),
    refused(<<?NIL, ?NIL>>),
    refused(<<>>).

opaque_terms_are_of_their_kind(_) ->
    Terms = [{0, remote_pid()}, {1, make_ref()}, {2, hd(erlang:ports())}, {3, fun lists:map/2},
             {3, fun() -> ok end}],
    [begin
         External = term_to_binary(Term),
         Size = byte_size(External),
         ?assertEqual({ok, Term}, read(<<8, Kind, Size:32, External/binary>>)),
         [refused(<<8, Other, Size:32, External/binary>>)
          || Other <- [0, 1, 2, 3, 4, 255], Other =/= Kind],
         %% Something behind it, or not all of it.
         refused(<<8, Kind, (Size + 1):32, External/binary, 0>>),
         refused(<<8, Kind, (Size - 1):32, (binary:part(External, 0, Size - 1))/binary>>)
     end || {Kind, Term} <- Terms],
    [begin
         External = term_to_binary(Term, Options),
         refused(<<8, Kind, (byte_size(External)):32, External/binary>>)
     end || Kind <- [0, 1, 2, 3],
            {Term, Options} <- [{lists:duplicate(1000, 0), [compressed]}, {1, []}, {[self()], []}]].

%% Sixteen bytes of the heap for each that came, and some words.
floods_are_bounded(_) ->
    Nils = binary:copy(<<?NIL>>, ?MANY + 1),
    [begin
         {ok, Term} = read(Bytes),
         ?assert(erts_debug:flat_size(Term) * 8 =< 16 * byte_size(Bytes) + 64)
     end || Bytes <- [<<108, ?MANY:32, Nils/binary>>,
                      list_of(<<104, 0>>), list_of(<<116, 0:32>>), list_of(<<109, 0:32>>),
                      list_of(<<6, 0:32>>), list_of(<<7, 0:32>>), list_of(<<97, 1>>),
                      <<(binary:copy(<<104, 1>>, 9_999))/binary, ?NIL>>,
                      <<(binary:copy(<<108, 1:32>>, 9_999))/binary,
                        (binary:copy(<<?NIL>>, 10_000))/binary>>,
                      <<111, (2 * ?MANY):32, 0, (binary:copy(<<255>>, 2 * ?MANY))/binary>>,
                      <<111, (2 * ?MANY):32, 1, 0:(16 * ?MANY)>>]].

list_of(Element) ->
    <<108, ?MANY:32, (binary:copy(Element, ?MANY))/binary, ?NIL>>.

%% A key that comes twice is refused. Two that are equal in Python are not so here. Those that have
%% one hash there have not here.
keys_that_are_one(_) ->
    refused(<<116, 2:32, 97, 1, 109, 1:32, "a", 97, 1, 109, 1:32, "b">>),
    ?assertEqual({ok, #{1 => [], 1.0 => []}},
                 read(<<116, 2:32, 97, 1, ?NIL, 70, 1.0/float, ?NIL>>)),
    {ok, Map} = read(<<116, ?MANY:32, << <<110, 8, 0, (N * ((1 bsl 61) - 1)):64/little, ?NIL>>
                                         || N <- lists:seq(1, ?MANY) >>/binary>>),
    ?assert(map_size(Map) > 8).

%% They stay for ever, and so are few.
new_atoms_are_counted(_) ->
    Before = erlang:system_info(atom_count),
    Atoms = << <<119, (byte_size(Name)), Name/binary>>
               || N <- lists:seq(1, ?MANY),
                  Name <- [<<"py_bombs_", (integer_to_binary(N))/binary>>] >>,
    ?assertEqual({error, atom_limit}, read(<<108, ?MANY:32, Atoms/binary, ?NIL>>)),
    ?assert(erlang:system_info(atom_count) - Before < ?MANY).

what_fuzzers_keep(Config) ->
    Folder = filename:join([os:getenv("PENSTOCK_ROOT", root(Config)), "tests", "fuzz", "corpus"]),
    Kept = [Bytes || {Name, Prefix} <- [{"decoder.zip", 0}, {"python_decode.zip", 1}],
                     {ok, Files} <- [zip:unzip(filename:join(Folder, Name), [memory])],
                     {_, <<_:Prefix/binary, Bytes/binary>>} <- Files],
    ?assert(length(Kept) > 500),
    {Read, Refused} = lists:partition(fun(Bytes) -> is_read(read(Bytes)) end, Kept),
    ?assert(length(Read) > 100),
    ?assert(length(Refused) > 100).

is_read({ok, _}) -> true;
is_read({error, Reason}) when Reason =:= corrupt; Reason =:= atom_limit -> false.

root(Config) ->
    filename:join(lists:takewhile(fun(Part) -> Part =/= "_build" end,
                                  filename:split(?config(data_dir, Config)))).

refused(Bytes) ->
    Nested = [Bytes, <<104, 1, Bytes/binary>>, <<108, 1:32, Bytes/binary, ?NIL>>,
              <<116, 1:32, 97, 1, Bytes/binary>>],
    [?assertEqual({error, corrupt}, read(Each)) || Each <- Nested].

%% In a process of its own, whose heap is gone afterwards.
read(Bytes) ->
    {Reader, Monitor} = spawn_monitor(fun() -> exit({read, py_nif:debug_decode(Bytes)}) end),
    receive
        {'DOWN', Monitor, process, Reader, {read, Result}} -> Result
    end.

remote_pid() ->
    binary_to_term(<<131, 88, 119, 9, "some@node", 1:32, 0:32, 1:32>>).
