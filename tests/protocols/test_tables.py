"""Tests for L{burrow.protocols.tables}: rules for some requests."""

import tomllib

import pytest

from burrow.errors import ConfigError
from burrow.protocols.http import HttpProtocol
from burrow.protocols.options import read_options, sent_options
from burrow.protocols.tables import MAX_TABLES, parse_table, table_of
from burrow.protocols.visits import policies
from tests.policy.test_fields import visit

KIND = HttpProtocol()


def asked(*tables, target=b"/", method=b"GET", fields=b"", **options):
    """What tables make of a request: its answer, and the visit."""
    one = visit(b"%b %b HTTP/1.1\r\nHost: demo.test\r\n%b\r\n" % (method, target, fields))
    given = read_options(KIND.options, {"policy": list(tables), "host-header": "preserve", **options})
    KIND.check_options(given)
    return policies(KIND, given).usual.visit(one), one


def test_answers_to_some_requests():
    table = 'path = ["/admin", "/admin/*"], method = ["post", "put"], respond = "403 no"'
    assert asked(table, target=b"/admin/x", method=b"PUT")[0].status == 403
    assert asked(table, target=b"/admin/x")[0] is None
    assert asked(table, target=b"/other", method=b"PUT")[0] is None
    bots = 'header = "User-Agent: *bot*", respond = 429'
    assert asked(bots, fields=b"User-Agent: a bot\r\n")[0].status == 429
    assert asked(bots)[0] is None
    assert asked('address = "192.0.2.0/24", respond = 403')[0].status == 403
    assert asked('address = "198.51.100.0/24", respond = 403')[0] is None


def test_redirects_with_a_status_of_their_own():
    table = 'path = ["/old/*", "/older/*"], redirect = "/new/*", status = 308'
    for target in (b"/old/a?b", b"/older/a?b"):
        answer, _ = asked(table, target=target)
        assert (answer.status, answer.fields) == (308, [(b"Location", b"/new/a?b")])
    assert asked('redirect = "https://moved.test/*"', target=b"/a")[0].fields == [
        (b"Location", b"https://moved.test/a")
    ]


def test_changes_of_some_requests():
    table = 'path = "/api/*", rewrite-path = "/v2/*", request-header-set = "X-A: b, c", max-body = "5"'
    _, one = asked(table, target=b"/api/x", **{"max-body": "10"})
    assert (one.target, one.body_limit) == (b"/v2/x", 5)
    assert [(change.name, change.value) for change in one.on_request] == [(b"X-A", b"b, c")]
    _, one = asked(table, target=b"/other", **{"max-body": "10"})
    assert (one.target, one.body_limit, one.on_request) == (b"/other", 10, [])


def test_paths_are_what_the_visitor_asked():
    answer, _ = asked(
        'path = "/api/*", rewrite-path = "/v2/*"',
        'path = "/api/secret", respond = 403',
        target=b"/api/secret",
    )
    assert answer.status == 403


def test_what_is_asked_before_anybody_is_let_in_and_what_counts():
    table = 'method = "POST", rate-limit = "1/h", circuit-breaker = "5/30s", interstitial = true'
    given = read_options(KIND.options, {"policy": [table], "host-header": "preserve"})
    policy = policies(KIND, given).usual
    head = b"POST / HTTP/1.1\r\nHost: demo.test\r\n\r\n"
    assert policy.visit(visit(head)) is None
    assert policy.visit(visit(head)).status == 429
    assert policy.visit(visit()) is None


