"""Ledgers made to order for tests of the commands that read them: written by the ledger's own code, with figures that the test
knows."""

import contextlib
import datetime
import os
import sqlite3
import subprocess

from machine import build_folder


def us(text):
    """Microseconds UTC of a day or an ISO time."""
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.timezone.utc).timestamp()) * 1_000_000


class Ledger:
    def __init__(self, file):
        self.file, self.lines, self.last = file, [], 0

    def add(self, *fields):
        self.lines.append("\t".join(str(field) for field in fields))

    def request(
        self,
        started,
        team="search",
        user="ann",
        model="gpt-4o-mini",
        provider="openai",
        organization="acme",
        app="bot",
        cost_center="cc-1",
        state="ok",
        tokens=(0, 0, 0, 0),
        cost=0,
        saved=0,
        known_by=1,
        fallback=0,
        version=0,
        hold=1_000_000,
        prompt_saved=0,
        discount=0,
        key="",
    ):
        """state: ok, open, denied, cached. tokens: input, cached, output, reasoning. key: the name of the provider's key."""
        self.last += 1
        kind = {"ok": "open", "open": "open", "denied": "denied", "cached": "settled"}[state]
        at = started if isinstance(started, int) else us(started)
        names = (organization, team, user, app, cost_center, "group", provider, model)
        self.add("decide", self.last, at, kind, *names, hold if kind == "open" else 0, saved, version)
        if state == "ok":
            self.add("settle", self.last, known_by, "group", provider, model, *tokens, cost, fallback, version, prompt_saved, discount, key)
        return self.last

    def correct(self, request, booked, cost, reason="late_record", known_by=1, tokens=(0, 0)):
        self.add("correct", request, us(booked), reason, known_by, *tokens, cost)

    def close(self, before, at):
        self.add("close", us(before), us(at))

    def price(self, table_hash, provider, model, input_pico, cached_pico, output_pico):
        """The version's number, for requests."""
        version = int(table_hash[:12], 16)
        self.add("price", version, table_hash, provider, model, input_pico, cached_pico, output_pico)
        return version

    def write(self, lag=None):
        """lag: how many of the newest requests are left out of the roll-ups."""
        subprocess.run(
            [build_folder() / "bench_ledger_fixture", self.file, *([str(lag)] if lag else [])],
            input="".join(line + "\n" for line in self.lines),
            text=True,
            check=True,
            timeout=120,
        )
        self.lines = []
        return self

    def query(self, sql, *parameters):
        with contextlib.closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)) as db:
            return db.execute(sql, parameters).fetchall()


def ctl(*argv, check=0):
    """tollgatectl with these arguments; fails on another exit status than `check`."""
    done = subprocess.run(
        [build_folder() / "tollgatectl", *map(str, argv)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "TZ": "Pacific/Auckland"},
    )
    assert done.returncode == check, (argv, done.returncode, done.stdout[-2000:], done.stderr)
    return done
