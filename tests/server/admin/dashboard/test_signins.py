"""Signing in to the dashboard, and what the cookie is good for."""

import hashlib

import attr
import pytest
from twisted.internet.defer import fail

from burrow.errors import StoreError
from burrow.server.admin.dashboard import signins
from burrow.server.admin.dashboard.resource import SESSION
from burrow.store.spaces import SIGN_INS
from burrow.store.tokens import rotated
from tests.server.admin.dashboard.browser import Browser
from tests.server.admin.node import ApiNode


@pytest.fixture
def browser():
    return Browser()


def notes(browser):
    found = []
    browser.node.store.notes(SIGN_INS).addCallback(found.append)
    return found[0]


@pytest.mark.parametrize(("who", "role"), [("ann", "agent"), ("eve", "viewer"), ("boss", "admin")])
def test_each_role_signs_in(browser, who, role):
    assert browser.session is None
    answer = browser.sign_in(who)
    session = answer.body["session"]
    assert (answer.status, session["name"], session["role"]) == (200, who, role)
    assert session["until"].endswith("Z")
    assert answer.headers["cache-control"] == "no-store"
    assert browser.session == session
    assert browser.api("GET", "/whoami").body["name"] == who
    assert browser.api("GET", "/tokens").status == (403 if role == "agent" else 200)
    created = browser.api("POST", "/tokens", {"name": "new"})
    assert created.status == (201 if role == "admin" else 403)


def test_the_cookie_over_https_is_of_this_host_alone(browser):
    flags = browser.sign_in().headers["set-cookie"].split("; ")
    assert flags[0].startswith("__Host-burrow=")
    assert set(flags[1:]) == {"Path=/", "Max-Age=43200", "Secure", "HttpOnly", "SameSite=Strict"}


def test_in_clear_the_cookie_has_another_name():
    browser = Browser(secure=False)
    flags = browser.sign_in().headers["set-cookie"].split("; ")
    assert flags[0].startswith("burrow-dashboard=")
    assert set(flags[1:]) == {"Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Strict"}
    assert browser.session["name"] == "boss"


def test_the_cookie_of_one_scheme_is_none_in_the_other():
    plain = Browser(secure=False)
    plain.sign_in()
    secure = Browser(plain.node)
    secure.cookie = plain.cookie
    assert secure.session is None


def test_the_store_keeps_no_secret(browser):
    browser.sign_in()
    secret = browser.cookie.partition("=")[2]
    assert len(secret) == 43
    assert list(notes(browser)) == [hashlib.sha256(secret.encode()).hexdigest()]
    assert secret not in str(notes(browser))
    assert browser.node.texts["boss"] not in str(notes(browser))


def test_each_sign_in_has_a_secret_and_a_csrf_token_of_its_own(browser):
    other = Browser(browser.node)
    browser.sign_in()
    other.sign_in()
    assert browser.cookie != other.cookie
    assert browser.csrf != other.csrf
    browser.csrf = other.csrf
    assert browser.api("POST", "/tokens", {"name": "new"}).status == 403


def test_who_signs_in_again_leaves_the_sign_in_before(browser):
    browser.sign_in("ann")
    before = browser.cookie
    browser.sign_in("boss")
    assert len(notes(browser)) == 1
    browser.cookie = before
    assert browser.session is None


def test_signing_out_ends_it_at_the_server(browser):
    browser.sign_in()
    cookie = browser.cookie
    answer = browser.ask("DELETE", SESSION)
    assert (answer.status, answer.body, browser.cookie) == (200, {"session": None}, "")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    browser.cookie = cookie
    assert browser.session is None
    assert browser.api("GET", "/whoami").status == 401
    assert notes(browser) == {}


def test_it_ends_after_half_a_day(browser):
    now = [1000.0]
    dashboard = browser.node.admin.root.rest
    dashboard.signins._now = lambda: now[0]
    browser.sign_in()
    cookie = browser.cookie
    now[0] += signins.LASTS - 1
    assert browser.session is not None
    now[0] += 1
    assert browser.session is None
    browser.cookie = cookie
    assert browser.api("GET", "/whoami").status == 401


def test_a_revoked_token_ends_it_at_once(browser):
    browser.sign_in("ann")
    browser.node.store.revoke_token("ann")
    assert browser.api("GET", "/whoami").status == 401
    assert browser.session is None
    assert browser.cookie == ""


def test_another_secret_of_the_token_ends_it(browser):
    browser.sign_in("ann")
    text, digest = rotated(browser.node.tokens["ann"])
    changed = []
    browser.node.store.change_token("ann", {"digest": digest}).addCallback(changed.append)
    assert changed
    assert browser.session is None
    assert browser.sign_in(text).status == 200


def test_another_role_counts_at_once(browser):
    browser.sign_in("ann")
    browser.node.store.change_token("ann", {"role": "viewer"})
    assert browser.session["role"] == "viewer"
    assert browser.api("GET", "/tokens").status == 200


def test_of_one_token_the_oldest_sign_in_ends(browser, monkeypatch):
    monkeypatch.setattr(signins, "OF_TOKEN", 3)
    others = Browser(browser.node)
    others.sign_in("boss")
    browsers = [Browser(browser.node) for _ in range(4)]
    now = [1000.0]
    browser.node.admin.root.rest.signins._now = lambda: now[0]
    for one in browsers:
        now[0] += 1
        one.sign_in("ann")
    assert [one.session is not None for one in browsers] == [False, True, True, True]
    assert others.session is not None


