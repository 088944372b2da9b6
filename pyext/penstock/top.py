# SPDX-License-Identifier: Apache-2.0
"""`penstock top`: what a running process shares, once or live."""

import argparse
import json
import os
import select
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from penstock import segments
from penstock.looks import BufferLook, ChannelLook, LinkLook, Look, Rates, Watch
from penstock.segments import CannotLook

_CLEAR: Final = "\x1b[H\x1b[J"
_ENTER: Final = "\x1b[?1049h\x1b[?25l"
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Shows the channels and the links to worker processes of a running node, or of any process "
        "that shares channels. Reads its memory and changes nothing. Of another user only as root.")
    parser.add_argument("pid", nargs="?", type=int, metavar="PID",
                        help="the process; the only one there is unless given")
    parser.add_argument("--once", action="store_true",
                        help="two looks, so that there are rates, and one report")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--interval", type=_seconds, default=1.0, metavar="S",
                        help="seconds between two looks (default: 1)")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.01 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("between 0.01 and 3600")
    return seconds


def run(arguments: argparse.Namespace) -> int:
    try:
        pid = arguments.pid if arguments.pid is not None else _only_one()
        watch = Watch(pid)
        first = watch.look()
        if not (first.channels or first.buffers or first.links or first.members or first.node
                or first.others):
            raise CannotLook(f"process {pid} ({first.name}) shares no memory of Penstock's")
        if arguments.once:
            time.sleep(arguments.interval)
            print(_line(watch.look()) if arguments.json else "\n".join(report(watch.look())))
        elif arguments.json or not sys.stdout.isatty():
            _stream(watch, arguments)
        else:
            _live(watch, arguments.interval)
    except CannotLook as reason:
        print(f"penstock top: {reason}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        # Nobody reads what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _only_one() -> int:
    found = segments.candidates()
    if len(found) == 1:
        return found[0]
    if not found:
        raise CannotLook("no process that may be looked at shares memory of Penstock's")
    names = ", ".join(f"{pid} ({segments.name_of(pid)})" for pid in found)
    raise CannotLook(f"there are several; name one: {names}")


def _line(look: Look) -> str:
    return json.dumps(look.as_json())


def _stream(watch: Watch, arguments: argparse.Namespace) -> None:
    while True:
        time.sleep(arguments.interval)
        look = watch.look()
        print(_line(look) if arguments.json else "\n".join([*report(look), ""]), flush=True)


def _live(watch: Watch, interval: float) -> None:
    import termios
    import tty

    keyboard = sys.stdin.fileno() if sys.stdin.isatty() else None
    before = termios.tcgetattr(keyboard) if keyboard is not None else None
    print(_ENTER, end="")
    try:
        if keyboard is not None:
            tty.setcbreak(keyboard)
        while True:
            size = shutil.get_terminal_size()
            lines = [line[:size.columns] for line in report(watch.look(), busiest_first=True)]
            print(_CLEAR + "\n".join(lines[:size.lines - 1]), end="", flush=True)
            if keyboard is None:
                time.sleep(interval)
            elif select.select([keyboard], [], [], interval)[0] and os.read(keyboard, 1) in (
                    b"q", b"Q", b""):
                return
    finally:
        if keyboard is not None and before is not None:
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        print(_LEAVE, end="", flush=True)


# Text

def size(count: float | None) -> str:
    if count is None:
        return "-"
    for unit in ("", "K", "M", "G", "T"):
        if abs(count) < 9999.5:
            return f"{count:.0f}{unit}" if unit == "" or count >= 99.5 else f"{count:.1f}{unit}"
        count /= 1024
    return f"{count:.0f}P"


def number(count: float | None) -> str:
    if count is None:
        return "-"
    for unit in ("", "k", "M"):
        if abs(count) < 9999.5:
            return f"{count:.0f}{unit}" if unit == "" or count >= 99.5 else f"{count:.1f}{unit}"
        count /= 1000
    return f"{count:.0f}G"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The last column is text, the others are numbers."""
    lines = [titles, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    return ["  ".join([*(word.rjust(width) for word, width in zip(line[:-1], widths, strict=False)),
                       line[-1]]).rstrip() for line in lines]


def report(look: Look, *, busiest_first: bool = False) -> list[str]:
    lines = [f"{look.name} {look.pid}   {time.strftime('%H:%M:%S', time.localtime(look.when))}   "
             f"{size(look.shared_bytes)} bytes of shared memory"]
    if look.hint:
        lines.append(look.hint)
    if look.node is not None:
        lines.append("   ".join(
            f"{name.replace('_', ' ')} {(size if name == 'pinned_bytes' else number)(count)}"
            for name, count in look.node.items()))
    for part in (_channels(look, busiest_first), _buffers(look.buffers), _links(look.links),
                 _members(look),
                 [f"descriptor {other.descriptor}, {other.name}: {other.problem or 'not known'}"
                  for other in look.others]):
        if part:
            lines += ["", *part]
    return lines


def _channels(look: Look, busiest_first: bool) -> list[str]:
    if not look.channels:
        return []
    order: Callable[[ChannelLook], float] = lambda channel: channel.descriptor
    if busiest_first:
        order = lambda channel: -(channel.rates.in_bytes + channel.rates.out_bytes
                                  if channel.rates else 0)
    return table(
        ("channel", "", "fill", "pinned", "messages", "in/s", "out/s", "in B/s", "out B/s",
         "receive", "room", "senders", "state"),
        [(str(each.descriptor), each.content, f"{100 * each.fill:.0f}%", size(each.pinned),
          ("" if each.messages_are_exact else "~") + number(each.messages),
          *_rates(each.rates),
          _numbers(each.waiting_for_data), _numbers(each.waiting_for_space),
          _numbers(each.senders), _state(each)) for each in sorted(look.channels, key=order)])


def _rates(rates: Rates | None) -> tuple[str, ...]:
    if rates is None:
        return ("-",) * 4
    return (number(rates.in_messages), number(rates.out_messages), size(rates.in_bytes),
            size(rates.out_bytes))


def _numbers(numbers: list[int]) -> str:
    if len(numbers) > 4:
        return f"{len(numbers)} of them"
    return ",".join(map(str, numbers)) or "-"


def _state(channel: ChannelLook) -> str:
    words = []
    if channel.closed:
        words.append("closed")
    if channel.taking is not None:
        words.append(f"{channel.taking} takes" + (" (wanted)" if channel.others_want_to_take
                                                  else ""))
    if channel.readers:
        words.append("read in place by " + _numbers(channel.readers))
    if channel.unfinished:
        words.append("being written by " + _numbers(sorted(set(channel.unfinished))))
    return ", ".join(words)


def _buffers(buffers: list[BufferLook]) -> list[str]:
    if not buffers:
        return []
    return table(
        ("buffer", "fill", "unread", "in B/s", "out B/s", "read", "room", "reader", "state"),
        [(str(each.descriptor), f"{100 * each.fill:.0f}%", size(each.unread), size(each.in_bytes),
          size(each.out_bytes), _numbers(each.waiting_for_data), _numbers(each.waiting_for_space),
          "-" if each.reader is None else str(each.reader), each.state) for each in buffers])


def _links(links: list[LinkLook]) -> list[str]:
    if not links:
        return []
    return table(
        ("link", "worker", "to it", "B/s", "from it", "B/s", "state"),
        [(str(each.descriptor), str(each.worker or "-"),
          *(text for way in (each.to_worker, each.to_vm)
            for text in (f"{100 * way.used / way.capacity:.0f}%", size(way.bytes_per_second))),
          ", ".join(text for text, is_so in (
              ("worker asleep", each.to_worker.receiver_is_asleep),
              ("VM asleep", each.to_vm.receiver_is_asleep),
              ("VM waits for room", each.to_worker.sender_wants_room),
              ("worker waits for room", each.to_vm.sender_wants_room)) if is_so))
         for each in links])


def _members(look: Look) -> list[str]:
    if not look.members:
        return []
    return table(("bells", "number", "pid", "calls", "process"),
                 [(str(each.bells), str(each.number), str(each.pid), str(each.bell),
                   each.name or "has ended")
                  for each in look.members])
