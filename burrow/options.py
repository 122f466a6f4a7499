"""
The mechanism of options: a role's configuration is a frozen dataclass, and each option is one field of it.

From the field L{option} come its flag, environment variable, key in a TOML file, help, default, and the
option of C{twistd}: C{--https} is C{https} in a file and C{BURROW_HTTPS} in the environment. The flag counts
before the environment, the environment before the file, the file before the default.
"""

from __future__ import annotations

import argparse
import dataclasses
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from twisted.python import usage

from burrow.errors import ConfigError
from burrow.values import NUMERIC
from burrow.wording import did_you_mean, shown

_C = TypeVar("_C")
_PREFIX = "BURROW_"


def option(
    default: Any,
    help: str,
    *,
    parse: Callable[[str], Any] = str,
    metavar: str = "",
    choices: tuple[str, ...] = (),
    many: bool = False,
    secret: bool = False,
) -> Any:
    """
    A field of a configuration class: a frozen dataclass.

    @param default: a text is parsed, as one that a person gave; of C{many} each in a tuple of texts. Other
        values, as None, are the field's own. False makes a switch, without a value on the command line.
    @param help: one line. The default is added unless the line has it, and the environment variable.
    @param parse: returns the value that a text stands for; its ValueError says what to write instead.
    @param many: the option may be given more than once, and the value is a tuple.
    @param secret: the value is in no error and no C{repr}.
    """
    value = default
    if many:
        value = tuple(map(parse, default))
    elif isinstance(default, str):
        value = parse(default)
    metadata = {
        "default": default,
        "help": help,
        "parse": parse,
        "metavar": metavar,
        "choices": choices,
        "many": many,
        "flag": default is False,
    }
    return dataclasses.field(default=value, repr=not secret, metadata=metadata)


def _value(field: dataclasses.Field[Any], given: Any, source: str, equals: str = " ") -> Any:
    """
    @param given: a text; or from a file, whatever TOML has.
    @raise ConfigError: it is not possible.
    """
    meta = field.metadata
    item = given
    try:
        if meta["many"]:
            items = given if isinstance(given, (list, tuple)) else str(given).split(",")
            values = []
            for item in items:
                if isinstance(given, list) and not isinstance(item, str):
                    raise ValueError("write texts")
                values.append(meta["parse"](item.strip()))
            return tuple(values)
        if meta["flag"]:
            if isinstance(given, bool):
                return given
            switches = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
            if str(given).lower() not in switches:
                raise ValueError("write true or false")
            return switches[str(given).lower()]
        numeric = meta["parse"] in NUMERIC
        if isinstance(given, bool) or not isinstance(given, (str, int, float) if numeric else (str, Path)):
            wanted = " or ".join(meta["choices"]) if meta["choices"] else "a number" if numeric else "a text"
            raise ValueError(f"write {wanted}")
        text = str(given)
        if meta["choices"] and text not in meta["choices"]:
            raise ValueError(
                f"write one of {', '.join(meta['choices'])}{did_you_mean(text, meta['choices'])}"
            )
        return meta["parse"](text)
    except ValueError as error:
        value = "" if not field.repr else f"{equals}{shown(item)}"
        raise ConfigError(f"{source}{value} is not possible: {error}") from error


def flag(name: str) -> str:
    """An option's flag."""
    return "--" + name.replace("_", "-")


def load(
    cls: type[_C],
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    table: Mapping[str, Any] | None = None,
    source: str = "the configuration file",
    only: Collection[str] | None = None,
) -> _C:
    """
    Put a configuration together.

    @param flags: what the command line gave, by field name; None means not given.
    @param table: what a TOML file gave, by flag name without the dashes.
    @param only: the fields to fill, if not all.
    @raise ConfigError: a value is not possible, or the table has an unknown key.
    """
    values: dict[str, Any] = {}
    rest = dict(table or {})
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        name = field.name
        if only is not None and name not in only:
            continue
        key = name.replace("_", "-")
        in_table = rest.pop(key, None)
        variable = _PREFIX + name.upper()
        if flags.get(name) not in (None, (), []):
            values[name] = _value(field, flags[name], flag(name))
        elif environ.get(variable):
            values[name] = _value(field, environ[variable], variable)
        elif in_table is not None:
            values[name] = _value(field, in_table, f"{source}: {key}", " = ")
    keys = [field.name.replace("_", "-") for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    check_keys(rest, keys, source)
    return cls(**values)


def check_keys(table: Collection[str], known: Collection[str], source: str) -> None:
    """@raise ConfigError: a table of a file has a key that is not known."""
    for key in sorted(set(table) - set(known)):
        guess = did_you_mean(key, known) or did_you_mean(key.replace("_", "-"), known)
        raise ConfigError(f"{source}: there is no option {shown(key)[1:-1]}{guess}")


def read_toml(path: Path) -> dict[str, Any]:
    """@raise ConfigError: the file cannot be read, or is not TOML."""
    try:
        # An editor may have put a byte order mark first.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not in UTF-8: save it so") from error
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _help(field: dataclasses.Field[Any]) -> str:
    """An option's help, with its default and its environment variable."""
    text, default = str(field.metadata["help"]), field.metadata["default"]
    if default not in (None, "", (), False) and "default" not in text:
        text += f" (default: {default})"
    return f"{text} [{_PREFIX}{field.name.upper()}]"


def add_arguments(
    parser: argparse._ActionsContainer, cls: type[Any], only: Collection[str] | None = None
) -> None:
    """
    Give an argparse parser the options of a configuration class; none has a default there.

    @param only: the fields to take, if not all.
    """
    for field in dataclasses.fields(cls):
        if only is not None and field.name not in only:
            continue
        meta = field.metadata
        if meta["flag"]:
            parser.add_argument(flag(field.name), action="store_true", default=None, help=_help(field))
        else:
            parser.add_argument(
                flag(field.name),
                action="append" if meta["many"] else "store",
                metavar=meta["metavar"]
                or ("{" + ",".join(meta["choices"]) + "}" if meta["choices"] else None),
                help=_help(field).replace("%", "%%"),
            )


def twistd_options(cls: type[Any], synopsis_text: str) -> type[usage.Options]:
    """The same options for a twistd plugin; C{flags_given} of an instance is what L{load} takes."""
    fields = dataclasses.fields(cls)
    repeated = [field.name for field in fields if field.metadata["many"]]

    class Options(usage.Options):
        synopsis = synopsis_text
        optFlags = [
            [field.name.replace("_", "-"), None, _help(field)] for field in fields if field.metadata["flag"]
        ]
        optParameters = [
            ["config", None, None, "a TOML file with these options"],
            *(
                [field.name.replace("_", "-"), None, None, _help(field)]
                for field in fields
                if not field.metadata["flag"]
            ),
        ]

        def parseOptions(self, options: Any = None) -> None:
            """Read a command line. As by C{burrow}, shortened options are refused."""
            for word in options or ():
                name = str(word)[2:].partition("=")[0]
                known = {one.rstrip("=") for one in self.longOpt}
                if str(word).startswith("--") and name and name not in known:
                    raise usage.UsageError(f"there is no option --{name}{did_you_mean(name, known)}")
            super().parseOptions(options)

        def flags_given(self) -> dict[str, Any]:
            """What the command line gave, by field name."""
            given = {field.name: self[field.name.replace("_", "-")] for field in fields}
            for name in repeated:
                given[name] = given[name].split(",") if given[name] else None
            return {name: value or None for name, value in given.items()}

    return Options
