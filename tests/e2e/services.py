"""Real services for tests of many kinds of tunnels at once, each on a port of the loopback."""

import os
import subprocess
import sys

from tests.e2e.harness import free_port
from tests.programs import program

WEB = """
import asyncio, os
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

seen = asyncio.Semaphore(0)

async def echo(request):
    return Response(await request.body())

async def tick_seen(request):
    seen.release()
    return PlainTextResponse("noted")

async def events(request):
    async def ticks():
        for number in range(int(request.query_params["count"])):
            yield f"data: {number}\\n\\n"
            await seen.acquire()
    return StreamingResponse(ticks(), media_type="text/event-stream")

async def endless(request):
    async def pieces():
        while True:
            yield b"data: " + bytes(65536) + b"\\n\\n"
    return StreamingResponse(pieces(), media_type=request.query_params["type"])

async def socket(websocket):
    await websocket.accept()
    try:
        while True:
            await websocket.send_bytes(await websocket.receive_bytes())
    except WebSocketDisconnect:
        pass

async def endless_socket(websocket):
    await websocket.accept()
    try:
        while True:
            await websocket.send_bytes(bytes(65536))
    except WebSocketDisconnect:
        pass

app = Starlette(routes=[
    Route("/echo", echo, methods=["POST"]),
    Route("/events", events),
    Route("/seen", tick_seen),
    Route("/endless", endless),
    WebSocketRoute("/socket", socket),
    WebSocketRoute("/endless-socket", endless_socket),
])
uvicorn.run(
    app,
    port=int(os.environ["PORT"]),
    ws="wsproto",
    ssl_certfile=os.environ.get("CERT"),
    ssl_keyfile=os.environ.get("KEY"),
    access_log=False,
)
"""


def start_web(world, certificate=None):
    """
    A web service of uvicorn's, with WebSockets and server-sent events. C{certificate}: files of a certificate
    and its key, if it speaks TLS itself.
    """
    port = free_port()
    env = {"PORT": str(port)}
    if certificate:
        env["CERT"], env["KEY"] = map(str, certificate)
    world.program(sys.executable, "-c", WEB, env=env).line("Uvicorn running")
    return port


def start_mariadb(world, folder):
    """MariaDB with one user, C{root}, without a password, and an empty database C{test}."""
    data = folder / "mariadb"
    subprocess.run(
        [
            *(program("mariadb-install-db"), "--no-defaults", f"--datadir={data}", "--skip-test-db"),
            "--auth-root-authentication-method=normal",
        ],
        check=True,
        timeout=120,
        capture_output=True,
    )
    port = free_port()
    files = [
        f"--datadir={data}",
        f"--socket={folder / 'mariadb.sock'}",
        f"--pid-file={folder / 'mariadb.pid'}",
    ]
    first = folder / "first.sql"
    first.write_text("CREATE DATABASE IF NOT EXISTS test;\n")
    server = world.program(
        *(program("mariadbd"), "--no-defaults", *files, "--bind-address=127.0.0.1", f"--port={port}"),
        *("--skip-name-resolve", f"--init-file={first}", "--innodb-flush-log-at-trx-commit=0"),
        *(["--user=root"] if os.geteuid() == 0 else []),
    )
    server.line("ready for connections")
    return port


def start_dnsmasq(world, records):
    """A DNS server of dnsmasq's. C{records}: the TXT record of each name."""
    port = free_port()
    server = world.program(
        *(
            program("dnsmasq"),
            "--keep-in-foreground",
            "--log-facility=-",
            "--log-queries",
            "--conf-file=/dev/null",
        ),
        *("--no-resolv", "--no-hosts", "--bind-interfaces", "--listen-address=127.0.0.1", f"--port={port}"),
        *("--user=", "--edns-packet-max=4096", "--pid-file="),
        *(f"--txt-record={name},{text}" for name, text in records.items()),
    )
    server.line("started")
    return port


def start_mosquitto(world, folder):
    """An MQTT broker."""
    port = free_port()
    file = folder / "mosquitto.conf"
    file.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    world.program(program("mosquitto"), "-c", file).line("running")
    return port
