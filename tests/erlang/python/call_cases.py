# SPDX-License-Identifier: Apache-2.0
"""What Python does in py_SUITE."""

import os
import threading
import time


def identity(value):
    return value


def arguments(*args, **kwargs):
    return [list(args), kwargs]


def thread_id():
    return threading.get_ident()


def type_name(value):
    return type(value).__name__


def linger(seconds):
    """In pieces, so that an interrupt is seen."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.005)  # sleep: what this function is for
    return 'slept'


def touch(path):
    with open(path, 'ab') as file:
        file.write(b'.')


def sleep_and_touch(seconds, path):
    linger(seconds)
    touch(path)


def open_file_descriptors():
    return len(os.listdir('/proc/self/fd'))


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError('no text')


class NotUnicode(Exception):
    def __str__(self):
        return 'lone \ud800 surrogate'


class Unconvertible:
    pass


def throw(name):
    raise THROWN[name]


def recurse():
    return recurse()


THROWN = {
    'ValueError': ValueError('bad value'),
    'KeyError': KeyError('key'),
    'SystemExit': SystemExit(3),
    'GeneratorExit': GeneratorExit('x'),
    'KeyboardInterrupt': KeyboardInterrupt(),
    'StopIteration': StopIteration(),
    'MemoryError': MemoryError(),
    'FileNotFoundError': FileNotFoundError(2, 'No such file'),
    'UnicodeDecodeError': UnicodeDecodeError('utf-8', b'\xff', 0, 1, 'bad'),
    'Unprintable': Unprintable(),
    'NotUnicode': NotUnicode(),
    'Long': ValueError('x' * 1_000_000),
}
