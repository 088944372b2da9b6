# SPDX-License-Identifier: Apache-2.0
"""A worker process: `python3 -m erlang.worker DESCRIPTOR`, started by py_context.

The descriptor is a socket, whose other end is Erlang's.
"""

import io
import sys

from erlang import _native, _policy


def main() -> None:
    socket = int(sys.argv[1])
    del sys.argv[1:]
    # What does not go to Erlang is seen when it is printed, also if the process is killed.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    # As inside the VM. Policies end with Python 3.14.
    if sys.version_info < (3, 14):
        _policy.install(silent=True)
    _native._serve_worker(socket)


if __name__ == '__main__':
    main()
