"""Tests for L{burrow.program.api}: what is refused before anything is dialled."""

import threading

import pytest

import burrow
from burrow.program.api import settings


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch, tmp_path):
    for name in ("BURROW_SERVER", "BURROW_TOKEN", "BURROW_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.parametrize(
    ("arguments", "options", "sentence"),
    [
        ((8000,), {}, "which server"),
        ((8000,), {"server": "https://example.com"}, "which token"),
        ((8000,), {"server": "http://example.com", "token": "x"}, "could read the token"),
        (("nowhere",), {}, "is no upstream"),
        ((8000,), {"kind": "gopher"}, r'of kind "gopher": .*kind="tcp", \*\*{"as": "gopher"}'),
        ((8000,), {"kind": 5}, "kind=5 is not possible: write a text"),
        ((8000,), {"name": 5}, "name=5 is not possible: write a text"),
        ((8000,), {"nam": "x"}, "no option nam; did you mean name?"),
        ((8000,), {"tokn": "x"}, "did you mean token?"),
        ((8000,), {"rate_limt": "5/m"}, "did you mean rate_limit?"),
        ((8000,), {"port": 4000}, 'write name="NAME", or kind="tcp" for a public port'),
        ((8000,), {"kind": "tcp", "rate_limit": "5/m"}, 'no option rate_limit: write kind="files" or'),
        ((8000,), {"speed": 3}, "no option speed"),
        ((8000,), {"kind": "tcp", "port": 99999}, "port=99999 is not possible"),
        ((8000,), {"kind": "tcp", "allow_token": "ann"}, "^allow_token .* add private=True"),
        (("5000-5003",), {"kind": "tcp"}, r"for each, as in `for port in range\(5000, 5004\)`"),
        ((5000,), {"kind": "udp", "port": "5000-5003"}, 'port="5000-5003" is several ports'),
        ((8000,), {"name": ""}, "name"),
        ((8000,), {"stop_grace": "long"}, 'stop_grace="long" is not possible: write a number of seconds'),
    ],
)
def test_refused(arguments, options, sentence):
    with pytest.raises(burrow.BurrowError, match=sentence):
        burrow.forward(*arguments, **options)


def test_settings_and_options_of_the_kind(monkeypatch, tmp_path):
    monkeypatch.setenv("BURROW_SERVER", "https://environment.example")
    config, given = settings(
        {"token": "secret", "ca_file": tmp_path / "ca.pem", "upstream_insecure": True, "port": None}
    )
    assert (config.server, config.token) == ("https://environment.example", "secret")
    assert config.ca_file == tmp_path / "ca.pem"
    assert given == {"upstream-insecure": True}


def test_where_the_inspector_is_and_how_much_is_logged_are_the_command_lines():
    with pytest.raises(burrow.BurrowError, match=r"the command line: write logging\.getLogger"):
        burrow.forward(8000, log_level="debug")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "which server"),
        ({"server": "https://example.com", "token": "x", "name": ""}, "name"),
        ({"server": "https://example.com", "token": "x", "port": 4000}, "no option port"),
    ],
)
def test_an_app_is_not_started_for_what_is_refused(options, sentence):
    started = []

    async def app(scope, receive, send):
        started.append(scope["type"])

    threads = threading.active_count()
    with pytest.raises(burrow.BurrowError, match=sentence):
        burrow.serving(app, **options)
    assert started == []
    assert threading.active_count() == threads
