# SPDX-License-Identifier: Apache-2.0
"""The server of examples/wsgi_server as a process, and clients that HTTP libraries do not offer."""

import os
import re
import select
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent
DEADLINE = 30.0


def eventually(condition, what, deadline=DEADLINE):
    """Looks again and again until the condition holds."""
    end = time.monotonic() + deadline
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what}")
        time.sleep(0.01)  # sleep: between two looks
    return found


class Server:
    """Serves `app`, on a free port if none is given. Options are those of run.escript."""

    def __init__(self, app, port=0, **options):
        libs = os.environ.get("ERL_LIBS", str(ROOT / "_build/default/lib"))
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            ["escript", ROOT / "examples/wsgi_server/run.escript", app, str(port),
             *(f"{name}={value}" for name, value in options.items())],
            env=os.environ | {"ERL_LIBS": libs, "PYTHONPATH": f"{HERE}:{ROOT}/examples/wsgi_server",
                              "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+) \(process (\d+)", line)
        if not found:
            self.process.wait(DEADLINE)
            errors = self.errors()
            self.__exit__()
            raise AssertionError(f"the server did not start: {line}{errors}")
        self.port, self.pid = int(found[1]), int(found[2])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def errors(self):
        self.log.seek(0)
        return self.log.read()

    def url(self, path="/"):
        return f"http://127.0.0.1:{self.port}{path}"

    def memory(self, name="VmRSS"):
        """Bytes; VmHWM is the peak since reset_peak()."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)[1]) * 1024

    def reset_peak(self):
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def curl(self, path, *arguments):
        """Standard output, and standard error with -v."""
        done = subprocess.run(["curl", "-sS", "--max-time", "60", *arguments, self.url(path)],
                              capture_output=True, timeout=90)
        return done.stdout, done.stderr.decode()

    def client(self):
        return Client(self.port)

    def ask(self, request):
        """One response to bytes on a connection of their own."""
        with self.client() as client:
            client.send(request)
            return client.response()


class Response:
    def __init__(self, status, headers, body, whole):
        self.status = status
        self.headers = headers
        self.body = body
        self.whole = whole  # Whether it came to the end that its framing announced.


class Client:
    """A connection that says byte for byte what it is told to."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def shutdown(self):
        self.socket.shutdown(socket.SHUT_WR)

    def silent(self):
        """Whether nothing has come."""
        return not select.select([self.socket], [], [], 0)[0]

    def at_end(self):
        """Whether the server closes the connection, and sends nothing before."""
        try:
            return self.file.read(1) == b""
        except ConnectionError:
            return True

    def head(self):
        line = self.file.readline()
        found = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n", line)
        if not found:
            raise AssertionError(f"no status line: {line!r}")
        headers = {}
        while (line := self.file.readline()) != b"\r\n":
            name, value = line.rstrip(b"\r\n").split(b": ", 1)
            headers[name.decode().lower()] = value.decode("latin-1")
        return int(found[1]), headers

    def response(self, method="GET"):
        status, headers = self.head()
        if method == "HEAD" or status in (204, 304) or status < 200:
            return Response(status, headers, b"", True)
        try:
            if headers.get("transfer-encoding") == "chunked":
                return Response(status, headers, *self.chunks())
            if "content-length" in headers:
                length = int(headers["content-length"])
                body = self.file.read(length)
                return Response(status, headers, body, len(body) == length)
            return Response(status, headers, self.file.read(), True)
        except ConnectionError:
            return Response(status, headers, b"", False)

    def chunks(self):
        pieces = []
        while line := self.file.readline():
            size = int(line, 16)
            piece = self.file.read(size + 2)
            if len(piece) != size + 2 or not piece.endswith(b"\r\n"):
                break
            if size == 0:
                return b"".join(pieces), True
            pieces.append(piece[:-2])
        return b"".join(pieces), False


def request(method, path, body=b"", *headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    named = any(line.lower().startswith(("content-length", "transfer")) for line in headers)
    if body and not named:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunked(data, size):
    pieces = [data[start:start + size] for start in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])
