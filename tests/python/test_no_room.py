# SPDX-License-Identifier: Apache-2.0
"""Shared memory that cannot be had."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import textwrap

import erlang
from filters import FORBID, needs_filter

PATH = os.fspath(pathlib.Path(erlang.__file__).parents[1])
LARGE = 1 << 20
FALLOCATE = {"x86_64": 285, "aarch64": 47}.get(os.uname().machine, -1)
CHECK = """
    import errno, os, signal, time
    from resource import RLIM_INFINITY, RLIMIT_FSIZE, setrlimit
    from erlang import shared_channel
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    def create():
        return shared_channel(create=True, max_size=LARGE, content="bytes")
    def belongings():
        with open("/proc/self/maps") as maps:
            return len(os.listdir("/proc/self/fd")), maps.read().count("memfd:penstock")
    def refused(error):
        before = belongings()
        for _ in range(10):
            try:
                create()
            except OSError as failure:
                assert failure.errno == error, failure
            else:
                raise AssertionError("created")
        deadline = time.monotonic() + 30
        while belongings() != before:  # A channel's threads end a little later than it does.
            assert time.monotonic() < deadline, (before, belongings())
"""


def child(body: str) -> None:
    head = f"LARGE, FALLOCATE = {LARGE}, {FALLOCATE}"
    code = "\n".join(map(textwrap.dedent, (head, FORBID, CHECK, body)))
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": PATH},
                          text=True, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


@needs_filter
def test_no_memory_is_an_error_when_a_channel_is_made() -> None:
    child("""
        forbid([FALLOCATE], errno.ENOSPC)
        refused(errno.ENOSPC)
    """)


def test_a_limit_of_files_is_an_error_and_no_signal() -> None:
    child("""
        setrlimit(RLIMIT_FSIZE, (LARGE, RLIM_INFINITY))
        refused(errno.EFBIG)
        setrlimit(RLIMIT_FSIZE, (RLIM_INFINITY, RLIM_INFINITY))
        channel = create()
        channel.send_bytes(b"x" * LARGE)
        assert channel.receive_bytes() == b"x" * LARGE
    """)
