"""
What an OpenID provider says of itself (OpenID Connect Discovery 1.0), and its keys (RFC 7517). No I/O.

Both are fetched when they are needed first, remembered, and fetched again when they are old; keys also when a
token names one that is not known, since providers change theirs.
"""

from __future__ import annotations

from typing import Any, TypeGuard

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.policy.means import FetchFailed, Means

FRESH = 3600.0
"""Seconds that what was fetched is believed."""

PAUSE = 30.0
"""Seconds between two attempts, at least: tokens with invented keys make no more."""

_MOST_KEYS = 100


class Fetched:
    """
    A document at a URL.

    @ivar url: where it is.
    """

    log = Logger()

    def __init__(self, url: str) -> None:
        self.url = url
        self._value: Any = None
        self._at: float | None = None
        self._tried: float | None = None
        self._waiting: list[Deferred[Any]] | None = None

    def checked(self, document: Any) -> Any:
        """What is kept of it. @raise FetchFailed: it is none such."""
        return document

    def get(self, means: Means, *, newer: bool = False) -> Deferred[Any]:
        """
        The document; fails with L{FetchFailed}.

        @param newer: whether what is known does not do, unless it was fetched a moment ago.
        """
        now = means.now()
        old = self._at is None or now - self._at > FRESH
        if self._waiting is None:
            if not (old or newer) or (self._tried is not None and now - self._tried < PAUSE):
                if self._at is None:
                    return _failed(f"{self.url} gave nothing a moment ago")
                return succeed(self._value)
            self._tried, self._waiting = now, []
            waits = self._wait()
            means.fetch(self.url, None, None).addCallback(self._came, now).addErrback(self._missed)
            return waits
        return self._wait()

    def _wait(self) -> Deferred[Any]:
        """One of those who wait: whoever leaves does not end it for the others."""
        waits: Deferred[Any] = Deferred()
        assert self._waiting is not None
        self._waiting.append(waits)
        return waits

    def _came(self, document: Any, now: float) -> None:
        self._value, self._at = self.checked(document), now
        self._tell(self._value)

    def _missed(self, reason: Failure) -> None:
        if not reason.check(FetchFailed):
            self.log.failure("cannot fetch {url}", reason, url=self.url)
            reason = Failure(FetchFailed(f"{self.url} gave nothing: {reason.getErrorMessage()}"))
        # What is old is better than nothing: a provider may be away for a while.
        self._tell(reason if self._at is None else self._value)

    def _tell(self, result: Any) -> None:
        waiting, self._waiting = self._waiting or [], None
        for each in waiting:
            if not each.called:
                each.callback(result) if not isinstance(result, Failure) else each.errback(result)


def _failed(text: str) -> Deferred[Any]:
    failed: Deferred[Any] = Deferred()
    failed.errback(FetchFailed(text))
    return failed


class Keys(Fetched):
    """A JWK set: a list of keys, as JSON has them."""

    def checked(self, document: Any) -> list[dict[str, Any]]:
        """See L{Fetched}."""
        keys = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(keys, list):
            raise FetchFailed(f"{self.url} is no JWK set")
        return [key for key in keys[:_MOST_KEYS] if isinstance(key, dict)]


class Provider(Fetched):
    """
    A provider's configuration: a dictionary.

    @param issuer: its URL. @ivar keys: its keys; None until the configuration has come.
    """

    def __init__(self, issuer: str) -> None:
        super().__init__(issuer.rstrip("/") + "/.well-known/openid-configuration")
        self.issuer = issuer
        self.keys: Keys | None = None

    def checked(self, document: Any) -> dict[str, Any]:
        """See L{Fetched}."""
        if not isinstance(document, dict) or document.get("issuer") != self.issuer:
            raise FetchFailed(f"{self.url} is not of the issuer {self.issuer}")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            # Of OAuth alone, for JWTs, the keys do.
            if not is_url(document.get(name)) and (name == "jwks_uri" or name in document):
                raise FetchFailed(f"{self.url} has no {name}")
        if self.keys is None or self.keys.url != document["jwks_uri"]:
            self.keys = Keys(document["jwks_uri"])
        return document


def is_url(value: Any) -> TypeGuard[str]:
    """Whether a value is a URL that a header field and a request can have."""
    return (
        isinstance(value, str)
        and value.startswith(("https://", "http://"))
        and value.isascii()
        and value.isprintable()
        and " " not in value
    )
