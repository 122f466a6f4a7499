"""The admin API on C{--admin}'s address, and where it is not served."""

import json
from unittest.mock import Mock

import pytest

from burrow.addresses import ListenAddress
from burrow.errors import ConfigError
from burrow.http.request_head import RequestReader
from burrow.server.checking import check_options, without_effect
from burrow.server.config import ServerConfig
from burrow.server.edge.pages import Page
from burrow.server.metrics import service
from burrow.server.metrics.service import Metrics
from tests.server.admin.node import ApiNode

HERE, OUT = ListenAddress("127.0.0.1", 4041), ListenAddress("192.0.2.1", 4041)


def head(target, host, length=0):
    found, _ = RequestReader().feed(
        f"GET {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n".encode()
    )
    return found


def asked(admin, target, host="localhost:4041", length=0):
    """The status of the page that answers, or 0 for a connection that is taken over."""
    answer = admin.answer_there(head(target, host, length))
    if isinstance(answer, Page):
        assert answer.content[0] == b"application/problem+json"
        assert json.loads(answer.content[1])["status"] == answer.status
        return answer.status
    return 0


@pytest.fixture
def there():
    node = ApiNode(admin=HERE)
    node.admin.serve_there(node.edge, node.back, "http")
    return node.admin


def test_it_is_not_at_the_base_domain_then(there):
    assert there.answer(head("/_burrow/api/v1/whoami", "example.com"), "/_burrow/api/v1/whoami") is None
    assert asked(there, "/_burrow/api/v1/whoami") == 0
    assert asked(there, "/_burrow/api/v1") == 0
    assert asked(there, "/_burrow/agent") == 404
    assert asked(there, "/_burrow/api/v1x") == 404
    assert asked(there, "/_burrow/api/v1/tokens", length=65_537) == 413


@pytest.mark.parametrize(
    ("listen", "host", "refused"),
    [
        (HERE, "127.0.0.1:4041", False),
        (HERE, "[::1]:4041", False),
        (HERE, "localhost:4041", False),
        (HERE, "evil.example:4041", True),
        (HERE, "127.0.0.1.evil.example", True),
        (OUT, "metrics.internal:4041", False),
    ],
)
def test_metrics_on_the_loopback_are_for_this_machine(monkeypatch, listen, host, refused):
    monkeypatch.setattr(service, "Measure", Mock())
    node = ApiNode()
    metrics = Metrics(
        node.reactor,
        ServerConfig(metrics=listen),
        node.questions,
        node.cluster,
        node.admin,
        "group",
        lambda path: None,
    )
    metrics.serve_there(node.edge, node.back)
    answer = metrics.answer_there(head("/metrics", host))
    assert isinstance(answer, Page) == refused
    if refused:
        assert answer.status == 403


def test_it_may_be_both():
    node = ApiNode(admin=HERE, admin_at_domain=True)
    assert node.ask("GET", "/whoami").status == 200


def test_it_may_be_nowhere():
    for options in ({"no_admin": True}, {"admin": "off"}):
        node = ApiNode(**options)
        assert node.admin.answer(head("/_burrow/api/v1/", "example.com"), "/_burrow/api/v1/") is None
        assert node.config.admin_listen is None


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:4041", 0),
        ("[::1]:4041", 0),
        ("localhost", 0),
        ("admin.localhost", 0),
        ("example.com", 0),
        ("evil.example", 421),
        ("blog.example.com", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
    ],
)
def test_hosts_that_lead_to_it_by_a_name_of_a_strangers_are_refused(there, host, status):
    assert asked(there, "/_burrow/api/v1/whoami", host) == status


def test_options_that_are_not_possible_together():
    for options, part in (
        ({"no_admin": True, "admin": HERE}, "contradict"),
        ({"no_admin": True, "admin_at_domain": True}, "contradict"),
        ({"admin": OUT, "tls": "off"}, "in clear"),
        ({"admin": ListenAddress("", 1), "tls": "off"}, "in clear"),
    ):
        with pytest.raises(ConfigError, match=part):
            check_options(ServerConfig(**options))
    for options in ({"admin": HERE, "tls": "off"}, {"admin": OUT}, {"no_admin": True}):
        check_options(ServerConfig(**options))
    assert without_effect(ServerConfig(admin_at_domain=True)) == [
        "--admin-at-domain has no effect without --admin"
    ]


def test_the_loopback_needs_no_tls():
    for host, in_clear in (("127.0.0.1", True), ("::1", True), ("localhost", True), ("", False)):
        assert ServerConfig(admin=ListenAddress(host, 1)).admin_in_clear is in_clear
