"""tollgatectl count: what a body would be held for, part by part, and plain counts for scripts. Nothing runs beside it."""

import json
import subprocess

import pytest

from machine import PATIENCE, build_folder


def count(*arguments, data=b"", code=0):
    done = subprocess.run(
        [build_folder() / "tollgatectl", "count", *arguments], input=data, capture_output=True, timeout=PATIENCE
    )
    assert done.returncode == code, done.stderr
    if code:
        assert done.stdout == b"" and done.stderr
    return done.stdout.decode() if code == 0 else done.stderr.decode()


def chat(*messages, **fields):
    return json.dumps({"model": "gpt-4o-mini", "messages": list(messages), **fields}).encode()


HELLO = chat({"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello world"}, max_tokens=100)


def test_part_by_part():
    answer = json.loads(count("--json", data=HELLO))
    parts = [(part["message"], part["part"], part["tokens"]) for part in answer["parts"]]
    assert (1, "content", 2) in parts and (0, "role", 1) in parts
    # OpenAI's rule: 3 for each message and 3 for the answer; "Be brief." is 3 tokens.
    assert answer["input"] == sum(tokens for _, _, tokens in parts) + 2 * 3 + 3 == 3 + 2 + 2 + 9
    assert answer["input_held"] == answer["input"]
    assert (answer["exactness"], answer["encoding"], answer["choices"]) == ("documented", "o200k_base", 1)
    assert answer["output_ceiling"] == 100
    # gpt-4o-mini: 150 and 600 nano-dollars a token.
    assert answer["hold_nano"] == answer["input"] * 150 + 100 * 600


def test_the_text_form_names_every_part():
    text = count(data=HELLO)
    assert text.startswith("model gpt-4o-mini, encoding o200k_base\n")
    assert [line.split()[1] for line in text.splitlines()[2:6]] == ["role", "content", "role", "content"]
    assert "hold: $" in text


def test_from_a_file(tmp_path):
    file = tmp_path / "body.json"
    file.write_bytes(HELLO)
    assert count(file) == count(data=HELLO) == count("-", data=HELLO)


@pytest.mark.parametrize("name", ['a"b\\c', "new\nline\ttab", "\x1b[31mred", "größe 😀", '","input":0,"x":"'])
def test_json_stays_json_whatever_the_model_is_called(name):
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": "x"}], "max_tokens": 5}).encode()
    answer = json.loads(count("--json", data=body))
    assert answer["model"] == name
    assert answer["input"] > 0 and "hold_nano" not in answer
    assert "\x1b" not in count(data=body)


def test_an_estimate_holds_more_than_it_counts():
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {}}}}}]
    answer = json.loads(count("--json", data=chat({"role": "user", "content": "hi"}, tools=tools)))
    assert answer["exactness"] == "estimated" and answer["input_held"] > answer["input"]
    assert "tools" in [part["part"] for part in answer["parts"]]


def test_other_endpoints():
    body = json.dumps({"model": "text-embedding-3-small", "input": "hello world"}).encode()
    answer = json.loads(count("--json", "--endpoint", "/v1/embeddings", data=body))
    assert (answer["input"], answer["exactness"]) == (2, "exact")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "400"),
        (b"hello", "400"),
        (HELLO[:-20], "400"),
        (b'{"model":"gpt-4o","model":"x","messages":[]}', "model"),
        (b'{"messages":[{"role":"user","content":"x"}]}', "model"),
        (b'{"model":"gpt-4o","messages":[{"role":"user","content":"\xff"}]}', "400"),
        (b'{"model":"gpt-4o","x":' + b"[" * 100000 + b"}", "400"),
    ],
)
def test_what_the_gateway_would_refuse_is_refused(body, says):
    error = count("--json", data=body, code=1)
    assert "the gateway would answer" in error and says in error


def test_wrong_arguments(tmp_path):
    assert "there is no encoding nonsense" in count("--encoding", "nonsense", data=HELLO, code=1)
    assert "there is no endpoint /v1/nothing" in count("--endpoint", "/v1/nothing", data=HELLO, code=1)
    assert "cannot read" in count(tmp_path / "missing.json", code=1)
    assert "cannot read" in count(tmp_path, code=1)
    config = tmp_path / "tollgate.yaml"
    config.write_text("models: 7\n")
    assert "tollgate.yaml" in count("--config", config, data=HELLO, code=1)
    assert "unexpected argument b" in count("a", "b", code=2) and "unknown option --wrong" in count("--wrong", code=2)


def test_raw_counts_one_text_a_line():
    texts = ["hello world", "", "a\nb", "größe 😀", "<|endoftext|>", "x" * 100000]
    lines = count("--raw", "--encoding", "o200k_base", data="\0".join(texts).encode()).split("\n")
    counts = [int(line) for line in lines[:-1]]
    assert lines[-1] == "" and len(counts) == len(texts)
    assert counts[:3] == [2, 0, 3] and counts[4] > 1 and counts[5] > 1000


