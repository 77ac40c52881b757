"""What the project says of itself in several places is the same everywhere: Pythons, systems, version."""

import re
import tomllib
from datetime import date
from pathlib import Path

import anycap

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))
PROJECT, GROUPS = PYPROJECT["project"], PYPROJECT["dependency-groups"]
CI = ROOT.joinpath(".github", "workflows", "ci.yml").read_text(encoding="utf-8")
README = ROOT.joinpath("README.md").read_text(encoding="utf-8")


def test_the_pythons_of_the_classifiers_are_those_that_ci_tests_and_the_readme_names() -> None:
    found = [re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line) for line in PROJECT["classifiers"]]
    classified = [match[1] for match in found if match]
    (matrix,) = re.findall(r"^ +python: \[(.*)\]$", CI, re.MULTILINE)
    assert classified == re.findall(r"3\.\d+", matrix)
    assert f"with Python {classified[0]} to {classified[-1]}" in README
    assert PROJECT["requires-python"] == f">={classified[0]}"


def test_the_bounds_of_the_dependencies_are_proven_by_ci() -> None:
    assert set(re.findall(r"session: (\w+)", CI)) == {"lowest", "latest", "pairs"}
    assert '.venv/bin/nox -s "$SESSION"' in CI
    (trio,) = PROJECT["optional-dependencies"]["trio"]
    assert re.fullmatch(r"trio>=[\d.]+", trio)
    assert trio in GROUPS["test"]  # what `lowest` installs is what a user may have


def test_a_system_that_ci_does_not_run_on_is_called_untested() -> None:
    assert set(re.findall(r"runs-on: (\S+)", CI)) == {"ubuntu-latest"}
    assert [line for line in PROJECT["classifiers"] if line.startswith("Operating System")] == [
        "Operating System :: POSIX :: Linux"
    ]
    assert "Other systems, macOS and Windows among them, are untested." in README


def test_the_changelog_has_a_dated_section_for_this_version_below_the_unreleased_one() -> None:
    text = ROOT.joinpath("CHANGELOG.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## \[(.*?)\](?: - (.*))?$", text, re.MULTILINE)
    assert heads[0] == ("Unreleased", "")
    assert date.fromisoformat(dict(heads)[anycap.__version__]) <= date.today()  # noqa: DTZ011 - as whoever released it


def test_the_readme_can_be_read_in_two_minutes() -> None:
    prose = re.sub(r"^```.*?^```$|\]\([^)]*\)", "", README, flags=re.MULTILINE | re.DOTALL)
    assert len(prose.split()) < 650
