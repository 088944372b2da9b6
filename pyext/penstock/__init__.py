# SPDX-License-Identifier: Apache-2.0
"""The command `penstock`: `penstock top` and `penstock doctor`.

A package of its own, because `erlang` needs its extension: this one runs in any python3 from 3.11
on, also to say why the extension does not load.
"""

__version__ = "0.1.0"
