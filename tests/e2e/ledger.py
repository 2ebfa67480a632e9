"""The ledger as the tests see it: the only place in the tests that knows its tables and columns."""


def requests(stack, subject):
    """One dictionary a request of this subject, oldest first."""
    return stack.query("""
        SELECT r.* FROM request r WHERE r.subject = ? ORDER BY r.rowid""", subject)


def attempts(stack, request):
    return stack.query("SELECT * FROM attempt WHERE request_id = ? ORDER BY number", request["id"])


def is_open(row):
    return row["known_by"] == "open"


def was_allowed(row):
    """Whether the request may have reached a provider."""
    return row["hold"] > 0


def spend_of_team(stack, team):
    return sum(row["cost"] for row in stack.query("SELECT * FROM spend_by_team_day WHERE team = ?", team))


VIEWS = ("spend_by_team_day", "spend_by_cost_center_month", "spend_by_model")
COUNT_OF_SUBJECT = "SELECT count(*) FROM request WHERE subject = '{}'"
