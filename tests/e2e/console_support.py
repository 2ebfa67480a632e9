"""What the console's tests share: a month of history in the ledger with one spike in it, a real browser, and its
complaints."""

import contextlib
import http.cookiejar
import json
import random
import sqlite3
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from ledger_fixture import Ledger
from machine import PATIENCE

DAY, HOUR = 86400, 3600
SHOTS = Path(__file__).resolve().parents[2] / ".cache" / "screenshots"
CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
]
# team: people, requests a day, nano-dollars of one
TEAMS = {
    "research": (("mia", "noah", "lena"), 9, 90_000_000),
    "search": (("ann", "ben"), 6, 60_000_000),
    "support": (("kim", "lou", "pat"), 5, 25_000_000),
    "marketing": (("joe",), 3, 15_000_000),
}
MODELS = (("gpt-4o-mini", "openai"), ("gpt-4o", "azure"))


class Visitor:
    """A browser's cookies and redirects, step by step."""

    def __init__(self, url):
        self.url, self.cookies = url, http.cookiejar.CookieJar()
        outer = self

        class Stay(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *_):
                return None

        self.opener = urllib.request.build_opener(Stay, urllib.request.HTTPCookieProcessor(outer.cookies))

    def go(self, url, data=None, headers=None):
        """(status, headers, text) of one step; redirects are not followed."""
        form = urllib.parse.urlencode(data).encode() if isinstance(data, dict) else data
        request = urllib.request.Request(urllib.parse.urljoin(self.url, url), data=form, headers=headers or {})
        try:
            with self.opener.open(request, timeout=PATIENCE) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()

    def follow(self, url):
        """Until something else than a redirect; (where, status, headers, text)."""
        for _ in range(10):
            status, headers, text = self.go(url)
            if status not in (302, 303):
                return url, status, headers, text
            url = urllib.parse.urljoin(url, headers["location"])
        raise AssertionError("redirected without end")

    def to_callback(self, name, password):
        """Signs in at the provider; the address it sends the browser back to, not yet visited."""
        self.cookies.clear()  # the provider would remember who signed in before
        where, status, _, text = self.follow(self.url + "/login")
        assert status == 200 and "/sign-in/" in where, (where, status, text)
        status, headers, text = self.go(where, {"name": name, "password": password})
        while True:
            assert status in (302, 303), (status, text)
            where = urllib.parse.urljoin(where, headers["location"])
            if where.startswith(self.url):
                return where
            status, headers, text = self.go(where)

    def sign_in(self, name, password):
        return self.follow(self.to_callback(name, password))

    def api(self, question, **parameters):
        status, _, text = self.go(f"{self.url}/api/{question}?{urllib.parse.urlencode(parameters)}")
        return status, json.loads(text)

    def cookie(self, name):
        return next((c for c in self.cookies if c.name == name), None)


