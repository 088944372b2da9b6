# SPDX-License-Identifier: Apache-2.0
"""Writes the stacks of all Python threads into a file when a test takes too long. The thread that
does it needs no GIL, so it works in a deadlock."""

import faulthandler

file = None


def start(path, seconds):
    global file
    file = open(path, 'w')
    faulthandler.dump_traceback_later(seconds, file=file)


def stop():
    global file
    faulthandler.cancel_dump_traceback_later()
    if file is not None:
        file.close()
        file = None
