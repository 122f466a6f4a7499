"""The kind "files", as Burrow knows kinds."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IProtocol, IProtocolFactory

from burrow.errors import ConfigError
from burrow.http.remembered import Memory
from burrow.mux.control import VisitorHead
from burrow.observe.http import HttpObserver
from burrow.observe.observer import Observer
from burrow.protocols.access import ACCESS
from burrow.protocols.base import AgentTunnel, Reach
from burrow.protocols.changes import HEADERS
from burrow.protocols.domain import DOMAIN
from burrow.protocols.files.serving import FilesServer, Threads
from burrow.protocols.files.tree import Root, possible
from burrow.protocols.kind import TunnelKind
from burrow.protocols.options import Side, kind_option
from burrow.protocols.private import PRIVACY
from burrow.protocols.rules import RULES
from burrow.protocols.tables import POLICY
from burrow.traffic.hub import Traffic
from burrow.values import parse_path
from burrow.wording import shown

MAX_PATH = 300
"""Characters of a path, at most: it is what a server knows the upstream by, and servers take no more."""


class Folder(Root):
    """A folder, or one file of it, as the upstream of a tunnel: its C{str} is the path."""

    def __str__(self) -> str:
        return str(self.path / self.only)

    @classmethod
    def parse(cls, text: str) -> Folder:
        """@raise ConfigError: there is no such folder or file, or it cannot be served."""
        try:
            path = parse_path(text)
        except ValueError as error:
            raise ConfigError(f"{shown(text)} is no folder: write its path, as in burrow files .") from error
        if not possible():
            raise ConfigError(
                "tunnels of kind files need Linux, macOS or BSD: Windows cannot keep links inside"
            )
        path = Path(os.path.normpath(path))
        if not str(path).isprintable():
            raise ConfigError(
                f"{shown(str(path))} has characters that are not for an upstream: rename the folder"
            )
        if len(str(path)) > MAX_PATH:
            raise ConfigError(f"{shown(str(path))} is too long: servers take {MAX_PATH} characters of a path")
        if path.is_dir():
            if not os.access(path, os.R_OK | os.X_OK):
                raise ConfigError(
                    f"the folder {path} cannot be read: give this user the right to, or choose another"
                )
            return cls(path)
        if not path.exists():
            service = f"; for a service on port {text} write burrow http {text}" if text.isdigit() else ""
            raise ConfigError(
                f"there is no folder {path}: write one that there is, as in burrow files .{service}"
            )
        path = Path(os.path.realpath(path))
        if not path.is_file():
            raise ConfigError(f"{path} is neither a folder nor a file: write the path of a folder")
        if path.name.startswith(".") or "\\" in path.name:
            raise ConfigError(
                f"{path} is not served, for its name: give it one without a dot before it or a backslash"
            )
        if not os.access(path, os.R_OK):
            raise ConfigError(
                f"the file {path} cannot be read: give this user the right to, or choose another"
            )
        return cls(path.parent, path.name)


class FilesProtocol(TunnelKind):
    """See L{ITunnelProtocol<burrow.protocols.base.ITunnelProtocol>}."""

    name = "files"
    summary = "an HTTPS URL for a folder, without any web server"
    reach = Reach.HOST
    upstream_help = "what to serve: a folder, or one file"
    options = (
        DOMAIN,
        kind_option(
            "no-index", "do not list what is in folders that have no index.html", False, side=Side.AGENT
        ),
        *HEADERS,
        POLICY,
        *RULES,
        *ACCESS,
        *PRIVACY,
    )

    @property
    def scheme(self) -> str:
        """See L{TunnelKind}."""
        return "https"

    def parse_upstream(self, text: str, options: dict[str, Any] | None = None) -> Folder:
        """See L{TunnelKind}."""
        return Folder.parse(text)

    def visitor_factory(self, tunnel: Any) -> IProtocolFactory:
        """See L{TunnelKind}: never called, the edge serves this kind."""
        raise NotImplementedError("the edge's own ports serve tunnels that are reached by host")

    def agent_protocol(self, tunnel: AgentTunnel, head: VisitorHead) -> IProtocol:
        """See L{TunnelKind}."""
        return FilesServer(
            tunnel.upstream, not tunnel.options.get("no-index", False), partial(Threads.run, tunnel.reactor)
        )

    def observer(self, tunnel: AgentTunnel, head: VisitorHead, traffic: Traffic, memory: Memory) -> Observer:
        """See L{TunnelKind}: a record for each request."""
        return HttpObserver(traffic, self.name, head.tunnel, head.visitor, head.scheme, memory)
