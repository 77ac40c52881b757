"""The tutorial's fictitious vendor, built from the page's own blocks, is found by entry point and works."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anycap import providers
from anycap.challenges import ImageToText, RecaptchaV2, RecaptchaV3
from anycap.errors import InvalidChallenge
from anycap.normalize import normalize
from anycap.providers.reports import report_method
from anycap.testing.conformance import check_provider, doubts_about
from anycap.testing.conformance.__main__ import main

PAGE = Path(__file__).parents[2] / "docs" / "add-a-vendor.md"
_BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str, str]]:
    return [(language, title, text) for language, title, text in _BLOCK.findall(PAGE.read_text(encoding="utf-8"))]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package of the page, as an installer would leave it; gone again afterwards."""
    files: dict[str, str] = {}
    for _, title, text in blocks():
        if title:
            files[title] = files.get(title, "") + text + "\n"
    import tomllib

    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    info = tmp_path / "acme_captcha-1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: acme-captcha\nVersion: 1.0\n", encoding="utf-8")
    points = "".join(f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
                     for group, entries in project["entry-points"].items())  # fmt: skip
    info.joinpath("entry_points.txt").write_text(points, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    providers._adapters.pop("acme", None)
    sys.modules.pop("acme_captcha", None)


def test_the_short_catalog_of_the_page_is_whole_and_solves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [short] = [text for language, title, text in blocks() if language == "toml" and "extends" in text and not title]
    path = tmp_path / "acme.toml"
    path.write_text(short, encoding="utf-8")
    assert check_provider(path) == [] and doubts_about(path) == []

    [trial] = [text for language, _, text in blocks() if language == "py" and "try_it" in text]
    monkeypatch.chdir(tmp_path)
    exec(compile(trial, str(PAGE), "exec"), {})
    assert capsys.readouterr().out.startswith("TokenSolution(")


def test_vendor_is_found_by_its_entry_point(installed: Path) -> None:
    assert "acme" in providers.names()
    assert providers.get("acme").catalog.title == "Acme Captcha"


def test_requests_are_written_as_the_page_says(installed: Path) -> None:
    adapter = providers.get("acme")
    v2 = adapter.prepare(RecaptchaV2("https://example.com", "KEY", invisible=True, cookies={"a": "1"}))
    assert v2.task == {
        "type": "GoogleV2",
        "page": {"url": "https://example.com", "key": "KEY"},
        "invisible": True,
        "cookies": "a=1",
    }
    v3 = adapter.prepare(RecaptchaV3("https://example.com", "KEY", enterprise=True))
    assert v3.task["score"] == 0.3 and v3.task["enterprise"] is True
    with pytest.raises(InvalidChallenge, match=r"takes 0\.3, 0\.9 for min_score"):
        adapter.prepare(RecaptchaV3("https://example.com", "KEY", min_score=0.5))
    with pytest.raises(InvalidChallenge, match="takes JPG, PNG"):
        adapter.prepare(ImageToText(b"GIF89a" + bytes(200)))
    assert (
        adapter.prepare(RecaptchaV2("https://example.com", "KEY", variant="GoogleV2Fast")).vendor_type == "GoogleV2Fast"
    )


def test_soft_id_errors_and_reports_are_the_vendors(installed: Path) -> None:
    adapter = providers.get("acme")
    prepared = adapter.prepare(RecaptchaV2("https://example.com", "KEY"))
    assert adapter.submit_fields(prepared, soft_id=7)["partnerId"] == 7
    error = normalize("acme", {"errorId": 1, "errorCode": "ACME_SLOW_DOWN"})
    assert error is not None and error.code == "ip_blocked" and error.retry_after == 600
    assert report_method(adapter.catalog, "RecaptchaV3", correct=False).name == "complain"


def test_vendor_is_named_to_those_who_need_what_it_has(installed: Path) -> None:
    with pytest.raises(InvalidChallenge, match="acme"):
        providers.get("anti-captcha").prepare(RecaptchaV2("https://example.com", "KEY", variant="GoogleV2Fast"))


def test_conformance_suite_finds_nothing_wrong(installed: Path) -> None:
    assert check_provider("acme") == []


def test_every_python_block_of_the_page_runs(installed: Path) -> None:
    namespace: dict[str, Any] = {}
    ran = 0
    for language, title, text in blocks():
        if language == "py" and not title and "try_it" not in text:
            exec(compile(text, str(PAGE), "exec"), namespace)
            ran += 1
    assert ran == 4


def test_the_file_is_checked_from_the_command_line(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = installed / "acme_captcha" / "acme.toml"
    assert main([str(path), "acme"]) == 0
    assert capsys.readouterr().out == f"{path}: nothing wrong\nacme: nothing wrong\n"
    path.write_text(
        path.read_text(encoding="utf-8").replace('code = "no_funds"', 'code = "no_money"'), encoding="utf-8"
    )
    capsys.readouterr()
    assert main([str(path)]) == 1
    assert capsys.readouterr().out.startswith(f"{path}: catalog: errors.ACME_BROKE.code: 'no_money' is not one of ")
    assert main(["no-such-vendor"]) == 1
    assert "no-such-vendor" in capsys.readouterr().out
