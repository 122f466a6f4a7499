"""The dashboard's files, their headers, and what else is at its paths."""

import gzip
import re
from importlib.resources import files

import pytest

from burrow.server.admin.dashboard.files import FOLDER, read_files
from burrow.server.admin.dashboard.resource import SESSION
from tests.server.admin.dashboard.browser import Browser
from tests.server.admin.node import ApiNode
from tests.server.admin.test_there import head

STATIC = files("burrow.server.admin.dashboard") / "static"
MODULES = sorted(file.name for file in STATIC.iterdir() if file.name.endswith(".js"))


@pytest.fixture
def browser():
    return Browser()


def policy(answer):
    found = {}
    for part in answer.headers["content-security-policy"].split(";"):
        name, *values = part.split()
        found[name] = values
    return found


def test_the_page_is_there_without_a_session(browser):
    answer = browser.ask("GET", "/")
    assert (answer.status, answer.media) == (200, "text/html")
    assert "<title>Burrow</title>" in answer.text
    assert browser.ask("GET", "/?next=x").text == answer.text


@pytest.mark.parametrize("path", ["/", *sorted(read_files()), SESSION, FOLDER + "nothing"])
def test_every_answer_has_the_headers(browser, path):
    headers = browser.ask("GET", path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["x-frame-options"] == "DENY"
    assert "server" not in headers


def test_the_policy_lets_nothing_in_but_the_dashboards_own_files(browser):
    found = policy(browser.ask("GET", "/"))
    assert found["default-src"] == found["base-uri"] == found["form-action"] == ["'none'"]
    assert found["frame-ancestors"] == ["'none'"]
    assert found["require-trusted-types-for"] == ["'script'"]
    for kind in ("script-src", "style-src", "connect-src", "img-src"):
        assert found[kind] == ["'self'"]


def test_the_page_has_nothing_inline_and_nothing_from_outside():
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<style|style=|\son\w+=|https?:", page)
    assert re.findall(r"<script(?![^>]* src=)", page) == []
    assert set(re.findall(r'(?:src|href)="([^"]+)"', page)) <= set(read_files())


@pytest.mark.parametrize("name", MODULES)
def test_no_module_makes_html_of_a_text(name):
    text = (STATIC / name).read_text()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|srcdoc", text
    )
    for used in re.findall(r'from "([^"]+)"', text):
        assert used.removeprefix("./") in MODULES


def test_a_file_is_not_sent_again(browser):
    first = browser.ask("GET", FOLDER + "app.js")
    assert first.media == "text/javascript"
    again = browser.ask("GET", FOLDER + "app.js", If_None_Match=first.headers["etag"])
    assert (again.status, again.text) == (304, "")
    assert first.headers["cache-control"] == "no-cache"


def test_a_file_is_sent_by_gzip():
    file = read_files()[FOLDER + "style.css"]
    assert gzip.decompress(file.packed) == file.data
    assert len(file.packed) < len(file.data) / 2


@pytest.mark.parametrize("path", ["/", FOLDER + "app.js", SESSION])
def test_head_has_no_body(browser, path):
    answer = browser.ask("HEAD", path)
    assert (answer.status, answer.text) == (200, "")
    assert int(answer.headers["content-length"]) > 10


@pytest.mark.parametrize(
    "path",
    [
        FOLDER,
        FOLDER + "nothing",
        FOLDER + "../resource.py",
        FOLDER + "%2e%2e/files.py",
        FOLDER + "index.html",
    ],
)
def test_there_is_nothing_else(browser, path):
    answer = browser.ask("GET", path)
    assert (answer.status, answer.media) == (404, "application/problem+json")


@pytest.mark.parametrize(("method", "path"), [("POST", "/"), ("DELETE", FOLDER + "app.js"), ("PUT", SESSION)])
def test_what_is_not_possible(browser, method, path):
    answer = browser.ask(method, path, b"")
    assert answer.status == 405
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize(
    ("body", "fields", "status"),
    [
        (b"", {}, 400),
        (b"{", {}, 400),
        ([], {}, 422),
        ({}, {}, 422),
        ({"token": 5}, {}, 422),
        ({"token": "x", "more": 1}, {}, 422),
        ({"token": "\ud800"}, {}, 401),
        (b"token=x", {"Content_Type": "application/x-www-form-urlencoded"}, 415),
        (b'{"token": "x"}', {"Content_Type": "text/plain"}, 415),
        (b'"' + b"x" * 70_000, {}, 413),
    ],
)
def test_a_body_that_is_no_sign_in(browser, body, fields, status):
    assert browser.ask("POST", SESSION, body, **fields).status == status


def test_the_edge_hands_over_what_is_the_dashboards():
    node = ApiNode()
    for path in ("/", FOLDER + "app.js", SESSION):
        assert node.admin.answer(head(path, "example.com"), path) is not None
    for path in ("/x", "/_burrow/agent", "/_burrow/dashboardx"):
        assert node.admin.answer(head(path, "example.com"), path) is None


def test_without_the_admin_api_there_is_no_dashboard():
    node = ApiNode(no_admin=True)
    assert node.admin.answer(head("/", "example.com"), "/") is None
