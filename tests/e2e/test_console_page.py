"""The console's page in a real Chromium: people sign in at the provider's own page; what they then see equals the ledger."""

import calendar
import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from console_support import DAY, HOUR, Browser, history, settle, shot, sign_in
from machine import PATIENCE

AXE = Path(__file__).resolve().parents[2] / "agent/console/web/node_modules/axe-core/axe.min.js"
expect.set_options(timeout=PATIENCE * 1000)
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def stack(make_stack):
    stack = make_stack(
        console="confidential",
        prepare=history,
        limits=('name: year, level: organization, amount: "$2000", window: year, time_zone: UTC',),
    )
    stack.person("boss", team="platform", groups=["llm-admins"])
    stack.person("ann", team="search")
    return stack


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = Browser(playwright)
        yield browser
        browser.close()


@pytest.fixture
def open_page(stack, browser):
    """open_page(name, hash): signed in and everything shown; afterwards nothing may have been complained about."""
    contexts = []
    browser.complaints.clear()

    def make(name, fragment="", **options):
        context = browser.context(stack.now, **options)
        contexts.append(context)
        page = context.new_page()
        sign_in(page, stack, name)
        if fragment:
            page.goto(f"{stack.console_url}/#{fragment}")
        settle(page)
        return page

    yield make
    for context in contexts:
        context.close()
    assert browser.complaints == []


def cells(page, region):
    """The table's rows: each cell's exact value where it has one, else its text."""
    value = "cell => { const data = cell.querySelector('data'); return data ? Number(data.getAttribute('value')) : cell.innerText.trim(); }"
    return page.locator(f"#{region}").evaluate(  # at one moment
        f"host => [...host.querySelectorAll('tbody tr')].map((row) => [...row.querySelectorAll('th, td')].map({value}))"
    )


def yesterday(stack, by, where="1", *values):
    return stack.query(
        f"SELECT {by} AS name, sum(cost_nano) AS cost, sum(requests) AS requests, sum(denied) AS denied FROM rollup"
        f" WHERE slot >= ? AND slot < ? AND {where} GROUP BY 1 ORDER BY 2 DESC, 3 DESC, 1",
        stack.today - DAY,
        stack.today,
        *values,
    )


def month():
    """When the month began, which the agent goes by."""
    now = time.gmtime()
    return calendar.timegm((now.tm_year, now.tm_mon, 1, 0, 0, 0))


