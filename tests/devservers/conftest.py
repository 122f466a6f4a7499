"""
What the tests of development servers share: a server whose tunnels have a public name, and a browser.

The name is not under localhost: most development servers let any name there pass, and would show nothing.
"""

import pytest

from tests.devservers.developing import DOMAIN, NOTE_WEB_SOCKETS, DevServer, Tunnel
from tests.e2e.browsing import Chromium
from tests.e2e.harness import World


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """A server on the loopback for names under L{DOMAIN}, which agents reach by its address."""
    world = World(tmp_path_factory.mktemp("world"), domain=DOMAIN)
    world.env["BURROW_SERVER"] = f"https://127.0.0.1:{world.https}"
    world.start_server()
    world.env["BURROW_TOKEN"] = world.token()
    yield world
    world.close()


@pytest.fixture(scope="session")
def chromium():
    browser = Chromium(f"--host-resolver-rules=MAP *.{DOMAIN} 127.0.0.1")
    browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": NOTE_WEB_SOCKETS})
    yield browser
    browser.close()


@pytest.fixture
def tunnel(world, chromium):
    """Makes tunnels to ports, by C{burrow http PORT} without any other option."""
    made = []

    def make(port):
        made.append(Tunnel(world, chromium, port))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def start():
    """Starts development servers, which end with the test."""
    started = []

    def run(*arguments, **options):
        started.append(DevServer(*arguments, **options))
        return started[-1]

    yield run
    for each in started:
        each.stop()
