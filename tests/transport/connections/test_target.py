"""Where a request may go: https anywhere, http to this machine only, nothing with credentials in it."""

from __future__ import annotations

import pytest

from anycap.errors import ConfigurationError
from anycap.transport.connections.target import Target, Targets, is_loopback, parse_target


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "path", "authority"),
    [
        ("https://api.anti-captcha.com/createTask", "https", "api.anti-captcha.com", 443, "/createTask", "api.anti-captcha.com"),
        ("https://API.example.com", "https", "api.example.com", 443, "/", "api.example.com"),
        ("https://api.example.com:443/a?b=c%20d", "https", "api.example.com", 443, "/a?b=c%20d", "api.example.com"),
        ("https://api.example.com:8443/x", "https", "api.example.com", 8443, "/x", "api.example.com:8443"),
        ("http://127.0.0.1:8080/anti-captcha/x", "http", "127.0.0.1", 8080, "/anti-captcha/x", "127.0.0.1:8080"),
        ("http://[::1]:8080/x", "http", "::1", 8080, "/x", "[::1]:8080"),
        ("http://localhost/x#part", "http", "localhost", 80, "/x", "localhost"),
    ],
)  # fmt: skip
def test_a_url_is_taken_apart(url: str, scheme: str, host: str, port: int, path: str, authority: str) -> None:
    target = parse_target(url)
    assert (target.scheme, target.host, target.port, target.path) == (scheme, host, port, path)
    assert target.authority == authority


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://api.example.com/x", "would send your key in clear text"),
        ("http://192.168.0.7/x", "would send your key in clear text"),
        ("http://127.0.0.1.example.com/x", "would send your key in clear text"),
        ("http://localhost.example.com/x", "would send your key in clear text"),
        ("https://user@api.example.com/x", "user name or password"),
        ("https://user:pass@api.example.com/x", "user name or password"),
        ("https://api.example.com/a b", "percent-encoded"),
        ("https://api.example.com/\u00e9", "percent-encoded"),
        ("ftp://api.example.com/x", "not an http"),
        ("api.example.com/x", "not an http"),
        ("https:///x", "not an http"),
        ("https://api.example.com:99999/x", "not an http"),
        ("https://exa\u00admple.com/x", "not an http"),
        ("https://[::1/x", "not an http"),
        ("", "not an http"),
    ],
)
def test_what_a_key_must_not_go_to_is_refused(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        parse_target(url)


def test_a_line_break_in_a_url_cannot_become_a_header() -> None:
    with pytest.raises(ConfigurationError):
        parse_target("https://api.example.com/x\r\nHost: evil")


def test_plain_http_can_be_allowed() -> None:
    assert parse_target("http://vendor.internal/x", allow_http=True).port == 80


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["127.0.0.1.nip.io", "10.0.0.1", "0.0.0.0", "notlocalhost", "::2", ""])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_each_url_is_checked_once_and_the_memory_of_them_is_bounded() -> None:
    targets = Targets(allow_http=False)
    first = targets["https://api.example.com/0"]
    assert targets["https://api.example.com/0"] is first
    assert first == Target("https", "api.example.com", 443, "/0")
    for number in range(1000):
        assert targets[f"https://api.example.com/{number}"].path == f"/{number}"
    assert len(targets) <= 256
