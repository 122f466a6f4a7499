"""
Makes the pictures of docs/pictures: a server, agents, visitors and a browser, all of them real.

Each picture is a function below, with the decorator C{picture}. Terminals are tmux's; what is on their
screens is drawn by the browser. C{scripts/pictures NAME...} makes some of them.
"""

from __future__ import annotations

import html
import io
import itertools
import json
import math
import os
import random
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from PIL import Image  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.terminal_theme import TerminalTheme  # noqa: E402
from rich.text import Text  # noqa: E402

from tests.e2e.browsing import Chromium  # noqa: E402
from tests.e2e.harness import Upstream as Service  # noqa: E402
from tests.e2e.harness import World, free_port, wait_for  # noqa: E402

FOLDER = ROOT / "docs" / "pictures"
DOMAIN = "example.com"
COLOURS = 256
"""Colours of a picture, which has few: a palette makes it a third as large."""

PICTURES = {}

TERMINAL = TerminalTheme(
    (24, 27, 24),
    (222, 221, 213),
    [
        (60, 64, 60),
        (255, 137, 125),
        (133, 216, 162),
        (239, 193, 109),
        (152, 193, 245),
        (212, 168, 240),
        (116, 214, 194),
        (222, 221, 213),
    ],
    [
        (128, 132, 126),
        (255, 157, 146),
        (150, 230, 178),
        (250, 210, 130),
        (170, 208, 255),
        (226, 188, 250),
        (140, 230, 212),
        (255, 255, 255),
    ],
)
"""The colours of a terminal, near those of the dashboard in the dark."""

FRAME = """<!doctype html><meta charset="utf-8"><style>
body { margin: 0; padding: 28px; display: inline-block; background: #e9e9e4; }
.window { border-radius: 12px; overflow: hidden; background: #181b18; }
.window { box-shadow: 0 14px 40px rgb(0 0 0 / 28%%); }
.bar { display: flex; gap: 8px; align-items: center; padding: 12px 16px; background: #262a25; }
.bar i { width: 12px; height: 12px; border-radius: 50%%; background: #4a4f48; }
.bar span { flex: 1; text-align: center; margin-right: 52px; color: #a8a79e; }
.bar span { font: 13px system-ui, "DejaVu Sans"; }
pre { margin: 0; padding: 16px 20px 20px; color: #dedDd5; font: 14px/1.35 "DejaVu Sans Mono", monospace; }
</style><div class="window"><div class="bar"><i></i><i></i><i></i><span>%s</span></div><pre>%s</pre></div>"""


def picture(make):
    """Registers a picture by its function's name."""
    PICTURES[make.__name__.replace("_", "-")] = make
    return make


