"""Apps that are served without a port: WSGI and ASGI, alone and by frameworks, and WebSockets."""

import hashlib
import json
import signal
import threading

import pytest
from websocket import ABNF, create_connection

from tests.e2e.harness import read_response, wait_for
from tests.e2e.programs import run

WSGI = """
import hashlib, io
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/digest":
        digest = hashlib.sha256()
        for piece in iter(lambda: environ["wsgi.input"].read(70_000), b""):
            digest.update(piece)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [digest.hexdigest().encode()]
    if path == "/large":
        start_response("200 Fine", [("Content-Length", str(20_000_000))])
        return (b"x" * 100_000 for _ in range(200))
    if path == "/stream":
        def pieces():
            try:
                while True:
                    yield b"y" * 50_000
            finally:
                print("stopped", flush=True)
        start_response("200 OK", [])
        return pieces()
    if path == "/fails":
        raise ValueError("on purpose")
    if path == "/fails-late":
        def late():
            yield b"some"
            raise ValueError("on purpose")
        start_response("200 OK", [])
        return late()
    if path == "/splits":
        start_response("200 OK", [("X-A", "b\\r\\nX-C: d")])
        return [b""]
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-App", "yes")])
    names = ["REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "wsgi.url_scheme", "SERVER_NAME"]
    names.append("HTTP_X_FORWARDED_PROTO")
    return ["|".join(environ[name] for name in names).encode(), b"|" + environ["REMOTE_ADDR"].encode()]
burrow.serve(app, name="wsgi", ready=lambda tunnel: print("open", tunnel.url, flush=True))
print("end", [thread.name for thread in threading.enumerate() if not thread.name.startswith("burrow-wsgi")])
"""

ASGI = """
import asyncio, contextlib, hashlib
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["started"] = "with state"
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("lifespan ended", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["type"] == "websocket":
        await websocket(scope, receive, send)
        return
    path = scope["path"]
    if path == "/digest":
        digest, more = hashlib.sha256(), True
        while more:
            event = await receive()
            digest.update(event["body"])
            more = event["more_body"]
        body = digest.hexdigest().encode()
    elif path == "/large":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(200):
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
        await send({"type": "http.response.body"})
        return
    elif path == "/wait":
        print("waiting", flush=True)
        while (await receive())["type"] != "http.disconnect":
            pass
        print("left", flush=True)
        return
    elif path == "/fails":
        raise ValueError("on purpose")
    elif path == "/nothing":
        return
    else:
        body = f"{scope['method']} {path} {scope['query_string']} {scope['state']['started']}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"yes")]})
    await send({"type": "http.response.body", "body": body})
async def websocket(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"] == "/refused":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][0]})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            print("disconnected", event["code"], flush=True)
            return
        if event.get("text") == "close":
            await send({"type": "websocket.close", "code": 4001, "reason": "as asked"})
            return
        if event.get("text") == "fail":
            raise ValueError("on purpose")
        await send({**event, "type": "websocket.send"})
burrow.serve(app, name="asgi", ready=lambda tunnel: print("open", tunnel.url, flush=True))
print("end", [thread.name for thread in threading.enumerate()])
"""


@pytest.fixture(scope="module")
def wsgi(world):
    program = run(world, WSGI)
    program.line("^open")
    return program


@pytest.fixture(scope="module")
def asgi(world):
    program = run(world, ASGI)
    program.line("^open")
    return program


