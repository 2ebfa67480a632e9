"""Which series there are: every promised name after some traffic, no more of them than configured whatever clients send, and the dates of
the certificate files that the configuration names."""

import re
import ssl

import pytest

from authority import Authority, openssl
from prometheus import Prometheus, fetch, promtool
from machine import PATIENCE, QUIET_ZONE, wait_for

MADE = {}
MAX_TEAMS = 100  # metrics.max_teams unless configured


def prepare(stack):
    ours = Authority(stack.folder / "ours", "Test Clients")
    MADE.update(server=ours.issue("server", "/CN=localhost", "DNS:localhost", usage="serverAuth"), ca=ours.ca, crl=ours.revocation_list())
    MADE["authority"] = ours


def binds(stack):
    return (f'address: "unix@{stack.sockets}/tls.sock", cert: {MADE["server"]}, client_ca: {MADE["ca"]}, client_crl: {MADE["crl"]}',)


STACK = {
    "prepare": prepare,
    "binds": binds,
    "limits": (
        'name: tiny, level: team, match: [poor], amount: "$0.000001", window: day',
        f'name: per-app, level: application, amount: "$50", window: day, time_zone: {QUIET_ZONE}',
        f'name: per-person, level: user, amount: "$50", window: day, time_zone: {QUIET_ZONE}',
    ),
}


@pytest.fixture(scope="module")
def url(stack):
    return f"http://127.0.0.1:{stack.ports['metrics']}"


def body(**more):
    return {"model": "chat-default", "messages": [{"role": "user", "content": "hello"}], **more}


def series(url):
    """name -> set of label texts, of every sample."""
    found = {}
    for line in fetch(url + "/metrics")[2].splitlines():
        if not line.startswith("#"):
            name, _, labels = line.rpartition(" ")[0].partition("{")
            found.setdefault(name, set()).add(labels)
    return found


def values(found, name, label):
    return {re.search(rf'{label}="((?:[^"\\]|\\.)*)"', labels)[1] for labels in found.get(name, ())}


PROMISED = """
gen_ai_server_time_to_first_token_seconds_bucket gen_ai_server_time_per_output_token_seconds_bucket gen_ai_client_token_usage_bucket
gen_ai_client_operation_duration_seconds_bucket
tollgate_requests_total tollgate_denials_total tollgate_cost_usd_total tollgate_tokens_total tollgate_prompt_cache_requests_total
tollgate_attempts_total tollgate_settlements_total tollgate_overhead_seconds_bucket
tollgate_holds tollgate_in_flight_requests tollgate_ledger_lag_seconds tollgate_ledger_failing tollgate_route_state
tollgate_identity_keys_age_seconds tollgate_credential_valid tollgate_limit_used_ratio tollgate_alerts_total
tollgate_trace_spans_total tollgate_certificate_expiry_timestamp_seconds tollgate_build_info
""".split()


def test_every_promised_name_is_there(stack, url, sub, settled):
    assert stack.post(stack.person(sub), body())[0] == 200
    assert stack.post(stack.tokens[sub], body(stream=True))[0] == 200
    assert stack.post(stack.person(sub + "-poor", team="poor"), body())[0] == 429
    settled(sub, 2)
    missing = set(PROMISED)

    def there():
        missing.intersection_update(set(PROMISED) - set(series(url)))
        return not missing

    try:
        wait_for(there, "all of it")
    except TimeoutError:
        pytest.fail(f"not there: {missing}")


def test_prompt_caches_are_counted(stack, url, sub, settled):
    """A hit is a request of whose input the provider read something from its cache."""

    def counted(result):
        text = fetch(url + "/metrics")[2]
        found = re.search(rf'^tollgate_prompt_cache_requests_total{{gen_ai_provider_name="openai",[^}}]*result="{result}"}} (\d+)$', text, re.M)
        return int(found[1]) if found else 0

    hits, misses = counted("hit"), counted("miss")
    token = stack.person(sub)
    assert stack.post(token, body())[0] == 200
    settled(sub)
    cached = stack.query("SELECT input_cached FROM request WHERE request_id = ?", settled(sub)["request_id"])[0]["input_cached"]
    wanted = (hits + 1, misses) if cached else (hits, misses + 1)
    wait_for(lambda: (counted("hit"), counted("miss")) == wanted, f"{wanted} hits and misses")


def test_clients_cannot_make_series(stack, url, sub):
    """A thousand teams, persons, applications, models and paths: what clients make up is counted as one."""

    def garbage(number):
        odd = ("é" * 40, '"', "\\", "x" * 300, "{}", "a,b=c")[number % 6]
        who = {"sub": f"{sub}-{number}", "team": f"team {number} {odd}", "client_id": f"app-{number}", "organization": "acme"}
        return stack.mint(claims=who), body(model=f"model {number} {odd}" if number % 2 else "chat-default")

    def send(first, count):
        for number in range(first, first + count):
            token, text = garbage(number)
            stack.post(token, text, path=("/v1/chat/completions", f"/v1/made-up-{number}")[number % 7 == 0])
        wait_for(lambda: not stack.query("SELECT 1 FROM open_holds LIMIT 1"), "the requests to be settled", PATIENCE * 3)

    send(0, 1000)
    found = series(url)
    teams = values(found, "tollgate_requests_total", "team")
    assert 10 < len(teams) <= MAX_TEAMS + 1 and "_other" in teams
    assert values(found, "gen_ai_client_operation_duration_seconds_count", "gen_ai_request_model") <= {"chat-default", "solo"}
    assert not [name for name in values(found, "tollgate_denials_total", "reason") if "made-up" in name]
    assert sub not in fetch(url + "/metrics")[2], "persons are never labels"
    promtool("check", "metrics", stdin=fetch(url + "/metrics")[2])
    # There is no room left for what is made up now; limits have a bound of their own, and are sampled now and then.
    send(1000, 100)
    again = series(url)
    limits = {name for name in again if name.startswith("tollgate_limit_")}
    assert limits and all(len(again[name]) <= 1001 for name in limits)
    made_up = re.compile(r"(team |model |app-|made-up-)10\d\d")
    assert [labels for name in set(again) - limits for labels in again[name] if made_up.search(labels)] == []
    assert values(again, "tollgate_requests_total", "team") == teams


