"""Operations of the admin API on events, the audit log and visitors' requests: as lists, or live."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from burrow.server.admin.api import Call, Handler, only
from burrow.server.admin.describe import Item, audit_item, event_id, event_item
from burrow.server.admin.live import Everywhere, Live, Lives
from burrow.server.admin.paging import page
from burrow.server.admin.paths import EVENTS, MOST
from burrow.server.admin.schemas import as_documented
from burrow.server.admin.tunnels import own
from burrow.server.audit import Audit
from burrow.server.events import recent
from burrow.server.nodes.asking import Questions
from burrow.store.base import IStore


class WhatHappens:
    """@param lives: the live answers."""

    log = Logger()

    def __init__(self, clock: Any, store: IStore, questions: Questions, lives: Lives, audit: Audit) -> None:
        self._clock = clock
        self._store = store
        self._questions = questions
        self._lives = lives
        self._audit = audit

    @property
    def handlers(self) -> dict[str, Handler]:
        """See L{Api<burrow.server.admin.api.Api>}."""
        return {
            "list_events": self._list_events,
            "list_audit": self._list_audit,
            "list_requests": self._list_requests,
        }

    async def _list_audit(self, call: Call) -> Item:
        entries = {entry.key: entry for entry in await self._audit.entries()}
        listed = page(
            [{"key": key} for key in entries], call.query, lambda item: str(item["key"]), newest=True
        )
        found = [entries[item["key"]] for item in listed["items"]]
        items = [audit_item(entry) for entry in found]
        return {**listed, "items": items}

    # -- events --------------------------------------------------------------------------------------------

    async def _list_events(self, call: Call) -> Item | Live:
        if _is_live(call):
            self._lives.check(call.who)
            since = call.request.getHeader("last-event-id") or ""
            return Live(self._lives, call.who, call.operation.role, partial(self._follow_events, since))
        _, unanswered = await self._questions.ask_all("flush-events")
        items = [event_item(event) for event in await recent(self._store)]
        return page(items, call.query, lambda item: str(item["id"]), unanswered, newest=True)

    def _follow_events(self, since: str, live: Live) -> Callable[[], None]:
        """Tell events to a reader. @param since: the id of the last one that it had; empty: those to come."""
        early: list[Item] | None = [] if since else None

        def received(piece: Item) -> None:
            live.gap(piece.get("dropped", 0))
            for item in _items("Event", piece.get("items", ())):
                if early is None:
                    live.send(item, item["id"])
                else:
                    early.append(item)

        everywhere = self._everywhere("new-events", {}, received, live)

        async def catch_up() -> None:
            """What came since, from the store; then what came meanwhile."""
            nonlocal early
            try:
                await self._questions.ask_all("flush-events")
                events = {event_id(event): event for event in await recent(self._store)}
                missed = [event_item(events[key]) for key in sorted(events) if key > since]
            except Exception:
                self.log.failure("cannot read the events that a reader missed")
                missed = []
                live.send({"detail": "the store cannot tell what was missed"}, kind="gap")
            meanwhile, early = early or [], None
            told = {item["id"] for item in missed}
            for item in [*missed, *(item for item in meanwhile if item["id"] not in told)]:
                live.send(item, item["id"])

        if since:
            Deferred.fromCoroutine(catch_up())
        return everywhere.stop

    def _everywhere(self, question: str, of: Item, received: Callable[[Any], None], live: Live) -> Everywhere:
        return Everywhere(
            self._clock,
            self._questions,
            question,
            of,
            received,
            lambda nodes: live.send({"nodes": nodes}, kind="unanswered"),
        )

    # -- requests ------------------------------------------------------------------------------------------

    async def _list_requests(self, call: Call) -> Item | Live:
        tunnel, token = call.query["tunnel"] or "", own(call.who)
        if tunnel and token is not None:
            known = await self._store.reservation(tunnel)
            only(known if known is not None and known.token == token else None, "tunnel", "/tunnels")
        of = {"tunnel": tunnel, "token": token}
        if _is_live(call):
            self._lives.check(call.who)
            return Live(self._lives, call.who, call.operation.role, partial(self._follow_requests, of))
        read = partial(_items, "Request")
        answers, unanswered = await self._questions.ask_all("requests", read, most=MOST, **of)
        items = [item for answer in answers.values() for item in answer]
        return page(items, call.query, lambda item: f"{item['began']} {item['id']}", unanswered, newest=True)

    def _follow_requests(self, of: Item, live: Live) -> Callable[[], None]:
        def received(piece: Item) -> None:
            live.gap(piece.get("dropped", 0))
            for item in _items("Request", piece.get("items", ())):
                live.send(item, item["id"])

        return self._everywhere("new-requests", of, received, live).stop


def _items(kind: str, told: Any) -> list[Item]:
    """What a node told. @param kind: see L{as_documented}."""
    return [as_documented(kind, item) for item in told]


def _is_live(call: Call) -> bool:
    return bool(call.query["follow"]) or call.media == EVENTS