def test_wsgi_environ(world, wsgi):
    status, headers, body = world.get("wsgi.localhost", "/a%20b?c=d")
    assert (status, headers["X-App"]) == (200, "yes")
    assert body == b"GET|/a b|c=d|https|wsgi.localhost|https|127.0.0.1"


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_bodies_stream_both_ways(world, kind, request):
    request.getfixturevalue(kind)
    body = bytes(range(256)) * 80_000
    digest = hashlib.sha256(body).hexdigest().encode()
    assert world.get(f"{kind}.localhost", "/digest", "POST", body)[2] == digest
    pieces = (body[start : start + 100_000] for start in range(0, len(body), 100_000))
    assert world.get(f"{kind}.localhost", "/digest", "POST", pieces)[2] == digest  # chunked
    assert world.get(f"{kind}.localhost", "/large")[2] == b"x" * 20_000_000
    assert world.get(f"{kind}.localhost", "/large", "HEAD")[2] == b""


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_one_connection_asks_again_and_again(world, kind, request):
    request.getfixturevalue(kind)
    with world.connect(f"{kind}.localhost") as visitor:
        for number in range(5):
            # Head and body at once: a connection is closed whose answer is whole before its request is.
            head = f"POST /{number} HTTP/1.1\r\nHost: {kind}.localhost\r\nContent-Length: 6\r\n\r\n"
            visitor.sendall(head.encode() + b"unread")
            status, headers, body = read_response(visitor)
            assert (status, headers["X-App"]) == (200, "yes")
            assert f"/{number}".encode() in body


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_an_app_that_fails_is_500_and_told(world, kind, request):
    program = request.getfixturevalue(kind)
    assert world.get(f"{kind}.localhost", "/fails")[0] == 500
    program.line("ValueError: on purpose")
    assert world.get(f"{kind}.localhost", "/")[0] == 200


def test_what_is_no_answer_is_500(world, wsgi, asgi):
    assert world.get("wsgi.localhost", "/splits")[0] == 500
    assert world.get("asgi.localhost", "/nothing")[0] == 500


def test_an_answer_that_breaks_off_is_no_whole_one(world, wsgi):
    from http.client import IncompleteRead

    with pytest.raises((IncompleteRead, ConnectionError)):
        world.get("wsgi.localhost", "/fails-late")


def test_a_visitor_that_leaves_stops_the_app(world, wsgi, asgi):
    connection = world.http_connection("wsgi.localhost")
    connection.request("GET", "/stream")
    connection.getresponse().read(1000)
    connection.close()
    wsgi.line("^stopped")
    connection = world.http_connection("asgi.localhost")
    connection.request("GET", "/wait")
    asgi.line("^waiting")
    connection.close()
    asgi.line("^left")


def open_websocket(world, path="/ws"):
    return create_connection(
        f"wss://asgi.localhost{path}",
        socket=world.connect("asgi.localhost"),
        subprotocols=["chat", "other"],
        timeout=30,
    )


def test_websockets(world, asgi):
    connection = open_websocket(world)
    assert connection.getsubprotocol() == "chat"
    connection.send("tëxt")
    assert connection.recv() == "tëxt"
    large = bytes(range(256)) * 8000
    connection.send_binary(large)
    assert connection.recv() == large
    connection.send_frame(ABNF.create_frame("two ", ABNF.OPCODE_TEXT, 0))
    connection.send_frame(ABNF.create_frame("parts", ABNF.OPCODE_CONT, 1))
    assert connection.recv() == "two parts"
    connection.ping("are you there")
    connection.send("more")
    assert connection.recv_data_frame(True)[1].data == b"are you there"
    assert connection.recv() == "more"
    connection.close(4002, b"enough")
    asgi.line("disconnected 4002")


def test_websocket_close_codes(world, asgi):
    connection = open_websocket(world)
    connection.send("close")
    code, frame = connection.recv_data_frame(True)
    assert (code, frame.data) == (ABNF.OPCODE_CLOSE, (4001).to_bytes(2, "big") + b"as asked")
    connection = open_websocket(world)
    connection.send("fail")
    assert connection.recv_data_frame(True)[1].data == (1011).to_bytes(2, "big")
    connection = open_websocket(world)
    connection.sock.close()
    asgi.line("disconnected 1006")
    connection = open_websocket(world)
    connection.send_frame(ABNF.create_frame(b"\\xff\\xfe", ABNF.OPCODE_CONT, 1))  # continues nothing
    assert connection.recv_data_frame(True)[1].data[:2] == (1002).to_bytes(2, "big")


def test_websocket_that_is_refused(world, asgi):
    from websocket import WebSocketBadStatusException

    with pytest.raises(WebSocketBadStatusException, match="403"):
        open_websocket(world, "/refused")


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_ctrl_c_ends_it(world, kind, request):
    program = run(world, {"wsgi": WSGI, "asgi": ASGI}[kind].replace(f'name="{kind}"', f'name="{kind}end"'))
    program.line("^open")
    assert world.get(f"{kind}end.localhost")[0] == 200
    program.kill(signal.SIGINT)
    assert program.wait() == 0, program.output
    assert program.lines[-1] == "end ['MainThread']"
    assert ("lifespan ended" in program.lines) == (kind == "asgi")


