"""Basic authentication (RFC 7617). No I/O."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from secrets import token_bytes

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from burrow.policy.base import Visit
from burrow.policy.cookies import without
from burrow.policy.doors import Door, Verdict, too_often
from burrow.policy.hashed import COST, Given, Hashed, Known, Secret, parse_password
from burrow.policy.tries import Tries


@dataclass(frozen=True, slots=True)
class User:
    """A value of C{--basic-auth}."""

    name: str
    password: Secret

    def __str__(self) -> str:
        return f"{self.name}:{self.password}"

    def sealed(self, salt: bytes) -> User:
        """What leaves the agent: see L{Given.sealed}."""
        return User(self.name, self.password.sealed(salt + self.name.encode()))

    @property
    def plain(self) -> bool:
        """Whether the password is one that must not have left the agent."""
        return isinstance(self.password, Given)


def parse_user(text: str) -> User:
    """C{USER:PASSWORD}; in the password's place may be its hash."""
    name, colon, password = text.partition(":")
    if not colon or not 0 < len(name) <= 64 or not name.isprintable():
        raise ValueError("write USER:PASSWORD")
    return User(name, parse_password(password))


class BasicAuth(Door):
    """The door. @param users: who may come in."""

    challenge = b'Basic realm="Burrow", charset="UTF-8"'
    wanted = "Give a user's name and password."

    def __init__(self, users: Iterable[User]) -> None:
        self._passwords: dict[bytes, Secret] = {user.name.encode(): user.password for user in users}
        costs = [one.cost for one in self._passwords.values()]
        # What an unknown user's password is compared with, so that it takes as long as a known one's.
        self._nobody = Hashed(max(costs, default=COST), token_bytes(16), token_bytes(32))
        self._known = Known()
        self._tries = Tries()
        # Who waits for a password that is compared now: a browser asks for all of a page at once, with one.
        self._waiting: dict[bytes, list[Deferred[bool]]] = {}
        self._comparing: dict[bytes, Deferred[bool]] = {}

    def check(self, visit: Visit) -> Verdict | Deferred[Verdict]:
        """See L{Door}."""
        given = visit.request.headers.get(b"authorization", ())
        if len(given) != 1 or given[0][:6].lower() != b"basic ":
            return None
        if given[0] in self._known:
            return self._let_in(visit, given[0])
        try:
            user, colon, password = b64decode(given[0][6:].strip(), validate=True).partition(b":")
        except binascii.Error:
            return None
        if not colon:
            return None
        checked: Deferred[bool] = Deferred(partial(self._left, given[0]))
        if given[0] in self._waiting:  # the same guess is one try
            self._waiting[given[0]].append(checked)
        elif wait := self._tries.begin(visit.address, visit.means.now()):
            return too_often(wait)
        else:
            self._waiting[given[0]] = [checked]
            known = self._passwords.get(user)
            compared = visit.means.in_thread((known or self._nobody).matches, password)
            self._comparing[given[0]] = compared
            compared.addCallback(self._compared, visit.address, given[0], known is not None)
            compared.addBoth(self._tell, given[0])
        return checked.addCallback(lambda right: self._let_in(visit, given[0]) if right else None)

    def _compared(self, matches: bool, address: str, given: bytes, known: bool) -> bool:
        """@return: whether they may come in."""
        if not (matches and known):
            return False
        self._known.add(given)
        self._tries.right(address)
        return True

    def _tell(self, right: bool | Failure, given: bytes) -> None:
        """A password is compared, or could not be."""
        self._comparing.pop(given, None)
        for checked in self._waiting.pop(given, ()):
            checked.callback(right)

    def _left(self, given: bytes, checked: Deferred[bool]) -> None:
        """A visitor has left; nothing is compared for nobody."""
        self._waiting[given].remove(checked)
        if not self._waiting[given]:
            del self._waiting[given]
            self._comparing.pop(given).cancel()

    def _let_in(self, visit: Visit, given: bytes) -> Verdict:
        user = b64decode(given[6:].strip()).partition(b":")[0]
        visit.identity.append((b"Burrow-User", user))
        return without(b"authorization")
