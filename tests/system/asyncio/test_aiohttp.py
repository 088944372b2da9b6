# SPDX-License-Identifier: Apache-2.0
"""aiohttp of Debian on our loop, as server and as client: bodies, files, web sockets, TLS."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import (
    ClientConnectionError,
    ClientSession,
    TCPConnector,
    UnixConnector,
    WSMsgType,
    web,
)
from loops import Certificate, LoopTest

LARGE = os.urandom(5 << 20)


async def hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello")


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def digest(request: web.Request) -> web.Response:
    """Reads as it comes."""
    found = hashlib.sha256()
    async for piece in request.content.iter_chunked(10_000):
        found.update(piece)
    return web.Response(text=found.hexdigest())


async def pour(_request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(_request)
    for start in range(0, len(LARGE), 50_000):
        await response.write(LARGE[start:start + 50_000])
    await response.write_eof()
    return response


async def file(request: web.Request) -> web.FileResponse:
    """By sendfile, where the connection allows it."""
    return web.FileResponse(request.app["file"])


async def talk(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type == WSMsgType.TEXT:
            await socket.send_str(message.data[::-1])
        elif message.type == WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


async def answer_too_late(request: web.Request) -> web.Response:
    request.app["waiting"].set()
    await request.app["left"].wait()
    return web.Response(body=LARGE)


@asynccontextmanager
async def serving(**site_options: Any) -> AsyncIterator[tuple[web.Application, str]]:
    """The application and the address it is at."""
    with tempfile.TemporaryDirectory() as folder:
        app = web.Application(client_max_size=len(LARGE) + 1)
        app["file"] = Path(folder) / "file"
        app["file"].write_bytes(LARGE)
        app["waiting"], app["left"] = asyncio.Event(), asyncio.Event()
        app.add_routes([web.get("/", hello), web.post("/echo", echo), web.post("/digest", digest),
                        web.get("/pour", pour), web.get("/file", file), web.get("/talk", talk),
                        web.get("/late", answer_too_late)])
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            if site_options.pop("unix", False):
                path = str(Path(folder) / "socket")
                await web.UnixSite(runner, path, **site_options).start()
                yield app, path
            else:
                await web.TCPSite(runner, "localhost", 0, **site_options).start()
                yield app, f"localhost:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


class Aiohttp(LoopTest):
    async def exchange(self, session: ClientSession, base: str) -> None:
        async with session.get(f"{base}/") as response:
            self.assertEqual((response.status, await response.text()), (200, "hello"))
        for body in (b"", b"x", LARGE):
            async with session.post(f"{base}/echo", data=body) as response:
                self.assertEqual(await response.read(), body)
        async with session.post(f"{base}/digest", data=self.pieces()) as response:
            self.assertEqual(await response.text(), hashlib.sha256(LARGE).hexdigest())
        for path in ("/pour", "/file"):
            async with session.get(base + path) as response:
                self.assertEqual(await response.read(), LARGE)
        async with session.get(f"{base}/nowhere") as response:
            self.assertEqual(response.status, 404)
        async with session.ws_connect(f"{base}/talk", max_msg_size=0) as socket:
            for text in ("abc", "x" * 100_000):
                await socket.send_str(text)
                self.assertEqual(await socket.receive_str(), text[::-1])
            await socket.send_bytes(LARGE[:1 << 20])
            self.assertEqual(await socket.receive_bytes(), LARGE[:1 << 20])

    @staticmethod
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(LARGE), 70_000):
            yield LARGE[start:start + 70_000]

    def test_over_tcp(self) -> None:
        async def body() -> None:
            async with serving() as (_, address), ClientSession() as session:
                await self.exchange(session, f"http://{address}")

        self.play(body())

    def test_over_a_unix_socket(self) -> None:
        async def body() -> None:
            async with serving(unix=True) as (_, path):
                async with ClientSession(connector=UnixConnector(path)) as session:
                    await self.exchange(session, "http://localhost")

        self.play(body())

    def test_over_tls(self) -> None:
        certificate = Certificate()
        self.addCleanup(certificate.close)

        async def body() -> None:
            async with serving(ssl_context=certificate.server_side()) as (_, address):
                connector = TCPConnector(ssl=certificate.client_side())
                async with ClientSession(connector=connector) as session:
                    await self.exchange(session, f"https://{address}")

        self.play(body())

    def test_a_certificate_that_is_not_trusted_is_refused(self) -> None:
        certificate = Certificate()
        self.addCleanup(certificate.close)

        async def body() -> None:
            async with serving(ssl_context=certificate.server_side()) as (_, address):
                async with ClientSession() as session:
                    with self.assertRaises(ClientConnectionError):
                        await session.get(f"https://{address}/")

        self.play(body())

    def test_many_requests_at_once(self) -> None:
        async def body() -> None:
            async with serving() as (_, address), ClientSession() as session:
                async def one(number: int) -> None:
                    data = f"{number} ".encode() * 5000
                    async with session.post(f"http://{address}/echo", data=data) as response:
                        self.assertEqual(await response.read(), data)

                await asyncio.gather(*(one(number) for number in range(300)))

        self.play(body())

    def test_a_client_that_gives_up_harms_nobody(self) -> None:
        async def body() -> None:
            async with serving() as (app, address), ClientSession() as session:
                asked = asyncio.create_task(session.get(f"http://{address}/late"))
                await app["waiting"].wait()
                asked.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await asked
                app["left"].set()
                async with session.get(f"http://{address}/") as response:
                    self.assertEqual(response.status, 200)

        self.play(body())

    def test_a_client_that_is_no_loops(self) -> None:
        """urllib, in a thread: nothing that our loop does wrong on both sides cancels out."""

        async def body() -> None:
            async with serving() as (_, address):
                def ask(path: str, data: bytes | None = None) -> bytes:
                    with urllib.request.urlopen(f"http://{address}{path}", data) as response:
                        return response.read()

                self.assertEqual(await asyncio.to_thread(ask, "/echo", LARGE), LARGE)
                self.assertEqual(await asyncio.to_thread(ask, "/file"), LARGE)

        self.play(body())

    def test_nobody_listens(self) -> None:
        async def body() -> None:
            async with serving() as (_, address):
                pass
            async with ClientSession() as session:
                with self.assertRaises(ClientConnectionError):
                    await session.get(f"http://{address}/")

        self.play(body())
