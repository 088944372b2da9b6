# SPDX-License-Identifier: Apache-2.0
"""`penstock doctor`: what this machine has of what Penstock needs, tried where it can be."""

import argparse
import contextlib
import errno
import fcntl
import json
import os
import platform
import re
import resource
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Final, Literal

from penstock import __version__

_LEAST_KERNEL: Final = (5, 9)
"""close_range and pidfd, which worker processes are started with."""
_URING_KERNEL: Final = (5, 17)
_LEAST_OTP: Final = 25
_FEW_DESCRIPTORS: Final = 1024
_SEGMENT: Final = 2 << 20


@dataclass(frozen=True)
class Finding:
    """`advice`: what to do, unless it is ok."""

    name: str
    state: Literal["ok", "warning", "failed"]
    found: str
    advice: str = ""


def _ok(name: str, found: str) -> Finding:
    return Finding(name, "ok", found)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = ("Tries what Penstock needs of this machine and says what to do about "
                          "what is missing. The exit status is 1 if something failed.")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(arguments: argparse.Namespace) -> int:
    findings = [check() for check in CHECKS]
    is_fine = all(finding.state != "failed" for finding in findings)
    if arguments.json:
        print(json.dumps({"penstock": __version__, "ok": is_fine,
                          "checks": [asdict(finding) for finding in findings]}))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{finding.state:8} {finding.name:{width}}  {finding.found}")
            if finding.advice:
                print(f"{'':8} {'':{width}}  {finding.advice}")
    return 0 if is_fine else 1


# Penstock and Python

def _extension() -> tuple[ModuleType | None, str]:
    """The extension, or why it does not load."""
    try:
        from erlang import _native
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"
    return _native, ""


def _penstock() -> Finding:
    native, problem = _extension()
    if native is None:
        return Finding("penstock", "failed", f"{__version__}; {problem}",
                       "build it for this Python: make install PYTHON=" + sys.executable)
    return _ok("penstock", f"{__version__}, {Path(native.__file__ or '').parent}")


def _python() -> Finding:
    version = platform.python_version()
    found = f"{version}, {sys.executable}"
    if sys.version_info < (3, 11):
        return Finding("python", "failed", found, "Penstock needs 3.11 or newer")
    tags = _built_for()
    mine = sysconfig.get_config_var("SOABI") or ""
    if tags and mine not in tags:
        return Finding("python", "failed", f"{found}; Penstock was built for {', '.join(tags)}",
                       f"use that Python, or build for this one: make install "
                       f"PYTHON={sys.executable}")
    return _ok("python", found)


def _built_for() -> list[str]:
    """The ABIs of the extensions beside this package."""
    folder = Path(__file__).resolve().parent.parent / "erlang"
    return sorted(path.name.split(".")[1] for path in folder.glob("_native.*.so"))


def _shared_python() -> Finding:
    """The VM loads it; a plain python3 does not."""
    names: set[str] = {sysconfig.get_config_var(name) or ""
                       for name in ("INSTSONAME", "LDLIBRARY")}
    folders = [sysconfig.get_config_var("LIBDIR") or "/usr/lib"]
    folders.append(f"{folders[0]}/{sysconfig.get_config_var('MULTIARCH')}")
    shared = [f"{folder}/{name}" for folder in folders for name in sorted(names)
              if ".so" in name and os.path.exists(f"{folder}/{name}")]
    if shared:
        return _ok("libpython", shared[0])
    return Finding("libpython", "warning", "this Python has no shared library that was found",
                   "for contexts in the VM: apt-get install libpython3-dev, or build Python with "
                   "--enable-shared")


