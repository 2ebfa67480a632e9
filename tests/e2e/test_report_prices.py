"""`tollgatectl prices`, `reprice` and `close-month` on ledgers that no agent keeps."""

import json

import pytest

from ledger_fixture import Ledger, ctl, us

OLD = "0123456789ab" + "cd" * 26


def catalogue(path, **models):
    """A price file: model=(input, cached, output) in USD per million tokens."""
    path.write_text(
        json.dumps(
            {
                "unit": "USD per 1,000,000 tokens",
                "models": [
                    {
                        "provider": "openai",
                        "model": name.replace("_", "-"),
                        "cost": {"input": rates[0], "cache_read": rates[1], "output": rates[2]},
                        "limit": {"context": 128000, "output": 16384},
                    }
                    for name, rates in models.items()
                ],
            }
        )
    )
    return path


def figures(answer):
    return json.loads(answer.stdout)


@pytest.fixture
def prices(tmp_path):
    return catalogue(tmp_path / "prices.json", mini=(0.2, 0.1, 0.8), other=(1, 1, 1))


@pytest.fixture
def book(tmp_path):
    book = Ledger(tmp_path / "ledger.db")
    book.price(OLD, "openai", "mini", 150_000, 75_000, 600_000)
    return book


def test_import_shows_what_changes_and_changes_nothing(book, prices):
    book.write()
    answer = figures(ctl("prices", "import", prices, "--ledger", book.file, "--dry-run", "--json"))
    assert (answer["added"], answer["removed"], answer["changed"]) == (1, 0, 1)
    assert answer["in_force"] != answer["new"]
    changes = {(row["change"], row["model"], row["rate"]): (row["old_pico"], row["new_pico"]) for row in answer["rows"]}
    assert changes["changed", "mini", "input"] == (150_000, 200_000)
    assert changes["changed", "mini", "cached_input"] == (75_000, 100_000)
    assert changes["changed", "mini", "output"] == (600_000, 800_000)
    assert changes["added", "other", "output"] == (None, 1_000_000)
    assert book.query("SELECT count(*) FROM price_version") == [(1,)]
    text = ctl("prices", "import", prices, "--ledger", book.file).stdout
    assert "1 added, 0 removed, 1 changed" in text and f"prices.file: {prices}" in text
    assert "prices.file" not in ctl("prices", "import", prices, "--ledger", book.file, "--dry-run").stdout


def test_import_without_a_ledger_compares_with_the_built_in_table(tmp_path, prices):
    text = ctl("prices", "import", prices, "--ledger", Ledger(tmp_path / "empty.db").write().file, "--dry-run").stdout
    assert "built-in table" in text and "2 added" in text


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", ("empty",)),
        (b"[1]", ("line 1", "object")),
        (b'{"models":[\n{"provider":"a","model":"b","cost":{"input":"x"}}]}', ("line 2",)),
        (b'{"models":[\n', ("line",)),
    ],
)
def test_bad_price_files_are_named_with_their_line(tmp_path, book, content, words):
    book.write()
    file = tmp_path / "bad.json"
    file.write_bytes(content)
    done = ctl("prices", "import", file, "--ledger", book.file, check=1)
    assert str(file) in done.stderr
    for word in words:
        assert word in done.stderr


def test_list_shows_the_table_in_force(book):
    book.write()
    rows = figures(ctl("prices", "list", "--ledger", book.file, "--json"))["rows"]
    assert [(row["provider"], row["model"], row["input_pico"], row["output_pico"]) for row in rows] == [
        ("openai", "mini", 150_000, 600_000)
    ]
    assert "mini" in ctl("prices", "list", "mini", "--ledger", book.file).stdout
    assert "maxi" in ctl("prices", "list", "maxi", "--ledger", book.file, check=1).stderr


def cost(rates, tokens):
    """Nano-dollars, rounded half up once: rates in pico-dollars for input, cached, output, reasoning."""
    return (sum(rate * count for rate, count in zip(rates, tokens)) * 2 + 1000) // 2000


OLD_RATES, NEW_RATES = (150_000, 75_000, 600_000, 600_000), (200_000, 100_000, 800_000, 800_000)


