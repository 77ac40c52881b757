"""The conformance suite: silent about every provider we ship, loud about each planted fault."""

import doctest
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

import anycap.conformance
from anycap.challenges import Challenge
from anycap.conformance import Finding, check_provider
from anycap.core.verdict import TaskId, Verdict, VerdictKind
from anycap.providers import BUILT_IN, get
from anycap.providers.adapter import Adapter, Envelope
from anycap.providers.catalog import Catalog, load
from anycap.providers.chinese import ChineseAdapter
from anycap.providers.encode import Prepared
from anycap.results import RawSolution, Solution
from anycap.taxonomy import Code, ErrorRow
from anycap.transport import Answer, Delivery, Failure
from tests.providers_toy import TOY


@pytest.mark.parametrize("provider", BUILT_IN)
def test_every_provider_we_ship_conforms(provider: str) -> None:
    assert [str(finding) for finding in check_provider(provider)] == []


def test_the_examples_in_the_docstrings() -> None:
    for module in (anycap.conformance, sys.modules["anycap.conformance.finding"]):
        failed, tried = doctest.testmod(module)
        assert failed == 0 and tried >= 1


def test_a_toml_a_catalog_and_an_adapter_can_be_checked(tmp_path: Path) -> None:
    path = tmp_path / "toy.toml"
    path.write_text(TOY)
    assert check_provider(path) == check_provider(load(path)) == check_provider(get("yescaptcha")) == []


