"""What C{django-admin startproject} makes, in a real browser: its admin's sign-in, a form, and sign-out."""

import subprocess
import sys

import pytest

from tests.e2e.browsing import Chromium
from tests.e2e.harness import free_port

DOMAIN = "tunnel.example"  # with DEBUG, Django takes any name under localhost
WORLD = {"domain": DOMAIN}
SECURE = f"""
ALLOWED_HOSTS = [".{DOMAIN}"]
CSRF_COOKIE_SECURE = SESSION_COOKIE_SECURE = True
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
"""


def manage(folder, *arguments):
    """Run a command of the project's."""
    subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=folder,
        check=True,
        timeout=60,
        stdout=subprocess.DEVNULL,
        env={"DJANGO_SUPERUSER_PASSWORD": "correct horse"},
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with one user, alice."""
    folder = tmp_path_factory.mktemp("django")
    subprocess.run(
        [sys.executable, "-m", "django", "startproject", "shop", folder], check=True, timeout=60, cwd=folder
    )
    manage(folder, "migrate")
    manage(folder, "createsuperuser", "--noinput", "--username=alice", "--email=alice@example.com")
    return folder


@pytest.fixture(scope="module")
def chromium():
    browser = Chromium(f"--host-resolver-rules=MAP *.{DOMAIN} 127.0.0.1")
    yield browser
    browser.close()


@pytest.mark.parametrize("settings", ["", SECURE], ids=["as made", "secure cookies"])
def test_admin(world, project, chromium, settings):
    """As it was made, its Host is refused first; with these settings it is not, and it knows of TLS."""
    module = project / "shop" / "tried.py"
    module.write_text(f"from shop.settings import *\n{settings}")
    port = free_port()
    server = world.program(
        *(sys.executable, "manage.py", "runserver", port, "--noreload", "--settings=shop.tried"), cwd=project
    )
    server.line("Quit the server")
    agent = world.agent("http", port, BURROW_SERVER=f"https://127.0.0.1:{world.https}")
    try:
        chromium.fresh(f"{agent.url}/admin/")
        chromium.type("#id_username", "alice")
        assert chromium.driver.current_url == f"{agent.url}/admin/login/?next=/admin/"
        chromium.type("#id_password", "wrong horse")
        chromium.click("input[type=submit]")
        chromium.sees("Please enter the correct username and password")
        chromium.type("#id_username", "alice")
        chromium.type("#id_password", "correct horse")
        chromium.click("input[type=submit]")
        chromium.sees("Site administration")
        assert chromium.driver.current_url == f"{agent.url}/admin/"
        for name in ("csrftoken", "sessionid"):
            cookie = chromium.driver.get_cookie(name)
            assert cookie["secure"] is bool(settings)
            assert cookie["domain"] == agent.host
        chromium.driver.get(f"{agent.url}/admin/auth/group/add/")
        chromium.type("#id_name", f"editors {agent.host}")
        chromium.click("input[name=_save]")
        chromium.sees("was added successfully")
        assert chromium.driver.current_url == f"{agent.url}/admin/auth/group/"
        chromium.click("#logout-form button")
        chromium.sees("Logged out")
        chromium.driver.get(f"{agent.url}/admin/")
        chromium.find("#id_password")
        # Browsers ask for an icon by themselves; the project has none.
        assert [text for text in chromium.troubles() if "/favicon.ico" not in text] == []
    finally:
        agent.program.stop()
        server.stop()
