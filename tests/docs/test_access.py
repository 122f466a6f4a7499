"""docs/access.md: each of its examples makes rules, and names each option."""

import re
import shlex
import textwrap
import tomllib
from pathlib import Path

import pytest

from burrow.client.tunnels import tunnel_request
from burrow.client.tunnels_file import read_tunnels
from burrow.protocols.access import ACCESS, PASS_CREDENTIALS, PASS_PREFLIGHTS
from burrow.protocols.visits import policies
from burrow.server.given import read_given
from burrow.wording import COMMAND_LINE
from tests.policy.authorities import Signed

TEXT = (Path(__file__).parents[2] / "docs" / "access.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?:^    .*\n|^\n(?=    ))+", TEXT, re.MULTILINE)
LINES = [line.strip() for block in BLOCKS for line in block.splitlines() if "burrow http " in line]
TABLES = [textwrap.dedent(block) for block in BLOCKS if "[tunnels." in block]


def made(request):
    """The policy that a server makes of what an agent sends."""
    return policies(request.kind, read_given(request.kind, request.sent("an agent")))


def test_there_are_examples():
    assert len(LINES) > 6
    assert len(TABLES) == 2


@pytest.mark.parametrize("line", LINES)
def test_example_of_the_command_line(line, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca.pem").write_text(Signed("ca", ca=True).pem)
    words = shlex.split(line)
    assert words[:3] == ["burrow", "http", "3000"]
    given, words = {}, words[3:]
    while words:
        key = words.pop(0).removeprefix("--")
        if not words or words[0].startswith("--"):
            given[key] = True
        else:
            given.setdefault(key, []).append(words.pop(0))
    name = given.pop("name", [None])[0]
    many = {option.key for option in ACCESS if option.many}
    given = {key: value if key in many or value is True else value[0] for key, value in given.items()}
    assert made(tunnel_request("http", "3000", name, given, COMMAND_LINE)).usual is not None


@pytest.mark.parametrize("table", TABLES)
def test_example_of_a_file(table):
    (request,) = read_tunnels(tomllib.loads(table)["tunnels"], "the docs").values()
    assert made(request).usual is not None


@pytest.mark.parametrize("option", ACCESS)
def test_each_option_is_there(option):
    words = LINES + TABLES if option not in (PASS_CREDENTIALS, PASS_PREFLIGHTS) else [TEXT]
    assert any(re.search(rf"(--|^){option.key}\b", word, re.MULTILINE) for word in [*words, TEXT])
