"""burrow.client.inspect.api: each path, its answers and refusals."""

import base64
import gzip
import json
import shlex

from burrow.client.inspect.masking import MASK, is_secret
from burrow.client.inspect.web import MAX_BODY, MAX_CONNECTIONS
from burrow.traffic.record import Message
from tests.client.inspect.parts import InspectorCase, pass_through, record

PATHS = [
    # path, methods, status
    ("/", ["GET"], 200),
    ("/requests/{id}", ["GET"], 200),
    ("/compare/{id}/{id}", ["GET"], 200),
    ("/static/app.js", ["GET"], 200),
    ("/static/inspector.css", ["GET"], 200),
    ("/static/icon.svg", ["GET"], 200),
    ("/static/index.html", [], 404),
    ("/static/../api.py", [], 404),
    ("/static/%2e%2e/api.py", [], 404),
    ("/api", [], 404),
    ("/api/status", ["GET"], 200),
    ("/api/events", ["GET"], 200),
    ("/api/requests", ["GET", "DELETE"], 200),
    ("/api/requests.har", ["GET"], 200),
    ("/api/requests/{id}", ["GET"], 200),
    ("/api/requests/{id}/curl", ["GET"], 200),
    ("/api/requests/{id}/har", ["GET"], 200),
    ("/api/requests/{id}/messages", ["GET"], 200),
    ("/api/requests/{id}/body/request", ["GET"], 200),
    ("/api/requests/{id}/body/response", ["GET"], 200),
    ("/api/requests/{id}/body/other", ["GET"], 404),
    ("/api/requests/{id}/replay", ["POST"], 409),  # the tunnel has no upstream here
    ("/api/requests/99999999", [], 404),
    ("/api/requests/1x", [], 404),
]
"""All paths that the inspector knows, and some that it does not."""


class PathTests(InspectorCase):
    def test_each_path_takes_its_methods_and_no_others(self):
        for path, methods, status in PATHS:
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                id = pass_through(self.traffic).id
                answer = self.ask(method, path.format(id=id))
                allowed = method in methods or (method == "HEAD" and "GET" in methods)
                wanted = 204 if method == "DELETE" and allowed else status if allowed else 405
                if not methods:
                    wanted = status
                self.assertEqual(answer.status, wanted, f"{method} {path}: {answer.body[:200]}")
                if wanted >= 400:
                    self.assertEqual(answer.headers["content-type"], "application/problem+json")
                if wanted == 405:
                    self.assertIn(methods[0], answer.headers["allow"])
                self.assertNotIn("access-control-allow-origin", answer.headers)
                self.assertEqual(answer.headers["x-content-type-options"], "nosniff")
                self.assertIn("default-src 'none'", answer.headers["content-security-policy"])
                self.assertNotIn("unsafe", answer.headers["content-security-policy"])

    def test_each_path_refuses_other_hosts_and_pages(self):
        id = pass_through(self.traffic).id
        for path, methods, _ in PATHS:
            for method in methods:
                for fields in (
                    {"Host": "evil.example"},
                    {"Host": "evil.example:4040"},
                    {"Host": "127.0.0.1.evil.example:4040"},
                    {"Host": "localhost.evil.example"},
                    {"Host": "10.0.0.7:4040"},
                    {"Host": None},
                    {"Host": ""},
                    {"Origin": "https://evil.example"},
                    {"Origin": "null"},
                    {"Origin": "http://localhost:3000"},
                    {"Origin": "https://127.0.0.1:4040"},
                    {"Sec_Fetch_Site": "cross-site"},
                    {"Sec_Fetch_Site": "same-site"},
                ):
                    answer = self.ask(method, path.format(id=id), **fields)
                    self.assertEqual(answer.status, 403, f"{method} {path} {fields}")
        self.assertEqual(len(self.store), 1)

    def test_two_hosts_are_refused(self):
        transport = self.connect()
        transport.protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n")
        self.assertIn(b" 40", transport.value()[:16])

    def test_its_own_page_and_programs_are_let_in(self):
        for fields in (
            {"Host": "localhost:4040", "Origin": "http://localhost:4040", "Sec_Fetch_Site": "same-origin"},
            {"Host": "[::1]:4040", "Origin": "http://[::1]:4040"},
            {"Host": "127.0.0.1:4040", "Sec_Fetch_Site": "none"},
            {"Host": "LOCALHOST:9"},
            {},
        ):
            self.assertEqual(self.get("/api/requests", **fields).status, 200, str(fields))

    def test_another_site_may_link_to_a_page_but_not_to_data(self):
        link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
        id = pass_through(self.traffic).id
        self.assertEqual(self.get(f"/requests/{id}", **link).status, 200)
        self.assertEqual(self.get("/api/requests", **link).status, 403)
        self.assertEqual(self.get(f"/requests/{id}", **{**link, "Sec_Fetch_Dest": "iframe"}).status, 403)


