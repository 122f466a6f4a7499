"""The kind "redis": a TCP port to a Redis, whose commands the agent shows, and may hold back."""

from burrow.protocols.filter import Filter
from burrow.protocols.kind import PORT, TunnelKind
from burrow.protocols.options import Side, kind_option
from burrow_redis.commands import only_reads
from burrow_redis.observer import CommandObserver
from burrow_redis.resp import CommandReader, Malformed, ReplyReader

READONLY = kind_option("readonly", "let only commands pass that read", False, side=Side.AGENT)


class Redis(TunnelKind):
    name = "redis"
    summary = "a TCP port to a Redis, and show its commands"
    schemes = ("redis", "tcp")
    options = (PORT, READONLY)

    def parse_upstream(self, text, options):
        return super().parse_upstream(text.replace("redis://", "tcp://"), options)

    def filter(self, tunnel, head):
        return ReadOnly(self.counts) if tunnel.options["readonly"] else None

    def observer(self, tunnel, head, traffic, memory):
        return CommandObserver(traffic, self.name, head.tunnel, head.visitor, head.scheme)


MARK = "burrow-refused:"
"""
A refused command is sent to Redis as one of this name, which Redis does not know. So Redis answers in its
turn, and gives a transaction up at EXEC, as it does after any error; and nothing waits here.
"""


class ReadOnly(Filter):
    """Lets only commands pass that read. C{counts}: of all tunnels together."""

    def __init__(self, counts):
        self._counts = counts
        self._commands = CommandReader()
        self._replies = ReplyReader()
        self._passes = True
        self._over = False

    def from_visitor(self, data):
        if self._over:
            return b""
        passed = []
        try:
            for piece, command in self._commands.feed(data):
                if command is not None:
                    self._passes = only_reads(command)
                    self._counts["passed" if self._passes else "refused"] += 1
                    if not self._passes:
                        passed.append(resp(MARK + command.name))
                if self._passes:
                    passed.append(piece)
        except Malformed:
            # What comes behind cannot be read. Commands before it are answered, and then Redis hangs up.
            self._over = True
            passed += [resp(MARK), resp("QUIT")]
        return b"".join(passed)

    def from_upstream(self, data):
        return b"".join(
            refusal(reply.error) if reply is not None and MARK in reply.error else piece
            for piece, reply in self._replies.feed(data)
        )


def resp(name):
    """A command without arguments."""
    return b"*1\r\n$%d\r\n%b\r\n" % (len(name), name.encode())


def refusal(error):
    """What a visitor is answered. @param error: what Redis says of the command that it was sent."""
    name = error.partition(MARK)[2].partition("'")[0].partition("`")[0]
    return f"-READONLY {name or 'this'} is refused: only commands that read pass this tunnel\r\n".encode()
