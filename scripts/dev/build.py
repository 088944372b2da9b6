# SPDX-License-Identifier: Apache-2.0
"""Building: the CMake presets, one folder for each further Python, and the Erlang application."""

import os

from . import pythons
from .counts import Counts
from .steps import ROOT, SLOTS, Job, Step, StepFailed

BUILD = ROOT / "build"
# Paths are made relative, so that the copies of the install tests hit the same cache entries.
CCACHE = {"CCACHE_NOHASHDIR": "1", "CCACHE_BASEDIR": str(ROOT)}
REBAR = CCACHE | {"TERM": "dumb", "DEBUG": ""}


def configure(job: Job, name: str) -> None:
    job.run(["cmake", "--preset", name, f"-DPENSTOCK_PYTHON={pythons.chosen()}"], env=CCACHE)


def preset(name: str, *targets: str) -> Step:
    def body(job: Job) -> Counts:
        configure(job, name)
        wanted = ["--target", *targets] if targets else []
        job.run(["cmake", "--build", "--preset", name, *wanted, "--", "-k", "0"], env=CCACHE,
                timeout=900)
        return Counts()

    return Step(f"build-{name}", f"CMake preset {name}, warnings are errors", body, slots=SLOTS)


def for_python(version: str) -> Step:
    """The NIF and the package for another Python, in build/python-<version>."""

    def body(job: Job) -> Counts:
        python = pythons.other(version)
        if python is None:
            raise StepFailed(f"no Python {version}")
        folder = BUILD / f"python-{version}"
        job.run(["cmake", "-S", ".", "-B", folder, "-G", "Ninja", f"-DPENSTOCK_PYTHON={python}",
                 "-DPENSTOCK_WERROR=ON"], env=CCACHE)
        job.run(["cmake", "--build", folder, "--", "-k", "0"], env=CCACHE, timeout=900)
        return Counts()

    return Step(f"build-{version}", f"NIF and package for Python {version}", body, slots=SLOTS)


def application() -> Step:
    def body(job: Job) -> Counts:
        job.run(["rebar3", "compile"], env=REBAR, timeout=900)
        if not (ROOT / "_build/default/lib/penstock/priv/penstock_nif.so").exists():
            raise StepFailed("rebar3 compile left no priv/penstock_nif.so")
        return Counts()

    return Step("build-erlang", "rebar3 compile: application, NIF, Python package", body,
                slots=SLOTS)


def erl_libs() -> dict[str, str]:
    """For programs that run the compiled application."""
    libs = str(ROOT / "_build/default/lib")
    before = os.environ.get("ERL_LIBS")
    return {"ERL_LIBS": f"{libs}:{before}" if before else libs}