def test_exemplars_are_openmetrics(stack, url, sub, settled):
    """A real Prometheus parses the exposition with its exemplars."""
    assert stack.post(stack.person(sub), body())[0] == 200
    row = settled(sub)

    def told():
        text = fetch(url + "/metrics", "application/openmetrics-text; version=1.0.0")[2]
        found = re.findall(r'^(\w+)_bucket{.*} \d+ # {request_id="([0-9a-zA-Z_-]+)"} \S+ \d+\.\d+$', text, re.M)
        return found if {name for name, _ in found} >= {"gen_ai_client_token_usage", "gen_ai_client_operation_duration_seconds"} else None

    exemplars = wait_for(told, "exemplars of both")
    assert {request_id for _, request_id in exemplars} <= {r["request_id"] for r in stack.query("SELECT request_id FROM request_row")}
    assert row["request_id"]
    with Prometheus(stack.folder, f"127.0.0.1:{stack.ports['metrics']}") as server:
        assert server.target()["health"] == "up", server.target()
        wait_for(lambda: server.api("query_exemplars", query="gen_ai_client_token_usage_bucket", start=0, end=4102444800), "exemplars")


def end_of(pem):
    return ssl.cert_time_to_seconds(openssl("x509", "-in", pem, "-noout", "-enddate").strip().partition("=")[2])


def expiries(url):
    text = fetch(url + "/metrics")[2]
    found = re.findall(r'^tollgate_certificate_expiry_timestamp_seconds{file="([^"]*)",role="([^"]*)"} (\d+)$', text, re.M)
    return {(name, role): int(at) for name, role, at in found}


def readable(url):
    return dict(re.findall(r'^tollgate_certificate_readable{file="([^"]*)",role="[^"]*"} (\d)$', fetch(url + "/metrics")[2], re.M))


def reload(stack):
    count = stack.agent.tail(1 << 24).count(" reloaded ")
    stack.reload()
    wait_for(lambda: stack.agent.tail(1 << 24).count(" reloaded ") > count, "the reload")


def test_ends_of_certificates(stack, url):
    due = openssl("crl", "-in", MADE["crl"], "-noout", "-nextupdate").strip().partition("=")[2]
    wanted = {
        (str(MADE["server"]), "certificate"): end_of(MADE["server"]),
        (str(MADE["ca"]), "ca"): end_of(MADE["ca"]),
        (str(MADE["crl"]), "crl"): ssl.cert_time_to_seconds(due),
    }
    wait_for(lambda: expiries(url) == wanted, f"{wanted}")
    # A new certificate in its place is seen, at the latest with the next reload; a file that went is told apart from one that ends.
    other = MADE["authority"].issue("other", "/CN=localhost", "DNS:localhost", first="20200101000000Z", last="20200201000000Z")
    kept = MADE["server"].read_text()
    try:
        MADE["server"].write_text(other.read_text())
        reload(stack)
        wait_for(lambda: expiries(url).get((str(MADE["server"]), "certificate")) == 1580515200, "the new end")
        MADE["server"].unlink()
        reload(stack)
        wait_for(lambda: readable(url).get(str(MADE["server"])) == "0", "the file to be missed")
        assert (str(MADE["server"]), "certificate") not in expiries(url)
    finally:
        MADE["server"].touch(mode=0o600)
        MADE["server"].write_text(kept)
        reload(stack)
    wait_for(lambda: expiries(url) == wanted, "the old end")


def test_ends_of_certificates_that_only_haproxys_own_files_name(stack, url):
    issue = MADE["authority"].issue
    dates = {"site": "20310101000000Z", "client": "20320101000000Z"}
    mine = {name: issue(name, "/CN=localhost", "DNS:localhost", first="20250101000000Z", last=end) for name, end in dates.items()}
    before, cfg = stack.config.read_text(), stack.folder / "own.cfg"
    cfg.write_text(
        f"global\n  crt-base {mine['client'].parent}\nfrontend f\n  bind :443 ssl crt {mine['site']}\n"
        f"backend b\n  server s 127.0.0.1:1 ssl verify required ca-file {MADE['ca']} crt {mine['client'].name}\n"
    )
    named = {(str(pem), "certificate"): end_of(pem) for pem in mine.values()}
    assert len(set(named.values())) == 2
    stack.write_configuration(before.replace("haproxy:\n", f"haproxy:\n  files: [{cfg}]\n"))
    try:
        reload(stack)
        wait_for(lambda: named.items() <= expiries(url).items(), f"{named}")
        assert readable(url)[str(cfg)] == "1"
        # A file that cannot be understood is said to be so, and names nothing.
        cfg.write_text("frontend f\n  bind 'open\n")
        reload(stack)
        wait_for(lambda: readable(url)[str(cfg)] == "0" and not named.keys() & expiries(url).keys(), "the broken file to be told")
    finally:
        stack.write_configuration(before)
        reload(stack)
    wait_for(lambda: str(cfg) not in readable(url), "the file to be forgotten")
