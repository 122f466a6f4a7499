"""A browser at the dashboard and the API of a node without a reactor: cookie, Origin, CSRF token."""

import json
from types import SimpleNamespace

from burrow.server.admin import API_PATH
from burrow.server.admin.dashboard.resource import SESSION
from tests.server.admin.node import ApiNode, Connection


class Browser:
    """
    @param secure: whether it comes by HTTPS. @ivar cookie: name=value, as the server set it; empty for none.
    """

    def __init__(self, node=None, secure=True, address="203.0.113.9"):
        self.node = node or ApiNode()
        self.scheme = "https" if secure else "http"
        self.cookie = self.csrf = ""
        self.address = address
        admin = self.node.admin
        self._to = SimpleNamespace(web=admin._make(self.node.edge, self.node.back, self.scheme))

    @property
    def origin(self):
        return f"{self.scheme}://example.com"

    def ask(self, method, path, body=None, **fields):
        """
        The answer. C{fields}: more of the request, None to leave one out that a browser sends by itself.
        """
        changes = method not in ("GET", "HEAD")
        sent = {
            "Host": "example.com",
            "Sec-Fetch-Site": "same-origin",
            "Origin": self.origin if changes else None,
            "Cookie": self.cookie or None,
            "X-Burrow-CSRF": self.csrf if changes and self.csrf else None,
            "Content-Type": "application/json" if body is not None else None,
        }
        sent.update({name.replace("_", "-"): value for name, value in fields.items()})
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        if body is not None:
            sent["Content-Length"] = str(len(data))
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items() if value)]
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        connection = Connection(self._to, head + data, self.address)
        if not connection.transport.value():
            self.node.reactor.advance(0)
        answer = connection.answer
        if "set-cookie" in answer.headers:
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
            if self.cookie.endswith("="):
                self.cookie = ""
        return answer

    def api(self, method, path, body=None, **fields):
        """The same of the admin API."""
        return self.ask(method, API_PATH + path, body, **fields)

    def sign_in(self, who="boss"):
        """Sign in with a token. @return: the answer."""
        answer = self.ask("POST", SESSION, {"token": self.node.texts.get(who, who)})
        if answer.status == 200:
            self.csrf = answer.body["session"]["csrf"]
        return answer

    @property
    def session(self):
        """Who the server says is signed in; None: nobody."""
        return self.ask("GET", SESSION).body["session"]
