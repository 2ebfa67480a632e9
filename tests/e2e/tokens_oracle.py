"""tiktoken as the oracle: its encodings built from the data in agent/tokens/data, since its own files come from the network.

The patterns and special tokens are those of tiktoken_ext/openai_public.py."""

import functools
import struct
from pathlib import Path

import tiktoken

DATA = Path(__file__).resolve().parents[2] / "agent" / "tokens" / "data"

O200K = "|".join(
    [
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""\p{N}{1,3}""",
        r""" ?[^\s\p{L}\p{N}]+[\r\n/]*""",
        r"""\s*[\r\n]+""",
        r"""\s+(?!\S)""",
        r"""\s+""",
    ]
)
CL100K = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"""
    r"""|\s++$|\s*[\r\n]|\s+(?!\S)|\s"""
)
GPT2 = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""

# Pattern, rank files, and the SHA-256 tiktoken expects of OpenAI's rank file.
ENCODINGS = {
    "o200k_base": (O200K, ["o200k_base"], "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"),
    "cl100k_base": (CL100K, ["cl100k_base"], "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"),
    "p50k_base": (GPT2, ["r50k_base", "p50k_base"], "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"),
    "r50k_base": (GPT2, ["r50k_base"], "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"),
}


def ranks(files):
    """{token bytes: rank} of .tkv files (agent/tokens/data/README.md), in rank order."""
    found = {}
    for name in files:
        data = (DATA / f"{name}.tkv").read_bytes()
        assert data[:4] == b"TKV1"
        first, count = struct.unpack_from("<II", data, 4)
        at = 12 + count
        for rank, length in enumerate(data[12:at], first):
            if length:
                found[data[at : at + length]] = rank
            at += length
        assert at == len(data)
    return found


@functools.cache
def encoding(name):
    pattern, files, _ = ENCODINGS[name]
    return tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks(files), special_tokens={})
