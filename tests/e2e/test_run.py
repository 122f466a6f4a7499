"""C{burrow run}: programs that open a port, started with their URL and ended with it."""

import json
import os
import resource
import signal
import sys
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.e2e.harness import burrow, free_port, wait_for
from tests.programs import program as path_of

ECHO = """
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps([os.environ["BURROW_URL"], os.environ["BURROW_NAME"], sys.argv]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
print("started with", os.environ["BURROW_URL"], flush=True)
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.serve_forever()
"""


@pytest.fixture
def start(world):
    def start(*arguments, **env):
        program = burrow("run", "--no-inspect", *arguments, env={**world.env, **env})
        world.started.append(program)
        return program

    return start


def test_the_port_is_found(world, start):
    port = free_port()
    program = start("--name", "found", "--", sys.executable, "-c", ECHO, port, "--", "-x")
    program.line(f"started with https://found.localhost:{world.https}")
    program.line(f"https://found.localhost:{world.https} is 127.0.0.1:{port}")
    status, _, body = world.get("found.localhost")
    assert status == 200
    url = f"https://found.localhost:{world.https}"
    assert json.loads(body) == [url, "found", ["-c", str(port), "--", "-x"]]
    program.kill(signal.SIGTERM)
    assert program.wait() == 128 + signal.SIGTERM
    wait_for(lambda: f"tunnel {url} is closed" in world.server.output, "the end of the tunnel")


def test_a_child_of_the_program_opens_the_port(world, start):
    port = free_port()
    shell = f'"{sys.executable}" -m http.server -b 127.0.0.1 {port} & wait'
    program = start("--name", "shell", "--", "sh", "-c", shell)
    program.line(f"is 127.0.0.1:{port}")
    assert world.get("shell.localhost")[0] == 200
    (shell,) = _children(program.process.pid)
    (service,) = _children(shell)
    os.kill(service, signal.SIGTERM)
    assert program.wait() == 0


