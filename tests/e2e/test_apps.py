"""Real services behind a tunnel: Flask, Vite with hot reload, a server-sent-events clock, PostgreSQL."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.e2e.harness import Program, free_port, wait_for
from tests.programs import npm_install, program

FLASK = """
import sys, threading
from flask import Flask, Response, redirect, request, session, url_for
from werkzeug.middleware.proxy_fix import ProxyFix
app = Flask(__name__)
seen = threading.Semaphore(0)
app.secret_key = "x"
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)
@app.get("/")
def index():
    session["seen"] = session.get("seen", 0) + 1
    return f"seen {session['seen']} from {request.remote_addr} at {request.url}"
@app.post("/upload")
def upload():
    return f"{len(request.files['file'].read())} bytes"
@app.get("/away")
def away():
    return redirect(url_for("index", _external=True))
@app.get("/clock")
def clock():
    def ticks():
        for number in range(3):
            yield f"data: {number}\\n\\n"
            seen.acquire(timeout=20)
    return Response(ticks(), mimetype="text/event-stream")
@app.get("/seen")
def tick_seen():
    seen.release()
    return "noted"
app.run("127.0.0.1", int(sys.argv[1]), threaded=True)
"""


@pytest.fixture(scope="module")
def flask(world):
    port = free_port()
    service = world.program(sys.executable, "-c", FLASK, port)
    service.line("Running on")
    agent = world.agent("http", port)
    agent.ready()
    return agent


def test_flask_app(world, flask):
    connection = world.http_connection(flask.host)
    cookie = ""
    for number in (1, 2, 3):
        connection.request("GET", "/", headers={"Cookie": cookie})
        response = connection.getresponse()
        cookie = response.headers["Set-Cookie"].partition(";")[0]
        body = response.read().decode()
        assert body == f"seen {number} from 127.0.0.1 at https://{flask.host}/"
    boundary = "b0undary"
    form = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'.encode()
        + b"x" * 1_000_000
        + f"\r\n--{boundary}--\r\n".encode()
    )
    result = world.get(
        flask.host, "/upload", "POST", form, Content_Type=f"multipart/form-data; boundary={boundary}"
    )
    assert result[2] == b"1000000 bytes"
    assert world.get(flask.host, "/away")[1]["Location"] == f"https://{flask.host}/"


def test_clock_of_server_sent_events(world, flask):
    """Each tick comes before the next is made: that one is made when the visitor has seen this."""
    connection = world.http_connection(flask.host)
    connection.request("GET", "/clock", headers={"Accept": "text/event-stream"})
    response = connection.getresponse()
    assert response.headers["Content-Type"].startswith("text/event-stream")
    for number in range(3):
        tick = response.read1(1000).decode().split()
        assert tick[1] == str(number)
        assert len(tick) == 2  # one tick alone
        assert world.get(flask.host, "/seen")[2] == b"noted"
    assert response.read() == b""


def test_vite_with_hot_reload(world, tmp_path):
    import websocket

    folder = tmp_path / "vite"
    shutil.copytree(Path(__file__).parent / "vite", folder)
    npm_install(folder)
    port = free_port()
    vite = world.program(
        program("node"), "node_modules/vite/bin/vite.js", "--port", port, "--strictPort", cwd=folder
    )
    vite.line("ready in")
    agent = world.agent("http", port)
    page = world.get(agent.host, "/", Accept="text/html")[2]
    assert b"/@vite/client" in page
    assert b'"before"' in world.get(agent.host, "/src/main.js")[2]
    client = world.get(agent.host, "/@vite/client")[2].decode()
    token = client.split('wsToken = "')[1].split('"')[0]
    hot = websocket.create_connection(
        f"wss://{agent.host}:{world.https}/?token={token}",
        socket=world.connect(agent.host),
        subprotocols=["vite-hmr"],
        origin=agent.url,
        timeout=30,
    )
    assert json.loads(hot.recv())["type"] == "connected"
    source = folder / "src" / "main.js"
    source.write_text(source.read_text().replace("before", "after"))
    update = json.loads(hot.recv())
    while update["type"] != "update":
        update = json.loads(hot.recv())
    changed = update["updates"][0]
    assert changed["path"] == "/src/main.js"
    assert b'"after"' in world.get(agent.host, f"/src/main.js?t={changed['timestamp']}")[2]
    hot.close()


@pytest.fixture(scope="module")
def postgres(world, tmp_path_factory):
    """A PostgreSQL server of the test's own; its port. It refuses to be root: then its own user runs it."""
    folder = tmp_path_factory.mktemp("postgres")
    prefix = []
    if os.geteuid() == 0:
        prefix = [program("runuser"), "-u", "postgres", "--"]
        # Its user has to reach it: all folders that pytest made above it are root's alone.
        for parent in folder.parents:
            if parent == Path(tempfile.gettempdir()):
                break
            parent.chmod(0o711)
        shutil.chown(folder, "postgres")
    data = folder / "data"
    subprocess.run(
        [*prefix, program("initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"],
        check=True,
        timeout=120,
        stdout=subprocess.DEVNULL,
        cwd="/",
    )
    port = free_port()
    options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]
    server = Program(*prefix, program("postgres"), "-D", data, "-p", port, *options, cwd="/")
    server.line("ready to accept connections")
    yield port
    server.stop()


def test_postgresql_session(world, postgres):
    agent = world.agent("tcp", postgres)
    port = agent.url.rpartition(":")[2]
    psql = [program("psql"), "-h", "127.0.0.1", "-p", port, "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-qAt"]
    script = """
    CREATE TABLE numbers AS SELECT n, repeat('x', 100) AS text FROM generate_series(1, 50000) AS n;
    BEGIN;
    UPDATE numbers SET text = 'changed' WHERE n = 7;
    SELECT text FROM numbers WHERE n = 7;
    ROLLBACK;
    SELECT text = repeat('x', 100) FROM numbers WHERE n = 7;
    COPY numbers TO STDOUT;
    """
    result = subprocess.run(psql, input=script, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[:2] == ["changed", "t"]
    assert len(lines) == 50_002
    # Bytes in, too: copy the same rows back.
    rows = "\n".join(lines[2:])
    back = f"CREATE TABLE copied (n int, text text);\nCOPY copied FROM STDIN;\n{rows}\n\\.\n"
    back += "SELECT count(*) FROM copied;"
    result = subprocess.run(psql, input=back, capture_output=True, text=True, timeout=120)
    assert result.stdout.strip() == "50000", result.stderr


def test_postgresql_waits_without_traffic(world, postgres):
    """A session that is silent for a while is not taken for a dead one."""
    agent = world.agent("tcp", postgres)
    port = agent.url.rpartition(":")[2]
    psql = [
        program("psql"),
        "-h",
        "127.0.0.1",
        "-p",
        port,
        "-U",
        "postgres",
        "-qAt",
        "-c",
        "SELECT pg_sleep(3), 42",
    ]
    result = subprocess.run(psql, capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "|42", result.stderr
    wait_for(lambda: agent.program.process.poll() is None)
