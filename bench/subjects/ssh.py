"""ssh -R: OpenSSH's remote forwarding, with an sshd of our own."""

from __future__ import annotations

import getpass
import os
import subprocess
from pathlib import Path

from bench.subjects.base import PortForward
from tests.e2e.harness import free_port

_SERVER = """
Port {port}
ListenAddress 127.0.0.1
HostKey {key}
AuthorizedKeysFile {key}.pub
PidFile none
UsePAM no
StrictModes no
AllowTcpForwarding yes
Compression no
"""


class Ssh(PortForward):
    """It forwards ports and knows no HTTP."""

    name = "ssh"
    programs = ("ssh", "sshd", "ssh-keygen")

    def start(self) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd separates its privileges there
        key, port = self.folder / "key", free_port()
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key]
        subprocess.run([str(part) for part in command], check=True)
        server = self.write("sshd.conf", _SERVER.format(port=port, key=key))
        self._server = self.run("sshd", "-D", "-e", "-f", server)
        self._server.line("Server listening")
        self._ports = {target: free_port() for target in self.setup.targets}
        options = ["-F", "/dev/null", "-i", key, "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"]
        options += ["-o", "UserKnownHostsFile=/dev/null", "-o", "ExitOnForwardFailure=yes", "-N"]
        for target, mine in self._ports.items():
            options += ["-R", f"127.0.0.1:{mine}:127.0.0.1:{self.upstreams.port(target)}"]
        where = f"{getpass.getuser()}@127.0.0.1"
        self._agent = self.run("ssh", *options, "-p", self.agents_port(port), where)
        self.wait_until_open()
