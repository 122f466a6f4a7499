"""
The options of a tunnel's kind: each is a flag of C{burrow KIND} and a key of the tunnel's table in the file.

An option is for the agent, for the server, or for both. What the server has to know goes with
L{OpenTunnel<burrow.mux.control.OpenTunnel>} as a JSON object, by its key; the server checks it by the same
declaration, since an agent may be anybody's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from burrow.errors import ConfigError
from burrow.options import Option
from burrow.values import NUMBERS
from burrow.wording import FILE, Written, did_you_mean


class Side(Enum):
    """Who has to know an option."""

    AGENT = "agent"
    SERVER = "server"
    BOTH = "both"


@dataclass(frozen=True)
class KindOption(Option):
    """
    One option of a kind; see L{kind_option}.

    @ivar side: who has to know it. @ivar number: whether it is a number in files and on the wire.
    @ivar least, most: of a number, both included; None for no bound beside C{parse}'s.
    """

    side: Side = Side.SERVER
    number: bool = False
    least: float | None = None
    most: float | None = None

    @property
    def full_help(self) -> str:
        """See L{Option}: it has no environment variable."""
        return self.described

    @property
    def numeric(self) -> bool:
        """See L{Option}."""
        return self.number

    @property
    def for_server(self) -> bool:
        """Whether the server has to know it."""
        return self.side is not Side.AGENT

    def _parsed(self, text: str) -> Any:
        try:
            value = super()._parsed(text)
        except ValueError:
            if self.parse in (int, float):  # Python's own sentence says not what to write
                raise ValueError(self._wanted()) from None
            raise
        if self.number and isinstance(value, (int, float)):
            low = -math.inf if self.least is None else self.least
            high = math.inf if self.most is None else self.most
            # JSON has no infinity and no NaN, and the second is not less than anything.
            if not (low <= value <= high and math.isfinite(value)):
                raise ValueError(self._wanted())
        return value

    def _wanted(self) -> str:
        """What to write, of a number."""
        kind = "a whole number" if self.parse is int else "a number"
        if self.least is not None and self.most is not None:
            return f"write {kind} from {self.least} to {self.most}"
        if self.least is not None:
            return f"write {kind}, {self.least} or more"
        return f"write {kind}" if self.most is None else f"write {kind}, {self.most} or less"

    def schema(self) -> dict[str, Any]:
        """The JSON schema (2020-12) of its value on the wire."""
        one: dict[str, Any] = {"type": "boolean" if self.is_switch else "string"}
        if self.number:
            one = {**NUMBERS.get(self.parse, {"type": "number"})}
            one |= {} if self.least is None else {"minimum": self.least}
            one |= {} if self.most is None else {"maximum": self.most}
        if self.choices:
            one["enum"] = list(self.choices)
        found = {"description": self.help, **({"type": "array", "items": one} if self.many else one)}
        return found if self.default is None else {**found, "default": _json(self.default)}

    def told_schema(self) -> dict[str, Any]:
        """The JSON schema of what L{told_options} has of it."""
        if self.secret:
            return {
                "description": f"{self.help}; a secret: true if it is set",
                "type": "boolean",
                "const": True,
            }
        return self.schema()


def kind_option(
    name: str,
    help: str,
    default: Any = None,
    *,
    side: Side = Side.SERVER,
    parse: Callable[[str], Any] = str,
    number: bool = False,
    metavar: str = "",
    choices: tuple[str, ...] = (),
    many: bool = False,
    secret: bool = False,
    least: float | None = None,
    most: float | None = None,
) -> KindOption:
    """
    Declare an option of a kind.

    @param name: of lower-case letters, digits and hyphens, as in C{"read-only"}.
    @param default: the value where it is not given. False makes a switch, which has no value on the command
        line.
    @param parse: returns the value that a text stands for; its ValueError says what to write instead.
    @param number: whether files and the wire have it as a number; C{parse} is given the number's text.
    @param many: whether it may be given more than once: the value is a tuple, and the default an empty one.
    @param secret: whether the value is left out of errors, and of what the server tells of a tunnel.
    @param least, most: of a number, what it may be, both included.
    """
    if many and default is None:
        default = ()
    return KindOption(
        name.replace("-", "_"),
        default,
        help,
        parse,
        metavar,
        choices,
        many,
        secret,
        side,
        number,
        least,
        most,
    )


def read_options(
    options: Iterable[KindOption], given: Mapping[str, Any], written: Written = FILE
) -> dict[str, Any]:
    """
    The values of all options, by key: those that are given, and the defaults of the others.

    @param given: by key; a text, a tuple or list of texts, or a value of TOML or JSON; None as if not given.
    @param written: how errors name options.
    @raise ConfigError: a value is not possible, or there is no such option.
    """
    known = {each.key: each for each in options}
    for key in given:
        if key not in known:
            raise ConfigError(f"there is no option {str(key)[:80]}{did_you_mean(str(key), known)}")
    return {
        key: each.default
        if given.get(key) is None
        else each.value(given[key], written.option(key), written.equals)
        for key, each in known.items()
    }


class KeptValues(Mapping[str, Any]):
    """
    The values of a tunnel's options, by key, for as long as it is open: its own dict has those alone that are
    not the defaults. A dict of all takes 1.6 KB, and a server may have thousands of tunnels.

    @param defaults: of all options, by key; the same object for all tunnels of a kind.
    """

    __slots__ = ("_defaults", "_own")

    def __init__(self, defaults: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        self._defaults = defaults
        self._own = {
            key: value for key, value in values.items() if key not in defaults or value != defaults[key]
        }

    def __getitem__(self, key: str) -> Any:
        return self._own[key] if key in self._own else self._defaults[key]

    def __iter__(self) -> Iterator[str]:
        yield from self._defaults
        yield from (key for key in self._own if key not in self._defaults)

    def __len__(self) -> int:
        return len(self._defaults) + sum(key not in self._defaults for key in self._own)

    def get(self, key: str, default: Any = None) -> Any:
        """See L{Mapping.get}. Asked for each visitor: Mapping's own raises an exception for a missing key."""
        return self._own[key] if key in self._own else self._defaults.get(key, default)


