# SPDX-License-Identifier: Apache-2.0
"""What Python does in py_output_SUITE, py_logging_SUITE and py_process_output_SUITE."""

import gc
import logging
import logging.config
import os
import sys
import threading

import erlang
from erlang import _native, reply

log = logging.getLogger("cases.output")


def in_thread(function, *args):
    thread = threading.Thread(target=function, args=args, name="a thread of ours")
    thread.start()
    thread.join()


def print_in_thread(text):
    in_thread(print, text)


def begin_in_thread(text):
    in_thread(sys.stdout.write, text)


def print_by_threads(count, lines):
    """Each line in five writes."""

    def work(mine):
        for line in range(lines):
            print("thread", mine, "line", line, "." * 50)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def print_for_ever():
    line = 0
    while True:
        print("line", line, "x" * 1000)
        line += 1


def log_for_ever(pid=None):
    """Tells pid, if given, when it runs: an interrupt finds only what does."""
    if pid is not None:
        reply(pid, ("logging", None))
    while True:
        log.error("x" * 10000)


_stop = threading.Event()


def print_for_ever_in_thread(pid):
    """Tells pid when the thread ends."""

    def work():
        try:
            while not _stop.is_set():
                print("y" * 10000)
        finally:
            reply(pid, ("ended", None))

    _stop.clear()
    threading.Thread(target=work, daemon=True).start()


def end_threads():
    _stop.set()


def print_much(lines):
    for _ in range(lines):
        print("m" * 99)


def print_and_call(lines, name):
    """Within the call, before what it has printed is waited for."""
    print_much(lines)
    erlang.call(name)


class Finalized:
    def __del__(self):
        print("finalized")


class Cycle:
    """Printed from within whatever the collector interrupts."""

    def __init__(self):
        self.me = self

    def __del__(self):
        print("collected")


def print_in_finalizers(count):
    Finalized()
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for line in range(count):
            Cycle()
            print("line", line)
        gc.collect()
    finally:
        gc.set_threshold(*threshold)


class Unraisable:
    def __del__(self):
        raise ValueError("nobody to tell")


def make_unraisable():
    Unraisable()


def describe_streams():
    found = []
    for stream in (sys.stdout, sys.stderr):
        found.append([stream.name, stream.encoding, stream.errors, stream.isatty(),
                      stream.writable(), stream.readable(), stream.closed])
    return found


def write_strange():
    refused = []
    for value in (b"bytes", None, 1):
        try:
            sys.stdout.write(value)
        except TypeError as error:
            refused.append(str(error))
    sys.stdout.writelines(["a", "", "b\n"])
    sys.stdout.close()
    sys.stdout.reconfigure(encoding="utf-8", line_buffering=True)
    written = [sys.stdout.write(""), sys.stdout.write("c\nd"), sys.stdout.write("\n")]
    return refused, written


def write_bytes():
    data = "ä€😀\n".encode()
    for start in range(len(data)):
        sys.stdout.buffer.write(data[start:start + 1])
    sys.stdout.buffer.write(bytearray(b"\xff\n"))
    sys.stdout.buffer.flush()


def fork():
    """What a child says that prints 10 MB and calls Erlang; the VM would not let us wait for its
    exit status."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        # Nothing of the VM may run here: straight to the end, whatever happens.
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            for _ in range(100):
                print("x" * 100_000)
            try:
                erlang.call("tell", "child")
            except RuntimeError as exception:
                os.write(writer, f"printed; {exception}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as said:
        return said.read().decode()


# Logging


def log_levels(levels):
    log.setLevel(1)
    try:
        for level in levels:
            log.log(level, "level %d", level)
    finally:
        log.setLevel(logging.NOTSET)


def log_here(text):
    log.warning("here: %s", text)
    return log_here.__code__.co_firstlineno + 1, __file__


def log_exception():
    try:
        {}["missing"]
    except KeyError:
        log.exception("looked up")


def log_stack():
    log.error("from there", stack_info=True)


class Evil:
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class EvilError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def log_evil():
    log.error("argument %s", Evil())
    log.error(Evil())
    log.error("too few %s %s", 1)
    log.error("not a number %d", "x")
    try:
        raise EvilError
    except EvilError:
        log.exception("evil")


def log_strange_records():
    handler = logging.getLogger().handlers[0]
    for fields in (
        {},
        {"msg": None, "levelno": "high", "pathname": 1, "lineno": "2", "name": None},
        {"msg": "huge", "levelno": 10**30, "lineno": 10**30, "created": float("nan")},
        {"msg": "low", "levelno": -1, "lineno": -1, "created": float("inf"), "threadName": b"x"},
        {"msg": "half", "levelno": 30, "pathname": "a\ud800b", "funcName": "x" * 2_000_000},
        {"msg": "past", "levelno": 30, "created": -1e300, "module": ["x"]},
    ):
        handler.handle(logging.makeLogRecord(fields))


def log_text(text, times):
    log.error(text * times)


def log_surrogate():
    log.error("half \ud800 a pair")


def log_in_thread():
    in_thread(log.error, "from a thread")


def log_and_print(count):
    for number in range(count):
        print("p", number)
        log.error("l %d", number)


def configure(how):
    """Runs a configuration, logs once, restores; returns the classes of the handlers between."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        if how == "basic":
            logging.basicConfig(level=logging.DEBUG)
        elif how == "force":
            logging.basicConfig(level=logging.DEBUG, force=True, format="formatted %(message)s")
        else:
            logging.config.dictConfig({
                "version": 1,
                "disable_existing_loggers": False,
                "formatters": {"mine": {"format": "mine: %(message)s"}},
                "handlers": {"erlang": {"class": "erlang.logging.Handler", "formatter": "mine"}},
                "root": {"level": "INFO", "handlers": ["erlang"]},
            })
        log.info("configured")
        return [type(handler).__module__ + "." + type(handler).__name__
                for handler in root.handlers]
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def filtered():
    """A filter of the handler, which since Python 3.12 may replace the record."""
    handler = logging.getLogger().handlers[0]
    seen = []

    def drop_some(record):
        seen.append(record.getMessage())
        return "drop" not in record.getMessage()

    handler.addFilter(drop_some)
    try:
        log.error("drop this")
        log.error("keep this")
    finally:
        handler.removeFilter(drop_some)
    return seen


def caller():
    found = [_native._caller()]
    in_thread(lambda: found.append(_native._caller()))
    return found
