"""Tests for L{burrow.urls}."""

import pytest

from burrow.urls import asked_url


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://[2606:4700::1111]:8443/a%20b?c=d", "https://[2606:4700::1111]:8443/a%20b?c=d"),
        ("https://[::1]", "https://[::1]"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://b\u00fccher.example/", "https://xn--bcher-kva.example/"),
    ],
)
def test_what_is_sent(url, asked):
    assert asked_url(url).to_uri().to_text() == asked


@pytest.mark.parametrize("url", ["https://[::1/", "https://[fe80::1%eth0]/", "https://a:b/"])
def test_what_is_no_url(url):
    with pytest.raises(ValueError, match=r"\w"):
        asked_url(url)
