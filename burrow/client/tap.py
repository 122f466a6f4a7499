"""C{twistd burrow-client}: the same service, options and files as C{burrow start}."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.client.config import ClientConfig
from burrow.client.inspect.service import Inspector, make_inspector
from burrow.client.service import make_agent, read_again
from burrow.client.settings import client_settings
from burrow.client.tunnels import TunnelRequest
from burrow.clock import measure_by_ticks
from burrow.errors import BurrowError
from burrow.hangup import on_hangup
from burrow.options import twistd_options
from burrow.twistd import Stoppable, end_by, prepare_process, refuse

Options = twistd_options(ClientConfig, "[options]")


class _Inspecting(Service):
    """Runs an agent's inspector. If that cannot listen, the process ends."""

    def __init__(self, inspector: Inspector, reactor: Any) -> None:
        self._inspector = inspector
        self._reactor = reactor

    def startService(self) -> None:
        """Start the inspector."""
        super().startService()
        try:
            self._inspector.startService()
        except BurrowError:
            end_by(self._reactor, Failure())

    def stopService(self) -> Deferred[None]:
        """Stop the inspector."""
        super().stopService()
        return self._inspector.stopService()


def makeService(options: Any) -> IService:
    """The agent as a service, for twistd. It reads its configuration again at SIGHUP."""
    from twisted.internet import reactor

    measure_by_ticks(reactor)
    prepare_process()
    file = Path(options["config"]) if options["config"] else None
    try:
        config, tunnels = client_settings(options.flags_given(), os.environ, file)
        agent = make_agent(reactor, config, os.environ, list(tunnels.values()))
        inspector = make_inspector(agent, config, os.environ, None)
    except BurrowError as error:
        raise refuse(error) from error
    log = Logger()
    agent.on_opened.append(
        lambda opened: log.info(
            "{url} leads to {upstream}", url=opened.url, upstream=str(opened.request.upstream)
        )
    )
    agent.on_event.append(lambda event, text: log.info("{event}: {text}", event=event, text=text))
    if inspector is not None:
        agent.on_opened.append(lambda opened: log.info("the inspector is at {url}", url=agent.inspector))
    agent.done.addErrback(lambda reason: end_by(reactor, reason))

    def again() -> tuple[ClientConfig, list[TunnelRequest]]:
        config, tunnels = client_settings(options.flags_given(), os.environ, file)
        return config, list(tunnels.values())

    reactor.callWhenRunning(on_hangup, reactor, lambda: read_again(agent, again, config), also_ignored=True)
    if inspector is None:
        return Stoppable(reactor, agent)
    services = MultiService()
    _Inspecting(inspector, reactor).setServiceParent(services)
    Stoppable(reactor, agent).setServiceParent(services)
    return services
