# SPDX-License-Identifier: Apache-2.0
"""Which folder may include what: docs/architecture.md in the form of a test."""

import re
from collections.abc import Iterable

from sources import CPP, RuleTest, files

FORBIDDEN = {
    "core/": r"erl_nif|erl_driver|Python\.h|liburing|penstock/(?:io_uring|python)/",
    "io_uring/": r"erl_nif|erl_driver|Python\.h|penstock/python/",
    "pyext/": r"erl_nif|erl_driver|nif/|vm_host|liburing",
    "nif/": r"Python\.h|liburing",
}
# The nif sees of Penstock only core and one header of pyext.
NIF_MAY = re.compile(r"penstock/(?!python/).+\.hpp|penstock/python/runtime\.hpp|[a-z_]+\.hpp")
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]', re.MULTILINE)


def includes_nothing_above_it(name: str, text: str) -> Iterable[str]:
    folder = name.split("/")[0] + "/"
    for header in INCLUDE.findall(text):
        if re.search(FORBIDDEN[folder], header):
            yield header


def meets_python_only_through_the_runtime(name: str, text: str) -> Iterable[str]:
    for header in re.findall(r'#\s*include\s*"([^"]+)"', text):
        if not NIF_MAY.fullmatch(header):
            yield header


class Layering(RuleTest):
    def test_no_folder_includes_a_header_above_it(self) -> None:
        for folder in FORBIDDEN:
            fault = "#include <erl_nif.h>\n#include <Python.h>\n"
            self.check(includes_nothing_above_it, files((folder,), CPP), planted=(folder, fault))

    def test_nif_meets_python_only_through_the_runtime_header(self) -> None:
        self.check(meets_python_only_through_the_runtime, files(("nif/",), CPP),
                   planted=("nif/x.cpp", '#include "penstock/python/channel_object.hpp"\n'))
