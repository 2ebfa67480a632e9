"""Runs a program where seccomp is missing, as on a kernel without it, or where loading a filter is refused: without_seccomp.py missing|refused PROGRAM ARGS.

A filter of ours answers the calls that would load another."""

import ctypes
import errno
import os
import platform
import struct
import sys

SECCOMP, PRCTL = {"x86_64": (317, 157), "aarch64": (277, 167)}[platform.machine()]
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, MODE_FILTER, SET_MODE_FILTER = 22, 38, 2, 1
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000


def program(mode):
    """(code, jump if true, jump if false, value) each; offset 0 of what is looked at is the call's number, 16 its first argument."""
    if mode == "missing":
        return [(LOAD, 0, 0, 0), (EQUAL, 0, 1, SECCOMP), (RETURN, 0, 0, ERRNO | errno.ENOSYS), (RETURN, 0, 0, ALLOW)]
    return [
        (LOAD, 0, 0, 0),
        (EQUAL, 2, 0, SECCOMP),
        (EQUAL, 3, 0, PRCTL),
        (RETURN, 0, 0, ALLOW),
        (LOAD, 0, 0, 16),
        (EQUAL, 3, 2, SET_MODE_FILTER),
        (LOAD, 0, 0, 16),
        (EQUAL, 1, 0, PR_SET_SECCOMP),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, ERRNO | errno.EPERM),
    ]


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def main(mode, argv):
    steps = program(mode)
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    libc = ctypes.CDLL(None, use_errno=True)
    whole = Program(len(steps), ctypes.cast(code, ctypes.c_void_p))
    for call in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(whole), 0, 0)):
        if libc.prctl(*call) != 0:
            sys.exit(f"without_seccomp: {os.strerror(ctypes.get_errno())}")
    os.execv(argv[0], argv)


main(sys.argv[1], sys.argv[2:])
