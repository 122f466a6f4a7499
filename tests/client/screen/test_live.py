"""Tests for L{burrow.client.screen.live}, its controls, its rows and its status: what keys and events do."""

import base64
import io
import sys

import pytest

from burrow.client.screen import live
from burrow.client.screen.amounts import duration, number, size, span
from burrow.client.screen.browser import open_browser
from burrow.client.screen.held import KEPT as HELD
from burrow.client.screen.held import HeldErrors, is_same_terminal
from burrow.client.screen.rows import KEPT, MAX_TARGET
from burrow.client.tunnels import TunnelRequest
from burrow.client.wanted import Opened
from tests.client.screen.screens import Shown


@pytest.fixture
def shown():
    shown = Shown("blog", "shop")
    shown.open_all()
    shown.frame()
    return shown


# -- requests -----------------------------------------------------------------------------------------------


def test_a_request_is_shown_from_its_beginning_on(shown):
    record = shown.begin("/slow")
    assert "··· /slow" in shown.frame()
    shown.clock.advance(3)
    assert "3." in shown.frame().split("/slow")[1].split("\n")[0]
    record.status = 200
    shown.agent.traffic.answered(record)
    assert "200 /slow" in shown.frame()
    assert "1 running" in shown.terminal.text
    shown.agent.traffic.ended(record)
    assert "running" not in shown.frame()
    assert "1 request ·" in shown.terminal.text


def test_sums_have_what_runs(shown):
    record = shown.begin()
    record.sent, record.received = 5000, 700
    assert "in 700 B · out 5.0 kB" in shown.frame()
    shown.agent.traffic.ended(record, "it was reset")
    assert "in 700 B · out 5.0 kB" in shown.frame()
    assert "1 failed" in shown.terminal.text
    assert shown.asked[2:] == [shown.requests[0].upstream]  # perhaps nothing listens there any more


def test_what_a_kind_counts_is_shown_though_nothing_else_happens(shown):
    counts = shown.requests[0].kind.counts
    assert "refused" not in shown.frame(1)
    counts["refused"] += 3
    assert "http: 3 refused" in shown.frame(1)
    counts.clear()
    counts["refused"] += 4
    assert "http: 4 refused" in shown.frame(1)
    assert shown.live.close()[-1] == "http: 4 refused"


def test_counts_are_worked_out_once_a_tick(shown, monkeypatch):
    worked_out = []
    monkeypatch.setattr(live, "sentences", lambda counts: worked_out.append(counts) or ["http: 1 refused"])
    for _ in range(10):
        shown.request()
        shown.frame()
    assert "10 requests" in shown.terminal.text
    assert "http: 1 refused" in shown.terminal.text
    assert len(worked_out) == 3  # after 1, 2 and 3 s


def test_memory_is_bounded(shown):
    for _ in range(KEPT + 10):
        shown.request("/" + "x" * 60_000)
    assert shown.live.requests.matching(shown.live._controls.filter) == KEPT
    assert "1,010 requests" in shown.frame()
    newest = shown.live.requests.newest(shown.live._controls.filter, 0, KEPT * 2)
    assert [row.number for row in newest[:2]] == [1010, 1009]
    assert {len(row.target) for row in newest} == {MAX_TARGET}
    assert {row._record for row in newest} == {None}


def test_an_end_without_a_beginning_is_nothing(shown):
    record = shown.begin()
    shown.live.requests._open.clear()
    shown.agent.traffic.ended(record)
    assert shown.live.requests.failed == 0


# -- drawing ------------------------------------------------------------------------------------------------


def test_an_idle_screen_draws_nothing(shown):
    before = shown.terminal.frames
    for _ in range(100):
        shown.clock.advance(1)
    assert shown.terminal.frames == before
    shown.linked.session.pings.last = 0.5
    shown.clock.advance(1)
    shown.clock.advance(0)
    assert shown.terminal.frames == before + 1


def test_a_burst_is_drawn_ten_times_a_second_at_most(shown):
    before = shown.terminal.frames
    for _ in range(1000):
        shown.request()
        shown.clock.advance(0.001)
    assert 3 < shown.terminal.frames - before <= 11
    assert "1,000 requests" in shown.frame(1)


def test_frames_that_cost_much_are_fewer(shown):
    step = iter(range(1000))
    shown.live._cpu = lambda: next(step) / 20  # 50 ms a frame
    before = shown.terminal.frames
    for _ in range(100):
        shown.request()
        shown.clock.advance(0.02)
    assert shown.terminal.frames - before <= 5


