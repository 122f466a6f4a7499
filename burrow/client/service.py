"""The client role as a service: an agent with the tunnels of a configuration file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from burrow.client.agent import Agent
from burrow.client.config import ClientConfig
from burrow.client.settings import credentials_of
from burrow.client.tunnels import TunnelRequest
from burrow.errors import ConfigError
from burrow.wording import count_of

Read = Callable[[], "tuple[ClientConfig, list[TunnelRequest]]"]
"""Reads a configuration file. Raises L{ConfigError}."""


def read_again(agent: Agent, read: Read, was: ClientConfig) -> None:
    """
    Have an agent keep the tunnels open that its configuration file has now. If the file is wrong, nothing
    changes. Either is told as a "notice" event.

    @param read: reads the file.
    @param was: the configuration that the agent was made with, of which only the tunnels can change.
    """
    try:
        config, requests = read()
        if not requests:
            raise ConfigError("there are no tunnels in it")
    except ConfigError as error:
        agent.tell("notice", f"the configuration is wrong, so nothing is changed: {error}")
        return
    added, gone = agent.change(requests)
    text = (
        f"the configuration was read again: {count_of(added, 'tunnel')} to open, {gone} to close or replace"
    )
    if config != was:
        text += "; the server, the token and other settings change when the agent is started anew"
    agent.tell("notice", text)


def make_agent(
    reactor: Any, config: ClientConfig, environ: Mapping[str, str], requests: Sequence[TunnelRequest]
) -> Agent:
    """An agent, not started. @raise ConfigError: something is missing."""
    if not requests:
        raise ConfigError(
            "there are no tunnels to open: write [tunnels.NAME] tables into the configuration file"
        )
    return Agent(
        reactor,
        credentials_of(config, environ),
        requests,
        retry=not config.no_retry,
        stop_grace=config.stop_grace,
    )
