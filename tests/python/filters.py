# SPDX-License-Identifier: Apache-2.0
"""System calls that are refused, in a process for the rest of its life."""

from __future__ import annotations

import platform

import pytest

# Reads like the example of seccomp(2): the number of the system call, equal to one of ours, then
# the errno, else allowed.
FORBID = """
    import ctypes, struct
    def forbid(numbers, error):
        program = [struct.pack("HBBI", 0x20, 0, 0, 0)]
        for number in numbers:
            program.append(struct.pack("HBBI", 0x15, 0, 1, number))
            program.append(struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | error))
        program.append(struct.pack("HBBI", 0x06, 0, 0, 0x7fff0000))
        code = ctypes.create_string_buffer(b"".join(program))
        class Filter(ctypes.Structure):
            _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
        found = Filter(len(program), ctypes.cast(code, ctypes.c_void_p))
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        assert prctl(38, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS"
        assert prctl(22, 2, ctypes.byref(found), 0, 0) == 0, "PR_SET_SECCOMP"
"""
needs_filter = pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"),
                                  reason="the numbers of the system calls are others here")
