"""Access rules: what they let pass through the real gateway, what they refuse and say, and what `tollgatectl explain` tells beforehand."""

import json
import subprocess
import time

import openai
import pytest

from machine import PATIENCE, build_folder, wait_for

# A minute of a day that is three days away, in any time zone.
NOT_NOW = "Mon Tue Wed Thu Fri Sat Sun".split()[(time.gmtime().tm_wday + 3) % 7] + " 12:00-12:01"

STACK = {
    "access": [
        "name: writers, teams: [writers], models: [solo], endpoints: [chat], max_prompt: 60, max_output: 50",
        "name: roles, groups: [llm-admins]",
        'name: elsewhere, teams: [elsewhere], networks: [192.0.2.0/24, "2001:db8::/32"]',
        'name: never, teams: [never], hours: ["Mon 00:00-00:01"], time_zone: Europe/Berlin',
        "name: alpha-only, teams: [alpha-only], upstreams: [alpha/*]",
        f'name: later, teams: [later], hours: ["{NOT_NOW}"], time_zone: Europe/Berlin',
    ],
    "limits": ('name: cheap, level: team, match: [alpha-only], amount: "$0.02", window: total, action: downgrade, downgrade_to: chat-default, '
               "thresholds: [1]",),
}


def ctl(stack, *words, check=True, stdin=None):
    done = subprocess.run(
        [build_folder() / "tollgatectl", *words, "--socket", stack.admin_socket], input=stdin, capture_output=True, text=True, timeout=PATIENCE
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def asked(stack, token, text="access", model="solo", **more):
    """200 with the headers, or status, code and message."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    status, headers, answer = stack.post(token, body)
    if status == 200:
        return 200, headers, ""
    error = json.loads(answer)["error"]
    return status, error["code"], error["message"]


def explain(stack, token, model, *words):
    done = ctl(stack, "explain", "--token", "-", "--model", model, "--json", *words, check=False, stdin=token + "\n")
    assert done.returncode in (0, 1) and not done.stderr, done.stderr
    told = json.loads(done.stdout)
    assert token not in done.stdout
    return done.returncode, told


def test_a_rule_lets_pass_what_it_names(stack, sub):
    token = stack.person(sub, team="writers")
    status, headers, _ = asked(stack, token, sub, max_tokens=400)
    assert status == 200 and "output lowered to 50 tokens: the most access rule writers allows" in headers["x-tollgate-notice"]
    assert json.loads(stack.received("alpha", sub)[-1]["body"])["max_tokens"] == 50
    assert asked(stack, token, sub, max_tokens=40)[0] == 200
    for (status, code, message), says in (
        (asked(stack, token, sub, model="chat-default"), 'You may not use model "chat-default"; allowed models: solo.'),
        (asked(stack, token, "word " * 200), "tokens; allowed prompt tokens: 60."),
    ):
        assert (status, code) == (403, "access_denied") and message.endswith(says)
    status, _, answer = stack.post(token, {"model": "solo", "input": "x"}, path="/v1/embeddings")
    assert status == 403 and "allowed endpoints: /v1/chat/completions." in json.loads(answer)["error"]["message"]


@pytest.mark.parametrize(
    "team, says",
    [
        ("elsewhere", "You may not ask from address 127.0.0.1; allowed networks: 192.0.2.0/24, 2001:db8::/32."),
        ("later", f"allowed hours: {NOT_NOW} Europe/Berlin."),
        ("nobody", 'No access rule concerns you (team "nobody"'),
    ],
)
def test_what_no_rule_allows_is_refused(stack, sub, team, says):
    status, code, message = asked(stack, stack.person(sub, team=team), sub)
    assert (status, code) == (403, "access_denied") and says in message
    assert not stack.received("alpha", sub)
    wait_for(lambda: stack.query("SELECT 1 FROM request WHERE subject = ? AND deny_reason LIKE 'access_%'", sub), "the refusal's row")


def test_models_are_listed_for_the_caller(stack, sub):
    def listed(token):
        with openai.OpenAI(base_url=stack.gateway + "/v1", api_key=token, max_retries=0) as client:
            return [model.id for model in client.models.list()]

    assert listed(stack.person(sub, team="writers")) == ["solo"]
    assert listed(stack.person(sub + "-admin", team="none", groups=["x", "llm-admins"])) == ["chat-default", "solo"]
    assert listed(stack.person(sub + "-alpha", team="alpha-only")) == ["solo"]  # the other one's fallback is not allowed
    assert listed(stack.person(sub + "-nobody", team="nobody")) == []


def test_a_limit_does_not_lead_around_the_rules(stack, sub):
    """A limit that wants a cheaper model instead gets it only where the caller may use that one."""
    token = stack.person(sub, team="alpha-only")
    stack.behave("alpha", completion_tokens=1000)
    assert asked(stack, token, sub)[1]["x-tollgate-alias"] == "solo"
    wait_for(lambda: stack.query("SELECT 1 FROM request WHERE subject = ? AND cost_nano > 200000", sub), "what passes the threshold")
    free = stack.person(sub + "-admin", team="alpha-only", groups=["llm-admins"])  # same account, and may use both
    assert asked(stack, free, sub + "-admin")[1]["x-tollgate-alias"] == "chat-default"
    assert asked(stack, token, sub)[1]["x-tollgate-alias"] == "solo"


def test_keys_obey_the_rules_as_well(stack, sub):
    def key(*words):
        return json.loads(ctl(stack, "key", "create", sub, "--json", *words).stdout)["key"]

    assert asked(stack, key("--team", "writers"))[0] == 200
    assert asked(stack, key("--team", "x"))[:2] == (403, "access_denied")
    assert asked(stack, key("--team", "x", "--groups", "a,llm-admins"))[0] == 200
    status, _, message = asked(stack, key("--team", "writers", "--models", "chat-default"), model="chat-default")
    assert status == 403 and "allowed models: solo" in message  # the key's scope only narrows
    code, told = explain(stack, key("--team", "writers", "--models", "chat-default"), "solo")
    assert code == 1 and told["policy"]["rule"] == "(the key's own scope)" and "it may use: chat-default" in told["policy"]["message"]


def test_explain(stack, sub):
    token = stack.person(sub, team="writers", cost_center="4711")
    code, told = explain(stack, token, "solo")
    rules = told["policy"].pop("rules")
    assert rules[0] == {"at": 0, "rule": "writers", "concerns": True, "fails": "", "wants": ""}
    assert code == 0 and told["policy"] | {"message": ""} == {
        "allowed": True, "rule": "writers", "reason": "", "message": "", "max_output": 50,
    }
    assert (told["identity"]["team"], told["identity"]["cost_center"], told["identity"]["subject"]) == ("writers", "4711", sub)
    assert told["identity"]["groups"] == ["llm-users"]
    assert told["route"]["primary"] == {"provider": "alpha", "model": "gpt-4o-mini"}
    assert [limit["left"] <= limit["amount"] for limit in told["limits"] if limit["limit"] == "team-day"] == [True]
    code, told = explain(stack, token, "solo", "--prompt", "61")
    assert (code, told["policy"]["reason"]) == (1, "access_prompt")
    code, told = explain(stack, token, "chat-default")
    assert (code, told["policy"]["reason"]) == (1, "access_model") and told["route"]["fallback"]["provider"] == "beta"
    code, told = explain(stack, token, "solo", "--endpoint", "messages")
    assert (code, told["policy"]["reason"]) == (1, "access_endpoint")
    far = stack.person(sub + "-far", team="elsewhere")
    assert explain(stack, far, "solo")[1]["policy"]["reason"] == "access_network"
    assert explain(stack, far, "solo", "--address", "2001:db8::7")[1]["policy"]["rule"] == "elsewhere"
    late = stack.person(sub + "-late", team="never")
    assert explain(stack, late, "solo", "--at", "2026-11-24T12:00")[1]["policy"]["reason"] == "access_hours"
    assert explain(stack, late, "solo", "--at", "2026-11-22T23:00")[1]["policy"]["rule"] == "never"  # Monday, 00:00 in Berlin
    admin = stack.person(sub + "-admin", team="none", groups=["llm-admins"])
    code, told = explain(stack, admin, "nonesuch")
    assert code == 1 and told["policy"]["rule"] == "roles" and told["route"]["code"] == "model_not_found"
    code, told = explain(stack, stack.mint(claims={"sub": sub, "exp": 1}), "solo")
    assert code == 1 and told["identity"]["accepted"] is False and told["identity"]["reason"] == "token_expired" and "policy" not in told
    text = ctl(stack, "explain", "--token", "-", "--model", "solo", stdin=token).stdout
    assert "identity: accepted" in text and "rule          writers" in text and "primary       alpha, model gpt-4o-mini" in text
    for words, says in (
        (("explain", "--model", "solo"), "usage: tollgatectl explain"),
        (("explain", "--token", "/nonexistent", "--model", "solo"), "No such file"),
        (("explain", "--token", "-", "--model", "solo", "--prompt", "many"), "no number of tokens"),
        (("explain", "--token", "-", "--model", "solo", "--at", "noon"), "no time"),
        (("explain", "--token", "-", "--model", "solo", "--endpoint", "images"), "no such endpoint"),
    ):
        done = ctl(stack, *words, check=False, stdin=token)
        assert done.returncode != 0 and says in done.stderr, (words, done.stderr)
    assert token not in stack.agent.text() and token not in (stack.folder / "audit.log").read_text()


def test_explain_says_what_each_rule_makes_of_it(stack, sub):
    """A refusal lists every rule in the file's order: whom it is about, and what of it does not hold."""
    code, told = explain(stack, stack.person(sub, team="elsewhere"), "solo", "--address", "10.0.0.1")
    assert code == 1 and told["policy"]["reason"] == "access_network"
    rules = {rule["rule"]: rule for rule in told["policy"]["rules"]}
    assert [rule["at"] for rule in rules.values()] == list(range(len(STACK["access"])))
    assert rules["elsewhere"] == {"at": 2, "rule": "elsewhere", "concerns": True, "fails": "networks", "wants": "192.0.2.0/24, 2001:db8::/32"}
    assert (rules["writers"]["concerns"], rules["writers"]["fails"], rules["writers"]["wants"]) == (False, "teams", "writers")
    assert (rules["roles"]["fails"], rules["roles"]["wants"]) == ("groups", "llm-admins")
    # Each part of a rule that concerns the caller.
    writer = stack.person(sub + "-w", team="writers")
    for words, fails, wants in (
        (("chat-default",), "models", "solo"),
        (("solo", "--endpoint", "embeddings"), "endpoints", "/v1/chat/completions"),
        (("solo", "--prompt", "61"), "max_prompt", "60"),
    ):
        code, told = explain(stack, writer, *words)
        (rule,) = [rule for rule in told["policy"]["rules"] if rule["concerns"]]
        assert (code, rule["rule"], rule["fails"], rule["wants"]) == (1, "writers", fails, wants)
    code, told = explain(stack, writer, "solo")
    assert code == 0 and [rule["fails"] for rule in told["policy"]["rules"] if rule["concerns"]] == [""]
    text = ctl(stack, "explain", "--token", "-", "--model", "chat-default", check=False, stdin=writer + "\n").stdout
    assert "access[0] writers: concerns this caller, but allows models: solo" in text and "access[1] roles: concerns others, groups: llm-admins" in text


def test_explain_of_a_credential_that_is_refused(stack, sub):
    """What the client is told, and for the operator what would be right or how it is taken back; never the token."""
    ctl(stack, "revoke", "subject", sub)
    for token, reason, says, hint in (
        (stack.mint(claims={"sub": sub}), "revoked", "revoked (subject)", f"tollgatectl unrevoke subject '{sub}'"),
        (stack.mint(claims={"exp": 1}), "token_expired", "expired at 1970-01-01", ""),
        (stack.mint(claims={"iss": "https://evil.example"}), "token_issuer", "not one that is accepted", stack.issuer),
        (stack.mint(header={"kid": "nobody-s"}), "token_key", "not among its issuer's keys", f"{stack.issuer} ("),
        (stack.mint(claims={"aud": "elsewhere"}), "token_audience", 'with "tollgate"', ""),
        ("tg_" + "a" * 49, "key_malformed", "typo", ""),
        ("nonsense", "token_malformed", "three parts", ""),
    ):
        code, told = explain(stack, token, "solo")
        identity = told["identity"]
        assert (code, identity["accepted"], identity["reason"]) == (1, False, reason)
        assert says in identity["message"] and hint in identity["hint"] and bool(hint) == bool(identity["hint"]), identity
        # A client hears no hint.
        status, _, message = asked(stack, token)
        assert status == 401 and "unrevoke" not in message and "fetched" not in message
    ctl(stack, "unrevoke", "subject", sub)


def test_rules_change_at_a_reload_and_bad_ones_are_refused(stack, sub):
    token = stack.person(sub, team="newcomers")
    assert asked(stack, token)[0] == 403
    good = stack.config.read_text()
    for rule, says in (
        ("access: []", "access: is empty"),
        ("access:\n  - {name: a, teams: []}", "access[0].teams: is empty"),
        ("access:\n  - {teams: [a]}", '"name" is missing'),
        ("access:\n  - {name: a, models: [sola]}", 'access[0].models: there is no model "sola"'),
        ("access:\n  - {name: a, people: [x]}", 'unknown key "people"'),
    ):
        stack.write_configuration(good[: good.index("access:")] + rule + "\n")
        done = stack.run_tool("check", stack.config, check=False)
        assert done.returncode != 0 and says in done.stdout + done.stderr, done.stdout + done.stderr
    stack.write_configuration(good + "  - {name: newcomers, teams: [newcomers]}\n")
    stack.reload()
    wait_for(lambda: asked(stack, token)[0] == 200, "the new rule")
    stack.write_configuration(good)
    stack.reload()
    wait_for(lambda: asked(stack, token)[0] == 403, "the old rules")
