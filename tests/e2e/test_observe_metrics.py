"""Metrics and health: a real Prometheus scrapes the agent, its figures are the ledger's."""

import json
import re
from decimal import Decimal

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from alert_cases import CASES, promtool_tests
from prometheus import Prometheus, answers, fetch, promtool
from machine import ROOT, wait_for

ALERTS, DASHBOARD = ROOT / "haproxy/observe/alerts.yml", ROOT / "haproxy/observe/dashboard.json"
STACK = {
    "limits": [
        'name: tiny, level: team, match: [poor], amount: "$0.000001", window: day',
        'name: always, level: team, match: [measured], amount: "$50", window: total',  # no day ends while the test looks at it
    ]
}


@pytest.fixture(scope="module")
def url(stack):
    return f"http://127.0.0.1:{stack.ports['metrics']}"


@pytest.fixture(scope="module")
def prometheus(stack):
    with Prometheus(stack.folder, f"127.0.0.1:{stack.ports['metrics']}", rules=ALERTS) as server:
        assert server.target()["health"] == "up", server.target()
        yield server


def names(text):
    return {line.split()[0] for line in text.splitlines() if not line.startswith("#")}


def body(**more):
    return {"model": "chat-default", "messages": [{"role": "user", "content": "hello"}], **more}


def test_figures_are_the_ledgers(stack, prometheus, url, sub, settled):
    token = stack.person(sub, team="measured")
    for stream in (False, True, True):
        assert stack.post(token, body(stream=stream))[0] == 200
    poor = stack.person(sub + "-poor", team="poor")
    assert stack.post(poor, body())[0] == 429
    rows = settled(sub, 3)
    cost = sum(row["cost"] for row in rows)
    assert cost > 0

    def seen(query, expected):
        return wait_for(lambda: abs(prometheus.value(query) - expected) < 1e-12, f"{query} = {expected}")

    seen('sum(tollgate_cost_usd_total{team="measured"})', cost / 1e9)
    seen('sum(tollgate_tokens_total{team="measured",kind="output"})', sum(row["output"] for row in rows))
    seen('tollgate_requests_total{team="measured",outcome="allowed"}', 3)
    seen('tollgate_denials_total{reason=~"budget.*",status="429"}', 1)
    seen('gen_ai_server_time_to_first_token_seconds_count{gen_ai_response_model="gpt-4o-mini"}', 3)
    seen("sum(tollgate_holds)", 0)
    seen("count(tollgate_identity_keys_age_seconds)", 1)
    seen('tollgate_limit_used_ratio{limit="always",subject="team=measured"}', cost // 50000 / 1e6)
    # Every stage of every decision was timed, and nobody's name got out.
    for stage in ("identity", "tokens", "budget", "commit", "all"):
        query = f'tollgate_overhead_seconds_count{{stage="{stage}"}}'
        wait_for(lambda q=query: prometheus.value(q) >= 3, query)
    for accept in ("*/*", "application/openmetrics-text;version=1.0.0"):
        assert sub not in fetch(url + "/metrics", accept)[2]


def durations(headers):
    """Server-Timing's entries, in microseconds."""
    entries = (entry.split(";dur=") for entry in headers["server-timing"].split(","))
    return {name.strip(): round(float(ms) * 1000) for name, ms in entries}


def test_the_gateways_own_time_and_the_budget_are_told(stack, sub, settled):
    """The client's headers, and the ledger's row: the same figures."""
    status, headers, _ = stack.post(stack.person(sub, team="timed"), body())
    assert status == 200
    (row,) = stack.query("SELECT * FROM request WHERE request_id = ?", settled(sub)["request_id"])
    told = durations(headers)
    assert {name: told[name] for name in ("identity", "tokens", "budget", "commit")} == {
        name: row[name + "_us"] for name in ("identity", "tokens", "budget", "commit")
    }
    assert told["commit"] > 0 and int(headers["x-tollgate-overhead-us"]) == told["tollgate"] > 0
    assert sum(told.values()) <= 2 * told["tollgate"], "stages are parts of the whole"
    assert row["budget_left_nano"] > 0
    assert Decimal(headers["x-tollgate-budget-left"]) == Decimal(row["budget_left_nano"]).scaleb(-9)
    assert row["ttft_us"] > 0 and row["total_us"] >= row["ttft_us"] and row["attempts"] == 1


def test_refusals_tell_their_time(stack, sub):
    status, headers, _ = stack.post(stack.person(sub, team="poor"), body())
    assert status == 429
    told = durations(headers)
    assert "commit" not in told and set(told) == {"tollgate", "identity", "tokens", "budget"}
    status, headers, _ = stack.post("nonsense", body())
    assert status == 401 and durations(headers)["tollgate"] == int(headers["x-tollgate-overhead-us"])


def test_exemplars_name_requests(stack, prometheus, sub, settled):
    assert stack.post(stack.person(sub), body())[0] == 200
    settled(sub)

    def look():
        found = prometheus.api(
            "query_exemplars", query="gen_ai_client_operation_duration_seconds_bucket", start=0, end=4102444800
        )
        return {exemplar["labels"]["request_id"] for series in found for exemplar in series["exemplars"]}

    ids = wait_for(look, "an exemplar")
    assert ids <= {row["request_id"] for row in stack.query("SELECT request_id FROM request_row")}


def test_promtool_has_no_complaint(stack, url):
    status, kind, text = fetch(url + "/metrics")
    assert status == 200 and kind.startswith("text/plain; version=0.0.4")
    promtool("check", "metrics", stdin=text)


def test_both_formats_tell_the_same(url):
    def same():
        """Between two scrapes a series may begin."""
        status, kind, text = fetch(url + "/metrics", "application/openmetrics-text; version=1.0.0")
        assert status == 200 and kind.startswith("application/openmetrics-text; version=1.0.0")
        assert text.endswith("# EOF\n")
        return names(text) == names(fetch(url + "/metrics")[2])

    wait_for(same, "the same names in both")


def rules(prometheus):
    return [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]


def test_every_alert_fires_and_keeps_quiet(stack, prometheus):
    """promtool evaluates the rules over made-up series; texts and labels of what fires are compared too."""
    known = {rule["name"]: rule for rule in rules(prometheus)}
    assert {case.alert for case in CASES if case.summary} == set(known) == {case.alert for case in CASES if not case.summary}
    promtool("check", "rules", ALERTS)
    file = stack.folder / "alerts-test.json"
    file.write_text(json.dumps(promtool_tests(ALERTS, known)))
    promtool("test", "rules", file)


def queries():
    """(where from, expression) of everything the dashboard asks; its variables stand for anything."""
    board = json.loads(DASHBOARD.read_text())
    asked = [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel.get("targets", [])]
    asked += [(note["name"], note["expr"]) for note in board["annotations"]["list"]]
    asked += [
        (variable["name"], re.fullmatch(r"label_values\((\w+), \w+\)", variable["definition"])[1])
        for variable in board["templating"]["list"]
        if variable["type"] == "query"
    ]
    plain = [(name, e.replace("$__rate_interval", "1m").replace("$team", ".*").replace("$instance", ".*")) for name, e in asked]
    assert len(plain) > 40 and not [e for _, e in plain if "$" in e]
    return plain


def exported(text):
    """Names of samples -> names of their labels (None: no series yet), from an exposition in the text format."""
    found = {}
    for family, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M):
        parts = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        for part in parts:
            series = re.search(rf"^{family}{part}(?:{{(.*)}})? ", text, re.M)
            found[family + part] = set(re.findall(r'(\w+)="', series[1] or "")) if series else None
    return found