def test_raw_ends():
    raw = ("--raw", "--encoding", "cl100k_base")
    assert count(*raw) == ""
    assert count(*raw, data=b"a") == count(*raw, data=b"a\0") == "1\n"
    assert count(*raw, data=b"a\0\0b") == "1\n0\n1\n"


def test_raw_bad_input():
    assert "there is no encoding nonsense" in count("--raw", "--encoding", "nonsense", data=b"a", code=1)
    # Bytes that are not UTF-8 count as U+FFFD, as everywhere.
    assert count("--raw", data=b"\xff") == count("--raw", data="\ufffd".encode())


def test_raw_every_code_path_and_no_cache():
    texts = "\0".join(["the quick brown fox", "größe 漢字 😀", "x" * 3000, "the quick brown fox"]).encode()
    expected = count("--raw", data=texts)
    assert count("--raw", "--no-cache", data=texts) == expected == count("--raw", "--path", "portable", "-", data=texts)
    assert "there is no code path nonsense" in count("--raw", "--path", "nonsense", data=texts, code=1)
    assert "go with --raw" in count("--no-cache", data=HELLO, code=2)


def test_raw_from_a_file(tmp_path):
    file = tmp_path / "texts"
    file.write_bytes(b"hello world\0a")
    assert count("--raw", file) == "2\n1\n"
    assert "cannot read" in count("--raw", tmp_path, code=1)
    assert "cannot read" in count("--raw", tmp_path / "missing", code=1)


CONFIG = """\
listen: {{spop: ["127.0.0.1:1"], settle: unix@/run/none/settle, ring: "127.0.0.1:2", admin: /run/none/admin}}
haproxy: {{bind: [{{address: "127.0.0.1:3"}}], conf_dir: /run/none, runtime_dir: /run/none}}
ledger: {{file: {folder}/ledger.db}}
issuers: [{{issuer: "https://idp.example", audience: [tollgate]}}]
providers: [{{name: openai, url: "https://api.openai.com/v1", credential: {{env: NO_SUCH_KEY}}}}]
models: [{{name: gpt-4o-mini, targets: [{{provider: openai, model: gpt-4o-mini}}], max_output: 70}}]
"""


def test_with_a_configuration_whose_ledger_is_not_there(tmp_path):
    """Neither keys nor a ledger are needed; that nothing learned is in the figures is said on standard error."""
    config = tmp_path / "tollgate.yaml"
    config.write_text(CONFIG.format(folder=tmp_path))
    arguments = [build_folder() / "tollgatectl", "count", "--json", "--config", config]
    done = subprocess.run(arguments, input=HELLO, capture_output=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert b"without what was learned" in done.stderr
    answer = json.loads(done.stdout)
    assert answer["output_ceiling"] == 70 and answer["hold_nano"] == answer["input"] * 150 + 70 * 600
    assert not (tmp_path / "ledger.db").exists()
    assert "404" in count("--config", config, data=HELLO.replace(b"gpt-4o-mini", b"gpt-unknown"), code=1)


CONTRACTS = """\
prices:
  contracts:
    - {name: partner, teams: [partner], models: [gpt-4o-mini], discount: "12.5"}
    - {name: holding, organizations: [holding], providers: [openai], models: [gpt-4o-mini],
       rates: {input: "0.10", cached_input: "0.05", output: "0.40"}}
"""


def test_the_price_of_who_asks(tmp_path):
    """gpt-4o-mini: 150 and 600 nano-dollars a token; the discount is rounded up, for a hold is a bound."""
    config = tmp_path / "tollgate.yaml"
    config.write_text(CONFIG.format(folder=tmp_path) + CONTRACTS)

    def hold(*who):
        answer = json.loads(count("--json", "--config", config, *who, data=HELLO))
        return answer["input"], answer["hold_nano"]

    tokens, listed = hold()
    assert listed == tokens * 150 + 70 * 600 == hold("--team", "other")[1]
    assert hold("--team", "partner")[1] == -(-listed * 875 // 1000)
    assert hold("--organization", "holding")[1] == tokens * 100 + 70 * 400 == hold("--team", "other", "--organization", "holding")[1]
    assert hold("--team", "partner", "--organization", "holding")[1] == -(-listed * 875 // 1000)  # the first contract that matches
    assert "go with a request body" in count("--raw", "--team", "partner", data=b"x", code=2)


def test_a_refusal_cannot_steer_the_terminal(tmp_path):
    config = tmp_path / "tollgate.yaml"
    config.write_text(CONFIG.format(folder=tmp_path))
    body = json.dumps({"model": "\x1b[31mred", "messages": [{"role": "user", "content": "x"}]}).encode()
    error = count("--config", config, data=body, code=1)
    assert "would answer 404" in error and "\x1b" not in error


def test_what_no_target_can_hold_is_refused():
    body = chat({"role": "user", "content": " and so on" * 100000}, max_tokens=5)
    assert "would answer 400" in count("--json", data=body, code=1)
