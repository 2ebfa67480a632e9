"""The systemd unit as it is installed: how far it confines the agent, and that it leaves it the calls it needs."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = (ROOT / "agent/package/tollgate.service.in").read_text()
EXPOSURE = 14  # tenths, as systemd counts it (0 to 100); the figure in README.md

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing")


@pytest.fixture(scope="module")
def unit(tmp_path_factory):
    """As cmake --install writes it."""
    path = tmp_path_factory.mktemp("unit") / "tollgate.service"
    path.write_text(SOURCE.replace("@BINDIR@", "/usr/bin").replace("@ETC@", "/etc"))
    return path


def analyze(*arguments):
    return subprocess.run(["systemd-analyze", "--no-pager", *map(str, arguments)], capture_output=True, text=True)


def members(name):
    """The calls of a set, with those of the sets in it."""
    done = analyze("syscall-filter", name)
    assert done.returncode == 0, done.stderr
    calls = set()
    for line in done.stdout.splitlines()[1:]:
        word = line.strip()
        if word.startswith("@"):
            calls |= members(word)
        elif word and not word.startswith("#"):
            calls.add(word)
    return calls


def allowed():
    """What the lines of SystemCallFilter come to, in their order."""
    calls = set()
    for line in SOURCE.splitlines():
        if not line.startswith("SystemCallFilter="):
            continue
        words = line.split("=", 1)[1].removeprefix("~").split()
        named = set().union(*(members(word) if word.startswith("@") else {word} for word in words))
        calls = calls - named if line.startswith("SystemCallFilter=~") else calls | named
    return calls | members("@default")


def test_exposure_is_at_most_what_the_readme_says(unit):
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", unit)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
    assert f"exposure {EXPOSURE / 10}" in (ROOT / "README.md").read_text()


def test_each_weakness_has_its_reason(unit):
    done = analyze("security", "--offline=true", "--json=short", unit)
    found = {entry["json_field"] for entry in json.loads(done.stdout) if float(entry["exposure"] or 0) > 0}
    assert found == {
        "PrivateNetwork", "IPAddressDeny", "RestrictAddressFamilies_AF_INET_INET6",  # providers, anywhere
        "RestrictAddressFamilies_AF_UNIX", "RestrictAddressFamilies_AF_NETLINK",  # HAProxy; name resolution
        "SupplementaryGroups", "SystemCallFilter_privileged", "PrivateUsers",  # sockets given to HAProxy's group, by chown
        "DeviceAllow",  # what ProtectClock itself allows: reading the clock
        "RootDirectoryOrRootImage", "UMask",  # installed in the host; reports by the agent's group
    }  # fmt: skip


def test_the_agent_may_confine_itself_further():
    calls = allowed()
    assert {"seccomp", "prctl", "prlimit64", "mlock", "chown", "clone", "execve", "kill"} <= calls
    assert not calls & {"ptrace", "process_vm_readv", "setuid", "mount", "bpf", "keyctl", "sched_setscheduler"}
