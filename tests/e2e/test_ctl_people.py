"""What tollgatectl prints for people: figures with their units, in order; nothing that steers a terminal; what is wrong where it is used wrongly."""

import json
import re

import pytest

import ledger
from machine import wait_for
from test_ctl_json import CTL, cases, place, run  # noqa: F401: place is a fixture

LIMITS = (
    'name: a-money, level: team, match: [units], amount: "$2.5", window: year, time_zone: UTC',
    'name: b-tokens, level: user, within: [{level: team, match: [units]}], amount: "9000 tokens", window: total, action: soft',
    'name: c-requests, level: user, within: [{level: team, match: [units]}], amount: "1 requests", window: total, action: soft',
    'name: d-parallel, level: user, within: [{level: team, match: [units]}], unit: concurrent, amount: "7"',
)
STACK = {"limits": LIMITS}


@pytest.fixture(scope="module")
def token(stack, tmp_path_factory):
    """Somebody whom each of the limits concerns, and one request of theirs."""
    token = stack.person("units-ann", team="units")
    assert stack.post(token, {"model": "solo", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]})[0] == 200
    wait_for(lambda: not any(a["held"] for a in ledger.accounts(stack, "d-parallel")), "the request to be settled")
    file = tmp_path_factory.mktemp("people") / "token"
    file.write_text(token)
    return file


def test_nothing_steers_a_terminal(place):  # noqa: F811
    for words, status in cases(place):
        if words[:2] in (("archive", "--before"), ("key", "create"), ("close-month", "2020-01")):
            continue
        done = run(*words)
        assert done.returncode in (status if isinstance(status, tuple) else (status,)), (words, done.stdout, done.stderr)
        for text in (done.stdout, done.stderr):
            assert all(c.isprintable() or c in "\n\r" for c in text), (words, text)


def rows(text):
    head, *lines = [re.split(r"  +", line.strip()) for line in text.splitlines()]
    return [dict(zip(head, line, strict=True)) for line in lines]


def test_budgets_have_units_and_an_order(stack, token, place):  # noqa: F811
    text = run("budget", *place["socket"]).stdout
    assert len({line.rindex("  ") for line in text.splitlines()}) == 1, "columns are aligned"
    accounts = rows(text)
    keys = [(row["LIMIT"], row["SUBJECT"]) for row in accounts]
    assert keys == sorted(keys)
    mine = [(row["LIMIT"], row["ACTION"], row["AMOUNT"]) for row in accounts if "units" in row["SUBJECT"] and row["LIMIT"][1] == "-"]
    assert mine[:3] == [("a-money", "hard", "$2.50"), ("b-tokens", "soft", "9000 tokens"), ("c-requests", "soft", "1 request")]


def test_explain_tells_what_is_left_with_its_unit(stack, token, place):  # noqa: F811
    text = run("explain", "--token", token, "--model", "solo", *place["socket"]).stdout
    for line in (
        r"  a-money \(team=units, year, hard\): \$2\.\d+ of \$2\.50 left, resets \d{4}-01-01 00:00:00Z",
        r"  b-tokens \(.*, total, soft\): \d+ of 9000 tokens left",
        r"  c-requests \(.*, total, soft\): 0 of 1 request left",
        r"  d-parallel \(.*, concurrent, hard\): 7 of 7 at once left",
    ):
        assert re.search(f"^{line}$", text, re.M), text


def test_explain_looks_at_the_prompt_and_the_address(token, place):  # noqa: F811
    def explain(*words):
        return run("explain", "--token", token, "--model", "solo", *words, *place["socket"])

    fits, too_long = explain("--prompt", "100"), explain("--prompt", "99999999")
    assert fits.returncode == 0 and "primary       alpha, model gpt-4o-mini" in fits.stdout
    assert too_long.returncode == 1 and "route: refused with 400 context_length_exceeded" in too_long.stdout
    assert explain("--address", "2001:db8::7").returncode == 0
    wrong = explain("--address", "elsewhere")
    assert wrong.returncode == 2 and "--address elsewhere is no IP address" in wrong.stderr


def test_status_has_units(stack, place):  # noqa: F811
    text = run("status", *place["socket"]).stdout
    for line in (
        r"uptime +\d+ s",
        f"config +{re.escape(str(stack.config))}",
        r"  last error +-",
        r"  last commit +\d+ us",
        r"  file +\d+ bytes",
        r"  overrun +\$0\.00",
        f"  issuer +{re.escape(stack.issuer)}",
        r"    fetched +\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ",
        r"  credential +alpha",
    ):
        assert re.search(f"^{line}$", text, re.M), text
    assert all(line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("command", ["status", "budget", "tokens", "ping", "reload"])
def test_the_configuration_names_the_socket(stack, place, command, tmp_path):  # noqa: F811
    assert run(command, *place["config"], "--json").returncode == 0
    bad = tmp_path / "bad.yaml"
    bad.write_text("listen: 1\n")
    done = run(command, "--config", bad)
    assert done.returncode == 1 and f"{bad}:1:" in done.stderr


@pytest.mark.parametrize("words", [("route", "drain"), ("key", "create"), ("revoke", "subject"), ("audit",), ("archive", "--before", "2026-10")])
def test_usage_ends_with_what_is_wrong(words):
    done = run(*words)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.splitlines()[-1] == f"tollgatectl: {words[0]}: an argument is missing, or is none of those above"


def test_count_takes_an_endpoint_by_its_name(tmp_path):
    body = tmp_path / "body"
    body.write_text('{"model": "text-embedding-3-small", "input": ["hello", "big world"]}')
    by_name, by_path = (run("count", "--endpoint", word, "--json", body) for word in ("embeddings", "/v1/embeddings"))
    assert json.loads(by_name.stdout)["input"] == 3 and by_name.stdout == by_path.stdout
    for word in ("passthrough", "/v1/nothing"):
        assert "known: chat, responses, completions, embeddings, messages" in run("count", "--endpoint", word, body).stderr


def test_help_names_every_choice():
    text = run("count", "--help").stdout
    assert "--encoding o200k_base|cl100k_base|p50k_base|r50k_base|o200k_harmony\n" in text
    assert CTL.exists()
