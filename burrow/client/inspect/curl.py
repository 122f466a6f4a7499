"""A request as a curl command for a POSIX shell. No I/O."""

from __future__ import annotations

import base64
import shlex

from burrow.client.inspect.captured import Captured
from burrow.client.inspect.describe import public_url
from burrow.client.inspect.masking import shown_fields

_LEFT_OUT = {
    "host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer",
    "via", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port",
    "x-real-ip", "x-request-id", "x-burrow-replay",
}  # fmt: skip
"""Fields that curl writes itself, or that were added on the way."""


def curl(captured: Captured, *, secrets: bool) -> str:
    """
    The command, in one line. What is kept of the request's body in part only is sent in part.

    @param secrets: whether secrets in headers are shown, or masked.
    """
    record = captured.record
    url = public_url(record)
    words = ["curl"]
    if record.method == "HEAD":
        words.append("--head")
    elif record.method != ("POST" if captured.request.data else "GET"):
        words += ["-X", record.method]
    if any(character in url for character in "[]{}"):
        words.append("--globoff")
    if "/." in url:
        words.append("--path-as-is")
    words.append(url)
    for name, value in shown_fields(record.request_headers, secrets=secrets):
        if name.lower() not in _LEFT_OUT and not name.lower().startswith("sec-websocket-"):
            words += ["-H", f"{name}: {value}" if value else f"{name};"]
    if any(name.lower() == b"accept-encoding" for name, _ in record.request_headers):
        words.append("--compressed")
    raw = bytes(captured.request.data)
    if not raw:
        return shlex.join(words)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text:
        return shlex.join([*words, "--data-raw", text])  # --data would take a file's name after @
    command = shlex.join([*words, "--data-binary", "@-"])
    return f"printf %s {base64.b64encode(raw).decode()} | base64 -d | {command}"
