"""Sentences for the person who runs an agent: why there is no connection to the server."""

from __future__ import annotations

import errno
import json
import os
import re
from urllib.parse import urlsplit

from twisted.internet.error import ConnectError, DNSLookupError

from burrow.descriptors import exhausted
from burrow.errors import BurrowError, Refused, ServerUnreachable
from burrow.link.address import ServerAddress
from burrow.wording import system_words

_UNCLEAN = re.compile(r'^connection was closed uncleanly \("(.*)"\)$', re.DOTALL)


def refusal(address: ServerAddress, status: int, fields: dict[str, str], body: bytes) -> BurrowError:
    """The error for the person who runs the agent, from an answer that is not 101."""
    try:
        text = str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        text = ""
    if 300 <= status < 400:
        target = urlsplit(fields.get("location", ""))
        return Refused(
            f"the server takes agents at {target.scheme}://{target.netloc} and not at {address}: "
            f"use {target.scheme}://{target.netloc}"
        )
    if status in (400, 401, 403) and text:
        return Refused(f"{address} refused this agent: {text}")
    if status in (401, 403):
        return Refused(f"{address} refused this agent with HTTP status {status}")
    if status >= 500:
        return ServerUnreachable(f"{address} cannot take agents now: {text or f'HTTP status {status}'}")
    return ServerUnreachable(
        f"{address} does not answer as a Burrow server (HTTP status {status or 'missing'})"
    )


def explain(error: BaseException, address: ServerAddress) -> ServerUnreachable:
    """The error for the person at the terminal, of a connection that failed or was lost."""
    if isinstance(error, DNSLookupError):
        if exhausted():  # the resolver's error is the same when it gets no file descriptor
            return ServerUnreachable(f"cannot reach {address}: {os.strerror(errno.EMFILE).lower()}")
        return ServerUnreachable(f"no address is known for {address.host}")
    if isinstance(error, ConnectError):
        return ServerUnreachable(f"cannot reach {address}: {system_words(error)}")
    return distrust(str(error), address) or ServerUnreachable(
        f"the connection to {address} was lost: {error}"
    )


def closed(address: ServerAddress, reason: str) -> ServerUnreachable:
    """
    The error of a connection that was closed before there was a session.

    @param reason: Autobahn's, which has the reason proper in brackets.
    """
    why = _UNCLEAN.sub(r"\1", reason)
    if "wrong version number" in why or "record layer" in why:
        return ServerUnreachable(
            f"{address} does not speak TLS: it is another program's port, or the server's for http://"
        )
    if "handshake timeout" in why:
        return ServerUnreachable(f"{address} did not answer in time")
    if "peer dropped" in why or not why:
        return ServerUnreachable(f"{address} closed the connection before it answered")
    return ServerUnreachable(f"{address} closed the connection: {why}")


def distrust(text: str, address: ServerAddress) -> ServerUnreachable | None:
    """The error of a TLS handshake that failed for the server's certificate; None of any other text."""
    if "VerificationError" in text:
        return ServerUnreachable(
            f"the certificate that {address} has is not for {address.host}: use the name that it is for"
        )
    if "certificate verify failed" in text:
        return ServerUnreachable(
            f"{address} has a certificate that this machine does not believe; with a CA of your own, name it "
            "with --ca-file FILE (ca.pem in the state folder of a Burrow server with --tls local)"
        )
    return None