def test_a_terminal_that_takes_nothing_gets_no_frame(shown):
    shown.terminal.busy = True
    before = shown.terminal.frames
    for _ in range(100):
        shown.request("/while-it-was-busy")
        shown.clock.advance(0.1)
    assert shown.terminal.frames == before
    shown.terminal.busy = False
    shown.terminal.on_drained()
    assert "/while-it-was-busy" in shown.frame()
    shown.terminal.on_drained()
    assert shown.terminal.frames == before + 1


def test_only_lines_that_changed_are_sent(shown):
    shown.terminal.written = b""
    shown.linked.session.pings.last = 0.5
    shown.frame(1)
    assert b"500 ms" in shown.terminal.written
    assert b"blog" not in shown.terminal.written
    shown.press("\x0c")
    assert b"blog" not in shown.terminal.written
    shown.frame()
    assert b"\x1b[2J" in shown.terminal.written
    assert b"blog" in shown.terminal.written


def test_resize(shown):
    shown.request("/here")
    shown.frame()
    for columns, lines in ((40, 10), (200, 60), (10, 3), (80, 24)):
        shown.terminal.resize(columns, lines)
        text = shown.frame()
        assert max(map(len, text.splitlines())) <= columns
        assert text.count("\n") == lines
    assert "/here" in text


# -- keys ---------------------------------------------------------------------------------------------------


def test_pause(shown):
    shown.request("/before")
    running = shown.begin("/running")
    shown.press("p")
    shown.request("/after")
    text = shown.frame()
    assert "/before" in text
    assert "/after" not in text
    assert "paused  1 new" in text
    running.status = 418
    shown.agent.traffic.ended(running)
    assert "418 /running" in shown.frame()  # what is in it still changes
    shown.press("p")
    assert "/after" in shown.frame()
    assert "paused" not in shown.terminal.text


def test_scrolling(shown):
    for position in range(100):
        shown.request(f"/at/{position}/")
    shown.press("\x1b[B")
    assert "/at/99/" not in shown.frame()
    assert "/at/98/" in shown.terminal.text
    shown.press("\x1b[6~")
    assert "/at/83/" in shown.frame()
    assert "/at/84/" not in shown.terminal.text
    shown.press("\x1b[5~", "\x1b[A", "\x1b[A", "\x1b[A")
    assert "/at/99/" in shown.frame()
    shown.press("\x1b[F")
    assert "/at/0/" in shown.frame()
    shown.press("\x1b[B")
    assert "/at/0/" in shown.frame()
    shown.request("/new")
    assert "/new" not in shown.frame()
    shown.press("\x1b[H")
    assert "/new" in shown.frame()


def test_filter(shown):
    shown.request("/good")
    shown.request("/bad", 503)
    shown.press(*"/status:5xx")
    text = shown.frame()
    assert "/bad" in text
    assert "/good" not in text
    assert "1 match, Enter keeps" in text
    shown.press(*"\x7f\x7f\x7f4xy")
    assert "status:4xy is not possible" in shown.frame()
    shown.press("\x15", *"is:failed", "\r")
    assert "/good" not in shown.frame()
    assert "filter is:failed 1 match" in shown.terminal.text
    shown.press("/", "\x1b")
    shown.frame()
    assert "/good" in shown.frame()
    shown.press(*"/xyz", "\r", "\x1b")
    shown.frame()
    assert "/good" in shown.frame()


def test_keys_of_the_screen_can_be_typed_into_the_filter(shown):
    shown.press(*"/xpqc?o")
    assert "/xpqc?o" in shown.frame()
    assert shown.quits == 0
    shown.press("y" * 600)
    assert len(shown.live._controls.typing) == 500


def test_help(shown):
    shown.press("?")
    assert "QR code of the URL, for a phone" in shown.frame()
    shown.press("?")
    assert "for a phone" not in shown.frame()
    shown.press("?", "\x1b")
    shown.frame()
    assert "for a phone" not in shown.frame()


def test_qr_code(shown):
    shown.press("q")
    assert "█▀▀▀▀▀█" in shown.frame()
    assert "https://blog.example.com" in shown.terminal.text
    shown.press("p")  # any key
    assert "█▀▀▀▀▀█" not in shown.frame()
    assert not shown.live.requests.frozen
    shown.press("\t", "q")
    assert "https://shop.example.com" in shown.frame()
    shown.terminal.resize(28, 10)
    assert "does not fit" in shown.frame()
    shown.press("x")
    assert shown.quits == 1