def _otp() -> Finding:
    erl = shutil.which("erl")
    if erl is None:
        return Finding("otp", "warning", "there is no erl in PATH",
                       "Erlang/OTP 25 or newer, unless only Python and C++ are to share channels")
    code = "io:format(\"~s\", [erlang:system_info(otp_release)]), halt()."
    try:
        done = subprocess.run([erl, "-noshell", "-noinput", "-eval", code], capture_output=True,
                              text=True, timeout=30, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("otp", "failed", f"{erl} does not start: {error}", "install Erlang/OTP anew")
    release = re.fullmatch(r"(\d+)", done.stdout.strip())
    if release is None:
        return Finding("otp", "failed", f"{erl} says {done.stdout[:80]!r}",
                       "install Erlang/OTP anew")
    if int(release[1]) < _LEAST_OTP:
        return Finding("otp", "failed", f"{release[1]}, {erl}", f"Penstock needs {_LEAST_OTP}")
    return _ok("otp", f"{release[1]}, {erl}")


# The kernel

def _kernel() -> Finding:
    release = platform.release()
    numbers = re.match(r"(\d+)\.(\d+)", release)
    version = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
    if sys.platform != "linux" or version < _LEAST_KERNEL:
        return Finding("kernel", "failed", f"{platform.system()} {release}",
                       "Linux 5.9 or newer: worker processes are started with its system calls")
    if version < _URING_KERNEL:
        return Finding("kernel", "warning", release, "event loops use io_uring from 5.17 on")
    return _ok("kernel", release)


def _io_uring() -> Finding:
    native, _ = _extension()
    if native is None:
        return Finding("io_uring", "warning", "not tried: the extension does not load",
                       "see penstock above")
    wanted = os.environ.get("PENSTOCK_LOOP_BACKEND", "auto")
    error = native._try_io_uring()
    if error == 0:
        if wanted == "epoll":
            return _ok("io_uring", "allowed; event loops take epoll, as PENSTOCK_LOOP_BACKEND says")
        return _ok("io_uring", "allowed: event loops take it")
    why = {
        errno.EPERM: "by kernel.io_uring_disabled or a seccomp filter, as container engines have "
                     "one: docs/docker.md says how to allow it",
        errno.EACCES: "by a security module",
        errno.ENOSYS: "this kernel has none, or not what 5.17 has",
        errno.ENOMEM: "for want of locked memory: raise ulimit -l",
        errno.EMFILE: "for want of descriptors: raise ulimit -n",
    }.get(error, "")
    found = f"refused ({os.strerror(error)}): event loops take epoll"
    if wanted == "io_uring":
        return Finding("io_uring", "failed", f"refused ({os.strerror(error)}), and "
                       "PENSTOCK_LOOP_BACKEND insists on it", why or "unset it")
    return Finding("io_uring", "warning", found, why or "nothing need be done")


def _memfd() -> Finding:
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    try:
        descriptor = os.memfd_create("penstock-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.posix_fallocate(descriptor, 0, _SEGMENT)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
            if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & seals != seals:
                return Finding("memfd", "failed", "seals do not hold", "another kernel")
        finally:
            os.close(descriptor)
    except OSError as error:
        return Finding("memfd", "failed", f"no sealed memfd of 2 MiB: {error.strerror}",
                       "allow memfd_create and give it memory: worker processes and shared "
                       "channels live in it")
    return _ok("memfd", "sealed shared memory can be made")


def _shm() -> Finding:
    """Not needed: memfds are no files of it."""
    try:
        room = os.statvfs("/dev/shm")
    except OSError:
        return _ok("/dev/shm", "not there, and not needed: shared memory is memfds")
    free = room.f_bavail * room.f_frsize >> 20
    return _ok("/dev/shm", f"{free} MiB free; not needed: shared memory is memfds")


def _pidfd() -> Finding:
    try:
        descriptor = os.pidfd_open(os.getpid())
        try:
            signal.pidfd_send_signal(descriptor, 0)
        finally:
            os.close(descriptor)
    except OSError as error:
        return Finding("pidfd", "failed", f"refused: {error.strerror}",
                       "allow pidfd_open and pidfd_send_signal: the death of a worker process is "
                       "seen by it")
    return _ok("pidfd", "the death of processes can be seen")


# Limits

def _amount(limit: int, unit: str = "") -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else f"{limit}{unit}"


def _memlock() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return _ok("memlock", f"{_amount(soft, ' bytes')}; kernels from 5.12 on do not count io_uring")


def _descriptors() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{_amount(soft)}, at most {_amount(hard)}"
    if soft != resource.RLIM_INFINITY and soft < _FEW_DESCRIPTORS:
        return Finding("descriptors", "warning", found,
                       "raise ulimit -n: a shared channel takes one, a worker process about ten")
    return _ok("descriptors", found)


def _memory() -> Finding:
    limits = {"ulimit -v": resource.RLIMIT_AS, "ulimit -d": resource.RLIMIT_DATA}
    set_ones = [f"{name} {resource.getrlimit(limit)[0]}" for name, limit in limits.items()
                if resource.getrlimit(limit)[0] != resource.RLIM_INFINITY]
    overcommit = _read("/proc/sys/vm/overcommit_memory")
    if overcommit == "2":
        set_ones.append("vm.overcommit_memory 2")
    if set_ones:
        return Finding("memory", "warning", ", ".join(set_ones),
                       "what is only reserved counts: stacks of threads, heaps of the allocators")
    return _ok("memory", f"no limit of the process; vm.overcommit_memory {overcommit or '?'}")


def _processors() -> Finding:
    count = len(os.sched_getaffinity(0))
    quota = (_read("/sys/fs/cgroup/cpu.max") or "max").split()
    found = f"{count} of {os.cpu_count()}"
    if quota[0] != "max" and len(quota) == 2:
        found += f", {int(quota[0]) / int(quota[1]):g} by the cgroup's quota"
    if count == 1:
        return Finding("processors", "warning", found,
                       "two or more: who waits here for another processor's answer must sleep")
    return _ok("processors", found)


def _read(path: str) -> str | None:
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="ascii").strip()
    return None


CHECKS: Final[tuple[Callable[[], Finding], ...]] = (
    _penstock, _python, _shared_python, _otp, _kernel, _io_uring, _memfd, _shm, _pidfd, _memlock,
    _descriptors, _memory, _processors)
