"""
Whole frames of the agent's screen, as text, in C{expected/}. C{BURROW_WRITE_EXPECTED=1} writes them anew;
look at them then.
"""

import os
import time
from pathlib import Path
from unittest.mock import patch

import pytest

from burrow.client.screen import live
from burrow.client.screen.scene import State
from burrow.client.screen.view import _STATES
from burrow.client.wanted import Opened
from burrow.errors import NameTaken
from tests.client.screen.screens import Shown

EXPECTED = Path(__file__).with_name("expected")
SIZES = [(80, 24), (200, 60), (40, 20)]
QUERY = "from=2026-11-01T00:00:00Z&to=2026-11-26T23:59:59Z&page=2&per_page=100&sort=-created"
NOBODY = "Nothing listens on localhost port 3000. Is the service started?"
TAKEN = "another agent with the same token opened https://shop.example.com and has the tunnel now"
TRUST = "Browsers believe these URLs once they trust /home/somebody/.local/state/burrow/up/ca.pem"
LONG = "https://a-long-name-of-a-tunnel." + "sub." * 12 + "example.com:8443"


@pytest.fixture(autouse=True)
def _fixed(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(live, "__version__", "1.2.3")
    yield
    monkeypatch.undo()
    time.tzset()


def busy(shown):
    """Requests of all kinds."""
    shown.open_all()
    shown.agent.visitors = 3
    shown.live.inspector = "http://127.0.0.1:4040"
    shown.request("/", sent=5120)
    shown.request("/static/app.css?v=3", took=0.0008, sent=18_400, at=1)
    shown.request("/login", 302, method="POST", at=2, took=0.08)
    shown.request("/favicon.ico", 404, at=2, sent=9)
    shown.request(f"/api/orders/2026/11/26?{QUERY}", 500, at=3, took=2.4, sent=340, method="DELETE")
    shown.request("/日本語/ページ/とても長いパス/そしてもっと/もっと長い", at=4, sent=2_500_000, took=75)
    visitor = "[2001:db8::1:2:3]:40000"
    shown.request("/\x1b[31mred\x07\r\n%0A\u202e", 400, at=5, method="OPTIONS", visitor=visitor)
    refused = "the upstream refused the connection"
    shown.request("/upload", 502, at=6, method="PUT", error=refused, took=0.0004)
    visitor = "198.51.100.7:1024"
    shown.request("", None, protocol="tcp", method="", at=7, sent=123_456, took=3725, visitor=visitor)
    socket = shown.begin("/chat", at=8)
    socket.status, socket.protocol = 101, "websocket"
    shown.agent.traffic.answered(socket)
    shown.begin("/events", at=9)
    shown.request("/", 304, at=10, took=0.003)


def offline(shown):
    """The connection was lost while requests run."""
    busy(shown)
    shown.frame()
    shown.linked.attached = False
    shown.agent.next_try = shown.clock.seconds() + 7.5
    shown.live.event("disconnected", "cannot reach https://example.com:443: connection refused; trying again")
    shown.frame()
    shown.frame(4)


def opening(shown):
    """A tunnel waits for its certificate; another was refused."""
    shown.agent.linked = shown.linked
    shown.agent.wanted.all[1].refusal = NameTaken("the name shop belongs to somebody else: choose another")
    for _ in range(12):
        shown.frame(1)


def warned(shown):
    """Nothing listens on the upstream, and a notice has come."""
    shown.open_all()
    shown.live._upstreams.warnings[shown.requests[0].upstream] = NOBODY
    shown.live.event("notice", TAKEN)
    shown.live.note = TRUST


def counting(shown):
    """A kind counts things of its own."""
    busy(shown)
    shown.requests[0].kind.counts.update(passed=12_345, refused_writes=6)
    shown.live._tick()


def long_url(shown):
    """A URL that is longer than a narrow terminal."""
    shown.open_all()
    shown.live.opened(Opened(shown.requests[0], "blog", LONG))


FRAMES = {
    "connecting": (["blog"], lambda shown: None, []),
    "busy": (["blog"], busy, []),
    "many": ([f"app{number}" for number in range(30)], busy, ["\t"] * 20),
    "offline": (["blog"], offline, []),
    "opening": (["blog", "shop"], opening, []),
    "warned": (["blog", "shop"], warned, []),
    "long": (["blog"], long_url, []),
    "help": (["blog"], busy, ["?"]),
    "qr": (["blog"], busy, ["q"]),
    "counting": (["blog"], counting, []),
    "filtered": (["blog"], busy, [*"/-status:2xx path:/", "\r"]),
    "typing": (["blog"], busy, [*"/status:5xx me"]),
    "complaint": (["blog"], busy, [*"/status:5xy"]),
    "paused": (["blog"], busy, ["p"]),
    "scrolled": (["blog"], busy, ["\x1b[B"] * 3),
}


def compare(name, text):
    file = EXPECTED / f"{name}.txt"
    if os.environ.get("BURROW_WRITE_EXPECTED"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", FRAMES)
def test_frame(name, size):
    names, prepare, keys = FRAMES[name]
    shown = Shown(*names, size=size)
    prepare(shown)
    shown.press(*keys)
    if name == "paused":
        shown.request("/new")
    compare(f"{name}-{size[0]}x{size[1]}", shown.frame())


@pytest.mark.parametrize(
    ("name", "environ", "encoding"),
    [
        ("no-color", {"TERM": "xterm-256color", "NO_COLOR": "1"}, "utf-8"),
        ("ascii", {"TERM": "xterm"}, "ascii"),
    ],
)
def test_terminals_that_can_less(name, environ, encoding):
    shown = Shown("blog", environ=environ, encoding=encoding)
    busy(shown)
    text = shown.frame()
    colours = [colour for colour in (b"\x1b[31m", b"\x1b[32m", b"[36m") if colour in shown.terminal.written]
    assert bool(colours) == (name != "no-color")
    if encoding == "ascii":
        assert shown.terminal.written.isascii()
        compare("ascii-80x24", text)
    else:
        compare("busy-80x24", text)


def test_every_expected_frame_has_its_test():
    wanted = {f"{name}-{columns}x{lines}" for name in FRAMES for columns, lines in SIZES} | {"ascii-80x24"}
    assert {file.stem for file in EXPECTED.iterdir()} == wanted


def test_states_have_a_style():
    assert set(_STATES) == set(State)


@pytest.mark.parametrize("columns", [1, 2, 5, 13, 20, 33, 59, 60, 81, 110, 400])
@pytest.mark.parametrize("lines", [1, 2, 4, 7, 10, 200])
def test_no_size_is_too_small(columns, lines):
    shown = Shown("blog", "shop", size=(columns, lines))
    offline(shown)
    for key in ("", "?", "q", "\x1b", "/", *"status:5xy"):
        shown.press(key)
        shown.frame()
    with patch.object(live.Painter, "paint") as paint:
        paint.return_value = b""
        shown.live.changed()
        shown.frame()
    drawn = paint.call_args[0][0]
    assert len(drawn) == lines
    assert max(line.cell_len for line in drawn) <= columns
