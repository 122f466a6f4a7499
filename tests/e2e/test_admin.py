"""The admin API on real servers: two workers, two nodes, an address of its own, the docs' examples."""

import json
import os
import re
import ssl
import subprocess
import urllib.request
from pathlib import Path

from tests.e2e.harness import World, burrow, free_port, reply, wait_for
from tests.redis import RedisServer

DOCS = Path(__file__).parents[2] / "docs" / "admin-api.md"
API = "/_burrow/api/v1"


def ask(world, path, token, method="GET", body=None, base=None):
    """Status and what the JSON says."""
    url = (base or world.env["BURROW_SERVER"]) + API + path
    request = urllib.request.Request(url, body and json.dumps(body).encode(), method=method)
    request.add_header("Authorization", f"Bearer {token}")
    request.add_header("Content-Type", "application/json")
    context = ssl.create_default_context(cafile=str(world.ca_file)) if url.startswith("https") else None
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(request, timeout=30) as answer:
            data = answer.read()
            return answer.status, json.loads(data) if data else None
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def names(world, token, **more):
    status, body = ask(world, "/tunnels", token, **more)
    assert status == 200, body
    return sorted(item["name"] for item in body["items"]), body["unanswered"]


class Follower:
    """Reads a live answer in a process of its own."""

    def __init__(self, world, path, token):
        url = world.env["BURROW_SERVER"] + API + path
        command = ["curl", "-sN", "-H", f"Authorization: Bearer {token}", url]
        if world.tls:
            command += ["--cacert", str(world.ca_file)]
        self.program = world.program(*command)
        self.program.line("^: live")

    def data(self, pattern):
        return json.loads(self.program.line(r"^data: (.*" + pattern + ".*)")[1])


def test_workers_of_one_server_answer_for_each_other(tmp_path, upstream):
    world = World(tmp_path, tls="off", workers=2)
    try:
        world.start_server()
        boss, ann = world.token("boss", "admin"), world.token("ann")
        web = upstream(lambda handler: reply(handler, b"hello"))
        agents = [
            world.agent("http", web.port, "--name", f"t{number}", BURROW_TOKEN=ann) for number in range(4)
        ]
        for agent in agents:
            agent.ready()
        # Whichever worker takes the connection; the other one has 2 s to answer, which may be little.
        for _ in range(8):
            wait_for(lambda: names(world, boss) == ([f"t{number}" for number in range(4)], []))
            wait_for(lambda: len(ask(world, "/sessions", boss)[1]["items"]) == 4)
        wait_for(lambda: [node["answers"] for node in ask(world, "/nodes", boss)[1]["items"]] == [True] * 2)
        events = Follower(world, "/events?follow=1", boss)
        requests = Follower(world, "/requests?follow=1&tunnel=t1", ann)

        def told():  # the other worker is asked to tell when this one has answered already
            assert world.get(agents[1].host, "/seen")[2] == b"hello"
            return re.search(r"/seen.*200", requests.program.output)

        wait_for(told, "a request of the other worker")
        assert requests.data("/seen.*200")["tunnel"] == "t1"
        for number in range(4):  # carried out where the tunnel is
            assert ask(world, f"/tunnels/t{number}", boss, "DELETE") == (204, None)
            assert f"t{number}.localhost" in events.data(rf"tunnel-closed.*\bt{number}\.localhost")["text"]
            assert agents[number].program.wait() == 77
        wait_for(lambda: names(world, boss) == ([], []))
        status, made = ask(world, "/tokens", boss, "POST", {"name": "eve", "role": "viewer"})
        assert status == 201
        looking = Follower(world, "/events?follow=1", made["secret"])
        revoked = burrow("token", "revoke", "eve", "--state", world.folder / "state")
        assert revoked.wait() == 0
        assert "revoked" in looking.data("revoked")["detail"]
        assert looking.program.wait() == 0
        entries = ask(world, "/audit", boss)[1]["items"]
        assert entries[0]["who"].startswith("command line (")
        assert [(one["action"], one["target"]) for one in entries[:3]] == [
            ("token.revoke", "eve"),
            ("token.create", "eve"),
            ("tunnel.close", "t3"),
        ]
        assert world.server.process.poll() is None
        assert not re.search(r"Traceback|burrow_[a-z0-9]{10}_", world.server.output)
    finally:
        world.close()


