# SPDX-License-Identifier: Apache-2.0
"""Where the kernel or its guards do not give io_uring, the loop works all the same: on epoll.

Each case is a process of its own, because what is forbidden there stays forbidden, and because the
environment is looked at once."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import erlang
import pytest
from filters import FORBID, needs_filter

SETUP, ENTER, REGISTER = 425, 426, 427
NOBODY = 65534
WORK = """
    import asyncio, socket, threading
    async def work():
        loop = asyncio.get_running_loop()
        async def echo(reader, writer):
            writer.write(await reader.readexactly(5))
            writer.close()
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello")
        assert await reader.read() == b"hello"
        writer.close()
        left, right = socket.socketpair()
        left.setblocking(False)
        seen = loop.create_future()
        loop.add_writer(left, lambda: seen.done() or seen.set_result(None))
        await seen
        loop.remove_writer(left)
        start = loop.time()
        await asyncio.sleep(0.005)  # sleep: a timer
        assert loop.time() - start >= 0.005
        called = loop.create_future()
        threading.Timer(0.01, loop.call_soon_threadsafe, (called.set_result, None)).start()
        await called
        server.close()
    loop = erlang.new_event_loop()
    print(loop.backend)
    loop.run_until_complete(asyncio.wait_for(work(), 60))
    loop.close()
"""


def child(preparation: str, *, wanted: str = "auto", body: str = WORK) -> tuple[int, str]:
    """Exit status and output of a Python that has the package, prepares, and then does the work."""
    code = "\n".join(map(textwrap.dedent, ("import erlang", FORBID, preparation, body)))
    package = str(Path(erlang.__file__).parent.parent)
    path = os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", code], text=True,
                          env=os.environ | {"PYTHONPATH": path, "PENSTOCK_LOOP_BACKEND": wanted},
                          capture_output=True, timeout=120)
    return done.returncode, (done.stdout + done.stderr).strip()


def falls_back(preparation: str) -> None:
    assert child(preparation) == (0, "epoll")


@pytest.fixture(scope="module")
def _ring() -> None:
    """Cases that could not fail without io_uring are no cases. The kernel is asked without our
    code: a set-up that makes no sense, which it says, or refuses to look at."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.syscall(SETUP, 1, None) == -1
    if ctypes.get_errno() != errno.EFAULT:
        pytest.skip(f"no io_uring here: {os.strerror(ctypes.get_errno())}")
    assert child("") == (0, "io_uring")


@needs_filter
@pytest.mark.parametrize("error", ["EPERM", "ENOSYS", "ENOMEM", "EMFILE", "EINVAL"])
@pytest.mark.usefixtures("_ring")
def test_set_up_is_refused(error: str) -> None:
    falls_back(f"forbid([{SETUP}], {getattr(errno, error)})")


@needs_filter
@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
@pytest.mark.usefixtures("_ring")
def test_all_of_it_is_refused(error: str) -> None:
    """As containers do."""
    falls_back(f"forbid([{SETUP}, {ENTER}, {REGISTER}], {getattr(errno, error)})")


@needs_filter
@pytest.mark.usefixtures("_ring")
def test_set_up_is_granted_and_using_it_refused() -> None:
    falls_back(f"forbid([{ENTER}], {errno.EPERM})")


@needs_filter
@pytest.mark.usefixtures("_ring")
def test_registering_is_refused() -> None:
    """Nothing the loop cannot do without: either backend will do."""
    status, output = child(f"forbid([{REGISTER}], {errno.EPERM})")
    assert (status, output) in ((0, "epoll"), (0, "io_uring"))


@needs_filter
def test_whoever_insists_on_what_is_refused_is_told() -> None:
    status, output = child(f"forbid([{SETUP}], {errno.EPERM})", wanted="io_uring")
    assert status == 1 and "PermissionError: [Errno 1]" in output


@pytest.mark.parametrize("wanted", ["epoll", "io_uring", "auto", "", "nonsense"])
@pytest.mark.usefixtures("_ring")
def test_the_environment_chooses(wanted: str) -> None:
    assert child("", wanted=wanted) == (0, "epoll" if wanted == "epoll" else "io_uring")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.usefixtures("_ring")
def test_a_user_who_may_lock_no_memory() -> None:
    """`ulimit -l 0`: kernels that count rings as locked memory refuse them."""
    status, output = child(f"""
        import os, resource
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
        os.setgroups([])
        os.setgid({NOBODY})
        os.setuid({NOBODY})
    """)
    assert (status, output) in ((0, "epoll"), (0, "io_uring"))


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.usefixtures("_ring")
def test_a_user_with_more_loops_than_memory_to_lock() -> None:
    """Those that get no ring get epoll, and all work."""
    status, output = child(f"""
        import os, resource
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (256 << 10, 256 << 10))
        os.setgroups([])
        os.setgid({NOBODY})
        os.setuid({NOBODY})
    """, body="""
        import asyncio
        loops = [erlang.new_event_loop() for _ in range(200)]
        for loop in loops:
            loop.run_until_complete(asyncio.sleep(0.0001))  # sleep: a timer
        backends = {loop.backend for loop in loops}
        assert backends <= {"epoll", "io_uring"}
        for loop in loops:
            loop.close()
        print("all of them work")
    """)
    assert (status, output) == (0, "all of them work")


@pytest.mark.usefixtures("_ring")
def test_descriptors_run_out_between_the_ring_and_what_it_needs() -> None:
    """However many are left, a loop is made and works, or there is an OSError and nothing is
    lost."""
    status, output = child("", body="""
        import asyncio, os, resource

        async def nothing():
            await asyncio.sleep(0.0001)  # sleep: so that the loop has to wait

        def work():
            loop = erlang.new_event_loop()
            try:
                loop.run_until_complete(nothing())
            finally:
                loop.close()

        def count():
            return len(os.listdir("/proc/self/fd"))

        work()
        before = count()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        made = 0
        for left in range(12):
            free = os.dup(0)
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free + left, hard))
            try:
                work()
                made += 1
            except OSError:
                pass
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert count() <= before, left
        assert 0 < made < 12, made
        print("none lost")
    """)
    assert (status, output) == (0, "none lost")
