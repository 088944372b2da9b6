# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share: the loop they run on, a certificate, and a time limit.

The loop is ours, with the backend of PENSTOCK_LOOP_BACKEND if that insists on one.
PENSTOCK_TEST_LOOP=asyncio:SelectorEventLoop or uvloop:new_event_loop tries the tests themselves."""

from __future__ import annotations

import asyncio
import faulthandler
import importlib
import os
import ssl
import subprocess
import tempfile
import unittest
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

FACTORY = os.environ.get("PENSTOCK_TEST_LOOP", "erlang:new_event_loop")
LIMIT_S = 60.0


def new_loop() -> asyncio.AbstractEventLoop:
    module, _, name = FACTORY.partition(":")
    loop = getattr(importlib.import_module(module), name)()
    backend = os.environ.get("PENSTOCK_LOOP_BACKEND", "auto")
    if module == "erlang" and backend not in ("auto", loop.backend):
        raise AssertionError(f"the backend is {loop.backend}")
    return loop


class LoopTest(unittest.TestCase):
    def setUp(self) -> None:
        faulthandler.dump_traceback_later(2 * LIMIT_S, exit=True)
        self.addCleanup(faulthandler.cancel_dump_traceback_later)

    def play(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Nothing may be left for the loop's exception handler."""
        told: list[dict] = []

        async def body() -> Any:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: told.append(context))
            return await asyncio.wait_for(coroutine, LIMIT_S)

        with asyncio.Runner(loop_factory=new_loop) as runner:
            result = runner.run(body())
        self.assertEqual(told, [])
        return result


class Certificate:
    """Self-signed, for localhost, made now."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.file = str(Path(self._folder.name) / "certificate.pem")
        self.key = str(Path(self._folder.name) / "key.pem")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
             "-nodes", "-keyout", self.key, "-out", self.file, "-days", "2", "-subj",
             "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
            check=True, capture_output=True)

    def server_side(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.file, self.key)
        return context

    def client_side(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.file)

    def close(self) -> None:
        self._folder.cleanup()
