%% SPDX-License-Identifier: Apache-2.0
%% @private
%% What a context with the mode `process' is started with, and when it is started again.
-module(py_worker).

-export([is_valid/1, start/2, restarts/1, kills/1, pause/2]).

%% Between the end of a process and the start of the next one, unless the one that ended ran for
%% `STEADY_MS': nothing after the first time, then this, then twice as long each time.
-define(FIRST_PAUSE_MS, 100).
-define(LONGEST_PAUSE_MS, 10000).
-define(STEADY_MS, 10000).
-define(MAX_DOUBLINGS, 10).

%% @doc Whether all options are known, and have values that may be.
-spec is_valid(map()) -> boolean().
is_valid(Opts) ->
    try maps:fold(fun(Key, Value, ok) -> _ = setting(Key, Value), ok end, ok, Opts) of
        ok -> true
    catch
        error:_ -> false
    end.

%% What the native code wants to have. Fails if it cannot be.
setting(mode, process) -> <<>>;
setting(Key, Path) when Key =:= python; Key =:= cwd -> text(Path);
setting(env, Env) -> lists:map(fun({[_ | _] = Name, Value}) -> text([Name, $=, Value]) end, Env);
setting(memory_limit, Bytes) when is_integer(Bytes), Bytes > 0, Bytes < 1 bsl 63 -> Bytes;
setting(restart, How) when How =:= permanent; How =:= temporary -> How;
setting(on_timeout, What) when What =:= interrupt; What =:= kill -> What.

text(Characters) ->
    Text = unicode:characters_to_binary(Characters),
    nomatch = binary:match(Text, <<0>>),
    Text.

%% @doc Starts the process, which belongs to the caller; see {@link py_nif:process_new/6}.
-spec start(map(), reference()) ->
    {ok, py_nif:context(), OsPid :: pos_integer()} | {error, {python, binary()}}.
start(Opts, Ended) ->
    Python = executable(maps:get(python, Opts, application:get_env(penstock, python, ""))),
    Package = unicode:characters_to_binary(filename:join(py_nif:priv_dir(), "python")),
    Cwd = case Opts of
        #{cwd := Folder} -> setting(cwd, Folder);
        #{} -> <<>>
    end,
    Env = setting(env, environment(maps:get(env, Opts, []))),
    py_nif:process_new(Ended, Python, Package, Cwd, Env, maps:get(memory_limit, Opts, 0)).

%% What is not found is for the system to complain of.
executable(Python) ->
    Text = setting(python, Python),
    case Text =/= <<>> andalso os:find_executable(unicode:characters_to_list(Text)) of
        false -> Text;
        Path -> unicode:characters_to_binary(filename:absname(Path))
    end.

environment(Changes) ->
    maps:to_list(maps:merge(maps:from_list(os:env()), maps:from_list(Changes))).

%% @doc Whether another process takes the place of one that has ended.
-spec restarts(map()) -> boolean().
restarts(Opts) ->
    maps:get(restart, Opts, temporary) =:= permanent.

%% @doc Whether a call that takes too long ends the process.
-spec kills(map()) -> boolean().
kills(Opts) ->
    maps:get(on_timeout, Opts, interrupt) =:= kill.

%% @doc How long to wait before the next start, in ms, after so many ends in a row, the last of
%% which came `Lived' ms after the start; and how many these are now.
-spec pause(non_neg_integer(), non_neg_integer()) -> {non_neg_integer(), pos_integer()}.
pause(_Ends, Lived) when Lived >= ?STEADY_MS -> {0, 1};
pause(0, _Lived) -> {0, 1};
pause(Ends, _Lived) ->
    Doubled = ?FIRST_PAUSE_MS bsl min(Ends - 1, ?MAX_DOUBLINGS),
    {min(Doubled, ?LONGEST_PAUSE_MS), Ends + 1}.
