"""The Debian package in a fresh Debian 12: installed by apt, started as its unit says, upgraded under a request that is still running,
removed, purged. Needs root; `./check package` runs it in a mount namespace of its own and names two versions of the package."""

import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

import ledger
from machine import PATIENCE, wait_for
from stack import Stack

ROOT = Path(os.environ["TOLLGATE_PACKAGE_ROOT"])
OLD, NEW = (Path(name) for name in os.environ["TOLLGATE_PACKAGES"].split(":"))
UNIT = ROOT / "usr/lib/systemd/system/tollgate.service"


def inside(*argv, check=True, **options):
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        ["chroot", ROOT, *map(str, argv)], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280, **options
    )
    assert not check or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done


def apt_install(package):
    shutil.copy(package, ROOT / "tmp" / package.name)
    inside("apt-get", "-y", "-qq", "--no-install-recommends", "install", f"/tmp/{package.name}")


def version():
    return inside("dpkg-query", "-W", "-f", "${Version} ${db:Status-Abbrev}", "tollgate").stdout.split()


def owner(path):
    state = (ROOT / path.lstrip("/")).stat()
    users = {line.split(":")[2]: line.split(":")[0] for line in (ROOT / "etc/passwd").read_text().splitlines()}
    return users[str(state.st_uid)], stat.S_IMODE(state.st_mode)


def start_as_the_unit_says():
    """The agent of ExecStart, as the unit's user and groups, with the folders systemd would make."""
    unit = UNIT.read_text()
    field = {key: re.search(rf"^{key}=(.*)$", unit, re.M)[1] for key in ("User", "Group", "SupplementaryGroups", "ExecStart", "ExecStartPre")}
    inside("install", "-d", "-o", field["User"], "-g", field["Group"], "-m", "755", "/run/tollgate")
    groups = f"{field['Group']},{field['SupplementaryGroups']}"
    become = ["setpriv", "--reuid", field["User"], "--regid", field["Group"], "--groups", groups, "--no-new-privs"]
    numbers = inside(*become, *field["ExecStartPre"].split())
    assert "good" in numbers.stdout
    log = open(ROOT / "tmp/agent.log", "wb")
    return subprocess.Popen(["chroot", ROOT, *become, *field["ExecStart"].split()], stdout=log, stderr=log, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})


@pytest.fixture(scope="module", autouse=True)
def root():
    (ROOT / "dev/null").exists() or subprocess.run(["mount", "--bind", "/dev", ROOT / "dev"], check=True)
    subprocess.run(["mount", "-t", "proc", "proc", ROOT / "proc"], check=True)
    yield


def test_lintian_is_content():
    # The maintainer's address is the builder's to give (CPACK_PACKAGE_CONTACT).
    tags = "bogus-mail-host,bogus-mail-host-in-debian-changelog"
    done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", "--suppress-tags", tags, OLD], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_installs():
    apt_install(OLD)
    assert version()[1] == "ii"
    assert owner("/var/lib/tollgate") == ("tollgate", 0o750)
    assert owner("/etc/tollgate/keys") == ("tollgate", 0o700)
    assert owner("/etc/tollgate/tollgate.yaml") == ("root", 0o644)
    assert (ROOT / "etc/systemd/system/multi-user.target.wants/tollgate.service").is_symlink()
    for page in ("man1/tollgatectl.1.gz", "man8/tollgate.8.gz"):
        assert (ROOT / "usr/share/man" / page).exists()
    for name in ("tollgate", "tollgatectl"):
        inside("bash", "-c", f"source /usr/share/bash-completion/completions/{name} && complete -p {name}")
    missing = [line for line in inside("ldd", "/usr/bin/tollgate").stdout.splitlines() if "not found" in line]
    assert missing == []


def test_the_unit_and_the_rotation_are_good():
    inside("apt-get", "-y", "-qq", "--no-install-recommends", "install", "systemd", "procps", "logrotate")
    done = inside("systemd-analyze", "verify", "--man=no", "/usr/lib/systemd/system/tollgate.service")
    assert "tollgate.service" not in done.stderr, done.stderr
    log = ROOT / "var/log/tollgate/tollgate.log"
    log.write_text("a line\n")
    inside("chown", "tollgate:tollgate", "/var/log/tollgate/tollgate.log")
    inside("logrotate", "--force", "/etc/logrotate.d/tollgate")
    assert log.read_text() == "" and (log.parent / "tollgate.log.1").read_text() == "a line\n"


