"""Prices in a running agent: scheduled tables, context tiers, prices per image, and holds that fit the dearest target."""

import base64
import json
import signal
import struct
import threading
import time
import zlib

import pytest

import ledger
from ledger_fixture import ctl
from machine import PATIENCE, wait_for
from stack import PRICES, configuration

ALPHA, BETA = ("openai", "gpt-4o-mini"), ("azure", "gpt-4o")
STACK = {
    "limits": (
        'name: clamped, level: team, match: ["clamped-*"], amount: "$0.004", window: total, clamp_floor: 1',
        'name: clamp-tokens, level: team, match: ["clamped-*"], amount: "900000 tokens", window: total',
    ),
    "first_byte": "120s",
}


def catalogue(path, factor):
    """The two models at a multiple of their list prices; rates in USD per million tokens."""
    models = [
        {
            "provider": provider,
            "model": model,
            "cost": {"input": rates[0] * factor / 1000, "cache_read": rates[0] * factor / 2000, "output": rates[1] * factor / 1000},
            "limit": {"context": 128000, "output": 16384},
            "modalities": {"input": ["text", "image"], "output": ["text"]},
        }
        for (provider, model), rates in PRICES.items()
    ]
    path.write_text(json.dumps({"unit": "USD per 1,000,000 tokens", "models": models}))
    return path


def reconfigure(stack, prices):
    """Reloads with these prices; the version then in force."""
    last = newest(stack)["id"] if stack.query("SELECT 1 FROM price_validity") else 0
    stack.write_configuration(configuration(stack) + prices)
    stack.run_tool("check", stack.config)
    stack.reload()
    wait_for(lambda: newest(stack)["id"] > last, "the prices in force")
    return newest(stack)["version"]


def newest(stack):
    return stack.query("SELECT * FROM price_validity ORDER BY id DESC LIMIT 1")[0]


def ask(text, **more):
    return {"model": "solo", "max_tokens": 50, "messages": [{"role": "user", "content": text}], **more}


def row_of(stack, sub, count=1):
    """The subject's newest row, once `count` are settled."""
    found = "SELECT * FROM request WHERE subject = ? AND state = 'settled' ORDER BY id"
    rows = wait_for(lambda: len(r := stack.query(found, sub)) == count and r, f"{count} settlements of {sub}")
    return rows[-1]


def half_up(amount, unit):
    return (2 * amount + unit) // (2 * unit)


