"""Tests for L{burrow.django}: what a project's settings become, and a real project by C{burrow run}."""

from types import SimpleNamespace

import pytest
from django.core.exceptions import ImproperlyConfigured

from burrow.django.apps import LOCAL, allow, serves

URL = "https://demo.example.com:8443"


def made(**changed):
    values = {
        "DEBUG": True,
        "ALLOWED_HOSTS": [],
        "CSRF_TRUSTED_ORIGINS": [],
        "SECURE_PROXY_SSL_HEADER": None,
        **changed,
    }
    return SimpleNamespace(**values)


def test_the_tunnels_requests_are_taken_beside_local_ones():
    settings = made()
    assert URL in allow(settings, {"BURROW_URL": URL})
    assert settings.ALLOWED_HOSTS[:-1] == list(LOCAL)
    assert settings.ALLOWED_HOSTS[-1] == "demo.example.com"
    assert settings.CSRF_TRUSTED_ORIGINS == [URL]
    assert settings.SECURE_PROXY_SSL_HEADER == ("HTTP_X_FORWARDED_PROTO", "https")


def test_what_a_project_has_stays():
    settings = made(ALLOWED_HOSTS=["a.b"], CSRF_TRUSTED_ORIGINS=[URL], SECURE_PROXY_SSL_HEADER=("X", "on"))
    allow(settings, {"BURROW_URL": URL})
    assert settings.ALLOWED_HOSTS == ["a.b", "demo.example.com"]
    assert settings.CSRF_TRUSTED_ORIGINS == [URL]
    assert settings.SECURE_PROXY_SSL_HEADER == ("X", "on")


@pytest.mark.parametrize(
    ("debug", "url", "said"), [(False, URL, "DEBUG is off"), (True, "", ""), (False, "", "")]
)
def test_nothing_changes(debug, url, said):
    settings = made(DEBUG=debug)
    line = allow(settings, {"BURROW_URL": url})
    assert said in line
    assert bool(line) == bool(said)
    assert settings == made(DEBUG=debug)


@pytest.mark.parametrize("url", ["demo", "tcp://a.b:1", "https://", "https://[a"])
def test_what_is_no_url(url):
    with pytest.raises(ImproperlyConfigured, match=r"burrow run -- python manage\.py runserver"):
        allow(made(), {"BURROW_URL": url})


@pytest.mark.parametrize(
    ("words", "environ", "expected"),
    [
        (["manage.py", "runserver"], {"RUN_MAIN": "true"}, True),
        (["manage.py", "runserver"], {}, False),
        (["manage.py", "runserver", "--noreload"], {}, True),
        (["manage.py", "migrate"], {"RUN_MAIN": "true"}, False),
        (["manage.py"], {}, False),
    ],
)
def test_who_prints_it(words, environ, expected):
    assert serves(words, environ) is expected
