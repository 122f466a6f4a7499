"""Tests for the commands that ask a server: which one, tables, lines, what C{burrow status} finds wrong."""

import pytest

from burrow import __version__
from burrow.cli.columns import COLUMNS, NOT_STORED, SPARE, event_line, request_line, rows_of
from burrow.cli.main import make_parser
from burrow.cli.remote import in_store
from burrow.cli.status import Status, lines_of, troubles
from burrow.cli.table import lasted, size_of, table_lines, took
from burrow.errors import ConfigError
from burrow.server.admin.schemas import SCHEMAS
from burrow.server.stores import DATABASE


@pytest.fixture(autouse=True)
def folders(monkeypatch, tmp_path):
    for name in ("STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    for name in ("SERVER", "TOKEN", "STATE", "STORE", "CA_FILE"):
        monkeypatch.delenv(f"BURROW_{name}", raising=False)


def looks(*words):
    return in_store(make_parser().read(words))


def test_which_server(monkeypatch, tmp_path):
    with pytest.raises(ConfigError, match="which server"):
        looks("tunnels")
    assert looks("tunnels", "--state", str(tmp_path))
    assert looks("names", "--state", str(tmp_path), "list")  # before the action
    assert looks("names", "release", "x", "--store", "redis://h")
    assert not looks("tunnels", "--server", "https://a.b")
    with pytest.raises(ConfigError, match="give one of both"):
        looks("tunnels", "--server", "https://a.b", "--state", str(tmp_path))
    state = tmp_path / "STATE" / "burrow"
    state.mkdir(parents=True)
    (state / DATABASE).write_text("")
    assert looks("tunnels")
    monkeypatch.setenv("BURROW_SERVER", "https://a.b")
    assert not looks("tunnels")
    monkeypatch.setenv("BURROW_STATE", str(tmp_path))
    assert looks("tunnels")


def test_columns_are_of_fields_that_there_are():
    names = {"tunnels": "Tunnel", "sessions": "Session", "names": "Name", "tokens": "Token"}
    names |= {"nodes": "Node", "certificates": "Certificate", "events": "Event"}
    names["audit"] = "AuditEntry"
    for thing, schema in names.items():
        item = {field: f"<{field}>" for field in SCHEMAS[schema]["properties"]}
        heading, row = rows_of(thing, [item])
        assert len(heading) == len(row) == len(COLUMNS[thing])
        given = [
            cell for head, cell in zip(heading, row, strict=True) if head not in ("FOR", "TRIP", "LIMITS")
        ]
        assert all(given), (thing, row)


def test_a_table_fits_the_terminal():
    rows = [
        ("NAME", "STATE", "UPSTREAM"),
        ("blog", "open", "https://" + "x" * 100),
        ("a\x1b[31m", "away", "y"),
    ]
    for line in table_lines(rows, 40):
        assert len(line) <= 40
        assert "\x1b" not in line
    assert "…" in table_lines(rows, 40)[1]
    assert table_lines(rows, None)[1].endswith("x" * 100)
    assert table_lines(rows, 40, styled=True)[1].split()[1] == "\x1b[32mopen\x1b[0m"
    assert table_lines([("A", "B"), ("", "c")], None) == ["A  B", "   c"]


def test_a_narrow_terminal_does_without_some_columns():
    rows = [("NAME", "AT", "URL", "FOR"), ("blog", "192.0.2.1:5", "https://blog.example.com", "3 h")]
    assert table_lines(rows, 50, ("AT", "FOR"))[0].split() == ["NAME", "AT", "URL", "FOR"]
    assert table_lines(rows, 40, ("AT", "FOR")) == [
        "NAME  URL                       FOR",
        "blog  https://blog.example.com  3 h",
    ]
    assert table_lines(rows, 20, ("AT", "FOR"))[1] == "blog  https://blog.example.com"  # one copies it
    assert table_lines([("UPSTREAM", "FOR"), ("x" * 20, "3 h")], 15)[1] == "xxxxxxxxx…  3 h"
    said = [("WHEN", "NODE", ""), ("now", "n" * 20, "a sentence that is not cut")]
    assert table_lines(said, 30, ("NODE",))[1] == "now   nnnnnnnnnnnnnnnnnnnn  a sentence that is not cut"
    assert table_lines(said, 20, ("NODE",))[1] == "now   a sentence that is not cut"


def test_spare_columns_are_columns():
    for thing, spare in [*SPARE.items(), *NOT_STORED.items()]:
        assert set(spare) <= {heading for heading, _ in COLUMNS[thing]}


def test_quantities():
    assert [lasted(n) for n in (-1, 42, 90, 7300, 200_000)] == ["0 s", "42 s", "2 min", "2 h", "2 d"]
    assert [size_of(n) for n in (5, 1500, 2_000_000, 3e9)] == ["5 B", "1.5 kB", "2.0 MB", "3.0 GB"]
    assert [took(n) for n in (0.0123, 2.5)] == ["12 ms", "2.5 s"]


REQUEST = {
    "id": "n-1",
    "protocol": "http",
    "tunnel": "blog",
    "visitor": "192.0.2.1",
    "method": "GET",
    "target": "/\x1b[31m\u202e",
    "status": 200,
    "sent": 1200,
    "began": "2026-11-26T16:33:09.671Z",
    "took": 0.02,
    "error": "",
}


def test_lines_of_requests_and_events():
    line = "16:33:09  blog  GET /\\x1b[31m\\u202e  200  20 ms  1.2 kB  192.0.2.1"
    assert request_line(REQUEST) == line
    tcp = {**REQUEST, "protocol": "tcp", "method": "", "status": None, "took": None, "error": "cut"}
    assert request_line(tcp) == "16:33:09  blog  tcp  -  runs  1.2 kB  192.0.2.1  failed: cut"
    event = {"when": "2026-11-26T16:33:09.671Z", "kind": "agent-gone", "text": "x\n"}
    assert event_line(event) == "2026-11-26 16:33:09  agent-gone  x\\n"


WHO = {"name": "ann\x07", "role": "agent", "version": __version__}


def found(who=WHO, trip=0.01, tunnels=(), unanswered=(), **more):
    return Status("https://a.b", who, trip, list(tunnels), more, list(unanswered))


@pytest.mark.parametrize(
    ("status", "words", "todo"),
    [
        (found({**WHO, "version": "0.0.1"}), "release 0.0.1", "its owner"),
        (found({**WHO, "version": "99.0"}), "release 99.0", "newer release"),
        (found(trip=2.0), "2.0 s away", "doctor"),
        (found(tunnels=[{"name": "t", "state": "detached"}]), "lost its agent", "runs"),
        (found(tunnels=[{"name": "t", "state": "away", "node": "n"}]), "node n", "log"),
        (found(unanswered=["n1"]), "no answer from n1", "burrow nodes"),
        (found(certificates=[{"host": "h", "state": "failed", "error": "dns"}]), "renewed: dns", "doctor"),
        (found(certificates=[{"host": "h", "state": "expired"}]), "has expired", "doctor"),
        (found(nodes=[{"id": "n", "draining": True}]), "n drains", "stopped"),
        (Status("the store of /s", None, None, [], {}, []), "no server runs with the store of /s", "--state"),
    ],
)
def test_what_is_wrong(status, words, todo):
    [(what, do)] = troubles(status)
    assert words in what
    assert todo in do
    assert any(what[1:] in line for line in lines_of(status)[1])
    assert "Nothing is wrong." not in lines_of(status)[1]
    assert status.as_json()["troubles"] == [{"trouble": what, "do": do}]


def test_nothing_is_wrong():
    head, tail = lines_of(found(tunnels=[{"name": "t", "state": "open"}]))
    assert head[1] == "Token    ann\\x07 (role agent)"
    assert head[-1] == "Tunnels  1 open"
    assert tail == ["Nothing is wrong."]
    assert "burrow http 3000" in lines_of(found())[1][-1]
    assert lines_of(found(), styled=True)[0][0].startswith("\x1b[1mServer")
