"""What C{ng new} makes, by C{ng serve}: a template is replaced in the page, a component reloads it."""

from tests.devservers.developing import node, project, replace
from tests.e2e.harness import free_port


def test_hot_reload(start, tunnel, tmp_path):
    folder = project("angular", tmp_path)
    port = free_port()
    start("npm", "start", "--", "--port", port, cwd=folder, env=node()).line(
        "Watch mode enabled", patience=120
    )
    page = tunnel(port)
    page.open("Hello, angular")
    page.connected("vite-hmr")
    page.mark()
    replace(folder / "src" / "app" / "app.html", "Hello,", "Welcome,")
    page.browser.sees("Welcome, angular")
    assert page.marked
    replace(folder / "src" / "app" / "app.ts", "signal('angular')", "signal('burrow')")
    page.browser.sees("Welcome, burrow")
    page.no_troubles()
