"""Tests for L{burrow.certificates.local}: the authority in its files, whatever happens to them."""

import multiprocessing
import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import succeed

from burrow.certificates import pair
from burrow.certificates.local import CA_FILE, CA_KEY_FILE, LocalCertificates, make_ca
from burrow.certificates.pair import Pair
from burrow.errors import ConfigError

DOMAIN = "tunnel.example"


def start(folder, domain=DOMAIN):
    """A server on the folder. @return: its authority, which its leaves verify with."""
    certificates = LocalCertificates(folder, domain, lambda host: succeed(True))
    ca = x509.load_pem_x509_certificate((folder / CA_FILE).read_bytes())
    assert ca == certificates._ca
    certificates._issue(f"a.{domain}").verify_directly_issued_by(ca)
    key = serialization.load_pem_private_key((folder / CA_KEY_FILE).read_bytes(), None)
    assert key.public_key() == ca.public_key()
    assert (folder / CA_KEY_FILE).stat().st_mode & 0o777 == 0o600
    return ca


def test_authority_is_made_once(tmp_path):
    first = start(tmp_path / "state")
    assert start(tmp_path / "state") == first
    assert sorted(file.name for file in (tmp_path / "state").iterdir()) == [CA_KEY_FILE, CA_FILE]


def test_authority_for_another_domain_is_replaced(tmp_path):
    first = start(tmp_path)
    assert start(tmp_path, "other.example") != first


class Crash(BaseException):
    """The machine stops."""


@pytest.mark.parametrize("first_time", [False, True])
@given(steps=st.integers(0, 12), data=st.data())
@settings(max_examples=12, deadline=None)
def test_crash_at_any_step_of_a_replacement(tmp_path_factory, first_time, steps, data):
    """There is the old authority or the new one, whole; and no server fails to start."""
    folder = tmp_path_factory.mktemp("state")
    before = None if first_time else start(folder, "other.example")
    left = [steps]

    def step(function):
        def stepped(*arguments, **options):
            if not left[0]:
                raise Crash
            left[0] -= 1
            return function(*arguments, **options)

        return stepped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", step(Path.replace))
        patch.setattr(Path, "unlink", step(Path.unlink))
        for name in ("open", "fsync", "fdopen"):
            patch.setattr(pair.os, name, step(getattr(os, name)))
        try:
            LocalCertificates(folder, DOMAIN, lambda host: succeed(True))
        except Crash:
            pass
    # What was not on the disk yet when the power went may be there in part.
    for file in sorted(folder.glob("*.new")):
        if data.draw(st.booleans(), str(file)):
            file.write_bytes(file.read_bytes()[: data.draw(st.integers(0, 50))])
            break
    again = start(folder)
    assert start(folder) == again
    if before is not None and not steps:
        assert start(folder, "other.example") != before


@pytest.mark.parametrize("lost", [CA_FILE, CA_KEY_FILE])
def test_half_of_an_authority(tmp_path, lost):
    """As a release before this one left it: it is made anew."""
    first = start(tmp_path)
    (tmp_path / lost).unlink()
    second = start(tmp_path)
    assert second != first
    other = tmp_path / "other"
    start(other)
    (tmp_path / lost).write_bytes((other / lost).read_bytes())
    third = start(tmp_path)
    assert third not in (first, second)


@pytest.mark.parametrize("broken", [CA_FILE, CA_KEY_FILE])
def test_files_that_are_none(tmp_path, broken):
    """Another program put the files there: they are not overwritten."""
    start(tmp_path)
    (tmp_path / broken).write_text("nonsense")
    with pytest.raises(ConfigError, match=broken):
        start(tmp_path)
    assert (tmp_path / broken).read_text() == "nonsense"


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--state"):
        start(tmp_path / "file" / "state")


def test_interrupted_replacement_is_finished(tmp_path):
    """The key has its place, the certificate has not: the new authority holds."""
    start(tmp_path, "other.example")
    key, certificate = make_ca(DOMAIN)
    old = (tmp_path / CA_FILE).read_bytes()
    Pair(tmp_path / CA_KEY_FILE, tmp_path / CA_FILE).write(key, certificate)
    (tmp_path / (CA_FILE + ".new")).write_bytes((tmp_path / CA_FILE).read_bytes())
    (tmp_path / CA_FILE).write_bytes(old)
    assert start(tmp_path) == certificate


def _start(folder, results):
    LocalCertificates(folder, DOMAIN, lambda host: succeed(True))
    results.put((folder / CA_FILE).read_bytes())


@pytest.mark.slow
def test_processes_that_start_together_have_one_authority(tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=_start, args=(tmp_path, results)) for _ in range(2)]
    for process in processes:
        process.start()
    found = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert found == {(tmp_path / CA_FILE).read_bytes()}
    start(tmp_path)