def test_copy(shown):
    shown.press("c")
    assert b"\x1b]52;c;" + base64.b64encode(b"https://blog.example.com") + b"\x07" in shown.terminal.written
    assert "copied, if" in shown.frame()
    shown.press("\x1b[Z", "c")
    assert base64.b64encode(b"https://shop.example.com") in shown.terminal.written
    assert "copied, if" in shown.frame(3)
    assert "copied" not in shown.frame(5)


def test_nothing_to_copy_yet():
    shown = Shown("blog")
    shown.press("c")
    assert "there is no URL yet" in shown.frame()
    shown.press("q")
    assert "There is no URL yet" in shown.frame()


def test_inspector(shown, monkeypatch):
    shown.press("o")
    assert "there is no inspector" in shown.frame()
    shown.live.inspector = "http://127.0.0.1:4040"
    shown.press("o")
    assert "no browser can be started from here: open http://127.0.0.1:4040" in shown.frame()
    opened = []
    monkeypatch.setattr(live, "open_browser", lambda url, environ: opened.append(url) or True)
    shown.press("o")
    assert opened == ["http://127.0.0.1:4040"]
    assert "Inspector http://127.0.0.1:4040" in shown.frame()


def test_quit(shown):
    shown.press("x")
    shown.press("\x03")
    shown.press("/", "\x03")
    assert shown.quits == 3


def test_a_message_stays_until_escape(shown):
    shown.live.event("notice", "something was \x1b[31mtold")
    assert "something was \\x1b[31mtold" in shown.frame(100)
    shown.press("\x1b")
    shown.frame()
    assert "something" not in shown.frame()


@pytest.mark.parametrize(
    ("urls", "words"),
    [
        (["https://blog.example.com"], "No requests yet: open the URL in a browser"),
        (["https://*.blog.example.com"], "No requests yet: open a host under the URL in a browser"),
        (["tcp://example.com:20000"], "No connections yet: connect to the address above"),
        (["tls://blog.example.com"], "No connections yet: connect to the address above, by TLS"),
        (["udp://example.com:20000"], "No datagrams yet: send one to the address above"),
        (["private://name0"], "No connections yet: `burrow connect name0 --listen PORT` leads here"),
        (["private://blog", "https://shop.example.com"], "No requests yet: open the URL in a browser"),
        (["private://a", "private://b"], "`burrow connect NAME --listen PORT` leads here"),
    ],
)
def test_how_the_first_visitor_comes(urls, words):
    shown = Shown(*(f"name{number}" for number in range(len(urls))))
    shown.open_all()
    for request, url in zip(shown.requests, urls, strict=True):
        shown.live.opened(Opened(request, request.name, url))
    assert words in shown.frame()


def test_a_message_that_is_true_no_more_goes(shown):
    shown.holding.add("visitors come by HTTP/1.1 alone")
    shown.live.event("notice", "visitors come by HTTP/1.1 alone")
    assert "HTTP/1.1 alone" in shown.frame(100)
    shown.holding.clear()
    shown.live.opened(Opened(shown.requests[0], "blog", "https://blog.example.com"))
    assert "HTTP/1.1 alone" not in shown.frame()
    shown.live.event("notice", "visitors come by HTTP/1.1 alone")
    assert "HTTP/1.1 alone" in shown.frame()


def test_what_is_logged_is_shown_for_a_while(shown):
    shown.live.logged("something strange")
    assert "something strange" in shown.frame(20)
    assert "something strange" not in shown.frame(20)
    shown.live._upstreams.warnings["x"] = "Nothing listens on localhost port 3000."
    shown.live.logged("http://localhost:3000: Nothing listens on localhost port 3000.")
    assert "Nothing" not in shown.frame()  # in the place of messages


# -- what is told of the connection -------------------------------------------------------------------------


def test_from_connecting_to_online():
    shown = Shown("blog")
    assert "connecting to https://example.com\n" in shown.frame()
    shown.live.event("disconnected", "cannot reach https://example.com:443: connection refused; trying again")
    shown.agent.next_try = shown.clock.seconds() + 0.3
    assert "connection refused; trying again\n" in shown.frame()
    shown.agent.next_try = shown.clock.seconds() + 6.2
    shown.clock.advance(1)
    assert "refused; next try in 5 s\n" in shown.frame()
    shown.agent.next_try = None
    shown.agent.linked = shown.linked
    shown.live.event("connected", "connected")
    assert "opening" in shown.frame()
    shown.frame(5)
    assert "waiting for the server to open blog, 5 s so far: a new name gets a certificate" in shown.frame()
    shown.open_all()
    assert "online 12 ms" in shown.frame()
    assert "waiting" not in shown.terminal.text


