"""Tests for L{burrow.client.backoff}, L{burrow.client.identity} and L{burrow.client.tunnels}."""

import pytest

from burrow.client.backoff import LATER, LIMIT, PATIENCE, Backoff
from burrow.client.identity import agent_id
from burrow.client.tunnels_file import read_tunnels
from burrow.errors import ConfigError


def test_backoff_grows_to_its_limit_and_relaxes_after_a_while():
    backoff = Backoff(lambda low, high: high)
    delays = [backoff.next() for _ in range(8)]
    assert delays[0] < 0.1
    assert delays == sorted(delays)
    assert delays[-1] == LIMIT
    waited = sum(delays)
    while waited < PATIENCE:
        waited += backoff.next()
    for _ in range(10):
        last = backoff.next()
    assert last == LATER
    backoff.reset()
    assert backoff.next() == delays[0]


def test_backoff_has_jitter():
    assert Backoff(lambda low, high: low).next() < Backoff(lambda low, high: high).next()


def test_agent_id_is_made_once(tmp_path):
    first = agent_id(tmp_path / "new" / "state")
    assert agent_id(tmp_path / "new" / "state") == first
    assert agent_id(tmp_path / "other") != first
    assert [path.name for path in (tmp_path / "new" / "state").iterdir()] == ["agent-id"]


def test_damaged_agent_id_is_replaced(tmp_path):
    (tmp_path / "agent-id").write_text("not an id\n")
    assert len(agent_id(tmp_path)) == 16


def test_agent_id_that_cannot_be_kept(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="XDG_STATE_HOME"):
        agent_id(tmp_path / "file")


def test_tunnels_of_a_file():
    tunnels = read_tunnels(
        {"blog": {"upstream": 3000}, "db": {"kind": "tcp", "upstream": "5432", "port": 20_001, "name": ""}},
        "file",
    )
    assert (tunnels["blog"].name, tunnels["blog"].kind.name, str(tunnels["blog"].upstream)) == (
        "blog",
        "http",
        "http://localhost:3000",
    )
    assert (tunnels["db"].name, tunnels["db"].options["port"]) == (None, 20_001)


@pytest.mark.parametrize(
    "table",
    [{"x": 3000}, {"x": {}}, {"x": {"upstream": 1, "y": 2}}, {"x": {"kind": "pigeon", "upstream": 1}}],
)
def test_wrong_tables_name_themselves(table):
    with pytest.raises(ConfigError, match=r"file: \[tunnels.x\]"):
        read_tunnels(table, "file")
