%% SPDX-License-Identifier: Apache-2.0
%% What Erlang puts into the inbox of a Python thread: penstock::Operation in penstock/call.hpp.
-define(OPENED, 6).
-define(VALUE, 7).
-define(FAILURE, 8).
-define(DOWN, 9).
-define(STARTED, 12).
