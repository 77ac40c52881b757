"""The conformance suite: silent about every provider we ship, loud about each planted fault."""

import doctest
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

import anycap.testing.conformance
from anycap.challenges import Challenge, RecaptchaV3
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.vendor_limits import Timing
from anycap.credentials import encode_json
from anycap.providers import BUILT_IN, get
from anycap.providers.adapter import Adapter
from anycap.providers.catalog import Catalog, load
from anycap.providers.chinese import ChineseAdapter
from anycap.providers.encode import Prepared
from anycap.providers.envelope import Envelope
from anycap.results import RawSolution, Solution
from anycap.taxonomy import Code, ErrorRow
from anycap.testing.conformance import Finding, check_provider
from anycap.testing.conformance.tasks import example
from anycap.tickets import TaskId
from anycap.transport import Answer, Delivery, Failure
from tests.providers_toy import TOY


@pytest.mark.parametrize("provider", BUILT_IN)
def test_every_provider_we_ship_conforms(provider: str) -> None:
    assert [str(finding) for finding in check_provider(provider)] == []


def test_the_examples_in_the_docstrings() -> None:
    for module in (anycap.testing.conformance, sys.modules["anycap.testing.conformance.finding"]):
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
    def read_submit(self, outcome: Answer | Failure, *, has_image: bool = False) -> ParsedAnswer:
        verdict = super().read_submit(outcome, has_image=has_image)
        return evolve(verdict, task_id=verdict.task_id and str(verdict.task_id))


class Reckless(ChineseAdapter):
    def read_submit(self, outcome: Answer | Failure, *, has_image: bool = False) -> ParsedAnswer:
        verdict = super().read_submit(outcome, has_image=has_image)
        return evolve(verdict, delivery=Delivery.NOT_SENT) if verdict.kind is AnswerKind.LOST else verdict


class Raising(ChineseAdapter):
    def read_poll(self, outcome: Answer | Failure) -> ParsedAnswer:
        if isinstance(outcome, Answer) and not outcome.body.endswith(b"}"):
            raise KeyError("solution")
        return super().read_poll(outcome)


class Hasty(ChineseAdapter):
    def read_poll(self, outcome: Answer | Failure) -> ParsedAnswer:
        verdict = super().read_poll(outcome)
        if verdict.kind is AnswerKind.PROCESSING and verdict.status == "nobody-knows":
            return evolve(verdict, kind=AnswerKind.LOST)
        return verdict


class Loose(ChineseAdapter):
    def poll_fields(self, task_id: TaskId) -> dict[str, Any]:
        return {"taskId": str(task_id).upper()}


class Keyed(ChineseAdapter):
    def submit_fields(
        self, prepared: Prepared, *, soft_id: int | str | None = None, callback_url: str | None = None
    ) -> dict[str, Any]:
        return {**super().submit_fields(prepared, callback_url=callback_url), "clientKey": "mine"}


class Typeless(ChineseAdapter):
    def submit_fields(
        self, prepared: Prepared, *, soft_id: int | str | None = None, callback_url: str | None = None
    ) -> dict[str, Any]:
        return {"task": {name: value for name, value in prepared.task.items() if name != "type"}}


