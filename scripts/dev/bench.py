# SPDX-License-Identifier: Apache-2.0
"""`make bench`: runs every benchmark beside its baseline, prints medians and spread, and records
them in perf/ with machine, versions and commit."""

import json
import statistics
import subprocess

from . import build
from .counts import Counts
from .steps import ROOT, Job, Step, StepFailed

PERF = ROOT / "perf"
BUILT = build.BUILD / "release/bench"
# Of Google Benchmark's own fields, those that are not results.
BOOKKEEPING = {"family_index", "per_family_instance_index", "repetitions", "repetition_index",
               "threads", "iterations", "real_time", "cpu_time"}


def _commit() -> str:
    head = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT,
                          capture_output=True, text=True)
    return head.stdout.strip() or "unknown"


def _rows(report: dict) -> list[dict]:
    """Median and spread over the repetitions, for every counter of every benchmark."""
    values: dict[tuple[str, str], list[float]] = {}
    for run in report["benchmarks"]:
        if run.get("run_type") != "iteration":
            continue
        if run.get("error_occurred"):
            raise StepFailed(f"{run['name']}: {run.get('error_message')}")
        for counter, value in run.items():
            if isinstance(value, (int, float)) and counter not in BOOKKEEPING:
                name = run["run_name"].removesuffix("/iterations:1/manual_time")
                values.setdefault((name, counter), []).append(value)
    return [{"name": name, "unit": counter, "median": statistics.median(found),
             "least": min(found), "greatest": max(found), "runs": len(found)}
            for (name, counter), found in values.items()]


def _print(rows: list[dict]) -> None:
    for row in rows:
        spread = f"({row['least']:.4g} to {row['greatest']:.4g})"
        print(f"  {row['name']:58} {row['median']:>12.4g} {row['unit']:22} {spread}")


def _core(job: Job) -> Counts:
    """All programs of bench/, baselines first; one file for both, because only figures of one
    run compare."""
    record: dict = {"commit": _commit(), "command": "make bench", "programs": {}}
    for program in sorted(BUILT.glob("*_bench")):
        out = BUILT / f"{program.name}.json"
        job.run([program, f"--benchmark_out={out}", "--benchmark_out_format=json"], timeout=1800)
        report = json.loads(out.read_text())
        rows = _rows(report)
        if not rows:
            raise StepFailed(f"{program.name} measured nothing")
        record["programs"][program.name] = {"machine": report["context"], "results": rows}
        print(f"{program.name}")
        _print(rows)
    PERF.mkdir(exist_ok=True)
    (PERF / "core.json").write_text(json.dumps(record, indent=1) + "\n")
    return Counts()


def _program(interpreter: str, name: str, about: str, after: str) -> Step:
    """A program of bench/ that writes its own record to perf/."""
    stem = name.split(".")[0]

    def body(job: Job) -> Counts:
        PERF.mkdir(exist_ok=True)
        _, output = job.run([interpreter, f"bench/{name}", PERF / f"{stem}.json"],
                            env=build.erl_libs(), timeout=1800)
        print(output, end="")
        return Counts()

    return Step(f"bench-{stem}", f"{about}, to perf/{stem}.json", body, ("build-erlang", after), 2)


def steps() -> list[Step]:
    """One after the other: each takes both slots."""
    return [
        build.preset("release"),
        build.application(),
        Step("bench-core", "core beside a mutex and a condition variable, to perf/core.json",
             _core, ("build-release",), 2),
        _program("escript", "erlang_to_python.escript", "Erlang to Python beside a port",
                 "bench-core"),
        _program("escript", "bytes.escript", "raw bytes beside a port and io.BytesIO",
                 "bench-erlang_to_python"),
        _program("escript", "calls.escript", "calls in both directions beside a port",
                 "bench-bytes"),
        _program("escript", "tasks.escript", "tasks in event loops beside a port",
                 "bench-calls"),
        _program("escript", "processes.escript", "Python in another process beside a port",
                 "bench-tasks"),
        _program("escript", "shared.escript", "streams between processes beside ZeroMQ and pipes",
                 "bench-processes"),
        _program("/usr/bin/python3", "wsgi.py", "a WSGI application beside gunicorn and uWSGI",
                 "bench-shared"),
        _program("/usr/bin/python3", "loop.py", "ErlangEventLoop beside asyncio and uvloop",
                 "bench-wsgi"),
    ]
