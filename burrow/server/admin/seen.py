"""
Visitors' requests and connections on this node, kept while somebody looks.

It listens to the traffic of a tunnel, or of all, from when somebody first asks for its requests until L{KEEP}
seconds after somebody last did. A request of which nobody asked costs nothing. It keeps the last L{EACH} of
each tunnel, L{MOST} together: what the API tells of them, without headers.

Who follows is told at most L{BATCH} requests each L{EVERY} seconds: a person reads no more, and writing down
thousands a second would cost the visitors. The others are counted.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from twisted.internet.task import LoopingCall

from burrow.repeat import repeating
from burrow.server.admin.describe import Item
from burrow.shown import escaped
from burrow.traffic.hub import Listener, Traffic
from burrow.traffic.record import Record
from burrow.wording import iso

KEEP = 600.0
"""Seconds for which requests are kept after somebody last asked."""

EACH, MOST = 100, 5000
"""Requests that are kept: of one tunnel, and of all."""

LONGEST = 1024
"""Characters of a request's target that are kept."""

WATCHED = 100
"""Tunnels that it listens to by name, at most: of more, the one asked for longest ago is forgotten."""

EVERY, BATCH = 0.25, 50
"""Seconds between two pieces that a follower is told, and requests in one, at most."""

Send = Callable[[Any], None]

Wants = Callable[[str, str], bool]
"""Whether a request is wanted: by its tunnel's name, and the id of the token whose tunnel it was."""


_FIELDS = (
    *("id", "protocol", "tunnel", "visitor", "scheme", "method", "target", "host", "request_id", "status"),
    *("reason", "received", "sent", "began", "waited", "first_byte", "took", "error"),
)
_values = attrgetter(*_FIELDS)
_CUT = {"method": 40, "target": LONGEST, "host": 255, "request_id": 200, "reason": 80, "error": 400}
"""Characters of a text of somebody else's that are told."""


class _Seen:
    """
    What is kept of one record: itself until it is over, then what its fields were, without headers.

    @ivar owner: the id of the token whose tunnel it was then, since the name may be another's later; empty
        while this node does not know it.
    """

    __slots__ = ("_over", "key", "owner", "record", "tunnel")

    def __init__(self, key: int, record: Record) -> None:
        self.key = key
        self.tunnel = record.tunnel
        self.owner = ""
        self.record: Record | None = record
        self._over: tuple[Any, ...] = ()

    def over(self) -> None:
        """The record is over."""
        record = self.record
        assert record is not None
        values = _values(record)
        if len(record.target) + len(record.host) + len(record.error) > LONGEST:
            cut = (_CUT.get(field) for field in _FIELDS)
            values = tuple(value[:most] if most else value for value, most in zip(values, cut, strict=True))
        self._over, self.record = values, None

    def item(self, node: str) -> Item:
        """As the API tells it."""
        values = _values(self.record) if self.record is not None else self._over
        item: Item = dict(zip(_FIELDS, values, strict=True))
        for field, most in _CUT.items():
            item[field] = escaped(item[field][:most])
        item["id"] = f"{node}-{item['id']}"
        item["began"] = iso(item["began"])
        return item


class _Follower:
    """
    Who follows.

    @ivar tunnel: which tunnel's requests; empty: all. @ivar wants: see L{Wants}.
    """

    def __init__(self, tunnel: str, wants: Wants, send: Send) -> None:
        self.tunnel = tunnel
        self.wants = wants
        self.send = send
        self.waiting: dict[int, _Seen] = {}
        self.dropped = 0

    def tell(self, seen: _Seen) -> None:
        """It is new, or over."""
        if seen.key in self.waiting or len(self.waiting) < BATCH:
            self.waiting[seen.key] = seen
        else:
            self.dropped += 1