class OpenPathTests(InspectorCase):
    """An inspector on all addresses."""

    loopback = False

    def test_it_answers_for_addresses_and_for_no_name(self):
        self.assertEqual(self.get("/api/requests", Host="192.168.1.5:4040").status, 200)
        self.assertEqual(self.get("/api/requests", Host="laptop.example:4040").status, 403)

    def test_replays_go_elsewhere_only_for_this_machine(self):
        id = pass_through(self.traffic).id
        answer = self.ask("POST", f"/api/requests/{id}/replay", {"port": 80})
        self.assertEqual(answer.status, 403)
        self.assertIn("another machine", answer.json["detail"])


class ListTests(InspectorCase):
    def test_newest_first_with_limit_and_before(self):
        ids = [pass_through(self.traffic, target=f"/{number}").id for number in range(5)]
        self.assertEqual([one["id"] for one in self.get("/api/requests").json], ids[::-1])
        first = self.get("/api/requests?limit=2")
        self.assertEqual([one["path"] for one in first.json], ["/4", "/3"])
        link = first.headers["link"].partition(">")[0].lstrip("<")
        self.assertEqual([one["path"] for one in self.get(link).json], ["/2", "/1"])
        self.assertNotIn("link", self.get(f"/api/requests?before={ids[1]}").headers)
        self.assertEqual(first.headers["burrow-last-event"], "15")

    def test_filter(self):
        pass_through(self.traffic, target="/hook?x=1", method="POST", status=500)
        pass_through(self.traffic, target="/other")
        found = self.get("/api/requests?filter=status:5xx%20method:POST%20path:/hook").json
        self.assertEqual([one["path"] for one in found], ["/hook?x=1"])
        self.assertEqual(len(self.get("/api/requests?filter=other").json), 1)

    def test_what_is_not_possible_is_said(self):
        for query in ("filter=status:9999", "limit=x", "before=-1", "limit=1e3"):
            answer = self.get(f"/api/requests?{query}")
            self.assertEqual(answer.status, 400, query)
            self.assertIn("is not possible", answer.json["detail"])

    def test_a_summary_has_all_that_a_list_shows(self):
        pass_through(
            self.traffic,
            "POST",
            "/a?b=c",
            b"12345",
            b"ok",
            201,
            answer_headers=[(b"Content-Type", b"text/x")],
        )
        (one,) = self.get("/api/requests").json
        self.assertEqual(
            {key: one[key] for key in ("method", "path", "status", "received", "sent", "type", "state")},
            {
                "method": "POST", "path": "/a?b=c", "status": 201, "received": 5, "sent": 2, "type": "text/x",
                "state": "ended",
            },
        )  # fmt: skip
        self.assertRegex(one["began"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertIsNone(one["replay_of"])
        self.assertGreaterEqual(one["took"], one["first_byte"])

    def test_what_is_open_and_a_connection_that_is_no_http(self):
        self.traffic.begun(record("GET", "/open"))
        self.traffic.begun(record("", "", protocol="tcp"))
        tcp, open_one = self.get("/api/requests").json
        self.assertEqual((tcp["protocol"], tcp["status"], tcp["state"]), ("tcp", None, "open"))
        self.assertEqual((open_one["state"], open_one["took"]), ("open", None))
        self.assertIsNone(self.get(f"/api/requests/{tcp['id']}").json["url"])
        self.assertEqual(self.get(f"/api/requests/{tcp['id']}/curl").status, 409)

    def test_deleting_forgets_all(self):
        pass_through(self.traffic)
        self.assertEqual(self.ask("DELETE", "/api/requests").status, 204)
        self.assertEqual(self.get("/api/requests").json, [])

    def test_status(self):
        pass_through(self.traffic)
        status = self.get("/api/status").json
        self.assertEqual((status["requests"], status["dropped"], status["last_event"]), (1, 0, 3))


class DetailTests(InspectorCase):
    def detail(self, query="", **made):
        id = pass_through(self.traffic, **made).id
        return self.get(f"/api/requests/{id}{query}").json

    def test_bodies_are_decoded(self):
        found = self.detail(
            response=gzip.compress(b'{"a": 1}'),
            answer_headers=[(b"Content-Type", b"application/json"), (b"Content-Encoding", b"gzip")],
        )
        body = found["response"]["body"]
        self.assertEqual((body["text"], body["encoding"], body["decoded"]), ('{"a": 1}', "gzip", 8))
        self.assertEqual((body["truncated"], body["error"]), (False, None))

    def test_binary_is_base64(self):
        found = self.detail(response=b"\x00\xff\x01", answer_headers=[(b"Content-Type", b"image/png")])
        self.assertEqual(base64.b64decode(found["response"]["body"]["base64"]), b"\x00\xff\x01")

    def test_what_is_not_kept_is_counted_and_shown_as_truncated(self):
        self.store.max_body = 10
        body = self.detail(request=b"0123456789abcdef")["request"]["body"]
        self.assertEqual(
            (body["text"], body["size"], body["kept"], body["truncated"]), ("0123456789", 16, 10, True)
        )

    def test_a_body_may_be_asked_for_in_part(self):
        body = self.detail("?body=4", response=b"0123456789")["response"]["body"]
        self.assertEqual((body["text"], body["decoded"], body["truncated"]), ("0123", 10, True))

    def test_secrets_are_masked_unless_asked_for(self):
        secret = [
            (b"Authorization", b"Bearer hidden1"), (b"Cookie", b"a=hidden2"), (b"X-Api-Key", b"hidden3"),
            (b"X-GitHub-Token", b"hidden4"), (b"Proxy-Authorization", b"hidden5"),
        ]  # fmt: skip
        answer = [(b"Set-Cookie", b"s=hidden6; Secure"), (b"X-Plain", b"seen")]
        id = pass_through(self.traffic, headers=secret, answer_headers=answer).id
        for path in ("", "/curl", "/har"):
            masked = self.get(f"/api/requests/{id}{path}").body
            self.assertNotIn(b"hidden", masked, path)
            shown = self.get(f"/api/requests/{id}{path}?secrets=1").body
            for number in range(1, 6):
                self.assertIn(b"hidden%d" % number, shown, path)
        self.assertNotIn(b"hidden", self.get("/api/requests.har").body)
        self.assertIn(b"hidden6", self.get("/api/requests.har?secrets=1").body)
        self.assertNotIn(b"hidden", self.get("/api/requests").body)
        headers = dict(self.get(f"/api/requests/{id}").json["response"]["headers"])
        self.assertEqual(headers, {"Set-Cookie": MASK, "X-Plain": "seen"})

    def test_which_fields_are_secrets(self):
        for name in (
            "authorization",
            "Cookie",
            "X-CSRF-Token",
            "x-amz-security-token",
            "apikey",
            "X-Auth-Key",
            "Ocp-Apim-Subscription-Key",
            "X-Functions-Key",
            "x-goog-api-key",
            "Key",
        ):
            self.assertTrue(is_secret(name), name)
        for name in (
            *("accept", "Sec-WebSocket-Key", "Access-Control-Allow-Origin", "author", "keyboard"),
            *("Idempotency-Key", "Surrogate-Key", "X-Monkey"),
        ):
            self.assertFalse(is_secret(name), name)

    def test_messages(self):
        socket = record(protocol="websocket")
        self.traffic.begun(socket)
        self.traffic.message(socket, False, Message("text", "grüß".encode(), 6))
        self.traffic.message(socket, True, Message("binary", b"\x00\x01", 200))
        first, second = self.get(f"/api/requests/{socket.id}").json["message_list"]
        self.assertEqual((first["text"], first["to"], first["kind"]), ("grüß", "upstream", "text"))
        self.assertEqual((second["base64"], second["to"], second["truncated"]), ("AAE=", "visitor", True))
        after = self.get(f"/api/requests/{socket.id}/messages?after=0").json
        self.assertEqual([one["number"] for one in after], [1])

    def test_a_raw_body_runs_nowhere(self):
        page = b"<script>alert(1)</script>"
        id = pass_through(self.traffic, response=page, answer_headers=[(b"Content-Type", b"text/html")]).id
        answer = self.get(f"/api/requests/{id}/body/response")
        self.assertEqual((answer.body, answer.headers["content-type"]), (page, "text/html"))
        self.assertEqual(answer.headers["content-security-policy"], "default-src 'none'; sandbox")
        self.assertIn("attachment", answer.headers["content-disposition"])
        self.assertEqual(answer.headers["x-content-type-options"], "nosniff")

    def test_a_raw_body_is_decoded_or_as_it_passed(self):
        packed = gzip.compress(b"hello")
        id = pass_through(self.traffic, response=packed, answer_headers=[(b"Content-Encoding", b"gzip")]).id
        self.assertEqual(self.get(f"/api/requests/{id}/body/response").body, b"hello")
        self.assertEqual(self.get(f"/api/requests/{id}/body/response?encoded=1").body, packed)

    def test_a_content_type_that_is_none_is_not_repeated(self):
        id = pass_through(self.traffic, response=b"x", answer_headers=[(b"Content-Type", b"te\xffxt")]).id
        answer = self.get(f"/api/requests/{id}/body/response")
        self.assertEqual(answer.headers["content-type"], "application/octet-stream")


class CurlTests(InspectorCase):
    def command(self, **made):
        id = pass_through(self.traffic, **made).id
        return self.get(f"/api/requests/{id}/curl").body.decode().rstrip("\n")

    def test_the_words(self):
        words = shlex.split(
            self.command(
                method="PUT", target="/it's?a[]=1", request=b"@it's $HOME\n",
                headers=[(b"X-A", b"b'c"), (b"X-Forwarded-For", b"1.2.3.4"), (b"Content-Length", b"12")],
            )
        )  # fmt: skip
        self.assertEqual(
            words,
            [
                "curl", "-X", "PUT", "--globoff", "https://shop.example.com/it's?a[]=1", "-H", "X-A: b'c",
                "--data-raw", "@it's $HOME\n",
            ],
        )  # fmt: skip

    def test_get_post_and_head_need_no_word(self):
        self.assertEqual(self.command(), "curl https://shop.example.com/")
        self.assertNotIn("-X", self.command(method="POST", request=b"a=b"))
        self.assertIn("--head", self.command(method="HEAD"))

    def test_binary_comes_through_a_pipe(self):
        command = self.command(method="POST", request=b"\x00\xff")
        self.assertTrue(command.startswith("printf %s AP8= | base64 -d | curl "), command)


class BoundTests(InspectorCase):
    def test_connections_are_bounded(self):
        transports = [self.connect() for _ in range(MAX_CONNECTIONS)]
        self.assertIsNone(self.factory.buildProtocol(None))
        transports[0].protocol.connectionLost()
        self.assertIsNotNone(self.factory.buildProtocol(None))

    def test_heads_are_bounded(self):
        self.assertEqual(self.get("/", X_Long="x" * 15_000).status, 200)
        answer = self.send("GET", "/", X_Long="x" * 40_000)
        self.assertTrue(answer.disconnecting or b" 400 " in answer.value())

    def test_bodies_are_bounded(self):
        id = pass_through(self.traffic).id
        body = json.dumps({"body": "x" * MAX_BODY}).encode()
        answer = self.ask("POST", f"/api/requests/{id}/replay", body, Content_Type="application/json")
        self.assertEqual(answer.status, 413)

    def test_who_says_nothing_is_disconnected(self):
        transport = self.connect()
        self.clock.advance(61)
        self.assertTrue(transport.disconnecting)
