"""The functions of C{import burrow}."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from burrow.client.config import ClientConfig
from burrow.client.settings import client_settings
from burrow.client.tunnels import find_kind, tunnel_request
from burrow.errors import ConfigError
from burrow.options import options_of
from burrow.program.tunnel import Opening, Plan, Tunnel
from burrow.wording import PROGRAM

_COMMAND_LINE = {
    "inspect": "tunnel.requests has what the inspector shows; leave it out",
    "log_level": 'write logging.getLogger("burrow").setLevel("DEBUG")',
}
"""Settings of agents that are not for programs, and what to write instead."""

_SETTINGS = {each.name: each for each in options_of(ClientConfig)}
SETTINGS = _SETTINGS.keys() - set(_COMMAND_LINE)
"""What of C{options} is the agent's, and not the kind's."""

_WRITTEN = replace(PROGRAM, others=("name", "kind", *sorted(SETTINGS)))


def forward(upstream: int | str, *, name: str | None = None, kind: str = "http", **options: Any) -> Tunnel:
    """
    Open a tunnel, and wait until it is open::

        with burrow.forward(8000, name="demo") as tunnel:
            print(tunnel.url)

    @param upstream: what to open: a port, C{"HOST:PORT"}, a URL or C{"unix:/PATH"}.
    @param name: the name to have; None for one that the server chooses.
    @param kind: "http", "tcp" or any other that C{burrow protocols} lists.
    @param options: settings (C{server}, C{token}, C{token_file}, C{ca_file}, C{insecure}, C{no_retry},
        C{stop_grace}, C{no_inspect}, C{inspect_memory}), which else come from where the command line has
        them: the environment, the configuration file, C{burrow login}. And options of the
        kind, as in C{port=4000}.
    @raise BurrowError: the tunnel cannot be opened; the text says what to do.
    """
    return plan_forward(upstream, name, kind, options).open()


def aforward(upstream: int | str, *, name: str | None = None, kind: str = "http", **options: Any) -> Opening:
    """
    The same for coroutines, of asyncio or of Twisted's running reactor::

        async with burrow.aforward(8000) as tunnel: ...

        tunnel = await burrow.aforward(8000)
    """

    async def work() -> Tunnel:
        return await plan_forward(upstream, name, kind, options).aopen()

    return Opening(work)


def plan_forward(upstream: int | str, name: str | None, kind: str, options: dict[str, Any]) -> Plan:
    """What C{forward} is to open. @raise ConfigError: it is not possible."""
    for word, text in (("kind", kind), ("name", name)):
        if text is not None and not isinstance(text, str):
            raise ConfigError(f"{word}={text!r} is not possible: write a text")
    find_kind(kind, _WRITTEN)  # first, since what a word in options means depends on it
    config, given = settings(options)
    return Plan(config, tunnel_request(kind, str(upstream), name, given, _WRITTEN))


def settings(options: dict[str, Any]) -> tuple[ClientConfig, dict[str, Any]]:
    """The agent's settings, and what of C{options} is none of them: the kind's, by key."""
    flags: dict[str, Any] = {}
    given: dict[str, Any] = {}
    for key, value in options.items():
        if value is None:
            continue
        text = str(value) if isinstance(value, Path) else value
        if key in _COMMAND_LINE:
            raise ConfigError(f"{key} is for the command line: {_COMMAND_LINE[key]}")
        if key in SETTINGS:
            _SETTINGS[key].value(text, key, "=")  # so that an error in it is not about a flag
            flags[key] = text
        else:
            given[key.replace("_", "-")] = text
    config, _ = client_settings(flags, os.environ, None)
    return config, given
