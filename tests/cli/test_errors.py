"""`anycap errors`: what is printed is what the reference says, as text and as JSON."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from anycap.cli import COMMANDS, main

DATA = Path(__file__).parents[1] / "data"
KEYS = {
    "code", "category", "retry", "scope", "retry_after", "charged", "meaning", "action", "source", "provider",
    "vendor_code", "known", "link",
}  # fmt: skip


def test_explain_as_json_has_the_keys_of_an_error_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["errors", "explain", "--provider", "yescaptcha", "ERROR_NO_SLOT_AVAILABLE", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said) == KEYS
    expected = {"code": "no_workers", "category": "busy", "retry": "same", "scope": "account", "retry_after": 3.0}
    assert expected.items() <= said.items()
    assert (said["provider"], said["vendor_code"], said["known"]) == ("yescaptcha", "ERROR_NO_SLOT_AVAILABLE", True)


def test_explain_as_text_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["errors", "explain", "--provider", "anti-captcha", "ERROR_ZERO_BALANCE"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("ERROR_ZERO_BALANCE at anti-captcha\n  shared code  no_funds")
    assert "nothing, until something is changed" in said
    assert "what to do   " in said


def test_explain_ends_with_a_link_into_the_error_explorer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["errors", "explain", "--provider", "yescaptcha", "ERROR_ZERO_BALANCE"]
    assert main(words) == 0
    assert capsys.readouterr().out.endswith("  link         error-explorer.html#yescaptcha/ERROR_ZERO_BALANCE\n")
    monkeypatch.setenv("ANYCAP_DOCS_URL", "https://docs.example/anycap/")
    assert main([*words, "--json"]) == 0
    link = "https://docs.example/anycap/error-explorer.html#yescaptcha/ERROR_ZERO_BALANCE"
    assert json.loads(capsys.readouterr().out)["link"] == link


def test_a_code_that_no_catalog_lists_is_explained_as_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["errors", "explain", "--provider", "capmonster", "ERROR_MOON_PHASE", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["code"] == "unknown"
    assert json.loads(shown.out)["known"] is False
    assert "does not list ERROR_MOON_PHASE" in shown.err


def test_an_unknown_provider_is_a_usage_error_that_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["errors", "explain", "--provider", "anticaptcha", "ERROR_ZERO_BALANCE"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "anti-captcha" in shown.err
    assert main(["errors", "list", "--provider", "anticaptcha"]) == 2


def test_list_has_every_row_of_the_reference(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["errors", "list", "--json"]) == 0
    listed = {(row["provider"], row["vendor_code"]): row["code"] for row in json.loads(capsys.readouterr().out)}
    with DATA.joinpath("taxonomy.csv").open(encoding="utf-8", newline="") as file:
        wanted = {(row["provider"], row["vendor_code"]): row["code"] for row in csv.DictReader(file)}
    assert {key: listed.get(key) for key in wanted} == wanted


def test_list_can_be_limited_to_one_provider(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["errors", "list", "--provider", "capmonster", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 27
    assert {row["provider"] for row in rows} == {"capmonster"}


def test_list_is_a_table_a_vendor_with_an_empty_line_between_and_none_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["errors", "list"]) == 0
    shown = capsys.readouterr().out
    assert "\n\ncapsolver\n\nvendor code " in shown
    assert not shown.endswith("\n\n")


def test_list_of_shared_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["errors", "list", "--shared"]) == 0
    lines = capsys.readouterr().out.splitlines()
    with DATA.joinpath("codes.csv").open(encoding="utf-8", newline="") as file:
        codes = [row["code"] for row in csv.DictReader(file)]
    assert [line.split()[0] for line in lines[2:] if not line.startswith(" ")] == codes


def test_nothing_but_usage_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: anycap" in capsys.readouterr().err
    assert main(["errors"]) == 2
    assert main(["--help"]) == 0
    assert "exit codes:" in capsys.readouterr().out


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = f"{sys.executable} -m anycap errors list --json | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("[\n", "")


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        assert f"usage: anycap {command}" in capsys.readouterr().out


def test_without_a_provider_every_vendor_that_knows_the_code_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["errors", "explain", "ERROR_ZERO_BALANCE", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {row["provider"] for row in said} >= {"anti-captcha", "capmonster", "yescaptcha", "ezcaptcha"}
    assert {row["code"] for row in said} == {"no_funds"}


def test_vendors_that_say_the_same_of_a_code_are_shown_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["errors", "explain", "ERROR_NO_SLOT_AVAILABLE"]) == 0
    parts = capsys.readouterr().out.split("\n\n")
    heads = [" ".join(part[: part.index("\n  shared code")].split()) for part in parts]
    assert heads == [
        "ERROR_NO_SLOT_AVAILABLE at anti-captcha",
        "ERROR_NO_SLOT_AVAILABLE at capmonster",
        "ERROR_NO_SLOT_AVAILABLE at yescaptcha",
        "ERROR_NO_SLOT_AVAILABLE at ezcaptcha",
        "ERROR_NO_SLOT_AVAILABLE at 2captcha and rucaptcha",
        "ERROR_NO_SLOT_AVAILABLE at nextcaptcha, compatible, compatible-capmonster and compatible-yescaptcha",
    ]
    sources = ("https://nextcaptcha.com/", "https://anti-captcha.com/", "https://docs.capmonster.cloud",
               "https://yescaptcha.atlassian.net/")  # fmt: skip
    assert all(source in parts[-1] for source in sources)
    assert parts[-2].count("https://2captcha.com/api-docs/limits") == 1


def test_one_of_our_own_codes_lists_the_vendors_codes_that_map_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["errors", "explain", "no_funds", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["category"], said["retry"]) == ("account", "never")
    assert {"provider": "anti-captcha", "vendor_code": "ERROR_ZERO_BALANCE"} in said["vendor_codes"]


def test_a_slip_of_the_pen_is_a_usage_error_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["errors", "explain", "ERROR_ZERO_BALLANCE"]) == 2
    assert "Did you mean ERROR_ZERO_BALANCE" in capsys.readouterr().err


def test_codes_and_answers_are_read_from_stdin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = 'ERROR_ZERO_BALANCE\n\n{"errorId":1,"errorCode":"ERROR_NO_SLOT_AVAILABLE"}\n'
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert main(["errors", "explain", "--provider", "yescaptcha", "-"]) == 0
    out = capsys.readouterr().out
    assert "no_funds" in out
    assert "no_workers" in out


@pytest.mark.parametrize(
    "words", [("list",), ("list", "--shared"), ("explain", "no_funds"), ("explain", "ERROR_ZERO_BALANCE")]
)
def test_everything_fits_80_columns_but_addresses(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["errors", *words]) == 0
    long = [line for line in capsys.readouterr().out.splitlines() if len(line) > 80 and "http" not in line]
    assert long == []
