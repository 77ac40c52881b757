"""The canary: fails any test whose prints, log records or files hold a secret that the test made.

Every `Secret` made while a test runs (account keys, proxy logins and passwords) is remembered, and after the test all that
it printed, logged and wrote below `tmp_path` is searched for it. The tokens of solutions, which a program may well print or
keep, are searched for in log records only. Loaded for the whole suite by tests/conftest.py; `tests/security/test_canary.py`
plants leaks and sees them caught.

A test that must write a key to a file (one for `..._KEY_FILE`) says so: `@pytest.mark.writes_secret`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anycap.credentials import Secret, attempt
from anycap.results import TokenSolution

SECRET_CHARS_MIN = 8  # shorter ones ("user") occur in ordinary text
TOKEN_CHARS_MIN = 24
FILE_BYTES_MAX = 1 << 24
_LOG = "a log record of "

_of_session: set[str] = set()
_of_test: set[str] | None = None
_seen: list[tuple[str, str]] = []
_tokens: set[str] = set()
_make_secret = Secret.__init__
_make_solution = TokenSolution.__init__
_CAUGHT = pytest.StashKey[bool]()


def _remember(self: Secret, value: Any) -> None:
    _, error = attempt(_make_secret, self, value)
    del value  # this frame is in the traceback, too
    if error is not None:
        raise error
    text = self._value
    if len(text) >= SECRET_CHARS_MIN:
        (_of_session if _of_test is None else _of_test).add(text)


def _remember_token(self: TokenSolution, **fields: Any) -> None:
    _make_solution(self, **fields)
    if len(self.token) >= TOKEN_CHARS_MIN:
        _tokens.add(self.token)


class _Listener(logging.Handler):
    """Keeps what every log record would show, whatever formatter is used: message, arguments and traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.getMessage()} {record.args!r}"
        if record.exc_info:
            text += logging.Formatter().formatException(record.exc_info)
        _seen.append((f"{_LOG}{record.name!r}", text))


_listener = _Listener(level=0)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "writes_secret: this test writes a secret to a file on purpose")
    Secret.__init__ = _remember  # type: ignore[method-assign]
    TokenSolution.__init__ = _remember_token  # type: ignore[method-assign]
    logging.getLogger().addHandler(_listener)


def pytest_unconfigure() -> None:
    Secret.__init__ = _make_secret  # type: ignore[method-assign]
    TokenSolution.__init__ = _make_solution  # type: ignore[method-assign]
    logging.getLogger().removeHandler(_listener)


@pytest.fixture(autouse=True)
def canary_hears_captured_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test reads through capsys or capfd does not reach its report: listen there too."""
    read = pytest.CaptureFixture.readouterr

    def readouterr(self: pytest.CaptureFixture[Any]) -> Any:
        result = read(self)
        _seen.extend((name, str(text)) for name, text in (("stdout", result.out), ("stderr", result.err)))
        return result

    monkeypatch.setattr(pytest.CaptureFixture, "readouterr", readouterr)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    global _of_test
    _of_test = set()
    _seen.clear()
    _tokens.clear()
    try:
        return (yield)
    finally:
        _of_test = None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.passed and report.when in {"call", "teardown"} and not item.stash.get(_CAUGHT, False):
        leaks = sorted(set(find_leaks(item, report)))
        if leaks:
            item.stash[_CAUGHT] = True
            report.outcome = "failed"
            report.longrepr = "The canary found a secret in: " + "; ".join(leaks)
    return report


def find_leaks(item: pytest.Item, report: pytest.TestReport) -> Iterator[str]:
    """Where a secret of this test is to be read; the secret itself is not repeated."""
    for name, text in _seen:
        if name.startswith(_LOG) and any(token in text for token in _tokens):
            yield f"{name} (a token)"
    secrets = {*_of_session, *(_of_test or ())}
    if not secrets:
        return
    for name, text in [*_seen, *report.sections]:
        if any(secret in text for secret in secrets):
            yield name
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    if report.when == "call" and isinstance(folder, Path) and item.get_closest_marker("writes_secret") is None:
        coded = [secret.encode("utf-8", "surrogatepass") for secret in secrets]
        for path in folder.rglob("*"):
            if path.is_file() and path.stat().st_size <= FILE_BYTES_MAX:
                content = path.read_bytes()
                if any(secret in content for secret in coded):
                    yield f"the file {path.relative_to(folder)}"
