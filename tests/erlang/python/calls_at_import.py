# SPDX-License-Identifier: Apache-2.0
"""Calls Erlang while it is imported, so with its import lock held."""

import erlang

value = erlang.call('at_import', 1)
