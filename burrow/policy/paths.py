"""Paths that a tunnel's owner answers, moves or rewrites, without the upstream. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

from burrow.policy.base import Answer, Visit

MAX_PATHS = 100
"""Paths of one tunnel, at most, of all options together: each request is compared with all."""

REDIRECTS = (301, 302, 303, 307, 308)
"""Statuses that send elsewhere (RFC 9110 section 15.4)."""

_URL = re.compile(r"(https?://[!-~]+|/[!-~]*)")
_PARAMETERS = re.compile(rb";[^/]*")
_SLASHES = re.compile(rb"/+")


@lru_cache(64)  # each rule of a request asks of the same path
def readings(path: bytes) -> tuple[bytes, ...]:
    """
    A path as it came, and as the readers behind the edge may read it: with percent-encoded characters
    decoded, once or, as by a program behind a proxy, twice; backslashes as slashes; without empty segments,
    nor the parameters of segments (C{;a=b}), which Java's servers take away; and with or without "." and ".."
    followed. What begins with no slash, as C{*}, is read in one way.
    """
    found = [path]
    text = path
    for _ in range(3 if path.startswith(b"/") else 0):
        collapsed = _SLASHES.sub(b"/", _PARAMETERS.sub(b"", text.replace(b"\\", b"/")))
        found += [collapsed, _followed(collapsed)]
        text = unquote_to_bytes(text)
    return tuple(dict.fromkeys(found))


def _followed(path: bytes) -> bytes:
    """RFC 3986 section 5.2.4."""
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            parts = parts[:-1]
        elif part not in (b"", b"."):
            parts.append(part)
    end = b"/" if parts and path.endswith(b"/") else b""
    return b"/" + b"/".join(parts) + end


@dataclass(frozen=True, slots=True)
class PathPattern:
    """
    @ivar path: it begins with a slash. @ivar prefix: whether paths that go on match, too.
    """

    path: bytes
    prefix: bool

    @classmethod
    def parse(cls, text: str) -> PathPattern:
        """C{/PATH}, or C{/PATH*} for all that begin so."""
        if not text.startswith("/") or not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("a path begins with a slash, as in /old or /old/*")
        if "*" in text[:-1] or "?" in text or "#" in text:
            raise ValueError("a path has no query, and a * only at its end")
        return cls(text.rstrip("*").encode(), text.endswith("*"))

    def __str__(self) -> str:
        return self.path.decode() + "*" * self.prefix

    def rest(self, path: bytes) -> bytes | None:
        """What follows the pattern in a path; None if it does not match."""
        if self.prefix:
            return path[len(self.path) :] if path.startswith(self.path) else None
        return b"" if path == self.path else None

    def means(self, path: bytes) -> bool:
        """Whether it matches a path, however that is spelled."""
        return any(self.rest(one) is not None for one in readings(path))


def _target(visit: Visit) -> tuple[bytes, bytes]:
    """Path, and query with its question mark."""
    path, mark, query = visit.target.partition(b"?")
    return path, mark + query


@dataclass(frozen=True, slots=True)
class Redirect:
    """A rule: sends visitors elsewhere. C{to}: what follows the pattern replaces its C{*}."""

    pattern: PathPattern
    to: str
    status: int = 302

    def __str__(self) -> str:
        return f"{self.pattern}={self.to}"

    def visit(self, visit: Visit) -> Answer | None:
        """See L{IRule<burrow.policy.base.IRule>}. The query goes along, unless the new URL has one."""
        path, query = _target(visit)
        rest = self.pattern.rest(path)
        if rest is None:
            return None
        location = self.to.encode()
        if location.endswith(b"*"):
            location = location[:-1] + rest
        if location.startswith(b"/"):
            location = b"/" + location.lstrip(b"/\\")  # what follows must not become another host
        if b"?" not in location:
            location += query
        return Answer(
            self.status,
            "redirect",
            "This is elsewhere",
            f"See {location.decode('latin-1')}",
            [(b"Location", location)],
        )


@dataclass(frozen=True, slots=True)
class RewritePath:
    """A rule: the upstream gets another path. C{to}: as for L{Redirect}."""

    pattern: PathPattern
    to: str

    def __str__(self) -> str:
        return f"{self.pattern}={self.to}"

    def visit(self, visit: Visit) -> None:
        """See L{IRule<burrow.policy.base.IRule>}."""
        path, query = _target(visit)
        rest = self.pattern.rest(path)
        if rest is not None and visit.target.startswith(b"/"):
            to = self.to.encode()
            visit.target = (to[:-1] + rest if to.endswith(b"*") else to) + query


@dataclass(frozen=True, slots=True)
class Respond:
    """A rule: a path has an answer of its own, however it is spelled. C{text}: empty for a page of ours."""

    pattern: PathPattern
    status: int
    text: str

    def __str__(self) -> str:
        return f"{self.pattern}={self.status} {self.text}".rstrip()

    def visit(self, visit: Visit) -> Answer | None:
        """See L{IRule<burrow.policy.base.IRule>}."""
        path, _ = _target(visit)
        if not self.pattern.means(path):
            return None
        phrase = HTTPStatus(self.status).phrase
        content = (b"text/plain; charset=utf-8", self.text.encode()) if self.text else None
        return Answer(
            self.status, "answered", phrase, "The owner of this tunnel has it answer so.", [], content
        )


def _pair(text: str, example: str) -> tuple[PathPattern, str]:
    pattern, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"write PATH=..., as in {example}")
    return PathPattern.parse(pattern.strip()), value.strip()


def _moved(pattern: PathPattern, to: str, allowed: str) -> str:
    if not _URL.fullmatch(to) or (allowed == "path" and not to.startswith("/")):
        raise ValueError(f"what follows = is a {allowed}, as in /new or /new/*")
    if to.endswith("*") and to.count("/") < 3 and not to.startswith("/"):
        raise ValueError("a * stands behind the host's slash, as in https://example.com/*")
    if "*" in to[:-1] or (to.endswith("*") and not pattern.prefix):
        raise ValueError("a * stands at the end only, and needs one before the =")
    return to


def parse_redirect(text: str) -> Redirect:
    """C{PATH=URL}; a C{*} at both ends carries the rest over."""
    pattern, to = _pair(text, "/old=/new or /old/*=/new/*")
    return Redirect(pattern, _moved(pattern, to, "path or URL"))


def parse_rewrite(text: str) -> RewritePath:
    """C{PATH=PATH}; likewise."""
    pattern, to = _pair(text, "/old=/new or /old/*=/new/*")
    return RewritePath(pattern, _moved(pattern, to, "path"))


def parse_respond(text: str) -> Respond:
    """C{PATH=STATUS [TEXT]}."""
    pattern, said = _pair(text, '"/health=200 ok" or /admin*=403')
    status, _, words = said.partition(" ")
    if not (status.isascii() and status.isdigit() and len(status) == 3) or int(status) not in _STATUSES:
        raise ValueError('what follows = is a status and perhaps a text, as in "403" or "200 ok"')
    if len(words) > 4096:
        raise ValueError("a text has 4096 characters at most")
    return Respond(pattern, int(status), words.strip())


_STATUSES = {status.value for status in HTTPStatus if status >= 200 and status.value not in (204, 205, 304)}
