# SPDX-License-Identifier: Apache-2.0
"""A loop for test_runner.py: asyncio's, but the third that a process makes ends it."""

from __future__ import annotations

import asyncio
import os

StockLoop = asyncio.SelectorEventLoop
made = 0


def new_event_loop() -> asyncio.AbstractEventLoop:
    global made
    made += 1
    if made == 3:
        os.abort()
    return StockLoop()
