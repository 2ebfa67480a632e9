"""Token counting against tiktoken: the same texts, in the same run, on one core; then a conversation that is sent again with every
turn, with and without the history cache. Prints tables.

usage: tokens_speed.py BUILD_FOLDER [ENCODING [PATH]]"""

import base64
import json
import pydoc_data.topics
import random
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from tokens_oracle import encoding, ranks, ENCODINGS  # noqa: E402

MB = 1_000_000
SYLLABLES = "ba con de ent er est for gra he in ing ion is ka lo men mi na or pre que re sa st ter the ti tion un ve".split()


def vocabulary(r):
    """Words by rank: real ones first, rare ones made up, as the tail of a real text is."""
    common = (
        "the of and to a in is it you that he was for on are with as I his they be at one have this from or had by hot word but "
        "what some we can out other were all there when up use your how said an each she which do their time if will way about "
        "many then them write would like so these her long make thing see him two has look more day could go come did number "
        "sound no most people my over know water than call first who may down side been now find any new work part take get "
        "place made live where after back little only round man year came show every good me give our under name very through "
        "request budget provider customer account system message answer question report company"
    ).split()
    made = ["".join(r.choices(SYLLABLES, k=r.randint(2, 5))) for _ in range(20000)]
    return common + made


def prose(size):
    """English as it is written: the language reference that comes with Python."""
    return "\n".join(text for _, text in sorted(pydoc_data.topics.topics.items()))[:size]


def code(size):
    """Python's own library."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return "".join(file.read_text(errors="ignore") for file in files)[:size]


def rare_words(r, size):
    """Sentences in which every third word is made up."""
    words = vocabulary(r)
    weights = [1 / (i + 3) for i in range(len(words))]
    out, length = [], 0
    while length < size:
        picked = r.choices(words, weights, k=r.randint(6, 22))
        sentence = " ".join(picked).capitalize() + r.choice((". ", ". ", "? ", ", don't you think? ", ".\n\n"))
        out.append(sentence)
        length += len(sentence)
    return "".join(out)[:size]


def json_text(r, size):
    words = vocabulary(r)[:5000]
    rows, length = [], 0
    while length < size:
        row = json.dumps(
            {"id": r.randint(1, 10**9), r.choice(words): r.choice(words), "price": round(r.random() * 1000, 2), "ok": r.random() < 0.5,
             "tags": r.choices(words, k=3), "at": f"2025-0{r.randint(1, 9)}-{r.randint(10, 28)}T12:00:00Z"}
        )
        rows.append(row)
        length += len(row) + 1
    return "\n".join(rows)[:size]


SCRIPTS = {"cyrillic": (0x400, 0x4FF), "greek": (0x370, 0x3FF), "arabic": (0x600, 0x6FF), "hebrew": (0x590, 0x5FF), "hindi": (0x900, 0x97F),
           "thai": (0xE00, 0xE7F), "hangul": (0xAC00, 0xD7A3), "kana": (0x3040, 0x30FF), "han": (0x4E00, 0x9FFF), "latin": (0xC0, 0x24F)}


def multilingual(r, size):
    """Ten scripts in turn. Words are made of one to three of the vocabulary's own, common ones often, as in real text."""
    lexicons = []
    for low, high in SCRIPTS.values():
        own = []
        for token in ranks(ENCODINGS["o200k_base"][1]):
            text = token.decode(errors="replace").strip()
            if len(text) > 1 and text.isalpha() and any(low <= ord(c) <= high for c in text):
                own.append(text)
        lexicons.append(["".join(r.choices(own[:400], k=r.choice((1, 1, 1, 2, 3)))) for _ in range(200)] + own)
    out, length = [], 0
    while length < size:
        words = r.choice(lexicons)
        for _ in range(r.randint(2, 8)):
            picked = r.choices(words, [1 / (i + 2) for i in range(len(words))], k=r.randint(5, 15))
            sentence = " ".join(picked) + r.choice((". ", "\u3002", "! ", ", ", "\n"))
            out.append(sentence)
            length += len(sentence.encode())
    return cut("".join(out), size)


def cut(text, size):
    return text.encode()[:size].decode(errors="ignore")


def truncated_tokens(r, name, size, separator):
    """Long tokens without their last character: what looks like one token until its end. Letters only: a single piece."""
    long = [t for t in ranks(ENCODINGS[name][1]) if 8 <= len(t) <= 64 and t.isalpha() and t.islower() and t.isascii()]
    out, length = [], 0
    while length < size:
        token = r.choice(long).decode()[:-1] + separator
        out.append(token)
        length += len(token)
    return "".join(out)[:size]