def at(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


# ---- scheduled


def test_a_scheduled_table_holds_from_its_instant_on_without_reload(stack, sub, tmp_path):
    old = reconfigure(stack, f"prices: {{file: {catalogue(tmp_path / 'now.json', 1)}}}\n")
    later = catalogue(tmp_path / "later.json", 3)
    for lead in (5, 20, 80):  # seconds for what has to be done before the instant
        subject, instant = f"{sub}-{lead}", int(time.time()) + lead
        token = stack.person(subject)
        text = f"prices: {{file: {tmp_path / 'now.json'}, scheduled: [{{file: {later}, valid_from: \"{at(instant)}\"}}]}}\n"
        version = reconfigure(stack, text)
        early = time.time() < instant
        assert version == old or not early, "not in force before its instant"
        reloads = stack.agent.log.read_text(errors="replace").count(" reloaded ")
        # Under way while the price changes: it keeps what it was decided with.
        text = f"slow {subject} [[accept_delay={lead + 4} completion_tokens=40]]"
        slow = threading.Thread(target=stack.post, args=(token, ask(text)), kwargs={"timeout": 3 * PATIENCE})
        slow.start()
        wait_for(lambda s=subject: stack.received("alpha", s), "the provider to have the slow one")
        if early and time.time() < instant:
            break
        slow.join()
    sub = subject
    end, sent = time.monotonic() + 3 * PATIENCE, 0
    while True:
        decided_after = time.time() > instant
        assert stack.post(token, ask(f"request {sent} [[completion_tokens=7]]"))[0] == 200
        sent += 1
        if decided_after or time.monotonic() > end:
            break
        time.sleep(0.1)
    slow.join()
    row_of(stack, sub, sent + 1)
    rows = stack.query("SELECT * FROM request WHERE subject = ? ORDER BY id", sub)
    fresh = rows[-1]["price_version"]
    assert fresh != old
    for row in rows:
        factor = 3 if row["started_us"] >= instant * 1_000_000 else 1
        assert row["price_version"] == (fresh if factor == 3 else old), row
        price = [rate * factor for rate in PRICES[ALPHA]]
        assert row["cost_nano"] == row["input"] * price[0] + row["output"] * price[1]
        assert row["hold_nano"] == row["input_bound"] * price[0] + 50 * price[1]
    waited = max(rows, key=lambda row: row["output"])
    assert waited["output"] == 40 and waited["price_version"] == old and waited["settled_us"] > instant * 1_000_000
    assert [row["started_us"] // 1_000_000 >= instant for row in rows].count(True) >= 1
    wait_for(lambda: newest(stack)["version"] == fresh, "the ledger's own note")
    assert newest(stack)["valid_from_us"] == instant * 1_000_000
    log = stack.agent.log.read_text(errors="replace")
    assert log.count(" reloaded ") == reloads and log.count(" prices_in_force ") >= 1
    told = json.loads(ctl("status", "--socket", stack.admin_socket, "--json").stdout)
    assert told["prices"] == stack.query("SELECT hash FROM price_version WHERE id = ?", fresh)[0]["hash"]
    # A restart reads the clock, not the order of the file.
    assert stack.agent.stop() == 0
    stack.restart_agent()
    assert stack.post(token, ask("after [[completion_tokens=7]]"))[0] == 200
    assert row_of(stack, sub, sent + 2)["price_version"] == fresh


def test_a_request_in_flight_keeps_its_prices_over_a_restart_with_others(stack, sub, tmp_path):
    token = stack.person(sub)
    old = reconfigure(stack, f"prices: {{file: {catalogue(tmp_path / 'now.json', 1)}}}\n")
    seen = len(stack.received("alpha", sub))
    client = threading.Thread(target=stack.post, args=(token, ask(f"{sub} [[accept_delay=6 completion_tokens=40]]")))
    client.start()
    wait_for(lambda: len(stack.received("alpha", sub)) > seen, "the provider to have the request")
    stack.write_configuration(configuration(stack) + f"prices: {{file: {catalogue(tmp_path / 'new.json', 5)}}}\n")
    stack.agent.popen.send_signal(signal.SIGKILL)
    stack.agent.popen.wait()
    stack.restart_agent()
    client.join()
    row = row_of(stack, sub)
    assert newest(stack)["version"] != old == row["price_version"]
    assert row["known_by"] in ("reported", "bounded")
    cost = row["input"] * PRICES[ALPHA][0] + 40 * PRICES[ALPHA][1]
    assert row["cost_nano"] == (cost if row["known_by"] == "reported" else row["hold_nano"])


@pytest.mark.parametrize("day, factor", [("2020-01-01", 3), ("2099-01-01", 1)])
def test_the_table_in_force_follows_the_clock_where_no_agent_ran_yet(stack, tmp_path, day, factor):
    now, later = catalogue(tmp_path / "now.json", 1), catalogue(tmp_path / "later.json", 3)
    text = configuration(stack).replace(str(stack.ledger_file), str(tmp_path / "none.db"))
    config = tmp_path / "offline.yaml"
    config.write_text(f"{text}prices: {{file: {now}, scheduled: [{{file: {later}, valid_from: {day}}}]}}\n")
    rows = json.loads(ctl("prices", "list", "gpt-4o-mini", "--config", config, "--json").stdout)["rows"]
    assert [row["input_pico"] for row in rows] == [150_000 * factor]


@pytest.mark.parametrize(
    "scheduled, words",
    [
        ('[{file: "FILE", valid_from: tomorrow}]', 'scheduled[0].valid_from: "tomorrow" must be'),
        ('[{file: "FILE", valid_from: 2030-02-01}, {file: "FILE", valid_from: 2030-01-01}]', "scheduled[1].valid_from: must be later"),
        ('[{file: "/nowhere/prices.json", valid_from: 2030-02-01}]', "scheduled[0]: cannot read /nowhere/prices.json"),
        ("[{valid_from: 2030-02-01}]", "file"),
    ],
)
def test_wrong_schedules_are_refused(stack, tmp_path, scheduled, words):
    file = tmp_path / "wrong.yaml"
    text = scheduled.replace("FILE", str(catalogue(tmp_path / "p.json", 1)))
    file.write_text(configuration(stack) + f"prices: {{scheduled: {text}}}\n")
    done = stack.run_tool("check", file, check=False)
    assert done.returncode == 1 and words in done.stdout + done.stderr


# ---- tiers


def tiered(above, model="gpt-4o-mini"):
    return (
        f"{{provider: openai, model: {model}, input: \"0.15\", cached_input: \"0.075\", output: \"0.60\","
        f' tiers: [{{above: {above}, input: "0.30", cached_input: "0.10", output: "0.90"}}]}}'
    )


def nano(usage, tier):
    rates = (300, 100, 900) if tier else (150, 75, 600)
    return sum(count * rate for count, rate in zip(usage, rates, strict=True))


def test_a_tier_reprices_the_whole_request_from_one_token_over_on(stack, sub):
    token = stack.person(sub)
    reconfigure(stack, f"prices: {{overrides: [{tiered(1000)}]}}\n")
    asked = 0
    for input_, cached, tier in ((1000, 0, False), (1001, 0, True), (600, 400, False), (601, 400, True), (0, 1001, True)):
        text = f"tier [[prompt_tokens={input_ + cached} cached_tokens={cached} completion_tokens=20]]"
        assert stack.post(token, ask(text))[0] == 200
        asked += 1
        row = row_of(stack, sub, asked)
        assert (row["input"], row["input_cached"], row["output"]) == (input_, cached, 20)
        assert row["cost_nano"] == nano((input_, cached, 20), tier), row


def test_a_hold_reaches_the_tier_with_the_same_token(stack, sub):
    token = stack.person(sub)
    reconfigure(stack, f"prices: {{overrides: [{tiered(1000)}]}}\n")
    assert stack.post(token, ask("how long is this"))[0] == 200
    bound = row_of(stack, sub)["input_bound"]
    for number, (above, tier) in enumerate(((bound, False), (bound - 1, True)), 2):
        reconfigure(stack, f"prices: {{overrides: [{tiered(above)}]}}\n")
        assert stack.post(token, ask("how long is this"))[0] == 200
        row = row_of(stack, sub, number)
        assert row["input_bound"] == bound
        assert row["hold_nano"] == nano((bound, 0, 50), tier)


def test_a_contract_has_tiers_of_its_own(stack, sub):
    token = stack.person(sub, team="tiered-team")
    rates = tiered(1000).replace("provider: openai, model: gpt-4o-mini, ", "")
    reconfigure(stack, f"prices: {{contracts: [{{name: own, teams: [tiered-team], providers: [openai], models: [gpt-4o-mini], rates: {rates}}}]}}\n")
    for number, (input_, tier) in enumerate(((1000, False), (1001, True)), 1):
        assert stack.post(token, ask(f"tier [[prompt_tokens={input_} completion_tokens=20]]"))[0] == 200
        row = row_of(stack, sub, number)
        assert row["cost_nano"] == nano((input_, 0, 20), tier)
        assert row["cost_nano"] + row["discount_nano"] == input_ * 150 + 20 * 600
    # Read back from the ledger, terms and all: nothing to correct.
    assert json.loads(ctl("reprice", "--config", stack.config, "--dry-run", "--json").stdout)["unpriced"] == 0
    again = json.loads(ctl("reprice", "--config", stack.config, "--dry-run", "--json").stdout)
    assert again["prices"] == stack.query("SELECT hash FROM price_version WHERE id = ?", newest(stack)["version"])[0]["hash"]


# ---- images


def png(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" * (width + 1) for _ in range(height)))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(data).decode()


def with_image_price(usd):
    return f'prices: {{overrides: [{{provider: openai, model: gpt-4o-mini, input: "0.15", output: "0.60", image: "{usd}"}}]}}\n'


def test_images_are_held_charged_and_repriced_by_the_piece(stack, sub):
    token = stack.person(sub)
    reconfigure(stack, with_image_price("0.0025"))
    picture = {"type": "image_url", "image_url": {"url": png(16, 16), "detail": "low"}}
    text = {"type": "text", "text": "[[prompt_tokens=300 completion_tokens=20]]"}
    for number, pictures in enumerate((0, 1, 3), 1):
        body = ask("")
        body["messages"][0]["content"] = [text, *[picture] * pictures]
        assert stack.post(token, body)[0] == 200
        row = row_of(stack, sub, number)
        assert row["hold_nano"] == row["input_bound"] * 150 + 50 * 600 + pictures * 2_500_000
        assert row["cost_nano"] == 300 * 150 + 20 * 600 + pictures * 2_500_000
        assert stack.query("SELECT images FROM request_row WHERE id = ?", row["id"])[0]["images"] == pictures
    reconfigure(stack, with_image_price("0.0015"))
    before = {row["id"]: row["cost"] for row in ledger.requests(stack, sub)}
    ctl("reprice", "--config", stack.config, "--json")
    after = ledger.requests(stack, sub)
    assert [before[row["id"]] - row["cost"] for row in after] == [0, 1_000_000, 3_000_000]
    assert stack.query("SELECT * FROM rollup_mismatch") == []


@pytest.mark.parametrize("name", ["responses", "messages"])
def test_images_of_the_other_apis_are_charged_by_the_piece(stack, sub, name):
    reconfigure(stack, with_image_price("0.0025"))
    url = png(16, 16)
    text = "[[prompt_tokens=300 completion_tokens=20]]"
    if name == "responses":
        parts = [{"type": "input_text", "text": text}, {"type": "input_image", "image_url": url}, {"type": "input_image", "image_url": url}]
        body = {"model": "solo", "max_output_tokens": 50, "input": [{"role": "user", "content": parts}]}
    else:
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": url.partition(",")[2]}}
        body = {"model": "solo", "max_tokens": 50, "messages": [{"role": "user", "content": [{"type": "text", "text": text}, image, image]}]}
    status, _, answer = stack.post(stack.person(sub), body, path=f"/v1/{name}")
    assert status == 200, answer
    row = row_of(stack, sub)
    assert row["images"] == 2 and row["cost_nano"] == 300 * 150 + 20 * 600 + 2 * 2_500_000 <= row["hold_nano"]


# ---- images in the answer


def drawn_at(**prices):
    more = "".join(f', {name}: "{usd}"' for name, usd in prices.items())
    return f'prices: {{overrides: [{{provider: openai, model: gpt-4o-mini, input: "0.15", output: "0.60"{more}}}]}}\n'


def draw(image_tokens=None, **more):
    told = "" if image_tokens is None else f" image_tokens={image_tokens}"
    return ask(f"[[prompt_tokens=30 completion_tokens=20{told}]]") | {"n": 2} | more


WANTED = {"modalities": ["text", "image"]}
PIECE = {"image_output": "0.04"}
TOKENS = {"image_output_tokens": "30"}


@pytest.mark.parametrize(
    ("prices", "body", "held", "charged", "images"),
    [
        # two choices of 20 tokens, of which 8 are an image's; nano-dollars
        (PIECE, draw(8, **WANTED), 100 * 600 + 2 * 40_000_000, 24 * 600 + 2 * 40_000_000, 2),
        (PIECE, draw(0, **WANTED), 100 * 600 + 2 * 40_000_000, 40 * 600, 0),
        (PIECE, draw(None, **WANTED), 100 * 600 + 2 * 40_000_000, 40 * 600 + 2 * 40_000_000, 2),
        (PIECE, draw(8), 100 * 600 + 2 * 40_000_000, 24 * 600 + 2 * 40_000_000, 2),  # it draws without being asked to
        (PIECE, draw(0, modalities=["text"]), 100 * 600, 40 * 600, 0),
        (TOKENS, draw(8, **WANTED), 100 * 30_000, 24 * 600 + 16 * 30_000, 2),
        (TOKENS, draw(0, **WANTED), 100 * 30_000, 40 * 600, 0),
        (TOKENS, draw(None, **WANTED), 100 * 30_000, 40 * 30_000, 2),
        ({**PIECE, **TOKENS}, draw(8, **WANTED), 100 * 30_000 + 2 * 40_000_000, 24 * 600 + 16 * 30_000, 2),
        ({"image_output": "0"}, draw(8, **WANTED), 100 * 600, 40 * 600, 0),
    ],
)
def test_images_in_the_answer_are_held_and_charged(stack, sub, prices, body, held, charged, images):
    reconfigure(stack, drawn_at(**prices))
    status, _, answer = stack.post(stack.person(sub), body)
    assert status == 200, answer
    row = row_of(stack, sub)
    assert row["hold_nano"] == row["input_bound"] * 150 + held
    assert row["cost_nano"] == 30 * 150 + charged <= row["hold_nano"]
    assert row["images_out"] == images and row["known_by"] == "reported"


def test_images_in_the_answer_are_repriced(stack, sub):
    token = stack.person(sub)
    reconfigure(stack, drawn_at(**PIECE))
    for number, told in enumerate((8, 0), 1):
        assert stack.post(token, draw(told, **WANTED))[0] == 200
        row_of(stack, sub, number)
    reconfigure(stack, drawn_at(image_output="0.03"))
    before = {row["id"]: row["cost"] for row in ledger.requests(stack, sub)}
    ctl("reprice", "--config", stack.config, "--json")
    assert [before[row["id"]] - row["cost"] for row in ledger.requests(stack, sub)] == [20_000_000, 0]
    assert stack.query("SELECT * FROM rollup_mismatch") == []


def test_images_without_a_price_are_refused(stack, sub):
    reconfigure(stack, drawn_at())
    token = stack.person(sub)
    for path, body, param in (
        ("/v1/chat/completions", draw(8, **WANTED), "modalities"),
        ("/v1/responses", {"model": "solo", "input": sub, "tools": [{"type": "image_generation"}], "max_tool_calls": 1}, "tools"),
    ):
        status, _, answer = stack.post(token, body, path=path)
        error = json.loads(answer)["error"]
        assert status == 400 and error["code"] == "option_not_priced" and error["param"] == param, answer
        assert "image_output" in error["message"]
    assert stack.post(token, draw(modalities=["text"]))[0] == 200


def test_the_tool_that_draws_is_held_for_each_call(stack, sub):
    reconfigure(stack, drawn_at(**PIECE))
    token = stack.person(sub)
    body = {"model": "solo", "input": "[[prompt_tokens=30 completion_tokens=20]]", "max_output_tokens": 50, "tools": [{"type": "image_generation"}]}
    status, _, answer = stack.post(token, body, path="/v1/responses")
    error = json.loads(answer)["error"]
    assert status == 400 and error["code"] == "request_not_boundable" and error["param"] == "max_tool_calls", answer
    status, _, answer = stack.post(token, body | {"max_tool_calls": 3}, path="/v1/responses")
    assert status == 200, answer
    row = row_of(stack, sub)
    assert row["hold_nano"] == row["input_bound"] * 150 + 50 * 600 + 3 * 40_000_000
    assert row["images_out"] == 3 and row["cost_nano"] == 30 * 150 + 20 * 600 + 3 * 40_000_000


# ---- clamps


def most(row, ceiling, rates, above=None, tier=None):
    """The most the request can cost at one target: the dearest of the tiers that its bound reaches."""
    found = [rates] + ([tier] if above is not None and row["input_bound"] > above else [])
    return max(row["input_bound"] * one[0] + ceiling * one[1] for one in found)


CLAMPS = {
    # The fallback costs less per output token, but more of everything else.
    "fallback": (
        '[{provider: openai, model: gpt-4o-mini, input: "0.15", output: "0.60"},'
        ' {provider: azure, model: gpt-4o, input: "40", output: "0.10"}]',
        ((150, 600), (40_000, 100)),
        None,
    ),
    # The tier costs more input and less output: which of the two is dearer depends on the ceiling.
    "tiers": (
        '[{provider: openai, model: gpt-4o-mini, input: "0.15", output: "0.60", tiers: [{above: 5, input: "40", output: "0.10"}]},'
        ' {provider: azure, model: gpt-4o, input: "0.10", output: "0.20"}]',
        ((150, 600), (100, 200)),
        (5, (40_000, 100)),
    ),
}


@pytest.mark.parametrize("kind", CLAMPS)
def test_a_clamped_hold_covers_the_dearest_target_that_can_serve(stack, sub, kind):
    overrides, (alpha, beta), tier = CLAMPS[kind]
    team = f"clamped-{kind}"
    token = stack.person(sub, team=team)
    reconfigure(stack, f"prices: {{overrides: {overrides}}}\n")
    limit, asked, ceilings = 4_000_000, 0, []
    end = time.monotonic() + 3 * PATIENCE
    while time.monotonic() < end:
        served = asked % 2  # by the primary, then by the fallback, which writes all that it may
        if served:
            stack.behave("alpha", status=503)
        status, headers, answer = stack.post(token, ask("a few words " * 3 + "[[completion_tokens=100000]]", model="chat-default", max_tokens=1000, n=4))
        stack.behave("alpha")
        if status != 200:
            assert json.loads(answer)["error"]["code"] in ("insufficient_quota", "rate_limit_exceeded"), answer
            break
        asked += 1
        row = row_of(stack, sub, asked)
        ceiling = row["output_ceiling"]
        ceilings.append(ceiling)
        if ceiling < 1000:
            assert f"output lowered to {ceiling} tokens" in headers["x-tollgate-notice"]
        needs = max(most(row, 4 * ceiling, alpha, *(tier or ())), most(row, 4 * ceiling, beta))
        assert row["hold_nano"] >= needs
        assert row["cost_nano"] <= row["hold_nano"]
        spent = stack.query("SELECT sum(cost_nano) AS n FROM request WHERE team = ?", team)[0]["n"]
        assert spent <= limit
        account = next(a for a in ledger.accounts(stack, "clamped") if a["subject"] == f"team={team}")
        assert (account["used"], account["held"]) == (spent, 0)
    assert asked >= 2 and min(ceilings) < 1000, (ceilings, answer)
