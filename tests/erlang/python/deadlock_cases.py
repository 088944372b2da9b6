# SPDX-License-Identifier: Apache-2.0
"""What Python does in py_deadlock_SUITE: locks of Python's own that are held across a call."""

import asyncio
import atexit
import ctypes
import gc
import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import erlang
from thread_cases import outcome, run_threads

lock = threading.RLock()


def hold_gil(microseconds):
    """As a long piece of C code does."""
    ctypes.PyDLL(None).usleep(ctypes.c_uint(microseconds))  # sleep: with the GIL
    return 'held'


def hold_gil_and_tell(pid, microseconds):
    erlang.send(pid, ('holding', 1))
    return hold_gil(microseconds)


def under_a_lock(name, value):
    with lock:
        return erlang.call(name, value)


def threads_under_a_lock(name, count, calls):
    """All want the same lock, and call with it."""
    def body():
        return sum(under_a_lock(name, 1) for _ in range(calls))

    return run_threads([body] * count)


def collect_while_calling(name, count):
    """Threads that collect, and threads that call."""
    def collector():
        for _ in range(count // 10):
            garbage = []
            garbage.append(garbage)
            del garbage
            gc.collect()
        return count

    def caller():
        return sum(erlang.call(name, 1) for _ in range(count))

    return run_threads([collector, caller, collector, caller])


class Cycle:
    """Calls when the collector finds it."""

    def __init__(self, name):
        self.name = name
        self.own = self

    def __del__(self):
        found.append(outcome(erlang.call, self.name, 'collected'))


found = []


def call_inside_of_a_collection(name):
    found.clear()
    Cycle(name)
    gc.collect()
    return list(found)


def joined_thread(name):
    """The context's own thread waits for one that waits for Erlang."""
    return run_threads([lambda: erlang.call(name, 'thread')])[0]


def pooled_thread(name):
    with ThreadPoolExecutor(2) as executor:
        return [future.result() for future in
                [executor.submit(outcome, erlang.call, name, 'thread') for _ in range(4)]]


def loop_and_executor(name):
    """A loop that goes on while its threads wait for Erlang."""
    async def main():
        loop = asyncio.get_running_loop()
        blocking = [loop.run_in_executor(None, erlang.call, name, n) for n in range(4)]
        quick = [erlang.async_call(name, n) for n in range(4)]
        return await asyncio.gather(*blocking, *quick)

    return asyncio.run(main())


def loop_in_a_thread(name):
    async def main():
        return await asyncio.gather(*(erlang.async_call(name, n) for n in range(20)))

    return run_threads([lambda: asyncio.run(main())])[0]


def importing(name):
    sys.modules.pop('calls_at_import', None)
    erlang.call(name, 1)
    import calls_at_import
    return calls_at_import.value


class ToErlang(logging.Handler):
    """Each record is told to Erlang, with logging's lock held."""

    def __init__(self, name):
        super().__init__()
        self.erlang_name = name

    def emit(self, record):
        erlang.call(self.erlang_name, record.getMessage())


def logger(name):
    log = logging.getLogger('deadlock_cases')
    log.propagate = False
    log.setLevel(logging.INFO)
    log.handlers[:] = [ToErlang(name)]
    return log


def forget_logger():
    logging.getLogger('deadlock_cases').handlers.clear()


def log(name, text):
    logger(name).info(text)


def log_again(text):
    """To the handler that is there."""
    logging.getLogger('deadlock_cases').info(text)


def log_in_threads(name, count, records):
    log = logger(name)

    def body():
        for number in range(records):
            log.info('%d', number)

    return run_threads([body] * count)


def traced(name, count):
    """A trace function that calls Erlang for each line."""
    lines = []

    def tracer(frame, event, _argument):
        if event == 'line' and frame.f_code.co_name == 'body':
            lines.append(erlang.call(name, frame.f_lineno))
        return tracer

    def body():
        total = 0
        for number in range(count):
            total += erlang.call(name, number)
        return total

    sys.settrace(tracer)
    try:
        total = body()
    finally:
        sys.settrace(None)
    return total, len(lines) >= count


def unraisable(name):
    """What is told of an exception that nobody can catch."""
    class Failing:
        def __del__(self):
            raise LookupError('on purpose')

    before = sys.unraisablehook
    sys.unraisablehook = lambda told: erlang.call(name, type(told.exc_value).__name__)
    try:
        Failing()
    finally:
        sys.unraisablehook = before


def at_exit(name):
    """Functions that would run at the end of Python."""
    atexit.register(erlang.call, name, 'at exit')
    atexit._run_exitfuncs()


forking = []
os.register_at_fork(before=lambda: [call() for call in forking],
                    after_in_parent=lambda: [call() for call in forking])


def fork(name):
    """The child leaves at once; the parent's functions call."""
    forking[:] = [lambda: erlang.call(name, 'fork')]
    try:
        child = os.fork()
        if child == 0:
            os._exit(0)
    finally:
        forking.clear()
    try:
        os.waitpid(child, 0)
    except ChildProcessError:
        pass  # The VM ignores SIGCHLD, so the kernel has done it.


def rate(name, calls):
    """Full rate; how many answers were right."""
    return sum(erlang.call(name, number) == number for number in range(calls))


def send_all(channel, count):
    """Into a channel that is full most of the time."""
    sender = erlang.Channel(channel)
    for number in range(count):
        sender.send(number)


def receive_all(channel, count, name):
    """Each message is passed on through Erlang."""
    receiver = erlang.Channel(channel)
    return sum(erlang.call(name, receiver.receive()) for _ in range(count))


def forget_everything(count):
    """Objects that belong to Erlang, or that Erlang was lent, go."""
    return len([bytes(100_000) for _ in range(count)])
