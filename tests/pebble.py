"""Pebble, Let's Encrypt's own test CA, with the DNS that it asks."""

import json
import os
import re
import ssl
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from tests.e2e.harness import free_port
from tests.files import make_certificate
from tests.programs import program


class Pebble:
    """
    A CA of the tests' own.

    @param tls_port: where it validates tls-alpn-01. @param validity: seconds its certificates are valid.
    @ivar root: a PEM file of the root that its certificates come from; another each time it starts.
    """

    def __init__(self, tls_port, *, validity=90 * 86_400, nonce_reject=0, eab=None):
        self.folder = Path(tempfile.mkdtemp())
        self.port, self.management, self.dns, self.dns_management = (free_port() for _ in range(4))
        self.ca_file, key_file = make_certificate(
            self.folder, f"pebble-{self.port}", "localhost", stem="pebble"
        )
        self.directory = f"https://localhost:{self.port}/dir"
        self.root = self.folder / "root.pem"
        self._environment = {
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": str(nonce_reject),
            "PEBBLE_AUTHZREUSE": "0",
        }
        configuration = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management}",
            "certificate": str(self.ca_file),
            "privateKey": str(key_file),
            "httpPort": free_port(),
            "tlsPort": tls_port,
            "externalAccountBindingRequired": eab is not None,
            "externalAccountMACKeys": eab or {},
            "certificateValidityPeriod": validity,
        }
        (self.folder / "config.json").write_text(json.dumps({"pebble": configuration}))
        self._dns = subprocess.Popen(
            [
                program("pebble-challtestsrv"),
                *("-dns01", f"127.0.0.1:{self.dns}", "-management", f"127.0.0.1:{self.dns_management}"),
                *("-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.start()

    def start(self):
        self.log = self.folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    program("pebble"),
                    *("-config", self.folder / "config.json", "-dnsserver", f"127.0.0.1:{self.dns}"),
                ],
                env={**os.environ, **self._environment},
                stdout=log,
                stderr=log,
            )
        self.root.write_bytes(self._get(f"https://localhost:{self.management}/roots/0"))

    def _get(self, url):
        context = ssl.create_default_context(cafile=str(self.ca_file))
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(url, context=context) as answer:
                    return answer.read()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def point(self, host, address):
        """Let DNS say that a host is at an address."""
        for kind, body in (
            ("clear-a", {"host": host + "."}),
            ("add-a", {"host": host + ".", "addresses": [address]}),
        ):
            self.mock(kind, **body)

    def mock(self, kind, **body):
        """Let DNS say something: see https://github.com/letsencrypt/pebble for pebble-challtestsrv."""
        url = f"http://127.0.0.1:{self.dns_management}/{kind}"
        with urllib.request.urlopen(url, json.dumps(body).encode()):
            pass

    def orders(self):
        """How many certificates it issued."""
        return self.log.read_text().count("Issued certificate serial")

    def serials(self):
        """The serial numbers of these, in their order."""
        return [
            int(text, 16) for text in re.findall(r"Issued certificate serial (\w+)", self.log.read_text())
        ]

    def stop(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.stop()
        self._dns.kill()
        self._dns.wait()