BEHIND_ITS_ANSWER = {
    "asgi": """
import asyncio
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})
    await asyncio.sleep(0.5)
    print("done", flush=True)
    while scope["path"] == "/slow":
        await asyncio.sleep(60)
""",
    "wsgi": """
class Result(list):
    def close(self):
        time.sleep(0.5)
        print("done", flush=True)
        while self.path == "/slow":
            time.sleep(60)
def app(environ, start_response):
    start_response("200 OK", [])
    result = Result([b"here"])
    result.path = environ["PATH_INFO"]
    return result
""",
}


@pytest.mark.parametrize("path", ["/", "/slow"])
@pytest.mark.parametrize("kind", BEHIND_ITS_ANSWER)
def test_what_an_app_does_behind_its_answer_is_done_before_the_end(world, kind, path):
    """But not waited for without end."""
    code = f"""
with burrow.serving(app, name="behind{kind}") as tunnel:
    print(get(tunnel.url + "{path}"))
print("end", flush=True)
"""
    program = run(world, BEHIND_ITS_ANSWER[kind] + code)
    assert program.wait() == 0, program.output
    assert program.lines == ["b'here'", "done", "end"]


LIFESPAN = """
import asyncio
async def lifespan(receive, send):
    while message := await receive():
        print(message["type"], flush=True)
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
async def answer(send, body=b"here"):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""


def test_what_runs_when_the_interpreter_ends_is_ended(world):
    code = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    try:
        print("asked", flush=True)
        await asyncio.sleep(60)
    finally:
        print("cancelled", flush=True)
tunnel = burrow.serving(app, name="atexit")
def ask():
    try: get(tunnel.url)
    except OSError: pass
threading.Thread(target=ask, daemon=True).start()
time.sleep(1.5)
"""
    program = run(world, LIFESPAN + code)
    assert program.wait() == 0, program.output
    assert program.lines == ["lifespan.startup", "asked", "cancelled", "lifespan.shutdown"]


def test_one_apps_end_stops_no_other_tunnel(world):
    code = """
release = threading.Event()
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["path"] == "/thread":
        asyncio.get_running_loop().run_in_executor(None, release.wait, 30)
    await answer(send)
async def other(scope, receive, send):
    assert scope["type"] == "http"
    await answer(send, b"other")
with burrow.serving(other, name="other") as stays:
    ends = burrow.serving(app, name="ends")
    print(get(ends.url + "/thread"), flush=True)
    closing = threading.Thread(target=ends.close)
    closing.start()
    time.sleep(1)
    print(get(stays.url), closing.is_alive(), flush=True)
    release.set()
    closing.join()
"""
    program = run(world, LIFESPAN + code)
    assert program.wait() == 0, program.output
    assert program.lines == ["lifespan.startup", "b'here'", "lifespan.shutdown", "b'other' True"]


def test_a_loop_that_ends_before_its_tunnel(world):
    code = """
async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await lifespan(receive, send)
async def main():
    return await burrow.aserve(app, name="outlives")
tunnel = asyncio.run(main())
print(tunnel.closed)
tunnel.close()
"""
    program = run(world, LIFESPAN + code)
    assert program.wait() == 0, program.output
    assert program.lines == ["lifespan.startup", "False"]  # and no word of a coroutine that nobody awaited


def test_close_in_a_coroutine_of_the_app(world):
    code = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    try:
        tunnel.close()
    except burrow.BurrowError as error:
        await answer(send, str(error).encode())
with burrow.serving(app, name="closes") as tunnel:
    print(get(tunnel.url).decode())
"""
    program = run(world, LIFESPAN + code)
    assert program.wait() == 0, program.output
    assert program.lines == ["this would stop the loop that runs the app: write await tunnel.aclose()"]


def test_a_second_ctrl_c_waits_for_no_app(world):
    code = """
import signal
async def app(scope, receive, send):
    assert scope["type"] == "http"
    print("asked", flush=True)
    time.sleep(600)
def pressed(number, frame):
    print("pressed", flush=True)
    raise KeyboardInterrupt