def lost(ours, theirs, where="dashboard"):
    """Places in `ours` that `theirs` lacks or has otherwise."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [place for key, value in ours.items() for place in lost(value, theirs.get(key), f"{where}.{key}")]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [place for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) for place in lost(a, b, f"{where}[{i}]")]
    return [] if ours == theirs else [where]


# Of Grafana's Prometheus plugin, which Grafana's own models leave to it.
PLUGINS = {"dashboard.annotations.list[0].titleFormat", "dashboard.templating.list[1].definition", "dashboard.templating.list[2].definition"}


def as_grafana_reads_it(board):
    """What is left of a dashboard when Grafana's own models have read and written it."""
    register_default_plugins()
    return json.loads(JSONEncoder().encode(Dashboard.from_json(board)))


def test_grafanas_models_know_every_member_of_the_dashboard():
    board = json.loads(DASHBOARD.read_text())
    assert set(lost(board, as_grafana_reads_it(board))) == PLUGINS
    assert {panel["type"] for panel in board["panels"]} <= {"row", "stat", "timeseries", "bargauge", "state-timeline"}
    # A slip would be seen.
    board["panels"][1]["fieldConfig"]["defaults"]["units"] = "s"
    board["panels"][1]["gridPosition"] = {"h": 8}
    assert {place.rpartition(".")[2] for place in set(lost(board, as_grafana_reads_it(board))) - PLUGINS} == {"units", "gridPosition"}


