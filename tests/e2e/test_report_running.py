"""What limits count in a running agent is what the ledger says: after corrections, and after kill -9 and a restart."""

import json
import os
import signal
import threading

import pytest

import ledger
from ledger_fixture import ctl
from machine import wait_for
from stack import configuration

STACK = {
    "decision": "5s",  # the agent stands still for longer
    "limits": (
        'name: running-team, level: team, amount: "$40", window: month, time_zone: UTC',
        'name: running-total, level: global, amount: "$1000", window: total',
        'name: running-alias, level: alias, amount: "$40", window: quarter, time_zone: UTC',
        'name: running-solo, level: alias, match: [solo], amount: "$40", window: year, time_zone: UTC',
        'name: running-model, level: model, amount: "$40", window: total',
        'name: running-provider, level: provider, amount: "$40", window: year, time_zone: UTC',
        'name: running-tokens, level: team, amount: "50M tokens", window: total',
        'name: running-alias-tokens, level: alias, amount: "50M tokens", window: total',
        'name: running-model-tokens, level: model, amount: "50M tokens", window: total',
        'name: running-requests, level: user, amount: "5000 requests", window: total',
        'name: cheaper, level: team, match: [running-lowered], amount: "$1", window: total, action: downgrade, downgrade_to: solo, thresholds: [1]',
    ),
}

TWICE = """\
prices:
  overrides:
    - {provider: openai, model: gpt-4o-mini, input: "0.30", cached_input: "0.15", output: "1.20"}
    - {provider: azure, model: gpt-4o, input: "5.00", cached_input: "2.50", output: "20.00"}
"""


def counted(stack):
    """{(limit, subject, unit): used}, of limits whose windows do not end while a test runs."""
    accounts = wait_for(lambda: (a := ledger.budgets(stack)) and not any(account["held"] for account in a) and a, "the end of all holds")
    return {(a["limit"], a["subject"], a["unit"]): a["used"] for a in accounts if a["limit"].startswith("running-") and a["used"]}


def send(stack, token, model, text, **more):
    body = {"model": model, "max_tokens": 1000, "messages": [{"role": "user", "content": text}], **more}
    status, headers, answer = stack.post(token, body)
    assert status == 200, answer
    return headers


def at_rest(stack, count):
    question = "SELECT count(*) AS n FROM request WHERE state = 'settled' AND team LIKE 'running%'"
    wait_for(lambda: stack.query(question)[0]["n"] == count, f"{count} settlements")
    wait_for(lambda: stack.query("SELECT count(*) AS n FROM open_holds")[0]["n"] == 0, "the end of all holds")


def restarted(stack):
    stack.agent.popen.send_signal(signal.SIGKILL)
    stack.agent.popen.wait()
    stack.restart_agent()
    return counted(stack)


@pytest.fixture(scope="module")
def spent(stack):
    """Served by the primary, by the fallback, under a cheaper alias than the one asked for, and without any usage known."""
    token, lowered = stack.person("running-ann", team="running"), stack.person("running-low", team="running-lowered")
    for number in range(3):
        send(stack, token, "solo", f"hello {number} [[completion_tokens=700 cached_tokens=3]]")
    send(stack, token, "solo", "as a stream, counted once [[completion_tokens=300]]", stream=True)
    send(stack, token, "chat-default", "primary answers [[completion_tokens=500]]")
    stack.behave("alpha", status=503)
    send(stack, token, "chat-default", "fallback answers [[completion_tokens=600]]")
    stack.behave("alpha", gzip=True)
    send(stack, token, "solo", "squeezed: nothing is known [[completion_tokens=5]]")
    stack.behave("alpha", status=503)
    send(stack, lowered, "chat-default", "dear [[completion_tokens=900]]", n=4)
    stack.behave("alpha")
    at_rest(stack, 8)
    headers = send(stack, lowered, "chat-default", "cheap [[completion_tokens=800]]")
    assert "model lowered to solo" in headers["x-tollgate-notice"]
    at_rest(stack, 9)
    return stack


