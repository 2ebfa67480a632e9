"""`tollgatectl invoice check`: the exports of providers against the ledger, each difference found and explained."""

import csv
import io
import json

import pytest
from ledger_fixture import Ledger, ctl

PLAIN = "Date,Model,project,input_tokens,output_tokens,cost\r\n"
# As the providers' consoles write them.
OPENAI_USAGE = (
    "start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,user_id,api_key_id,model,batch,service_tier,"
    "input_tokens,output_tokens,input_cached_tokens,input_uncached_tokens\n"
)
OPENAI_COSTS = (
    "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,quantity,quantity_unit,line_item,user_id,api_key_id,"
    "project_id,organization_id,project_name,organization_name,user_email,api_source\n"
)
ANTHROPIC_USAGE = (
    "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,"
    "usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count,inference_geo,speed\n"
)
ANTHROPIC_COST = (
    "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,inference_geo,speed,"
    "api_key_id,api_key_status\n"
)
OCTOBER_1 = 1790812800  # 2026-10-01T00:00:00Z


@pytest.fixture
def book(tmp_path):
    return Ledger(tmp_path / "ledger.db")


def check(book, tmp_path, text, expected, *argv):
    file = tmp_path / "invoice.csv"
    file.write_text(text, newline="")
    return ctl("invoice", "check", file, "--ledger", book.file, *argv, check=expected)


def rows(book, tmp_path, text, expected, *argv):
    return json.loads(check(book, tmp_path, text, expected, "--json", *argv).stdout)["rows"]


def only(found):
    assert len(found) == 1, found
    return found[0]


def explained(book, tmp_path, text, *argv):
    """The explanation of the one row, which differs."""
    return only(rows(book, tmp_path, text, 1, *argv))["explanation"]


@pytest.fixture
def invoiced(book):
    book.request("2026-10-01", model="mini", tokens=(100, 50, 20, 0), cost=1_500_400)
    book.request("2026-10-01T12:00", model="mini", tokens=(10, 0, 0, 0), cost=100)
    book.request("2026-10-02", model="mini", tokens=(10, 0, 5, 0), cost=200)
    book.request("2026-10-03", model="mini", known_by=3, cost=900)
    book.request("2026-10-03", model="late", tokens=(1, 0, 1, 0), cost=900)
    return book.write()


def test_an_invoice_that_matches(invoiced, tmp_path):
    text = PLAIN + '2026-10-01,mini-2026-01-31,"a, b",150,20,0.0015\r\n2026-10-01,mini,c,10,0,0.0000\r\n'
    done = check(invoiced, tmp_path, text, 0)
    assert "1 of 1 match" in done.stdout


def test_an_invoice_s_differences_are_explained(invoiced, tmp_path):
    text = "\ufeff" + PLAIN + (
        "2026-10-01,mini,a,160,20,0.5\n\n"
        "2026-10-02,mini,a,110,25,0.000000200\n"
        "2026-10-03,mini,a,40,4,0.01\n"
        '2026-10-03,"other ""x""",a,1,1,1\n'
    )
    found = rows(invoiced, tmp_path, text, 1)
    notes = {(row["date"], row["model"]): row for row in found}
    assert "another price" in notes["2026-10-01", "mini"]["explanation"]
    assert "100 input and 20 output tokens more on the invoice" in notes["2026-10-02", "mini"]["explanation"]
    assert "1 bounded request" in notes["2026-10-03", "mini"]["explanation"]
    assert "0.000000900 USD" in notes["2026-10-03", "mini"]["explanation"]
    assert "ledger only" in notes["2026-10-03", "late"]["explanation"]
    assert "invoice only" in notes["2026-10-03", 'other "x"']["explanation"]
    assert notes["2026-10-02", "mini"]["difference_nano"] == 0
    assert sum(row["ledger_nano"] or 0 for row in found) == 1_500_400 + 100 + 200 + 900 + 900


# ---- shapes ------------------------------------------------------------------------------------------------------