def test_panels_stand_side_by_side():
    """Within Grafana's 24 columns, none on top of another, each with a title of its own, and every query named once in its panel."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not taken & cells, panel["title"]
        taken |= cells
        names = [target["refId"] for target in panel.get("targets", [])]
        assert len(set(names)) == len(names) and (names or panel["type"] == "row"), panel["title"]
    assert len({panel["title"] for panel in panels}) == len(panels) == len({panel["id"] for panel in panels})


WORDS = {"by", "without", "on", "ignoring", "and", "or", "unless", "offset", "bool"}


def names_asked(expression):
    """(metrics, labels by metric, labels in by and on) that an expression names."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    selectors = {}
    for name, labels in re.findall(r"(\w+){([^}]*)}", bare):
        selectors.setdefault(name, set()).update(re.findall(r"(\w+)\s*[=!]", labels))
    grouped = {label.strip() for inside in re.findall(r"\b(?:by|on) \(([^)]*)\)", bare) for label in inside.split(",")}
    bare = re.sub(r"{[^}]*}|\[[^\]]*\]|\b(?:by|on) \([^)]*\)", " ", bare)
    metrics = {name for name in re.findall(r"\b[a-zA-Z_]\w*\b(?!\s*\()", bare)} - WORDS
    return metrics, selectors, grouped


def test_names_asked_are_found():
    asked = 'a{x="{y}",z!~"b"} / sum by (le, k) (rate(c_total{}[5m])) > 1 and on (j) d offset 1h or vector(0)'
    assert names_asked(asked) == ({"a", "c_total", "d"}, {"a": {"x", "z"}, "c_total": set()}, {"le", "k", "j"})


def test_rules_and_dashboard_ask_for_what_is_exported(stack, prometheus, url, sub, settled):
    assert stack.post(stack.person(sub, team="measured"), body(stream=True))[0] == 200
    settled(sub)
    asked = [(where, *names_asked(query)) for where, query in [(rule["name"], rule["query"]) for rule in rules(prometheus)] + queries()]
    everywhere = {"job", "instance", "le"}

    def labels(known):
        return everywhere.union(*(names for names in known.values() if names))

    def sampled():
        """What is exported once the agent has looked at its limits, which it does now and then."""
        known = exported(fetch(url + "/metrics")[2])
        return "limit" in labels(known) and known

    known = {**wait_for(sampled, "series of limits"), "up": set(), "ALERTS": {"alertname", "alertstate"}}
    for where, metrics, selectors, grouped in asked:
        assert metrics and metrics <= set(known), (where, metrics - set(known))
        for metric, names in selectors.items():
            assert known[metric] is None or names <= known[metric] | everywhere, (where, metric, names)
        assert grouped <= labels(known), (where, grouped - labels(known))


def test_prometheus_answers_every_query(stack, prometheus, sub, settled):
    """Each panel shows something; only the marks of alerts need one that fires."""
    assert stack.post(stack.person(sub, team="measured"), body(stream=True))[0] == 200
    assert stack.post(stack.person(sub + "-poor", team="poor"), body())[0] == 429
    settled(sub)
    for where, expression in queries():
        if where != "Alerts":
            wait_for(lambda e=expression: prometheus.api("query", query=e)["result"], f"{where}: {expression}")
    # The rules were evaluated, without an error, and a healthy gateway is silent; the machine's clock is not ours.
    wait_for(lambda: all(rule["health"] == "ok" for rule in rules(prometheus)), "every rule to be evaluated")
    assert [rule["name"] for rule in rules(prometheus) if rule["state"] == "firing" and rule["name"] != "TollgateClockStepped"] == []


def test_health_and_readiness(stack, url):
    assert fetch(url + "/healthz")[0] == 200
    wait_for(lambda: answers(url + "/readyz", 200), "the agent to be ready")
    assert fetch(url + "/nothing")[0] == 404
    # No issuer's keys: alive, but not ready.
    stack.agent.stop()
    stack.idp.stop()
    try:
        stack.start_agent()
        wait_for(lambda: answers(url + "/healthz", 200), "the agent to be alive")
        status, _, why = fetch(url + "/readyz")
        assert status == 503 and "issuer" in why
    finally:
        stack.agent.stop()
        stack.start_idp()
        stack.restart_agent()
    wait_for(lambda: answers(url + "/readyz", 200), "the agent to be ready")


def test_an_address_that_is_taken_is_refused(stack):
    """A configured address must be free; the message names it."""
    text = stack.config.read_text()
    other = stack.folder / "taken.yaml"
    other.write_text(text.replace(f"127.0.0.1:{stack.ports['metrics']}", f"127.0.0.1:{stack.ports['gateway']}"))
    assert stack.run_tool("check", other).returncode == 0
    stack.agent.stop()
    try:
        done = stack.run_tool("run", "--config", other, check=False)
        assert done.returncode == 1
        assert str(stack.ports["gateway"]) in done.stderr
    finally:
        stack.restart_agent()