def test_numbers_equal_the_ledger(stack, open_page):
    began = None
    while began != month():  # again when a month began meanwhile
        began = month()
        page = open_page("boss", "period=yesterday")
    expected = yesterday(stack, "team")
    table = cells(page, "spend-table")
    assert [(row[0], row[1], row[5], row[6]) for row in table] == [
        (row["name"], row["cost"], row["requests"], row["denied"]) for row in expected
    ]
    tiles = [int(value) for value in page.locator("#tiles data").evaluate_all("all => all.map(e => e.value)")]
    assert tiles[0] == sum(row["cost"] for row in expected)
    assert tiles[3] == sum(row["requests"] for row in expected)
    # The dearest requests are the ledger's.
    top = stack.query(
        "SELECT cost_nano, user_name FROM request WHERE started_us >= ? AND started_us < ? AND state = 'settled'"
        " ORDER BY cost_nano DESC LIMIT 25",
        (stack.today - DAY) * 10**6,
        stack.today * 10**6,
    )
    assert [row[1] for row in cells(page, "requests")] == [row["cost_nano"] for row in top]
    # This month's sums by team, as `tollgatectl report --kind burn` has them.
    rows = stack.query("SELECT team AS name, sum(cost_nano) AS cost FROM rollup WHERE slot >= ? GROUP BY 1", began)
    spent = {row["name"]: row["cost"] for row in rows}
    shown = {row[0]: row[4] for row in cells(page, "forecast") if len(row) > 4}  # a single cell when nothing was spent yet
    assert {team: cost for team, cost in spent.items() if cost and team in shown} == {t: c for t, c in shown.items() if c}
    # What caches saved.
    saved = stack.query(
        "SELECT coalesce(model, planned_model) AS model, sum(saved_nano) AS answers, sum(prompt_saved_nano) AS prompts FROM request"
        " WHERE started_us >= ? AND started_us < ? AND state = 'settled' GROUP BY 1",
        (stack.today - DAY) * 10**6,
        stack.today * 10**6,
    )
    assert all(row["answers"] > 0 for row in saved) and any(row["prompts"] > 0 for row in saved)
    shown = {row[0].split()[0]: (row[1], row[2]) for row in cells(page, "savings")}
    assert shown == {row["model"]: (row["answers"], row["prompts"]) for row in saved}
    assert tiles[5] == sum(row["answers"] + row["prompts"] for row in saved)
    # Errors and fallbacks, by why.
    wrong = stack.query(
        "SELECT count(*) AS n FROM request WHERE started_us >= ? AND started_us < ?"
        " AND (state = 'denied' OR fallback = 1 OR outcome <> 'ok')",
        (stack.today - DAY) * 10**6,
        stack.today * 10**6,
    )[0]["n"]
    assert sum(row[3] for row in cells(page, "trouble")) == wrong
    # Percentiles by nearest rank.
    period = {"from": stack.today - DAY, "to": stack.today}
    answer = page.request.get(f"{stack.console_url}/api/latency", params=period).json()
    assert {row["provider"] for row in answer["providers"]} == {"openai", "azure"}
    for row in answer["providers"]:
        for column in ("ttft_us", "tpot_ns"):
            known = stack.query(
                f"SELECT {column} AS v FROM request WHERE coalesce(provider, planned_provider) = ? AND state = 'settled'"
                f" AND started_us >= ? AND started_us < ? AND {column} IS NOT NULL ORDER BY 1",
                row["provider"],
                period["from"] * 10**6,
                period["to"] * 10**6,
            )
            assert row[column]["n"] == len(known)
            for percent in (50, 95, 99):
                assert row[column][f"p{percent}"] == known[-(-len(known) * percent // 100) - 1]["v"]


def click_bar(stack, page, at, low=0.06):
    """Into the bar that begins at `at`, a little above its foot."""
    over = page.locator("#spend-chart .u-over")
    box = over.bounding_box()
    fragment = dict(part.split("=", 1) for part in page.url.partition("#")[2].split("&") if "=" in part)
    start = int(fragment.get("from", stack.today - DAY))
    end = int(fragment.get("to", stack.today))
    step = HOUR if end - start > 6 * HOUR else 900
    x = (at + step * 0.3 - start) / (end - start)
    page.mouse.move(box["x"] + box["width"] * x - 3, box["y"] + box["height"] * (1 - low))
    page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * (1 - low))
    page.mouse.down()
    page.mouse.up()
    page.wait_for_url(lambda url: f"from={at}" in url)
    settle(page)


def test_a_spike_is_explained_and_drilled_into_by_clicks(stack, open_page):
    page = open_page("boss", "period=yesterday")
    expect(page.locator("#insight")).to_contain_text("14:00–15:00")
    expect(page.locator("#insight button")).to_have_text("research › gpt-4o › mia")
    click_bar(stack, page, stack.spike)
    expect(page.locator("#crumbs")).to_have_text(re.compile("All teams.*research"))
    expect(page.locator("#spend-h")).to_have_text("Spend by model")
    page.locator("#spend-table").get_by_role("button", name="gpt-4o", exact=True).click()
    settle(page, "model=gpt-4o")
    expect(page.locator("#spend-h")).to_have_text("Spend by person")
    page.locator("#spend-legend button", has_text="mia").click()
    settle(page, "user=mia")
    mine = stack.query(
        "SELECT id, request_id, cost_nano FROM request WHERE user_name = 'mia' AND planned_model = 'gpt-4o' AND started_us >= ?"
        " AND started_us < ? AND state = 'settled' ORDER BY cost_nano DESC LIMIT 25",
        stack.spike * 10**6,
        (stack.spike + HOUR) * 10**6,
    )
    assert [row[1] for row in cells(page, "requests")] == [row["cost_nano"] for row in mine]
    page.locator("#requests tbody button").first.click()
    dialog = page.locator("#request")
    expect(dialog).to_be_visible()
    expect(dialog.locator(".sum data")).to_have_attribute("value", str(mine[0]["cost_nano"]))
    expect(dialog.locator("code").first).to_have_text(mine[0]["request_id"])
    page.go_back()
    expect(dialog).to_be_hidden()
    page.go_back()
    settle(page)
    expect(page.locator("#spend-h")).to_have_text("Spend by person")
    # The sentence's own link goes there at once.
    page.locator("#periods button", has_text="Yesterday").click()
    settle(page)


def test_the_keyboard_reaches_everything(stack, open_page):
    page = open_page("boss", "period=yesterday")
    page.keyboard.press("Tab")
    expect(page.locator("#skip")).to_be_focused()
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(page.locator("#periods button").nth(2)).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    settle(page)
    handle = page.locator("#spend-chart [role=slider]")
    handle.focus()
    page.keyboard.press("Home")
    for _ in range(14):
        page.keyboard.press("ArrowRight")
    expect(handle).to_have_attribute("aria-valuetext", re.compile(r"14:00 to 15:00: \$6\.\d\d, .*research \$"))
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: f"from={stack.spike}" in url)
    settle(page)
    first = page.locator("#requests tbody button").first
    first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#request")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#request")).to_be_hidden()
    expect(page.locator("#requests tbody button").first).to_be_focused()


