"""Fixtures for the tests of HAProxy's side; imported by name where they are used."""
import pytest

from .gateway import Gateway, build_write_plan


@pytest.fixture(scope="session")
def write_plan(tmp_path_factory):
    return build_write_plan(tmp_path_factory.mktemp("write_plan"))


@pytest.fixture(scope="module")
def shared_gateway(write_plan):
    # HAProxy 3.0 notices an answer that is not HTTP only when the first-byte limit is over: keep that short.
    with Gateway(write_plan, plan={"first_byte_plain_ms": 5000, "first_byte_stream_ms": 5000}) as g:
        yield g


@pytest.fixture
def gateway(shared_gateway):
    """A running gateway of this test module, with nothing recorded yet."""
    from .gateway import SettleReceiver, wait_for
    from .provider import answer
    g = shared_gateway
    g.settle.mute, g.settle.close_after = False, None
    g.allow()
    for p in g.providers.values():
        p.script, p.requests = answer(), []
    # What earlier requests still send does not count.
    earlier = {args["id"] for args in g.agent.seen}
    g.settle.ignored |= earlier
    g.ring.ignored |= earlier
    g.agent.seen, g.settle.records, g.ring.lines, g.ring.raw = [], [], [], []
    return g
