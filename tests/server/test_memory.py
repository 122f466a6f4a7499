"""
What a server keeps of agents and tunnels that are idle: bytes of its own objects, as tracemalloc counts them.

The same each time to the byte, with one release of Python: so the bounds are 30 % above. What the process
takes beyond these is in docs/performance.md.
"""

import json
import subprocess
import sys
from pathlib import Path

from tests.server.admin.node import ApiNode

ROOT = Path(__file__).parents[2]


def test_bytes_of_a_tunnel_a_session_and_a_stream():
    """2.9 KB, 4.8 KB and, both ends together, 1.8 KB."""
    program = [sys.executable, "-m", "tests.server.kept_memory"]
    done = subprocess.run(program, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    kept = json.loads(done.stdout)
    assert kept["tunnel"] < 3700
    assert kept["session"] < 6200
    assert kept["stream"] < 2300


def test_sessions_and_tunnels_that_begin_and_end_are_counted():
    node = ApiNode()
    _, pair = node.open("ann", "blog", "shop")
    assert (node.agents.turnover, node.tunnels.turnover) == (1, 2)
    pair.agent.close("done")
    pair.pump()
    assert (node.agents.turnover, node.tunnels.turnover) == (2, 4)