def test_two_nodes_on_redis_answer_for_each_other(tmp_path, upstream):
    redis = RedisServer()
    store = f"redis://127.0.0.1:{redis.port}"
    worlds = [World(tmp_path / name, tls="off", store=store) for name in ("one", "two")]
    one, two = worlds
    try:
        for world in worlds:
            world.start_server()
        boss = burrow("token", "create", "boss", "--role", "admin", "--store", store)
        assert boss.wait() == 0
        token = boss.lines[-1]
        web = upstream(lambda handler: reply(handler, b"hello"))
        here = one.agent("http", web.port, "--name", "here", BURROW_TOKEN=token)
        there = two.agent("http", web.port, "--name", "there", BURROW_TOKEN=token)
        for agent in (here, there):
            agent.ready()
        for world in worlds:
            wait_for(lambda world=world: names(world, token) == (["here", "there"], []))
        items = {item["name"]: item for item in ask(one, "/tunnels", token)[1]["items"]}
        assert items["here"]["node"] != items["there"]["node"]
        events = Follower(one, "/events?follow=1", token)
        session = items["there"]["session"]
        assert ask(one, f"/sessions/{session}", token, "DELETE") == (204, None)
        assert events.data("agent-gone")["node"] == items["there"]["node"]
        wait_for(lambda: names(one, token)[0] == ["here", "there"])
        # The node that holds a tunnel stands still: it is named, and the tunnel told as far as it is known.
        for pid in (two.server.process.pid, *two.workers):
            os.kill(pid, 19)
        status, body = ask(one, "/tunnels", token)
        assert (status, body["unanswered"]) == (200, [items["there"]["node"]])
        states = {item["name"]: item["state"] for item in body["items"]}
        assert states == {"here": "open", "there": "away"}
        assert ask(one, f"/sessions/{items['there']['session']}", token)[0] == 504
        for pid in (two.server.process.pid, *two.workers):
            os.kill(pid, 18)
        wait_for(lambda: names(one, token) == (["here", "there"], []))
        # A node is drained from the other one.
        assert ask(one, f"/nodes/{items['there']['node']}/drain", token, "POST")[0] == 202
        wait_for(lambda: any(node["draining"] for node in ask(one, "/nodes", token)[1]["items"]))
    finally:
        for world in worlds:
            world.close()
        redis.stop()


def test_an_address_of_its_own(tmp_path):
    port = free_port()
    options = {"admin": f"127.0.0.1:{port}"}
    world = World(tmp_path, **options)
    try:
        world.start_server()
        token = world.token("boss", "admin")
        world.server.line(f"Its admin API is at http://127.0.0.1:{port}{API}/")
        base = f"http://127.0.0.1:{port}"
        assert ask(world, "/whoami", token, base=base)[1]["name"] == "boss"
        assert world.get("localhost", f"{API}/whoami")[0] == 404
        answer = subprocess.run(
            ["curl", "-s", "-H", "Host: evil.example", f"{base}{API}/openapi.json"],
            capture_output=True,
            check=True,
        )
        assert json.loads(answer.stdout)["status"] == 421
    finally:
        world.close()


def test_examples_of_the_docs(tmp_path, upstream):
    world = World(tmp_path)
    try:
        world.start_server()
        boss = world.token("boss", "admin")
        world.agent(
            "http", upstream(lambda handler: reply(handler, b"hi")).port, "--name", "blog", BURROW_TOKEN=boss
        ).ready()
        examples = re.findall(r"```sh\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
        assert len(examples) >= 8

        def run(example):
            ran = subprocess.run(
                ["sh", "-ec", example],
                env={
                    **os.environ,
                    "URL": world.env["BURROW_SERVER"],
                    "TOKEN": boss,
                    "CURL_CA_BUNDLE": str(world.ca_file),
                },
                capture_output=True,
                timeout=60,
            )
            assert ran.returncode == 0, (example, ran.stderr)
            return ran.stdout.decode()

        found = [run(example) for example in examples]
        assert json.loads(found[0])["role"] == "admin"
        assert json.loads(found[1])["items"][0]["name"] == json.loads(found[2])["name"] == "blog"
        assert json.loads(found[3])["secret"].startswith("burrow_")
        # It ends after two seconds, which a machine that stalls may need to connect.
        assert ": live" in found[5] or wait_for(lambda: ": live" in run(examples[5]))
        assert found[-2] == ""
        assert json.loads(found[-1])["items"][0]["action"] == "tunnel.close"
    finally:
        world.close()