def test_openai_usage_by_minute_and_key(book, tmp_path):
    for minute in range(3):
        book.request(f"2026-10-01T00:0{minute}", model="gpt-4o-mini", tokens=(100, 30, 20, 5), cost=1000, key="key_aaa")
    book.request("2026-10-01T09:00", model="gpt-4o-mini", tokens=(7, 0, 1, 0), cost=10, key="key_bbb")
    book.write()
    text = OPENAI_USAGE
    for minute in range(3):
        start = OCTOBER_1 + 60 * minute
        text += (
            f"{start},{start + 60},2026-10-01T00:0{minute}:00+00:00,2026-10-01T00:0{minute + 1}:00+00:00,proj_1,1.0,,key_aaa,"
            "gpt-4o-mini-2024-07-18,False,default,130,25,30,100\n"
        )
    text += f"{OCTOBER_1 + 86340},{OCTOBER_1 + 86400},2026-10-01T23:59:00+00:00,2026-10-02T00:00:00+00:00,,,,,,,,,,,\n"  # nothing used
    text += f"{OCTOBER_1},{OCTOBER_1 + 60},2026-10-01T00:00:00+00:00,2026-10-01T00:01:00+00:00,proj_1,1,,key_bbb,gpt-4o-mini,False,,7,1,0,7\n"
    found = rows(book, tmp_path, text, 0)
    assert [(row["key"], row["invoice_requests"], row["ledger_requests"], row["invoice_cached"]) for row in found] == [
        ("key_aaa", 3, 3, 90),
        ("key_bbb", 1, 1, 0),
    ]
    assert {row["explanation"] for row in found} == {"matches"}
    assert {row["invoice_nano"] for row in found} == {None}  # the export says no prices


def test_openai_costs_by_line_item(book, tmp_path):
    book.request("2026-10-01T03:00", model="gpt-5-nano", tokens=(100, 30, 20, 5), cost=3_835_980)
    book.request("2026-10-02T03:00", model="gpt-5-nano", tokens=(100, 0, 20, 5), cost=95_000)
    book.write()
    text = OPENAI_COSTS + (
        f"{OCTOBER_1 - 86400},{OCTOBER_1},2026-09-30T00:00:00+00:00,2026-10-01T00:00:00+00:00,,,,,,,,,,,,,\n"
        f"{OCTOBER_1},{OCTOBER_1 + 86400},2026-10-01T00:00:00,2026-10-02T00:00:00,0.003335980000000000000000000000,usd,1000,tokens,"
        '"gpt-5-nano-2026-01-01, input",,,proj_a,org,,,,\n'
        f"{OCTOBER_1},{OCTOBER_1 + 86400},2026-10-01T00:00:00,2026-10-02T00:00:00,0.0005,usd,20,tokens,"
        '"gpt-5-nano-2026-01-01, output",,,proj_a,org,,,,\n'
        f"{OCTOBER_1 + 86400},{OCTOBER_1 + 172800},2026-10-02T00:00:00,2026-10-03T00:00:00,9.5e-05,usd,20,tokens,"
        '"gpt-5-nano, output",,,proj_a,org,,,,\n'
    )
    found = rows(book, tmp_path, text, 0)
    assert [(row["date"], row["invoice_nano"], row["ledger_nano"]) for row in found] == [
        ("2026-10-01", 3_835_980, 3_835_980),
        ("2026-10-02", 95_000, 95_000),
    ]
    assert {row["invoice_input"] for row in found} == {None}
    assert "another amount" in rows(book, tmp_path, text.replace("0.0005,", "0.0006,"), 1)[0]["explanation"]


def test_anthropic_usage_and_cost(book, tmp_path):
    names = {"provider": "anthropic", "model": "claude-haiku-4-5-20251001"}
    book.request("2026-10-01T03:00", tokens=(100, 900, 20, 0), cost=13_000_000, key="Agent Zero", **names)
    book.request("2026-10-01T04:00", tokens=(100, 900, 20, 0), cost=14_400_000, key="Agent Zero", **names)
    book.write()
    usage = ANTHROPIC_USAGE + "2026-10-01,claude-haiku-4-5-20251001,Agent Zero,Default,standard,≤ 200k,150,40,10,1800,40,0,global,\n"
    assert only(rows(book, tmp_path, usage, 0))["explanation"] == "matches"
    cost = ANTHROPIC_COST + (
        "2026-10-01,Claude Haiku 4.5,Default,Agent Zero,message,≤ 200k,input_no_cache,0.01,0.01,token,global,,apikey_01,active\n"
        "2026-10-01,Claude Haiku 4.5,Default,Agent Zero,message,≤ 200k,output,0.02,0.02,token,global,,apikey_01,active\n"
    )
    row = only(rows(book, tmp_path, cost, 0))
    assert row["explanation"] == "matches, but for the invoice's rounding"
    assert (row["invoice_nano"], row["ledger_nano"], row["key"]) == (30_000_000, 27_400_000, "Agent Zero")


