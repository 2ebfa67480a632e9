"""Token counting on 64-bit ARM, emulated: its code built by a cross compiler and run by QEMU, against tiktoken, with NEON and portable.

usage: PYTHONPATH=tests/e2e .cache/venv/bin/python tests/cross/aarch64.py BUILD_FOLDER

Needs Debian's gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user. The texts are those of tests/e2e/test_tokens_oracle.py; the
vocabulary images are the build folder's (both machines are little-endian). No part of ./check."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(sys.argv[1]).resolve()
os.environ["TOLLGATE_BUILD"] = str(BUILD)

from test_tokens_oracle import code_points, generated  # noqa: E402
from tokens_oracle import ENCODINGS, encoding  # noqa: E402

SOURCES = [
    *(ROOT / "agent" / "tokens" / f"{name}.c" for name in "cache count merge merge_four scan small text tokenizer window window_neon".split()),
    ROOT / "agent" / "tokens" / "window_starts.c",
    ROOT / "agent" / "base" / "utf8.c",
    ROOT / "tests" / "cross" / "count_raw.c",
]


def built(folder):
    program = Path(folder) / "count_raw"
    command = ["aarch64-linux-gnu-gcc", "-static", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fno-strict-aliasing", "-D_GNU_SOURCE",
               '-DTOKENIZERS_BUILT=""', '-DTOKENIZERS_INSTALLED=""', "-I", ROOT / "agent", *SOURCES, "-o", program]
    subprocess.run(command, check=True)
    return program


def count(program, name, path, caches, texts):
    command = ["qemu-aarch64", program, BUILD / "share" / "tollgate", name, path, caches]
    done = subprocess.run(command, input="\0".join(texts).encode() + b"\0", stdout=subprocess.PIPE, check=True)
    return [int(line) for line in done.stdout.splitlines()]


def main():
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        program = built(folder)
        for name in ENCODINGS:
            texts = generated(name) + code_points()
            texts += ["".join(texts[i : i + 100]) for i in range(0, len(texts), 100)]
            expected = [len(tokens) for tokens in encoding(name).encode_ordinary_batch(texts, num_threads=2)]
            for path in ("neon", "portable"):
                for caches in ("bare", "cached"):
                    got = count(program, name, path, caches, texts)
                    differ = [t for t, e, g in zip(texts, expected, got, strict=True) if e != g]
                    wrong += len(differ)
                    print(f"{name}, {path}, {caches}: {len(differ)} of {len(texts)} differ {differ[:3]!r}", flush=True)
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
