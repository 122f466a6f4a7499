"""
Names from a server's admin API for completion: within L{WITHIN} seconds, or none. Without the reactor, whose
threads would be waited for while a name is looked up.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from base64 import b64encode

from burrow.addresses import is_localhost
from burrow.client.asked import API, path_of
from burrow.link.address import Credentials
from burrow.link.proxy import proxy_for

WITHIN = 0.4
"""Seconds that all of it may take."""

_MAX_ANSWER = 1 << 20


def names_quickly(credentials: Credentials, thing: str, within: float = WITHIN) -> list[str]:
    """
    The names of the tunnels, names or tokens that a server has, 1000 at most.

    @param thing: the word of the API. @param within: in seconds.
    """
    found: list[str] = []

    def work() -> None:
        try:
            found.extend(_ask(credentials, thing, within))
        except Exception:  # whatever it is: a person who presses Tab wants to see nothing of it
            return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(within)
    return list(found)


def _ask(credentials: Credentials, thing: str, timeout: float) -> list[str]:
    address = credentials.address
    host = "localhost" if is_localhost(address.host) else address.host
    proxy = proxy_for("https" if address.secure else "http", host)
    where = (host, address.port) if proxy is None else proxy[:2]
    connection: http.client.HTTPConnection
    if address.secure:
        context = ssl.create_default_context(cafile=credentials.ca_file and str(credentials.ca_file))
        connection = http.client.HTTPSConnection(*where, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(*where, timeout=timeout)
    if proxy is not None:
        user = {"Proxy-Authorization": f"Basic {b64encode(proxy[2].encode()).decode()}"} if proxy[2] else {}
        connection.set_tunnel(address.host, address.port, user)
    try:
        fields = {"Authorization": f"Bearer {credentials.token}", "Host": address.authority}
        connection.request("GET", f"{API}{path_of(thing)}?limit=1000", headers=fields)
        answer = connection.getresponse()
        if answer.status != 200:
            return []
        return [str(item["name"]) for item in json.loads(answer.read(_MAX_ANSWER))["items"]]
    finally:
        connection.close()
