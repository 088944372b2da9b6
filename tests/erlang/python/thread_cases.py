# SPDX-License-Identifier: Apache-2.0
"""What Python does in py_callback_threads_SUITE."""

import _thread
import ctypes
import gc
import importlib
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import erlang

DEADLINE_S = 60

# What threads leave that live longer than the request that started them.
results = {}
threads = []


def outcome(function, *args):
    """What a function returns, or the exception that it raises."""
    try:
        return ('returned', function(*args))
    except BaseException as error:
        return ('raised', type(error).__name__, str(error))


def run_threads(bodies, daemon=False):
    """What each body returns, in a thread of its own; all at once."""
    found = [None] * len(bodies)

    def run(place):
        found[place] = outcome(bodies[place])

    started = [threading.Thread(target=run, args=(place,), daemon=daemon)
               for place in range(len(bodies))]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return found


def hold_the_gil(fifo, test):
    """Until somebody writes there."""
    os.mkfifo(fifo)
    descriptor = os.open(fifo, os.O_RDWR)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(DEADLINE_S)
    try:
        erlang.send(test, (erlang.atom('told'), True))
        ctypes.PyDLL(None).read(descriptor, ctypes.create_string_buffer(1), ctypes.c_size_t(1))
    finally:
        sys.setswitchinterval(interval)
        os.close(descriptor)


def in_thread(name, *args):
    return run_threads([lambda: erlang.call(name, *args)])[0]


def in_threads(count, name):
    return run_threads([lambda place=place: erlang.call(name, place) for place in range(count)])


def thrice_in_a_thread(name, second):
    return run_threads([lambda: (outcome(erlang.call, name, 1), outcome(erlang.call, second, 2),
                                 erlang.call(second, 3))])[0]


def in_executor(workers, name, values):
    with ThreadPoolExecutor(workers) as executor:
        return list(executor.map(lambda value: erlang.call(name, value), values))


def in_foreign_thread(name, value):
    """A thread that was not started by Python, and that calls it several times: it is a new one
    for Python each time."""
    libc = ctypes.CDLL(None)
    found = []

    @ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
    def inner(_):
        found.append(erlang.call(name, value))
        return None

    comparison = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

    @ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
    def body(_):
        # C code calls Python from inside this thread once more.
        numbers = (ctypes.c_int * 2)(2, 1)

        def compare(_left, _right):
            found.append(erlang.call(name, value))
            return 0

        libc.qsort(numbers, ctypes.c_size_t(2), ctypes.c_size_t(4), comparison(compare))
        found.append(erlang.call(name, value))
        return None

    for function in (inner, inner, body):
        thread = ctypes.c_ulong()
        if libc.pthread_create(ctypes.byref(thread), None, function, None) != 0:
            raise OSError('pthread_create')
        libc.pthread_join(thread, None)
    return found


class Last:
    """Calls when it goes."""

    def __init__(self, name, value):
        self.name = name
        self.value = value

    def __del__(self):
        erlang.call(self.name, self.value)


def at_the_end_of_objects(name):
    """By the last reference, by the collector, and in another thread."""
    Last(name, 'reference')
    first = Last(name, 'cycle')
    first.own = first
    del first
    gc.collect()
    run_threads([lambda: Last(name, 'thread')])


local = threading.local()


def at_the_end_of_threads(name, count):
    """Objects that go when their thread does, in what is left of it."""
    def body(place):
        local.last = Last(name, place)
    return run_threads([lambda place=place: body(place) for place in range(count)])


def at_an_import():
    sys.modules.pop('calls_at_import', None)
    return importlib.import_module('calls_at_import').value


def at_an_import_in_threads(count):
    """All import the same module: one runs it, the others wait for that."""
    sys.modules.pop('calls_at_import', None)
    return run_threads([lambda: importlib.import_module('calls_at_import').value] * count)


def chained(count, tasks, calls):
    """Every answer must be of the caller's own chain. The number of right answers."""
    def chain(thread):
        right = 0
        for task in range(tasks):
            value = 0
            for _ in range(calls):
                answer = erlang.call('next', thread, task, value)
                if answer != (thread, task, value + 1):
                    return (thread, task, value, answer)
                value += 1
                right += 1
        return right

    return run_threads([lambda thread=thread: chain(thread) for thread in range(count)])


def end_in_every_way(name, count):
    """Threads that have called, and how they end."""
    def by_exception():
        raise LookupError('on purpose')

    ways = [lambda: None, by_exception, _thread.exit, sys.exit]
    quiet = threading.excepthook
    threading.excepthook = lambda _: None
    try:
        started = []
        for number in range(count):
            def body(way=ways[number % len(ways)]):
                erlang.call(name, 1)
                way()
            started.append(threading.Thread(target=body, daemon=number % 3 == 0))
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()
    finally:
        threading.excepthook = quiet
    # Threads that nobody can join.
    left = [count]
    lock = threading.Lock()

    def unjoined():
        erlang.call(name, 1)
        with lock:
            left[0] -= 1

    for _ in range(count):
        _thread.start_new_thread(unjoined, ())
    wait_until(lambda: left[0] == 0)


def short_threads(count, at_once, name):
    """Many threads that call once; how many got the right answer."""
    right = 0
    for first in range(0, count, at_once):
        places = range(first, min(first + at_once, count))
        found = run_threads([lambda place=place: erlang.call(name, place) for place in places])
        right += sum(answer == ('returned', place) for answer, place in zip(found, places))
    return right


def start(key, *names):
    """A thread that outlives this request: it makes these calls, the last until it succeeds, and
    leaves what came of them in results."""
    def body():
        found = [outcome(erlang.call, name, key) for name in names[:-1]]
        deadline = time.monotonic() + DEADLINE_S
        last = outcome(erlang.call, names[-1], key)
        while last[0] == 'raised' and time.monotonic() < deadline:
            time.sleep(0.005)  # sleep: between two tries
            last = outcome(erlang.call, names[-1], key)
        results[key] = [*found, last]

    thread = threading.Thread(target=body, daemon=True)
    threads.append(thread)
    thread.start()


def result(key):
    return results.get(key)


def join_all():
    for thread in threads:
        thread.join()
    threads.clear()
    results.clear()


def wait_until(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.001)  # sleep: between two looks


def interrupted(name, second):
    """Goes on after an interrupt."""
    first = outcome(erlang.call, name, 'late')
    return first, [erlang.call(second, number) for number in range(100)]


begun = []
started = []


def start_threads(count):
    """Each thread says that it has begun. May be interrupted at any point."""
    for _ in range(count):
        _thread.start_new_thread(begun.append, (1,))
        started.append(1)


def all_begin():
    wait_until(lambda: len(begun) >= len(started))
    return len(started)