@pytest.mark.parametrize(
    ("table", "error"),
    [
        ("", "nothing to do"),
        ('path = "/a"', "nothing to do"),
        ("path = /a", "write TOML"),
        ('respond = 403}\nb = {"c" = "d"', "write TOML|one table"),
        ("respnd = 403", "did you mean respond"),
        ('route = "/a=4000"', "no key route"),
        ('"a b" = 1', "no key"),
        ('path = "a", respond = 403', "path: a path begins"),
        ("path = 5, respond = 403", "path: write a text"),
        ("path = [], respond = 403", "path: write a text"),
        ('method = "P OST", respond = 403', "method: write a method"),
        ('header = ": x", respond = 403', "header: write the NAME"),
        ('header = "X: a*b*c", respond = 403', r"header: write \*"),
        ('address = "example.com", respond = 403', "address: "),
        ("respond = true", "respond: write a text"),
        ("respond = 304", "respond: what follows"),
        ('redirect = "//evil.test/*", status = 200', "status is one of"),
        ('rewrite-path = "/x", status = 301', "write redirect, too"),
        ('redirect = "/a\\r\\nX: y"', "redirect: what follows"),
        ('path = "/b", redirect = "/new/*"', "redirect: a . stands"),
        ('max-body = "much"', "max-body: write a size"),
        ('rate-limit-by = "X-A"', "add --rate-limit"),
        ('cors = "*", cors-credentials = true', "name the origins"),
        ('respond = 403, redirect = "/new"', "respond answers its requests, so redirect does nothing"),
        ('redirect = "/new", respond = 403', "respond answers its requests, so redirect does nothing"),
        ('path = "/a", redirect = "/b", rewrite-path = "/c"', "redirect answers .* so rewrite-path does"),
        ('respond = 403, response-header-set = "X: y"', "so response-header-set does nothing"),
        ('redirect = "/new", circuit-breaker = "5/30s"', "so circuit-breaker does nothing"),
        ('path = ["/a", "/a"], respond = 403', "--respond is given twice for /a"),
        ("compress = false", "compress: write true"),
        ('request-header-set = "Host: x"', "frames the message"),
        ('request-header-set = "Transfer-Encoding: chunked"', "frames the message"),
        ('response-header-set = "Content-Length: 5"', "frames the message"),
        ('response-header-set = "X: a\\nb"', "without control characters"),
        ("respond = {a = 1}", "texts, numbers"),
        ("x" * 7000, "characters at most"),
    ],
)
def test_impossible_tables(table, error):
    with pytest.raises(ConfigError, match=error):
        read_options(KIND.options, {"policy": table})


def test_tables_of_a_file_and_texts_are_the_same_and_survive_the_wire():
    text = r'header = ["X: ä\"\\b"], path = ["/a*", "/b"], redirect = "/c/", status = 308'
    table = tomllib.loads("[[policy]]\n" + text.replace("], ", "]\n").replace('", status', '"\nstatus'))[
        "policy"
    ]
    assert table_of(table[0]) == parse_table(text) == parse_table(f"{{ {text} }}")
    options = read_options(KIND.options, {"policy": table})
    assert read_options(KIND.options, sent_options(KIND.options, options)) == options
    assert read_options(KIND.options, {"policy": table[0]}) == options
    with pytest.raises(ConfigError, match="write a table"):
        read_options(KIND.options, {"policy": [5]})


def test_too_many_tables():
    options = read_options(KIND.options, {"policy": ["respond = 403"] * (MAX_TABLES + 1)})
    with pytest.raises(ConfigError, match="tables of policy at most"):
        KIND.check_options(options)
    options = read_options(KIND.options, {"policy": [f'respond = "200 {"x" * 3900}"'] * 8})
    with pytest.raises(ConfigError, match="characters at most"):
        KIND.check_options(options)


def test_private_tunnels_have_none():
    options = read_options(KIND.options, {"policy": ["respond = 403"], "private": True})
    with pytest.raises(ConfigError, match="public URL"):
        KIND.check_options(options)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"respond": ["/a=403"], "redirect": ["/a=/b"]}, "--respond and --redirect are both given for /a,"),
        (
            {"redirect": ["/a*=/b"], "rewrite-path": ["/a*=/c"]},
            "--redirect and --rewrite-path are both .* /a*",
        ),
        ({"respond": ["/a=403", "/a=404"]}, "--respond is given twice for /a,"),
    ],
)
def test_paths_of_which_one_never_acts(given, error):
    with pytest.raises(ConfigError, match=error):
        KIND.check_options(read_options(KIND.options, given))
    others = {"respond": ["/a=403"], "redirect": ["/a*=/b"], "rewrite-path": ["/c=/d", "/c=/e"]}
    KIND.check_options(read_options(KIND.options, others))


def test_tables_are_explained():
    table = 'method = "GET", path = ["/old/*", "/b/*"], redirect = "/new/*", status = 308, max-body = "1K"'
    assert parse_table(table).explained() == (
        "requests by GET for /old/*, /b/* are sent to /new/* (308), and have a body of 1K at most"
    )
    assert parse_table('max-body = "5M"').explained() == "all requests have a body of 5M at most"
