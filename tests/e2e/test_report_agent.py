"""The ledger commands beside a running agent: it keeps the file, so what is booked goes through it."""

import fcntl
import json

import pytest

from ledger_fixture import Ledger, ctl
from machine import wait_for
from stack import configuration

OVERRIDE = """\
prices:
  overrides:
    - {provider: openai, model: gpt-4o-mini, input: "0.30", cached_input: "0.15", output: "1.20"}
  contracts:
    - {name: partner, teams: [partner], models: ["gpt-4o*"], discount: "12.5"}
    - {name: own, teams: [own], providers: [openai], models: [gpt-4o-mini], rates: {input: "0.10", cached_input: "0.05", output: "0.77"}}
"""


def figures(answer):
    return json.loads(answer.stdout)


@pytest.fixture(scope="module")
def dearer(stack):
    """Requests at the built-in price; then a table with twice the rates is in force."""
    token = stack.person("report-agent", team="repriced")
    for number in range(5):
        body = {"model": "solo", "messages": [{"role": "user", "content": f"hello {number} [[completion_tokens=7]]"}], "max_tokens": 50}
        assert stack.post(token, body)[0] == 200
    wait_for(lambda: settled(stack) == 5, "five settlements")
    stack.write_configuration(configuration(stack) + OVERRIDE)
    stack.reload()
    wait_for(lambda: len(stack.query("SELECT * FROM price_version")) == 2, "the new price table")
    return stack


def settled(stack):
    return stack.query("SELECT count(*) AS n FROM request WHERE team = 'repriced' AND state = 'settled'")[0]["n"]


def spent(stack):
    rows = figures(ctl("report", "--config", stack.config, "--by", "team", "--from", "2026-01", "--json"))["rows"]
    return {row["team"]: row["cost_nano"] for row in rows}


def test_report_reads_while_the_agent_writes(dearer):
    raw = dearer.query("SELECT sum(cost_nano) AS n FROM request WHERE team = 'repriced'")[0]["n"]
    assert spent(dearer)["repriced"] == raw > 0


def test_prices_in_force_are_the_ledger_s_newest(dearer):
    rows = figures(ctl("prices", "list", "gpt-4o-mini", "--config", dearer.config, "--json"))["rows"]
    found = next(row for row in rows if (row["provider"], row["model"]) == ("openai", "gpt-4o-mini"))
    assert (found["input_pico"], found["output_pico"], found["source"]) == (300_000, 1_200_000, "configuration")


def test_reprice_is_booked_by_the_agent(dearer):
    before = spent(dearer)["repriced"]
    dry = figures(ctl("reprice", "--config", dearer.config, "--dry-run", "--json"))
    assert dry["total"]["difference_nano"] == before  # twice the rates: as much again
    assert spent(dearer)["repriced"] == before
    done = figures(ctl("reprice", "--config", dearer.config, "--json"))
    assert done["total"]["changed"] == 5
    assert spent(dearer)["repriced"] == 2 * before
    rows = dearer.query("SELECT reason, price_version FROM correction")
    active = dearer.query("SELECT version FROM price_validity ORDER BY id DESC LIMIT 1")[0]["version"]
    assert [tuple(row.values()) for row in rows] == [("repriced", active)] * 5
    assert figures(ctl("reprice", "--config", dearer.config, "--json"))["total"]["changed"] == 0
    assert dearer.query("SELECT * FROM rollup_mismatch") == []


def half_up(amount, unit):
    return (2 * amount + unit) // (2 * unit)


def test_a_contract_s_price_is_held_and_charged_and_the_list_price_stands_beside_it(dearer):
    """Rates in pico-dollars a token; what is taken off the list price is exact."""
    for team in ("partner", "own"):
        token = dearer.person("contract-" + team, team=team)
        body = {"model": "solo", "messages": [{"role": "user", "content": "hello [[completion_tokens=7]]"}], "max_tokens": 50}
        assert dearer.post(token, body)[0] == 200
    question = "SELECT * FROM request WHERE team IN ('partner', 'own') AND state = 'settled' ORDER BY id"
    partner, own = wait_for(lambda: len(rows := dearer.query(question)) == 2 and rows, "two settlements")
    for row in (partner, own):
        assert row["known_by"] == "reported" and row["output"] == 7 and row["input_cached"] == 0
        listed = half_up(row["input"] * 300_000 + row["output"] * 1_200_000, 1000)
        assert row["cost_nano"] + row["discount_nano"] == listed
        assert row["price_version"] == dearer.query("SELECT version FROM price_validity ORDER BY id DESC LIMIT 1")[0]["version"]
    assert partner["cost_nano"] == half_up((partner["input"] * 300_000 + 7 * 1_200_000) * 875, 1_000_000)
    assert own["cost_nano"] == half_up(own["input"] * 100_000 + 7 * 770_000, 1000)
    assert partner["hold_nano"] == -(-(partner["input_bound"] * 300_000 + 50 * 1_200_000) * 875 // 1_000_000)
    assert own["hold_nano"] == -(-(own["input_bound"] * 100_000 + 50 * 770_000) // 1000)
    for row in (partner, own):  # as it is foretold
        asked = {"model": "solo", "messages": [{"role": "user", "content": "hello [[completion_tokens=7]]"}], "max_tokens": 50}
        body = dearer.config.parent / "body.json"
        body.write_text(json.dumps(asked))
        foretold = figures(ctl("count", "--config", dearer.config, "--team", row["team"], "--json", body))
        assert foretold["hold_nano"] == row["hold_nano"]
    rows = dearer.query("SELECT name FROM price_contract WHERE version = ? ORDER BY place", own["price_version"])
    assert [row["name"] for row in rows] == ["partner", "own"]
    # The same table read back from the ledger: nothing to correct, so the contracts came back with it.
    assert figures(ctl("reprice", "--config", dearer.config, "--dry-run", "--json"))["total"]["changed"] == 0
    assert dearer.query("SELECT * FROM rollup_mismatch") == []


def test_a_month_is_closed_by_the_agent(dearer):
    ctl("close-month", "2020-01", "--config", dearer.config)
    assert [row["before_us"] for row in dearer.query("SELECT before_us FROM month_close")] == [1580515200000000]


def test_another_agent_s_ledger_is_not_booked_to(dearer, tmp_path):
    """The file is held by somebody, but the agent behind the socket keeps another."""
    book = Ledger(tmp_path / "ledger.db").write()
    with open(book.file, "rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = ctl("close-month", "2020-02", "--ledger", book.file, "--socket", dearer.admin_socket, check=1)
    assert "another ledger" in done.stderr
    assert book.query("SELECT count(*) FROM month_close") == [(0,)]


def test_no_agent_behind_the_socket_is_said(tmp_path):
    book = Ledger(tmp_path / "ledger.db").write()
    with open(book.file, "rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = ctl("close-month", "2020-02", "--ledger", book.file, "--socket", tmp_path / "none.sock", check=1)
    assert "none.sock" in done.stderr
