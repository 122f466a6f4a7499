"""Expo's app from its Metro bundler, in a browser and as Expo Go on a phone asks for it."""

from urllib.parse import urlsplit

import pytest

from tests.devservers.developing import node, project, replace
from tests.e2e.harness import free_port

ASK = {"expo-platform": "android", "accept": "application/expo+json"}
"""The header fields by which Expo Go asks for the manifest."""


@pytest.fixture
def folder(tmp_path):
    return project("expo", tmp_path)


@pytest.fixture
def page(start, tunnel, folder):
    """The tunnel to the server that has this folder."""
    port = free_port()
    # With CI, as scripts/dev-servers sets it, Metro does not look for edits.
    environment = {**node(), "CI": "0", "EXPO_NO_TELEMETRY": "1", "EXPO_OFFLINE": "1"}
    start("npm", "start", "--", "--port", port, cwd=folder, env=environment).line(
        "Waiting on http://localhost"
    )
    return tunnel(port)


def test_hot_reload(page, folder):
    page.open("Get started")
    page.connected("/hot")
    page.browser.click("[role=button]", "Count is 0")
    page.browser.sees("Count is 1")
    page.mark()
    replace(folder / "App.js", "Get started", "Changed by hand")
    page.browser.sees("Changed by hand")
    page.browser.sees("Count is 1")
    assert page.marked
    page.no_troubles()


def test_the_manifest_names_the_public_host(page):
    page.open("Get started")
    ask = "return fetch('/', {headers: arguments[0]}).then((answer) => answer.json())"
    manifest = page.browser.run(ask, ASK)
    assert manifest["launchAsset"]["url"].startswith("index.bundle?platform=android")
    assert manifest["extra"]["expoClient"]["hostUri"] == urlsplit(page.url).netloc
