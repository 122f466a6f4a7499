"""Which other nodes are alive, from the notes that were read from the store. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

from burrow.errors import Unavailable
from burrow.server.nodes.records import Node, from_notes

BEAT = 1.0
"""Seconds between two renewals of a node's note."""

NODE_TTL = 5.0
"""Seconds after its last renewal that a node counts as dead."""


class Members:
    """
    @param own_id: this node's id. @param now: the clock's seconds, which never go back, at the start.
    @param linked: returns whether this node is linked to another, which is then alive.
    @ivar others: the other nodes that are alive, by id.
    @ivar sessions: how many sessions each token has on this node, by the token's id.
    @ivar shares: the keys of the agents that share names on this node, by name.
    @ivar shared: the same of other nodes that are not about to end: by name, then by their ids.
    @ivar untold: whether C{shares} changed since the last renewal: the next is to come soon.
    @ivar unnoted: those among them without a note now.
    """

    def __init__(self, own_id: str, now: float, linked: Callable[[str], bool]) -> None:
        self.others: dict[str, Node] = {}
        self.unnoted: set[str] = set()
        self.sessions: Counter[str] = Counter()
        self.shares: dict[str, list[str]] = {}
        self.shared: dict[str, dict[str, list[str]]] = {}
        self.untold = False
        self._own_id = own_id
        self._linked = linked
        self._noted: dict[str, Node | None] = {}
        self._beats: dict[str, tuple[int | None, float]] = {}
        self._seen = now
        self._patient = float("-inf")

    def session_began(self, token_id: str) -> None:
        """A session of a token's, by its id, began here: the others are told with the next renewal."""
        self.sessions[token_id] += 1

    def session_ended(self, token_id: str) -> None:
        """One of them ended."""
        self.sessions[token_id] -= 1
        if not self.sessions[token_id]:
            del self.sessions[token_id]

    def sessions_elsewhere(self, token_id: str) -> int:
        """How many sessions a token, by its id, has on other nodes that are alive, as last read."""
        return sum(node.sessions.get(token_id, 0) for node in self.others.values())

    def share(self, name: str, keys: list[str]) -> None:
        """Agents share a name on this node. @param keys: theirs; empty if none does any more."""
        if keys:
            self.shares[name] = keys
        else:
            self.shares.pop(name, None)
        self.untold = True

    def told(self) -> dict[str, Any]:
        """What a renewal of this node's note tells, by the fields of L{Node}."""
        self.untold = False
        return {"sessions": dict(self.sessions), "shares": dict(self.shares)}

    def read_shares(self) -> set[str]:
        """See which names the other nodes share now. @return: those of which that changed."""
        before, self.shared = self.shared, {}
        for key, node in self.others.items():
            for name, keys in () if node.draining else (node.shares or {}).items():
                if isinstance(keys, list) and all(isinstance(each, str) for each in keys):
                    self.shared.setdefault(name, {})[key] = keys
        return {name for name in {*before, *self.shared} if before.get(name) != self.shared.get(name)}

    def check_rules(self) -> None:
        """
        @raise Unavailable: there are other nodes of a release that knows no rules for visitors: it would let
            everybody in who comes to them. To one that is about to end nobody comes.
        """
        older = [id for id, node in self.others.items() if node.shares is None and not node.draining]
        if older:
            raise Unavailable(
                "the server has nodes whose release knows no rules for visitors and would let everybody in: "
                f"have them upgraded ({', '.join(sorted(older))})"
            )

    @property
    def knows_us(self) -> bool:
        """Whether this node's note is in the store."""
        return self._own_id in self._noted

    @property
    def noted(self) -> Collection[str]:
        """The ids of all nodes that have a note, our own included."""
        return self._noted.keys()

    @property
    def ids(self) -> set[str]:
        """The ids of other nodes that may hold leases: those alive, and those whose notes cannot be read."""
        return {*self.others, *(key for key, node in self._noted.items() if node is None)}

    def read(self, notes: Mapping[str, str | None], whole: bool) -> None:
        """
        Take the notes that were read.

        @param notes: texts by id, None for a note that was removed.
        @param whole: whether these are all notes, and not only those that changed.
        """
        if whole:
            self._noted = {}
        for key, text in notes.items():
            if text is None:
                self._noted.pop(key, None)
            else:
                self._noted[key] = from_notes(Node, {key: text}).get(key)

    def update(self, now: float, whole: bool) -> tuple[set[str], set[str], set[str]]:
        """
        Decide which nodes are alive: those whose beat changed within the last L{NODE_TTL} seconds of this
        node's own clock; and those without a note that are linked, or may write it again.

        @param whole: see L{IStore.whole<burrow.store.base.IStore.whole>}.
        @return: the ids of nodes that died, that are new, and whose note is now missing or there again.
        """
        beats = {}
        noted = {key: node for key, node in self._noted.items() if node is not None and key != self._own_id}
        for key, node in noted.items():
            beat, when = self._beats.get(key, (None, now))
            beats[key] = node.beat, now if node.beat is None or node.beat != beat else when
        self._beats = beats
        if now - self._seen > 3 * BEAT:
            # The store was away: the other nodes may not have written since it is back.
            self._patient = now + NODE_TTL
        self._seen = now
        patient = not whole or now < self._patient
        alive = {key: node for key, node in noted.items() if now - beats[key][1] < NODE_TTL}
        before, unnoted = self.others, self.unnoted
        self.unnoted = {
            key
            for key, node in before.items()
            if key not in alive and (patient or (self._linked(key) and not node.draining))
        }
        self.others = {**{key: before[key] for key in self.unnoted}, **alive}
        gone, came = before.keys() - self.others.keys(), self.others.keys() - before.keys()
        return gone, came, unnoted ^ self.unnoted
