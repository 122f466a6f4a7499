"""Projects that scripts/dev-servers made, copied for a test, and the tunnel to their development server."""

import contextlib
import os
import shutil
import signal
from pathlib import Path

from tests.e2e.harness import Agent, Program, wait_for
from tests.programs import program

DOMAIN = "tunnel.example"
"""The server's domain: of RFC 6761's reserved ones, since none of the programs knows it."""

NOTE_WEB_SOCKETS = """
window.opened = [];
window.WebSocket = class extends WebSocket {
  constructor(...given) {
    super(...given);
    this.addEventListener("open", () => window.opened.push(`${this.url} ${this.protocol}`));
  }
};
"""
"""Run in each page before its own scripts: C{opened} has URL and protocol of each WebSocket that is open."""

PROJECTS = Path(__file__).parent / "projects"


def installed(name):
    """A file or folder that scripts/dev-servers installed; an error that says so where it is missing."""
    folder = os.environ.get("BURROW_DEV_SERVERS")
    found = Path(folder or "/nowhere") / name
    if not found.exists():
        raise AssertionError(f"{name} is not in BURROW_DEV_SERVERS ({folder}): run scripts/dev-servers")
    return found


def project(name, folder):
    """
    A copy of an installed project, for the test to change. What npm installed is linked where it can be:
    there are some 30,000 files, and no test changes them.
    """

    def copy(source, target):
        if "node_modules" in Path(source).parts:
            try:
                os.link(source, target)
                return
            except OSError:
                pass  # another file system
        shutil.copy2(source, target)

    target = folder / name
    shutil.copytree(installed(name), target, symlinks=True, copy_function=copy)
    return target


def node():
    """The environment of the Node.js that was installed: C{PATH}, and no questions or reports."""
    return {
        "PATH": f"{installed('node') / 'node_modules' / 'node' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "NG_CLI_ANALYTICS": "false",
        "NEXT_TELEMETRY_DISABLED": "1",
        "STORYBOOK_DISABLE_TELEMETRY": "1",
    }


def replace(file, old, new):
    """Edit a source file as an editor does: the whole of it is written anew."""
    text = file.read_text()
    assert old in text, f"{file} has no {old!r}:\n{text}"
    file.write_text(text.replace(old, new))


class DevServer(Program):
    """A program with all that it starts: npm and reloaders leave their children behind."""

    def __init__(self, *arguments, **options):
        super().__init__(program("setsid"), *arguments, **options)

    def stop(self):
        """End them all: they share the session, and so the process group, that setsid began."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            self._reader.join(5)
        super().stop()


class Tunnel:
    """What C{burrow http PORT} gives, seen in a browser."""

    def __init__(self, world, browser, port):
        self.browser = browser
        self._agent = Agent(world, "http", port)
        self.url = self._agent.url
        assert self.url.startswith("https://")
        assert f".{DOMAIN}" in self.url

    def open(self, words, path="/", selector="body"):
        """Open a page as nobody; wait for words; fail if its console tells of errors."""
        self.browser.fresh(self.url + path)
        self.browser.sees(words, selector)
        came_by = "return performance.getEntriesByType('navigation')[0].nextHopProtocol"
        assert self.browser.run(came_by) == "h2"
        self.no_troubles()

    def no_troubles(self):
        """Fail if the page's console told of errors."""
        troubles = [text for text in self.browser.troubles() if "/favicon.ico" not in text]
        assert not troubles, "\n".join(troubles)

    def reload_until(self, words):
        """Load the page again until it has these words: a reloader needs a moment."""

        def look():
            self.browser.driver.refresh()
            return words in self.browser.text()

        wait_for(look, repr(words))

    def connected(self, words):
        """Wait for a WebSocket with these words in URL or protocol: edits made before are not told there."""
        self.browser.wait_for(f"return window.opened.some((one) => one.includes({words!r}))")

    def is_at(self, path):
        """Wait until the browser shows that page of the tunnel."""
        driver = self.browser.driver
        wait_for(lambda: driver.current_url == self.url + path, f"the page {path}")

    def mark(self):
        """Leave something in the page that a reload would lose."""
        self.browser.run("window.marked = true")

    @property
    def marked(self):
        """Whether the page is the one that was marked: it was not loaded again."""
        return bool(self.browser.run("return window.marked === true"))

    def close(self):
        self._agent.program.stop()
