"""docs/domains.md: its examples are possible."""

import re
import shlex
import textwrap
import tomllib
from pathlib import Path

from burrow.client.several import tunnel_requests
from burrow.client.tunnels_file import read_tunnels
from burrow.protocols.domain import MAX_DOMAINS
from burrow.server.domains import RECORD

TEXT = (Path(__file__).parents[2] / "docs" / "domains.md").read_text(encoding="utf-8")


def test_the_command():
    (line,) = re.findall(r"^    (burrow http 3000 --domain .*)$", TEXT, re.MULTILINE)
    domain = shlex.split(line)[-1]
    assert [each.name for each in tunnel_requests("http", "3000", None, {"domain": [domain]})] == [domain]
    assert f"`{RECORD}.{domain}`" in TEXT
    assert f"up to {MAX_DOMAINS} times" in TEXT


def test_the_table():
    (table,) = re.findall(r"^    \[tunnels\.shop\]\n(?:    .*\n)+", TEXT, re.MULTILINE)
    found = read_tunnels(tomllib.loads(textwrap.dedent(table))["tunnels"], "the docs")
    assert [each.name for each in found.values()] == ["shop", "shop.example.org", "www.example.org"]