def texts(name):
    r = random.Random(7)
    letters = lambda n: "".join(r.choices("abcdefghijklmnopqrstuvwxyz", k=n))  # noqa: E731
    yield "prose", prose(MB)
    yield "code", code(MB)
    yield "json", json_text(r, MB)
    yield "multilingual", multilingual(r, MB)
    yield "rare words", rare_words(r, MB)
    yield "base64", base64.b64encode(r.randbytes(750_000)).decode()
    yield "letters", letters(MB)
    yield "cjk", cut("".join(chr(r.randint(0x4E00, 0x9FA5)) for _ in range(MB // 3)), MB)
    yield "punctuation", "".join(r.choices("!#$%&()*+,-.:;<=>?@[]^_{|}~", k=MB))
    yield "newlines", "\n" * MB
    yield "blanks", " " * MB
    yield "one letter", "a" * MB
    yield "truncated tokens", truncated_tokens(r, name, MB, "")
    yield "truncated, spaced", truncated_tokens(r, name, MB, " ")
    yield "rulers", ("-" * 1024 + "a") * (MB // 1025)
    yield "rulers of slashes", ("/" * 1024 + "a") * (MB // 1025)
    yield "row of dashes", "-" * MB
    yield "no UTF-8, spaced", b"\xfb\xfb \xe1" * (MB // 4)
    yield "16 MB letters", letters(MB) * 16
    yield "16 MB truncated", truncated_tokens(r, name, 16 * MB, "")
    yield "16 MB blanks", " " * 16 * MB


def by_tiktoken(oracle, text):
    """MB/s, tokens. Texts on which it takes quadratic time or overflows its stack are measured on a part, or not at all."""
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    part = text[:20_000] if len(text) > 100 and " " not in text[:2000].strip() else text
    try:
        start = time.process_time()
        tokens = len(oracle.encode_ordinary(part))
        return len(part.encode()) / MB / (time.process_time() - start), tokens if part == text else None
    except Exception as problem:  # noqa: BLE001 - the core panics on some of these
        return type(problem).__name__, None


def run(program, made, *arguments):
    with tempfile.NamedTemporaryFile() as file:
        for title, text in made:
            data = text if isinstance(text, bytes) else text.encode()
            file.write(title.replace(" ", "_").encode() + b"\0" + str(len(data)).encode() + b"\0" + data)
        file.flush()
        command = [program, file.name, *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()


def conversation(build, name):
    """Forty turns: questions of some lines, answers of some paragraphs, with code in them."""
    r = random.Random(40)
    english, program = prose(MB), code(MB)

    def part(text, low, high):
        start = r.randint(0, len(text) - high)
        return text[start : start + r.randint(low, high)]

    said = []
    for turn in range(40):
        said.append(("question", part(english, 100, 700)))
        said.append(("answer", part(english, 500, 2500) + "\n" + part(program, 0, 1500)))
    lines = run(build / "bench_tokens_conversation", [(who, json.dumps(text)[1:-1]) for who, text in said], name)
    print(f"\n{name}, a conversation of 40 turns; microseconds of CPU to count the request of a turn")
    print(f"{'turn':<20}{'bytes':>10}{'no history':>12}{'history':>10}{'x':>7}")
    rows = [[float(field) for field in line.split()] for line in lines]
    for turn, size, without, with_history in [row for row in rows if row[0] in (1, 2, 5, 10, 20, 30, 40)]:
        print(f"{turn:<20.0f}{size:>10.0f}{without:>12.1f}{with_history:>10.1f}{without / with_history:>7.1f}")
    size, without, with_history = (sum(row[i] for row in rows) for i in (1, 2, 3))
    print(f"{'all':<20}{size:>10.0f}{without:>12.1f}{with_history:>10.1f}{without / with_history:>7.1f}")


def main():
    build, name, path = Path(sys.argv[1]), (sys.argv[2:3] or ["o200k_base"])[0], sys.argv[3:4]
    made = list(texts(name))
    lines = run(build / "bench_tokens_speed", made, name, *path)
    oracle = encoding(name)
    print(f"{name}, {lines[0]}\n{lines[1]}\nMB/s of one core")
    print(f"{'text':<20}{'tiktoken':>10}{'no cache':>10}{'first':>9}{'steady':>9}{'resent':>9}{'x':>7}")
    for (title, text), line in zip(made, lines[2:]):
        _, _, tokens, bare, first, warm, resent = line.split()
        theirs, expected = by_tiktoken(oracle, text)
        assert expected in (None, int(tokens)), f"{title}: {tokens} tokens, tiktoken {expected}"
        shown = f"{theirs:.1f}" if isinstance(theirs, float) else theirs[:9]
        ratio = f"{float(warm) / theirs:.0f}" if isinstance(theirs, float) else ""
        print(f"{title:<20}{shown:>10}{bare:>10}{first:>9}{warm:>9}{resent:>9}{ratio:>7}")
    conversation(build, name)


if __name__ == "__main__":
    main()
