"""
The mechanism of options: a role's configuration is a frozen dataclass, and each of its fields is an option.

Its flag, environment variable, key in a TOML file, help, default and the option of C{twistd} follow from that
field: C{--https} is C{https} in a file and C{BURROW_HTTPS} in the environment. The flag counts before the
environment, the environment before the file, the file before the default.
"""

from __future__ import annotations

import argparse
import dataclasses
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from twisted.python import usage

from burrow.errors import ConfigError
from burrow.values import NUMERIC, what_to_write
from burrow.wording import did_you_mean, shown

_C = TypeVar("_C")
_DECLARED = "burrow.option"
"""The key of an L{Option} in the metadata of its field."""


@dataclass(frozen=True)
class Option:
    """
    One option of a configuration class; see L{option}.

    @ivar name: the name of its field.
    @ivar both: whether it is a switch that can be said to be off, too: see L{option}.
    """

    name: str
    default: Any
    help: str
    parse: Callable[[str], Any]
    metavar: str
    choices: tuple[str, ...]
    many: bool
    secret: bool
    both: bool = dataclasses.field(default=False, kw_only=True)

    @cached_property
    def key(self) -> str:
        """Its key in a TOML file, and its flag without the dashes. One object: it is a key of many dicts."""
        return self.name.replace("_", "-")

    @property
    def flag(self) -> str:
        """Its flag."""
        return f"--{self.key}"

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"BURROW_{self.name.upper()}"

    @property
    def is_switch(self) -> bool:
        """Whether the flag alone is the value True."""
        return self.both or self.default is False

    @property
    def opposite(self) -> str:
        """The flag that alone is the value False, of a switch that has one; else empty."""
        return f"--no-{self.key}" if self.both else ""

    @property
    def described(self) -> str:
        """The help, with the default."""
        if self.default not in (None, "", (), False) and "default" not in self.help:
            return f"{self.help} (default: {self.default})"
        return self.help

    @property
    def full_help(self) -> str:
        """The help, with the default and the environment variable."""
        return f"{self.described} [{self.variable}]"

    @property
    def numeric(self) -> bool:
        """Whether a TOML file may write the value as a number."""
        return self.parse in NUMERIC

    def value(self, given: Any, source: str, equals: str = " ") -> Any:
        """
        @param given: a text; of C{many} also a sequence of texts; from a file any value of TOML.
        @param source: where it was given, for the error. @param equals: what stands there before the value.
        @raise ConfigError: the value is not possible.
        """
        item = given
        try:
            if self.many:
                if isinstance(given, (bool, dict)):
                    raise ValueError("write a text, or several in a list")
                items = given if isinstance(given, (list, tuple)) else str(given).split(",")
                values = []
                for item in items:
                    if isinstance(given, list) and not isinstance(item, str):
                        raise ValueError("write texts")
                    values.append(self._parsed(item.strip()))
                return tuple(values)
            return _switch(given) if self.is_switch else self._single(given)
        except ValueError as error:
            value = "" if self.secret else f"{equals}{shown(item)}"
            raise ConfigError(f"{source}{value} is not possible: {what_to_write(error)}") from error

    def _single(self, given: Any) -> Any:
        kinds = (str, int, float) if self.numeric else (str, Path)
        if isinstance(given, bool) or not isinstance(given, kinds):
            wanted = " or ".join(self.choices) if self.choices else "a number" if self.numeric else "a text"
            raise ValueError(f"write {wanted}")
        text = str(given)
        if self.choices and text not in self.choices:
            raise ValueError(f"write one of {', '.join(self.choices)}{did_you_mean(text, self.choices)}")
        return self._parsed(text)

    def _parsed(self, text: str) -> Any:
        """@raise ValueError: the text stands for no possible value."""
        return self.parse(text)


def _switch(given: Any) -> bool:
    if isinstance(given, bool):
        return given
    switches = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if str(given).lower() not in switches:
        raise ValueError("write true or false")
    return switches[str(given).lower()]


def option(
    default: Any,
    help: str,
    *,
    parse: Callable[[str], Any] = str,
    metavar: str = "",
    choices: tuple[str, ...] = (),
    many: bool = False,
    secret: bool = False,
    both: bool = False,
) -> Any:
    """
    Declare an option: a field of a frozen dataclass.

    @param default: a text is parsed as one that a person gave; of C{many} each in a tuple of texts. Other
        values, as None, are the field's own. False makes a switch, which has no value on the command line.
    @param help: one line; the environment variable is added, and the default unless the line has it.
    @param parse: returns the value that a text stands for; its ValueError says what to write instead.
    @param many: whether the option may be given more than once: the value is a tuple.
    @param secret: whether the value is left out of errors and of C{repr}.
    @param both: makes a switch of three values: True by its flag, False by the same with C{no-} before its
        name, and C{default} by neither. A file and the environment say true or false.
    """
    value = default
    if many:
        value = tuple(map(parse, default))
    elif isinstance(default, str):
        value = parse(default)
    declared = Option("", default, help, parse, metavar, choices, many, secret, both=both)
    return dataclasses.field(default=value, repr=not secret, metadata={_DECLARED: declared})


def options_of(cls: type[Any], only: Collection[str] | None = None) -> list[Option]:
    """The options of a configuration class, in order. C{only}: the names of those to take, if not all."""
    return [
        dataclasses.replace(field.metadata[_DECLARED], name=field.name)
        for field in dataclasses.fields(cls)
        if only is None or field.name in only
    ]