signal.signal(signal.SIGINT, pressed)
burrow.serve(app, name="stuck", ready=lambda tunnel: print("open", flush=True))
"""
    program = run(world, LIFESPAN + code)
    program.line("^open")
    threading.Thread(target=world.get, args=("stuck.localhost",), daemon=True).start()
    program.line("^asked")
    for _ in range(2):
        before = program.lines.count("pressed")
        program.kill(signal.SIGINT)
        wait_for(lambda before=before: program.lines.count("pressed") > before)
    assert program.wait(20) == 0, program.output  # one alone would wait twice as long


@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
def test_a_stream_that_says_nothing_ends_when_its_visitor_leaves(world, framework):
    code = f"""
import asyncio
from {framework}.responses import StreamingResponse
{
        "from starlette.applications import Starlette; from starlette.routing import Route"
        if framework == "starlette"
        else "from fastapi import FastAPI"
    }
async def events():
    try:
        yield b"data: first\\n\\n"
        await asyncio.sleep(600)
    finally:
        print("left", flush=True)
async def stream(request=None):
    return StreamingResponse(events())
{
        'app = Starlette(routes=[Route("/", stream)])'
        if framework == "starlette"
        else 'app = FastAPI(); app.get("/", response_model=None)(lambda: StreamingResponse(events()))'
    }
burrow.serve(app, name="quiet{framework}", ready=lambda tunnel: print("open", flush=True))
"""
    program = run(world, code)
    program.line("^open")
    visitor = world.connect(f"quiet{framework}.localhost")
    visitor.sendall(f"GET / HTTP/1.1\r\nHost: quiet{framework}.localhost\r\n\r\n".encode())
    received = b""
    while b"data: first" not in received:
        received += visitor.recv(10_000)
    visitor.close()
    program.line("^left")


READS_BEHIND_ITS_ANSWER = {
    "asgi": """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await answer(send, b"early")
    while (await receive())["type"] != "http.disconnect":
        pass
    print("ended", flush=True)
""",
    "wsgi": """
class Result(list):
    def close(self):
        self.body.read()
        print("ended", flush=True)
def app(environ, start_response):
    start_response("200 OK", [])
    result = Result([b"early"])
    result.body = environ["wsgi.input"]
    return result
""",
}


@pytest.mark.parametrize("kind", READS_BEHIND_ITS_ANSWER)
def test_what_comes_behind_an_early_answer_holds_no_request(world, kind):
    """The app answers before it has read the request, and reads on until its end."""
    code = f"""
burrow.serve(app, name="early{kind}", ready=lambda tunnel: print("open", flush=True))
"""
    program = run(world, LIFESPAN + READS_BEHIND_ITS_ANSWER[kind] + code)
    program.line("^open")
    visitor = world.connect(f"early{kind}.localhost")
    head = f"POST / HTTP/1.1\r\nHost: early{kind}.localhost\r\nContent-Length: 1000\r\n\r\npart"
    visitor.sendall(head.encode())
    program.line("^ended")
    visitor.close()


@pytest.mark.parametrize("when", ["ready", "opening"])
def test_ctrl_c_at_any_moment_ends_it(world, when):
    """While C{ready} runs, too, and before the tunnel is open."""
    code = """
import signal
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while message := await receive():
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown": return
def interrupt(*arguments):
    print("interrupted", flush=True)
    os.kill(os.getpid(), signal.SIGINT)  # to the main thread, wherever this runs
"""
    if when == "opening":
        code += """
_resolve = socket.getaddrinfo
def resolve(*more, **named):  # by the reactor's thread for names
    interrupt()
    time.sleep(2)
    return _resolve(*more, **named)
socket.getaddrinfo = resolve
"""
    code += "burrow.serve(app, ready=interrupt)\nprint('end', flush=True)"
    program = run(world, code)
    assert program.wait() == 0, program.output
    assert program.lines == ["interrupted", "end"]


APPS = {
    "flask": """
from flask import Flask, request
app = Flask(__name__)
@app.post("/<word>")
def index(word):
    return {"word": word, "json": request.json, "url": request.base_url}
""",
    "fastapi": """
