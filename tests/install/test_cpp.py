# SPDX-License-Identifier: Apache-2.0
"""The C++ library as somebody has it who only has that: installed, and found by find_package."""

import os
import sys
import unittest

from checkout import ROOT, Checkout

PYTHON = os.environ.get("PENSTOCK_PYTHON") or sys.executable


class FindPackage(unittest.TestCase):
    def test_the_example_is_built_against_what_is_installed_and_streams_to_python(self) -> None:
        checkout = Checkout(self)
        prefix = checkout.folder / "prefix"
        # Neither Erlang nor Python is needed for it.
        checkout.run(["cmake", "-S", ".", "-B", "build/cpp", "-G", "Ninja",
                      "-DPENSTOCK_NIF=OFF"], checkout.source)
        checkout.run(["cmake", "--build", "build/cpp"], checkout.source)
        checkout.run(["cmake", "--install", "build/cpp", "--prefix", str(prefix)],
                     checkout.source)
        headers = sorted(path.name for path in (prefix / "include/penstock").iterdir())
        self.assertEqual(headers, ["shared_channel.hpp", "status.hpp"])

        example = checkout.copy(ROOT / "examples/cpp_producer")
        checkout.run(["cmake", "-S", ".", "-B", "build", "-G", "Ninja",
                      f"-DCMAKE_PREFIX_PATH={prefix}",
                      "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wconversion -Wshadow -Werror"], example)
        checkout.run(["cmake", "--build", "build"], example)
        package = ROOT / "_build/default/lib/penstock/priv/python"
        output = checkout.run([PYTHON, "consumer.py", "build/producer", "2000"], example,
                              PYTHONPATH=str(package))
        self.assertIn("4000 messages of 32 samples, mean square 0.5", output)
