"""Holds that nothing is heard of: they end at their bound, and the truth is booked when it comes after all."""

import threading

import httpx2 as httpx

import ledger
from machine import PATIENCE, QUIET_ZONE, wait_for


def body(text, **more):
    return {"model": "solo", "messages": [{"role": "user", "content": text}], **more}


def settled_row(stack, sub, condition):
    def row():
        rows = ledger.requests(stack, sub)
        return rows and condition(rows[0]) and rows[0]

    return wait_for(row, "the settlement")


def test_an_orphaned_hold_expires_to_its_bound(make_stack, sub="orphan"):
    stack = make_stack(hold_timeout="2s", limits=(f'name: watched, level: team, amount: "$50", window: day, time_zone: {QUIET_ZONE}',))
    token = stack.person(sub)
    stack.orphan(token, sub, max_tokens=100)
    row = settled_row(stack, sub, lambda r: r["known_by"] == "bounded")
    assert (row["outcome"], row["cost"], row["state"]) == ("expired", row["hold"], "settled")
    assert stack.query("SELECT count(*) AS n FROM open_holds")[0]["n"] == 0
    # The books of the limit and the row agree: nothing is held any more, all of it is used.
    stack.start_haproxy()
    used = wait_for(lambda: own_limit(stack, token, "watched"), "the gateway")
    assert used["held"] == "0.00"
    dollars, _, fraction = used["used"].partition(".")
    assert int(dollars) * 10**9 + int(fraction.ljust(9, "0")) == row["hold"]


def own_limit(stack, token, name):
    try:
        answer = httpx.get(stack.gateway + "/tollgate/v1/budget", headers={"Authorization": "Bearer " + token}, timeout=PATIENCE)
    except httpx.TransportError:
        return None
    return answer.status_code == 200 and {limit["limit"]: limit for limit in answer.json()["limits"]}[name]


def test_a_late_record_corrects_an_expired_hold(make_stack, sub="late"):
    stack = make_stack(hold_timeout="1s")
    token, done = stack.person(sub), []
    with stack.gate() as gate:
        ask = body(f"{sub} [[{gate} gate_after=2 completion_tokens=20]]", stream=True, max_tokens=500)
        client = threading.Thread(target=lambda: done.append(stack.post(token, ask)[0]))
        client.start()
        settled_row(stack, sub, lambda r: r["known_by"] == "bounded")
    client.join()
    assert done == [200]
    row = settled_row(stack, sub, lambda r: r["known_by"] == "reported")
    first = stack.query("SELECT known_by, cost_nano, hold_nano FROM request WHERE subject = ?", sub)[0]
    assert (first["known_by"], first["cost_nano"]) == ("bounded", first["hold_nano"]), "the row itself is never edited"
    corrections = stack.query("SELECT reason, cost_nano FROM correction WHERE request = ?", row["id"])
    assert [c["reason"] for c in corrections] == ["late_record"]
    assert 0 < row["cost"] < row["hold"] and row["cost"] == first["cost_nano"] + corrections[0]["cost_nano"]
    assert stack.query("SELECT count(*) AS n FROM rollup_mismatch")[0]["n"] == 0
