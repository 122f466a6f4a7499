"""Symfony as Debian has it, by PHP's own server: a form login with its CSRF token, and an edited page."""

import shutil

from tests.devservers.developing import PROJECTS, replace
from tests.e2e.harness import free_port
from tests.programs import program


def test_form_login(start, tunnel, tmp_path):
    folder = tmp_path / "symfony"
    shutil.copytree(PROJECTS / "symfony", folder)
    port = free_port()
    start(program("php"), "-S", f"127.0.0.1:{port}", "-t", "public", cwd=folder).line("started")
    page = tunnel(port)
    page.open("Get started")
    page.open("Log in", "/members", "button")
    page.browser.type("input[name=_username]", "alice")
    page.browser.type("input[name=_password]", "correct horse")
    page.browser.click("button", "Log in")
    page.browser.sees("For members")
    page.is_at("/members")
    page.browser.click("a", "Log out")
    page.browser.sees("Get started")
    page.no_troubles()
    replace(folder / "public" / "index.php", "Get started", "Changed by hand")
    page.reload_until("Changed by hand")
