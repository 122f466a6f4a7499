"""
Reads a command line with argparse; errors are one line with a suggestion, and options cannot be abbreviated.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from burrow.errors import ConfigError
from burrow.values import what_to_write
from burrow.wording import did_you_mean, listed, shown

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
            raise argparse.ArgumentTypeError(
                f"{shown(text)} is not possible: {what_to_write(error)}"
            ) from error

    return read


class _UnknownOption(Exception):
    """An option that a command has not. @ivar word: as it was written."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


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
        self._check_options(args)
        # argparse by itself takes an argument that may be left out for left out as soon as an option comes.
        if self._between or not wanted & {"?", "*", "+"} or argparse.PARSER in wanted or "--" in args:
            return super().parse_known_args(args, namespace)
        self._between = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._between = False

    def _check_options(self, arguments: Sequence[str]) -> None:
        """
        @raise _UnknownOption: there is no such option. argparse would take what follows it for an argument,
            and complain of that.
        """
        words = {
            word for action in self._actions if self._is_command(action) for word in action.choices or ()
        }
        takes_value = False
        for word in arguments:
            if word == "--" or (word in words and not takes_value):
                return
            name, equals, _ = word.partition("=")
            known = self._option_string_actions.get(name)
            if known is None and word.startswith("--") and not takes_value:
                raise _UnknownOption(word)
            takes_value = known is not None and known.nargs is None and not equals

    @staticmethod
    def _is_command(action: argparse.Action) -> bool:
        return isinstance(action, argparse._SubParsersAction)

    def error(self, message: str) -> NoReturn:
        """Print one line, and end the program with exit code 2."""
        required = message.removeprefix("the following arguments are required: ")
        for action in self._actions:
            if self._is_command(action) and required in (action.metavar, action.dest):
                message = f"which one? There is {self._listed(action)}"
            elif required == action.metavar and not action.option_strings:
                message = f"{required} is missing: {(action.help or '') % vars(action)}".removesuffix(": ")
            elif message == f"argument {'/'.join(action.option_strings)}: expected one argument":
                flag = action.option_strings[-1]
                message = f"{flag} needs a value: write {flag} {action.metavar or action.dest.upper()}"
        message = re.sub(
            "^one of the arguments (.*) is required$", lambda found: self._missing(found[1].split()), message
        )
        for word in ("argument ", "the following "):
            message = message.removeprefix(word)
        self.exit(2, f"burrow: {message} (`{self.prog} --help` shows what there is)\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Check that a value is one of the choices. argparse's own error suggests none of them."""
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        guess = did_you_mean(str(value), known)
        if isinstance(action, argparse._SubParsersAction) and self.prog == "burrow":
            here = _COMMANDS_ELSEWHERE.get(str(value))
            if str(value).isdecimal():
                here = f"burrow http {value}"
            if here is not None:
                guess = f": write `{here}`"
            raise argparse.ArgumentError(None, f"there is no command {shown(value)}{guess}")
        if not action.option_strings:
            # A word that is part of a command, as in `burrow server reload`.
            command = self.prog.removeprefix("burrow ")
            closest = next((word for word in known if guess == f"; did you mean {word}?"), "")
            there_is = self._listed(action)
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

    def _missing(self, flags: Sequence[str]) -> str:
        """That one of some options has to be given."""
        actions = [self._option_string_actions[flag] for flag in flags]
        written = [
            flag if action.nargs == 0 else f"{flag} {action.metavar or action.dest.upper()}"
            for flag, action in zip(flags, actions, strict=True)
        ]
        return f"one of {listed(written, 'or')} is missing"

    def _listed(self, action: argparse.Action) -> str:
        """The commands that one word more makes."""
        command = self.prog.removeprefix("burrow ")
        return ", ".join(shown(f"{command} {word}") for word in action.choices or ())

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
        try:
            parsed, rest = self.parse_known_args(arguments)
        except _UnknownOption as unknown:
            self._unknown(arguments, unknown.word)
        if rest:
            self._unknown(arguments, rest[0])
        return parsed

    def _whose(self, option: str) -> str:
        """Which commands have an option."""
        found = list(self._with_option(option))
        # What only looks at another command's options is no place for them.
        found = [each for each in found if each.split()[1] not in ("config", "doctor")] or found
        if not found:
            return ""
        if len(found) > 3:
            # Those that are used most come first.
            usual = ("burrow http", "burrow start", "burrow server")
            found.sort(key=lambda command: usual.index(command) if command in usual else len(usual))
            found[3:] = ["others"]
        return f" here: {listed(found, 'and')} {'have' if found[1:] else 'has'} it"

    def _with_option(self, option: str) -> Iterator[str]:
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for parser in action.choices.values():
                    if option in parser.options:
                        yield parser.prog
                    yield from parser._with_option(option)

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
                guess = parser._whose(name) or self._whose(name) or did_you_mean(name, parser.options)
            if not guess:
                longer = [option for option in parser.options if option.startswith(name)]
                guess = f"; did you mean {longer[0]}?" if longer else ""
            parser.error(f"there is no option {shown(name)[1:-1]}{guess}")
        parser.error(f"{shown(word)} is one argument too many")
