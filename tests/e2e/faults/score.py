#!/usr/bin/env python3
"""Prints the scored table of faults out of pytest's results file: score.py RESULTS.xml"""

import json
import sys
import xml.etree.ElementTree as xml


def rows_of(path):
    for case in xml.parse(path).iter("testcase"):
        for kept in case.iter("property"):
            if kept.get("name") == "fault":
                row = json.loads(kept.get("value"))
                bad = case.find("failure") is not None or case.find("error") is not None
                asked = " ".join(f"{name} {count}" for name, count in zip(("alpha", "beta"), row["asked"]))
                of = f" in {row['requests']} requests" if row["requests"] != 1 else ""
                yield row["fault"], row["saw"], asked + of, "WRONG: " + row["correct"] if bad else "ok"


def main():
    table = [("fault", "client saw", "provider asked", "verdict"), *rows_of(sys.argv[1])]
    widths = [max(len(row[i]) for row in table) for i in range(3)]
    for row in table:
        print(" | ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]))
    right = sum(row[3] == "ok" for row in table)
    print(f"\n{right} of {len(table) - 1} faults handled as they must be")


if __name__ == "__main__":
    main()
