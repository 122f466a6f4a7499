"""Which ports a program listens on: the sockets of its processes, as Linux tells them in /proc (proc(5))."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from burrow.addresses import authority

PROC = Path("/proc")
MAX_PROCESSES = 1000
"""Of a program's processes, so many are looked at."""

_LISTENS = "0A"


def family(pid: int, proc: Path = PROC) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for one in found:
        for task in _names(proc / str(one) / "task"):
            try:
                text = (proc / str(one) / "task" / task / "children").read_text()
            except OSError:  # it has ended
                continue
            found += [int(child) for child in text.split() if int(child) not in found]
        if len(found) > MAX_PROCESSES:
            break
    return found[:MAX_PROCESSES]


def listening(pid: int, proc: Path = PROC) -> list[str]:
    """
    Where a process and its descendants listen for TCP on this machine: C{HOST:PORT}, the lowest port first.

    Sockets that listen on all addresses are told as those of the loopback.
    """
    inodes: set[str] = set()
    for one in family(pid, proc):
        for name in _names(proc / str(one) / "fd"):
            try:
                link = os.readlink(proc / str(one) / "fd" / name)
            except OSError:
                continue
            if link.startswith("socket:["):
                inodes.add(link[8:-1])
    found = set()
    for table, size in (("tcp", 4), ("tcp6", 16)):
        for address, port, inode in _rows(proc / str(pid) / "net" / table):
            if inode in inodes:
                found.add((port, size, _host(address)))
    return [authority(host, port) for port, _, host in sorted(found)]


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # it has ended, or is somebody else's
        return []


def _rows(table: Path) -> Iterator[tuple[str, int, str]]:
    """The address in hex, port and inode of each socket of a table that listens."""
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTENS:
            address, _, port = fields[1].partition(":")
            yield address, int(port, 16), fields[9]


def _host(address: str) -> str:
    """An address in text. The kernel writes each of its 32-bit words as this machine's number."""
    raw = bytes.fromhex(address)
    words = struct.unpack(f">{len(raw) // 4}I", raw)
    packed = struct.pack(f"={len(words)}I", *words)
    host = socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
    if host.startswith("::ffff:"):
        host = host.removeprefix("::ffff:")
    return {"0.0.0.0": "127.0.0.1", "::": "localhost"}.get(host, host)
