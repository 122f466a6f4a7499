"""
Completion in shells: C{burrow completion SHELL} prints what a shell has to be told once. On each press of the
Tab key the shell runs C{burrow} with C{_ARGCOMPLETE} in its environment, which prints the words that fit.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from burrow.errors import BurrowError

if TYPE_CHECKING:
    from burrow.store.base import IStore

Completer = Callable[[argparse.Namespace], list[str]]
"""
Returns the words that may stand somewhere, by what stands before it on the command line. It loads what it
needs for that by itself: every command names some.
"""

_SHELLS = ("bash", "zsh", "fish")


def add_completion(commands: Any) -> None:
    """C{burrow completion}."""
    parser = commands.add_parser(
        "completion",
        help="have your shell complete commands, options and names",
        description="Print what a shell has to be told so that Tab completes commands, options, and the "
        'names of tunnels and tokens. In ~/.bashrc: eval "$(burrow completion bash)". In ~/.zshrc, behind '
        'compinit: eval "$(burrow completion zsh)". In fish, once: burrow completion fish > '
        "~/.config/fish/completions/burrow.fish",
    )
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help="which: bash, zsh or fish")
    parser.set_defaults(run=completion)


def completion(arguments: argparse.Namespace) -> int:
    """C{burrow completion SHELL}."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(["burrow"], use_defaults=True, shell=arguments.shell).strip())
    return 0


def is_asked() -> bool:
    """Whether a shell asks for words."""
    return "_ARGCOMPLETE" in os.environ


def answer_shell(parser: argparse.ArgumentParser) -> None:
    """Print the words that fit, and end the program."""
    from argcomplete import autocomplete

    autocomplete(parser, always_complete_options=False)


def completed_by(action: argparse.Action, words: Completer) -> None:
    """Have the words of an argument completed. An error of C{words} is not shown: then there are none."""

    def complete(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
        with contextlib.suppress(BurrowError, OSError):
            return words(parsed_args)
        return []

    vars(action)["completer"] = complete


def configured_tunnels(arguments: argparse.Namespace) -> list[str]:
    """The tunnels of the configuration file."""
    from burrow.client.settings import client_settings

    _, tunnels = client_settings({}, os.environ, getattr(arguments, "config", None))
    return list(tunnels)


def token_names(arguments: argparse.Namespace) -> list[str]:
    """The names of the tokens."""
    return _from_api(arguments, "tokens") or _from_store(arguments, lambda store: store.tokens())


def owned_names(arguments: argparse.Namespace) -> list[str]:
    """The names that somebody owns."""
    return _from_api(arguments, "names") or _from_store(arguments, lambda store: store.reservations())


def open_tunnels(arguments: argparse.Namespace) -> list[str]:
    """The names of the tunnels that are open."""
    return _from_api(arguments, "tunnels")


def _from_api(arguments: argparse.Namespace, thing: str) -> list[str]:
    """The names of what a server has; none for a command that looks into a store, or without an answer."""
    from burrow.cli.quickly import names_quickly
    from burrow.cli.remote import in_store, settings
    from burrow.client.settings import looking_credentials

    if not hasattr(arguments, "server") or in_store(arguments):
        return []
    return names_quickly(looking_credentials(settings(arguments)), thing)


def _from_store(arguments: argparse.Namespace, read: Callable[[IStore], Awaitable[list[Any]]]) -> list[str]:
    from burrow.cli.store import with_store

    found: list[str] = []

    async def work(store: IStore) -> None:
        found.extend(record.name for record in await read(store))

    with contextlib.redirect_stderr(io.StringIO()):
        with_store(arguments, work)
    return found
