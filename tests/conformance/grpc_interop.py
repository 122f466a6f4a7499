"""gRPC's interoperability tests, as the projects for Go and Java publish them: clients and servers."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

from tests.conformance import suites
from tests.conformance.tunnels import Tunnels
from tests.conformance.verdicts import Comparison
from tests.e2e.harness import free_port, wait_for
from tests.files import make_certificate

PATIENCE = 90
"""Seconds for one case."""

COMMON = (
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "rpc_soak",
    "channel_soak",
    "orca_per_rpc",
    "orca_oob",
)
"""
What the clients of both languages have. Left out are credentials of Google's (C{compute_engine_creds} and the
like), which need its cloud; C{pick_first_unary}, which needs a server that tells its name; and
C{cacheable_unary}, which needs a cache on the way.
"""

JAVA = (
    "client_compressed_unary_noprobe",
    "server_compressed_unary",
    "client_compressed_streaming_noprobe",
    "server_compressed_streaming",
    "very_large_request",
)
"""
Cases that only Java's client has. Its server does not refuse what the probe of C{client_compressed_unary}
wants refused.
"""

BALANCING = '{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}'
"""The service configuration that the cases of ORCA need, as their description says."""


def _options(case: str, dashes: str) -> list[str]:
    """What a client wants for one case."""
    options = [f"{dashes}test_case={case}"]
    if case.startswith("orca"):
        options.append(f"{dashes}service_config_json={BALANCING}")
    if case.endswith("soak"):  # which wants a second for each call, unless told: a busy machine is no failure
        options.append(f"{dashes}soak_per_iteration_max_acceptable_latency_ms=20000")
        options.append(f"{dashes}soak_overall_timeout_seconds=80")
    return options


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _served(tunnels: Tunnels, command: list[str | Path], port: int) -> None:
    program = tunnels.service(command)
    wait_for(lambda: _listens(port) or program.ended(), "the interop server")
    assert not program.ended(), program.output


def _verdict(command: list[str], **env: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, env={**os.environ, **env}
        )
    except subprocess.TimeoutExpired:
        return f"no end within {PATIENCE} s"
    if done.returncode == 0:
        return "pass"
    said = (done.stderr + done.stdout).strip().splitlines() or ["nothing said"]
    return f"exit {done.returncode}: {said[-1][:200]}"


def go(tunnels: Tunnels) -> list[Comparison]:
    """The client and server of grpc-go, the server without TLS (C{h2c://}) and with it (C{h2://})."""
    programs, version = suites.go_programs(
        "grpc-go",
        "google.golang.org/grpc",
        {name: f"google.golang.org/grpc/interop/{name}" for name in ("client", "server")},
    )
    client = str(programs / "client")
    chain, key = make_certificate(tunnels.folder, "localhost")
    results = []
    for scheme in ("h2c", "h2"):
        port = free_port()
        command: list[str | Path] = [programs / "server", "-port", str(port)]
        own = ["-server_host", "localhost", "-server_port", str(port)]
        options = []
        if scheme == "h2":
            command += ["-use_tls", "-tls_cert_file", chain, "-tls_key_file", key]
            own.append("-use_tls")
            options = ["--upstream-ca", str(chain)]
        _served(tunnels, command, port)
        world, host = tunnels.open(f"go-{scheme}", f"{scheme}://localhost:{port}", *options)
        far = ["-server_host", "127.0.0.1", "-server_host_override", host, "-use_tls"]
        far += ["-server_port", str(world.https)]

        def run(case: str, where: list[str], trusted: Path) -> str:
            return _verdict([client, *_options(case, "-"), *where], SSL_CERT_FILE=str(trusted))

        results.append(
            Comparison(
                f"gRPC interop, grpc-go {version}, {scheme}://",
                {case: run(case, own, chain) for case in COMMON},
                {case: run(case, far, world.ca_file) for case in COMMON},
            )
        )
    return results


def java(tunnels: Tunnels) -> list[Comparison]:
    """The clients of grpc-java, on Netty's HTTP/2 and on OkHttp's, and its server."""
    path, version = suites.java_libraries("grpc-java", "io.grpc:grpc-interop-testing")
    command = [suites.program("java", "a JDK (Debian: default-jdk-headless)"), "-cp", path]
    keytool = suites.program("keytool", "a JDK (Debian: default-jdk-headless)")
    port = free_port()
    server = "io.grpc.testing.integration.TestServiceServer"
    _served(tunnels, [*command, server, f"--port={port}", "--use_tls=false"], port)
    world, host = tunnels.open("java", f"h2c://127.0.0.1:{port}")
    trust = tunnels.folder / "trust.p12"
    suites.build(
        [
            *[keytool, "-importcert", "-noprompt", "-alias", "burrow", "-file", world.ca_file],
            *["-keystore", trust, "-storetype", "PKCS12", "-storepass", "public"],
        ],
        tunnels.folder,
    )
    command += [f"-Djavax.net.ssl.trustStore={trust}", "-Djavax.net.ssl.trustStorePassword=public"]
    command.append("io.grpc.testing.integration.TestServiceClient")
    results = []
    for transport in ("netty", "okhttp"):
        both = [*command, f"--use_okhttp={str(transport == 'okhttp').lower()}"]
        own = ["--server_host=127.0.0.1", f"--server_port={port}", "--use_tls=false"]
        far = [f"--server_host={host}", f"--server_port={world.https}", "--use_tls=true"]

        def run(case: str, where: list[str], both: list[str] = both) -> str:
            return _verdict(suites.with_names(tunnels.hosts, [*both, *_options(case, "--"), *where]))

        cases = (*COMMON, *JAVA)
        results.append(
            Comparison(
                f"gRPC interop, grpc-java {version}, {transport}",
                {case: run(case, own) for case in cases},
                {case: run(case, far) for case in cases},
            )
        )
    return results