def test_a_viewer_sees_one_team_whatever_is_asked(stack, open_page):
    page = open_page("ann", "period=yesterday&team=research")
    expect(page.locator("#who")).to_have_text("ann team search")
    assert "research" not in page.locator("main").inner_text()
    assert "mia" not in page.locator("main").inner_text()
    page.goto(f"{stack.console_url}/#period=yesterday")
    settle(page)
    own = yesterday(stack, "model", "team = 'search'")
    assert [(row[0], row[1]) for row in cells(page, "spend-table")] == [(row["name"], row["cost"]) for row in own]

    def ask(question, **parameters):
        return page.request.get(f"{stack.console_url}/api/{question}", params=parameters)

    period = {"from": stack.today - 8 * DAY, "to": stack.today + DAY}
    teams = [group["name"] for group in ask("spend", **period, step=DAY, by="team").json()["groups"]]
    assert teams == ["search"]
    assert ask("spend", **period, step=DAY, by="user", team="research").json()["groups"] == []
    assert ask("spend", **period, step=900 * 96, by="provider", team="research").json()["points"] == []
    assert {row["team"] for row in ask("requests", **period, limit=100).json()["requests"]} == {"search"}
    assert {row["team"] for row in ask("requests", **period, limit=100, sort="recent").json()["requests"]} == {"search"}
    assert ask("requests", **period, user="mia").json()["requests"] == []
    assert [row["team"] for row in ask("forecast").json()["teams"]] == ["search"]
    assert all("team=" not in b["subject"] or "team=search" in b["subject"] for b in ask("budgets").json())
    other = stack.query("SELECT id, request_id FROM request WHERE team = 'research' LIMIT 1")[0]
    assert ask("request", id=other["id"]).status == 404
    assert ask("request", request_id=other["request_id"], **period).status == 404
    mine = stack.query("SELECT id FROM request WHERE team = 'search' LIMIT 1")[0]
    assert ask("request", id=mine["id"]).json()["request"]["team"] == "search"
    failures = stack.query(
        "SELECT count(*) AS n FROM request WHERE team = 'search' AND started_us >= ? AND started_us < ?"
        " AND (state = 'denied' OR fallback = 1 OR outcome <> 'ok')",
        period["from"] * 10**6,
        period["to"] * 10**6,
    )[0]["n"]
    assert sum(row["requests"] for row in ask("trouble", **period, step=DAY).json()["reasons"]) == failures
    timed = stack.query(
        "SELECT count(*) AS n FROM request WHERE team = 'search' AND state = 'settled' AND started_us >= ? AND started_us < ?",
        period["from"] * 10**6,
        period["to"] * 10**6,
    )[0]["n"]
    assert ask("latency", **period).json()["samples"] == timed


def test_decisions_are_seen_as_they_are_made(stack, open_page, settled):
    page = open_page("ann")
    expect(page.locator("#live-state")).to_have_text("live")
    token = stack.person("zoe", team="marketing")
    stack.post(token, {"model": "chat-default", "messages": [{"role": "user", "content": "not for ann's eyes"}]})
    token = stack.person("eve", team="search")
    stack.post(token, {"model": "no-such-model", "messages": [{"role": "user", "content": "hello"}]})
    stack.post(token, {"model": "solo", "messages": [{"role": "user", "content": "hello"}]})
    row = settled("eve", 2)[-1]
    live = page.locator("#live tbody tr")
    expect(live.filter(has_text="solo").filter(has_text="ok")).to_have_count(1)
    expect(live.filter(has_text="no-such-model").locator(".mark.bad")).to_have_count(1)
    cost = stack.query("SELECT cost_nano FROM request WHERE request_id = ?", row["request_id"])[0]["cost_nano"]
    expect(live.filter(has_text="solo").locator("data")).to_have_attribute("value", str(cost))
    assert live.filter(has_text="marketing").count() == 0
    page.locator("#live-pause").click()
    expect(page.locator("#live-state")).to_have_text("paused")


def test_signing_out_ends_the_session(stack, open_page):
    page = open_page("boss")
    cookie = next(c for c in page.context.cookies() if c["name"] == "tollgate_session")
    assert cookie["httpOnly"] and cookie["sameSite"] == "Lax" and cookie["path"] == "/tollgate/console"
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Signed out")).to_be_visible()
    answer = page.request.get(f"{stack.console_url}/api/me", headers={"cookie": f"tollgate_session={cookie['value']}"})
    assert answer.status == 401


def accessible(page, name):
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})")
    problems = [(v["id"], [n["target"] for n in v["nodes"]][:3], v["nodes"][0]["failureSummary"]) for v in found["violations"]]
    assert problems == [], name


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_accessible_and_readable_in_both_colours_and_on_a_phone(open_page, theme):
    page = open_page("boss", "period=yesterday", color_scheme=theme)
    shot(page, f"console-{theme}")
    accessible(page, f"desktop {theme}")
    page.locator("#requests tbody button").first.click()
    expect(page.locator("#request .lives")).to_be_visible()
    shot(page, f"console-request-{theme}")
    accessible(page, f"request {theme}")
    phone = open_page("ann", "period=7d", color_scheme=theme, **PHONE)
    shot(phone, f"console-phone-{theme}")
    accessible(phone, f"phone {theme}")
    assert phone.evaluate("document.documentElement.scrollWidth") == 390
    cut = "[...document.querySelectorAll('.scroll:not(#live)')].filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.id)"
    assert phone.evaluate(cut) == [], "tables that are cut off at the right"