def test_the_default_configuration_starts():
    agent = start_as_the_unit_says()
    try:
        wait_for(lambda: agent.poll() is not None or (ROOT / "run/tollgate/admin.sock").exists(), "the agent to start")
        assert agent.poll() is None, (ROOT / "tmp/agent.log").read_text()
        wait_for(lambda: inside("tollgatectl", "status", check=False).returncode == 0, "status")
        groups = {line.split(":")[2]: line.split(":")[0] for line in (ROOT / "etc/group").read_text().splitlines()}
        assert groups[str((ROOT / "run/tollgate/spop.sock").stat().st_gid)] == "haproxy"
        out = "/tmp/generated"
        inside("tollgate", "haproxy", "--config", "/etc/tollgate/tollgate.yaml", "--out", out)
        inside("haproxy", "-c", "-f", f"{out}/tollgate.cfg")
    finally:
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(PATIENCE) == 0
    text = (ROOT / "tmp/agent.log").read_text()
    assert " started " in text and " error " not in text, text


def test_an_upgrade_loses_no_hold():
    folder = Path(tempfile.mkdtemp(prefix="tg-"))
    programs = folder / "programs"
    programs.mkdir()
    for name in ("tollgate", "tollgatectl"):
        (programs / name).write_text(f'#!/bin/sh\nexec chroot {ROOT} /usr/bin/{name} "$@"\n')
        (programs / name).chmod(0o755)
    (ROOT / str(folder).lstrip("/")).mkdir(parents=True)
    subprocess.run(["mount", "--bind", folder, ROOT / str(folder).lstrip("/")], check=True)
    stack = Stack(folder, build=programs, first_byte="250s")
    try:
        stack.start()
        token, answers = stack.person("ann"), []
        stack.provider.popen.send_signal(signal.SIGSTOP)
        body = {"model": "solo", "messages": [{"role": "user", "content": "still running"}], "max_tokens": 100}
        client = threading.Thread(target=lambda: answers.append(stack.post(token, body, timeout=270)[0]))
        client.start()
        held = wait_for(lambda: stack.query("SELECT request_id, hold_nano FROM request WHERE state = 'open'"), "the hold")

        def accounts():
            return [account["held"] for account in ledger.accounts(stack, "team-day") if account["held"]]

        assert accounts() == [held[0]["hold_nano"]]
        before = version()[0]
        apt_install(NEW)
        assert version()[0] != before and stack.agent.alive()  # the old one works on until it is told to stop
        assert stack.agent.stop() == 0
        stack.restart_agent()
        assert stack.query("SELECT request_id, hold_nano FROM request WHERE state = 'open'") == held
        assert accounts() == [held[0]["hold_nano"]]
        stack.provider.popen.send_signal(signal.SIGCONT)
        client.join(PATIENCE)
        assert answers == [200]
        settled = "SELECT state, known_by FROM request WHERE request_id = ?"
        wait_for(lambda: stack.query(settled, held[0]["request_id"]) == [{"state": "settled", "known_by": "reported"}], "the settlement")
    finally:
        stack.provider.popen.send_signal(signal.SIGCONT)
        stack.stop()
        subprocess.run(["umount", ROOT / str(folder).lstrip("/")], check=True)
        stack.remove()


def test_changes_to_the_configuration_survive_and_removal_keeps_the_books():
    config = ROOT / "etc/tollgate/tollgate.yaml"
    config.write_text(config.read_text() + "# ours\n")
    inside("apt-get", "-y", "-qq", "--reinstall", "-o", "Dpkg::Options::=--force-confold", "install", f"/tmp/{NEW.name}")
    assert config.read_text().endswith("# ours\n")
    inside("apt-get", "-y", "-qq", "remove", "tollgate")
    assert version()[1] == "rc" and not (ROOT / "usr/bin/tollgate").exists()
    assert config.exists() and (ROOT / "var/lib/tollgate/ledger.db").exists()


def test_purge_leaves_nothing():
    inside("apt-get", "-y", "-qq", "purge", "tollgate")
    assert inside("dpkg-query", "-W", "tollgate", check=False).returncode != 0
    left = inside(
        "find", "/etc", "/usr", "/var", "/lib", "/run", "-iname", "*tollgate*", "-not", "-path", "/var/cache/*", "-not", "-path", "/var/log/apt/*"
    ).stdout.split()
    assert left == []
    assert "tollgate" not in (ROOT / "etc/passwd").read_text() + (ROOT / "etc/group").read_text()
