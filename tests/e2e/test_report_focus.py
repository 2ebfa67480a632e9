"""`tollgatectl report --format focus`: every row obeys the column rules of FOCUS 1.2, and nothing is lost or counted twice."""

import csv
import io
import json
import re
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from ledger_fixture import Ledger, ctl

# Feature level, may it be null, and what a value looks like. From the content constraints of the specification's columns.
TEXT, DECIMAL, INSTANT = r".+", r"-?\d+(\.\d+)?([Ee][+-]?\d+)?", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
RULES = {
    "BilledCost": ("mandatory", False, DECIMAL),
    "BillingAccountId": ("mandatory", False, TEXT),
    "BillingAccountName": ("mandatory", True, TEXT),
    "BillingAccountType": ("conditional", True, TEXT),
    "BillingCurrency": ("mandatory", False, r"[A-Z]{3}"),
    "BillingPeriodEnd": ("mandatory", False, INSTANT),
    "BillingPeriodStart": ("mandatory", False, INSTANT),
    "ChargeCategory": ("mandatory", False, r"Usage|Purchase|Tax|Credit|Adjustment"),
    "ChargeClass": ("mandatory", True, r"Correction"),
    "ChargeDescription": ("mandatory", True, TEXT),
    "ChargeFrequency": ("recommended", False, r"One-Time|Recurring|Usage-Based"),
    "ChargePeriodEnd": ("mandatory", False, INSTANT),
    "ChargePeriodStart": ("mandatory", False, INSTANT),
    "ConsumedQuantity": ("conditional", True, DECIMAL),
    "ConsumedUnit": ("conditional", True, TEXT),
    "ContractedCost": ("mandatory", False, DECIMAL),
    "EffectiveCost": ("mandatory", False, DECIMAL),
    "InvoiceIssuerName": ("mandatory", False, TEXT),
    "ListCost": ("mandatory", False, DECIMAL),
    "PricingCategory": ("conditional", True, r"Standard|Dynamic|Committed|Other"),
    "PricingQuantity": ("mandatory", True, DECIMAL),
    "PricingUnit": ("mandatory", True, TEXT),
    "ProviderName": ("mandatory", False, TEXT),
    "PublisherName": ("mandatory", False, TEXT),
    "ServiceCategory": ("mandatory", False, r"AI and Machine Learning"),
    "ServiceName": ("mandatory", False, TEXT),
    "ServiceSubcategory": ("recommended", False, r"Generative AI"),
    "SkuId": ("conditional", True, TEXT),
    "SubAccountId": ("conditional", True, TEXT),
    "SubAccountName": ("conditional", True, TEXT),
    "SubAccountType": ("conditional", True, TEXT),
    "Tags": ("conditional", True, r"\{.*\}"),
}


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    book = Ledger(tmp_path_factory.mktemp("focus") / "ledger.db")
    late = book.request("2026-10-05T10:00", tokens=(100, 50, 20, 5), cost=12_345_678)
    book.request("2026-10-31T23:59", tokens=(1, 0, 1, 0), cost=7, provider="azure", model="gpt-4o")
    book.request("2026-11-02T10:00", team='comma, "quote"', tokens=(10, 5, 2, 0), cost=999)
    book.request("2026-11-02T10:00", team="", organization="", tokens=(10, 5, 2, 0), cost=10**15)
    same = book.request("2026-11-03T10:00", tokens=(10, 0, 5, 0), cost=500)
    book.request("2026-11-03T10:00", state="denied")
    book.request("2026-11-03T10:00", state="cached", saved=500)
    book.request("2026-11-30T23:59", state="open")
    book.close("2026-11-01", "2026-11-03")
    book.correct(late, "2026-11-04T08:00", -678)
    book.correct(late, "2026-11-04T09:00", 5, reason="repriced", tokens=(2, 1))
    book.correct(same, "2026-11-05T00:00", -100)
    return book.write()


@pytest.fixture(scope="module")
def rows(ledger):
    text = ctl("report", "--ledger", ledger.file, "--format", "focus", "--from", "2026-10", "--to", "2026-11").stdout
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(found) == 7
    return found