def test_a_restart_changes_no_balance(spent):
    before = counted(spent)
    row = spent.query("SELECT alias, charged_as FROM request_row WHERE charged_as IS NOT NULL")
    assert [tuple(r.values()) for r in row] == [("chat-default", "solo")]
    bounded = spent.query("SELECT input_bound + output_ceiling * choices AS tokens FROM request WHERE known_by = 'bounded'")
    assert len(bounded) == 1 and bounded[0]["tokens"] > 1000
    tokens = sum(used for (limit, _, _), used in before.items() if limit == "running-tokens")
    known = spent.query("SELECT sum(input + input_cached + output + output_reasoning) AS n FROM request WHERE team LIKE 'running%'")
    assert tokens == known[0]["n"] + bounded[0]["tokens"]
    assert {limit for limit, _, _ in before} == {limit.split(",")[0].split()[1] for limit in STACK["limits"]} - {"cheaper"}
    assert restarted(spent) == before


def test_what_was_given_back_stays_given_back(spent):
    """Answers that came too late: HAProxy has refused in the agent's place, no provider was asked."""
    token, statuses = spent.person("running-late", team="running-late"), []
    send(spent, token, "solo", "known from now on")
    body = {"model": "solo", "max_tokens": 100, "messages": [{"role": "user", "content": "late"}]}
    os.kill(spent.agent.pid, signal.SIGSTOP)
    try:
        clients = [threading.Thread(target=lambda: statuses.append(spent.post(token, body)[0])) for _ in range(6)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    finally:
        os.kill(spent.agent.pid, signal.SIGCONT)
    assert statuses == [503] * 6
    send(spent, token, "solo", "after them")
    wait_for(lambda: not any(account["held"] for account in ledger.budgets(spent)), "the end of all holds")
    wait_for(lambda: spent.query("SELECT count(*) AS n FROM open_holds")[0]["n"] == 0, "the end of all open rows")
    before = counted(spent)
    assert before["running-requests", "user=running-late", "requests"] == 2
    assert restarted(spent) == before


def test_repriced_requests_count_at_once_and_as_after_a_restart(spent):
    before = counted(spent)
    spent.write_configuration(configuration(spent) + TWICE)
    spent.reload()
    wait_for(lambda: len(spent.query("SELECT * FROM price_version")) == 2, "the new price table")
    done = json.loads(ctl("reprice", "--config", spent.config, "--json").stdout)
    assert done["total"]["changed"] == 10 and done["bounded"] == 1
    extra = done["total"]["difference_nano"]
    team = ("running-total", "global", "usd")
    wait_for(lambda: counted(spent)[team] == before[team] + extra, "the correction in the running balances")
    after = counted(spent)
    costs = spent.query(
        "SELECT r.alias, coalesce(r.charged_as, r.alias) AS charged, t.model, t.provider, w.team,"
        " sum(r.cost_nano + (SELECT coalesce(sum(c.cost_nano), 0) FROM correction_row AS c WHERE c.request = r.id)) AS cost"
        " FROM request_row AS r JOIN who AS w ON w.id = r.who JOIN target AS t ON t.id = r.served GROUP BY 1, 2, 3, 4, 5"
    )
    for limit, level, column in (
        ("running-team", "team", "team"),
        ("running-alias", "alias", "charged"),
        ("running-model", "model", "model"),
        ("running-provider", "provider", "provider"),
    ):
        for value in {row[column] for row in costs}:
            rows = sum(row["cost"] for row in costs if row[column] == value)
            assert after[limit, f"{level}={value}", "usd"] == rows, (limit, value)
    assert all(used == before[key] for key, used in after.items() if key[2] != "usd")
    assert restarted(spent) == after
    assert spent.query("SELECT * FROM rollup_mismatch") == []


def test_a_reload_that_adds_a_limit_counts_each_correction_once(spent):
    text = spent.config.read_text()
    spent.write_configuration(text.replace("limits:\n", 'limits:\n  - {name: running-new, level: team, amount: "$90", window: total}\n'))
    spent.reload()
    wait_for(lambda: any(limit == "running-new" for limit, _, _ in counted(spent)), "the new limit")
    now = counted(spent)
    assert now["running-new", "team=running", "usd"] == now["running-team", "team=running", "usd"]
