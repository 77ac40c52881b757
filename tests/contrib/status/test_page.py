"""The HTML of the status page: escaped, whole without a script, and nothing but its own may run."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from attrs import evolve

from anycap.contrib.status import AccountStatus, Circuit, Day, Minute, StatusSnapshot, WaitingTicket
from anycap.contrib.status import charts as chart
from anycap.contrib.status.page import POLICY, page, parts

AT = datetime(2026, 11, 28, 12, 0, 30, tzinfo=UTC)
HOSTILE = '"><script>alert(1)</script>&'
ACCOUNT = AccountStatus(
    account="main", provider="capmonster", readiness="ready", queued=3, tasks=20, task_window=50, waiting=18, requests=2,
    submits_in_flight=1, submit_window=8, solved=96, failed=3, in_doubt=1, share=0.96, solve_p50_s=9.94, solve_p95_s=75.2,
    notice_p50_s=0.42, notice_p95_s=1.9, spent_today={"USD": Decimal("1.5")}, ban_rule="wrong-key: 2 of 15", held_back={},
)  # fmt: skip
EMPTY = StatusSnapshot(
    at=AT, since=AT, accounts=(), circuits=(), minutes=tuple(Minute(AT, 0, 0, None, None) for _ in range(60)),
    in_flight=(), days=(), errors={},
    tickets=(), tickets_in_doubt=0, tickets_unclaimed=0, share=None, solve_p50_s=None, solve_p95_s=None,
    notice_p50_s=None, notice_p95_s=None,
)  # fmt: skip


def text_of(html: str) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).strip())


class Outline(HTMLParser):
    """Checks that tags are closed in order, and collects attributes."""

    VOID = frozenset({"meta", "link", "rect", "path"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def full(**changes: Any) -> StatusSnapshot:
    stop = Circuit(
        "main", "capmonster", "account", "no_funds", "the balance does not cover a task", "Top up.", AT, 250.0, False
    )
    ticket = WaitingTicket("t-1", "main", "capmonster", "Turnstile", "login page", "in_doubt", AT)
    day = Day(date(2026, 11, 28), {"main": {"USD": Decimal("1.5")}}, 900, 4)
    return evolve(
        EMPTY,
        accounts=(ACCOUNT,),
        circuits=(stop,),
        tickets=(ticket,),
        tickets_in_doubt=1,
        days=(day,),
        errors={"unsolvable": 3},
        minutes=tuple(
            Minute(AT, place, place // 20, 5.0 if place % 7 else None, 9.0 if place % 7 else None)
            for place in range(60)
        ),
        share=0.9996,
        solve_p50_s=9.94,
        **changes,
    )


def test_every_name_and_word_is_escaped() -> None:
    account = evolve(ACCOUNT, account=HOSTILE, provider=HOSTILE, readiness=HOSTILE, ban_rule=HOSTILE,
                     held_back={HOSTILE: HOSTILE}, spent_today={HOSTILE: Decimal(1)})  # fmt: skip
    stop = Circuit(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, None, None, False)
    ticket = WaitingTicket(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, "unclaimed", AT)
    day = Day(AT.date(), {HOSTILE: {HOSTILE: Decimal(1)}, "b": {"USD": Decimal(2)}}, 1, 1)
    snapshot = evolve(
        EMPTY, accounts=(account, account), circuits=(stop,), tickets=(ticket,), days=(day,), errors={HOSTILE: 2}
    )
    html = page(HOSTILE, snapshot)
    assert "alert(1)" in html
    assert "<script>alert" not in html
    assert html.count("<script>") == 1
    Outline(html)


@pytest.mark.parametrize("snapshot", [EMPTY, full(), evolve(EMPTY, accounts=(ACCOUNT,))])
def test_the_page_is_well_formed_and_has_no_inline_style_or_handler(snapshot: StatusSnapshot) -> None:
    outline = Outline(page("service", snapshot))
    assert not [name for _, name, _ in outline.attributes if name == "style" or name.startswith("on")]
    addresses = {value for _, name, value in outline.attributes if name in ("src", "href", "action", "xlink:href")}
    assert {address for address in addresses if not str(address).startswith("data:")} == {"status.json"}
    pictures = [value for tag, name, value in outline.attributes if tag == "svg" and name == "aria-label"]
    assert all(pictures)
    assert len(pictures) >= 3


def test_the_policy_names_the_style_and_the_script_by_their_hashes_and_allows_nothing_else() -> None:
    html = page("service", full())
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        expected = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{expected}'" in POLICY
    assert POLICY.startswith("default-src 'none';")
    assert "unsafe" not in POLICY
    assert "http" not in POLICY


def test_what_a_reader_is_told() -> None:
    shown = {name: text_of(html) for name, html in parts("gateway", full()).items()}
    assert shown["summary"] == "gateway 1 ticket in doubt: look at the vendor's dashboard."
    assert "Success 99.9 %" in shown["figures"]  # 99.96 % is not 100 %
    assert "Spent today 1.50 USD 4 of unknown price" in shown["figures"]
    assert (
        "main no_funds account The balance does not cover a task. Top up. 4 min 10 s left, ends 12:00:30 UTC"
        in shown["circuits"]
    )
    assert (
        "main capmonster Ready 20 of 50 18 waiting for a poll, 2 requests, submits 1 of 8 ban rule wrong-key: 2 of 15 3"
        in shown["accounts"]
    )
    assert "96 % 96 of 100 9.9 s p95 1 min 15 s 0.42 s p95 1.9 s 1.50 USD" in shown["accounts"]
    assert "t-1 in doubt Turnstile login page main 0 s ago" in shown["tickets"]
    assert "Sat 28 Nov 1.50 USD 900 tasks, 4 of unknown price" in shown["money"]
    assert shown["errors"] == "Not solved, by reason unsolvable 3"


@pytest.mark.parametrize(
    ("readiness", "sentence"),
    [
        (("ready",), "The account is ready."),
        (("ready", "ready"), "All 2 accounts take tasks."),
        (("ready", "busy"), "All is well; 1 account at a limit."),
        (("ready", "stopped"), "1 of 2 accounts take tasks; a1 stopped."),
        (("blocked", "stopped"), "No account takes tasks: a0 blocked, a1 stopped."),
        ((), "No client is open."),
    ],
)
def test_the_verdict_in_one_sentence(readiness: tuple[str, ...], sentence: str) -> None:
    accounts = tuple(evolve(ACCOUNT, account=f"a{place}", readiness=word) for place, word in enumerate(readiness))
    assert text_of(parts("x", evolve(EMPTY, accounts=accounts))["summary"]) == f"x {sentence}"


def test_a_vendor_with_several_accounts_has_a_line_with_their_sum() -> None:
    accounts = (ACCOUNT, evolve(ACCOUNT, account="second", solved=0, failed=0, in_doubt=0, share=None))
    shown = text_of(parts("x", evolve(EMPTY, accounts=accounts))["accounts"])
    assert "capmonster 40 tasks, 96 % of 100 solved main" in shown


class TestCharts:
    def test_bars_stand_on_one_another_and_reach_as_high_as_their_number(self) -> None:
        svg = chart.bars([0, 50], [0, 50], "two minutes")
        heights = [float(height) for height in re.findall(r'height="([\d.]+)" rx', svg)]
        assert heights == [52.0, 52.0]  # of 104, at a top of 100
        assert re.findall(r'class="(solved|failed)"', svg) == ["solved", "failed"]

    def test_a_band_is_broken_where_nothing_is_known(self) -> None:
        svg = chart.band([1.0, 1.0, None, 1.0], [2.0, 2.0, None, 2.0], "x")
        assert svg.count('class="band"') == 2

    def test_nothing_is_said_to_be_nothing(self) -> None:
        for svg in (chart.bars([0] * 60, [0] * 60, "x"), chart.area([], [], [], "x"), chart.band([None], [None], "x")):
            assert "nothing in the last hour" in svg
