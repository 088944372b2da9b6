# SPDX-License-Identifier: Apache-2.0
"""How fast is ErlangEventLoop, on io_uring and on epoll, beside asyncio's loop and uvloop?

loop.py [RESULT.json] [--quick] [--only PATTERN ...] [--loops NAME ...] [--rounds N]

Echo over TCP and unix sockets (bench/loop_server.py, loaded by bench/echo_client.cpp, each pinned
to a processor of its own), and what a loop does without a network (bench/loop_functions.py). All
loops wait in processes of their own while each row is measured on each of them in turn, and that
several times, each time with new processes, so that a change of the machine's mood meets all. A
row of echo is requests per second, and once more the processor time that the server took for one,
which is steadier; beside the loops stands what a server in C++ does (bench/echo_server.cpp), as
the limit. `times_uvloop` is the median of the ratios within the rounds, above 1 where better.

--quick: fewer rows, rounds and repetitions, some seconds in all. --only echo_tcp_protocol*: those
rows. PENSTOCK_PYTHON: another Python; BUILD: another folder than build/release.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("BUILD") or ROOT / "build/release")
PYTHON = os.environ.get("PENSTOCK_PYTHON") or "/usr/bin/python3"
LOOPS = {
    "asyncio": ("asyncio:SelectorEventLoop", {}),
    "uvloop": ("uvloop:new_event_loop", {}),
    "epoll": ("erlang:new_event_loop", {"PENSTOCK_LOOP_BACKEND": "epoll"}),
    "io_uring": ("erlang:new_event_loop", {"PENSTOCK_LOOP_BACKEND": "io_uring"}),
}
BASELINE = "uvloop"
LIMIT = "c_epoll"
CLIENT_CPU, LOOP_CPU = 0, (os.cpu_count() or 2) - 1
SHAPES = {"1x1KiB": (1, 1024), "10x1KiB": (10, 1024), "100x1KiB": (100, 1024),
          "1x100KiB": (1, 102400), "10x100KiB": (10, 102400)}
RATES = ("call_soon", "call_soon_threadsafe", "call_soon_from_thread", "create_task", "sleep_0",
         "sleep_0_100_tasks", "call_later_cancel", "call_later_fires")
# Less is better, and 0 the best: no ratio.
TIMES = {"sleep_1ms_lateness": "us", "sleep_100us_lateness": "us", "idle_wakeups": "1/s"}
QUICK_ECHO = ("echo_tcp_*_1x1KiB", "echo_tcp_*_10x1KiB", "echo_tcp_*_10x100KiB")


@dataclass
class Process:
    """A loop in a process of its own, that is told what to do line by line."""

    name: str
    popen: subprocess.Popen
    addresses: dict[str, str] = field(default_factory=dict)

    def answer(self, line: str = "") -> str:
        if line:
            self.popen.stdin.write(line + "\n")
            self.popen.stdin.flush()
        found = self.popen.stdout.readline()
        if not found:
            sys.exit(f"{self.name} ended: {line or 'at its start'}")
        return found

    def cpu_ns(self) -> int:
        return int(Path(f"/proc/{self.popen.pid}/schedstat").read_text().split()[0])


@contextlib.contextmanager
def started(name: str, script: str, *arguments: str) -> Iterator[Process]:
    factory, env = LOOPS.get(name, ("", {}))
    path = f"{BUILD / 'python'}:{os.environ.get('PYTHONPATH', '')}"
    program = [PYTHON, "-B", str(ROOT / "bench" / script), factory]
    if name == LIMIT:
        program = [str(BUILD / "bench/echo_server")]
    popen = subprocess.Popen(["taskset", "-c", str(LOOP_CPU), *program, *arguments], text=True,
                             env=os.environ | env | {"PYTHONPATH": path}, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    try:
        yield Process(name, popen)
    finally:
        popen.stdin.close()
        try:
            popen.wait(5)
        except subprocess.TimeoutExpired:
            popen.kill()


def load(address: str, shape: str, seconds: float) -> float:
    connections, size = SHAPES[shape]
    done = subprocess.run(["taskset", "-c", str(CLIENT_CPU), BUILD / "bench/echo_client", address,
                           str(connections), str(size), str(seconds)],
                          capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"echo_client {address} {shape}: {done.stderr}")
    return float(done.stdout.split()[0])


class Figures:
    """Of every row and loop, the values of all rounds."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], dict[str, list[float]]] = {}

    def add(self, row: str, unit: str, loop: str, value: float) -> None:
        self._values.setdefault((row, unit), {}).setdefault(loop, []).append(value)

    def results(self) -> list[dict]:
        found = []
        for (row, unit), by_loop in self._values.items():
            for loop, values in by_loop.items():
                result = {"name": f"{row}_{loop}", "unit": unit, "loop": loop,
                          "median": round(statistics.median(values), 2),
                          "least": round(min(values), 2), "greatest": round(max(values), 2),
                          "runs": len(values)}
                baseline = by_loop.get(BASELINE, [])
                if loop != BASELINE and row not in TIMES and len(baseline) == len(values):
                    ratios = [mine / other for mine, other in zip(values, baseline)]
                    ratio = statistics.median(ratios)
                    result["times_uvloop"] = round(1 / ratio if unit == "us/request" else ratio, 2)
                found.append(result)
        return found

    def print(self) -> None:
        names, width = [*LOOPS, LIMIT], 21
        print(f"{'':38}" + "".join(f"{name:>{width}}" for name in names))
        results = {(found["name"], found["unit"]): found for found in self.results()}
        for row, unit in self._values:
            cells = []
            for loop in names:
                found = results.get((f"{row}_{loop}", unit))
                text = "-" if found is None else f"{found['median']:.5g}"
                if found is not None and "times_uvloop" in found:
                    text += f" ({found['times_uvloop']:.2f}x)"
                cells.append(f"{text:>{width}}")
            print(f"{row:27}{unit:11}" + "".join(cells))


