"""
The link to one other node: a WebSocket with a session on it, as between agent and server.

A link that loses its connection dials again. If the other node does not answer within L{REDIAL_TIMEOUT}, the
link's streams are lost, so that another node can serve their visitors.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import crypto
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, ensureDeferred
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.certificates.selfsigned import self_signed
from burrow.errors import BurrowError
from burrow.link.address import Credentials, ServerAddress
from burrow.link.dial import Dialer
from burrow.link.linked import Linked
from burrow.mux.session import Session
from burrow.server.nodes.records import Node

REDIAL_TIMEOUT = 2.0
"""Seconds that one attempt to connect may take."""

_DIAL_EVERY = 0.5


def make_certificate(host: str) -> tuple[Any, str]:
    """
    Make a key and a certificate for this node. Other nodes read it in the store, so they trust it.

    @return: what L{node_context} needs, and the certificate in PEM form.
    """
    try:
        subject: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        subject = x509.DNSName(host)
    ca = x509.BasicConstraints(ca=True, path_length=0)
    identity = self_signed("Burrow node", subject, 3650, ca)
    return identity, identity[1].public_bytes(serialization.Encoding.PEM).decode()


def node_context(key: Any, certificate: x509.Certificate) -> Any:
    """The context for C{listenSSL} with what L{make_certificate} returned."""
    return CertificateOptions(
        privateKey=crypto.PKey.from_cryptography_key(key),
        certificate=crypto.X509.from_cryptography(certificate),
        raiseMinimumTo=TLSVersion.TLSv1_3,
    )


class Link:
    """
    The link to one other node. It dials until it is stopped.

    @ivar session: the session to open streams on; None while there is no connection.
    @ivar retired: whether the link ends with its connection.
    @ivar unreachable: whether the last attempt to connect failed.
    @param on_up: called whenever there is a new connection.
    """

    log = Logger()

    def __init__(self, reactor: Any, own_id: str, node: Node, on_up: Callable[[], None]) -> None:
        self.node = node
        self._reactor = reactor
        self._on_up = on_up
        self._linked: Linked | None = None
        self._stopped = False
        self.retired = False
        self.unreachable = False
        address = ServerAddress(bool(node.certificate), node.host, node.port)
        self._dialer = Dialer(reactor, Credentials(address, node.secret, own_id, ca_pem=node.certificate))
        self._life = ensureDeferred(self._live())
        self._life.addErrback(lambda reason: None if self._stopped else self._failed(reason))

    @property
    def session(self) -> Session | None:
        """See the class."""
        linked = self._linked
        return linked.session if linked is not None and linked.attached else None

    def retire(self) -> bool:
        """Dial no more. @return: whether there is a connection still, with which the link ends."""
        self.retired = True
        if self.session is None:
            self.stop()
        return not self._stopped

    def stop(self) -> None:
        """End the link and its streams."""
        self._stopped = True
        self._life.cancel()
        if self._linked is not None:
            self._linked.session.abort()

    def _failed(self, reason: Failure) -> None:
        self.log.failure(
            "the link to node {node} failed, and is not dialled again", reason, node=self.node.id
        )

    async def _live(self) -> None:
        while not self._stopped:
            linked = self._linked
            if linked is not None and linked.attached:
                await linked.trouble()
                continue
            if self.retired:
                self._lose(linked)
                return
            found = await self._dial(linked)
            if found is None:
                self.unreachable = True
                self._lose(linked)
                await deferLater(self._reactor, _DIAL_EVERY)
                continue
            self.unreachable = False
            if found is not linked:
                self._lose(linked)
                self._linked = found
            self._on_up()

    async def _dial(self, linked: Linked | None) -> Linked | None:
        """
        Connect once, and resume the session of C{linked} if the other node still has it.

        @return: None if the other node cannot be reached.
        """
        dialling = Deferred.fromCoroutine(self._dialer.dial(linked))
        try:
            return await dialling.addTimeout(REDIAL_TIMEOUT, self._reactor)
        except (BurrowError, TimeoutError) as error:
            self.log.debug(
                "cannot link to node {node}, it is tried again: {error}", node=self.node.id, error=error
            )
        except CancelledError:
            raise  # the link was stopped
        except Exception:
            self.log.failure("cannot link to node {node}, it is tried again", node=self.node.id)
        return None

    def _lose(self, linked: Linked | None) -> None:
        if linked is not None:
            self._linked = None
            linked.session.abort()
