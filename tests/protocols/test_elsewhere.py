"""Each kind with each option that it has not: the refusal says what to write instead."""

import os

import pytest

import burrow
from burrow.cli.main import make_parser
from burrow.client.config import ClientConfig
from burrow.client.tunnels_file import check_settings, read_tunnels
from burrow.errors import ConfigError
from burrow.options import options_of
from burrow.protocols.registry import kinds
from burrow.protocols.visits import VISITS

OURS = ("files", "http", "tcp", "tls", "udp")
TLS_ENDS = "the server ends TLS for it in any case: leave it out"
BY_NAME = "visitors reach it by its name: write NAME, or TCP for a public port"
ONE_AGENT = "give each agent's tunnel a name of its own"
FIREWALL = "let the firewall of the server's machine decide"

HAS = "write OWNERS, which"
"""The refusal names who has it."""

INSTEAD = {
    "allow": {"udp": FIREWALL},
    "deny": {"udp": FIREWALL},
    "no-index": dict.fromkeys(("http", "tcp", "tls", "udp"), HAS),
    "private": {"tls": "write TCP with it: TLS passes", "udp": HAS},
    "allow-token": {"tls": "write TCP with PRIVATE: TLS passes", "udp": HAS},
    **dict.fromkeys(
        ("upstream-ca", "upstream-insecure", "upstream-name", "acme-directory", "acme-email", "acme-ca-file"),
        dict.fromkeys(("files", "tcp", "tls", "udp"), HAS),
    ),
    "end-to-end": {"tls": "TLS is the service's own", **dict.fromkeys(("files", "tcp", "udp"), HAS)},
    "share": {"files": HAS, "udp": ONE_AGENT},
    "sticky": {**dict.fromkeys(("files", "tcp", "tls"), HAS), "udp": ONE_AGENT},
    "health-path": {**dict.fromkeys(("files", "tcp", "tls"), HAS), "udp": ONE_AGENT},
    "port": dict.fromkeys(("files", "http", "tls"), BY_NAME),
    "proxy-protocol": {
        **dict.fromkeys(("files", "http"), "in X-Forwarded-For: leave it out"),
        "udp": "no such header goes before datagrams",
    },
    "domain": dict.fromkeys(("tcp", "udp"), "any domain whose DNS leads to the server reaches its port"),
    "as": dict.fromkeys(("files", "http", "tls", "udp"), HAS),
    "terminate": {"files": TLS_ENDS, "http": TLS_ENDS, "tcp": HAS, "udp": HAS},
    "alpn": {"files": TLS_ENDS, "http": TLS_ENDS, "tcp": HAS, "udp": HAS},
    "idle": dict.fromkeys(("files", "http", "tcp", "tls"), HAS),
    # Of requests that the edge reads: only those kinds have them whose requests it reads.
    **{
        each.key: dict.fromkeys(("files", "tcp", "tls", "udp"), HAS)
        for each in VISITS
        if each.key not in ("allow", "deny")
    },
}
"""By option and kind: what the refusal says. A new option, or kind, needs its place here."""


def keys(name):
    return {each.key for each in kinds()[name].options}


PAIRS = sorted({(name, key) for name in OURS for other in OURS for key in keys(other) - keys(name)})


WRITTEN = {
    "flags": ("burrow {}", "--name NAME", "--private"),
    "file": ('kind = "{}"', 'name = "NAME"', "private = true"),
    "program": ('kind="{}"', 'name="NAME"', "private=True"),
}


def words(name, key, where):
    """What the refusal has to say."""
    kind, named, private = WRITTEN[where]
    texts = [kind.format(other) for other in OURS if key in keys(other)]
    said = INSTEAD[key][name]
    said = said.replace("OWNERS", " or ".join([", ".join(texts[:-1]), texts[-1]] if texts[1:] else texts))
    return said.replace("NAME", named).replace("TCP", kind.format("tcp")).replace("PRIVATE", private)


@pytest.fixture(autouse=True)
def folders(monkeypatch, tmp_path):
    for name in ("STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))


def test_these_are_all_kinds():
    assert tuple(sorted(kinds())) == OURS
    assert len(PAIRS) > 100


def test_on_the_command_line(capsys):
    parser = make_parser()
    for name, key in PAIRS:
        with pytest.raises(SystemExit) as end:
            parser.read([name, os.curdir if name == "files" else "3000", f"--{key}", "x"])
        said = capsys.readouterr().err
        assert (end.value.code, said.count("\n")) == (2, 1)
        assert f"tunnels of kind {name} have no option --{key}: " in said
        assert words(name, key, "flags") in said


@pytest.mark.parametrize("name", OURS)
def test_in_a_file_and_in_a_program(name):
    upstream = os.curdir if name == "files" else 3000
    for key in [key for each, key in PAIRS if each == name]:
        begins = f"tunnels of kind {name} have no option "
        with pytest.raises(ConfigError) as error:
            read_tunnels({"a": {"kind": name, "upstream": upstream, key: "x"}}, "the file")
        assert str(error.value).startswith(f"the file: [tunnels.a]: {begins}{key}: ")
        assert words(name, key, "file") in str(error.value)
        word = key.replace("-", "_")
        options = {"server": "https://localhost:9", "token": "x", word: "x"}
        with pytest.raises(ConfigError) as error:
            burrow.forward(upstream, kind=name, **options)
        assert str(error.value).startswith(f"{begins}{word}: ")
        assert words(name, key, "program") in str(error.value)


def test_options_of_a_tunnel_that_are_given_for_an_app():
    for key in set().union(*map(keys, OURS)):
        word = key.replace("-", "_")
        options = {"server": "https://localhost:9", "token": "x", word: "x"}
        said = f"a served app has no option {word}: "
        if key in keys("http"):
            said += f"start its own server, and write burrow.forward(PORT, {word}=...)"
        with pytest.raises(ConfigError) as error:
            burrow.serving(lambda environ, start: [], **options)
        assert str(error.value).startswith(said)


def test_options_of_the_agent_in_the_table_of_a_tunnel_and_the_other_way_round():
    for each in options_of(ClientConfig):
        with pytest.raises(
            ConfigError, match=f"{each.key} is for all tunnels: write it at the top of the file"
        ):
            read_tunnels({"a": {"upstream": 3000, each.key: "x"}}, "the file")
    for key in {"kind", "upstream", "name"}.union(*map(keys, OURS)):
        with pytest.raises(ConfigError, match=f"{key} is of one tunnel: write it into its table"):
            check_settings({key: "x"}, "the file")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("inspect", r"tunnel\.requests has what the inspector shows"),
        ("log_level", r'write logging\.getLogger\("burrow"\)\.setLevel'),
        ("json", "no option json: leave it out"),
        ("prot", r"no option prot; did you mean port\?"),
    ],
)
def test_what_is_no_programs_affair(option, words):
    settings = {"server": "https://localhost:9", "token": "x", option: "1"}
    with pytest.raises(ConfigError, match=words):
        burrow.forward(22, kind="tcp", **settings)