_FLAG = re.compile(r"(add )?--([a-z][a-z0-9-]*)")


def as_written(sentence: str, options: Iterable[KindOption], written: Written) -> str:
    """
    A sentence that names options as on the command line, for whoever wrote them elsewhere: a kind's
    C{check_options} does not know where they were given.
    """
    known = {each.key: each for each in options}

    def rewritten(found: re.Match[str]) -> str:
        add, key = found[1] or "", found[2]
        if key not in known:
            return found[0]
        return f"{add}{written.switch(key) if add and known[key].is_switch else written.option(key)}"

    return _FLAG.sub(rewritten, sentence)


def sent_options(
    options: Iterable[KindOption], values: Mapping[str, Any], salt: bytes = b""
) -> dict[str, Any]:
    """
    What the server is told of C{values}, as JSON has it: what it has to know, and would not assume.

    @param salt: with which secrets are hashed that must not leave the agent.
    """
    return {
        each.key: _json(values[each.key], salt)
        for each in options
        if each.for_server and values.get(each.key, each.default) != each.default
    }


def told_options(options: Iterable[KindOption], values: Mapping[str, Any]) -> dict[str, Any]:
    """
    The same for people, who need not be the tunnel's owner: without what may be a secret. Of an option that
    is one only that it is set, as True. A value that holds more than others should read has a C{told} method,
    which returns what they may.
    """
    found = {}
    for each in options:
        value = values.get(each.key, each.default)
        if not each.for_server or value == each.default:
            continue
        told = True if each.secret else _json(value, tell=True)
        if told != _json(each.default, tell=True):
            found[each.key] = told
    return found


def _json(value: Any, salt: bytes = b"", tell: bool = False) -> Any:
    if isinstance(value, (tuple, list)):
        return [_json(one, salt, tell) for one in value]
    if salt and hasattr(value, "sealed"):
        value = value.sealed(salt)
    if tell and hasattr(value, "told"):
        value = value.told()
    return value if isinstance(value, (bool, int, float)) else str(value)
