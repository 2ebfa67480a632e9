"""The generated files as HAProxy itself judges them, alone and beside a user's own configuration."""
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

import pytest
from haproxy_stub.fixtures import write_plan  # noqa: F401
from haproxy_stub.gateway import ROOT, Gateway, free_port
from haproxy_stub.provider import answer

VERSIONS = {"system": "haproxy", **{p.parent.name: str(p) for p in sorted((ROOT / ".cache/haproxy").glob("*/haproxy"))}}
DEBIAN = """
global
    log /dev/log local0
    stats timeout 30s
    maxconn 1000
defaults
    log global
    mode http
    option httplog
    option dontlognull
    timeout connect 5000
    timeout client 50000
    timeout server 50000
frontend users_own
    bind 127.0.0.1:%d
    http-request return status 200 content-type text/plain string untouched
"""


def plan(folder, lua, more=""):
    return (f"bind 127.0.0.1:{free_port()}\nconf_dir {folder}\nrun_dir {folder}\nspop_address unix@{folder}/spop.sock\n"
            f"ring_address unix@{folder}/ring.sock\nsettle_socket {folder}/settle.sock\nlua {lua}\n{more}"
            "group openai\nurl https://localhost/v1\nheader openai-organization org-1\n"
            "group azure\nurl https://127.0.0.1/openai/deployments/<model>\nserver_name x.openai.azure.com\nquery api-version=2024-06-01\n"
            "auth api-key\ngroup local\nurl http://[::1]:8080/v1\n")


@pytest.mark.parametrize("lua", [0, 1])
@pytest.mark.parametrize("version", VERSIONS)
def test_valid_without_warnings(write_plan, version, lua):  # noqa: F811
    with tempfile.TemporaryDirectory(prefix="tg-hap-") as folder:  # short: it will hold sockets
        check_valid(write_plan, pathlib.Path(folder), version, lua)


def check_valid(write_plan, folder, version, lua):  # noqa: F811
    assert subprocess.run([write_plan, folder], input=plan(folder, lua), text=True).returncode == 0
    base = folder / "haproxy.cfg"
    base.write_text(DEBIAN % free_port())
    for files in ([folder / "tollgate.cfg"], [base, folder / "tollgate.cfg"]):
        args = [VERSIONS[version], "-c"]
        for f in files:
            args += ["-f", f]
        out = subprocess.run(args, text=True, capture_output=True)
        assert out.returncode == 0 and "WARNING" not in out.stderr and "ALERT" not in out.stderr, out.stderr


def test_beside_a_users_own_configuration(write_plan):  # noqa: F811
    port = free_port()
    with Gateway(write_plan, before=DEBIAN % port) as g:
        g.allow()
        body = b"b" * 250000
        assert g.request(body)[0] == 200 and g.providers["a"].requests[0].body == body
        with socket.create_connection(("127.0.0.1", port)) as s:
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            got = b""
            while piece := s.recv(4096):
                got += piece
        assert got.endswith(b"untouched") and b"x-tollgate" not in got


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the root folder and the user needs root")
def test_in_a_chroot_as_another_user(write_plan):  # noqa: F811
    """As Debian runs HAProxy: started by root, locked into a folder, as a user of its own."""
    root = pathlib.Path(tempfile.mkdtemp(prefix="tgc"))
    try:
        root.chmod(0o755)
        (root / "run").mkdir()
        before = f"global\n    chroot {root}\n    user nobody\n"
        with Gateway(write_plan, before=before, plan={"run_dir": "/run", "chroot": root, "user": "nobody", "settle_socket": "/settle.sock"}) as g:
            g.loop.run(g.settle.stop())
            g.settle.path = str(root / "settle.sock")
            g.loop.run(g.settle.start())
            os.chmod(g.settle.path, 0o666)
            g.providers["a"].script = answer(500)
            g.allow_with_fallback(pedit="1,0,4:1234", pdelta=4)
            status, headers, _ = g.request()
            assert status == 200 and headers["x-tollgate-provider"] == "b"
            assert g.record()["id"] == headers["x-tollgate-request-id"]
            socket_file = (root / "run" / "tg-primary.sock").stat()
            assert socket_file.st_mode & 0o777 == 0o600 and socket_file.st_uid != 0
    finally:
        shutil.rmtree(root)


@pytest.mark.parametrize("more", ["user a b\n", "stall_ms 5\n"])
def test_refused_plans_write_nothing(write_plan, tmp_path, more):  # noqa: F811
    out = subprocess.run([write_plan, tmp_path], input=plan(tmp_path, 1, more), text=True, capture_output=True)
    assert out.returncode == 1 and out.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize("example", ["full", "variables-only"])
@pytest.mark.parametrize("version", VERSIONS)
def test_shipped_examples_load(tmp_path, version, example):
    """With the folders and hosts of this machine in place of those of the example."""
    here = ROOT / "haproxy"
    own = here / "examples" / example
    config = own / "tollgate.cfg" if (own / "tollgate.cfg").exists() else here / "tollgate.cfg"
    places = {"/etc/haproxy/tollgate": str(tmp_path), "api.openai.com": "localhost", "example.openai.azure.com": "localhost",
              "/var/lib/haproxy": str(tmp_path), "user haproxy": "user nobody", "group haproxy": "group root"}
    (tmp_path / "run").mkdir()
    for source, target in ((own / "haproxy.cfg", "haproxy.cfg"), (config, "tollgate.cfg"), (here / "tollgate-spoe.conf", "tollgate-spoe.conf"),
                           (here / "lua/tollgate.lua", "tollgate.lua")):
        text = source.read_text()
        for old, new in places.items():
            text = text.replace(old, new)
        (tmp_path / target).write_text(text)
    out = subprocess.run([VERSIONS[version], "-c", "-f", tmp_path / "haproxy.cfg", "-f", tmp_path / "tollgate.cfg"], text=True, capture_output=True)
    assert out.returncode == 0 and "WARNING" not in out.stderr and "ALERT" not in out.stderr, out.stderr
