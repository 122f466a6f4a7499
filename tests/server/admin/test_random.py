"""Whatever is asked of the admin API is answered, never by a failure of the server, and leaves nothing."""

import random

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from burrow.http.head import BadMessage
from tests.server.admin.node import ApiNode, Connection

PIECES = (
    *("/tokens", "/tunnels", "/names", "/nodes", "/events", "/requests", "/blog", "/drain", "/{name}", "//"),
    *("/%2e%2e", "/%00", "/%ff", "%", ";", "#", "*", "é", "?", "?limit=", "&", "cursor=", "=", "follow=1"),
)
MEDIA = (
    *(b"application/json", b"application/json; charset=\xff", b"application/x-www-form-urlencoded", b""),
    *(b"multipart/form-data", b"multipart/form-data; boundary=x"),
)
METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS")


def test_random_requests():
    node, rnd = ApiNode(), random.Random(7)
    node.open("ann", "blog")
    statuses = set()
    for _ in range(1500):
        path = "".join(rnd.choices(PIECES, k=rnd.randint(0, 5))).encode()
        body = bytes(rnd.choices(b'{}[]":name,role \xff\r\n-x', k=rnd.randint(0, 60)))
        method = rnd.choice(METHODS)
        lines = [
            b"%b /_burrow/api/v1%b HTTP/1.1" % (method, path),
            b"Host: example.com",
            b"Authorization: Bearer " + node.texts["boss"].encode(),
            b"Content-Type: " + rnd.choice(MEDIA),
            b"Content-Length: %d" % len(body),
        ]
        try:
            connection = Connection(node, b"\r\n".join(lines) + b"\r\n\r\n" + body, "192.0.2.9")
        except BadMessage:
            continue  # the edge refuses it
        answer = connection.answer
        assert answer.status < 500, (lines, body)
        assert answer.status < 400 or answer.media == "application/problem+json", (lines, body)
        statuses.add(answer.status)
        if connection.transport.protocol is connection.channel:
            connection.channel.connectionLost(Failure(ConnectionLost()))
    assert {200, 204, 404, 405, 415, 422} <= statuses
    assert (node.web.open, node.admin.lives._open, node.events.listeners) == (set(), set(), [])
