"""The ledger as the tests see it: the only place in the tests that knows its tables and columns."""

import json
import subprocess

from machine import PATIENCE, wait_for

VIEWS = ("spend_by_team_day", "spend_by_cost_center_month", "spend_by_model")
COUNT_OF_SUBJECT = "SELECT count(*) FROM request WHERE subject = '{}'"

REQUESTS = """
SELECT r.id, r.request_id, r.subject, r.team, r.cost_center, r.organization, r.state, r.deny_reason, r.outcome,
       r.alias AS model_asked, r.model AS model_served, r.served_group AS provider, r.http_status AS status,
       r.input, r.input_cached, r.output, r.output_reasoning, r.input_counted, r.exactness, r.hold_nano AS hold,
       r.cost_nano + coalesce((SELECT sum(c.cost_nano) FROM correction c WHERE c.request = r.id), 0) AS cost,
       coalesce((SELECT c.known_by FROM correction c WHERE c.request = r.id ORDER BY c.id DESC), r.known_by) AS known_by,
       r.price_version, r.ttft_us, r.fallback, r.attempts
FROM request r WHERE r.subject = ? ORDER BY r.id"""


def requests(stack, subject):
    """One dictionary a request of this subject, oldest first; corrections are in its cost."""
    return stack.query(REQUESTS, subject)


ATTEMPTS = """
SELECT number, provider_group AS provider, model, http_status AS status, outcome FROM attempt WHERE request = ? ORDER BY number"""


def attempts(stack, request, count=1):
    """The tries at providers, at least `count`: they are written by themselves, perhaps a moment after the request is settled."""

    def rows():
        found = stack.query(ATTEMPTS, request["id"])
        return found if len(found) >= count else None

    return wait_for(rows, f"{count} attempts of a request")


def is_open(row):
    return row["state"] == "open"


def was_allowed(row):
    """Whether the request may have reached a provider."""
    return row["state"] != "denied"


def spend_of_team(stack, team):
    return sum(row["cost_nano"] for row in stack.query("SELECT cost_nano FROM spend_by_team_day WHERE team = ?", team))


def budgets(stack):
    """The running agent's own accounts, as `tollgatectl budget` tells them."""
    done = subprocess.run(
        [stack.tollgate.parent / "tollgatectl", "--socket", stack.admin_socket, "--json", "budget"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    return json.loads(done.stdout)


def accounts(stack, limit):
    """Those of one limit."""
    return [account for account in budgets(stack) if account["limit"] == limit]
