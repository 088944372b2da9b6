# SPDX-License-Identifier: Apache-2.0
"""A page that uploads a file and shows how far the server is; and a few answers for tests."""

import hashlib
import json
import threading
from collections import OrderedDict
from pathlib import Path

from flask import Flask, Response, abort, request

app = Flask(__name__)

CHUNK = 64 * 1024
KEPT = 256  # Uploads whose progress is remembered.
PAGE = (Path(__file__).parent / 'upload.html').read_text()


class Upload:
    """How far one upload is. The thread that receives it writes, any number of others wait."""

    def __init__(self):
        self.changed = threading.Condition()
        self.received = 0
        self.total = None
        self.sha256 = None
        self.failed = False

    def advance(self, size):
        with self.changed:
            self.received += size
            self.changed.notify_all()

    def finish(self, digest=None):
        with self.changed:
            self.sha256 = digest
            self.failed = digest is None
            self.changed.notify_all()

    def over(self):
        return self.failed or self.sha256 is not None

    def state(self):
        return {'received': self.received, 'total': self.total, 'sha256': self.sha256,
                'failed': self.failed}


_uploads = OrderedDict()
_uploads_lock = threading.Lock()


def upload_named(name):
    """The upload or its follower may come first. Without a name nobody can follow."""
    if not name:
        return Upload()
    with _uploads_lock:
        if name not in _uploads:
            _uploads[name] = Upload()
            if len(_uploads) > KEPT:
                _uploads.popitem(last=False)
        return _uploads[name]


@app.get('/')
def page():
    return PAGE


@app.post('/upload')
def receive():
    """Hash a body of any size, a chunk at a time."""
    upload = upload_named(request.args.get('id', ''))
    upload.total = request.content_length
    digest = hashlib.sha256()
    try:
        while chunk := request.stream.read(CHUNK):
            digest.update(chunk)
            upload.advance(len(chunk))
    except BaseException:
        upload.finish()
        raise
    upload.finish(digest.hexdigest())
    return {'sha256': upload.sha256, 'size': upload.received}


@app.get('/progress/<name>')
def progress(name):
    """Server-sent events: the state of an upload when it has changed, at most 20 a second."""
    upload = upload_named(name)

    def events():
        seen = None
        while True:
            with upload.changed:
                upload.changed.wait_for(lambda: upload.state() != seen, timeout=1)
                seen = upload.state()
                over = upload.over()
            yield f'data: {json.dumps(seen)}\n\n'
            if over:
                return
            pause.wait(0.05)

    pause = threading.Event()
    return Response(events(), mimetype='text/event-stream', headers={'Cache-Control': 'no-store'})


@app.post('/hash')
def hash_body():
    digest = hashlib.sha256()
    while chunk := request.stream.read(CHUNK):
        digest.update(chunk)
    return Response(digest.hexdigest(), mimetype='text/plain')


@app.post('/echo')
def echo():
    """The body, while it is still coming in."""
    stream = request.stream  # The request itself is not to be had while the response runs.
    return Response(iter(lambda: stream.read(CHUNK), b''),
                    mimetype=request.mimetype or 'application/octet-stream')


@app.get('/lines/<int:count>')
def lines(count):
    """A response of unknown length."""
    if count > 10_000_000:
        abort(400)
    return Response((f'line {number}\n' for number in range(count)), mimetype='text/plain')
