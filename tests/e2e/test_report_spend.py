"""`tollgatectl report`: every format says what the raw rows say, to the nano-dollar, whether the agent runs or not."""

import csv
import io
import itertools
import json
import random
import subprocess
from decimal import Decimal

import pytest

from ledger_fixture import Ledger, ctl, us
from machine import build_folder

AT = "2026-11-22T12:00"
TEAMS = ["search", "ads", 'comma, "quote"', "grün", ""]
MODELS = [("openai", "gpt-4o-mini"), ("azure", "gpt-4o")]
# The dimension's name, and its expression over the raw rows.
RAW = {
    "team": "w.team",
    "user": "w.user_name",
    "app": "w.application",
    "cost_center": "w.cost_center",
    "organization": "w.organization",
    "provider": "t.provider",
    "model": "t.model",
    "provider_key": "t.key_name",
    "day": "strftime('%Y-%m-%d', x.at / 1000000, 'unixepoch')",
    "month": "strftime('%Y-%m', x.at / 1000000, 'unixepoch')",
}
RAW_ROWS = """
    (SELECT started_us AS at, who, coalesce(served, plan) AS target, cost_nano AS cost, coalesce(input + input_cached, 0) AS tokens_in,
            coalesce(output + output_reasoning, 0) AS tokens_out, 1 AS requests, state = 2 AS denied
     FROM request_row WHERE state <> 0
     UNION ALL
     SELECT c.account_us, r.who, coalesce(r.served, r.plan), c.cost_nano, c.input, c.output, 0, 0
     FROM correction_row AS c JOIN request_row AS r ON r.id = c.request)"""


@pytest.fixture(scope="module", params=[None, 5], ids=["newer than roll-ups", "rolled up"])
def ledger(request, tmp_path_factory):
    book = Ledger(tmp_path_factory.mktemp("report") / "ledger.db")
    dice = random.Random(7)
    old = []
    for number in range(400):
        started = us("2026-10-20") + dice.randrange(34 * 86400) * 1_000_000
        provider, model = dice.choice(MODELS)
        state = dice.choices(["ok", "denied", "cached", "open"], [90, 5, 4, 1])[0]
        if state == "open":
            started = us("2026-11-20")
        number_of = book.request(
            started,
            team=dice.choice(TEAMS),
            user=f"user-{dice.randrange(7)}",
            app=dice.choice(["bot", "ide"]),
            cost_center=dice.choice(["cc-1", "cc-2"]),
            organization=dice.choice(["acme", ""]),
            provider=provider,
            model=model,
            state=state,
            key=dice.choice(["blue", "green"]),
            tokens=(dice.randrange(5000), dice.randrange(100), dice.randrange(900), dice.randrange(50)),
            cost=dice.randrange(10**10),
            saved=number if state == "cached" else 0,
        )
        if state == "ok":
            old.append((number_of, started))
    book.close("2026-11-01", "2026-11-02T08:00")
    for number_of, started in old[:40]:
        book.correct(number_of, "2026-11-20T01:00", dice.randrange(1000), tokens=(3, 4))
    book.write(request.param)
    rolled, newest = book.query("SELECT value, (SELECT max(id) FROM request_row) FROM ledger_note WHERE name = 'rolled'")[0]
    assert rolled > newest - 50 if request.param else rolled == 0
    return book


def raw(ledger, dimensions, start, end):
    keys = ", ".join(RAW[name] for name in dimensions)
    rows = ledger.query(
        f"SELECT {keys}, sum(requests), sum(denied), sum(tokens_in), sum(tokens_out), sum(cost) FROM {RAW_ROWS} AS x"
        f" JOIN who AS w ON w.id = x.who LEFT JOIN target AS t ON t.id = x.target"
        f" WHERE x.at >= ? AND x.at < ? GROUP BY {keys} ORDER BY {keys}",
        us(start),
        us(end),
    )
    assert rows
    return rows


def nano(text):
    value = Decimal(text).scaleb(9)
    assert value == int(value)
    return int(value)


def report(ledger, *argv, check=0):
    return ctl("report", "--ledger", ledger.file, *argv, check=check).stdout


