"""Tests for L{burrow.protocols.registry}: plugins that are found, and those that cannot be used."""

import argparse
import dataclasses
import importlib
import signal
import sys
from importlib import metadata

import pytest

from burrow.cli.main import make_parser
from burrow.client.config import ClientConfig
from burrow.protocols import registry
from burrow.protocols.kind import TunnelKind
from burrow.protocols.registry import find, kinds, package_of

GOOD = """
from burrow.protocols.kind import TunnelKind

class Gopher(TunnelKind):
    name = "gopher"
    summary = "a gopher hole"

gopher = Gopher()
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes a package of plugins from the texts of its modules, and looks for kinds there."""
    numbers = iter(range(100))

    def make(**modules):
        name = f"plugged{next(numbers)}"
        folder = tmp_path / name / "plugins"
        folder.mkdir(parents=True)
        for module, text in modules.items():
            (folder / f"{module}.py").write_text(text)
        (folder.parent / "__init__.py").write_text("")
        (folder / "__init__.py").write_text("")
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.invalidate_caches()
        return find(importlib.import_module(f"{name}.plugins"))

    yield make
    for name in [name for name in sys.modules if name.startswith("plugged")]:
        del sys.modules[name]


def test_ours_are_found_as_anybodys():
    assert {"http", "tcp"} <= set(kinds())
    assert registry.broken() == ()


def test_a_good_plugin_beside_broken_ones(package, capfd):
    found = package(
        good=GOOD,
        missing="import burrow.nowhere",
        syntax="import burrow\ndef (",
        failing="import burrow\n1 / 0",
        stranger="import nothing.of.ours",
        again=GOOD,
    )
    assert set(found.kinds) == {"gopher"}
    assert found.kinds["gopher"].summary == "a gopher hole"
    why = {one.name.rpartition("plugins.")[2]: one.why for one in found.broken}
    assert set(why) == {"missing", "syntax", "failing", "good.gopher"}
    assert "No module named 'burrow.nowhere'" in why["missing"]
    assert "SyntaxError" in why["syntax"]
    assert "ZeroDivisionError" in why["failing"]
    assert why["good.gopher"] == "there are tunnels of kind 'gopher' already"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('name = "Gopher"', "its name 'Gopher' is not possible"),
        ("name = None", "its name None is not possible"),
        ("name = 'server'", "its name 'server' is that of a command: give the kind another"),
        ("summary = None", "its summary None is no text"),
        ("upstream_help = 5", "its upstream_help 5 is no text"),
        ("scheme = None", "its scheme None is no text"),
        ("options = (kind_option('size', None),)", "the help of its option 'size' is no text"),
        ("options = (kind_option('size', 'x'),) * 2", "it has two options 'size'"),
        ("reach = 'host'", "is no Reach"),
        ("version = 0", "versions 1 to 0"),
        ("options = ('port',)", "its option 'port' is not possible"),
        ("options = 5", "it cannot be asked"),
        ("options = (kind_option('name', 'x'),)", "its option 'name' would hide one"),
        ("options = (kind_option('Name', 'x'),)", "make it by kind_option"),
        ("options = (kind_option('size', 'x', 1.0, number=True, least=1e999),)", "it cannot be asked"),
        ("observer = property(lambda self: 1 / 0)", "it cannot be asked"),
        ("agent_protocol = None", "agent_protocol"),
    ],
)
def test_a_plugin_that_is_none(package, change, words):
    last = '    summary = "a gopher hole"\n'
    text = GOOD.replace(last, f"{last}    {change}\n")
    found = package(one="from burrow.protocols.options import kind_option\n" + text)
    assert found.kinds == {}
    (broken,) = found.broken
    assert words in broken.why


def test_ctrl_c_while_plugins_are_loaded_is_not_lost(package):
    """L{twisted.plugin} would take the KeyboardInterrupt for a fault of the module."""
    pressed = f"import os\nimport burrow\nos.kill(os.getpid(), {int(signal.SIGINT)})\n"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever this process began with
    try:
        with pytest.raises(KeyboardInterrupt):
            package(good=pressed + GOOD)
    finally:
        signal.signal(signal.SIGINT, before)
    assert package(good=GOOD).kinds.keys() == {"gopher"}


def test_options_of_kinds_hide_none_of_the_agents():
    assert {field.name for field in dataclasses.fields(ClientConfig)} <= registry._RESERVED


def test_kinds_hide_no_command():
    """A command of that name twice would be the end of all commands."""
    actions = [each for each in make_parser()._actions if isinstance(each, argparse._SubParsersAction)]
    assert set(actions[0].choices) - set(kinds()) == registry.COMMANDS


def test_packages():
    assert package_of(kinds()["http"]).split()[:1] in ([], ["burrow-tunnel"])
    theirs = type("Theirs", (TunnelKind,), {"name": "theirs", "__module__": "attr.anything"})()
    assert package_of(theirs) == f"attrs {metadata.version('attrs')}"
    local = type("Local", (TunnelKind,), {"name": "local", "__module__": "nowhere"})()
    assert package_of(local) == ""
