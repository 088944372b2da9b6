# SPDX-License-Identifier: Apache-2.0
"""Builds erlang._native with CMake, for the Python that runs this."""

import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


class CMakeBuild(build_ext):
    def build_extension(self, extension: Extension) -> None:
        folder = Path(self.build_temp).resolve()
        target = Path(self.get_ext_fullpath(extension.name)).resolve()
        subprocess.run(["cmake", "-S", ROOT, "-B", folder, "-G", "Ninja",
                        f"-DPENSTOCK_PYTHON={sys.executable}"], check=True)
        subprocess.run(["cmake", "--build", folder, "--target", "penstock_native"], check=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        (built,) = (folder / "python/erlang").glob("_native.*.so")
        self.copy_file(str(built), str(target))


setup(ext_modules=[Extension("erlang._native", [])], cmdclass={"build_ext": CMakeBuild})