FIGURES = ("requests", "denied", "input_tokens", "output_tokens")
GROUPINGS = [(name,) for name in RAW] + list(itertools.combinations(("team", "user", "model", "day"), 3))


@pytest.mark.parametrize("dimensions", GROUPINGS, ids="+".join)
def test_json_and_csv_equal_the_raw_rows(ledger, dimensions):
    expected = raw(ledger, dimensions, "2026-10-01", "2026-12-01")
    arguments = ("--by", ",".join(dimensions), "--from", "2026-10", "--to", "2026-11")
    answer = json.loads(report(ledger, *arguments, "--json"))
    found = [(*(row[d] for d in dimensions), *(row[f] for f in FIGURES), row["cost_nano"]) for row in answer["rows"]]
    assert sorted(found) == sorted(expected)
    assert answer["total"]["cost_nano"] == sum(row[-1] for row in expected)
    text = report(ledger, *arguments, "--format", "csv")
    found = [
        (*(row[d] for d in dimensions), *(int(row[f]) for f in FIGURES), nano(row["cost_usd"]))
        for row in csv.DictReader(io.StringIO(text, newline=""))
    ]
    assert sorted(found) == sorted(expected)


def test_csv_lines_end_as_rfc_4180_says_and_quotes_are_doubled(ledger):
    text = report(ledger, "--format", "csv", "--from", "2026-10")
    # Text mode turns CRLF into LF, so the bytes are looked at.
    bytes_ = subprocess.run(
        [build_folder() / "tollgatectl", "report", "--ledger", ledger.file, "--format", "csv", "--from", "2026-10"],
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    assert bytes_.count(b"\r\n") == bytes_.count(b"\n") == len(TEAMS) + 1
    assert '"comma, ""quote"""' in text


def test_the_table_is_aligned_and_ends_with_the_total(ledger):
    lines = report(ledger, "--from", "2026-10-25", "--to", "2026-11-10").splitlines()
    assert lines[0].split()[:3] == ["TEAM", "REQUESTS", "DENIED"]
    assert len({len(line) for line in lines}) == 1
    expected = raw(ledger, ("team",), "2026-10-25", "2026-11-11")
    total = lines[-1].split()
    assert total[0] == "total"
    assert nano(total[-1]) == sum(row[-1] for row in expected)
    assert {nano(line.split()[-1]) for line in lines[1:-1]} == {row[-1] for row in expected}


def test_one_day_and_one_month_are_whole(ledger):
    for word, start, end in (
        ("2026-11-20", "2026-11-20", "2026-11-21"),
        ("2026-11", "2026-11-01", "2026-12-01"),
    ):
        answer = json.loads(report(ledger, "--from", word, "--to", word, "--json"))
        assert answer["total"]["cost_nano"] == sum(row[-1] for row in raw(ledger, ("team",), start, end))


def test_corrections_to_a_closed_month_count_for_the_open_one(ledger):
    moved = ledger.query(
        "SELECT count(*), sum(c.cost_nano) FROM correction_row AS c JOIN request_row AS r ON r.id = c.request"
        " WHERE r.started_us < ? AND c.account_us >= ?",
        us("2026-11-01"),
        us("2026-11-01"),
    )[0]
    assert moved[0] > 0
    october = json.loads(report(ledger, "--from", "2026-10", "--to", "2026-10", "--json"))
    assert october["total"]["corrections"] == 0
    assert october["total"]["cost_nano"] == ledger.query(
        "SELECT sum(cost_nano) FROM request_row WHERE started_us < ?", us("2026-11-01")
    )[0][0]


@pytest.mark.parametrize(
    "argv, words",
    [
        (("--by", "tema"), ("tema", "cost_center", "month")),
        (("--by", "team,team"), ("twice",)),
        (("--by", "team,"), ("comma",)),
        (("--from", "2026-02-30"), ("2026-02-30", "2026-11-23")),
        (("--from", "yesterday"), ("yesterday",)),
        (("--from", "2026-11-10", "--to", "2026-11-09"), ("before",)),
        (("--format", "xml"), ("xml", "json")),
        (("--kind", "burm"), ("burm", "movers")),
        (("--kind", "burn", "--by", "day"), ("day",)),
        (("--factor", "0"), ("factor",)),
        (("--kind", "burn", "--from", "2026-10"), ("--from", "burn", "spend, anomalies, savings")),
        (("--kind", "movers", "--to", "2026-10"), ("--to", "movers")),
        (("--kind", "spend", "--at", "2026-10-10"), ("--at", "burn, movers")),
        (("--kind", "anomalies", "--by", "team"), ("--by", "anomalies")),
        (("--kind", "savings", "--top", "3"), ("--top", "movers, anomalies")),
        (("--factor", "3"), ("--factor", "anomalies")),
        (("--kind", "movers", "--top", "all"), ("--top", "all")),
        (("--kind", "burn", "--at", "noon"), ("noon", "2026-11-23T14:30")),
        (("--format", "focus", "--by", "team"), ("--by", "focus")),
        (("--format", "focus", "--kind", "burn"), ("focus", "of its own")),
        (("--format", "focus", "--json"), ("focus",)),
        (("--frm", "2026-11"), ("--frm", "--from")),
        (("--from",), ("--from", "value")),
    ],
)
def test_wrong_usage_is_refused_with_what_is_allowed(ledger, argv, words):
    done = ctl("report", "--ledger", ledger.file, *argv, check=2)
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr


def test_a_missing_ledger_and_a_foreign_file_are_named(tmp_path):
    foreign = tmp_path / "notes.txt"
    foreign.write_text("no database " * 200)
    assert "No such file" in ctl("report", "--ledger", tmp_path / "none.db", check=1).stderr
    assert "not an SQLite database" in ctl("report", "--ledger", foreign, check=1).stderr


def test_burn_forecasts_what_the_pace_gives(ledger):
    answer = json.loads(report(ledger, "--kind", "burn", "--at", AT, "--by", "team", "--json"))
    # Roll-ups know quarters of an hour: what began in the one that begins at noon is left out.
    for window, start, before, elapsed, length in (
        ("day", "2026-11-22", "2026-11-21", 43200, 86400),
        ("week", "2026-11-16", "2026-11-09", 6 * 86400 + 43200, 7 * 86400),
        ("month", "2026-11-01", "2026-10-01", 21 * 86400 + 43200, 30 * 86400),
    ):
        used = {row[0]: row[-1] for row in raw(ledger, ("team",), start, AT)}
        rows = {row["team"]: row for row in answer["rows"] if row["window"] == window}
        assert {team: row["used_nano"] for team, row in rows.items() if row["used_nano"]} == used
        for row in rows.values():
            assert row["forecast_nano"] == (row["used_nano"] * length * 2 + elapsed) // (elapsed * 2)
        previous = {row[0]: row[-1] for row in raw(ledger, ("team",), before, start)}
        assert {team: row["window_before_nano"] for team, row in rows.items() if row["window_before_nano"]} == previous


def test_burn_by_user_equals_burn_in_total(ledger):
    sums = {
        by: sum(row["used_nano"] for row in json.loads(report(ledger, "--kind", "burn", "--at", AT, "--by", by, "--json"))["rows"])
        for by in ("team", "user", "user,model")
    }
    assert sums["team"] > 0
    assert len(set(sums.values())) == 1


def test_movers_compare_seven_days_with_the_seven_before(ledger):
    rows = json.loads(report(ledger, "--kind", "movers", "--at", AT, "--by", "user", "--json"))["rows"]
    now = {row[0]: row[-1] for row in raw(ledger, ("user",), "2026-11-15T12:00", AT)}
    before = {row[0]: row[-1] for row in raw(ledger, ("user",), "2026-11-08T12:00", "2026-11-15T12:00")}
    assert {row["user"]: row["last_7_days_nano"] for row in rows} == {user: now.get(user, 0) for user in {*now, *before}}
    assert {row["user"]: row["7_days_before_nano"] for row in rows} == {
        user: before.get(user, 0) for user in {*now, *before}
    }
    changes = [abs(row["change_nano"]) for row in rows]
    assert changes == sorted(changes, reverse=True)


@pytest.mark.parametrize("lag", [None, 1], ids=["newer than roll-ups", "rolled up"])
def test_anomalies_are_ten_times_their_peers(tmp_path, lag):
    book = Ledger(tmp_path / "ledger.db")
    for cost in (90, 100, 110, 100, 95, 105):
        book.request("2026-11-10", cost=cost)
        book.request("2026-11-10", team="rich", cost=cost * 50)
    dear = book.request("2026-11-11", cost=1000, user="eve")
    book.request("2026-11-11", cost=999)
    book.request("2026-11-11", team="alone", cost=10**9)
    for _ in range(8):  # roll-ups take rows in by seven
        book.request("2026-12-10", team="other")
    book.write(lag)
    rows = json.loads(ctl("report", "--ledger", book.file, "--kind", "anomalies", "--from", "2026-11", "--to", "2026-11", "--json").stdout)["rows"]
    assert [(row["request_id"], row["user"], row["times"], row["median_nano"]) for row in rows] == [(str(dear), "eve", 10, 100)]
    more = ctl("report", "--ledger", book.file, "--kind", "anomalies", "--from", "2026-11", "--factor", "9", "--json")
    assert len(json.loads(more.stdout)["rows"]) == 2
    first = ctl("report", "--ledger", book.file, "--kind", "anomalies", "--from", "2026-11", "--factor", "9", "--top", "1", "--json")
    assert len(json.loads(first.stdout)["rows"]) == 1
    assert "first 1 of 2" in first.stderr


def test_anomalies_are_found_in_any_order_and_after_rows_left(tmp_path):
    """What is far above the median of the whole month may not have been so when it came, or by little."""
    book = Ledger(tmp_path / "ledger.db")
    dice = random.Random(11)
    costs = {}
    for number in range(900):
        # Dear ones first: the median falls as the month goes on.
        cost = dice.randrange(2000, 9000) * 100 if number < 300 else dice.randrange(2000, 9000)
        costs[book.request(f"2026-10-{number % 20 + 1:02}", cost=cost)] = cost
    corrected = book.request("2026-10-25", cost=1)
    book.correct(corrected, "2026-10-26", 899_999)
    costs[corrected] = 900_000
    for _ in range(8):
        book.request("2026-11-10", team="other")
    book.write(lag=1)

    def rounded(nano):
        unit = 10 ** max(len(str(nano)) - 2, 0)
        return nano // unit * unit

    def expected(factor):
        median = sorted(map(rounded, costs.values()))[(len(costs) - 1) // 2]
        return sorted(str(name) for name, cost in costs.items() if rounded(cost) >= factor * median)

    def found(factor):
        report = ("report", "--ledger", book.file, "--kind", "anomalies", "--from", "2026-10", "--to", "2026-10", "--top", "0", "--json")
        return sorted(row["request_id"] for row in json.loads(ctl(*report, "--factor", factor).stdout)["rows"])

    assert str(corrected) in found(100)
    for factor in (2, 10, 50, 100):
        assert found(factor) == expected(factor), factor
    dear = found(100)
    ctl("archive", "--before", "2026-11", "--to", tmp_path / "old.db", "--ledger", book.file)
    assert set(found(100)) <= set(dear)
    assert str(corrected) in found(100)


def test_savings_name_both_caches_and_the_fallback(tmp_path):
    book = Ledger(tmp_path / "ledger.db")
    version = book.price("ab" * 32, "openai", "gpt-4o-mini", 150_000, 75_000, 600_000)
    book.request("2026-11-10", tokens=(100, 40, 10, 0), cost=24_000, version=version, prompt_saved=40 * 75)
    book.request("2026-11-10", tokens=(100, 0, 10, 0), cost=21_000, version=version, fallback=1)
    book.request("2026-11-10", state="cached", saved=5_000)
    book.write()
    answer = ctl("report", "--ledger", book.file, "--kind", "savings", "--from", "2026-11", "--json").stdout
    assert json.loads(answer)["rows"] == [
        {
            "team": "search",
            "cache_answers": 1,
            "cache_saved_nano": 5_000,
            "cached_tokens": 40,
            "prompt_cache_saved_nano": 40 * 75,
            "fallback_answers": 1,
            "fallback_cost_nano": 21_000,
        }
    ]


@pytest.mark.parametrize("command", ["report", "prices", "reprice", "close-month", "invoice"])
def test_every_command_helps(command):
    text = ctl(command, "--help").stdout
    assert text.startswith(f"usage: tollgatectl {command}")
    assert "Exit status" in text
