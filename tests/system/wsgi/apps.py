# SPDX-License-Identifier: Apache-2.0
"""Applications for the tests of the server: a raw one, and validated ones."""

import json
import threading
from wsgiref.validate import validator

import flaskapp

_held = threading.Semaphore(0)
_report = {"closed": 0, "failures": [], "holding": 0, "produced": 0}
_lock = threading.Lock()
TEXT = [("Content-Type", "text/plain")]


def count(name, number=1):
    with _lock:
        _report[name] += number


class Closing:
    def __init__(self, blocks):
        self.blocks = blocks

    def __iter__(self):
        return iter(self.blocks)

    def close(self):
        count("closed")


def report(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    with _lock:
        return [json.dumps(_report).encode()]


def hold(environ, start_response):
    """Until /release is asked for."""
    count("holding")
    try:
        _held.acquire(timeout=30)
    finally:
        count("holding", -1)
    start_response("200 OK", TEXT)
    return [b"held"]


def release(environ, start_response):
    _held.release()
    start_response("200 OK", TEXT)
    return [b"released"]


def size(environ, start_response):
    """How much it read; failures go into the report."""
    total = 0
    try:
        while data := environ["wsgi.input"].read(10000):
            total += len(data)
    except Exception as error:
        with _lock:
            _report["failures"].append([type(error).__name__, str(getattr(error, "reason", ""))])
        raise
    start_response("200 OK", TEXT)
    return [b"%d" % total]


def unread(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"unread"]


def raises(environ, start_response):
    raise ValueError("before the headers")


def breaks(environ, start_response):
    def blocks():
        yield b"first"
        raise ValueError("after the headers")
    start_response("200 OK", TEXT)
    return Closing(blocks())


def breaks_sized(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "1000")])
    return Closing([b"first"])


def big(environ, start_response):
    """As many blocks of 64 KiB as the query says."""
    def blocks():
        for _ in range(int(environ["QUERY_STRING"])):
            count("produced")
            yield bytes(65536)
    start_response("200 OK", TEXT)
    return Closing(blocks())


def where(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    names = ("REMOTE_ADDR", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "PATH_INFO",
             "QUERY_STRING", "HTTP_X_FORWARDED_FOR", "REQUEST_METHOD", "CONTENT_LENGTH")
    return [json.dumps({name: environ.get(name) for name in names}).encode()]


def raw(environ, start_response):
    application = globals()[environ["PATH_INFO"].strip("/")]
    return application(environ, start_response)


raw_checked = validator(raw)
flask_checked = validator(flaskapp.app.wsgi_app)
