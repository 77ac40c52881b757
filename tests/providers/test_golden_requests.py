"""The exact createTask body for every challenge at every vendor, with and without a proxy, against hand-written files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from anycap.challenges import Challenge
from anycap.credentials import Secret, encode_json
from anycap.errors import InvalidChallenge
from anycap.providers import BUILT_IN, get
from anycap.providers.tasks import TaskSpec
from tests.providers.golden_cases import COMMON, FOLDERS, FULL, GOLDEN, PROXY

CASES = [
    (provider, path)
    for provider in BUILT_IN
    for path in sorted((GOLDEN / FOLDERS.get(provider, provider)).glob("*.json"))
]


def named(case: object) -> str:
    """The name of a case in pytest's words."""
    return case.stem if isinstance(case, Path) else str(case)


def challenge_of(provider: str, case: str) -> Challenge[Any]:
    if case in FULL[provider]:
        return FULL[provider][case]
    name, _, proxied = case.partition("-")
    assert proxied in ("", "proxy")
    return evolve(COMMON[name], proxy=PROXY) if proxied else COMMON[name]


def body_as_sent(provider: str, challenge: Challenge[Any]) -> Any:
    adapter = get(provider)
    fields = adapter.submit_fields(adapter.prepare(challenge))
    return json.loads(encode_json({"clientKey": Secret("KEY"), **fields}))


@pytest.mark.parametrize(("provider", "path"), CASES, ids=named)
def test_request_is_exactly_the_golden_one(provider: str, path: Path) -> None:
    expected = json.loads(path.read_text("utf-8"))
    assert body_as_sent(provider, challenge_of(provider, path.stem)) == expected


@pytest.mark.parametrize("provider", BUILT_IN)
def test_every_combination_that_can_be_sent_has_a_golden_request_and_no_other(provider: str) -> None:
    able = set(FULL[provider])
    for name, challenge in COMMON.items():
        for case, tried in ((name, challenge), (f"{name}-proxy", evolve(challenge, proxy=PROXY))):
            try:
                get(provider).prepare(tried)
            except InvalidChallenge:
                continue
            able.add(case)
    assert able == {path.stem for each, path in CASES if each == provider}


@pytest.mark.parametrize("provider", BUILT_IN)
def test_every_vendor_field_of_every_catalog_row_stands_in_a_golden_request(provider: str) -> None:
    bodies = [json.loads(path.read_text("utf-8")) for each, path in CASES if each == provider]
    for spec in get(provider).catalog.tasks.tasks:
        sent = _paths_sent(bodies, spec)
        for targets in spec.fields.values():
            for target in targets:
                assert ("top" if target.top else "task", *target.path) in sent, (spec.challenge, target)


def _paths_sent(bodies: list[Any], spec: TaskSpec) -> set[tuple[str, ...]]:
    sent: set[tuple[str, ...]] = set()
    for body in bodies:
        if body["task"]["type"] not in spec.types:
            continue
        sent |= {("top", name) for name in body}
        for name, value in body["task"].items():
            sent.add(("task", name))
            if isinstance(value, dict):
                sent |= {("task", name, inner) for inner in value}
    return sent


def test_files_belong_to_a_built_in_provider() -> None:
    assert {path.parent.name for path in GOLDEN.glob("*/*.json")} == set(BUILT_IN) - set(FOLDERS)