def test_a_catalog_that_cannot_be_loaded_is_one_finding(tmp_path: Path) -> None:
    path = tmp_path / "toy.toml"
    path.write_text(TOY.replace("schema = 1", "schema = 9"))
    (finding,) = check_provider(path)
    assert finding.check == "catalog" and "toy.toml: provider.schema" in finding.problem
    (finding,) = check_provider("no-such-provider")
    assert "No provider is called 'no-such-provider'" in finding.problem


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('meaning = "No such key."', 'meaning = "no such key."', "errors.ERROR_KEY.meaning: is no sentence"),
        ('action = "Fix it."', 'action = "Fix it"', "errors.ERROR_KEY.action: is no sentence"),
        ('vendor_code = "ERROR_IP_BLOCKED"', 'vendor_code = "ERROR_KEY"', "its ERROR_KEY is account, not blocked"),
        ("penalty_s = 600", "penalty_s = 1200", "lasts longer than the row"),
    ],
)  # fmt: skip
def test_faults_of_a_catalog(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "toy.toml"
    path.write_text(TOY.replace(old, new, 1))
    assert any(said in str(finding) for finding in check_provider(path))


class Upper(ChineseAdapter):
    def _as_problem(self, envelope: Envelope, http_status: int | None, method: str | None) -> Any:
        code = envelope.code and envelope.code.upper()
        return super()._as_problem(evolve(envelope, code=code), http_status, method)


class OtherRow(ChineseAdapter):
    def row_for(self, vendor_code: str | None, error_id: int | str | None, *, method: str | None = None) -> ErrorRow:
        row = super().row_for(vendor_code, error_id, method=method)
        return evolve(row, retry_after=99.0) if row.code is Code.NO_WORKERS else row


class Mute(ChineseAdapter):
    def describe(self, body: Mapping[str, Any]) -> str | None:
        return None


class Numb(ChineseAdapter):
    def read_submit(self, outcome: Answer | Failure, *, has_image: bool = False) -> Verdict:
        verdict = super().read_submit(outcome, has_image=has_image)
        return evolve(verdict, task_id=verdict.task_id and str(verdict.task_id))


class Reckless(ChineseAdapter):
    def read_submit(self, outcome: Answer | Failure, *, has_image: bool = False) -> Verdict:
        verdict = super().read_submit(outcome, has_image=has_image)
        return evolve(verdict, delivery=Delivery.NOT_SENT) if verdict.kind is VerdictKind.LOST else verdict


class Raising(ChineseAdapter):
    def read_poll(self, outcome: Answer | Failure) -> Verdict:
        if isinstance(outcome, Answer) and not outcome.body.endswith(b"}"):
            raise KeyError("solution")
        return super().read_poll(outcome)


class Hasty(ChineseAdapter):
    def read_poll(self, outcome: Answer | Failure) -> Verdict:
        verdict = super().read_poll(outcome)
        if verdict.kind is VerdictKind.PROCESSING and verdict.status == "nobody-knows":
            return evolve(verdict, kind=VerdictKind.LOST)
        return verdict


class Loose(ChineseAdapter):
    def poll_fields(self, task_id: TaskId) -> dict[str, Any]:
        return {"taskId": str(task_id).upper()}


class Keyed(ChineseAdapter):
    def submit_fields(
        self, prepared: Prepared, *, soft_id: int | None = None, callback_url: str | None = None
    ) -> dict[str, Any]:
        return {**super().submit_fields(prepared, callback_url=callback_url), "clientKey": "mine"}


class Typeless(ChineseAdapter):
    def submit_fields(
        self, prepared: Prepared, *, soft_id: int | None = None, callback_url: str | None = None
    ) -> dict[str, Any]:
        return {"task": {name: value for name, value in prepared.task.items() if name != "type"}}


class Siteless(ChineseAdapter):
    def submit_fields(
        self, prepared: Prepared, *, soft_id: int | None = None, callback_url: str | None = None
    ) -> dict[str, Any]:
        fields = super().submit_fields(prepared, soft_id=soft_id, callback_url=callback_url)
        return {**fields, "task": {**fields["task"], "websiteURL": "https://elsewhere.example"}}


class Unprepared(ChineseAdapter):
    def prepare(self, challenge: Challenge[Any]) -> Prepared:
        raise RuntimeError("no")


class Sightless(ChineseAdapter):
    def solution(self, kind: str, body: Mapping[str, Any], **more: Any) -> Solution:
        if kind == "Turnstile":
            raise LookupError("token")
        return RawSolution()


PLANTED: list[tuple[Callable[[Catalog], Adapter], str]] = [
    (Upper, "the raw code 'ERROR_UNKNOW_450x450_QUESTION' became 'ERROR_UNKNOW_450X450_QUESTION'"),
    (OtherRow, "errors.ERROR_NO_SLOT_AVAILABLE: createTask, HTTP 200: retry_after is 99.0, the catalog says 3.0"),
    (Mute, "the vendor's description got lost"),
    (Numb, "rules: task ids: 7654321 is read as '7654321'"),
    (Reckless, "createTask: a 502 page: has the delivery not_sent, not maybe_sent"),
    (Raising, "reading raises KeyError('solution')"),
    (Hasty, "getTaskResult: an unknown status: is read as lost, not processing"),
    (Loose, "is not what getTaskResult sends"),
    (Keyed, "the account's key is not the sender's to put in"),
    (Keyed, "soft_id is not in softId"),
    (Typeless, "the task's type is None"),
    (Siteless, "website_url does not arrive in websiteURL"),
    (Unprepared, "encoding an example fails: RuntimeError('no')"),
    (Sightless, "a solution cannot be read: LookupError('token')"),
    (Sightless, "its solution becomes a RawSolution, not a TokenSolution"),
]


@pytest.mark.parametrize(("make", "said"), PLANTED)
def test_faults_of_an_adapter_are_found(make: Callable[[Catalog], Adapter], said: str) -> None:
    findings = check_provider(make(get("yescaptcha").catalog))
    assert any(said in str(finding) for finding in findings), "\n".join(map(str, findings[:20]))


def test_a_finding_reads_as_a_sentence() -> None:
    assert (
        str(Finding("rules", "createTask: a page", "is read as ready")) == "rules: createTask: a page: is read as ready"
    )
