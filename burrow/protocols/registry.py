"""
Finds the kinds of tunnels, by L{twisted.plugin}: ours are found as anybody's are.

A plugin that cannot be loaded, or is none, is kept as L{Broken}, and all others go on.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import twisted.plugin
from zope.interface import Invalid
from zope.interface.verify import verifyObject

import twisted.plugins
from burrow.protocols.base import ITunnelProtocol, Kind, Reach
from burrow.protocols.options import KindOption
from burrow.uninterrupted import uninterrupted

_NAME = re.compile(r"[a-z][a-z0-9]{0,30}")
_OPTION = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_OURS = "burrow_plugins"
_RESERVED = {
    *("ca_file", "help", "insecure", "inspect", "inspect_memory", "json", "kind", "log_level", "name"),
    *("no_inspect", "no_retry", "quiet", "server", "stop_grace", "token", "token_file", "upstream"),
}
"""Names that options of kinds cannot have: every tunnel's command, or its table in a file, has them."""
COMMANDS = {
    *("audit", "certs", "completion", "config", "connect", "demo", "doctor", "events", "help", "login"),
    *("logs", "names", "nodes", "protocols", "replay", "requests", "run", "server", "service"),
    *("sessions", "share", "start", "status", "store", "token", "tokens", "tunnels", "up", "version"),
}
"""Names that kinds cannot have: they are commands of their own."""


@dataclass(frozen=True)
class Broken:
    """
    A plugin that is not used.

    @ivar name: its module, as in C{twisted.plugins.some_plugin}, and its name there if it was loaded.
    @ivar why: what is wrong with it, as a sentence without a full stop.
    """

    name: str
    why: str

    def __str__(self) -> str:
        return f"the plugin {self.name} is not used: {self.why}"


@dataclass(frozen=True)
class Found:
    """
    What was found.

    @ivar kinds: by name. @ivar broken: in the order of their names.
    """

    kinds: dict[str, Kind]
    broken: tuple[Broken, ...]


def kinds() -> dict[str, Kind]:
    """All kinds by name. Looked for once a process."""
    return found().kinds


def broken() -> tuple[Broken, ...]:
    """The plugins that are not used."""
    return found().broken


@cache
def found() -> Found:
    """Look for kinds. Done once a process."""
    return find(twisted.plugins)


def find(package: ModuleType) -> Found:
    """The kinds in a package's modules. Of two of one name, ours is used, else that of the first module."""
    faults: list[Broken] = []
    kinds: dict[str, Kind] = {}
    dropins = _modules(package, faults)
    for name in sorted(dropins, key=lambda name: (name != _OURS, name)):
        for cached in dropins[name].plugins:
            if not any(each.isOrExtends(ITunnelProtocol) for each in cached.provided):
                continue
            where = f"{cached.dropin.moduleName}.{cached.name}"
            try:
                plugin = cached.load()
            except Exception as error:
                faults.append(Broken(where, _not_loaded(error)))
                continue
            fault = _fault(plugin, kinds)
            if fault:
                faults.append(Broken(where, fault))
            else:
                kinds[plugin.name] = plugin
    return Found(kinds, tuple(faults))


def _modules(package: ModuleType, faults: list[Broken]) -> dict[str, Any]:
    """
    What L{twisted.plugin.getCache} finds. It logs what goes wrong, which prints a traceback on every command,
    and says not where: so its log is ours meanwhile. It takes KeyboardInterrupt, too, for a fault of the
    module that it loads just then, and goes on: so Ctrl-C waits until it is done.
    """
    module: Any = twisted.plugin
    log, module.log = module.log, _Log(faults)
    try:
        with uninterrupted():
            dropins: dict[str, Any] = module.getCache(package)
    finally:
        module.log = log
    return dropins


class _Log:
    """Takes what L{twisted.plugin} logs. @param faults: gets what concerns Burrow."""

    def __init__(self, faults: list[Broken]) -> None:
        self._faults = faults

    def msg(self, **event: Any) -> None:
        """The list of plugins cannot be written, so the modules are loaded at each start."""

    def err(self, *of: Any) -> None:
        """A module cannot be loaded. That of another program is its own affair."""
        error = sys.exc_info()[1]
        if not isinstance(error, Exception):
            return
        files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        if isinstance(error, SyntaxError):
            files.append(error.filename or "")
        for file in map(Path, reversed(files)):
            if file.parent.name == "plugins" and "burrow" in file.read_text(errors="replace"):
                self._faults.append(
                    Broken(f"{file.parent.parent.name}.plugins.{file.stem}", _not_loaded(error))
                )
                return


def _not_loaded(error: Exception) -> str:
    return f"it cannot be loaded: {type(error).__name__}: {error}"


def _fault(plugin: Any, known: dict[str, Kind]) -> str:
    """What is wrong with a plugin; empty if nothing is."""
    try:
        verifyObject(ITunnelProtocol, plugin)
        if not isinstance(plugin.name, str) or not _NAME.fullmatch(plugin.name):
            return f"its name {plugin.name!r} is not possible: use lower-case letters and digits"
        if plugin.name in known:
            return f"there are tunnels of kind {plugin.name!r} already"
        if plugin.name in COMMANDS:
            return f"its name {plugin.name!r} is that of a command: give the kind another"
        for what in ("summary", "scheme", "upstream_help"):
            if not isinstance(text := getattr(plugin, what), str):
                return f"its {what} {text!r} is no text"
        if not isinstance(plugin.reach, Reach):
            return f"its reach {plugin.reach!r} is no Reach"
        if not 1 <= plugin.oldest <= plugin.version:
            return f"its versions {plugin.oldest!r} to {plugin.version!r} are not possible"
        for option in plugin.options:
            if not isinstance(option, KindOption) or not _OPTION.fullmatch(option.name):
                return f"its option {option!r} is not possible: make it by kind_option"
            if option.name in _RESERVED:
                return f"its option {option.key!r} would hide one that all tunnels have"
            if not isinstance(option.help, str):
                return f"the help of its option {option.key!r} is no text"
            if [each.name for each in plugin.options].count(option.name) > 1:
                return f"it has two options {option.key!r}"
            json.dumps([option.schema(), option.told_schema()], allow_nan=False)
    except Invalid as error:
        return " ".join(str(error).split())
    except Exception as error:
        return f"it cannot be asked what it is: {type(error).__name__}: {error}"
    return ""


def package_of(kind: Kind) -> str:
    """The package that a kind comes from, and its version, as in C{"burrow-redis 1.0"}; empty if unknown."""
    top = type(kind).__module__.partition(".")[0]
    for name in metadata.packages_distributions().get(top, ()):
        return f"{name} {metadata.version(name)}"
    return ""
