"""Targets as `tollgatectl route` shows and changes them."""

import json
import subprocess

from machine import PATIENCE


def ctl(stack, *argv, code=0):
    """tollgatectl's output; its errors when it must fail."""
    done = subprocess.run(
        [stack.tollgate.parent / "tollgatectl", *map(str, argv)], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def route(stack, *argv, code=0):
    return ctl(stack, "--socket", stack.admin_socket, "--json", "route", *argv, code=code)


def states(stack, *target):
    """By GROUP/MODEL; of one target or group, or of all."""
    return {f"{t['group']}/{t['model']}": t for t in json.loads(route(stack, "status", *target))}


def state(stack, target):
    (one,) = states(stack, target).values()
    return one
