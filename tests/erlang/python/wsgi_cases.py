# SPDX-License-Identifier: Apache-2.0
"""Applications for py_wsgi_SUITE. What one wants to tell goes to the process `wsgi_test`."""

import io
import json
import sys
import threading
import time
from wsgiref.validate import validator

import erlang

gates = {}
left = []


def tell(*what):
    erlang.reply(erlang.whereis('wsgi_test'), what)


def open_gate(name):
    gates.setdefault(name, threading.Event()).set()


def pass_gate(name):
    """Waits where an interrupt is noticed, as code that runs Python is."""
    gate = gates.setdefault(name, threading.Event())
    deadline = time.monotonic() + 20
    while not gate.wait(0.01):
        if time.monotonic() > deadline:
            raise TimeoutError(name)
    del gates[name]


class Closing:
    """An iterable whose close() is told."""

    def __init__(self, blocks):
        self.blocks = blocks

    def __iter__(self):
        return iter(self.blocks)

    def close(self):
        tell('closed', 1)


def echo(environ, start_response):
    data = environ['wsgi.input'].read()
    start_response('200 OK', [('Content-Type', 'application/octet-stream')])
    return [data]


def env(environ, start_response):
    shown = {key: value for key, value in environ.items() if isinstance(value, (str, bool))}
    start_response('200 OK', [('Content-Type', 'application/json')])
    return [json.dumps(shown).encode()]


def blocks(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return Closing(b'%d;' % number for number in range(int(environ['QUERY_STRING'])))


def big(environ, start_response):
    """Tells how far it is before each block."""
    def produce():
        for number in range(int(environ['QUERY_STRING'])):
            tell('produced', number)
            yield bytes(65536)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return Closing(produce())


def large_block(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [bytes(int(environ['QUERY_STRING']))]


def empty_blocks(environ, start_response):
    """Changes its mind between an empty block and the first byte, as PEP 3333 allows."""
    def produce():
        yield b''
        try:
            raise ValueError
        except ValueError:
            start_response('202 Accepted', [('Content-Type', 'text/plain')], sys.exc_info())
        yield b''
        yield b'second'
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return produce()


def no_content(environ, start_response):
    start_response('204 No Content', [])
    return Closing([])


def no_blocks(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return []


def endless(environ, start_response):
    def produce():
        while True:
            yield b'x'
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return Closing(produce())


def written(environ, start_response):
    write = start_response('200 OK', [('Content-Type', 'text/plain')])
    write(b'one ')
    write(b'two ')
    return [b'three']


def wrapped_file(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return environ['wsgi.file_wrapper'](io.BytesIO(bytes(200000)))


def raises_before(environ, start_response):
    raise ValueError('before')


def raises_first(environ, start_response):
    def produce():
        raise ValueError('before the first block')
        yield
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return Closing(produce())


def raises_after(environ, start_response):
    def produce():
        yield b'first'
        raise ValueError('after the first block')
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return Closing(produce())


def raises_late(environ, start_response):
    """After the last byte that was announced."""
    def produce():
        yield b'all'
        raise ValueError('after the end')
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', '3')])
    return Closing(produce())


def too_much(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', '3')])
    return [b'ab', b'cdef', b'gh']


def too_little(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', '5')])
    return Closing([b'ab', b'c'])


SHARED = [('Content-Type', 'text/plain')]


def shared_headers(environ, start_response):
    start_response('200 OK', SHARED)
    return [environ['QUERY_STRING'].encode()]


def no_start(environ, start_response):
    return [b'data']


def header(environ, start_response):
    """The header is in the query, where % makes any byte."""
    from urllib.parse import unquote
    start_response('200 OK', [('X-Value', unquote(environ['QUERY_STRING'], 'latin-1'))])
    return [b'ok']


def unread(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'unread']


def reads(environ, start_response):
    """Tells what it reads, or the error, and its reason."""
    body = environ['wsgi.input']
    try:
        tell('reading', 1)
        size = int(environ['QUERY_STRING'] or -1)
        total = 0
        while data := body.read(size):
            total += len(data)
        tell('read', total)
    except Exception as error:
        tell('failed', type(error).__name__, getattr(error, 'reason', None))
        raise
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'%d' % total]


def reads_late(environ, start_response):
    """Answers first, and tells why it cannot read."""
    def produce():
        yield b'first'
        tell('reading', 1)
        try:
            yield b'%d' % len(environ['wsgi.input'].read())
        except OSError as error:
            tell('failed', type(error).__name__, error.reason)
            raise
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return produce()


def gated(environ, start_response):
    """Runs until somebody opens the gate named by the query."""
    tell('entered', environ['QUERY_STRING'])
    pass_gate(environ['QUERY_STRING'])
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'gated']


def gated_reader(environ, start_response):
    """Reads a first byte, and the rest once the gate is open."""
    first = environ['wsgi.input'].read(1)
    tell('entered', environ['QUERY_STRING'])
    pass_gate(environ['QUERY_STRING'])
    rest = environ['wsgi.input'].read()
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'%d' % (len(first) + len(rest))]


def gated_blocks(environ, start_response):
    def produce():
        yield b'first'
        tell('entered', environ['QUERY_STRING'])
        pass_gate(environ['QUERY_STRING'])
        yield b'second'
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return Closing(produce())


def stuck(environ, start_response):
    """In C code, which no interrupt ends."""
    tell('entered', 'stuck')
    time.sleep(5)  # sleep: stands for code that cannot be interrupted
    left.append(environ['QUERY_STRING'])
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'late']


def application(environ, start_response):
    """The function that the path names."""
    name = environ['PATH_INFO'].strip('/').replace('/', '_')
    return globals()[name](environ, start_response)


def checked(environ, start_response):
    """The same, under wsgiref's eyes."""
    return validator(application)(environ, start_response)


class _Instance:
    def __call__(self, environ, start_response):
        return application(environ, start_response)


class nested:
    callable = _Instance()


not_callable = 42
