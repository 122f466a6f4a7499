"""What the server does with requests, by real processes: docs/policies.md."""

from tests.e2e.harness import reply


def strict(handler):
    """A development server: it answers to its own host alone, and makes absolute URLs of it."""
    host = handler.headers["Host"]
    if host != f"localhost:{handler.server.server_address[1]}":
        reply(handler, b"Blocked request", status=403)
        return
    origin = handler.headers.get("Origin", f"http://{host}")
    if origin != f"http://{host}":
        reply(handler, b"CSRF", status=403)
        return
    reply(handler, handler.headers["X-Env"].encode(), Location=f"http://{host}/there", Server="secret")


def test_service_that_knows_no_host_but_its_own(world, upstream):
    service = upstream(strict)
    fields = ["--request-header-set", "X-Env: staging", "--response-header-remove", "Server"]
    agent = world.agent("http", service.port, *fields)
    host = f"{agent.host}:{world.https}"
    own = f"https://{host}"
    for method in ("GET", "GET", "POST"):  # the first finds out
        status, headers, body = world.get(agent.host, method=method, Host=host, Origin=own)
        assert (status, body) == (200, b"staging")
        assert headers["Location"] == f"{own}/there"
        assert headers["Server"] is None
    assert world.get(agent.host, Origin="https://elsewhere.test")[2] == b"CSRF"
    kept = world.agent("http", service.port, "--host-header", "preserve")
    assert world.get(kept.host)[2] == b"Blocked request"