def test_the_plain_shape_in_any_order(book, tmp_path):
    book.request("2026-10-01T03:00", model="m", tokens=(100, 30, 20, 5), cost=1_250_000_000, key="blue")
    book.write()
    text = "Cost,KEY,date,note,requests,cached_tokens,output_tokens,model,input_tokens,currency\n1.25,blue,2026-10-01,x,1,30,25,m,130,USD\n"
    row = only(rows(book, tmp_path, text, 0))
    assert (row["explanation"], row["key"], row["invoice_requests"]) == ("matches", "blue", 1)


def test_csv_and_table_hold_the_same(invoiced, tmp_path):
    text = PLAIN + "2026-10-01,mini,a,160,20,0.5\n"
    found = list(csv.DictReader(io.StringIO(check(invoiced, tmp_path, text, 1, "--format", "csv").stdout, newline="")))
    assert (only(found)["invoice_usd"], only(found)["ledger_usd"]) == ("0.500000000", "0.001500500")
    table = check(invoiced, tmp_path, text, 1).stdout.splitlines()
    assert table[0].split()[:3] == ["DATE", "MODEL", "KEY"] and table[-1] == "0 of 1 match"


# ---- what explains a difference -----------------------------------------------------------------------------------


def test_rows_that_one_side_has_by_key(book, tmp_path):
    book.request("2026-10-01", model="m", tokens=(10, 0, 1, 0), cost=100, key="blue")
    book.request("2026-10-01", model="m", tokens=(20, 0, 2, 0), cost=200, key="green")
    book.write()
    text = "date,model,key,input_tokens,output_tokens\n2026-10-01,m,blue,10,1\n2026-10-01,m,stolen,500,50\n"
    notes = {row["key"]: row["explanation"] for row in rows(book, tmp_path, text, 1)}
    assert notes["blue"] == "matches"
    assert "ledger only" in notes["green"] and "key" in notes["green"]
    assert "invoice only" in notes["stolen"] and "past the gateway" in notes["stolen"]


def test_keys_of_other_names_are_named_or_left_out(book, tmp_path):
    book.request("2026-10-01", model="m", tokens=(10, 0, 1, 0), cost=100, key="blue")
    book.request("2026-10-01", model="m", tokens=(20, 0, 2, 0), cost=200, key="green")
    book.write()
    text = "date,model,api_key_id,input_tokens,output_tokens\n2026-10-01,m,key_1,10,1\n2026-10-01,m,key_2,20,2\n"
    done = check(book, tmp_path, text, 0)
    assert "key_1" in done.stderr and "blue" in done.stderr and "--keys" in done.stderr
    assert "1 of 1 match" in done.stdout
    found = rows(book, tmp_path, text, 0, "--keys", "key_1=blue,key_2=green")
    assert [row["key"] for row in found] == ["blue", "green"]
    assert "key_1=" in check(book, tmp_path, text, 2, "--keys", "key_1=").stderr


def test_a_correction_counts_for_the_day_of_its_request(book, tmp_path):
    """Booked in the month after, because its own was closed: the provider knows nothing of our books."""
    number = book.request("2026-10-01", model="m", known_by=3, cost=5_000, tokens=(0, 0, 0, 0))
    book.close("2026-11-01", "2026-11-02")
    book.correct(number, "2026-11-03", -4_000, tokens=(10, 1))
    book.write()
    text = PLAIN + "2026-10-01,m,a,10,1,0.000001\n"
    assert only(rows(book, tmp_path, text, 0))["ledger_nano"] == 1_000
    found = rows(book, tmp_path, PLAIN + "2026-11-03,m,a,10,1,0.000001\n", 1)
    assert "invoice only" in only(found)["explanation"]


def test_a_late_correction_that_the_invoice_has_not(book, tmp_path):
    number = book.request("2026-10-01", model="m", cost=5_000, tokens=(10, 0, 1, 0))
    book.correct(number, "2026-10-03", 700, reason="repriced")
    book.write()
    note = explained(book, tmp_path, PLAIN + "2026-10-01,m,a,10,1,0.000005000\n")
    assert "1 corrections of 0.000000700 USD more" in note


def test_a_contract_that_the_invoice_does_not_know(book, tmp_path):
    book.request("2026-10-01", model="m", cost=900, tokens=(10, 0, 1, 0), discount=100)
    book.write()
    note = explained(book, tmp_path, PLAIN + "2026-10-01,m,a,10,1,0.000001000\n")
    assert "list price" in note and "0.000000100 USD less by contract" in note


