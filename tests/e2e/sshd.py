"""A real sshd, for tests of SSH through tunnels."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.e2e.harness import free_port
from tests.programs import program


def start_sshd(world, folder):
    """Start a sshd with keys of its own. @return: its port on the loopback, and options of an ssh for it."""
    for name in ("host", "user"):
        subprocess.run(
            [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", folder / name],
            check=True,
            timeout=30,
        )
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        "UsePAM no\nStrictModes no\nSubsystem sftp internal-sftp\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nPermitRootLogin yes\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    server = world.program(program("sshd"), "-D", "-e", "-f", folder / "sshd_config")
    server.line("listening")
    options = ["-i", folder / "user", "-F", "none", "-o", "LogLevel=ERROR"]
    options += ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={folder}/known"]
    return port, options