from fastapi import FastAPI, Request
app = FastAPI()
@app.post("/{word}")
async def index(word: str, body: dict, request: Request):
    return {"word": word, "json": body, "url": str(request.url)}
""",
    "starlette": """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
async def index(request):
    url = str(request.url)
    return JSONResponse({"word": request.path_params["word"], "json": await request.json(), "url": url})
app = Starlette(routes=[Route("/{word}", index, methods=["POST"])])
""",
    "django": """
import django
from django.conf import settings
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x", DEBUG=False)
from django.http import JsonResponse
from django.urls import path
from django.core.handlers.HANDLER import CLASS
import json
def index(request, word):
    return JsonResponse({"word": word, "json": json.loads(request.body), "url": request.build_absolute_uri()})
urlpatterns = [path("<word>", index)]
django.setup()
app = CLASS()
""",
}
APPS["django-asgi"] = APPS["django"].replace("HANDLER", "asgi").replace("CLASS", "ASGIHandler")
APPS["django"] = APPS["django"].replace("HANDLER", "wsgi").replace("CLASS", "WSGIHandler")


@pytest.mark.parametrize("framework", APPS)
def test_frameworks(world, framework):
    code = f"""
tunnel = burrow.serving(app, name="{framework}")
with tunnel:
    print("open", flush=True)
    wait_for(lambda: len(tunnel.requests) == 1 and tunnel.requests[0].ended)
    again = tunnel.requests[0].replay()
    print(again.status, again.response_body == tunnel.requests[0].response_body)
"""
    program = run(world, APPS[framework] + code)
    program.line("^open")
    host = f"{framework}.localhost"
    status, _, body = world.get(host, "/hello", "POST", b'{"a": [1, 2]}', Content_Type="application/json")
    assert (status, json.loads(body)["json"]) == (200, {"a": [1, 2]})
    assert json.loads(body)["word"] == "hello"
    assert json.loads(body)["url"].startswith(f"https://{host}")
    assert program.wait() == 0, program.output
    assert program.lines[-1] == "200 True"


def test_under_the_programs_own_loop(world):
    code = """
import asyncio
loops = []
async def app(scope, receive, send):
    assert scope["type"] == "http"
    loops.append(asyncio.get_running_loop())
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})
async def main():
    async with burrow.aserve(app, name="loop") as tunnel:
        print(await asyncio.to_thread(get, tunnel.url), loops == [asyncio.get_running_loop()])
        for wrong in (lambda: burrow.serve(app), tunnel.close):
            try:
                wrong()
            except burrow.BurrowError as error:
                print(error)
    print(tunnel.closed, len(asyncio.all_tasks()))
asyncio.run(main())
print([thread.name for thread in threading.enumerate()])
"""
    program = run(world, code)
    assert program.wait() == 0, program.output
    assert program.lines == [
        "b'here' True",
        "this would stop the loop that runs here: write `async with burrow.aserve(app) as tunnel:`",
        "this would stop the loop that runs the app: write await tunnel.aclose()",
        "True 1",
        "['MainThread']",
    ]


def test_what_cannot_be_served(world):
    code = """
async def broken(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
def wsgi(environ, start_response): pass
tries = [((broken,), {}), ((3,), {}), ((wsgi,), {"interface": "cgi"}), ((wsgi,), {"port": 4000}),
    ((wsgi,), {"token": "wrong"})]
for arguments, options in tries:
    try:
        burrow.serving(*arguments, **options)
    except burrow.BurrowError as error:
        print(error)
print(threading.active_count())
"""
    program = run(world, code)
    assert program.wait() == 0, program.output
    expected = [
        "no database",
        "3 is no app",
        "interface='cgi'",
        "no option port",
        "the token is unknown",
        "1",
    ]
    assert len(program.lines) == len(expected), program.output
    for line, words in zip(program.lines, expected, strict=True):
        assert words in line


def test_no_port_is_open(world, wsgi):
    from tests.e2e.harness import Path

    pid = wsgi.process.pid
    links = [entry.readlink() for entry in Path(f"/proc/{pid}/fd").iterdir()]
    inodes = {str(link)[8:-1] for link in links if str(link).startswith("socket:[")}
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = row.split()
            assert not (fields[3] == "0A" and fields[9] in inodes), row
    wait_for(lambda: inodes, "sockets")