class Siteless(ChineseAdapter):
    def submit_fields(
        self, prepared: Prepared, *, soft_id: int | str | None = None, callback_url: str | None = None
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


class Raw(ChineseAdapter):
    """Shows what must stay hidden, and forgets what must be sent."""

    def submit_fields(
        self, prepared: Prepared, *, soft_id: int | str | None = None, callback_url: str | None = None
    ) -> dict[str, Any]:
        fields = super().submit_fields(prepared, soft_id=soft_id, callback_url=callback_url)
        return {**fields, "task": json.loads(encode_json(fields["task"]))}


class Proxyless(ChineseAdapter):
    def submit_fields(
        self, prepared: Prepared, *, soft_id: int | str | None = None, callback_url: str | None = None
    ) -> dict[str, Any]:
        fields = super().submit_fields(prepared, soft_id=soft_id, callback_url=callback_url)
        return {**fields, "task": {name: value for name, value in fields["task"].items() if name != "proxyPassword"}}


class Impatient(ChineseAdapter):
    def prepare(self, challenge: Challenge[Any]) -> Prepared:
        prepared = super().prepare(challenge)
        return evolve(prepared, timing=Timing(gap_s=0.5, min_gap_s=2.0))


class Deaf(ChineseAdapter):
    """Takes errors for something else."""

    def read_submit(self, outcome: Answer | Failure, *, has_image: bool = False) -> ParsedAnswer:
        return ParsedAnswer(AnswerKind.REDIRECT)

    def read_poll(self, outcome: Answer | Failure) -> ParsedAnswer:
        if isinstance(outcome, Answer) and b"CAPTCHA_NOT_READY" in outcome.body:
            return ParsedAnswer(AnswerKind.LOST)
        verdict = super().read_poll(outcome)
        return evolve(verdict, solution=None) if verdict.kind is AnswerKind.READY else verdict

    def read_call(self, method: str, outcome: Answer | Failure) -> ParsedAnswer:
        verdict = super().read_call(method, outcome)
        if verdict.problem is not None and verdict.problem.vendor_id is not None:
            return evolve(verdict, problem=evolve(verdict.problem, vendor_id=0))
        return verdict


class Broken(ChineseAdapter):
    def read_call(self, method: str, outcome: Answer | Failure) -> ParsedAnswer:
        raise ZeroDivisionError(method)


class Plain(ChineseAdapter):
    def read_submit(self, outcome: Answer | Failure, *, has_image: bool = False) -> ParsedAnswer:
        verdict = super().read_submit(outcome, has_image=has_image)
        if isinstance(outcome, Answer) and outcome.status == 403 and verdict.problem is not None:
            row = evolve(verdict.problem.row, code=Code.BAD_REQUEST)
            return evolve(verdict, problem=evolve(verdict.problem, row=row))
        return verdict


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
    (Deaf, "createTask, HTTP 200: the error is read as redirect"),
    (Deaf, "getTaskResult: CAPTCHA_NOT_READY: is read as lost, not processing"),
    (Deaf, "the raw id 1 became 0"),
    (Deaf, "getTaskResult: ready: is ready without a solution"),
    (Deaf, "createTask: connect: is read as redirect"),
    (Broken, "getBalance, HTTP 200: reading raises ZeroDivisionError('getBalance')"),
    (Broken, "getBalance: success: reading raises ZeroDivisionError('getBalance')"),
    (Plain, "createTask: a firewall's 403 page: has the code bad_request, not rate_limited"),
    (Impatient, "asks every 0.5 s, the vendor's minimum is 2.0 s"),
    (Sightless, "its solution becomes a RawSolution, not a TokenSolution"),
]


@pytest.mark.parametrize(("make", "said"), PLANTED)
def test_faults_of_an_adapter_are_found(make: Callable[[Catalog], Adapter], said: str) -> None:
    findings = check_provider(make(get("yescaptcha").catalog))
    assert any(said in str(finding) for finding in findings), "\n".join(map(str, findings[:20]))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Raw, "the proxy's password shows in the request"),
        (Proxyless, "the proxy's password is not sent"),
        (Deaf, "errors.CAPTCHA_NOT_READY: getTaskResult, HTTP 200: progress is read as lost"),
    ],
)
def test_faults_that_only_a_catalog_with_proxies_and_progress_rows_shows(
    make: Callable[[Catalog], Adapter], said: str
) -> None:
    findings = check_provider(make(get("capmonster").catalog))
    assert any(said in str(finding) for finding in findings)


def test_examples_keep_to_what_a_vendor_allows() -> None:
    spec = next(spec for spec in get("yescaptcha").catalog.tasks.tasks if spec.challenge == "RecaptchaV3")
    allowed = evolve(spec, required=("min_score",), allowed={"min_score": (0.7, 0.9)})
    ranged = evolve(spec, required=("min_score",), allowed={}, ranges={"min_score": (0.2, 0.4)})
    assert example(allowed, proxied=False) == RecaptchaV3("https://example.com/page", "sample", min_score=0.7)
    assert example(ranged, proxied=False) == RecaptchaV3("https://example.com/page", "sample", min_score=0.2)


def test_a_task_type_without_an_example_is_a_finding() -> None:
    catalog = get("yescaptcha").catalog
    spec = next(spec for spec in catalog.tasks.tasks if spec.challenge == "RecaptchaV2")
    book = evolve(catalog.tasks, tasks=(evolve(spec, when={"no_such_field": True}),))
    (finding,) = check_provider(evolve(catalog, tasks=book))
    assert "no example can be made from its required fields" in finding.problem


def test_a_finding_reads_as_a_sentence() -> None:
    assert (
        str(Finding("rules", "createTask: a page", "is read as ready")) == "rules: createTask: a page: is read as ready"
    )
