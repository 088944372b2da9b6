# SPDX-License-Identifier: Apache-2.0
"""How many requests a second does a WSGI application answer, behind Penstock and behind others?

wsgi.py [RESULT.json]: wrk with 32 connections posts bodies to the Flask application of
examples/wsgi_server, which hashes them, served in turn by Penstock (mochiweb), gunicorn (gthread)
and uWSGI, each with one Python process and 8 threads (and gunicorn once more with two processes,
for both cores: Penstock's Python is one process). Every round measures every server once, so that
a change of the machine's mood meets all of them. At last a 2 GiB upload, and what it adds to the
server's peak memory.
"""

import contextlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APP = ROOT / "examples/wsgi_server"
ROUNDS = 3
SECONDS = 4
CONNECTIONS = 32
THREADS = 8
BODIES = {"1KiB": 1024, "1MiB": 1 << 20}
PYTHON = "/usr/bin/python3"


def uwsgi(port: int, listener: str) -> list[str]:
    return ["uwsgi", "--plugin", "python3", listener, f"127.0.0.1:{port}",
            "--module", "flaskapp:app", "--processes", "1", "--threads", str(THREADS), "--master",
            "--die-on-term", "--disable-logging", "--need-app", "--listen", "128"]


def gunicorn(port: int, workers: int) -> list[str]:
    return [PYTHON, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread",
            "--workers", str(workers), "--threads", str(THREADS), "flaskapp:app"]


SERVERS = {
    "penstock": lambda port: ["escript", str(APP / "run.escript"), "flaskapp:app", str(port),
                              f"threads={THREADS}", "max_queue=1000"],
    "gunicorn_gthread": lambda port: gunicorn(port, 1),
    "gunicorn_gthread_2_processes": lambda port: gunicorn(port, 2),
    "uwsgi_http_socket": lambda port: uwsgi(port, "--http-socket"),
    "uwsgi_http11_socket": lambda port: uwsgi(port, "--http11-socket"),
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serving(name: str):
    """(port, process), once it answers; ended afterwards."""
    port = free_port()
    libs = os.environ.get("ERL_LIBS") or str(ROOT / "_build/default/lib")
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(SERVERS[name](port), cwd=APP, stdout=log, stderr=log,
                                  env=os.environ | {"ERL_LIBS": libs}, start_new_session=True)
        try:
            deadline = time.monotonic() + 30
            while subprocess.run(["curl", "-fsS", "-o", "/dev/null", "-d", "x",
                                  f"http://127.0.0.1:{port}/hash"], capture_output=True).returncode:
                if server.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    sys.exit(f"{name} does not serve:\n{log.read().decode()}")
                time.sleep(0.1)
            yield port, server
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def requests_per_second(port: int, body: int) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write('wrk.method = "POST"\n'
                     f'wrk.body = string.rep("x", {body})\n'
                     'wrk.headers["Content-Type"] = "application/octet-stream"\n')
        script.flush()
        done = subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s",
                               "--timeout", "20s", "-s", script.name,
                               f"http://127.0.0.1:{port}/hash"],
                              capture_output=True, text=True, check=True).stdout
    if found := re.search(r"Non-2xx or 3xx responses: (\d+)", done):
        sys.exit(f"{found[1]} requests failed:\n{done}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", done)[1])


def peak_kib(pid: int) -> int:
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


def upload_peak_mib() -> float:
    """What 2 GiB, sent with Content-Length, add to the peak that small requests have left."""
    with serving("penstock") as (port, server):
        for _ in range(20):
            requests_per_second_once(port)
        beam = int(subprocess.check_output(["pgrep", "-s", str(os.getsid(server.pid)), "beam"],
                                           text=True).split()[0])
        Path(f"/proc/{beam}/clear_refs").write_text("5")  # The peak begins anew.
        before = peak_kib(beam)
        send = subprocess.Popen(["head", "-c", str(2 << 30), "/dev/zero"], stdout=subprocess.PIPE)
        subprocess.run(["curl", "-fsS", "-o", "/dev/null", "-H", "Expect:", "-H",
                        f"Content-Length: {2 << 30}", "-H", "Transfer-Encoding:", "-T", "-",
                        "-X", "POST", f"http://127.0.0.1:{port}/hash"],
                       stdin=send.stdout, check=True)
        return (peak_kib(beam) - before) / 1024


def requests_per_second_once(port: int) -> None:
    subprocess.run(["curl", "-fsS", "-o", "/dev/null", "-d", "x" * 1000,
                    f"http://127.0.0.1:{port}/hash"], check=True)


def row(name: str, unit: str, values: list[float]) -> dict:
    found = {"name": name, "unit": unit, "median": round(statistics.median(values), 2),
             "least": round(min(values), 2), "greatest": round(max(values), 2),
             "runs": len(values)}
    print(f"{name:46} {found['median']:>10} {unit:12} ({found['least']} to {found['greatest']})",
          flush=True)
    return found


def machine() -> dict:
    def says(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip()

    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {"cpu": cpu[1] if cpu else "", "cores": os.cpu_count(), "kernel": os.uname().release,
            "load": Path("/proc/loadavg").read_text().rsplit(" ", 2)[0],
            "python": says(PYTHON, "--version"),
            "gunicorn": says(PYTHON, "-m", "gunicorn", "--version"),
            "uwsgi": says("uwsgi", "--version"), "flask": says(
                PYTHON, "-c", "import importlib.metadata as m; print(m.version('flask'))"),
            "commit": says("git", "describe", "--always", "--dirty", "--abbrev=12")}


def main(files: list[str]) -> None:
    about = machine()
    print("\n".join(f"{key:9} {value}" for key, value in about.items()), end="\n\n")
    values: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for server in SERVERS:
            with serving(server) as (port, _process):
                for body, size in BODIES.items():
                    values.setdefault(f"post_{body}_{server}", []).append(
                        requests_per_second(port, size))
    rows = [row(name, "requests/s", found) for name, found in sorted(values.items())]
    rows.append(row("upload_2GiB_peak_above_idle", "MiB", [upload_peak_mib() for _ in range(3)]))
    for file in files:
        Path(file).write_text(json.dumps(
            about | {"command": "bench/wsgi.py", "results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
