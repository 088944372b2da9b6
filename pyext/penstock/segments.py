# SPDX-License-Identifier: Apache-2.0
"""The memory that a running process shares: found through its descriptors, mapped read-only.

The process may be anything, and may write anything meanwhile: what is not a sealed memfd is left
alone, each word is read once, and whoever reads it checks it.
"""

import errno
import fcntl
import mmap
import os
import pwd
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "/memfd:penstock"
SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_U32: Final = struct.Struct("@I")  # Native: each is one load.
_U64: Final = struct.Struct("@Q")


class CannotLook(Exception):
    """At a process, and why."""


class Damaged(Exception):
    """The memory is not what it should be, and why."""


class Words:
    """Memory to be read. Offsets are the caller's, who knows how much there is."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self.size = len(memory)

    def u32(self, at: int) -> int:
        value: int = _U32.unpack_from(self._memory, at)[0]
        return value

    def u64(self, at: int) -> int:
        value: int = _U64.unpack_from(self._memory, at)[0]
        return value

    def i64(self, at: int) -> int:
        value = self.u64(at)
        return value - (1 << 64) if value >> 63 else value

    def copy(self, at: int, size: int) -> bytes:
        return self._memory[at:at + size]


@dataclass(frozen=True)
class Segment:
    """A descriptor of a process. `name`: penstock-channel and so on, as it says itself."""

    pid: int
    descriptor: int
    name: str


@dataclass(frozen=True)
class Mapped:
    """Its memory, while it is looked at."""

    segment: Segment
    inode: int
    words: Words


def refusal(pid: int, error: OSError) -> CannotLook:
    if error.errno in (errno.EACCES, errno.EPERM):
        return CannotLook(f"not permitted to look at process {pid} of {owner(pid)}: "
                          "run this as that user, or as root")
    return CannotLook(f"there is no process {pid}")


def owner(pid: int) -> str:
    try:
        uid = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return "somebody"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def segments(pid: int) -> list[Segment]:
    """Those whose names say that they are ours. CannotLook."""
    folder = f"/proc/{pid}/fd"
    found = []
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise refusal(pid, error) from None
    for name in names:
        try:
            target = os.readlink(f"{folder}/{name}")
        except OSError:
            continue  # Closed meanwhile.
        if target.startswith(PREFIX):
            found.append(Segment(pid, int(name), target[len("/memfd:"):].removesuffix(
                " (deleted)")))
    return sorted(found, key=lambda segment: segment.descriptor)


@contextmanager
def mapped(segment: Segment) -> Iterator[Mapped]:
    """Its memory, for a scope. Damaged: it is no sealed memfd any more."""
    try:
        # Not to be kept waiting, should something else be there meanwhile.
        descriptor = os.open(f"/proc/{segment.pid}/fd/{segment.descriptor}",
                             os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise Damaged(f"cannot be opened: {error.strerror}") from None
    try:
        memory, inode = _map(descriptor)
    finally:
        os.close(descriptor)
    with memory:
        try:
            yield Mapped(segment, inode, Words(memory))
        except struct.error:
            raise Damaged("it is too short") from None


def _map(descriptor: int) -> tuple[mmap.mmap, int]:
    """Seals first: who could shrink it could kill us."""
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or seals & SEALS != SEALS:
            raise Damaged("its size is not sealed")
        return mmap.mmap(descriptor, status.st_size, mmap.MAP_SHARED,
                         mmap.PROT_READ), status.st_ino
    except (OSError, ValueError, OverflowError) as error:
        raise Damaged(f"cannot be mapped: {error}") from None


def inodes_mapped_by(pid: int) -> set[int]:
    """Of our memfds. Nothing if it may not be looked at."""
    found = set()
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                words = line.split(maxsplit=5)
                if len(words) == 6 and words[5].startswith(PREFIX):
                    found.add(int(words[4]))
    except OSError:
        pass
    return found


def name_of(pid: int) -> str | None:
    """None: there is no such process."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return "".join(c if c.isprintable() else "?" for c in file.read().strip())
    except OSError:
        return None


def children_of(pid: int) -> set[int]:
    found: set[int] = set()
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            try:
                with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                    found.update(int(word) for word in file.read().split())
            except OSError:
                continue  # The thread has ended.
    except OSError:
        pass
    return found


def is_worker(pid: int) -> bool:
    """Whether it says that it is a worker process of a VM."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"erlang.worker" in file.read(65536).split(b"\0")
    except OSError:
        return False


def parent_of(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("PPid:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return None


def candidates() -> list[int]:
    """Processes of ours that have such memory, and are nobody's workers."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != os.getpid():
            try:
                if segments(int(name)) and not is_worker(int(name)):
                    found.append(int(name))
            except CannotLook:
                continue
    return sorted(found)
