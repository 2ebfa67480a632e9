"""A thousand clients at once on one dollar: never a nano-dollar above it, at any moment, and nearly all of it of use."""

import asyncio
import json
import random
import threading
import time

import ledger
from machine import PATIENCE, QUIET_ZONE, wait_for
from stack import PRICES

IN, OUT = PRICES["openai", "gpt-4o-mini"]
BUDGET = 10**9
CLIENTS = 1000
# Three answers of up to 1000 tokens are held, 2000 tokens are used: a thousand requests would hold 1.8 and cost 1.2 dollars.
CEILING, CHOICES, USED = 1000, 3, 2000
COST = USED * OUT  # and the prompt

STACK = {
    "limits": (f'name: dollar, level: team, match: ["dollar"], amount: "$1", window: day, time_zone: {QUIET_ZONE}',),
    "hold_timeout": "10m",
}

SPENT = """
SELECT coalesce(sum(CASE WHEN r.state = 'open' THEN r.hold_nano ELSE r.cost_nano END), 0) AS nano,
       coalesce(sum(r.state = 'open'), 0) AS open
FROM request r WHERE r.team = 'dollar'"""


class Watch:
    """Looks at the ledger and at the agent's own account of the limit, again and again, while the crowd runs."""

    def __init__(self, stack):
        self.stack, self.stopping, self.failure = stack, threading.Event(), None
        self.rows, self.accounts = [], []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def account(self):
        return next(iter(ledger.accounts(self.stack, "dollar")), None)

    def run(self):
        try:
            over = False
            while not over:
                over = self.stopping.is_set()  # then one last look
                self.rows.append(self.stack.query(SPENT)[0]["nano"])
                account = self.account()
                if account:
                    self.accounts.append((account["used"] + account["held"], account["amount"]))
                time.sleep(0.02)
        except Exception as error:  # told in the test's own thread
            self.failure = error

    def stop(self):
        self.stopping.set()
        self.thread.join(PATIENCE)
        if self.failure:
            raise self.failure


async def exchange(reader, writer, head, body):
    writer.write(head + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().split(b":", 1) for line in answer.split(b"\r\n")[1:] if b":" in line)
    data = await reader.readexactly(int(fields[b"content-length"]))
    return int(answer.split(b" ", 2)[1]), data


async def client(port, head, body, seen):
    """Asks until it is served or the money has run out; what is only busy is asked again."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        except OSError:
            await asyncio.sleep(0.2)
            continue
        try:
            while True:
                status, data = await exchange(reader, writer, head, body)
                code = "" if status == 200 else json.loads(data)["error"]["code"]
                seen[status, code] = seen.get((status, code), 0) + 1
                if status == 200 or code == "insufficient_quota":
                    return status
                assert (status, code) == (429, "rate_limit_exceeded") or status == 503, (status, code)
                await asyncio.sleep((1 if status == 503 else 0.2) * random.uniform(1, 2))
        except (asyncio.IncompleteReadError, ConnectionError):
            seen["closed"] = seen.get("closed", 0) + 1
        finally:
            writer.close()


async def crowd(stack, token, seen):
    text = f"dollar. [[completion_tokens={USED} accept_delay=0.2]]"
    body = json.dumps(
        {"model": "solo", "max_tokens": CEILING, "n": CHOICES, "messages": [{"role": "user", "content": text}]}
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    clients = (client(stack.ports["gateway"], head, body, seen) for _ in range(CLIENTS))
    return await asyncio.gather(*clients)


def test_a_thousand_at_once_on_one_dollar(stack):
    token = stack.person("dollar", team="dollar")
    watch, seen = Watch(stack), {}
    try:
        statuses = asyncio.run(asyncio.wait_for(crowd(stack, token, seen), PATIENCE * 4))
    finally:
        watch.stop()
    served = statuses.count(200)
    assert served + statuses.count(429) == CLIENTS
    assert max(watch.rows) <= BUDGET
    assert watch.accounts and all(taken <= amount == BUDGET for taken, amount in watch.accounts)
    assert max(taken for taken, _ in watch.accounts) > BUDGET // 2, "it was looked at while nothing happened"

    wait_for(lambda: stack.query(SPENT)[0]["open"] == 0, "every hold to end")
    spent = stack.query(SPENT)[0]["nano"]
    assert BUDGET * 95 // 100 <= spent <= BUDGET, (spent, seen)
    rows = [row for row in ledger.requests(stack, "dollar") if row["cost"]]
    reached = len(stack.received("alpha", "dollar."))
    assert reached == served == len(rows), (reached, served, len(rows), seen)
    assert all(row["known_by"] == "reported" and row["cost"] >= COST for row in rows)
    assert served <= BUDGET // COST
    account = watch.account()
    assert (account["used"], account["held"], account["holds"]) == (spent, 0, 0)
    assert ledger.spend_of_team(stack, "dollar") == spent
