"""Kinds of a third party, one for each way in which visitors reach tunnels, and one that can fail."""

import os

from burrow.protocols.base import Reach
from burrow.protocols.filter import Filter
from burrow.protocols.http import HttpProtocol
from burrow.protocols.kind import PORT, TunnelKind
from burrow.protocols.options import Side, kind_option
from burrow.protocols.udp.agent import UdpForward
from burrow.protocols.udp.visitors import UdpVisitors


class Shout(Filter):
    def from_upstream(self, data):
        return data.upper()


class ByHost(TunnelKind):
    """Wraps the kind "http": its options, its observer and its protocol, behind one more option."""

    name = "byhost"
    summary = "a name, and another kind inside"
    reach = Reach.HOST
    inside = HttpProtocol()
    schemes = inside.schemes
    scheme = inside.scheme
    options = (*inside.options, kind_option("polite", "tell pages apart", False, side=Side.AGENT))

    def check_options(self, options):
        self.inside.check_options(options)

    def agent_protocol(self, tunnel, head):
        return self.inside.agent_protocol(tunnel, head)

    def observer(self, tunnel, head, traffic, memory):
        return self.inside.observer(tunnel, head, traffic, memory)


class BySni(TunnelKind):
    name = "bysni"
    summary = "a name on the TLS port"
    reach = Reach.SNI
    options = ()


class ByPort(TunnelKind):
    """Public or private: see its options."""

    name = "byport"
    summary = "a TCP port, and capitals"

    def filter(self, tunnel, head):
        return Shout()


class ByDatagram(TunnelKind):
    name = "bydatagram"
    summary = "a UDP port"
    reach = Reach.UDP_PORT
    schemes = ("udp",)
    options = (PORT,)

    def visitor_factory(self, tunnel):
        self.counts["ports"] += 1
        return UdpVisitors(tunnel, 60.0)

    def agent_protocol(self, tunnel, head):
        return UdpForward(tunnel.reactor, tunnel.upstream)


class Failing(Filter):
    def from_visitor(self, data):
        if data.startswith(b"fail"):
            raise ZeroDivisionError("as it was asked to")
        return data


class Faulty(TunnelKind):
    name = "faulty"
    summary = "a TCP port, and faults"
    version = int(os.environ.get("FAULTY_VERSION", "1"))
    oldest = version
    options = (PORT, kind_option("where", "where it fails", ""))

    def visitor_factory(self, tunnel):
        if tunnel.options["where"] == "server":
            raise ZeroDivisionError("at the server")
        return super().visitor_factory(tunnel)

    def agent_protocol(self, tunnel, head):
        if tunnel.options["where"] == "agent":
            raise ZeroDivisionError("at the agent")
        return super().agent_protocol(tunnel, head)

    def filter(self, tunnel, head):
        return Failing()