class Tunnelled(threading.Thread):
    """An HTTP proxy that brings agents which ask for example.com to a port of this machine."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.start()

    def run(self):
        for number in itertools.count(10):
            client, _ = self._listener.accept()
            threading.Thread(target=self._join, args=(client, number), daemon=True).start()

    def _join(self, client, number):
        while b"\r\n\r\n" not in client.recv(65536):
            pass
        source = (f"127.0.{number}.{number * 3 % 250}", 0)
        try:
            server = socket.create_connection(("127.0.0.1", self._to), source_address=source)
        except OSError:  # the server is gone: the last picture is made
            client.close()
            return
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for one, other in ((client, server), (server, client)):
            threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    @staticmethod
    def _pass_on(one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass


ANSWERS = {
    "/": (200, 14_200, 0.012),
    "/posts/2026/why-we-tunnel": (200, 38_500, 0.034),
    "/assets/app.css": (304, 0, 0.004),
    "/assets/logo.svg": (200, 2_100, 0.003),
    "/api/v2/orders?page=2": (200, 8_400, 0.061),
    "/api/v2/orders/8123": (200, 1_240, 0.027),
    "/api/v2/cart": (201, 310, 0.083),
    "/hook/stripe": (200, 15, 0.018),
    "/hook/github": (202, 22, 0.009),
    "/favicon.ico": (404, 180, 0.002),
    "/api/v2/report": (500, 96, 0.412),
    "/search?q=burrow": (200, 9_900, 0.154),
}
POSTS = {"/hook/stripe", "/hook/github", "/api/v2/cart"}
EVENT = json.dumps(
    {
        "id": "evt_1QmX7d",
        "type": "invoice.paid",
        "data": {"customer": "cus_R4k", "amount": 4200, "currency": "eur"},
    }
).encode()


def serve(handler):
    """Answers as the table says, a little quicker or slower."""
    handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    status, size, seconds = ANSWERS.get(handler.path, (200, 500, 0.01))
    time.sleep(seconds * random.uniform(0.7, 1.5))
    json_like = handler.path.startswith(("/api", "/hook"))
    body = (
        json.dumps({"ok": status < 400, "items": ["x" * max(0, size - 30)]}).encode()
        if json_like
        else b"x" * size
    )
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json" if json_like else "text/html; charset=utf-8")
    handler.send_header("Content-Length", "0" if status == 304 else str(len(body)))
    handler.end_headers()
    if status != 304:
        handler.wfile.write(body)


class Set:
    """What the pictures show: a server for example.com, agents, visitors, a browser."""

    def __init__(self, folder):
        self.world = World(
            folder, domain=DOMAIN, public_url=f"https://{DOMAIN}", trusted_proxy="127.0.0.1/32"
        )
        self.world.env["BURROW_SERVER"] = f"https://127.0.0.1:{self.world.https}"
        self.world.start_server()
        self.proxy = Tunnelled(self.world.https)
        try:
            self.service = Service(serve, port=3000)
        except OSError:  # somebody else has it
            self.service = Service(serve)
        self.boss = self.world.token("maria", "admin")
        self.tokens = {name: self.world.token(name) for name in ("anna@laptop", "ci.runner", "shop-pi")}
        self.world.token("wall-screen", "viewer")
        self.env = {
            **{name: value for name, value in self.world.env.items() if name != "NO_PROXY"},
            "BURROW_SERVER": f"https://{DOMAIN}",
            "HTTPS_PROXY": self.proxy.url,
            "NO_PROXY": "127.0.0.1,localhost",
        }
        self.browser = None
        self.rates = {}
        self._stopped = False
        self.places = Path(folder)

    def open(self, name, token, kind="http", port=None):
        """An agent with a tunnel, and visitors who come to it now and then."""
        # The dashboard's page of this one has a link to its inspector.
        options = [] if name == "shop" else ["--no-inspect"]
        agent = self.world.agent(
            kind, port or self.service.port, "--name", name, *options, **self._env(token)
        )
        agent.ready()
        return agent

    def _env(self, token):
        return {**self.env, "BURROW_TOKEN": token, "XDG_STATE_HOME": str(self.places / token[7:17])}

    def visit(self, name, path, body=None, visitor=None):
        """One visitor's request."""
        visitor = visitor or f"203.0.113.{random.choice((7, 18, 24, 61, 99, 140))}"
        headers = {"X_Forwarded_For": visitor, "User_Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/148.0"}
        method = "POST" if path in POSTS else "GET"
        if method == "POST":
            headers["Content_Type"] = "application/json"
            headers["Authorization"] = "Bearer sk_live_51J9"
        return self.world.get(
            f"{name}.{DOMAIN}", path, method, EVENT if method == "POST" else body, **headers
        )

    def keep_visiting(self, name, paths, each, phase=0.0):
        """Visitors for as long as pictures are made: C{each} requests a second, more and fewer in turn."""

        def run():
            while not self._stopped:
                swing = 1 + 0.6 * math.sin(time.monotonic() / 6 + phase) + random.uniform(-0.2, 0.2)
                time.sleep(1 / max(0.2, each * swing))
                try:
                    self.visit(name, random.choice(paths))
                except OSError:
                    if not self._stopped:
                        continue

        threading.Thread(target=run, daemon=True).start()

    def chromium(self):
        """The browser, which finds example.com here."""
        if self.browser is None:
            self.browser = Chromium(f"--host-resolver-rules=MAP {DOMAIN}:443 127.0.0.1:{self.world.https}")
        return self.browser

    def sign_in(self):
        """The dashboard, signed in once."""
        browser = self.chromium()
        browser.size(1280, 800)
        browser.colours("light")
        if f"https://{DOMAIN}" not in browser.driver.current_url:
            browser.fresh(f"https://{DOMAIN}/")
            browser.type("#token", self.boss)
            browser.click("button", "Sign in")
            browser.sees("Sign out")
        browser.run("location.hash = '#/tunnels'")
        browser.sees("shop", "tbody")
        return browser

    def close(self):
        self._stopped = True
        if self.browser is not None:
            self.browser.close()
        self.service.close()
        self.world.close()


