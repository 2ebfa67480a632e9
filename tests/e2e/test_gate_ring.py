"""HAProxy's log ring when the agent goes and comes back: its lines must come again, whatever the transport and however the agent ended."""

import contextlib
import http.client

import pytest

import ledger
from machine import PATIENCE


@pytest.fixture(scope="module", params=[False, True], ids=["tcp", "unix"])
def stack(request, make_stack):
    return make_stack(unix_ring=request.param)


def ask(stack, sub):
    body = {"model": "chat-default", "messages": [{"role": "user", "content": sub}]}
    assert stack.post(stack.tokens[sub], body)[0] == 200


@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_lines_come_again(stack, sub, settled, end):
    stack.person(sub)
    ask(stack, sub)
    assert [row["outcome"] for row in ledger.attempts(stack, settled(sub))] == ["ok"]
    if end == "killed":
        stack.kill_agent()
    else:
        assert stack.agent.stop() == 0
    stack.restart_agent()
    # Only a line tells of the try that failed.
    stack.behave("alpha", status=500)
    ask(stack, sub)
    row = settled(sub, 2)[1]
    assert [one["outcome"] for one in ledger.attempts(stack, row, 2)] == ["error", "ok"]


def test_all_that_was_kept_meanwhile_is_read(stack, sub, settled):
    """Over a megabyte of lines about requests that nobody could decide on: what one turn leaves in the socket wakes the agent again."""
    stack.person(sub)
    stack.kill_agent()
    connection = http.client.HTTPConnection("127.0.0.1", stack.ports["gateway"], timeout=PATIENCE)
    with contextlib.closing(connection):
        for _ in range(4000):
            connection.request("POST", "/v1/chat/completions", b"{}", {"Content-Type": "application/json"})
            answer = connection.getresponse()
            assert answer.read() and answer.status == 503
    stack.restart_agent()
    stack.behave("alpha", status=500)
    ask(stack, sub)
    assert [one["outcome"] for one in ledger.attempts(stack, settled(sub), 2)] == ["error", "ok"]
