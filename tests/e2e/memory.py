"""What a core file of a process would hold, read from the living process as root: every private mapping that is not kept out of
cores (MADV_DONTDUMP), and the registers and stacks of a moment. Places are told by mapping and offset, never by what stands there."""

import base64
import contextlib
import json
import os
import re
import signal
import time
import urllib.parse
from pathlib import Path

SECRETS_LONGER_THAN = 12  # bytes: shorter ones would be found by chance


def forms(text):
    """Spellings of a secret: as it stands, escaped for JSON and for URLs, in base64 at each of its three alignments (Basic authentication puts
    a name before it) and in hexadecimal."""
    raw = text.encode() if isinstance(text, str) else text
    found = {raw, raw.hex().encode(), raw.hex().upper().encode()}
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).rstrip(b"=")
        core = encoded[4 if shift else 0 : -2]
        found |= {core, core.replace(b"+", b"-").replace(b"/", b"_")}
    if isinstance(text, str):
        found |= {json.dumps(text)[1:-1].encode(), text.replace("/", "\\/").encode(), urllib.parse.quote(text, safe="").encode()}
    return {form for form in found if len(form) > SECRETS_LONGER_THAN}


def key_forms(private):
    """The secret numbers of an RSA key, as bytes and in the order OpenSSL keeps them in memory."""
    numbers = private.private_numbers()
    for n in (numbers.d, numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp):
        size = (n.bit_length() + 7) // 8
        yield n.to_bytes(size, "big")[1:-1]
        yield n.to_bytes(size, "little")[1:-1]


def at_rest(task):
    try:
        return re.search(r"^State:\s+[TtXZ]", (task / "status").read_text(), re.M) is not None
    except OSError:  # the thread has ended
        return True


def may_look_inside():
    """Whether /proc shows us the inside of a process that has made itself undumpable."""
    effective = re.search(r"^CapEff:\s+(\w+)$", Path("/proc/self/status").read_text(), re.M)[1]
    return bool(int(effective, 16) >> 19 & 1)  # CAP_SYS_PTRACE


def environment(pid):
    """What another process of the same user, or root, can read of the environment: nothing, when that is refused."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except PermissionError:
        assert not may_look_inside()
        return b""


@contextlib.contextmanager
def stopped(pid):
    """Stands still while it is read, so that nothing moves from one mapping to another meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        end = time.monotonic() + 60
        while any(not at_rest(task) for task in Path(f"/proc/{pid}/task").iterdir()):
            assert time.monotonic() < end, "the process did not stop"
            time.sleep(0.001)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def mappings(pid):
    """(start, end, permissions, name, flags) of each mapping."""
    found, head = [], re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)$")
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if match := head.match(line):
            found.append([int(match[1], 16), int(match[2], 16), match[3], match[4], set()])
        elif line.startswith("VmFlags:"):
            found[-1][4] = set(line.split()[1:])
    return found


def everything(mapping):
    _, _, permissions, name, _ = mapping
    return permissions[0] == "r" and permissions[3] == "p" and name not in ("[vvar]", "[vdso]", "[vsyscall]")


def in_core(mapping):
    return everything(mapping) and "dd" not in mapping[4]


def contents(pid, wanted=in_core):
    """[(mapping, bytes)] of all that is `wanted`, as it stood at one moment; pages of zeros are left out."""
    found = []
    with stopped(pid), open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for mapping in mappings(pid):
            if not wanted(mapping):
                continue
            with contextlib.suppress(OSError):  # guard pages
                found.append((mapping, read(memory, mapping[0], mapping[1])))
    return found


def read(memory, start, end):
    data = bytearray()
    for at in range(start, end, 1 << 20):
        memory.seek(at)
        piece = memory.read(min(1 << 20, end - at))
        if piece.count(0) != len(piece):
            data += piece
    return data


def search(pieces, wanted):
    """{name: [mapping]} of `wanted` ({name: forms}) in contents()."""
    found = {}
    for name, spellings in wanted.items():
        for mapping, data in pieces:
            if any(spelling in data for spelling in spellings):
                found.setdefault(name, []).append(mapping[3] or f"{mapping[0]:x}")
    return found


def kept_out(pid):
    """Mappings that no core holds, and how many of them are also locked."""
    marked = [mapping for mapping in mappings(pid) if "dd" in mapping[4]]
    return len(marked), sum("lo" in mapping[4] for mapping in marked)
