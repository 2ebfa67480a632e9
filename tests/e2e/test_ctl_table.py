"""What tollgatectl makes of its table of commands: help, bash completion and the manual page. Nothing runs beside it."""

import re
import subprocess

import pytest

from machine import PATIENCE, build_folder

CTL = build_folder() / "tollgatectl"


def ctl(*arguments, check=0):
    done = subprocess.run([CTL, *arguments], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == check, done.stdout + done.stderr
    return done


COMMANDS = re.findall(r"^  (\S+) ", ctl("help").stdout, re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps(command):
    text = ctl(command, "--help").stdout
    assert text.startswith(f"usage: tollgatectl {command}")
    assert "\nExit status: 0 " in text
    assert all(len(line) <= 120 and line == line.rstrip() for line in text.splitlines())
    refused = ctl(command, "--no-such-option", check=2).stderr
    assert refused.startswith(("usage:", "tollgatectl: unknown option --no-such-option"))


def test_options_may_stand_before_the_command(tmp_path):
    text = ctl("--socket", str(tmp_path / "none.sock"), "--json", "ping", check=1).stderr
    assert str(tmp_path / "none.sock") in text
    assert "there is no command pong" in ctl("pong", check=2).stderr
    assert ctl(check=2).stderr.startswith("usage: tollgatectl")


def test_the_manual_page_has_everything_and_no_warning(tmp_path):
    page = tmp_path / "tollgatectl.1"
    page.write_text(ctl("man").stdout)
    for style in (["man", "--warnings=all", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page], ["groff", "-man", "-ww", "-z", page]):
        done = subprocess.run(style, capture_output=True, text=True, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "MANWIDTH": "80"})
        assert done.returncode == 0 and done.stderr == "", done.stderr
    text = subprocess.run(["groff", "-man", "-Tascii", "-P-cbou", page], capture_output=True, text=True, check=True).stdout
    text = " ".join(text.split())
    for command in COMMANDS:
        assert f"tollgatectl {command}" in text
        for option in re.findall(r"^  (--\S+)", ctl(command, "--help").stdout, re.M):
            assert option in text


def complete(*words):
    script = f"""source <("{CTL}" completion bash)
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _tollgatectl; printf '%s\\n' "${{COMPREPLY[@]}}" """
    done = subprocess.run(["bash", "-c", script, "bash", "tollgatectl", *words], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout.split()


def test_bash_completes(tmp_path):
    assert complete("rep") == ["report", "reprice"]
    assert complete("--socket", "/x", "sta") == ["status"]
    assert complete("report", "--kind", "s") == ["spend", "savings"]
    assert complete("report", "--form") == ["--format"]
    assert complete("prices", "") == ["list", "import"]
    assert complete("archive", "--before", "2") == []
    (tmp_path / "there.db").touch()
    assert complete("status", "--socket", f"{tmp_path}/th") == [f"{tmp_path}/there.db"]
    for command in COMMANDS:
        assert complete(command, "--hel") == ["--help"]