def history(stack, days=9):
    """Writes the ledger before the agent opens it: the same shape each day, and yesterday mia's twelve dear requests. stack.now, stack.today
    (midnight UTC) and stack.spike (the hour from 14:00 of yesterday) are seconds; the tests' browser has that `now` until their end."""
    dice, now = random.Random(7), int(time.time())
    stack.now, stack.today = now, now // DAY * DAY
    stack.spike = stack.today - DAY + 14 * HOUR
    ledger = Ledger(stack.ledger_file)
    rows = []
    for day in range(stack.today - (days - 1) * DAY, stack.today + 1, DAY):
        for team, (people, requests, cost) in TEAMS.items():
            for _ in range(requests):
                at = day + int(min(max(dice.gauss(13, 3.5), 0.2), 23.7) * HOUR)
                rows.append((at, team, dice.choice(people), *dice.choice(MODELS), int(cost * dice.uniform(0.4, 1.8))))
    for i in range(12):
        rows.append((stack.spike + 400 + i * 150, "research", "mia", "gpt-4o", "azure", 480_000_000 + i * 7_000_000))
    rows = sorted(row for row in rows if row[0] < now - 60)
    again = [(row[0] + 60, *row[1:], "cached") for row in rows[::7]]  # asked again: the gateway's own cache has the answer
    for at, team, user, model, provider, cost, *state in sorted([*rows, *again]):
        state = state[0] if state else "denied" if dice.random() < 0.06 else "ok"
        tokens = (cost // 20_000, cost // 60_000 if dice.random() < 0.5 else 0, cost // 50_000, 0) if state == "ok" else (0,) * 4
        ledger.request(
            at * 1_000_000, team=team, user=user, model=model, provider=provider, state=state, tokens=tokens,
            cost=cost if state == "ok" else 0, saved=cost if state == "cached" else 0, prompt_saved=tokens[1] * 1250,
            fallback=int(state == "ok" and dice.random() < 0.05), app="bot",
        )
    ledger.write()
    with contextlib.closing(sqlite3.connect(stack.ledger_file)) as db, db:
        times(db, dice)


def times(db, dice):
    """What the fixture's writer does not know: how long things took, and which failed."""
    for number, state, slow in db.execute(
        "SELECT r.id, r.state, t.provider = 'azure' FROM request_row r LEFT JOIN target t ON t.id = r.served"
    ).fetchall():
        ttft, total = int(dice.lognormvariate(13.2 if slow else 12.7, 0.5)), int(dice.lognormvariate(15, 0.6))
        if state == 1:
            db.execute(
                "UPDATE request_row SET ttft_us = ?, total_us = ? + ?, tpot_ns = ?, settled_us = started_us + ?, outcome = ?,"
                " http_status = ? WHERE id = ?",
                (ttft, ttft, total, dice.randrange(8_000_000, 30_000_000), ttft + total, *dice.choices(
                    [("ok", 200), ("provider_error", 502), ("client_abort", 200)], [94, 4, 2])[0], number),
            )
        db.execute(
            "UPDATE request_row SET identity_us = ?, tokens_us = ?, budget_us = ?, commit_us = ? WHERE id = ?",
            (dice.randrange(10, 60), dice.randrange(20, 300), dice.randrange(3, 12), dice.randrange(300, 2500), number),
        )


class Browser:
    """Chromium with one profile: pages, and what they complained about."""

    def __init__(self, playwright):
        self.chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM, timeout=PATIENCE * 1000)
        self.complaints = []

    def context(self, now, **options):
        """Its pages' clock stands at `now`, in seconds."""
        options = {"viewport": {"width": 1360, "height": 900}, "locale": "en-US", "reduced_motion": "reduce", **options}
        context = self.chromium.new_context(**options)
        context.set_default_timeout(PATIENCE * 1000)
        context.clock.set_fixed_time(now)
        context.add_init_script(
            "document.addEventListener('securitypolicyviolation', (e) => console.error('CSP: ' + e.violatedDirective + ' ' + e.blockedURI))"
        )
        context.on("console", self.heard)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("request", lambda request: self.outside(request.url))
        return context

    def heard(self, message):
        # The provider's own pages are not ours to judge.
        if message.type == "error" and ("/tollgate/console" in message.location.get("url", "") or "CSP" in message.text):
            self.complaints.append(f"{message.text} {message.location}")

    def outside(self, url):
        if not url.startswith(("http://127.0.0.1:", "data:")):
            self.complaints.append(f"asked for {url}")

    def close(self):
        self.chromium.close()


def sign_in(page, stack, name):
    """Through the provider's own page, as a person does."""
    page.goto(stack.console_url)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(stack.passwords[name])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{stack.console_url}/**")


def settle(page, where=""):
    """Until the page has shown what it asked for, once its address has this in it."""
    page.wait_for_url(lambda url: where in url)
    fragment = page.url.partition("#")[2]
    page.locator(f'main[data-shown="{"#" + fragment if fragment else ""}"]:not([aria-busy]) #tiles dd').first.wait_for()


def shot(page, name):
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True, animations="disabled")
