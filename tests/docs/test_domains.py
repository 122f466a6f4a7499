"""docs/domains.md: its examples are possible."""

import re
import shlex
import textwrap
import tomllib
from pathlib import Path

from burrow.certificates.acme.demand import PAUSE
from burrow.certificates.acme.limits import DEMANDED, DEMANDED_PART
from burrow.client.several import tunnel_requests
from burrow.client.tunnels_file import read_tunnels
from burrow.protocols.domain import MAX_DOMAINS
from burrow.server.domains import RECORD
from burrow.server.hosts import Hosts
from burrow.server.names import check_name

TEXT = (Path(__file__).parents[2] / "docs" / "domains.md").read_text(encoding="utf-8")


def test_the_command():
    (line,) = re.findall(r"^    (burrow http 3000 --domain .*)$", TEXT, re.MULTILINE)
    domain = shlex.split(line)[-1]
    assert [each.name for each in tunnel_requests("http", "3000", None, {"domain": [domain]})] == [domain]
    assert f"`{RECORD}.{domain}`" in TEXT
    assert f"up to {MAX_DOMAINS} times" in TEXT


def test_bounds():
    assert f"So {DEMANDED} new hosts" in TEXT
    assert f"({45 // DEMANDED_PART} of the 45" in TEXT
    assert PAUSE == 60.0
    (line,) = re.findall(r"^    (burrow http 3000 --name .*)$", TEXT, re.MULTILINE)
    assert check_name(shlex.split(line)[-1], Hosts("example.com")) == "*.blog"


def test_the_table():
    (table,) = re.findall(r"^    \[tunnels\.shop\]\n(?:    .*\n)+", TEXT, re.MULTILINE)
    found = read_tunnels(tomllib.loads(textwrap.dedent(table))["tunnels"], "the docs")
    assert [each.name for each in found.values()] == ["shop", "shop.example.org", "www.example.org"]