def test_columns_are_the_specification_s_or_marked_as_ours(rows):
    names = list(rows[0])
    assert {name for name, rule in RULES.items() if rule[0] == "mandatory"} <= set(names)
    assert len(set(names)) == len(names)
    for name in names:
        assert name in RULES or re.fullmatch(r"x_[A-Z][A-Za-z]+", name), name
        assert len(name) <= 50


@pytest.mark.parametrize("name", RULES)
def test_types_nulls_and_allowed_values(rows, name):
    _, nullable, shape = RULES[name]
    for row in rows:
        assert row[name] != "" or nullable, row
        assert row[name] == "" or re.fullmatch(shape, row[name]), row[name]
        assert row[name].lower() not in ("null", "none")


def test_rules_between_columns(rows):
    for row in rows:
        start, end = (datetime.fromisoformat(row["ChargePeriod" + part][:-1]) for part in ("Start", "End"))
        month, following = (datetime.fromisoformat(row["BillingPeriod" + part][:-1]) for part in ("Start", "End"))
        assert end - start == timedelta(days=1)
        assert month.day == following.day == 1 and 28 <= (following - month).days <= 31
        correction = row["ChargeClass"] == "Correction"
        if correction:
            assert end <= month  # it corrects a period that was billed before
        else:
            assert month <= start and end <= following
            for name in ("ConsumedQuantity", "PricingQuantity", "PricingUnit", "PricingCategory", "SkuId"):
                assert row[name], name
            assert Decimal(row["ConsumedQuantity"]) >= 0
            assert Decimal(row["ConsumedQuantity"]) == int(row["x_InputTokens"]) + int(row["x_OutputTokens"])
        for quantity, unit in (("ConsumedQuantity", "ConsumedUnit"), ("PricingQuantity", "PricingUnit")):
            assert (row[quantity] == "") == (row[unit] == "")
        assert (row["SubAccountId"] == "") == (row["SubAccountType"] == "")
        tags = json.loads(row["Tags"])
        assert tags["team"] == row["SubAccountId"]
        assert all(isinstance(value, str) for value in tags.values())
        assert row["BilledCost"] == row["EffectiveCost"] == row["ListCost"] == row["ContractedCost"]


def test_costs_add_up_to_the_ledger_s(ledger, rows):
    found = sum(Decimal(row["BilledCost"]) for row in rows).scaleb(9)
    assert found == ledger.query("SELECT sum(cost_nano) FROM request_row")[0][0] + ledger.query(
        "SELECT sum(cost_nano) FROM correction_row"
    )[0][0]
    for month in ("2026-10", "2026-11"):
        spent = json.loads(ctl("report", "--ledger", ledger.file, "--from", month, "--to", month, "--json").stdout)
        billed = sum(Decimal(row["BilledCost"]) for row in rows if row["BillingPeriodStart"].startswith(month))
        assert billed.scaleb(9) == spent["total"]["cost_nano"]
    assert sum(int(row["x_InputTokens"]) + int(row["x_OutputTokens"]) for row in rows) == 175 + 2 + 17 + 17 + 15 + 3


def test_corrections_to_a_billed_month_are_charges_of_their_own(rows):
    found = [row for row in rows if row["ChargeClass"] == "Correction"]
    assert [(row["BilledCost"], row["ChargePeriodStart"][:10], row["BillingPeriodStart"][:7]) for row in found] == [
        ("-0.000000678", "2026-10-05", "2026-11"),
        ("0.000000005", "2026-10-05", "2026-11"),
    ]
    assert "repriced" in found[1]["ChargeDescription"]
    # One to a month that is still open is part of its usage.
    assert [row["BilledCost"] for row in rows if row["ChargePeriodStart"].startswith("2026-11-03")] == ["0.000000400"]


def test_no_rows_is_a_heading(ledger):
    text = ctl("report", "--ledger", ledger.file, "--format", "focus", "--from", "2026-01", "--to", "2026-01").stdout
    assert text.splitlines()[0].startswith("BilledCost,") and len(text.splitlines()) == 1
