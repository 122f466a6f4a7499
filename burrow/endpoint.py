"""
The strings C{burrow:name=demo} of C{twisted.internet.endpoints.serverFromString}. This module loads nothing
else of Burrow: whoever reads any endpoint's string has it loaded.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IStreamServerEndpoint, IStreamServerEndpointStringParser
from twisted.plugin import IPlugin
from zope.interface import implementer


@implementer(IPlugin, IStreamServerEndpointStringParser)
class BurrowParser:
    """See L{TunnelEndpoint<burrow.program.endpoint.TunnelEndpoint>}, whose arguments the string has."""

    prefix = "burrow"

    def parseStreamServer(self, reactor: Any, *args: object, **kwargs: object) -> IStreamServerEndpoint:
        """C{burrow:name=demo}, or C{burrow:demo}. @raise ConfigError: it cannot be opened so."""
        from burrow.program.endpoint import parse_endpoint

        return parse_endpoint(reactor, args, kwargs)
