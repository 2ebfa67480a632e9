"""`tollgatectl report --format focus`: every row obeys the column rules of FOCUS 1.2, and nothing is lost or counted twice."""

import csv
import io
import json
import re
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from focus_rules import Rules
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
    "InvoiceId": ("recommended", True, TEXT),
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
    book.request("2026-10-31T23:59", tokens=(1, 0, 1, 0), cost=7, provider="azure", model="gpt-4o", key="prod-1")
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
    book.request("2026-11-06T00:00", team="partner", tokens=(10, 5, 2, 0), cost=900, discount=100)
    book.request("2026-11-06T12:00", team="partner", tokens=(10, 5, 2, 0), cost=1100, discount=-50)  # a contract may be dearer
    book.request("2026-11-06T12:00", team="free", tokens=(10, 5, 2, 0), provider="ollama", model="llama", cost=0)
    book.request("2026-11-06T12:00", team="audio", provider="whisper", model="/v1/audio", cost=6_000_000)
    book.request("2026-11-06T12:00", team="", app="", cost_center="", provider="azure", tokens=(3, 0, 1, 0), cost=44)
    book.request("2026-11-06T12:00", team="gone", provider="azure", known_by=4)
    back = book.request("2026-11-07", team="back", tokens=(100, 0, 10, 0), cost=10_000)
    book.correct(back, "2026-11-08", -10_000, reason="invoice", tokens=(-100, -10))
    return book.write()


@pytest.fixture(scope="module")
def rows(ledger):
    text = ctl("report", "--ledger", ledger.file, "--format", "focus", "--from", "2026-10", "--to", "2026-11").stdout
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(found) == 11
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
            tokens = int(row["x_InputTokens"]) + int(row["x_OutputTokens"])
            assert (Decimal(row["ConsumedQuantity"]), row["ConsumedUnit"]) == (
                (tokens, "Tokens") if tokens else (int(row["x_Requests"]), "Requests")
            )
        assert (row["ConsumedQuantity"], row["ConsumedUnit"]) == (row["PricingQuantity"], row["PricingUnit"])
        for quantity, unit in (("ConsumedQuantity", "ConsumedUnit"), ("PricingQuantity", "PricingUnit")):
            assert (row[quantity] == "") == (row[unit] == "")
        assert (row["SubAccountId"] == "") == (row["SubAccountType"] == "")
        tags = json.loads(row["Tags"] or "{}")
        assert tags.get("team", "") == row["SubAccountId"]
        assert set(tags) <= {"team", "application", "cost_center"} and all(tags.values())
        assert row["BilledCost"] == row["EffectiveCost"] == row["ContractedCost"]
        if row["SubAccountId"] != "partner":
            assert row["ListCost"] == row["BilledCost"]


# What we are, of what a provider may be. Unit prices are not published: a charge holds tokens of several kinds.
SUPPORTED = [
    "ACCOUNT_NAMING_SUPPORTED",
    "MULTIPLE_BILLING_ACCOUNT_TYPES_SUPPORTED",
    "MULTIPLE_PRICING_CATEGORIES_SUPPORTED",
    "MULTIPLE_SUB_ACCOUNT_TYPES_SUPPORTED",
    "SUB_ACCOUNT_SUPPORTED",
    "TAGGING_SUPPORTED",
    "USAGE_MEASUREMENT_SUPPORTED",
]


def test_the_foundation_s_own_rules_hold(rows):
    rules = Rules(SUPPORTED)
    assert rules.failures(rows[0].keys(), rows) == []
    looked_at = {name.split("-")[0] for name in rules.checked if "-C-" in name}
    # The rules of SkuId come with those of unit prices.
    assert looked_at == {name for name in rows[0] if not name.startswith("x_")} - {"SkuId"}
    assert len(rules.checked) > 100


@pytest.mark.parametrize(
    "column, value, rule",
    [
        ("BilledCost", "", "BilledCost-C-003-M"),
        ("BilledCost", "$1", "BilledCost-C-001-M"),
        ("BillingCurrency", "DOLLAR", "BillingCurrency-C-003-M"),
        ("BillingPeriodStart", "2026-11-01", "BillingPeriodStart-C-002-M"),
        ("ChargeCategory", "Spending", "ChargeCategory-C-003-M"),
        ("ChargeClass", "Fix", "ChargeClass-C-005-C"),
        ("ConsumedUnit", "", "ConsumedUnit-C-006-C"),
        ("ServiceCategory", "Storage", "ServiceSubcategory-C-004-M"),
        ("SubAccountName", "x", "SubAccountName-C-004-C"),
        ("Tags", '{"team": {"a": 1}}', "Tags-C-001-M"),
        ("EffectiveCost", None, "CostAndUsage-D-031-M"),
    ],
)
def test_the_rules_find_what_is_wrong(rows, column, value, rule):
    broken = [dict(row) for row in rows]
    for row in broken:
        if value is None:
            del row[column]
        else:
            row[column] = value
    names = [name for name, *_ in Rules(SUPPORTED).failures(broken[0].keys(), broken)]
    assert rule in names


def test_list_cost_is_without_the_contract_s_discount(rows):
    found = [row for row in rows if row["SubAccountId"] == "partner"]
    assert [(row["BilledCost"], row["ContractedCost"], row["ListCost"]) for row in found] == [
        ("0.000002000", "0.000002000", "0.000002050")
    ]


def test_what_has_no_tokens_is_priced_by_request(rows):
    found = next(row for row in rows if row["SubAccountId"] == "audio")
    assert (found["PricingQuantity"], found["PricingUnit"], found["BilledCost"]) == ("1.0", "Requests", "0.006000000")
    assert found["ChargeDescription"] == "Requests of /v1/audio at whisper"


def test_the_provider_s_key_is_told_by_its_name(rows):
    assert [(row["ProviderName"], row["BilledCost"]) for row in rows if row["x_ProviderKey"] == "prod-1"] == [("azure", "0.000000007")]
    assert {row["x_ProviderKey"] for row in rows} == {"", "prod-1"}


def test_what_cost_nothing_stands_there_and_what_did_nothing_does_not(rows):
    free = [row for row in rows if row["SubAccountId"] == "free"]
    assert [(row["BilledCost"], row["ConsumedQuantity"]) for row in free] == [("0.000000000", "17.0")]
    assert not [row for row in rows if row["SubAccountId"] in ("gone", "back")]


def test_costs_add_up_to_the_ledger_s(ledger, rows):
    found = sum(Decimal(row["BilledCost"]) for row in rows).scaleb(9)
    assert found == ledger.query("SELECT sum(cost_nano) FROM request_row")[0][0] + ledger.query(
        "SELECT sum(cost_nano) FROM correction_row"
    )[0][0]
    for month in ("2026-10", "2026-11"):
        spent = json.loads(ctl("report", "--ledger", ledger.file, "--from", month, "--to", month, "--json").stdout)
        billed = sum(Decimal(row["BilledCost"]) for row in rows if row["BillingPeriodStart"].startswith(month))
        assert billed.scaleb(9) == spent["total"]["cost_nano"]
    assert sum(int(row["x_InputTokens"]) + int(row["x_OutputTokens"]) for row in rows) == 175 + 2 + 17 + 17 + 15 + 3 + 34 + 17 + 4


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
