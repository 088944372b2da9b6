%% SPDX-License-Identifier: Apache-2.0
%% The few words of PropEr that the suites use. Debian's erlang-proper has the modules but not the
%% header.
-import(proper_types, [integer/0, integer/2, float/0, boolean/0, atom/0, binary/0, list/1,
                       loose_tuple/1, vector/2, oneof/1, frequency/1]).
-import(proper_unicode, [utf8/0]).

-define(FORALL(X, Type, Property), proper:forall(Type, fun(X) -> Property end)).
-define(LET(X, Type, Generator), proper_types:bind(Type, fun(X) -> Generator end, false)).
-define(SIZED(Size, Generator), proper_types:sized(fun(Size) -> Generator end)).
-define(LAZY(Generator), proper_types:lazy(fun() -> Generator end)).
