"""What the server does with requests, by real processes: docs/policies.md."""

import gzip

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


def test_several_services_behind_one_name(world, upstream):
    def named(name):
        def answer(handler):
            reply(handler, f"{name} {handler.path}".encode() * 500, Content_Type="text/plain")

        return answer

    main, api = upstream(named("main")), upstream(named("api"))
    agent = world.agent(
        *("http", main.port, "--route", f"/api={api.port}", "--compress", "--circuit-breaker", "1/60s"),
        *("--policy", 'path = "/api/closed*", method = "GET", respond = "403 closed"'),
    )
    visitor = world.http_connection(agent.host)
    for path, name in (("/", "main"), ("/api/x", "api"), ("/apis", "main"), ("/api", "api")):
        visitor.request("GET", path, headers={"Accept-Encoding": "gzip"})
        answer = visitor.getresponse()
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(answer.read()) == f"{name} {path}".encode() * 500
    visitor.close()
    assert world.get(agent.host, "/api//clos%65d/x")[::2] == (403, b"closed")
    api.close()
    assert world.get(agent.host, "/api")[0] == 502
    assert world.get(agent.host, "/api")[0] == 503  # the circuit is open
