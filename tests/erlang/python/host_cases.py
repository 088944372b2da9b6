# SPDX-License-Identifier: Apache-2.0
"""For py_process_host_SUITE: kills a VM, and sees when its workers end."""

import contextlib
import os
import select
import signal
import time
from pathlib import Path


def marked(mark):
    """Processes that have this in their environment; one that has ended has none any more."""
    for folder in Path('/proc').glob('[0-9]*'):
        with contextlib.suppress(OSError):
            if mark.encode() in (folder / 'environ').read_bytes().split(b'\0'):
                yield int(folder.name)


def name_of(pid):
    with contextlib.suppress(OSError):
        return Path(f'/proc/{pid}/comm').read_text().strip()
    return ''


def names_of(mark):
    return [name_of(pid) for pid in marked(mark)]


class Deaths:
    """By pidfds: a zombie is dead."""

    def __init__(self):
        self.poll = select.poll()
        self.pids = {}
        self.times = {}

    def watch(self, pid):
        descriptor = os.pidfd_open(pid)
        self.pids[descriptor] = pid
        self.poll.register(descriptor, select.POLLIN)
        return descriptor

    def wait_for(self, pids):
        until = time.monotonic() + 20
        while not self.times.keys() >= set(pids) and time.monotonic() < until:
            for descriptor, _ in self.poll.poll(100):
                self.times[self.pids[descriptor]] = time.monotonic()
                self.poll.unregister(descriptor)
                os.close(descriptor)


def kill_host(host, workers, mark):
    """Milliseconds from the host's death to that of each of these workers and of all others, and
    how many these were: on a busy machine all that is late is late by the same."""
    deaths = Deaths()
    for pid in workers:
        deaths.watch(pid)
    signal.pidfd_send_signal(deaths.watch(host), signal.SIGKILL)
    deaths.wait_for([host])
    # Such as were just being started.
    others = [pid for pid in marked(mark)
              if pid not in workers and name_of(pid) != 'erl_child_setup']
    for pid in list(others):
        try:
            deaths.watch(pid)
        except ProcessLookupError:
            others.remove(pid)
    deaths.wait_for([*workers, *others])
    late = {pid for pid in (*workers, *others) if pid not in deaths.times}
    if late:
        raise AssertionError(f'alive: {[(pid, name_of(pid)) for pid in late]}')
    return [max(0, round(1000 * (deaths.times[pid] - deaths.times[host])))
            for pid in (*workers, *others)], len(others)