class SeenRequests(Listener):
    """
    @param clock: tells when nobody has asked for long. @param node: this node's id.
    @param owner_of: returns the id of the token whose tunnel a name is now; empty if it is none's.
    @ivar listens: whether it does.
    """

    def __init__(self, clock: Any, node: str, traffic: Traffic, owner_of: Callable[[str], str]) -> None:
        self._owner_of = owner_of
        self._clock = clock
        self._node = node
        self._traffic = traffic
        self._asked: dict[str, float] = {}  # by tunnel, that asked for longest ago first; "" for all
        self._kept: OrderedDict[int, _Seen] = OrderedDict()
        self._of: dict[str, deque[_Seen]] = {}
        self._running: dict[int, _Seen] = {}
        self._followers: list[_Follower] = []
        self._number = 0
        self.listens = False
        self._loop: LoopingCall = repeating(clock, self._tell, "telling requests to those who follow")

    # -- who looks -----------------------------------------------------------------------------------------

    def look(self, tunnel: str = "") -> None:
        """Somebody asks for a tunnel's requests, or all: listen, if it does not yet."""
        new = self._asked.pop(tunnel, None) is None
        self._asked[tunnel] = self._clock.seconds()
        if len(self._asked) > WATCHED:
            del self._asked[next(iter(self._asked))]
        if new:
            self._choose()
        if not self.listens:
            self.listens = True
            self._traffic.add(self)
            self._loop.start(EVERY, now=False)

    def _choose(self) -> None:
        """Listen to what somebody asked for, and forget what is kept of others."""
        self.tunnels = None if "" in self._asked else frozenset(self._asked)
        self._traffic.changed()
        if self.tunnels is not None:
            for name in self._of.keys() - self.tunnels:
                for seen in self._of.pop(name):
                    del self._kept[seen.key]

    def watches(self, tunnel: str) -> bool:
        """Whether it listens to a tunnel."""
        return self.listens and (self.tunnels is None or tunnel in self.tunnels)

    def recent(self, wants: Wants, tunnel: str, most: int) -> list[Item]:
        """
        What is kept, the newest first, C{most} at most. @param tunnel: of this tunnel alone, if not empty.
        """
        self.look(tunnel)
        kept = self._of.get(tunnel, ()) if tunnel else self._kept.values()
        found: list[Item] = []
        for seen in reversed(list(kept)):
            if len(found) == most:
                break
            if wants(seen.tunnel, self._owner(seen)):
                found.append(seen.item(self._node))
        return found

    def follow(self, wants: Wants, tunnel: str, send: Send) -> Callable[[], None]:
        """Call C{send} with pieces of what comes from now on. @return: stops that."""
        self.look(tunnel)
        follower = _Follower(tunnel, wants, send)
        self._followers.append(follower)
        return lambda: self._followers.remove(follower) if follower in self._followers else None

    def stop(self) -> None:
        """Listen no more, and forget everything."""
        if self.listens:
            self.listens = False
            self._traffic.remove(self)
            self._loop.stop()
        for kept in (self._kept, self._of, self._running, self._asked):
            kept.clear()

    # -- what comes ----------------------------------------------------------------------------------------

    def begun(self, record: Record) -> None:
        """See L{Listener}."""
        if self.tunnels is not None and record.tunnel not in self.tunnels:
            return
        self._number += 1
        seen = _Seen(self._number, record)
        self._running[id(record)] = self._kept[self._number] = seen
        self._owner(seen)  # as of now, if it is known
        of = self._of.get(seen.tunnel)
        if of is None:
            of = self._of[seen.tunnel] = deque()
        of.append(seen)
        if len(of) > EACH:
            del self._kept[of.popleft().key]
        elif len(self._kept) > MOST:
            _, oldest = self._kept.popitem(last=False)
            others = self._of[oldest.tunnel]
            others.popleft()
            if not others:
                del self._of[oldest.tunnel]
        self._told(seen)

    def ended(self, record: Record) -> None:
        """See L{Listener}."""
        seen = self._running.pop(id(record), None)
        if seen is None:
            return  # it began before somebody asked for it
        seen.over()
        if self.watches(seen.tunnel):
            self._told(seen)

    def _owner(self, seen: _Seen) -> str:
        """
        Whose it is. A request begins before its tunnel is looked for: a node that has not heard of the tunnel
        knows its owner a moment later.
        """
        if not seen.owner:
            seen.owner = self._owner_of(seen.tunnel)
        return seen.owner

    def _told(self, seen: _Seen) -> None:
        for follower in self._followers:
            if follower.wants(seen.tunnel, self._owner(seen)):
                follower.tell(seen)

    def _tell(self) -> None:
        for follower in list(self._followers):
            if follower.waiting or follower.dropped:
                items = [seen.item(self._node) for seen in follower.waiting.values()]
                dropped, follower.waiting, follower.dropped = follower.dropped, {}, 0
                follower.send({"items": items, "dropped": dropped})
        now = self._clock.seconds()
        for follower in self._followers:
            self._asked[follower.tunnel] = now
        late = [tunnel for tunnel, when in self._asked.items() if now - when >= KEEP]
        for tunnel in late:
            del self._asked[tunnel]
        if not self._asked:
            self.stop()
        elif late:
            self._choose()
