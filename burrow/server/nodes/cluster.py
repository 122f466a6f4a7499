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
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import attr
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from burrow.errors import StoreError
from burrow.repeat import repeating
from burrow.server.changes import ChangeReader
from burrow.server.nodes.leases import Leases
from burrow.server.nodes.members import BEAT, NODE_TTL, Members
from burrow.server.nodes.records import LEASES, NODES, Lease, Node, from_notes, to_text
from burrow.store.base import IStore
from burrow.store.changes import Note

SHORT_BEAT = 0.1
"""Seconds between two readings while visitors wait, or other nodes write: see L{IStore.follow}."""

LEASE_TTL = 7200.0
"""Seconds that a lease is kept without being renewed."""

RENEW_LEASES = 3000.0
"""Seconds between two renewals of a lease."""

COUNT_NODES = 30.0
"""Seconds between two looks for nodes of older releases, which write nothing into the store's log."""

_AT_ONCE = 100
"""Leases that are renewed, and those of dead nodes that are removed, after one reading, at most."""


class Cluster:
    """
    @param own_id: this node's id. @param now: seconds since the epoch, for what other machines compare.
    @param linked: says whether a node can be reached, whatever the store says.
    @ivar changes: what is read of the store, for others who follow it, too.
    @ivar members: who is there, and how many sessions each token has. @ivar leases: who holds what.
    @ivar hurried: asked, each without arguments, whether visitors wait for what other nodes may open.
    @ivar on_nodes: called without arguments when another node came or went.
    @ivar on_leases: called with the names on which the leases of other nodes changed, or who shares them.
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
        self.changes = ChangeReader(store, (NODES, LEASES))
        self.hurried: list[Callable[[], bool]] = []
        self.on_nodes: list[Callable[[], None]] = []
        self.on_leases: list[Callable[[Collection[str]], None]] = []
        self.on_taken: list[Callable[[Lease], None]] = []
        self.on_dead: list[Callable[[list[str]], None]] = []
        self._linked = linked
        self.members = Members(own_id, clock.seconds(), linked)
        self._now = now
        self._clock = clock
        self._store = store
        self.leases = Leases(own_id)
        self._beaten = float("-inf")
        self._counted = clock.seconds()
        self._written_to = False
        self._renewed: dict[str, float] = {}
        self._written = ""
        self._loop = repeating(clock, self._beat, "a look at the other nodes")
        self._looking = DeferredLock()
        self._leaving = False
        store.follow(self._hurry)

    @property
    def others(self) -> dict[str, Node]:
        """The other nodes that are alive, by id."""
        return self.members.others

    # -- its life -----------------------------------------------------------------------------------------

    async def join(self, node: Node) -> None:
        """Be there for the others, as C{node}. @raise StoreError: the store cannot tell who is."""
        self.node = attr.evolve(node, logs=True)
        await self.look()
        self._loop.start(SHORT_BEAT, now=False)

    async def drain(self) -> None:
        """Tell the others that this node takes no more agents; know where these may go."""
        if self.node is not None:
            self.node = attr.evolve(self.node, draining=True)
            await self._quietly(self.look(renew=True))

    async def leave(self) -> None:
        """Be gone, and hold nothing."""
        if self._loop.running:
            self._loop.stop()
        self._leaving = True
        for name in list(self.leases.held):
            await self.let_go(name)
        if self.node is not None:
            await self._quietly(self._store.swap_note(NODES, self.own_id, self._written, None))

    # -- leases ---------------------------------------------------------------------------------------------

    async def hold(
        self, name: str, kind: str, port: int | None, token: str = "", options: str = "", version: int = 1
    ) -> None:
        """Take a name, whoever held it; if the store is away, when it is back. Parameters: see L{Lease}."""
        before = await self.ask(name)
        # Later than the lease that it replaces, also where another machine's clock is ahead.
        since = self._now() if before is None else max(self._now(), before.since + 0.001)
        lease = Lease(name, self.own_id, kind, port, since, token, options, version)
        if self.leases.hold(lease):
            _tell(self.on_leases, [name])
        self._renewed.pop(name, None)
        self._renewed[name] = self._clock.seconds()
        if not await self._quietly(self._store.put_note(LEASES, name, to_text(lease), LEASE_TTL)):
            self.leases.not_written(name)

    async def let_go(self, name: str) -> None:
        """Give a name up, if it is still ours."""
        lease = self.leases.let_go(name)
        self._renewed.pop(name, None)
        if lease is not None:
            await self._quietly(self._store.swap_note(LEASES, name, to_text(lease), None))

    async def ask(self, name: str) -> Lease | None:
        """The same as L{elsewhere}, as of now if the store can tell."""
        try:
            lease = await self._lease(name)
            if lease is not None and lease.node not in self.others and lease.node != self.own_id:
                await self.look()  # a node that came after the last look, or died since
                lease = await self._lease(name)
        except StoreError:
            return self.elsewhere(name)
        if lease is not None and lease.node in self.others:
            self.leases.seen(lease)
        return self.elsewhere(name)

    async def _lease(self, name: str) -> Lease | None:
        text = None if name in self.leases.held else await self._store.note(LEASES, name)
        return None if text is None else from_notes(Lease, {name: text}).get(name)

    def elsewhere(self, name: str) -> Lease | None:
        """The lease of another node that is alive on a name, as of the last look."""
        return self.leases.theirs.get(name)

    async def look(self, renew: bool = False) -> None:
        """
        See who is there and who holds what, now; renew this node's note if it is time, or with C{renew}.

        @raise StoreError: the store cannot tell.
        """
        # One after the other, each newer.
        await self._looking.run(self._look_now, renew)

    async def strangers(self) -> bool:
        """
        Whether there is another node, as of now, that is linked and not stopped together with this one. One
        that died counts as there for L{NODE_TTL}.
        """
        try:
            await self.look()
        except StoreError:
            return False  # nothing changes hands now
        ours = self.node.group if self.node is not None else ""
        return any(
            not node.draining and node.group != ours and self._linked(node.id)
            for node in self.others.values()
        )

    def names_elsewhere(self, token_id: str) -> Collection[str]:
        """The names that a token, by its id, has open on other nodes that are alive, as of the last look."""
        return self.leases.names_of_token(token_id)

    # -- inside ---------------------------------------------------------------------------------------------

    async def _quietly(self, asking: Awaitable[Any]) -> bool:
        """Ask for what is repaired later if the store cannot do it now. @return: whether it could."""
        try:
            await asking
        except StoreError as error:
            self.log.warn("the store could not be told who holds what: {error}", error=error)
            return False
        return True

    def _hurry(self) -> None:
        self._written_to = True

    async def _beat(self) -> None:
        due = self._clock.seconds() - self._beaten >= BEAT or self.members.untold
        if not due and not (
            self.others
            and self.changes.knows
            and (self._written_to or any(hurried() for hurried in self.hurried))
        ):
            return
        try:
            await self.look(renew=self.members.untold)
        except StoreError as error:
            # What is known stays: whoever serves goes on to.
            self.log.debug("the other nodes cannot be looked for: {error}", error=error)

    async def _look_now(self, renew: bool) -> None:
        now = self._clock.seconds()
        self._written_to = False
        note = self._renewal() if renew or now - self._beaten >= BEAT else None
        changes = await self.changes.read(note)
        if note is None:
            known = self.members.knows_us
        else:  # the answer may have been lost that our note was missing
            known, self._beaten = changes.renewed and now - self._beaten < NODE_TTL, now
        self.members.read(changes.notes[NODES], changes.whole)
        self.leases.read(changes.notes[LEASES], changes.whole)
        if self._leaving:
            return
        # What was read is taken over before the store is asked again: it may be away by then.
        try:
            contested = self._take_over(known)
        except Exception:
            self.changes.forget()  # what was not dealt with is told once more
            raise
        if not all(node.logs for node in self.others.values()) or await self._unlogged_node(now):
            self.changes.forget()
        for lease in contested:
            await self._settle(lease)
        await self._repair()
        await self._renew()

    async def _unlogged_node(self, now: float) -> bool:
        """Whether there is a node that the log did not tell: one of an older release. Asked now and then."""
        if now - self._counted < COUNT_NODES:
            return False
        self._counted = now
        return bool((await self._store.notes(NODES)).keys() - self.members.noted)

    def _take_over(self, known: bool) -> list[Lease]:
        """
        Tell the listeners what is so now.

        @param known: whether this node's note was there: else others took it for dead.
        @return: see L{_settle}.
        """
        whole = self._store.whole
        gone, came, noted = self.members.update(self._clock.seconds(), whole)
        lost = [name for name, lease in self.leases.theirs.items() if lease.node in gone] if gone else []
        self.leases.of_nodes(gone | came | noted)
        resolved = self.leases.resolve(self.others, self.members.unnoted, whole, yielding=whole and not known)
        for node in gone:
            self.log.info("node {node} is gone", node=node)
        for node in came:
            self.log.info("node {node} is there", node=node)
        for lease in resolved.taken:
            _tell(self.on_taken, lease)
        lost = [name for name in lost if self.elsewhere(name) is None]
        if lost:
            _tell(self.on_dead, lost)
        if gone or came:
            for listener in self.on_nodes:
                listener()
        if changed := {*resolved.changed, *self.members.read_shares()}:
            _tell(self.on_leases, sorted(changed))
        return resolved.contested

    def _renewal(self) -> Note | None:
        """What renews this node's note."""
        if self.node is None:
            return None
        self.node = attr.evolve(self.node, beat=(self.node.beat or 0) + 1, **self.members.told())
        self._written = to_text(self.node)
        return Note(NODES, self.own_id, self._written, NODE_TTL)

    async def _settle(self, lease: Lease) -> None:
        """
        Another node took a name that we hold, for another token. If that one owns the name, it is theirs;
        else the node does not know yet whose the name is, and we take it again, later than it did.

        @raise StoreError: the store cannot tell; ours stays until it can.
        """
        owner = await self._store.reservation(lease.name)
        ours = self.leases.held.get(lease.name)
        if ours is None or not lease.of_another_token(ours):
            return  # let go, or opened with the other token, meanwhile
        if owner is not None and owner.token == lease.token:
            self.leases.lose(lease)
            _tell(self.on_taken, lease)
            _tell(self.on_leases, [lease.name])
            return
        self.log.warn(
            "node {node} took {name} for a token that does not own it: it is taken again",
            node=lease.node,
            name=lease.name,
        )
        since = max(self._now(), lease.since + 0.001)
        self.leases.take_again(attr.evolve(ours, since=since))  # written by the repair that follows

    async def _renew(self) -> None:
        """Renew leases before they run out, some after each look; what another took stays its own."""
        now = self._clock.seconds()
        for _ in range(_AT_ONCE):
            name, when = next(iter(self._renewed.items()), ("", now))
            if now - when < RENEW_LEASES:
                return
            lease = self.leases.held.get(name)
            if lease is not None:
                text = to_text(lease)
                if not await self._store.swap_note(LEASES, name, text, text, LEASE_TTL):
                    await self._store.swap_note(LEASES, name, None, text, LEASE_TTL)
            self._renewed.pop(name, None)
            if name in self.leases.held:
                self._renewed[name] = now

    async def _repair(self) -> None:
        """Write again what of ours is not there as it should be; remove what nobody holds."""
        for ours, text in self.leases.unwritten():
            if self.leases.held.get(ours.name) is ours:
                await self._store.swap_note(LEASES, ours.name, text, to_text(ours), LEASE_TTL)
        for name, text in self.leases.worthless(self.members.ids, _AT_ONCE):
            await self._store.swap_note(LEASES, name, text, None)  # unless it was taken meanwhile


def _tell(listeners: list[Callable[[Any], None]], what: Any) -> None:
    for listener in listeners:
        listener(what)
