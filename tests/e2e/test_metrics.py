"""The metrics, the request log and the pages for load balancers, on a real server of two processes."""

import json
import subprocess
import urllib.request

import pytest

from tests.e2e.harness import World, free_port, reply, wait_for


@pytest.fixture
def server(tmp_path):
    port = free_port()
    world = World(tmp_path, tls="off", metrics=f"127.0.0.1:{port}", log_format="json", workers=2)
    world.metrics = f"http://127.0.0.1:{port}"
    world.start_server()
    world.env["BURROW_TOKEN"] = world.token()
    yield world
    world.close()


def total(told, *parts):
    """The sum of the samples whose lines have all of these parts; None if there is none yet."""
    lines = [line for line in told.splitlines() if all(part in line for part in parts)]
    if not lines:
        return None
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_metrics_log_and_health(server, upstream):
    def scrape(token):
        status, _, body = server.get("localhost", "/_burrow/metrics", Authorization=f"Bearer {token}")
        return status, body.decode()

    viewer = server.token("prometheus", role="viewer")
    agent = server.agent("http", upstream(lambda handler: reply(handler, b"hello")).port, "--name", "blog")
    agent.ready()
    for path in ("/a?token=tell-nobody", "/%0d%0ab", "/c"):
        assert server.get(agent.host, path)[2] == b"hello"
    assert server.get("nobody.localhost")[0] == 404

    assert server.get("localhost", "/_burrow/metrics")[0] == 401
    assert scrape("wrong")[0] == 401
    assert scrape(server.env["BURROW_TOKEN"])[0] == 403
    assert scrape(server.token("boss", role="admin"))[0] == 200

    def all_counted():
        told = scrape(viewer)[1]
        counted = [total(told, "burrow_requests_total{", status) for status in ('"2xx"', '"4xx"')]
        counted.append(total(told, "burrow_tunnels{", '"http"'))
        return told if (told.count("burrow_node_up{"), counted) == (2, [3, 1, 1]) else None

    told = wait_for(all_counted, "both processes' numbers")
    done = subprocess.run(["promtool", "check", "metrics"], input=told.encode(), check=False, timeout=60)
    assert done.returncode == 0

    for path in ("/metrics", "/_burrow/metrics", "/_burrow/ready", "/_burrow/health"):
        with urllib.request.urlopen(server.metrics + path) as answer:
            assert answer.status == 200
    status, _, body = server.get("localhost", "/_burrow/ready", Accept="application/json")
    assert (status, json.loads(body)["error"]) == (200, "ready")

    agent.program.stop()
    server.server.stop()
    lines = [json.loads(line) for line in server.server.lines if line.startswith("{")]
    asked = sorted(line["path"] for line in lines if line["event"] == "request")
    assert asked == ["/", "/%0d%0ab", "/a?token=***", "/c"]
    assert "tell-nobody" not in server.server.output
    assert viewer not in server.server.output


def test_tracing_fields_pass_untouched(server, upstream):
    seen = []

    def answer(handler):
        seen.append({name.lower(): value for name, value in handler.headers.items()})
        handler.send_response(200)
        handler.send_header("traceparent", "00-back-back-01")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    agent = server.agent("http", upstream(answer).port)
    fields = {
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate": "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        "baggage": 'userId=alice;prop="a b",x=%20',
    }
    _, headers, _ = server.get(agent.host, **fields)
    assert {name: seen[0].get(name) for name in fields} == fields
    assert headers["traceparent"] == "00-back-back-01"
    assert seen[0]["x-request-id"] == headers["X-Request-Id"]