def wanted(names: list[str], patterns: list[str]) -> list[str]:
    return [name for name in names
            if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]


def measure_round(figures: Figures, loops: list[str], echo: list[str], functions: list[str],
                  seconds: float, scale: float, folder: Path,
                  stack: contextlib.ExitStack) -> None:
    servers, workers = [], []
    for name in loops:
        if echo:
            sockets = folder / name
            sockets.mkdir()
            server = stack.enter_context(started(name, "loop_server.py", str(sockets)))
            server.addresses = json.loads(server.answer())
            servers.append(server)
        if functions and name != LIMIT:
            workers.append(stack.enter_context(started(name, "loop_functions.py")))
    for row in echo:
        _, family, mode, shape = row.split("_")
        for server in servers:
            if f"{family}_{mode}" not in server.addresses:
                continue
            before = server.cpu_ns()
            rate = load(server.addresses[f"{family}_{mode}"], shape, seconds)
            # The warm-up, a tenth more, is in the time of the processor.
            cpu = (server.cpu_ns() - before) / 1e3 / (rate * seconds * 1.1)
            figures.add(row, "requests/s", server.name, rate)
            figures.add(row, "us/request", server.name, cpu)
    for name in functions:
        for worker in workers:
            value = float(worker.answer(f"{name} {scale}"))
            figures.add(name, TIMES.get(name, "1/s"), worker.name, value)


def measure(chosen: argparse.Namespace) -> Figures:
    figures = Figures()
    echo = wanted([f"echo_{server}_{shape}" for server in
                   (f"{family}_{mode}" for mode in ("protocol", "streams", "sockets")
                    for family in ("tcp", "unix")) for shape in SHAPES], chosen.only)
    functions = wanted([*RATES, *TIMES], chosen.only)
    if chosen.quick and chosen.only == ["*"]:
        echo = wanted(echo, list(QUICK_ECHO))
    seconds, scale = (0.12, 0.3) if chosen.quick else (0.25, 1.0)
    for _ in range(chosen.rounds):
        # New processes each time: how their memory happens to lie is worth up to a third.
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            measure_round(figures, chosen.loops, echo, functions, seconds, scale, Path(folder),
                          stack)
    return figures


def machine() -> dict:
    def says(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip()

    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {"cpu": cpu[1] if cpu else "", "cores": os.cpu_count(), "kernel": os.uname().release,
            "load": Path("/proc/loadavg").read_text().rsplit(" ", 2)[0],
            "python": says(PYTHON, "--version"),
            "uvloop": says(PYTHON, "-c", "import uvloop; print(uvloop.__version__)"),
            "commit": says("git", "describe", "--always", "--dirty", "--abbrev=12")}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", nargs="?")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", default=["*"])
    parser.add_argument("--loops", nargs="+", default=[*LOOPS, LIMIT],
                        choices=[*LOOPS, LIMIT])
    parser.add_argument("--rounds", type=int, default=0)
    chosen = parser.parse_args()
    chosen.rounds = chosen.rounds or (2 if chosen.quick else 5)
    about = machine()
    print("\n".join(f"{key:9} {value}" for key, value in about.items()), end="\n\n")
    figures = measure(chosen)
    figures.print()
    if chosen.file:
        Path(chosen.file).write_text(json.dumps(
            about | {"command": "bench/loop.py", "results": figures.results()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
