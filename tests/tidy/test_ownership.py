# SPDX-License-Identifier: Apache-2.0
"""Every C resource has one owner type; its release is named in that type's file only."""

from collections.abc import Iterable

from sources import CPP, PRODUCT, Rule, RuleTest, files, lines_matching, without_comments

OWNERS = {
    r"\bPy_X?DECREF\b|\bPy_CLEAR\b|\bPy_SETREF\b": "pyext/src/ref.hpp",
    r"\benif_free_env\b": "nif/c_src/owned_env.hpp",
}
FORBIDDEN = {
    "a goto": (r"\bgoto\b", "goto out;"),
    "a clock that can be set": (r"CLOCK_REALTIME|system_clock|\bgettimeofday\b", "CLOCK_REALTIME"),
    "a bare lock or unlock": (r"\bpthread_mutex_(un)?lock\b|enif_mutex_(un)?lock\b",
                              "pthread_mutex_lock(&m);"),
}


def without(pattern: str, owner: str = "") -> Rule:
    def rule(name: str, text: str) -> Iterable[str]:
        return () if name == owner else lines_matching(pattern, without_comments(text))

    return rule


class Ownership(RuleTest):
    def test_a_resource_is_released_by_its_owner_type_only(self) -> None:
        for pattern, owner in OWNERS.items():
            names = files(PRODUCT, CPP)
            self.assertIn(owner, names)
            self.check(without(pattern, owner), names,
                       planted=("x.cpp", "Py_DECREF(o); enif_free_env(e);"))

    def test_product_code_is_without(self) -> None:
        for what, (pattern, fault) in FORBIDDEN.items():
            with self.subTest(what=what):
                self.check(without(pattern), files(PRODUCT, CPP), planted=("x.cpp", fault))