class Terminal:
    """A command in tmux, of so many columns and lines."""

    def __init__(self, command, env, columns=100, lines=28):
        self._socket = f"burrow-pictures-{os.getpid()}-{free_port()}"
        exported = " ".join(f"{name}={shlex.quote(value)}" for name, value in env.items())
        self._tmux(
            "new-session",
            "-d",
            "-x",
            str(columns),
            "-y",
            str(lines),
            f"env TERM=tmux-256color COLORTERM=truecolor {exported} {command}; sleep 600",
        )
        self._tmux("set", "-g", "status", "off")

    def _tmux(self, *arguments):
        done = subprocess.run(
            ["tmux", "-L", self._socket, "-f", "/dev/null", *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def keys(self, *keys):
        self._tmux("send-keys", *keys)

    @property
    def screen(self):
        """What is on it, with its colours."""
        return self._tmux("capture-pane", "-e", "-p")

    def sees(self, words):
        wait_for(lambda: words in self.screen, repr(words))

    def close(self):
        self._tmux("kill-server")


def drawn(browser, screen, title):
    """A terminal's screen as a page. @return: the PNG of its window."""
    console = Console(
        record=True, width=200, file=io.StringIO(), color_system="truecolor", force_terminal=True
    )
    for line in screen.rstrip("\n").split("\n"):
        console.print(Text.from_ansi(line), soft_wrap=True)
    inner = console.export_html(theme=TERMINAL, inline_styles=True, code_format="{code}")
    page = Path(tempfile.mkdtemp()) / "terminal.html"
    page.write_text(FRAME % (html.escape(title), inner))
    browser.driver.get(page.as_uri())
    browser.colours("light")
    browser.size(1600, 1200)
    box = browser.run("const box = document.body.getBoundingClientRect(); return [box.width, box.height]")
    browser.size(math.ceil(box[0]), math.ceil(box[1]), scale=1.5)
    return browser.driver.get_screenshot_as_png()


def keep(name, data):
    """Write a picture, with few colours."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image = image.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    FOLDER.mkdir(exist_ok=True)
    image.save(FOLDER / f"{name}.png", optimize=True)
    print(f"{name}.png: {image.width}x{image.height}, {(FOLDER / f'{name}.png').stat().st_size // 1000} kB")


# -- the pictures --------------------------------------------------------------------------------------------


@picture
def dashboard(scene):
    browser = scene.sign_in()
    browser.run("scrollTo(0, 0)")
    return browser.driver.get_screenshot_as_png()


@picture
def dashboard_dark(scene):
    browser = scene.sign_in()
    browser.colours("dark")
    time.sleep(2.5)
    return browser.driver.get_screenshot_as_png()


@picture
def dashboard_tunnel(scene):
    browser = scene.sign_in()
    browser.run("location.hash = '#/tunnels/shop'")
    browser.sees("/api", ".requests")
    time.sleep(45)  # so that the line of its rate has something to show
    browser.click("button", "Pause")
    browser.find(".path", "/api/v2/report").click()
    browser.find(".more-facts a", "Open the inspector")
    browser.run("scrollTo(0, 0); document.activeElement.blur()")
    time.sleep(0.5)
    return browser.driver.get_screenshot_as_png()


@picture
def dashboard_phone(scene):
    browser = scene.sign_in()
    browser.size(390, 844, mobile=True, scale=2)
    time.sleep(0.5)
    return browser.driver.get_screenshot_as_png()


def agent_terminal(scene, command, lines=24):
    token = scene.tokens["anna@laptop"]
    env = {**scene._env(token), "PATH": f"{scene.places}:{os.environ['PATH']}"}
    return Terminal(command, env, 100, lines)


@picture
def screen(scene):
    terminal = agent_terminal(scene, f"burrow http {scene.service.port} --name blog")
    try:
        terminal.sees(f"https://blog.{DOMAIN}")
        for path in random.Random(4).choices(sorted(ANSWERS), k=22):
            scene.visit("blog", path)
        time.sleep(1)
        return drawn(scene.chromium(), terminal.screen, "burrow http 3000 --name blog")
    finally:
        terminal.close()


@picture
def log(scene):
    terminal = agent_terminal(scene, f"burrow http {scene.service.port} --name notes | cat", 16)
    try:
        terminal.sees(f"https://notes.{DOMAIN}")
        for path in random.Random(9).choices(sorted(ANSWERS), k=14):
            scene.visit("notes", path)
        time.sleep(0.5)
        return drawn(scene.chromium(), terminal.screen, "burrow http 3000 | tee requests.log")
    finally:
        terminal.close()


@picture
def help(scene):
    terminal = agent_terminal(scene, "burrow help", 72)
    try:
        terminal.sees("shows a command's options")
        terminal.sees("Burrow: one HTTPS URL")  # its top is seen, too
        return drawn(scene.chromium(), terminal.screen.rstrip() + "\n", "burrow help")
    finally:
        terminal.close()


@picture
def inspector(scene):
    address = f"127.0.0.1:{free_port()}"
    agent = scene.world.agent(
        "http",
        scene.service.port,
        "--name",
        "hooks",
        "--inspect",
        address,
        **scene._env(scene.tokens["anna@laptop"]),
    )
    try:
        agent.ready()
        browser = scene.chromium()
        browser.size(1280, 800)
        browser.colours("light")
        browser.driver.get(f"http://{address}/")
        time.sleep(1)
        for path in random.Random(5).choices(sorted(ANSWERS), k=16):
            scene.visit("hooks", path)
        scene.visit("hooks", "/hook/stripe")
        time.sleep(1.5)
        browser.run(
            "[...document.querySelectorAll('*')].find((one) => one.children.length === 0 && "
            "one.textContent.trim() === '/hook/stripe' && one.checkVisibility())?.click()"
        )
        time.sleep(1.5)
        return browser.driver.get_screenshot_as_png()
    finally:
        agent.program.stop()


def main(names):
    unknown = set(names) - set(PICTURES)
    if unknown:
        sys.exit(f"there is no picture {', '.join(sorted(unknown))}: there are {', '.join(PICTURES)}")
    wanted = names or list(PICTURES)
    with tempfile.TemporaryDirectory() as folder:
        command = Path(folder) / "burrow"
        command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m burrow.cli.main "$@"\n')
        command.chmod(0o755)
        scene = Set(folder)
        try:
            anna, runner, shop = (scene.tokens[name] for name in ("anna@laptop", "ci.runner", "shop-pi"))
            if any(name.startswith("dashboard") for name in wanted):
                for name, token in (
                    ("shop", shop),
                    ("api", shop),
                    ("webhooks", anna),
                    ("preview-412", runner),
                    ("docs", anna),
                ):
                    scene.open(name, token)
                scene.open("db", runner, "tcp")
                paths = sorted(ANSWERS)
                scene.keep_visiting("shop", paths, 6)
                scene.keep_visiting("api", [path for path in paths if path.startswith("/api")], 4, 2)
                scene.keep_visiting("webhooks", sorted(POSTS), 1.5, 4)
                scene.keep_visiting("docs", ["/", "/search?q=burrow", "/assets/logo.svg"], 2.5, 1)
                scene.keep_visiting("preview-412", ["/", "/assets/app.css", "/favicon.ico"], 0.8, 3)
                scene.sign_in()
                time.sleep(80)  # so that the lines of the rates are whole
            for name in wanted:
                keep(name, PICTURES[name](scene))
        finally:
            scene.close()


if __name__ == "__main__":
    main(sys.argv[1:])
