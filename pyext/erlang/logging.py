# SPDX-License-Identifier: Apache-2.0
"""A handler of Python's logging whose records go to Erlang's logger."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

from erlang import _native, _output

__all__ = ["Handler"]

# Characters of a record that is too large to be sent whole.
_MAX_TEXT = 65536


def _text(value: object) -> bytes | None:
    """What is known to be text; records are made by anybody, of anything."""
    return _output.encoded(value) if isinstance(value, str) else None


def _integer(value: object) -> int | None:
    return int(value) if isinstance(value, int) else None


class Handler(logging.Handler):
    """Sends records to Erlang's logger, with level, file, line, and the calling process.

    The formatter makes the text; by default that is the message and, after it, the traceback. It
    waits while Erlang is slower, without holding a lock. While the application does not run,
    records of level WARNING and above go to the stderr that the VM was started with.

    Added to the root logger when Python starts in the VM. To have it back after a configuration
    that removed it: "class": "erlang.logging.Handler".
    """

    def handle(self, record: logging.LogRecord) -> Any:
        """As Handler.handle(), without the lock: a thread that waits must not hold up others."""
        passed: Any = self.filter(record)
        if passed:
            # Since Python 3.12 a filter may return another record.
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return passed

    def emit(self, record: logging.LogRecord) -> None:
        """Raises KeyboardInterrupt and ApplicationStopped, if the wait was ended by them."""
        try:
            text = str(self.format(record))
        except Exception:
            # Better than what handleError() does: the record arrives where it was to go.
            text = f"{_template(record)} (cannot be formatted)\n{traceback.format_exc()}"
        caller = _native._caller()
        if caller is not None:
            _native._note_output()
        if not self._send(record, caller, text):
            _write_without_erlang(record, text)

    def _send(self, record: logging.LogRecord, caller: Any, text: str) -> bool:
        fields = record.__dict__
        where = (_text(fields.get("pathname")), _integer(fields.get("lineno")),
                 _text(fields.get("name")), _text(fields.get("module")),
                 _text(fields.get("funcName")), _text(fields.get("threadName")))
        level, created = _integer(fields.get("levelno")), _microseconds(fields.get("created"))
        log = _output.outlet.log
        try:
            return _output.send((log, level, caller, _output.encoded(text), where, created))
        except ValueError:
            left = len(text) - _MAX_TEXT
            if left <= 0:
                where = (None,) * 6  # Not the text, but a name, was too large.
            else:
                text = f"{text[:_MAX_TEXT]}... ({left} more characters)"
            return _output.send((log, level, caller, _output.encoded(text), where, created))


def _template(record: logging.LogRecord) -> str:
    message = record.__dict__.get("msg")
    return message if isinstance(message, str) else f"a {type(message).__name__}"


def _microseconds(seconds: object) -> int | None:
    try:
        return int(seconds * 1e6)  # type: ignore[operator]
    except (TypeError, ValueError, OverflowError):
        return None


def _write_without_erlang(record: logging.LogRecord, text: str) -> None:
    level = _integer(record.__dict__.get("levelno"))
    stderr = sys.__stderr__
    if stderr is None or (level is not None and level < logging.WARNING):
        return
    try:
        stderr.write(f"{record.__dict__.get('levelname')}:{record.__dict__.get('name')}:{text}\n")
        stderr.flush()
    except (OSError, ValueError):
        pass  # As the VM's own output: nobody is left to tell.
