"""Visits as tests make them: one request, the means that it has, and what became of it."""

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed

from burrow.http.request_head import RequestReader
from burrow.policy.base import Policy, Visit
from burrow.policy.doors import Authentication
from burrow.policy.means import FetchFailed, Means

HOST = "blog.example.com"
NOW = 1_800_000_000.0


class World:
    """A clock, and URLs that can be fetched: functions of the form's fields and the header fields."""

    def __init__(self):
        self.time = NOW
        self.urls = {}
        self.fetched = []
        self.means = Means(lambda: self.time, maybeDeferred, self._fetch)

    def _fetch(self, url, form, fields):
        self.fetched.append(url)
        if url not in self.urls:
            return fail(FetchFailed(f"no {url}"))
        answer = self.urls[url]
        return succeed(answer(form, fields) if callable(answer) else answer)


def visit(
    world,
    target="/",
    method="GET",
    fields=(),
    body=b"",
    *,
    socket=False,
    scheme="https",
    address="192.0.2.1",
    host=HOST,
):
    """One request. C{fields}: pairs of texts."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    if socket:
        lines += ["Connection: Upgrade", "Upgrade: websocket"]
    head, _ = RequestReader().feed("\r\n".join([*lines, "", ""]).encode())
    assert bool(head.upgrade) == socket
    made = Visit(head, address, scheme, head.target, head.authority, means=world.means)
    made.body = lambda limit: succeed(body if len(body) <= limit else None)
    return made


def outcome(asked):
    """What came of something that may be a Deferred; it must not wait."""
    if not isinstance(asked, Deferred):
        return asked
    results = []
    asked.addBoth(results.append)
    assert results, "it still waits"
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]


def ask(doors, made, **options):
    """The status that a visit is answered by doors; 0 if it goes on."""
    answer = outcome(Policy([Authentication(doors, **options)]).visit(made))
    return answer.status if answer else 0


def sent(made):
    """The fields that the upstream gets, as pairs of texts."""
    fields = made.request.headers.fields
    for change in made.on_request:
        fields = change(fields)
    return [(name.decode().lower(), value.decode()) for name, value in fields]


def field(answer, name):
    """The first value of an answer's field."""
    return next(value.decode() for key, value in answer.fields if key.decode().lower() == name.lower())


def answered(doors, made, **options):
    """The answer of doors."""
    answer = outcome(Policy([Authentication(doors, **options)]).visit(made))
    assert answer is not None, "it went on"
    return answer


def held(answer):
    """The Cookie field of a browser that got an answer."""
    pairs = []
    for name, value in answer.fields:
        if name == b"Set-Cookie" and b"Max-Age=0" not in value:
            pairs.append(value.decode().partition(";")[0])
    return ("Cookie", "; ".join(pairs))
