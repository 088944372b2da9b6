# SPDX-License-Identifier: Apache-2.0
"""libFuzzer: every input of the corpus is replayed, and a few seconds go into new ones. `make fuzz`
takes as long as it is told, and keeps what reaches new code.

The corpus of a target is tests/fuzz/corpus/<target>.zip. What `make fuzz` found is merged into it
by libFuzzer (-merge=1 keeps the shortest inputs that reach everything), and packed anew."""

import re
import shutil
import zipfile
from pathlib import Path

from . import build
from .counts import Counts
from .steps import LOGS, ROOT, Job, Step, StepFailed

PACKED = ROOT / "tests/fuzz/corpus"
# The longest inputs.
TARGETS = {"decoder": 4096, "python_decode": 4096, "python_encode": 1024, "shared_memory": 1024}
SECONDS = 6
# One input takes a millisecond; a hang of a second is a finding.
LIMITS = ["-timeout=5", "-rss_limit_mb=1500"]
SANITIZERS = {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=1:quarantine_size_mb=32",
              "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}


def _program(target: str) -> Path:
    return build.BUILD / f"fuzz/tests/fuzz/fuzz_{target}"


def _unpack(target: str) -> Path:
    folder = build.BUILD / "fuzz/corpus" / target
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with zipfile.ZipFile(PACKED / f"{target}.zip") as packed:
        packed.extractall(folder)
    return folder


def _pack(target: str, folder: Path) -> int:
    """The same bytes for the same inputs."""
    inputs = sorted({path.read_bytes() for path in folder.iterdir()},
                    key=lambda data: (len(data), data))
    with zipfile.ZipFile(PACKED / f"{target}.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for number, data in enumerate(inputs):
            packed.writestr(zipfile.ZipInfo(f"{number:04}"), data, zipfile.ZIP_DEFLATED)
    return len(inputs)


def _fuzz(job: Job, target: str, seconds: int, folder: Path) -> bool:
    """False: something was found; the log has it, and the input is beside the log."""
    limits = [*LIMITS, f"-max_len={TARGETS[target]}", f"-artifact_prefix={LOGS}/fuzz-{target}-"]
    status, output = job.run([_program(target), *limits, f"-max_total_time={seconds}",
                              "-print_final_stats=1", folder], env=SANITIZERS, check=False,
                             timeout=seconds + 300)
    runs = re.search(r"^Done (\d+) runs", output, re.MULTILINE)
    return status == 0 and runs is not None and int(runs[1]) > 0


def _step(job: Job) -> Counts:
    total = Counts()
    for target in TARGETS:
        folder = _unpack(target)
        inputs = len(list(folder.iterdir()))
        status, output = job.run([_program(target), *LIMITS, "-runs=0", folder], env=SANITIZERS,
                                 check=False)
        replayed = status == 0 and inputs > 0 and f"{inputs} files found" in output
        found_nothing = replayed and _fuzz(job, target, SECONDS, folder)
        good = int(replayed) + int(found_nothing)
        total += Counts(good, 2 - good)
    return total


def steps() -> list[Step]:
    return [Step("fuzz", "hostile memory and messages: the corpus, and some seconds more", _step,
                 ("build-fuzz",))]


def long(target: str, seconds: int) -> list[Step]:
    """`make fuzz`."""

    def body(job: Job) -> Counts:
        total = Counts()
        for name in [target] if target else TARGETS:
            folder = _unpack(name)
            if not _fuzz(job, name, seconds, folder):
                total += Counts(failed=1)
                continue
            least = folder.with_name(f"{name}-least")
            shutil.rmtree(least, ignore_errors=True)
            least.mkdir()
            job.run([_program(name), "-merge=1", f"-max_len={TARGETS[name]}", least, folder],
                    env=SANITIZERS)
            job.note(f"{name}: {_pack(name, least)} inputs")
            total += Counts(passed=1)
        return total

    if target and target not in TARGETS:
        raise StepFailed(f"no target {target}; there are: {', '.join(TARGETS)}")
    return [build.preset("fuzz"),
            Step("fuzz", f"{seconds} s for {target or 'each target'}", body, ("build-fuzz",))]
