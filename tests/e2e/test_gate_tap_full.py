"""The settlement records' queue inside HAProxy is full: what is given up is counted, and its requests are settled by their log lines."""

import re
import urllib.request

import ledger
from stack import PATIENCE, wait_for


def dropped(stack):
    text = urllib.request.urlopen(f"http://127.0.0.1:{stack.ports['metrics']}/metrics", timeout=PATIENCE).read().decode()
    return int(re.search(r"^tollgate_tap_dropped_records_total (\d+)$", text, re.M).group(1))


def test_records_that_do_not_fit_are_counted(make_stack):
    stack = make_stack(streams="tap")
    # A queue with room for a few records, and one thread of HAProxy: each has a queue of its own.
    for name, old, new in (("lua", "QUEUE_BYTES = 64 * 1024 * 1024", "QUEUE_BYTES = 2048"), ("cfg", "\nglobal\n", "\nglobal\n    nbthread 1\n")):
        file = stack.folder / f"haproxy/tollgate.{name}"
        text = file.read_text()
        assert text.count(old) == 1
        file.write_text(text.replace(old, new))
    stack.haproxy.stop()
    stack.start_haproxy()
    token, asked = stack.person("full"), 0

    def ask():
        nonlocal asked
        asked += 1
        status, _, answer = stack.post(token, {"model": "solo", "messages": [{"role": "user", "content": "full [[prompt_tokens=11 completion_tokens=4]]"}]})
        assert status == 200, answer

    def rows(known_by):
        return [row for row in ledger.requests(stack, "full") if not ledger.is_open(row) and row["known_by"] == known_by]

    ask()
    wait_for(lambda: rows("reported"), "the first record")
    assert dropped(stack) == 0
    wait_for(lambda: b"\xaftap_connections\x00" in stack.status(), "the hand-off to be idle: it has no connection then")
    socket, aside = stack.sockets / "settle.sock", stack.sockets / "settle.aside"
    socket.rename(aside)  # who connects finds nobody
    for _ in range(30):
        ask()
    aside.rename(socket)

    def told():
        ask()  # the next record that fits tells of those before it
        return dropped(stack) > 0

    wait_for(told, "the lost records to be told of")
    # Each that was lost, and no other, is settled by its line alone: at its bound.
    wait_for(lambda: len(rows("bounded")) == dropped(stack) and len(rows("bounded")) + len(rows("reported")) == asked, "all to be settled")
    assert rows("reported") and " tap_dropped_records " in stack.agent.text()
