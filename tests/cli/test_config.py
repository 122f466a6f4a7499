"""Tests for L{burrow.cli.config}: C{burrow config check}."""

import json

import pytest

from burrow.cli.main import main

FILE = """
server = "https://example.com"
token = "very-secret"
[tunnels.blog]
upstream = 3000
[tunnels.db]
kind = "tcp"
name = ""
upstream = 5432
port = 20001
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("SERVER", "TOKEN", "TOKEN_FILE", "CA_FILE", "STATE", "STORE"):
        monkeypatch.delenv(f"BURROW_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "burrow").mkdir()
    return tmp_path / "burrow"


def check(capsys, *arguments):
    code = main(["config", "check", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_each_value_has_its_origin(home, capsys, monkeypatch):
    (home / "credentials.toml").write_text('server = "https://other.example"\ntoken = "very-secret"\n')
    (home / "config.toml").write_text(FILE)
    monkeypatch.setenv("BURROW_INSECURE", "1")
    code, out, err = check(capsys, "agent", "--stop-grace", "5", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [tuple(each.values()) for each in found["options"]] == [
        ("server", "https://example.com", str(home / "config.toml")),
        ("token", "(not shown)", str(home / "config.toml")),
        ("insecure", "true", "BURROW_INSECURE"),
        ("stop-grace", "5.0", "--stop-grace"),
    ]
    assert [tuple(each.values()) for each in found["tunnels"]] == [
        ("blog", "http", "blog", "http://localhost:3000"),
        ("db", "tcp", "", "tcp://localhost:5432"),
    ]


def test_flags_and_environment_count_before_files(home, capsys, monkeypatch):
    (home / "config.toml").write_text(FILE)
    monkeypatch.setenv("BURROW_SERVER", "https://third.example")
    origins = {}
    for arguments in ([], ["--server", "https://fourth.example"]):
        code, out, _ = check(capsys, "agent", *arguments, "--json")
        assert code == 0
        origins[len(arguments)] = json.loads(out)["options"][0]
    assert [each["from"] for each in origins.values()] == ["BURROW_SERVER", "--server"]
    assert origins[2]["value"] == "https://fourth.example"


def test_lines_for_a_person(home, capsys):
    (home / "config.toml").write_text(FILE)
    code, out, _ = check(capsys, "agent")
    assert (code, out.splitlines()[0].split()) == (0, ["OPTION", "VALUE", "FROM"])
    assert out.splitlines()[-1] == "The configuration is possible"
    assert "very-secret" not in out
    assert "stop-grace" not in out
    assert "stop-grace" in check(capsys, "agent", "--all")[1]


def test_policies_are_explained(home, capsys):
    tunnel = '[tunnels.blog]\nupstream = 3000\nmax-body = "5M"\n'
    table = '[[tunnels.blog.policy]]\npath = "/a"\nrespond = 403\n'
    (home / "config.toml").write_text(tunnel + table)
    code, out, _ = check(capsys, "agent")
    assert code == 0
    assert [line.split(maxsplit=1) for line in out.splitlines()[-3:-1]] == [
        ["blog", "all requests have a body of 5M at most"],
        ["blog", "requests for /a are answered with 403"],
    ]
    (home / "config.toml").write_text(tunnel + table.replace("respond", "respnd"))
    code, _, err = check(capsys, "agent")
    assert (code, "did you mean respond" in err) == (78, True)


def test_nothing_is_configured(home, capsys):
    code, out, _ = check(capsys, "agent")
    assert (code, out) == (0, "The configuration is possible, and all is as it is by default\n")


@pytest.mark.parametrize("table", ["", "[server]\n"])
def test_server(home, capsys, tmp_path, table):
    file = tmp_path / "server.toml"
    file.write_text(
        table + 'domain = "example.com"\ntcp-ports = "30000-30009"\nacme-email = "me@example.com"\n'
    )
    code, out, err = check(capsys, "server", "--config", file, "--state", tmp_path, "--json")
    assert code == 0
    assert "--acme-email has no effect without --tls acme" in err
    found = {each["option"]: (each["value"], each["from"]) for each in json.loads(out)["options"]}
    assert found == {
        "domain": ("example.com", str(file)),
        "acme-email": ("me@example.com", str(file)),
        "tcp-ports": ("30000-30009", str(file)),
        "state": (str(tmp_path), "--state"),
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["server", "--tls", "files"], "--tls files needs --cert-file"),
        (["server", "--workers", "many"], "--workers"),
        (["agent", "--stop-grace", "soon"], "--stop-grace"),
        (["agent", "--config", "/nowhere.toml"], "cannot read /nowhere.toml"),
    ],
)
def test_what_is_not_possible(home, capsys, arguments, words):
    code, out, err = check(capsys, *arguments)
    assert (code, out) == (78, "")
    assert words in err