@pytest.mark.parametrize(
    "cookie", ["__Host-burrow=", "__Host-burrow=x", "__Host-burrow=" + "x" * 5000, "a=b; c"]
)
def test_a_cookie_that_is_none(browser, cookie):
    browser.cookie = cookie
    assert browser.api("GET", "/whoami").status == 401
    assert browser.session is None


@pytest.mark.parametrize(
    "note",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"token": "x", "digest": "zz", "until": 9e9}',
        '{"token": 1, "digest": "", "until": "x"}',
    ],
)
def test_a_note_that_another_release_wrote_is_nobodys(browser, note):
    browser.node.store.put_note(SIGN_INS, hashlib.sha256(b"abc").hexdigest(), note)
    browser.cookie = "__Host-burrow=abc"
    assert browser.session is None
    browser.sign_in()
    assert browser.session is not None


def test_wrong_tokens_are_limited_as_the_apis_are(browser):
    wrong = "burrow_aaaaaaaaaa_" + "b" * 32
    statuses = [browser.sign_in(wrong).status for _ in range(21)]
    assert statuses == [401] * 20 + [429]
    assert browser.node.ask("GET", "/whoami", wrong, address=browser.address).status == 429
    assert browser.sign_in("boss").status == 429
    assert Browser(browser.node, address="203.0.113.10").sign_in("boss").status == 200
    browser.node.reactor.advance(4)
    assert browser.sign_in("boss").status == 200


def test_a_wrong_token_is_told_what_to_do_and_not_repeated(browser):
    answer = browser.sign_in("hello-secret")
    assert (answer.status, answer.media) == (401, "application/problem+json")
    assert "ask the server's owner" in answer.body["detail"]
    assert "hello-secret" not in answer.text
    assert "set-cookie" not in answer.headers


def test_the_store_is_away(browser, monkeypatch):
    browser.sign_in()

    monkeypatch.setattr(browser.node.store, "note", lambda *_: fail(StoreError("away")))
    assert browser.ask("GET", SESSION).status == 503
    assert browser.api("GET", "/whoami").status == 503
    assert browser.ask("GET", "/").status == 200


# -- other pages ---------------------------------------------------------------------------------------------


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "https://blog.example.com"},
    {"Origin": "http://example.com"},
    {"Origin": "https://example.com:8443"},
    {"Origin": "null"},
    {"Origin": None, "Sec_Fetch_Site": "cross-site"},
    {"Origin": None, "Sec_Fetch_Site": "same-site"},
    {"Origin": None, "Sec_Fetch_Site": None},
]


@pytest.mark.parametrize("fields", FOREIGN)
def test_a_change_from_another_page_is_refused(browser, fields):
    browser.sign_in()
    answer = browser.api("POST", "/tokens", {"name": "evil"}, **fields)
    assert answer.status == 403
    assert browser.ask("DELETE", SESSION, **fields).status == 403
    assert browser.session is not None
    assert [item["name"] for item in browser.api("GET", "/tokens").body["items"]] == [
        "ann",
        "bob",
        "boss",
        "eve",
    ]


@pytest.mark.parametrize("fields", FOREIGN)
def test_no_other_page_signs_anybody_in(browser, fields):
    answer = browser.ask("POST", SESSION, {"token": browser.node.texts["ann"]}, **fields)
    assert answer.status == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("csrf", ["", "x", "\u00e9", None])
def test_a_change_needs_the_csrf_token(browser, csrf):
    browser.sign_in()
    browser.csrf = ""
    fields = {"X_Burrow_CSRF": csrf} if csrf else {}
    answer = browser.api("POST", "/tokens", {"name": "evil"}, **fields)
    assert (answer.status, "load the dashboard again" in answer.body["detail"]) == (403, True)
    assert browser.ask("DELETE", SESSION, **fields).status == 403
    assert browser.session is not None


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_tunnels_page_reads_nothing_by_the_cookie(browser, site):
    browser.sign_in()
    assert browser.api("GET", "/whoami", Sec_Fetch_Site=site).status == 403
    assert browser.ask("GET", SESSION, Sec_Fetch_Site=site).status == 403
    assert browser.api("GET", "/events?follow=1", Sec_Fetch_Site=site).status == 403


def test_a_bearer_token_needs_no_cookie_and_no_csrf_token():
    node = ApiNode()
    assert node.ask("POST", "/tokens", body={"name": "new"}).status == 201


def test_a_wrong_bearer_token_is_not_saved_by_a_cookie(browser):
    browser.sign_in()
    assert browser.api("GET", "/whoami", Authorization="Bearer x").status == 401


def test_what_is_kept_is_compared_without_the_name():
    # `still` knows a token by its id and digest alone.
    assert [one.name for one in attr.fields(signins.SignIn)] == ["who", "until", "csrf"]


def test_a_request_costs_two_reads_of_the_store(browser, monkeypatch):
    browser.sign_in()
    store, reads = browser.node.store, []
    for name in ("note", "token"):
        real = getattr(store, name)
        monkeypatch.setattr(
            store, name, lambda *given, real=real, name=name: reads.append(name) or real(*given)
        )
    assert browser.api("GET", "/whoami").status == 200
    assert reads == ["note", "token"]
