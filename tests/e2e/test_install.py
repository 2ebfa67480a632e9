"""`cmake --install` without a package: into a folder of its own, which is then moved; what is installed there works alone."""

import os
import subprocess

import pytest

from machine import build_folder


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """Where it was moved to after it was installed elsewhere."""
    folder = tmp_path_factory.mktemp("install")
    install(folder / "first")
    (folder / "first").rename(folder / "moved")
    return folder / "moved"


def install(prefix):
    done = subprocess.run(["cmake", "--install", build_folder(), "--prefix", prefix], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.usefixtures("inside")
def test_a_moved_installation_serves_requests(make_stack, prefix):
    stack = make_stack(build=prefix / "bin")
    assert os.readlink(f"/proc/{stack.agent.pid}/exe") == str(prefix / "bin/tollgate")
    maps = open(f"/proc/{stack.agent.pid}/maps").read()
    assert str(prefix / "share/tollgate/o200k_base.tgv") in maps and str(build_folder()) not in maps
    body = {"model": "chat-default", "messages": [{"role": "user", "content": "from an installation"}]}
    status, headers, _ = stack.post(stack.person("ann"), body)
    assert status == 200


def test_the_default_configuration_is_good_and_is_not_written_over(tmp_path):
    install(tmp_path)
    config = tmp_path / "etc/tollgate/tollgate.yaml"
    edited = config.read_text() + "# ours\n"
    config.write_text(edited)
    assert f"Kept: {config}" in install(tmp_path)
    assert config.read_text() == edited
    unit = (tmp_path / "lib/systemd/system/tollgate.service").read_text()
    assert f"ExecStart={tmp_path}/bin/tollgate run --config {config}\n" in unit and "@ETC@" not in unit


def test_a_staged_installation_stays_in_its_stage(tmp_path):
    done = subprocess.run(
        ["cmake", "--install", build_folder(), "--prefix", "/usr"], env={**os.environ, "DESTDIR": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "etc/tollgate/tollgate.yaml").exists() and (tmp_path / "usr/bin/tollgatectl").exists()
    assert "ExecStart=/usr/bin/tollgate run --config /etc/tollgate/tollgate.yaml" in (tmp_path / "usr/lib/systemd/system/tollgate.service").read_text()


def test_every_program_and_page_is_there(prefix):
    for name in ("tollgate", "tollgatectl"):
        assert subprocess.run([prefix / "bin" / name, "version" if name == "tollgate" else "--help"], capture_output=True).returncode == 0
        (page,) = (prefix / "share/man").glob(f"man*/{name}.*")
        shown = subprocess.run(["man", "-l", page], capture_output=True, text=True, env={**os.environ, "MANPAGER": "cat"})
        assert shown.returncode == 0 and name in shown.stdout
        assert (prefix / "share/bash-completion/completions" / name).exists()