def test_cached_tokens(book, tmp_path):
    book.request("2026-10-01", model="m", cost=900, tokens=(100, 0, 1, 0))
    book.write()
    heading = "date,model,input_tokens,cached_tokens,output_tokens,cost\n"
    note = explained(book, tmp_path, heading + "2026-10-01,m,100,40,1,0.000000700\n")
    assert note == "cached input is counted differently: 40 of 100 tokens on the invoice, 0 in the ledger"
    assert "cached input" in only(rows(book, tmp_path, heading + "2026-10-01,m,100,40,1,0.000000900\n", 0))["explanation"]
    # Without costs it is the only difference there is to see.
    text = "date,model,input_tokens,cached_tokens,output_tokens\n2026-10-01,m,100,40,1\n"
    assert "cached input" in explained(book, tmp_path, text)


def test_rounding_of_each_line(book, tmp_path):
    for hour in range(4):
        book.request(f"2026-10-01T0{hour}:00", model="m", cost=4_000_000, tokens=(1, 0, 1, 0))
    book.write()
    lines = "2026-10-01,m,a,1,1,0.00\n" * 4
    assert "rounding" in only(rows(book, tmp_path, PLAIN + lines, 0))["explanation"]
    # One line of two decimals cannot hide 16 thousandths.
    assert "another price" in explained(book, tmp_path, PLAIN + "2026-10-01,m,a,4,4,0.00\n")


def test_counted_after_a_cut(book, tmp_path):
    book.request("2026-10-01", model="m", cost=900, tokens=(100, 0, 7, 0), known_by=2)
    book.write()
    note = explained(book, tmp_path, PLAIN + "2026-10-01,m,a,100,9,0.000001100\n")
    assert note == "1 request counted locally after a cut (0.000000900 USD); input +0, output +2 tokens on the invoice"


def test_requests_tell_what_is_missing(book, tmp_path):
    book.request("2026-10-01", model="m", cost=900, tokens=(100, 0, 7, 0))
    book.write()
    text = "date,model,requests,input_tokens,output_tokens\n2026-10-01,m,3,300,21\n"
    assert "200 input and 14 output tokens more on the invoice (2 requests more)" in explained(book, tmp_path, text)
    text = "date,model,requests,input_tokens,output_tokens\n2026-10-01,m,0,0,0\n"
    assert "100 input and 7 output tokens more in the ledger (1 request fewer)" in explained(book, tmp_path, text)


@pytest.fixture
def california(book):
    """Two requests of one day there, on two days here; and one on the day the clocks go back (25 hours)."""
    book.request("2026-10-01T20:00", model="m", cost=100, tokens=(10, 0, 1, 0))
    book.request("2026-10-02T05:00", model="m", cost=200, tokens=(20, 0, 2, 0))
    book.request("2026-10-02T20:00", model="m", cost=400, tokens=(40, 0, 4, 0))
    book.request("2026-11-02T07:45", model="m", cost=800, tokens=(80, 0, 8, 0))
    return book.write()


def test_days_that_begin_elsewhere(california, tmp_path):
    text = PLAIN + "2026-10-01,m,a,30,3,0.0000003\n2026-10-02,m,a,40,4,0.0000004\n"
    found = rows(california, tmp_path, text, 1)
    assert all("--time-zone" in row["explanation"] for row in found) and len(found) == 2
    found = rows(california, tmp_path, text, 0, "--time-zone", "America/Los_Angeles")
    assert [(row["date"], row["ledger_nano"]) for row in found] == [("2026-10-01", 300), ("2026-10-02", 400)]
    autumn = PLAIN + "2026-11-01,m,a,80,8,0.0000008\n"
    assert rows(california, tmp_path, autumn, 0, "--time-zone", "America/Los_Angeles")
    assert "invoice only" in rows(california, tmp_path, autumn, 1)[0]["explanation"]


def test_times_with_an_offset_are_put_into_the_days_of_the_zone(california, tmp_path):
    text = PLAIN.replace("Date", "start_time_iso") + (
        "2026-10-01T13:00:00-07:00,m,a,10,1,0.0000001\n2026-10-02T05:00:00.000Z,m,a,20,2,0.0000002\n"
    )
    assert [row["date"] for row in rows(california, tmp_path, text, 0, "--time-zone", "America/Los_Angeles")] == ["2026-10-01"]
    found = rows(california, tmp_path, text, 1)
    assert [(row["date"], row["invoice_input"], row["ledger_input"]) for row in found] == [("2026-10-01", 10, 10), ("2026-10-02", 20, 60)]


def test_the_newest_rows_are_in_it(book, tmp_path):
    """Rolled up or not yet."""
    for number in range(60):
        book.request(f"2026-10-0{1 + number // 30}T01:00", model="m", cost=10, tokens=(1, 0, 1, 0))
    book.write(lag=7)
    text = PLAIN + "2026-10-01,m,a,30,30,0.0000003\n2026-10-02,m,a,30,30,0.0000003\n"
    for zone in ("UTC", "Etc/UTC"):
        assert len(rows(book, tmp_path, text, 0, "--time-zone", zone)) == 2


