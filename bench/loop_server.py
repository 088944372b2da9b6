# SPDX-License-Identifier: Apache-2.0
"""loop_server.py FACTORY FOLDER: the servers that bench/loop.py measures, all on one loop.

Each sends back what it gets: by protocol, by streams, and by sock_recv and sock_sendall, as the
benchmark of uvloop has them; over TCP and over a unix socket in FOLDER. Prints a line of JSON with
their addresses, and ends when its standard input does."""

from __future__ import annotations

import asyncio
import importlib
import json
import socket
import sys
from pathlib import Path

READ = 100 * 1024


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def echo_streams(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(READ):
            writer.write(data)
    except ConnectionError:
        pass  # The client ends in the midst of a message.
    writer.close()


async def echo_sockets(loop: asyncio.AbstractEventLoop, client: socket.socket) -> None:
    with client:
        try:
            while data := await loop.sock_recv(client, READ):
                await loop.sock_sendall(client, data)
        except ConnectionError:
            return


async def accept(loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
    running = set()
    while True:
        client, _ = await loop.sock_accept(listener)
        if client.family == socket.AF_INET:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = loop.create_task(echo_sockets(loop, client))
        running.add(task)
        task.add_done_callback(running.discard)


def listener(path: Path | None) -> socket.socket:
    bound = socket.socket(socket.AF_INET if path is None else socket.AF_UNIX)
    bound.bind(("127.0.0.1", 0) if path is None else str(path))
    bound.listen(256)
    bound.setblocking(False)
    return bound


async def serve(folder: Path) -> None:
    loop = asyncio.get_running_loop()
    addresses = {}
    kept = []
    for family in ("tcp", "unix"):
        for mode in ("protocol", "streams", "sockets"):
            path = folder / f"{mode}.socket" if family == "unix" else None
            bound = listener(path)
            addresses[f"{family}_{mode}"] = str(path or bound.getsockname()[1])
            if mode == "sockets":
                kept.append(loop.create_task(accept(loop, bound)))
            elif mode == "protocol":
                create = loop.create_unix_server if path else loop.create_server
                kept.append(await create(Echo, sock=bound))
            else:
                start = asyncio.start_unix_server if path else asyncio.start_server
                kept.append(await start(echo_streams, sock=bound))
    print(json.dumps(addresses), flush=True)
    ended = loop.create_future()
    loop.add_reader(sys.stdin, lambda: ended.done() or ended.set_result(None))
    await ended


def main(factory: str, folder: str) -> None:
    module, _, name = factory.partition(":")
    loop = getattr(importlib.import_module(module), name)()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(serve(Path(folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
