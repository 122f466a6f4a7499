"""
This node among the others that share its store: who is there, and who holds which tunnel.

In the store each node has a note, renewed every L{BEAT} and forgotten L{NODE_TTL} after the last
time; and each live tunnel has a lease, a note that says which node holds it. A lease of a node that is
forgotten is worth nothing, so a node that dies loses all of its own at once, and renewing a thousand costs
one write.

A lease is taken over by whoever opens the tunnel next, since only its owner can: the newer session wins. The
node that held it learns that at its next look. A lease of another token's wins only if the store says that
this token owns the name: a node that missed how the name changed hands may have written it. While the store
is away nothing changes hands; when it is back, a node takes what it holds again, except what another node has
taken meanwhile.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any

import attr
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from burrow.errors import StoreError
from burrow.repeat import repeating
from burrow.server.nodes.records import LEASES, NODES, Lease, Node, from_notes, to_text
from burrow.store.base import IStore

BEAT = 1.0
"""Seconds between two renewals, each with a look at the others."""

SHORT_BEAT = 0.1
"""Seconds between two looks while visitors wait for a tunnel that may open on another node."""

NODE_TTL = 5.0
"""Seconds after its last renewal that a node counts as dead."""

LEASE_TTL = 7200.0
"""Seconds that a lease is kept without being renewed."""

RENEW_LEASES = 3000.0
"""Seconds between two renewals of a lease."""

_AT_ONCE = 100


class Cluster:
    """
    @param own_id: this node's id. @param now: seconds since the epoch, for what other machines compare.
    @ivar others: the other nodes that are alive, by id.
    @param linked: says whether a node can be reached, whatever the store says.
    @ivar on_nodes: called without arguments when another node came or went.
    @ivar on_leases: called with the names on which the leases of other nodes changed.
    @ivar on_taken: called with the lease of another node's on a name that we held. If it is another token's,
        that token owns the name.
    @ivar on_dead: called with the names that a node held that died.
    """

    log = Logger()

    def __init__(
        self,
        clock: Any,
        store: IStore,
        own_id: str,
        linked: Callable[[str], bool] = lambda node_id: False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.own_id = own_id
        self.node: Node | None = None
        self.others: dict[str, Node] = {}
        self.on_nodes: list[Callable[[], None]] = []
        self.on_leases: list[Callable[[Collection[str]], None]] = []
        self.on_taken: list[Callable[[Lease], None]] = []
        self.on_dead: list[Callable[[list[str]], None]] = []
        self._linked = linked
        self.hurried: Callable[[], bool] = lambda: False
        self._sessions: Counter[str] = Counter()
        self._now = now
        self._clock = clock
        self._store = store
        self._held: dict[str, Lease] = {}
        self._theirs: dict[str, Lease] = {}
        self._beaten = float("-inf")
        self._renewed: dict[str, float] = {}
        self._beats: dict[str, tuple[int | None, float]] = {}
        self._unnoted: set[str] = set()
        self._read = clock.seconds()
        self._patient = float("-inf")
        self._written = ""
        self._loop = repeating(clock, self._beat, "a look at the other nodes")
        self._looking = DeferredLock()
        self._leaving = False

    # -- its life -----------------------------------------------------------------------------------------

    async def join(self, node: Node) -> None:
        """Be there for the others, as C{node}. @raise StoreError: the store cannot tell who is."""
        self.node = node
        await self._look()
        self._loop.start(SHORT_BEAT, now=False)

    async def drain(self) -> None:
        """Tell the others that this node takes no more agents; know where these may go."""
        if self.node is not None:
            self.node = attr.evolve(self.node, draining=True)
            await self._quietly(self._renew_node())
            await self._quietly(self._look())

    async def leave(self) -> None:
        """Be gone, and hold nothing."""
        if self._loop.running:
            self._loop.stop()
        self._leaving = True
        for lease in list(self._held.values()):
            await self.let_go(lease.name)
        if self.node is not None:
            await self._quietly(self._store.swap_note(NODES, self.own_id, self._written, None))

    # -- leases ---------------------------------------------------------------------------------------------

    async def hold(self, name: str, kind: str, port: int | None, token: str = "") -> None:
        """Take a name, whoever held it. If the store is away that is done when it is back."""
        before = await self.ask(name)
        if self._theirs.pop(name, None) is not None:
            _tell(self.on_leases, [name])
        # Later than the lease that it replaces, also where another machine's clock is ahead.
        since = max(self._now(), 0.0 if before is None else before.since + 0.001)
        lease = self._held[name] = Lease(name, self.own_id, kind, port, since, token)
        self._renewed[name] = self._clock.seconds()
        await self._quietly(self._store.put_note(LEASES, lease.name, to_text(lease), LEASE_TTL))

    async def let_go(self, name: str) -> None:
        """Give a name up, if it is still ours."""
        lease = self._held.pop(name, None)
        if lease is not None:
            await self._quietly(self._store.swap_note(LEASES, name, to_text(lease), None))

    async def ask(self, name: str) -> Lease | None:
        """The same as L{elsewhere}, as of now if the store can tell."""
        try:
            lease = await self._lease(name)
            if lease is not None and lease.node not in self.others and lease.node != self.own_id:
                await self._look()  # a node that came after the last look, or died since
                lease = await self._lease(name)
        except StoreError:
            return self.elsewhere(name)
        if lease is not None and lease.node in self.others and name not in self._held:
            self._theirs[name] = lease
        return self.elsewhere(name)

    async def _lease(self, name: str) -> Lease | None:
        text = None if name in self._held else await self._store.note(LEASES, name)
        return None if text is None else from_notes(Lease, {name: text}).get(name)

    def elsewhere(self, name: str) -> Lease | None:
        """The lease of another node that is alive on a name, as of the last look."""
        return self._theirs.get(name)

    async def look(self) -> None:
        """See who is there and who holds what, now. @raise StoreError: the store cannot tell."""
        await self._look()

    async def strangers(self) -> bool:
        """
        Whether there is another node, as of now, that is linked and not stopped together with this one. One
        that died counts as there for L{NODE_TTL}.
        """
        try:
            await self._look()
        except StoreError:
            return False  # nothing changes hands now
        ours = self.node.group if self.node is not None else ""
        return any(
            not node.draining and node.group != ours and self._linked(node.id)
            for node in self.others.values()
        )

    def session_began(self, token_id: str) -> None:
        """A session of a token's, by its id, began here: the others are told with the next renewal."""
        self._sessions[token_id] += 1

    def session_ended(self, token_id: str) -> None:
        """One of them ended."""
        self._sessions[token_id] -= 1
        if not self._sessions[token_id]:
            del self._sessions[token_id]

    def sessions_elsewhere(self, token_id: str) -> int:
        """How many sessions a token, by its id, has on other nodes that are alive, as of the last look."""
        return sum(node.sessions.get(token_id, 0) for node in self.others.values())

    @property
    def theirs(self) -> Iterable[Lease]:
        """All leases of other nodes that are alive, as of the last look."""
        return self._theirs.values()

    # -- inside ---------------------------------------------------------------------------------------------

    async def _quietly(self, asking: Awaitable[Any]) -> None:
        """Ask for what is repaired later if the store cannot do it now."""
        try:
            await asking
        except StoreError as error:
            self.log.warn("the store could not be told who holds what: {error}", error=error)

    async def _beat(self) -> None:
        now = self._clock.seconds()
        if now - self._beaten < BEAT and not (self.others and self.hurried()):
            return
        try:
            await self._look()
        except StoreError as error:
            # What is known stays: whoever serves goes on to.
            self.log.debug("the other nodes cannot be looked for: {error}", error=error)

    async def _look(self) -> None:
        """Renew ourselves; see who is there and who holds what. One look after the other, each newer."""
        await self._looking.run(self._look_now)

    async def _look_now(self) -> None:
        now = self._clock.seconds()
        noted = await self._store.notes(NODES)
        nodes = from_notes(Node, noted)
        if now - self._beaten >= BEAT and self.node is not None:
            self._beaten = now
            await self._renew_node()
        known = nodes.pop(self.own_id, None) is not None
        nodes = self._alive(nodes, now)
        gone = self.others.keys() - nodes.keys()
        came = nodes.keys() - self.others.keys()
        shared = bool(nodes or gone) or not known
        notes = await self._store.notes(LEASES) if shared else {}
        if self._leaving:
            return
        # What was read is taken over before the store is asked again: it may be away by then.
        before, self.others = self._theirs, nodes
        contested = self._see(notes, yielding=self._store.whole and not known)
        for node in gone:
            self.log.info("node {node} is gone", node=node)
        for node in came:
            self.log.info("node {node} is there", node=node)
        lost = [name for name, lease in before.items() if lease.node in gone and name not in self._theirs]
        if lost:
            _tell(self.on_dead, lost)
        if gone or came:
            for listener in self.on_nodes:
                listener()
        changed = [name for name in {*before, *self._theirs} if before.get(name) != self._theirs.get(name)]
        if changed:
            _tell(self.on_leases, changed)
        for lease in contested:
            await self._settle(lease)
        if shared:
            await self._repair(notes, noted.keys() - self._beats.keys())
        await self._renew()

    async def _renew_node(self) -> None:
        assert self.node is not None
        self.node = attr.evolve(self.node, beat=(self.node.beat or 0) + 1, sessions=dict(self._sessions))
        self._written = to_text(self.node)
        await self._store.put_note(NODES, self.own_id, self._written, NODE_TTL)

    def _alive(self, noted: dict[str, Node], now: float) -> dict[str, Node]:
        """
        Of the nodes that have a note those that are alive: their beat went on within L{NODE_TTL} by our
        clock, whatever the store's is set to. And those without that can be reached, or may write it again.
        """
        beats = {}
        for key, node in noted.items():
            beat, when = self._beats.get(key, (None, now))
            beats[key] = node.beat, now if node.beat is None or node.beat != beat else when
        self._beats = beats
        if now - self._read > 3 * BEAT:
            # Nobody could look for a while: they may not have come to write again.
            self._patient = now + NODE_TTL
        self._read = now
        patient = not self._store.whole or now < self._patient
        alive = {key: node for key, node in noted.items() if now - beats[key][1] < NODE_TTL}
        self._unnoted = {
            key
            for key, node in self.others.items()
            if key not in alive and (patient or (self._linked(key) and not node.draining))
        }
        return {**{key: self.others[key] for key in self._unnoted}, **alive}

    def _see(self, notes: dict[str, str], *, yielding: bool) -> list[Lease]:
        """
        Take over who holds what. Later leases on what we hold win; all do where we were taken for dead
        (C{yielding}), whatever the clocks say.

        @return: those that would win and are of another token than ours: see L{_settle}.
        """
        leases = from_notes(Lease, notes)
        kept = {name: lease for name, lease in self._theirs.items() if lease.node in self._unnoted}
        leases = {**(kept if self._store.whole else self._theirs), **leases}
        theirs = {name: lease for name, lease in leases.items() if lease.node in self.others}
        later = [
            theirs[name]
            for name, ours in self._held.items()
            if name in theirs and (yielding or theirs[name].newer_than(ours))
        ]
        contested = [lease for lease in later if lease.of_another_token(self._held[lease.name])]
        taken = [lease for lease in later if lease not in contested]
        for lease in taken:
            del self._held[lease.name]
        self._theirs = {name: lease for name, lease in theirs.items() if name not in self._held}
        for lease in taken:
            _tell(self.on_taken, lease)
        return contested

    async def _settle(self, lease: Lease) -> None:
        """
        Another node took a name that we hold, for another token. If that one owns the name, it is theirs;
        else the node does not know yet whose the name is, and we take it again, later than it did.

        @raise StoreError: the store cannot tell; ours stays until it can.
        """
        owner = await self._store.reservation(lease.name)
        ours = self._held.get(lease.name)
        if ours is None or not lease.of_another_token(ours):
            return  # let go, or opened with the other token, meanwhile
        if owner is not None and owner.token == lease.token:
            del self._held[lease.name]
            self._theirs[lease.name] = lease
            _tell(self.on_taken, lease)
            _tell(self.on_leases, [lease.name])
            return
        self.log.warn(
            "node {node} took {name} for a token that does not own it: it is taken again",
            node=lease.node,
            name=lease.name,
        )
        since = max(self._now(), lease.since + 0.001)
        self._held[lease.name] = attr.evolve(ours, since=since)  # written by the repair that follows

    async def _renew(self) -> None:
        """Renew leases before they run out, at most L{_AT_ONCE} a look; what another took stays its own."""
        now = self._clock.seconds()
        self._renewed = {name: self._renewed.get(name, now) for name in self._held}
        due = [name for name, when in self._renewed.items() if now - when >= RENEW_LEASES]
        for name in due[:_AT_ONCE]:
            lease = self._held.get(name)
            if lease is not None:
                text = to_text(lease)
                if not await self._store.swap_note(LEASES, name, text, text, LEASE_TTL):
                    await self._store.swap_note(LEASES, name, None, text, LEASE_TTL)
                self._renewed[name] = now

    async def _repair(self, notes: dict[str, str], unreadable: set[str]) -> None:
        """Write again what of ours is not there as it should be; remove what dead nodes held."""
        for name, ours in list(self._held.items()):
            if notes.get(name) != to_text(ours) and self._held.get(name) is ours:
                await self._store.swap_note(LEASES, name, notes.get(name), to_text(ours), LEASE_TTL)
        alive = {self.own_id, *self.others, *unreadable}
        for name, lease in from_notes(Lease, notes).items():
            dead = lease.node not in alive
            if dead and name not in self._held:
                await self._store.swap_note(LEASES, name, notes[name], None)


def _tell(listeners: list[Callable[[Any], None]], what: Any) -> None:
    for listener in listeners:
        listener(what)


async def live_leases(store: IStore) -> dict[str, Lease]:
    """The leases of all nodes that are alive, by name. @raise StoreError: the store cannot tell."""
    nodes = await store.notes(NODES)
    leases: dict[str, Lease] = from_notes(Lease, await store.notes(LEASES))
    return {name: lease for name, lease in leases.items() if lease.node in nodes}
