"""
webpack-dev-server: a module is replaced, another reloads the page.

Without an option its client connects to the port of the upstream at the public host, where nobody listens.
"""

import pytest

from tests.devservers.developing import node, project, replace
from tests.e2e.harness import free_port, wait_for


@pytest.fixture
def folder(tmp_path):
    return project("webpack", tmp_path)


def serve(start, folder, *options):
    """Start it. @return: its port."""
    port = free_port()
    server = start("npm", "start", "--", "--port", port, *options, cwd=folder, env=node())
    server.line("compiled successfully")
    return port


def test_page_without_an_option(start, tunnel, folder):
    port = serve(start, folder)
    page = tunnel(port)
    page.browser.fresh(page.url)
    page.browser.sees("Get started")
    host = page.url.rpartition(":")[0].replace("https", "wss")
    wait_for(lambda: f"'{host}:{port}/ws' failed" in "".join(page.browser.troubles()), "the client to fail")


def test_hot_reload(start, tunnel, folder):
    page = tunnel(serve(start, folder, "--client-web-socket-url", "auto://0.0.0.0:0/ws"))
    page.open("Get started")
    page.connected("/ws")
    page.mark()
    replace(folder / "src" / "words.js", "Get started", "Changed by hand")
    page.browser.sees("Changed by hand")
    assert page.marked
    replace(folder / "src" / "index.js", "Loaded", "Loaded again")
    page.browser.sees("Loaded again")
    assert not page.marked
    page.no_troubles()