def test_a_provider_s_own_rows(book, tmp_path):
    book.request("2026-10-01", model="m", cost=900, tokens=(100, 0, 7, 0))
    book.request("2026-10-01", model="m", cost=900, tokens=(100, 0, 7, 0), provider="azure")
    book.write()
    text = PLAIN + "2026-10-01,m,a,100,7,0.0000009\n"
    assert "more in the ledger" in explained(book, tmp_path, text)
    rows(book, tmp_path, text, 0, "--provider", "azure")


# ---- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, words",
    [
        ("", ("heading",)),
        ("date,model\r\n", ("input_tokens", "line 1")),
        ("model,cost\n", ("line 1", "date", "usage_date_utc")),
        ("date,cost\n", ("line 1", "model", "line_item")),
        ("date,model,input_tokens\n", ("line 1", "output")),
        ("start_time,end_time,start_time_iso,end_time_iso\n1,2,3,4\n", ("line 1", "days without use")),
        (PLAIN, ("no line",)),
        (PLAIN + "2026-10-41,mini,a,1,1,1\r\n", ("line 2", "date", "2026-10-41")),
        (PLAIN + "10/01/2026,mini,a,1,1,1\r\n", ("line 2", "10/01/2026", "2026-11-23")),
        (PLAIN + "2026-10-01T25:00:00Z,mini,a,1,1,1\r\n", ("line 2", "date")),
        (PLAIN + "2026-10-01T05:00:00+99:00,mini,a,1,1,1\r\n", ("line 2", "date")),
        (PLAIN + "2026-10-01,mini,a,1,1,1\r\n2026-10-01,mini,a,one,1,1\r\n", ("line 3", "input_tokens", "one")),
        (PLAIN + "2026-10-01,mini,a,1.5,1,1\r\n", ("line 2", "1.5", "whole")),
        (PLAIN + "2026-10-01,mini,a,-1,1,1\r\n", ("line 2", "-1")),
        (PLAIN + "2026-10-01,mini,a,1,1,$3\r\n", ("line 2", "$3", "12.34")),
        (PLAIN + '2026-10-01,mini,a,1,1,"1,234.00"\r\n', ("line 2", "separators")),
        (PLAIN + "2026-10-01,mini,a,1,1,1e99\r\n", ("line 2", "1e99")),
        (PLAIN + "2026-10-01,,a,1,1,1\r\n", ("line 2", "no model", "grouped")),
        (PLAIN + "2026-10-01,mini,a,1,1\r\n", ("line 2", "5 fields", "6")),
        (PLAIN + '2026-10-01,"mini,a,1,1,1\r\n', ("line 2", "quotes")),
        (PLAIN + '2026-10-01,"mi\nni",a,1,1,1\r\n2026-10-01,mini,a,x,1,1\r\n', ("line 4", '"x"')),
        ("date,model,amount,currency\n2026-10-01,m,1,EUR\n", ("line 2", "EUR", "USD")),
        ("date,model,input_tokens,cached_tokens,output_tokens\n2026-10-01,m,1,2,1\n", ("line 2", "cached")),
        (PLAIN + "2020-10-01,m,a,1,1,1\n2026-10-01,m,a,1,1,1\n", ("days apart",)),
        ("\x00\x01\x02,,,\n", ("line 1",)),
    ],
)
def test_bad_invoices_are_named_with_their_line(invoiced, tmp_path, text, words):
    done = check(invoiced, tmp_path, text, 1)
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    "argv, words",
    [
        (("--time-zone", "Mars/Base"), ("Mars/Base",)),
        (("--time-zone", "../../etc/passwd"), ("time zone",)),
        (("--keys", "a"), ("NAME-IN-THE-LEDGER",)),
        (("--format", "xml"), ("xml",)),
        (("another.csv",), ()),
    ],
)
def test_wrong_usage(invoiced, tmp_path, argv, words):
    done = check(invoiced, tmp_path, PLAIN, 2, *argv)
    for word in words:
        assert word in done.stderr


def test_files_that_cannot_be_read(invoiced, tmp_path):
    assert "none.csv" in ctl("invoice", "check", tmp_path / "none.csv", "--ledger", invoiced.file, check=1).stderr
    assert "cannot" in ctl("invoice", "check", tmp_path, "--ledger", invoiced.file, check=1).stderr
    assert "usage:" in ctl("invoice", "compare", "x", check=2).stderr
