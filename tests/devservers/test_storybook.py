"""
Storybook on Vite: its manager, a story in its frame, and an edit that shows there.

Without a line of configuration Vite's client connects to Storybook's own port at the public host, where
nobody listens: Storybook tells it that port.
"""

import pytest

from tests.devservers.developing import node, project, replace
from tests.e2e.harness import free_port, wait_for

CLIENT_PORT = """
  viteFinal: (config) => ({
    ...config,
    server: { ...config.server, hmr: { ...config.server.hmr, clientPort: PORT } },
  }),
};
"""


@pytest.mark.parametrize("configured", [False, True], ids=["as made", "clientPort"])
def test_story_changes(world, start, tunnel, tmp_path, configured):
    folder = project("storybook", tmp_path)
    if configured:
        replace(folder / ".storybook" / "main.js", "\n};\n", CLIENT_PORT.replace("PORT", str(world.https)))
    port = free_port()
    program = start(
        "npm", "run", "storybook", "--", "-p", port, "--ci", "--exact-port", cwd=folder, env=node()
    )
    program.line("Local:|started", patience=120)
    page = tunnel(port)
    browser = page.browser
    browser.fresh(page.url)
    browser.sees("Button")
    browser.driver.switch_to.frame(browser.find("#storybook-preview-iframe"))
    browser.sees("Order of the shop")
    page.mark()
    if not configured:
        host = page.url.rpartition(":")[0].replace("https", "wss")
        wait_for(lambda: f"'{host}:{port}/" in "".join(browser.troubles()), "the client to fail")
        return
    page.connected("vite-hmr")
    replace(folder / "stories" / "button.js", "of the shop", "of the house")
    browser.sees("Order of the house")
    browser.driver.switch_to.default_content()
    page.no_troubles()
