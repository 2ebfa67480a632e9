"""Thresholds of limits and the webhook that hears of them: once each, signed, in order, over kills and an unhappy receiver."""

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import secrets
import sqlite3
import threading
import urllib.request

import pytest

from machine import PATIENCE, wait_for
from stack import Stack

LIMITS = ('name: alert-total, level: user, amount: "10 requests", window: total, action: soft',)


class Receiver:
    """An HTTP server that keeps what it is sent and answers what the test wants."""

    def __init__(self):
        self.got, self.status, self.came = [], 200, 0
        self.answers = threading.Event()  # cleared: what comes is kept waiting
        self.answers.set()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.came += 1
                receiver.answers.wait()
                status = receiver.status  # once: the test may change it
                receiver.got.append((status, dict(self.headers.items()), body))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def heard(self, sub, status=200):
        """(percent, webhook-id) of what was answered so, in order."""
        events = [(json.loads(body), headers) for answered, headers, body in list(self.got) if answered == status]
        return [
            (event["data"]["percent"], headers["webhook-id"])
            for event, headers in events
            if f"user={sub}" in event["data"]["subject"]
        ]

    def stop(self):
        self.answers.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(scope="module")
def receiver():
    one = Receiver()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def stack(make_stack, receiver, monkeypatch_module):
    key = secrets.token_bytes(32)

    def extra(self):
        self.write_secret("alerts.key", "whsec_" + base64.b64encode(key).decode() + "\n")
        self.alert_key = key
        return (
            f'alerts: {{url: "http://127.0.0.1:{receiver.server.server_address[1]}/hook", allow_http: true, '
            f"secret_file: {self.folder}/alerts.key, queue: 4}}\n"
        )

    monkeypatch_module.setattr(Stack, "extra", extra)
    return make_stack(limits=LIMITS)


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def ask(stack, token, count):
    for _ in range(count):
        status, _, answer = stack.post(token, {"model": "solo", "messages": [{"role": "user", "content": "alert"}]})
        assert status == 200, answer


def rows(stack, sub):
    return stack.query("SELECT * FROM alert WHERE subject LIKE ? ORDER BY id", f"%user={sub}%")


def sent(stack, sub, count):
    wait_for(lambda: [r["state"] for r in rows(stack, sub)] == ["sent"] * count, f"{count} alerts to be sent")


def test_each_threshold_once_and_signed(stack, receiver, sub):
    token = stack.person(sub)
    ask(stack, token, 4)
    ask(stack, token, 1)
    sent(stack, sub, 1)
    ask(stack, token, 7)
    sent(stack, sub, 3)
    assert [percent for percent, _ in receiver.heard(sub)] == [50, 80, 100]
    ids = [row["event"] for row in rows(stack, sub)]
    assert len(set(ids)) == 3 and [name for _, name in receiver.heard(sub)] == ids
    for _, headers, body in receiver.got:
        text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(stack.alert_key, text, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == "v1," + expected
    event = json.loads(next(body for _, h, body in receiver.got if h["webhook-id"] == ids[1]))
    assert event["type"] == "limit.threshold" and event["id"] == ids[1]
    assert event["data"]["limit"] == "alert-total" and event["data"]["unit"] == "requests"
    assert event["data"]["amount"] == 10 and event["data"]["used"] >= 8 and event["data"]["action"] == "soft"


def test_not_again_after_kill_and_restart(stack, receiver, sub):
    token = stack.person(sub)
    ask(stack, token, 9)
    sent(stack, sub, 2)
    for _ in range(2):
        stack.kill_agent()
        stack.restart_agent()
    ask(stack, token, 2)
    sent(stack, sub, 3)
    assert [percent for percent, _ in receiver.heard(sub)] == [50, 80, 100]


def test_repeated_until_heard_with_the_same_id_also_after_a_kill(stack, receiver, sub):
    token = stack.person(sub)
    receiver.status = 503
    try:
        ask(stack, token, 6)
        wait_for(lambda: len(receiver.heard(sub, 503)) >= 2, "it to be sent again")
        stack.kill_agent()
        assert [r["state"] for r in rows(stack, sub)] == ["pending"]
        before = len(receiver.heard(sub, 503))
        stack.restart_agent()
        wait_for(lambda: len(receiver.heard(sub, 503)) > before, "it to be sent after the restart")
    finally:
        receiver.status = 200
    sent(stack, sub, 1)
    assert len({name for _, name in receiver.heard(sub, 503) + receiver.heard(sub)}) == 1
    assert len(receiver.heard(sub)) == 1


def test_a_crossing_whose_report_a_kill_prevented_is_reported_after_it(stack, receiver, sub):
    """The request is settled on disk, the alert is not: as when the process dies between the two."""
    token = stack.person(sub)
    ask(stack, token, 5)
    sent(stack, sub, 1)
    stack.kill_agent()
    with contextlib.closing(sqlite3.connect(stack.ledger_file)) as db, db:
        db.execute("DELETE FROM alert WHERE subject LIKE ?", (f"%user={sub}%",))
    stack.restart_agent()
    sent(stack, sub, 1)
    assert [percent for percent, _ in receiver.heard(sub)] == [50, 50]


def test_a_full_queue_drops_and_counts(stack, receiver, sub):
    """What is under way takes a place of the queue, too."""
    def metric(result):
        with urllib.request.urlopen(f"http://127.0.0.1:{stack.ports['metrics']}/metrics", timeout=PATIENCE) as answer:
            lines = [x for x in answer.read().decode().splitlines() if x.startswith(f'tollgate_alerts_total{{result="{result}"}}')]
        return int(float(lines[0].split()[1])) if lines else 0

    before = metric("dropped")
    receiver.status = 500
    receiver.answers.clear()
    came = receiver.came
    try:
        for i in range(3):
            wait_for(lambda: i == 0 or receiver.came > came, "one to be under way")
            ask(stack, stack.person(f"{sub}-{i}"), 8)  # two alerts each; four fit
        wait_for(lambda: metric("dropped") >= before + 2, "two alerts to be dropped")
        receiver.answers.set()
        wait_for(lambda: len(stack.query("SELECT 1 FROM alert WHERE state = 'dropped'")) == 2, "the drops to be booked")
        assert len(stack.query("SELECT 1 FROM alert WHERE state = 'pending'")) == 4
        wait_for(lambda: " alert_dropped " in stack.agent.text(), "the log to tell of it")
        ask(stack, stack.person(sub + "-still"), 1)
    finally:
        receiver.answers.set()
        receiver.status = 200
    wait_for(lambda: not stack.query("SELECT 1 FROM alert WHERE state = 'pending'"), "the queue to run dry")


def test_the_secret_is_in_no_log(stack):
    text = stack.agent.log.read_text()
    assert base64.b64encode(stack.alert_key).decode() not in text
