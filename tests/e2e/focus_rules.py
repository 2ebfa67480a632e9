"""Checks a FOCUS cost and usage table by the machine-readable rules of the FinOps Foundation, which know nothing of tollgate.

The rules are a file of the package focus-validator (PyPI). Its own program needs a newer Python than Debian's and 650 MB of libraries, so
the rules are read here: each names check functions by column, conditions, and the feature of the data set that makes it apply. Rules of
type Dynamic have no checks in the file; the tests state those that concern us themselves."""

import csv
import json
import re
from datetime import datetime
from decimal import Decimal
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / ".cache/focus/focus_validator/rules"
ROOT = "CostAndUsage-D-000-M"
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([Ee][+-]?\d+)?")
# Units: capitalised words, in the plural, of what is counted (attribute UnitFormat).
UNIT = re.compile(r"[A-Z][A-Za-z]*s( / [A-Z][A-Za-z]*)?")


def _instant(text):
    try:
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return False
    return len(text) == 20


def _key_values(text):
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and all(value is None or isinstance(value, (str, int, float, bool)) for value in found.values())


class Rules:
    """supported: the applicability criteria of the data set. Rules of columns that are not in the table and need not be are passed over."""

    def __init__(self, supported, version="1.2.0.1"):
        assert PACKAGE.is_dir(), "the rules of FOCUS are missing: ./check fetches them into .cache/focus"
        model = json.loads((PACKAGE / f"model-{version}.json").read_text())
        self.rules, self.supported = model["ModelRules"], set(supported)
        unknown = self.supported - set(model["ApplicabilityCriteria"])
        assert not unknown, unknown
        with open(PACKAGE / "currency_codes.csv", newline="") as file:
            self.currencies = {cell for row in csv.reader(file) for cell in row if re.fullmatch(r"[A-Z]{3}", cell)}
        self.checked = set()

    def failures(self, columns, rows):
        """Ids of rules, each with its words and the first row that breaks it. `checked` holds the rules that had something to look at."""
        self.columns, self.rows, found = set(columns), rows, []
        self.checked = set()
        self._visit(ROOT, rows, found)
        return found

    def _applies(self, rule):
        return set(rule["ApplicabilityCriteria"]) <= self.supported and rule["ValidationCriteria"]["Keyword"] not in ("MAY", "OPTIONAL")

    def _visit(self, name, rows, found):
        rule = self.rules[name]
        criteria = rule["ValidationCriteria"]
        if not self._applies(rule) or not criteria["Requirement"]:
            return
        if rule["EntityType"] == "Column" and rule["Reference"] not in self.columns:
            return
        condition, requirement = criteria["Condition"], criteria["Requirement"]
        rows = [row for row in rows if not condition or self._holds(condition, row)]
        if requirement["CheckFunction"] == "AND":
            for item in requirement["Items"]:
                if item["CheckFunction"] == "CheckModelRule":
                    self._visit(item["ModelRuleId"], rows, found)
                else:
                    self._check(name, criteria, item, rows, found)
        else:
            self._check(name, criteria, requirement, rows, found)

    def _check(self, name, criteria, item, rows, found):
        of_table = item["CheckFunction"] in ("ColumnPresent", "CheckDistinctCount")
        self.checked |= {name} if rows or of_table else set()
        for row in [None] if of_table else rows:
            if not self._holds(item, row):
                found.append((name, criteria["MustSatisfy"], row))
                return

    def _rule_holds(self, name, row):
        rule = self.rules[name]
        criteria = rule["ValidationCriteria"]
        if not self._applies(rule) or not criteria["Requirement"]:
            return True
        return (criteria["Condition"] and not self._holds(criteria["Condition"], row)) or self._holds(criteria["Requirement"], row)

    def _holds(self, check, row):
        function = check["CheckFunction"]
        if function == "AND":
            return all(self._holds(item, row) for item in check["Items"])
        if function == "OR":
            return any(self._holds(item, row) for item in check["Items"])
        if function == "CheckModelRule":
            return self._rule_holds(check["ModelRuleId"], row)
        if function == "ColumnPresent":
            return check["ColumnName"] in self.columns
        if function == "CheckDistinctCount":
            seen = {}
            for each in self.rows:
                seen.setdefault(each[check["ColumnAName"]], set()).add(each[check["ColumnBName"]])
            return all(len(values) == int(check["ExpectedCount"]) for values in seen.values())
        return self._row_holds(function, check, lambda name: (row.get(name) or None))

    def _row_holds(self, function, check, value_of):
        if "ColumnAName" in check:
            left, right = value_of(check["ColumnAName"]), value_of(check["ColumnBName"])
            if function == "CheckSameValue":
                return left == right
            if function == "CheckNotSameValue":
                return left is None or right is None or left != right
            assert function == "ColumnByColumnEqualsColumnValue", function
            result = value_of(check["ResultColumnName"])
            return None in (left, right, result) or Decimal(left) * Decimal(right) == Decimal(result)
        value = value_of(check["ColumnName"])
        if function in ("CheckValue", "CheckNotValue"):
            wanted = check["Value"]
            return (value == (None if wanted is None else str(wanted))) == (function == "CheckValue")
        if value is None:
            return True  # whether it may be null is a rule of its own
        if function in ("TypeDecimal", "FormatNumeric", "CheckDecimalValue"):
            return NUMBER.fullmatch(value) is not None
        if function == "CheckGreaterOrEqualThanValue":
            return Decimal(value) >= Decimal(str(check["Value"]))
        simple = {
            "TypeString": lambda: True,
            "FormatString": lambda: value == value.strip() and value.isprintable(),
            "TypeDateTime": lambda: _instant(value),
            "FormatDateTime": lambda: _instant(value),
            "FormatCurrency": lambda: value in self.currencies,
            "CheckNationalCurrency": lambda: value in self.currencies,
            "FormatUnit": lambda: UNIT.fullmatch(value) is not None,
            "FormatKeyValue": lambda: _key_values(value),
        }
        return simple[function]()