def _children(pid):
    return [int(number) for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_uvicorn_and_a_port_that_is_said(world, start, tmp_path):
    (tmp_path / "served.py").write_text(
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'http':\n"
        "        await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "        await send({'type': 'http.response.body', 'body': b'by uvicorn'})\n"
    )
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", tmp_path, "served:app", "--port", port]
    program = start("--name", "uvicorn", "--port", port, "--", *command)
    program.line("Uvicorn running")
    assert world.get("uvicorn.localhost")[2] == b"by uvicorn"
    program.kill(signal.SIGINT)
    assert program.wait() == 0 or program.process.returncode == 128 + signal.SIGINT
    program.line("Application shutdown complete|Finished server process")


def test_django_needs_no_other_setting(world, start, tmp_path):
    (tmp_path / "manage.py").write_text(
        "import os, sys\n"
        "from django.core.management import execute_from_command_line\n"
        "from django.http import HttpResponse\n"
        "from django.urls import path\n"
        "SECRET_KEY, DEBUG, ROOT_URLCONF, DATABASES = 'x', True, 'manage', {}\n"
        "INSTALLED_APPS = ['burrow.django']\n"
        "MIDDLEWARE = ['django.middleware.csrf.CsrfViewMiddleware']\n"
        "def view(request):\n"
        "    from django.middleware.csrf import get_token\n"
        "    return HttpResponse(get_token(request) + ' ' + request.build_absolute_uri())\n"
        "urlpatterns = [path('', view)]\n"
        "if __name__ == '__main__':\n"
        "    os.environ['DJANGO_SETTINGS_MODULE'] = 'manage'\n"
        "    execute_from_command_line(sys.argv)\n"
    )
    port, here = free_port(), str(Path(__file__).parents[2])
    # Its reloader is on, as by default: so it is a child of the program that opens the port.
    command = [sys.executable, tmp_path / "manage.py", "runserver", "--skip-checks", port]
    program = start("--name", "django", "--", *command, PYTHONPATH=f"{tmp_path}:{here}")
    url = f"https://django.localhost:{world.https}"
    program.line(f"^burrow: visitors reach this at {url}$")
    program.line(f"{url} is 127.0.0.1:{port}")
    status, headers, body = world.get("django.localhost")
    assert status == 200, body
    token, shown = body.decode().split()
    assert shown.startswith("https://django.localhost")
    cookie = headers["Set-Cookie"].split(";")[0]
    sent = {"Cookie": cookie, "X-CSRFToken": token}
    assert world.get("django.localhost", method="POST", body=b"", Origin=url, **sent)[0] == 200
    other = world.get("django.localhost", method="POST", body=b"", Origin="https://a.b", **sent)
    assert other[0] == 403


def test_flask_that_reloads_itself(world, start, tmp_path):
    """The program that its reloader starts anew has the port again, and the URL leads to it."""
    code = "import flask\napp = flask.Flask(__name__)\napp.get('/')(lambda: 'WORD')\n"
    app = tmp_path / "app.py"
    app.write_text(code.replace("WORD", "first"))
    port, here = free_port(), str(Path(__file__).parents[2])
    flask = [sys.executable, "-m", "flask", "--app", "app", "run", "--debug", "--port", port]
    program = start("--name", "flask", "--", *flask, PYTHONPATH=f"{tmp_path}:{here}")
    program.line(f"https://flask.localhost:{world.https} is 127.0.0.1:{port}")
    assert world.get("flask.localhost")[::2] == (200, b"first")
    app.write_text(code.replace("WORD", "second one"))

    def changed():
        try:
            return world.get("flask.localhost")[2] == b"second one"
        except HTTPException:  # the reloader may end the program in the middle of an answer
            return False

    wait_for(changed, "the changed app")
    program.kill(signal.SIGTERM)
    program.wait()


def test_npm_run_dev(world, start, tmp_path):
    """A script of a package.json, which npm runs by a shell; it chooses its port itself."""
    (tmp_path / "package.json").write_text(json.dumps({"name": "site", "scripts": {"dev": "node dev.js"}}))
    (tmp_path / "dev.js").write_text(
        "const server = require('http').createServer((request, response) =>\n"
        "  response.end(process.env.BURROW_URL + request.url))\n"
        "server.listen(0, '127.0.0.1', () => console.log('dev server ready'))\n"
    )
    npm = [path_of("npm"), "--prefix", tmp_path, "run", "dev"]
    started = start("--name", "npm", "--", *npm, npm_config_update_notifier="false")
    started.line("^dev server ready")
    started.line(f"https://npm.localhost:{world.https} is 127.0.0.1:")
    assert world.get("npm.localhost", "/page")[2] == f"https://npm.localhost:{world.https}/page".encode()
    (npm,) = _children(started.process.pid)
    (shell,) = _children(npm)
    (service,) = _children(shell)
    os.kill(service, signal.SIGTERM)  # to npm it would end npm and the shell alone, whoever started them
    assert started.wait() == 128 + signal.SIGTERM


def test_before_there_is_a_port(world, start):
    program = start(
        "--name", "early", "--", sys.executable, "-c", "print('up', flush=True); import time; time.sleep(60)"
    )
    program.line("^up")
    status, _, body = world.get("early.localhost")
    assert status == 502
    assert b"has not opened its port yet" in body
    program.kill(signal.SIGTERM)
    assert program.wait() == 128 + signal.SIGTERM


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl(2) is Linux's")
def test_it_does_not_outlive_a_burrow_that_was_killed(start):
    code = (
        "import os, signal, time\n"
        "print('pid', os.getpid(), signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, flush=True)\n"
        "time.sleep(300)"
    )
    program = start("--", sys.executable, "-c", code)
    pid = int(program.line(r"^pid (\d+) True")[1])
    program.kill(signal.SIGKILL)
    program.process.wait(10)

    def gone():
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    wait_for(gone, "the program's end")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_its_signals_are_as_if_nothing_had_started_it(start):
    program = start("--", "grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status")
    assert program.wait() == 0, program.output
    blocked, ignored = (int(line.split()[1], 16) for line in program.lines[-2:])
    assert blocked == 0
    assert ignored & 0x7FFF_FFFF == 0  # what is above are the C library's own


@pytest.mark.parametrize("code", [0, 3])
def test_its_exit_code(start, code):
    program = start("--", sys.executable, "-c", f"raise SystemExit({code})")
    assert program.wait() == code
    assert "Traceback" not in program.output


def test_it_has_the_limit_of_files_that_burrow_was_given(world):
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    command = ["run", "--no-inspect", "--", sys.executable, "-c", code]
    program = burrow(*command, env=world.env)
    assert program.wait() == 0
    assert str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]) in program.lines


def test_refusals(world, start):
    program = start("--", "no-such-program")
    assert program.wait() == 78
    assert "there is no program 'no-such-program'" in program.output
    program = start("--", sys.executable, "-c", "print('started')", BURROW_TOKEN="wrong")
    assert program.wait() == 77
    assert "the token is unknown" in program.output
    assert "started" not in program.lines
    program = start("--", sys.executable, "-c", "print('started')", BURROW_SERVER="http://127.0.0.1:1")
    assert program.wait() == 69
    assert "started" not in program.lines
    program = start("--port", "99999", "--", "true")
    assert program.wait() != 0
    assert "99999" in program.output
    program = start()
    assert program.wait() == 2
