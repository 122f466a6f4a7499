"""Finds the inspectors of agents that run on this machine, and asks them."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from burrow.addresses import ListenAddress, authority
from burrow.client.inspect.service import DEFAULT, NOTES
from burrow.errors import BurrowError, ConfigError, ServerUnreachable
from burrow.folders import state_folder
from burrow.wording import system_words

PROBED_PORTS = 10
"""Ports where an agent of another user, or in a container, is looked for, from the first one on."""

TIMEOUT, SILENCE = 90.0, 40.0
"""Seconds that an answer may take, and that a stream of events may be silent."""

_PROBE = 1.0


class Client:
    """Asks one inspector. @ivar url: its address."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self._where = (parts.hostname or "", parts.port or 80)

    def ask(self, method: str, path: str, body: Any = None, timeout: float = TIMEOUT) -> tuple[Any, Message]:
        """
        Ask for JSON.

        @return: the parsed answer, and its header fields.
        @raise ServerUnreachable: nothing answers there. @raise BurrowError: the answer is an error.
        """
        connection = http.client.HTTPConnection(*self._where, timeout=timeout)
        try:
            data = None if body is None else json.dumps(body).encode()
            fields = {"Content-Type": "application/json"} if data is not None else {}
            connection.request(method, path, data, fields)
            answer = connection.getresponse()
            parsed = json.loads(answer.read() or b"null")
        except (OSError, http.client.HTTPException) as error:
            raise ServerUnreachable(f"no inspector answers at {self.url}: {system_words(error)}") from error
        except ValueError:
            raise ServerUnreachable(f"what answers at {self.url} is no inspector of Burrow's") from None
        finally:
            connection.close()
        if answer.status >= 400:
            detail = parsed.get("detail") if isinstance(parsed, dict) else None
            raise BurrowError(str(detail or f"the inspector answered {answer.status}"))
        return parsed, answer.headers

    def follow(self, last: str) -> Iterator[tuple[str, Any]]:
        """
        What happens after the event with the number C{last}: its kind and its data.

        @raise ServerUnreachable: the agent has ended.
        """
        connection = http.client.HTTPConnection(*self._where, timeout=SILENCE)
        try:
            connection.request("GET", "/api/events", headers={"Last-Event-ID": last})
            answer = connection.getresponse()
            fields: dict[str, str] = {}
            for line in answer:
                text = line.decode().rstrip("\r\n")
                if text:
                    name, _, value = text.partition(": ")
                    fields[name] = value
                elif "event" in fields:
                    yield fields["event"], json.loads(fields["data"])
                    fields = {}
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        raise ServerUnreachable("the agent has ended")


def choose(address: ListenAddress | None) -> Client:
    """
    The inspector at C{address}, or the only one that there is.

    @raise ServerUnreachable: none runs. @raise ConfigError: more than one does.
    """
    if address is not None:
        return Client(f"http://{authority(address.host or '127.0.0.1', address.port)}")
    found = noted() or probed()
    if not found:
        raise ServerUnreachable(
            "no agent with an inspector runs on this machine: start one, as with `burrow http 3000`, or say "
            "where it is with --inspect ADDRESS"
        )
    if len(found) > 1:
        raise ConfigError(
            f"more than one agent runs here: choose with --inspect ADDRESS, one of {', '.join(sorted(found))}"
        )
    return Client(found[0])


def noted() -> list[str]:
    """
    The URLs of the inspectors that left a note and answer. Notes of processes that are gone go, since another
    inspector may have their port by now.
    """
    found: dict[str, None] = {}
    for note in sorted((state_folder() / NOTES).glob("*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(note.read_text(encoding="utf-8"))
            if not _runs(int(told["pid"])):
                note.unlink()
            elif _is_inspector(told["url"]):
                found[str(told["url"])] = None
    return list(found)


def probed() -> list[str]:
    """The URLs of the inspectors at the usual ports."""
    ports = range(DEFAULT.port, DEFAULT.port + PROBED_PORTS)
    return [
        url for url in (f"http://{authority(DEFAULT.host, port)}" for port in ports) if _is_inspector(url)
    ]


def _is_inspector(url: str) -> bool:
    try:
        status, _ = Client(url).ask("GET", "/api/status", timeout=_PROBE)
    except BurrowError:
        return False
    return isinstance(status, dict) and "max_body" in status


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
