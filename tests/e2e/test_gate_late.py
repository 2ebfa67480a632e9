"""An agent that is too slow for HAProxy: the client gets 503 in time, and nothing stays held for what no provider ever saw."""

import os
import signal
import threading
import time

import ledger
from machine import wait_for

STACK = {"decision": "10s"}


def test_nothing_is_held_for_answers_that_came_too_late(stack):
    subs = [f"late-{i}" for i in range(8)]
    tokens = [stack.person(sub) for sub in subs]
    body = {"model": "solo", "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}
    for token in tokens:  # known tokens: the decisions themselves are quick
        assert stack.post(token, body)[0] == 200
    before = len(stack.received("alpha"))
    statuses = []
    os.kill(stack.agent.pid, signal.SIGSTOP)
    try:
        clients = [threading.Thread(target=lambda t=token: statuses.append(stack.post(t, body)[0])) for token in tokens]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    finally:
        os.kill(stack.agent.pid, signal.SIGCONT)
    assert statuses == [503] * len(tokens)
    assert len(stack.received("alpha")) == before, "fail closed: no provider was asked"
    stack.wait_until_deciding()  # HAProxy may have found it dead meanwhile
    assert stack.post(tokens[0], body)[0] == 200
    wait_for(lambda: stack.query("SELECT count(*) AS n FROM open_holds")[0]["n"] == 0, "the end of all holds")
    time.sleep(1)  # for what must not come
    for sub in subs:
        rows = ledger.requests(stack, sub)
        paid = [row for row in rows if row["cost"] > 0]
        assert len(paid) == (2 if sub == subs[0] else 1), rows
