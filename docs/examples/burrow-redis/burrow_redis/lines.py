"""The kind "lines": a TCP port of a protocol that speaks in lines, each of which the agent shows."""

from burrow.observe.observer import Observer
from burrow.protocols.kind import PORT, TunnelKind
from burrow.protocols.options import Side, kind_option
from burrow.traffic.record import Record

LIMIT = kind_option("shown", "characters of a line", 80, side=Side.AGENT, parse=int, number=True, least=1)


class Lines(TunnelKind):
    name = "lines"
    summary = "a TCP port, and show the lines that visitors send"
    options = (PORT, LIMIT)

    def observer(self, tunnel, head, traffic, memory):
        observer = LineObserver(traffic, self.name, head.tunnel, head.visitor, head.scheme)
        observer.limit = tunnel.options["shown"]
        return observer


class LineObserver(Observer):
    line = b""

    def received(self, data):
        *lines, self.line = (self.line + data).split(b"\n")
        self.line = self.line[: self.limit]
        for line in lines:
            record = Record(self.kind, self.tunnel, self.visitor, self.scheme, method="LINE")
            record.target = line[: self.limit].decode("utf-8", "replace").strip()
            self.traffic.begun(record)
            self.traffic.ended(record)
