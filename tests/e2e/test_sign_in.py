"""Sign-in by OpenID Connect in a real browser, at the npm package oidc-provider: there, back, and out."""

import shutil
import threading
from pathlib import Path

import pytest

from tests.e2e.browsing import Chromium
from tests.e2e.harness import free_port, reply
from tests.programs import npm_install, program

CLIENT, SECRET = "members of the club", "s3cret: 100 % + more"  # RFC 6749 section 2.3.1 has both encoded
WORLD = {"private_providers": True}


@pytest.fixture(scope="module")
def provider_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("oidc") / "provider"
    shutil.copytree(Path(__file__).parent / "oidc", folder)
    npm_install(folder)
    return folder


@pytest.fixture
def chromium():
    browser = Chromium()
    yield browser
    browser.close()


class Club:
    """A tunnel whose members sign in. @ivar came: the fields of the requests that reached the service."""

    def __init__(self, world, upstream, folder, browser):
        self.came, self._lock = [], threading.Lock()
        self.browser = browser
        service = upstream(self._answer)
        self.url = f"https://club.localhost:{world.https}"
        port = free_port()
        provider = world.program(
            *(program("node"), folder / "provider.js", port, CLIENT, SECRET, f"{self.url}/_burrow/callback")
        )
        provider.line("provides")
        self.issuer = f"http://127.0.0.1:{port}"
        agent = world.agent(
            *("http", service.port, "--name", "club", "--oidc-issuer", self.issuer, "--oidc-client", CLIENT),
            *("--oidc-secret", SECRET, "--oidc-allow", "alice@example.com"),
        )
        assert agent.url == self.url

    def _answer(self, handler):
        with self._lock:
            self.came.append(handler.headers)
        body = f"<h1>Club of {handler.headers['Burrow-User-Name']}</h1>{handler.path}"
        reply(handler, body.encode(), Content_Type="text/html")

    def sign_in(self, name, path="/"):
        """Open a page as nobody, and sign in at the provider, which then asks for consent."""
        browser = self.browser
        before = len(self.came)
        browser.fresh(self.url + path)
        browser.find("input[name=login]")
        assert browser.driver.current_url.startswith(f"{self.issuer}/interaction/")
        assert len(self.came) == before
        browser.type("input[name=login]", name)
        browser.type("input[name=password]", "any")
        browser.click("button[type=submit]")
        browser.sees("Authorize")
        browser.click("button[type=submit]")


def test_there_back_and_out(world, upstream, provider_folder, chromium):
    club = Club(world, upstream, provider_folder, chromium)
    club.sign_in("mallory")
    chromium.sees("You are signed in as mallory@example.com, who is not let in here.")
    assert club.came == []

    club.sign_in("alice", "/plans?of=today")
    chromium.sees("Club of The alice")
    chromium.sees("/plans?of=today")
    assert chromium.driver.current_url == club.url + "/plans?of=today"
    said = club.came[-1]
    assert said.get_all("Burrow-User") == ["alice"]
    assert said.get_all("Burrow-User-Email") == ["alice@example.com"]
    assert "burrow" not in str(said["Cookie"])
    cookie = chromium.driver.get_cookie("__Host-burrow-session")
    assert (cookie["secure"], cookie["httpOnly"], cookie["path"]) == (True, True, "/")

    chromium.run("return fetch('/fetched').then((answer) => answer.text())")
    assert club.came[-1].get_all("Burrow-User") == ["alice"]
    chromium.driver.get(club.url + "/_burrow/sign-out")
    chromium.sees("Do you want to sign-out")  # the provider's own session
    chromium.click("button[name=logout]")
    chromium.sees("Sign-out Success")
    before = len(club.came)
    chromium.driver.get(club.url + "/")
    chromium.find("input[name=login]")
    assert len(club.came) == before
