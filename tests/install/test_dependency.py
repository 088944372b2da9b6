# SPDX-License-Identifier: Apache-2.0
"""Penstock as a dependency, without a network: rebar3 from git and from _checkouts, and mix."""

import os
import re
import unittest

from checkout import HERE, Checkout


class Rebar3(unittest.TestCase):
    def setUp(self) -> None:
        self.checkout = Checkout(self)
        self.project = self.checkout.copy(HERE / "rebar3_project")

    def compile_and_run(self) -> str:
        self.checkout.run(["rebar3", "compile"], self.project)
        libs = str(self.project / "_build/default/lib") + ":" + str(
            self.project / "_build/default/checkouts")
        output = self.checkout.run(["erl", "-noshell", "-s", "consumer", "main"], self.project,
                                   ERL_LIBS=libs)
        self.assertRegex(output, "answer 42 from .*penstock/priv")
        return output

    def test_git_dependency_compiles_the_nif_and_runs(self) -> None:
        url = self.checkout.as_git_repository()
        (self.project / "rebar.config").write_text(
            f'{{deps, [{{penstock, {{git, "{url}", {{branch, "main"}}}}}}]}}.\n')
        output = self.compile_and_run()
        priv = re.search("answer 42 from (.*)", output)[1]
        self.assertTrue(os.path.exists(f"{priv}/penstock_nif.so"))
        self.assertTrue(os.path.exists(f"{priv}/python/erlang/__init__.py"))

    def test_checkouts_dependency_compiles_the_nif_and_runs(self) -> None:
        (self.project / "rebar.config").write_text("{deps, [penstock]}.\n")
        (self.project / "_checkouts").mkdir()
        (self.project / "_checkouts/penstock").symlink_to(self.checkout.source)
        self.compile_and_run()


class Mix(unittest.TestCase):
    def test_path_dependency_compiles_the_nif_and_passes_its_tests(self) -> None:
        checkout = Checkout(self)
        project = checkout.copy(HERE / "mix_project")
        output = checkout.run(["mix", "test"], project, MIX_REBAR3="/usr/bin/rebar3",
                              PENSTOCK_SOURCE=str(checkout.source), MIX_ENV="test",
                              MIX_HOME=str(checkout.folder / "mix"),
                              HEX_OFFLINE="1")
        self.assertIn("2 tests, 0 failures", output)
