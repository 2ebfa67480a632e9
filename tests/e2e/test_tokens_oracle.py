"""Our counts against tiktoken's: 100,000 generated texts for each encoding, and every assigned code point in two contexts.

The texts are the same on every run (fixed seed; another one in TOLLGATE_SEED). What counts is
`tollgatectl count --raw --encoding NAME`, which reads NUL-separated texts and prints one count a line."""

import base64
import functools
import hashlib
import os
import random
import subprocess
import unicodedata

import pytest

from machine import build_folder
from tokens_oracle import ENCODINGS, encoding, ranks

COUNT = (build_folder() / "tollgatectl", "count")
TEXTS = 100_000
ALPHABET = (
    "aAbBzZ'sStT reveREllLL\u017f  \n\r\t019/!?.,-_\u00e9\u00c9\u01c5\u02b0\u4e2d\u0301\u0e31\u0660\u00a0\u3000\u2028\ufeff"
    "\u200b\U0001f600\U0001d400\u00aa\u2019"
)
WORDS = (
    "the of to and in that it is was for on are as with his they at be this from have or by one had not but what all were when "
    "we there can an your which their said if do will each about how up out them then she many some so these would other into "
    "has more her two like him see time could no make than first been its who now people my made over did down only way find use "
    "HTTPServer camelCase snake_case don't I'll WE'RE x86_64 naïve façade Übergröße мир Привет 漢字 日本語 สวัสดี مرحبا שלום 한국어 हिन्दी "
    "return; #include <stdio.h> {\"key\": 12.5} https://example.org/a?b=c 1,234,567.89 ... --- === //// /* */ </div> \u00bd \u2167"
).split(" ")


def count(name, texts, *options):
    data = "\0".join(texts).encode() + b"\0"
    done = subprocess.run([*COUNT, "--raw", "--encoding", name, *options], input=data, stdout=subprocess.PIPE, check=True)
    return [int(line) for line in done.stdout.splitlines()]


def tokens_as_text(name):
    found = []
    for token in ranks(ENCODINGS[name][1]):
        try:
            text = token.decode()
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            found.append(text)
    return found


@functools.cache
def generated(name):
    """Texts that lie where mistakes would: between classes, inside tokens, at ends, and ordinary ones."""
    r = random.Random(f"{os.environ.get('TOLLGATE_SEED', '1')} {name}")
    tokens = tokens_as_text(name)

    def anything():
        return chr(r.choice((r.randint(1, 0x7F), r.randint(0x80, 0x7FF), r.randint(0x800, 0xD7FF), r.randint(0x10000, 0x1FFFF))))

    def text():
        kind = r.random()
        if kind < 0.35:
            return "".join(r.choices(ALPHABET, k=r.randint(1, 30)))
        if kind < 0.6:
            return "".join(r.choice(tokens) for _ in range(r.randint(1, 8)))
        if kind < 0.7:
            return r.choice(ALPHABET) * r.randint(1, 150) + r.choice(ALPHABET)
        if kind < 0.8:
            token = r.choice(tokens)
            return (token * r.randint(1, 12))[r.randint(0, 3) : -1 - r.randint(0, 3)]
        if kind < 0.9:
            return "".join(anything() for _ in range(r.randint(1, 20)))
        return r.choice((" ", " ", "  ", "\n")).join(r.choices(WORDS, k=r.randint(1, 40)))

    return [text() for _ in range(TEXTS)]


@functools.cache
def code_points():
    """Every assigned code point (and one of 64 of the others) in two contexts, 16 of them in one text."""
    texts, some = [], []
    for c in range(1, 0x110000):
        if 0xD800 <= c < 0xE000 or (unicodedata.category(chr(c)) in ("Cn", "Co") and c % 64):
            continue
        x = chr(c)
        some.append(f"aB{x}cD 1{x}'s \u00b7 {x} x{x}{x}!\n{x}Q\n")
        if len(some) == 16:
            texts.append("".join(some))
            some = []
    return [*texts, "".join(some)]


def compare(name, texts, *options):
    oracle = encoding(name)
    expected = [len(tokens) for tokens in oracle.encode_ordinary_batch(texts, num_threads=2)]
    got = count(name, texts, *options)
    assert len(got) == len(expected)
    wrong = [(t, e, g) for t, e, g in zip(texts, expected, got) if e != g]
    assert not wrong, f"{len(wrong)} of {len(texts)} differ; text, tiktoken, ours: {wrong[:5]!r}"


@pytest.mark.parametrize("name", ENCODINGS)
def test_data_is_openais(name):
    _, files, expected = ENCODINGS[name]
    lines = [b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ranks(files).items()]
    assert hashlib.sha256(b"".join(lines)).hexdigest() == expected


@pytest.mark.parametrize("name", ENCODINGS)
def test_generated_texts(name):
    compare(name, generated(name))


@pytest.mark.parametrize("name", ENCODINGS)
def test_long_texts(name):
    """Longer than what is looked at in one go: generated texts joined, and the same without all that is not ASCII."""
    texts = generated(name)[:30_000]
    joined = ["".join(texts[i : i + 100]) for i in range(0, len(texts), 100)]
    compare(name, joined + [text.encode("ascii", "ignore").decode() for text in joined])


@pytest.mark.parametrize("name", ENCODINGS)
def test_rows_of_one_sign(name):
    """There are tokens of many lengths of such signs: the encoding of a row is told only from its end."""
    r = random.Random(f"rows {name}")
    signs, lengths = "-=*/# \t\n_.~+\u2550\u2500\u00a0\u3000", [*range(60, 140), 200, 255, 256, 257, 400, 1000, 1023, 1024, 1025, 4096]
    texts = [sign * n + "a" for sign in signs for n in lengths]
    texts += ["".join(r.choice(signs) * r.randint(1, 300) for _ in range(20)) for _ in range(500)]
    compare(name, [*texts, ("-" * 1024 + "a") * 20])
    compare(name, texts, "--no-cache")


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_code_point(name):
    compare(name, code_points())


def test_special_tokens_are_ordinary_text():
    texts = ["<|endoftext|>", "a<|fim_prefix|>b", "<|start|>system<|message|>x<|end|>", "<|endofprompt|>"]
    for name in ENCODINGS:
        compare(name, texts)
    assert count("o200k_harmony", texts) == count("o200k_base", texts)


@functools.cache
def sample(name):
    """Texts for the other code paths, and what the fastest one says."""
    texts = generated(name) + code_points()
    return texts, count(name, texts)


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("path", ["portable", "sse2", "avx2", "avx512"])
def test_every_code_path_agrees(name, path):
    """What the fastest path of this machine counted was compared above; the others must say the same, with caches and without."""
    texts, expected = sample(name)
    try:
        got = count(name, texts, "--path", path)
    except subprocess.CalledProcessError:
        pytest.skip(f"this machine has no {path}")
    assert got == expected
    assert count(name, texts, "--path", path, "--no-cache") == expected
