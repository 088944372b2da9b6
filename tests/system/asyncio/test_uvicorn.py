# SPDX-License-Identifier: Apache-2.0
"""uvicorn of Debian on our loop, as a process that signals stop; asked by blocking clients and by
coroutines on our loop."""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import websockets.client
from loops import FACTORY, LIMIT_S, Certificate, LoopTest

LARGE = os.urandom(3 << 20)


async def application(scope: dict, receive, send) -> None:
    """Sends back the body, or each message of a web socket."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("lifespan ends", file=sys.stderr, flush=True)
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"][::-1]})
    else:
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"x-path", scope["path"].encode())]})
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            await send({"type": "http.response.body", "body": message.get("body", b""),
                        "more_body": more})


def serve(kind: str, *files: str) -> None:
    """In a process of its own."""
    import uvicorn
    from loops import new_loop

    options = {"ssl_certfile": files[0], "ssl_keyfile": files[1]} if files else {}
    config = uvicorn.Config(application, host="127.0.0.1", port=0, loop="none", http=kind,
                            log_level="info", **options)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(uvicorn.Server(config).serve())
    print("served", file=sys.stderr, flush=True)


@contextmanager
def served(kind: str, certificate: Certificate | None = None
           ) -> Iterator[tuple[int, subprocess.Popen]]:
    """Its port, and the process; stopped by SIGTERM, after which it must end well."""
    files = (certificate.file, certificate.key) if certificate else ()
    code = (f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
            f"import test_uvicorn; test_uvicorn.serve{(kind, *files)}")
    server = subprocess.Popen([sys.executable, "-B", "-c", code], stderr=subprocess.PIPE, text=True,
                              env=os.environ | {"PENSTOCK_TEST_LOOP": FACTORY})
    try:
        lines = []
        while not (found := re.search(r"running on https?://127.0.0.1:(\d+)", "".join(lines))):
            line = server.stderr.readline()
            if not line:
                raise AssertionError(f"uvicorn did not start:\n{''.join(lines)}")
            lines.append(line)
        yield int(found[1]), server
        server.send_signal(signal.SIGTERM)
        rest = server.communicate(timeout=LIMIT_S)[1]
        if server.returncode not in (0, -signal.SIGTERM) or "lifespan ends" not in rest or (
                "Traceback" in rest):
            raise AssertionError(f"uvicorn ended with {server.returncode}:\n{rest}")
    finally:
        if server.poll() is None:
            server.kill()
            server.communicate()


class Uvicorn(LoopTest):
    def ask(self, connection: http.client.HTTPConnection, path: str, body: bytes) -> None:
        connection.request("POST", path, body)
        response = connection.getresponse()
        self.assertEqual(response.read(), body)
        self.assertEqual((response.status, response.headers["x-path"]), (200, path))

    def test_bodies_over_connections_that_stay(self) -> None:
        for kind in ("h11", "httptools"):
            with self.subTest(kind), served(kind) as (port, _):
                connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
                               for _ in range(5)]
                for turn in range(20):
                    for number, connection in enumerate(connections):
                        self.ask(connection, f"/{number}/{turn}", b"x" * (turn * 1000))
                self.ask(connections[0], "/large", LARGE)
                for connection in connections:
                    connection.close()

    def test_over_tls(self) -> None:
        certificate = Certificate()
        self.addCleanup(certificate.close)
        with served("httptools", certificate) as (port, _):
            connection = http.client.HTTPSConnection("localhost", port, timeout=LIMIT_S,
                                                     context=certificate.client_side())
            for size in (0, 1, len(LARGE)):
                self.ask(connection, f"/{size}", LARGE[:size])
            connection.close()

    def test_web_sockets_with_a_client_on_our_loop(self) -> None:
        certificate = Certificate()
        self.addCleanup(certificate.close)

        async def talk(uri: str, context: ssl.SSLContext | None) -> None:
            async with websockets.client.connect(uri, ssl=context) as socket:
                for text in ("abc", "x" * 200_000, ""):
                    await socket.send(text)
                    self.assertEqual(await socket.recv(), text[::-1])

        async def body(uri: str, context: ssl.SSLContext | None) -> None:
            await asyncio.gather(*(talk(uri, context) for _ in range(20)))

        with served("h11") as (port, _):
            self.play(body(f"ws://127.0.0.1:{port}/", None))
        with served("httptools", certificate) as (port, _):
            self.play(body(f"wss://localhost:{port}/", certificate.client_side()))

    def test_an_open_connection_does_not_keep_it_from_stopping(self) -> None:
        connection: http.client.HTTPConnection
        with served("h11") as (port, _):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
            self.ask(connection, "/", b"x")
        connection.close()
