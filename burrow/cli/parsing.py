"""
Reads a command line with argparse; errors are one line with a suggestion, and options cannot be abbreviated.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from burrow.errors import ConfigError
from burrow.wording import did_you_mean, shown

_ELSEWHERE = {
    "--subdomain": "--name NAME",
    "--hostname": "--name NAME",
    "--host": "--name NAME",
    "--domain": "--name NAME",
    "--url": "--name NAME",
    "--authtoken": "--token TOKEN",
    "--auth-token": "--token TOKEN",
    "--auth": "--token TOKEN",
    "--region": "--server URL",
    "--server-addr": "--server URL",
    "--local-host": "HOST:PORT as UPSTREAM",
    "--remote-port": "--port PORT",
    "--remote-addr": "--port PORT",
    "--log": "--log-level LEVEL",
}
"""What options of other tunnels are called here, where a command has that."""

_COMMANDS_ELSEWHERE = {
    "authtoken": "burrow login URL -",
    "auth": "burrow login URL -",
    "tunnel": "burrow http 3000",
    "expose": "burrow http 3000",
    "share": "burrow http 3000",
    "https": "burrow http 3000",
    "ssh": "burrow tcp 22",
    "client": "burrow start",
    "agent": "burrow start",
    "serve": "burrow server",
    "frps": "burrow server",
    "frpc": "burrow start",
}
"""What commands of other tunnels are called here."""


def typed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """An argparse type out of a function whose ValueError's text says what to write instead."""

    def read(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{shown(text)} is not possible: {error}") from error

    return read


class Parser(argparse.ArgumentParser):
    """
    The parser of a command; its subparsers are of this class, too.

    @ivar instead: for a flag that it has not the sentence which says what to write instead, or nothing.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        super().__init__(*arguments, **options)
        self.instead: Callable[[str], str] | None = None
        self._between = False  # whether options and arguments are being told apart

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """See L{argparse.ArgumentParser}. Options may stand between any arguments."""
        wanted = {action.nargs for action in self._actions if not action.option_strings}
        args = sys.argv[1:] if args is None else list(args)
        # argparse by itself takes an argument that may be left out for left out as soon as an option comes.
        if self._between or not wanted & {"?", "*", "+"} or argparse.PARSER in wanted or "--" in args:
            return super().parse_known_args(args, namespace)
        self._between = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._between = False

    def error(self, message: str) -> NoReturn:
        """Print one line, and end the program with exit code 2."""
        for word in ("argument ", "the following "):
            message = message.removeprefix(word)
        self.exit(2, f"burrow: {message} (`{self.prog} --help` shows what there is)\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Check that a value is one of the choices. argparse's own error suggests none of them."""
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        guess = did_you_mean(str(value), known)
        if isinstance(action, argparse._SubParsersAction):
            here = _COMMANDS_ELSEWHERE.get(str(value))
            if str(value).isdecimal():
                here = f"burrow http {value}"
            if here is not None and self.prog == "burrow":
                guess = f": write `{here}`"
            raise argparse.ArgumentError(None, f"there is no command {shown(value)}{guess}")
        if not action.option_strings:
            # A word that is part of a command, as in `burrow server reload`.
            command = self.prog.removeprefix("burrow ")
            closest = next((word for word in known if guess == f"; did you mean {word}?"), "")
            there_is = ", ".join(shown(f"{command} {word}") for word in known)
            rest = f"; did you mean {shown(f'{command} {closest}')}?" if closest else f": there is {there_is}"
            raise argparse.ArgumentError(None, f"there is no {shown(f'{command} {value}')}{rest}")
        raise argparse.ArgumentError(
            action, f"{shown(value)} is not possible: write one of {', '.join(known)}{guess}"
        )

    def _get_values(self, action: argparse.Action, arg_strings: Any) -> Any:
        """
        An argument's value.

        @raise ConfigError: it is not possible: exit code 78, as for the same value from elsewhere.
        """
        try:
            return super()._get_values(action, arg_strings)
        except argparse.ArgumentError as error:
            if error.argument_name is None:  # a command that there is not
                raise
            raise ConfigError(f"{error.argument_name} {error.message}") from error

    def command(self, words: Sequence[str]) -> Parser:
        """
        The parser of a command, by its words as far as they are those of commands.

        @raise ArgumentError: a word is no command where one is expected.
        """
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction) and words and not words[0].startswith("-"):
                self._check_value(action, words[0])
                found: Parser = action.choices[words[0]]
                return found.command(words[1:])
        return self

    @property
    def options(self) -> list[str]:
        """The flags of its options."""
        return [option for action in self._actions for option in action.option_strings]

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse a whole command line. Errors end the program with exit code 2."""
        for argument in arguments:
            try:
                argument.encode()
            except UnicodeEncodeError:
                self.error(f"{shown(argument)} is not UTF-8")
        first = arguments[0] if arguments else ""
        if first.startswith("-") and first.partition("=")[0] not in self.options:
            self.error(f"options go behind the command: write burrow COMMAND {shown(first)[1:-1]}")
        parsed, rest = self.parse_known_args(arguments)
        if rest:
            self._unknown(arguments, rest[0])
        return parsed

    def _whose(self, option: str) -> str:
        """Which commands have an option, if they are a few."""
        found = [
            f"burrow {word}"
            for action in self._actions
            if isinstance(action, argparse._SubParsersAction)
            for word, parser in action.choices.items()
            if option in parser.options
        ]
        return (
            f" here: {' and '.join(found)} {'has' if len(found) == 1 else 'have'} it"
            if 0 < len(found) < 4
            else ""
        )

    def _unknown(self, arguments: Sequence[str], word: str) -> NoReturn:
        parser = self.command(arguments)
        if word.startswith("-") and word != "-":
            name = word.partition("=")[0]
            if parser.instead and (sentence := parser.instead(name)):
                parser.error(sentence)
            here = _ELSEWHERE.get(name, "")
            is_here = not here.startswith("--") or here.split()[0] in parser.options
            guess = f": write {here}" if here and is_here else ""
            if not here:  # what others call so is no misspelling
                guess = self._whose(name) or did_you_mean(name, parser.options)
            if not guess:
                longer = [option for option in parser.options if option.startswith(name)]
                guess = f"; did you mean {longer[0]}?" if longer else ""
            parser.error(f"there is no option {shown(name)[1:-1]}{guess}")
        parser.error(f"{shown(word)} is one argument too many")