@pytest.fixture
def spent(book, prices):
    """Requests priced by the old table; the new one is known to the ledger too."""
    new = figures(ctl("prices", "import", prices, "--ledger", Ledger(book.file).write().file, "--json"))["new"]
    version = book.price(new, "openai", "mini", 200_000, 100_000, 800_000)
    old = int(OLD[:12], 16)
    usages = [(100, 50, 20, 5), (7, 0, 3, 0), (1, 1, 1, 1), (0, 0, 0, 0)]
    for day, usage in enumerate(usages):
        book.request(f"2026-10-{10 + day}", model="mini", tokens=usage, cost=cost(OLD_RATES, usage), version=old)
    book.request("2026-10-20", model="mini", known_by=3, cost=777, version=old)
    book.request("2026-10-20", model="nobody-knows", tokens=(5, 0, 5, 0), cost=55, version=old)
    book.request("2026-11-02", model="mini", tokens=(1000, 0, 0, 0), cost=cost(OLD_RATES, (1000,)), version=old)
    book.write()
    book.usages, book.version = usages, version
    return book


def test_reprice_lists_then_books_rows_of_its_own_and_edits_nothing(spent, prices):
    requests = spent.query("SELECT * FROM request_row ORDER BY id")
    expected = [cost(NEW_RATES, usage) - cost(OLD_RATES, usage) for usage in spent.usages]
    arguments = ("reprice", "--ledger", spent.file, "--from", "2026-10", "--to", "2026-10", "--prices", prices, "--json")
    dry = figures(ctl(*arguments, "--dry-run"))
    assert dry["dry_run"] is True and (dry["bounded"], dry["unpriced"]) == (1, 1)
    by_model = {row["model"]: row for row in dry["rows"]}
    assert by_model["mini"]["difference_nano"] == sum(expected) != 0
    assert (by_model["mini"]["requests"], by_model["mini"]["changed"]) == (4, 3)
    assert by_model["nobody-knows"]["difference_nano"] == 0
    assert spent.query("SELECT count(*) FROM correction_row") == [(0,)]

    assert figures(ctl(*arguments))["total"]["difference_nano"] == sum(expected)
    booked = spent.query("SELECT request, cost_nano, reason, known_by, price_version, input, output FROM correction_row ORDER BY id")
    assert booked == [(n + 1, d, "repriced", 1, spent.version, 0, 0) for n, d in enumerate(expected) if d]
    assert spent.query("SELECT * FROM request_row ORDER BY id") == requests
    assert spent.query("SELECT count(*) FROM rollup_mismatch") == [(0,)]
    assert figures(ctl(*arguments))["total"]["changed"] == 0
    assert len(spent.query("SELECT * FROM correction_row")) == len(booked)


def test_a_table_the_ledger_does_not_know_is_not_booked(spent, tmp_path):
    unknown = catalogue(tmp_path / "unknown.json", mini=(9, 9, 9))
    arguments = ("reprice", "--ledger", spent.file, "--from", "2026-10", "--prices", unknown)
    assert "would be" in ctl(*arguments, "--dry-run").stdout
    assert "put it in force first" in ctl(*arguments, check=1).stderr
    assert spent.query("SELECT count(*) FROM correction_row") == [(0,)]


def test_what_is_repriced_in_a_closed_month_counts_for_the_open_one(spent, prices):
    assert figures(ctl("close-month", "2026-10", "--ledger", spent.file, "--json"))["closed"] is True
    before = figures(ctl("report", "--ledger", spent.file, "--from", "2026-10", "--to", "2026-10", "--json"))
    ctl("reprice", "--ledger", spent.file, "--from", "2026-10", "--to", "2026-10", "--prices", prices)
    assert spent.query("SELECT count(*) FROM correction_row")[0][0] == 3
    assert figures(ctl("report", "--ledger", spent.file, "--from", "2026-10", "--to", "2026-10", "--json")) == before
    assert spent.query("SELECT count(*) FROM correction_row WHERE account_us = booked_us") == [(3,)]


def test_close_month_waits_for_open_requests(book):
    book.request("2026-09-30T23:59", state="open")
    book.write()
    assert "open" in ctl("close-month", "2026-09", "--ledger", book.file, check=1).stderr
    assert book.query("SELECT count(*) FROM month_close") == [(0,)]
    ctl("close-month", "2026-08", "--ledger", book.file)
    ctl("close-month", "2026-08", "--ledger", book.file)  # closed already: nothing to do
    assert book.query("SELECT before_us FROM month_close") == [(us("2026-09-01"),)]


@pytest.mark.parametrize("word", ["2099-01", "2026-13", "2026-10-01", "October"])
def test_close_month_takes_only_months_that_are_over(book, word):
    book.write()
    assert word in ctl("close-month", word, "--ledger", book.file, check=2).stderr
