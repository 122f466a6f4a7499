"""Each example of docs/policies.md is a command line that Burrow takes, and makes a policy."""

import json
import shlex
from pathlib import Path

import pytest

from burrow.cli.main import make_parser
from burrow.client.tunnels import tunnel_request
from burrow.protocols.visits import NO_POLICIES, VISITS, policies, settled
from burrow.server.opening import read_given

DOCS = (Path(__file__).parents[2] / "docs" / "policies.md").read_text()
EXAMPLES = [line.strip() for line in DOCS.splitlines() if line.startswith("    burrow http ")]


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_makes_a_policy(example):
    parsed = vars(make_parser().parse_args(shlex.split(example)[1:]))
    given = {each.key: parsed[each.name] for each in VISITS if parsed.get(each.name)}
    request = tunnel_request("http", parsed["upstream"], None, given, flags=True)
    sent = json.loads(json.dumps(request.sent))  # as the server gets it
    options = settled(request.kind, read_given(request.kind, sent), str(request.upstream))
    assert policies(request.kind, options) != NO_POLICIES or "preserve" in example


def test_every_option_is_described():
    assert len(EXAMPLES) > 3
    for each in VISITS:
        described = each.flag in DOCS or each.flag.startswith("--response-header-")
        assert described, each.flag
