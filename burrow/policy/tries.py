"""How many wrong tries an address has. No I/O."""

from __future__ import annotations

from collections import OrderedDict

from burrow.addresses import customer

MOST = 10
"""Wrong tries of one address, or one IPv6 /64, within L{WITHIN}."""

WITHIN = 60.0
"""Seconds after the first wrong one until they count no more."""

_ADDRESSES = 4096


class Tries:
    """Counts wrong tries by address. Of more than 4096 addresses whoever tried first is forgotten."""

    __slots__ = ("_wrong",)

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait(self, address: str, now: float) -> int:
        """Seconds until an address may try again; 0 if it may now."""
        count, since = self._wrong.get(customer(address), (0, now))
        if count < MOST:
            return 0
        return max(0, int(since + WITHIN - now) + 1) if now < since + WITHIN else 0

    def begin(self, address: str, now: float) -> int:
        """
        An address tries, if it may: that is wrong until L{right} is called, so that many at once count, too.

        @return: seconds until it may; 0 if it does now.
        """
        if wait := self.wait(address, now):
            return wait
        who = customer(address)
        count, since = self._wrong.get(who, (0, now))
        if now >= since + WITHIN:
            count, since = 0, now
            self._wrong.pop(who, None)
        self._wrong[who] = (count + 1, since)
        if len(self._wrong) > _ADDRESSES:
            self._wrong.popitem(last=False)
        return 0

    def right(self, address: str) -> None:
        """A try was right, and does not count. Others do: who has a password may guess at another's."""
        who = customer(address)
        count, since = self._wrong.get(who, (0, 0.0))
        if count > 1:
            self._wrong[who] = (count - 1, since)
        else:
            self._wrong.pop(who, None)
