"""Vite's own React template: an edit shows in the page, which keeps its state."""

from tests.devservers.developing import node, project, replace
from tests.e2e.harness import free_port


def test_hot_reload(start, tunnel, tmp_path):
    folder = project("vite", tmp_path)
    port = free_port()
    start("npm", "run", "dev", "--", "--port", port, "--strictPort", cwd=folder, env=node()).line("ready in")
    page = tunnel(port)
    page.open("Get started")
    page.connected("vite-hmr")
    page.browser.click("button", "Count is 0")
    page.browser.sees("Count is 1")
    page.mark()
    replace(folder / "src" / "App.jsx", "Get started", "Changed by hand")
    page.browser.sees("Changed by hand")
    page.browser.sees("Count is 1")
    replace(folder / "src" / "index.css", ":root {", ":root {\n  --seen: yes;")
    page.browser.wait_for("return getComputedStyle(document.documentElement).getPropertyValue('--seen')")
    assert page.marked
    page.no_troubles()
