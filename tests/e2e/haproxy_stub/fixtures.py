"""Fixtures for the tests of HAProxy's side; imported by name where they are used."""
import pytest

from .gateway import Gateway, build_write_plan


@pytest.fixture(scope="session")
def write_plan(tmp_path_factory):
    return build_write_plan(tmp_path_factory.mktemp("write_plan"))


@pytest.fixture(scope="module")
def shared_gateway(write_plan):
    # `hasty` is for answers that never come: only they may meet a limit. `off` is never there.
    hasty = {"first_byte_plain_ms": 1000, "first_byte_stream_ms": 1000}
    with Gateway(write_plan, groups=("a", "b", "hasty", "off"), group_plan={"hasty": hasty}) as g:
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
        p.script, p.requests, p.closed_by_peer = answer(), [], 0
    # What earlier requests still send does not count.
    earlier = {args["id"] for args in g.agent.seen}
    g.settle.ignored |= earlier
    g.ring.ignored |= earlier
    g.agent.seen, g.ring.lines, g.ring.raw = [], [], []
    g.settle.forget()
    return g
