"""Each example of docs/policies.md is a command line that Burrow takes, and makes a policy."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from burrow.cli.main import make_parser
from burrow.client.tunnels import tunnel_request
from burrow.client.tunnels_file import read_tunnels
from burrow.protocols.access import ACCESS
from burrow.protocols.visits import NO_POLICIES, VISITS, policies, settled
from burrow.server.opening import read_given
from burrow.wording import COMMAND_LINE

DOCS = (Path(__file__).parents[2] / "docs" / "policies.md").read_text()
EXAMPLES = [line.strip() for line in DOCS.splitlines() if line.startswith("    burrow http ")]


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_makes_a_policy(example):
    parsed = vars(make_parser().parse_args(shlex.split(example)[1:]))
    given = {each.key: parsed[each.name] for each in VISITS if parsed.get(each.name)}
    request = tunnel_request("http", parsed["upstream"], None, given, COMMAND_LINE)
    sent = json.loads(json.dumps(request.sent()))  # as the server gets it
    options = settled(request.kind, read_given(request.kind, sent), str(request.upstream))
    assert policies(request.kind, options) != NO_POLICIES or "preserve" in example


def test_file_makes_a_policy():
    blocks = re.findall(r"(?:^    .*\n|^\n)+", DOCS, re.MULTILINE)
    (text,) = [one for block in blocks if "[[tunnels" in (one := re.sub(r"(?m)^    ", "", block))]
    table = tomllib.loads(text)["tunnels"]
    table["shop"]["upstream"] = 3000
    tables = read_tunnels(table, "config.toml")["shop"].options["policy"]
    assert [each.explained() for each in tables] == [
        "requests for /old/*, /older/* are sent to /new/* (308)",
        "requests by PUT, DELETE from 198.51.100.0/24 are answered with 403 Not from there.",
    ]


def test_every_option_is_described():
    assert len(EXAMPLES) > 3
    for each in (option for option in VISITS if option not in ACCESS):  # those are in docs/access.md
        described = each.flag in DOCS or each.flag.startswith("--response-header-")
        assert described, each.flag
