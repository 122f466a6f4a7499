"""Django, Flask and FastAPI with their own reloaders: an edit is what the next load of the page shows."""

import subprocess

import pytest

from tests.devservers.developing import installed, replace
from tests.e2e.harness import free_port

FLASK = """
from flask import Flask, redirect, request, session, url_for

app = Flask(__name__)
app.secret_key = "only a test"

FORM = "<h1>Get started</h1><p>{}</p><form method=post><input name=note><button>Keep</button></form>"

@app.get("/")
def index():
    return FORM.format(session.get("note", "no note"))

@app.post("/")
def keep():
    session["note"] = request.form["note"]
    return redirect(url_for("index", _external=True))
"""

FASTAPI = """
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import HTMLResponse

app = FastAPI()

PAGE = '''<h1>Get started</h1><p></p><script>
const socket = new WebSocket(`wss://${location.host}/echo`);
socket.onopen = () => socket.send("said");
socket.onmessage = (message) => { document.querySelector("p").innerText = message.data; };
</script>'''

@app.get("/", response_class=HTMLResponse)
async def index():
    return PAGE

@app.websocket("/echo")
async def echo(socket: WebSocket):
    await socket.accept()
    await socket.send_text("heard " + await socket.receive_text())
"""


DJANGO = """
from django.http import HttpResponse

urlpatterns = [path("", lambda request: HttpResponse("Changed by hand"))]
"""


def test_django(start, tunnel, tmp_path):
    python, port = installed("venv") / "bin" / "python", free_port()
    made = [python, "-m", "django", "startproject", "shop", tmp_path]
    subprocess.run(made, check=True, timeout=60)
    start(python, "manage.py", "runserver", port, cwd=tmp_path).line("Quit the server")
    page = tunnel(port)
    page.open("The install worked successfully!")
    urls = tmp_path / "shop" / "urls.py"
    urls.write_text(urls.read_text() + DJANGO)
    page.reload_until("Changed by hand")


def test_flask(start, tunnel, tmp_path):
    source, port = tmp_path / "app.py", free_port()
    source.write_text(FLASK)
    flask = start(installed("venv") / "bin" / "flask", "run", "--debug", "-p", port, cwd=tmp_path)
    flask.line("Debugger PIN")
    page = tunnel(port)
    page.open("Get started")
    page.browser.type("input", "bring milk")
    page.browser.click("button", "Keep")
    page.browser.sees("bring milk")
    page.is_at("/")
    known = len(flask.lines)
    replace(source, "Get started", "Changed by hand")
    flask.line("Debugger PIN", after=known)
    page.browser.driver.refresh()
    page.browser.sees("Changed by hand")
    page.browser.sees("bring milk")
    page.no_troubles()


@pytest.mark.parametrize(
    "command", [("fastapi", "dev", "--port"), ("uvicorn", "app:app", "--reload", "--port")]
)
def test_fastapi(start, tunnel, tmp_path, command):
    source, port = tmp_path / "app.py", free_port()
    source.write_text(FASTAPI)
    server = start(installed("venv") / "bin" / command[0], *command[1:], port, cwd=tmp_path)
    server.line("Application startup complete")
    page = tunnel(port)
    page.open("Get started")
    page.browser.sees("heard said")
    known = len(server.lines)
    replace(source, "Get started", "Changed by hand")
    server.line("Application startup complete", after=known)
    page.browser.driver.refresh()
    page.browser.sees("Changed by hand")
    page.browser.sees("heard said")
    page.no_troubles()
