"""One YAML file: refused with a place and a reason when wrong, taken over whole by SIGHUP; HAProxy's files come from it."""

import re
import subprocess
import threading

import pytest

import ledger
from machine import QUIET_ZONE, free_ports, wait_for
from stack import configuration


def body(text, model="solo"):
    return {"model": model, "messages": [{"role": "user", "content": text}]}


def line_of(text, what):
    return text[: text.index(what)].count("\n") + 1


# (what to replace, by what, what the message must name besides file and line)
WRONG = {
    "unknown key": ("workers: 2", "wrokers: 2", ["wrokers"]),
    "unknown nested key": ("price_as: openai", "price_like: openai", ["price_like"]),
    "wrong type": ("workers: 2", "workers: many", ["workers"]),
    "out of range": ("workers: 2", "workers: 100000", ["workers"]),
    "dangling provider": ("solo, primary: {provider: alpha", "solo, primary: {provider: alhpa", ["alhpa", "alpha"]),
    "bad amount": ('amount: "$50"', 'amount: "$50 bananas"', ["bananas"]),
    "bad window": ("window: day", "window: fortnight", ["fortnight", "day"]),
    "bad zone": (f"time_zone: {QUIET_ZONE}", "time_zone: Mars/Olympus", ["Mars/Olympus"]),
    "too long a wait": ("decision_timeout: 8s", "decision_timeout: 45s", ["decision_timeout", "100ms to 30s"]),
    "twice the same name": ("name: beta", "name: alpha", ["alpha"]),
    "size of bodies": ("max_body: 229376", "max_body: 1", ["haproxy.max_body: must be 1024 to 8388608"]),
    "a provider's url": ('name: beta, price_as: azure, url: "http://', 'name: beta, price_as: azure, url: "ftp://', ["providers[1].url: must begin with https://"]),
    "a provider's query": ("query: api-version=2024-10-21", "query: '?x'", ["providers[1].query: may hold only"]),
    "no audience": ("audience: [tollgate]", "audience: []", ["issuers[0].audience: name the audience"]),
    "amount of no unit": ('amount: "$50"', 'amount: "50 euro"', ["limits[0].unit: is missing, and the amount does not say it"]),
    "client address": ('address: "127.0.0.1:', 'address: "127.0.0.1::', ["haproxy.bind"]),
    "not yaml": ("workers: 2", "workers: [2", []),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_is_refused_with_its_line(stack, kind):
    old, new, words = WRONG[kind]
    text = configuration(stack)
    assert old in text
    wrong = stack.folder / "wrong.yaml"
    wrong.write_text(text.replace(old, new, 1))
    done = stack.run_tool("check", wrong, check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0, said
    assert "wrong.yaml" in said and all(word in said for word in words), said
    if kind != "not yaml":
        place = re.search(r"wrong\.yaml:(\d+)", said)
        assert place, said
        assert abs(int(place.group(1)) - line_of(text, old)) <= 1, said


def test_a_missing_file(stack):
    done = stack.run_tool("check", stack.folder / "nowhere.yaml", check=False)
    assert done.returncode != 0 and "nowhere.yaml" in done.stdout + done.stderr


def run_another(stack, text):
    """A second agent that is not supposed to start; it shares nothing with the running one."""
    folder = stack.folder / "another"
    folder.mkdir(exist_ok=True)
    for name in ("ledger.db", "spop.sock", "settle.sock", "admin.sock"):
        text = text.replace(f"{stack.folder}/{name}", f"{folder}/{name}")
    for old, new in zip((stack.ports["spop"], stack.ports["ring"]), free_ports(2)):
        text = text.replace(f":{old}", f":{new}")
    (folder / "tollgate.yaml").write_text(text)
    return stack.run_tool("run", "--config", folder / "tollgate.yaml", check=False)


def test_a_missing_secret_keeps_the_agent_from_starting(stack):
    done = run_another(stack, configuration(stack).replace("BETA_KEY", "NO_SUCH_VARIABLE"))
    assert done.returncode != 0 and "NO_SUCH_VARIABLE" in done.stdout + done.stderr


def test_a_good_file_passes(stack):
    assert stack.run_tool("check", stack.config).returncode == 0


def test_the_agent_does_not_start_with_a_wrong_file(stack):
    (stack.folder / "wrong.yaml").write_text("nonsense: true\n")
    done = stack.run_tool("run", "--config", stack.folder / "wrong.yaml", check=False)
    assert done.returncode != 0 and "nonsense" in done.stdout + done.stderr


def test_haproxy_takes_the_generated_files(stack):
    done = subprocess.run(
        [stack.haproxy_program, "-c", "-f", str(stack.folder / "haproxy/tollgate.cfg")],
        capture_output=True,
        text=True,
        cwd=stack.folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr


def test_generated_files_hold_no_key(stack):
    for path in (stack.folder / "haproxy").rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert not any(key in text for key in stack.keys.values()), path.name


def test_a_key_file_that_others_can_read_is_refused(stack):
    key = stack.folder / "alpha.key"
    key.chmod(0o644)
    try:
        done = run_another(stack, configuration(stack))
        assert done.returncode != 0 and "alpha.key" in done.stdout + done.stderr
        assert stack.keys["alpha"] not in done.stdout + done.stderr
    finally:
        key.chmod(0o600)


@pytest.fixture
def restored(stack):
    yield
    stack.write_configuration()
    stack.reload()


def test_reload_takes_a_new_limit_without_losing_a_request(stack, sub, restored):
    token = stack.person(sub, team="reloaded")
    stop, statuses = threading.Event(), []

    def steady():
        other = stack.person(sub + "-steady")
        while not stop.is_set():
            statuses.append(stack.post(other, body(sub + "-steady"))[0])

    thread = threading.Thread(target=steady)
    thread.start()
    try:
        assert stack.post(token, body(sub))[0] == 200
        stack.limits.append(
            f'name: tight, level: team, match: ["reloaded"], amount: "$0.000001", window: day, time_zone: {QUIET_ZONE}'
        )
        stack.write_configuration()
        stack.reload()
        wait_for(lambda: stack.post(token, body(sub))[0] == 429, "the new limit")
        stack.limits.pop()
        stack.write_configuration()
        stack.reload()
        wait_for(lambda: stack.post(token, body(sub))[0] == 200, "the limit's end")
        wait_for(lambda: len(statuses) > 1 or not thread.is_alive(), "requests beside it")
    finally:
        stop.set()
        thread.join()
    assert len(statuses) > 1 and set(statuses) == {200}


def test_a_bad_file_leaves_the_old_one_in_force(stack, sub, restored):
    token = stack.person(sub)
    assert stack.post(token, body(sub))[0] == 200
    before = len(stack.agent.text())
    stack.write_configuration(configuration(stack).replace("workers: 2", "wrokers: 2"))
    stack.reload()
    wait_for(lambda: "wrokers" in stack.agent.text()[before:], "the refusal in the log")
    assert stack.agent.alive()
    assert stack.post(token, body(sub))[0] == 200


def test_reload_changes_a_model_alias(stack, sub, restored):
    token = stack.person(sub)
    assert stack.post(token, body(sub, "newcomer"))[0] == 404
    stack.write_configuration(
        configuration(stack).replace(
            "limits:\n",
            "  - {name: newcomer, primary: {provider: alpha, model: gpt-4o-mini}, max_output: 64}\nlimits:\n",
            1,
        )
    )
    stack.reload()
    wait_for(lambda: stack.post(token, body(sub, "newcomer"))[0] == 200, "the new model")


def test_sqlite_shell_reads_while_traffic_runs(stack, sub):
    token = stack.person(sub)
    stop, statuses = threading.Event(), []

    def steady():
        while not stop.is_set():
            statuses.append(stack.post(token, body(sub))[0])

    thread = threading.Thread(target=steady)
    thread.start()
    try:
        counts = []

        def grown():
            done = subprocess.run(
                ["sqlite3", "-readonly", str(stack.ledger_file), ledger.COUNT_OF_SUBJECT.format(sub)],
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0 and done.stderr == "", done.stderr
            counts.append(int(done.stdout))
            return len(counts) > 5 and counts[-1] > counts[0]

        wait_for(grown, "the count to grow")
        for view in ledger.VIEWS:
            done = subprocess.run(
                ["sqlite3", "-readonly", "-header", str(stack.ledger_file), f"SELECT * FROM {view}"],
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0 and len(done.stdout.splitlines()) >= 2, (view, done.stderr)
    finally:
        stop.set()
        thread.join()
    assert set(statuses) == {200}


def test_help_and_version(stack):
    assert "run" in stack.run_tool("--help").stdout
    assert re.search(r"\d+\.\d+", stack.run_tool("--version").stdout)
    done = stack.run_tool("dance", check=False)
    assert done.returncode != 0 and "dance" in done.stdout + done.stderr