class Origin(Enum):
    """What gives an option its value."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


def given_by(
    option: Option, flags: Mapping[str, Any], environ: Mapping[str, str], table: Mapping[str, Any]
) -> Origin:
    """What gives C{option} its value: the parameters are those of L{load}."""
    if flags.get(option.name) not in (None, (), []):
        return Origin.FLAG
    if environ.get(option.variable):
        return Origin.ENVIRONMENT
    return Origin.FILE if table.get(option.key) is not None else Origin.DEFAULT


def load(
    cls: type[_C],
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    table: Mapping[str, Any] | None = None,
    source: str = "the configuration file",
    only: Collection[str] | None = None,
) -> _C:
    """
    Make a configuration.

    @param flags: what the command line gave, by field name; None means not given.
    @param table: what a TOML file gave, by key. @param source: the file, for errors.
    @param only: the names of the options that may be given, if not all.
    @raise ConfigError: a value is not possible, or the table has an unknown key.
    """
    values: dict[str, Any] = {}
    table = table or {}
    for each in options_of(cls, only):
        origin = given_by(each, flags, environ, table)
        if origin is Origin.FLAG:
            values[each.name] = each.value(flags[each.name], each.flag)
        elif origin is Origin.ENVIRONMENT:
            values[each.name] = each.value(environ[each.variable], each.variable)
        elif origin is Origin.FILE:
            values[each.name] = each.value(table[each.key], f"{source}: {each.key}", " = ")
    check_keys(table, [each.key for each in options_of(cls)], source)
    return cls(**values)


def check_keys(table: Collection[str], known: Collection[str], source: str) -> None:
    """@raise ConfigError: C{table}, from the file C{source}, has a key that is not among C{known}."""
    for key in sorted(set(table) - set(known)):
        guess = did_you_mean(key, known) or did_you_mean(key.replace("_", "-"), known)
        raise ConfigError(f"{source}: there is no option {shown(key)[1:-1]}{guess}")


def read_toml(path: Path) -> dict[str, Any]:
    """The top table of a file. @raise ConfigError: the file cannot be read, or is not TOML."""
    try:
        # An editor may have put a byte order mark first.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not in UTF-8: save it so") from error
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def add_arguments(
    parser: argparse._ActionsContainer, cls: type[Any], only: Collection[str] | None = None
) -> None:
    """
    Add the options of a configuration class to an argparse parser, without defaults and unparsed.

    @param only: the names of the options to add, if not all.
    """
    add_flags(parser, options_of(cls, only))


def add_flags(parser: argparse._ActionsContainer, options: Iterable[Option]) -> None:
    """The same for options that are no fields of a class."""
    for each in options:
        if each.both:
            action = argparse.BooleanOptionalAction
            parser.add_argument(each.flag, action=action, default=None, help=each.full_help)
        elif each.is_switch:
            parser.add_argument(each.flag, action="store_true", default=None, help=each.full_help)
        else:
            parser.add_argument(
                each.flag,
                action="append" if each.many else "store",
                metavar=each.metavar or ("{" + ",".join(each.choices) + "}" if each.choices else None),
                help=each.full_help.replace("%", "%%"),
            )


def flags_given(arguments: argparse.Namespace, cls: type[Any]) -> dict[str, Any]:
    """What a command line gave of a class's options, by field name: for L{load}."""
    names = {each.name for each in options_of(cls)}
    return {name: value for name, value in vars(arguments).items() if name in names}


def twistd_options(
    cls: type[Any], synopsis_text: str, instead: Callable[[str, str], str] = lambda key, flag: ""
) -> type[usage.Options]:
    """
    The same options for a twistd plugin. The C{flags_given} of an instance returns what L{load} takes as
    C{flags}.

    @param instead: returns for the key and the flag of an option that it has not what to write instead, or
        nothing.
    """
    options = options_of(cls)

    class Options(usage.Options):
        synopsis = synopsis_text
        optFlags = [
            *([each.key, None, each.full_help] for each in options if each.is_switch),
            *([each.opposite[2:], None, f"the opposite of {each.flag}"] for each in options if each.both),
        ]
        optParameters = [
            ["config", None, None, "a TOML file with these options"],
            *([each.key, None, None, each.full_help] for each in options if not each.is_switch),
        ]

        def parseOptions(self, options: Any = None) -> None:
            """Parse a command line. Abbreviated options are refused, as by C{burrow}."""
            for word in options or ():
                name = str(word)[2:].partition("=")[0]
                known = {one.rstrip("=") for one in self.longOpt}
                if str(word).startswith("--") and name and name not in known:
                    raise usage.UsageError(
                        instead(name, f"--{name}")
                        or f"there is no option --{name}{did_you_mean(name, known)}"
                    )
            super().parseOptions(options)

        def postOptions(self) -> None:
            """Refuse what contradicts itself: unlike argparse, nothing here knows which came last."""
            for each in options:
                if each.both and self[each.key] and self[each.opposite[2:]]:
                    raise usage.UsageError(f"{each.flag} and {each.opposite} contradict each other: give one")

        def flags_given(self) -> dict[str, Any]:
            """What the command line gave, by field name; None for what it did not give."""
            given = {}
            for each in options:
                value = self[each.key] or None
                if each.both and self[each.opposite[2:]]:
                    value = False
                given[each.name] = value.split(",") if each.many and value else value
            return given

    return Options