def test_a_lost_connection_is_told_with_what_is_done(shown):
    shown.begin()
    shown.linked.attached = False
    shown.agent.next_try = shown.clock.seconds() + 4
    shown.frame(1)
    assert "connection lost; next try in 3 s; 1 request waits\n" in shown.frame()
    shown.agent.next_try = None
    shown.frame(2)
    assert "connection lost 2 s ago; trying again; 1 request waits\n" in shown.frame()
    shown.linked.attached = True
    shown.frame(1)
    assert "online" in shown.frame()
    assert "lost" not in shown.terminal.text


def test_stopping(shown):
    shown.live.event("stopping", "2 connections may finish within 20 s")
    text = shown.frame()
    assert "stopping" in text.split("\n")[0]
    assert "2 connections may finish within 20 s" in text


def test_close_says_what_was_served(shown):
    shown.request()
    shown.request(status=500)
    shown.clock.advance(75)
    assert shown.live.close() == [
        "https://blog.example.com -> http://localhost:3000",
        "https://shop.example.com -> http://localhost:3001",
        "2 requests, 1 failed in 75 s",
    ]
    assert not shown.terminal.active
    assert not shown.agent.traffic.listening
    assert shown.clock.getDelayedCalls() == []
    assert Shown("blog").live.close() == []


# -- small parts --------------------------------------------------------------------------------------------


def test_amounts():
    assert [duration(each) for each in (0, 0.0004, 0.00995, 0.9994, 1, 99.94, 99.96, 3599, 360_000)] == [
        "0.0 ms",
        "0.4 ms",
        "10 ms",
        "999 ms",
        "1.0 s",
        "99.9 s",
        "1m39s",
        "59m59s",
        "4 d",
    ]
    assert [size(each) for each in (0, 999, 1000, 99_949, 99_950, 999_500, 10**12, 10**17)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "99.9 kB",
        "100 kB",
        "1.0 MB",
        "1.0 TB",
        "100 PB",
    ]
    assert (number(1234567), span(-1), span(99.9), span(100)) == ("1,234,567", "0 s", "99 s", "1m40s")
    assert max(len(duration(10**power / 7)) for power in range(-6, 8)) <= 7
    assert max(len(size(10**power // 7)) for power in range(18)) <= 7


def test_errors_are_held_back_and_written_at_the_end(monkeypatch):
    real, told = io.StringIO(), []
    monkeypatch.setattr(sys, "stderr", real)
    held = HeldErrors(told.append)
    held.begin()
    print("burrow: it failed", file=sys.stderr, flush=True)
    sys.stderr.write("2026-11-26T15:04:05+0000 warn  one\n2026-11-26T15:04:05+0000 info  two\npart")
    assert real.getvalue() == ""
    held.end()
    held.end()
    assert sys.stderr is real
    assert told == ["it failed", "one"]
    assert real.getvalue().splitlines() == [
        "burrow: it failed",
        "2026-11-26T15:04:05+0000 warn  one",
        "2026-11-26T15:04:05+0000 info  two",
        "part",
    ]


def test_errors_that_are_held_are_bounded(monkeypatch):
    real = io.StringIO()
    monkeypatch.setattr(sys, "stderr", real)
    held = HeldErrors(lambda line: None)
    held.begin()
    for line in range(HELD * 2):
        print(line, file=sys.stderr)
    held.end()
    assert real.getvalue().splitlines() == [str(line) for line in range(HELD, HELD * 2)]


def test_what_is_no_terminal_is_no_same_terminal():
    assert not is_same_terminal(io.StringIO())
    assert not is_same_terminal(None)
    with open("/dev/null") as file:
        assert not is_same_terminal(file, file.fileno())


def test_browser(tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    program = tmp_path / "xdg-open"
    program.write_text(f'#!/bin/sh\nprintf %s "$1" > {seen}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(sys, "platform", "linux")
    assert not open_browser("http://x", {})
    assert open_browser("http://x", {"DISPLAY": ":0"})
    from burrow.client.screen.browser import _started

    _started[-1].wait(10)
    assert seen.read_text() == "http://x"
    program.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not open_browser("http://x", {"DISPLAY": ":0"})


def test_a_tunnel_that_gets_another_url_shows_it(shown):
    request = shown.requests[0]
    assert isinstance(request, TunnelRequest)
    shown.live.opened(Opened(request, "blog", "https://other.example.com"))
    assert "https://other.example.com" in shown.frame()
    assert "blog.example.com" not in shown.terminal.text
