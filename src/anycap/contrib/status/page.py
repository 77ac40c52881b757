"""The status page as HTML: one function for each part, each a pure function of a `StatusSnapshot`.

The page is whole without its script: the script only puts newer parts in the place of older ones, and without it the page
loads again every ten seconds. Style and script stand in the page, and its policy names them by their hashes, so nothing
else may run and nothing is loaded from anywhere. Everything that is shown is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from html import escape
from importlib.resources import files
from itertools import groupby

from anycap.contrib.status import charts
from anycap.contrib.status.snapshot import (
    MINUTES,
    AccountStatus,
    Circuit,
    StatusSnapshot,
    WaitingTicket,
    is_calm,
)

STYLE = files("anycap.contrib.status").joinpath("page.css").read_text("utf-8")
SCRIPT = files("anycap.contrib.status").joinpath("page.js").read_text("utf-8")
ICON = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><circle cx='8' cy='8' r='7' fill='%232f7d6d'/>"
    "<path d='M4.5 8.5l2.5 2.5 4.5-5.5' fill='none' stroke='white' stroke-width='1.8'/></svg>"
)

_ANNOUNCED = {"summary": ' aria-live="polite"'}
"""Screen readers are told when the sentence at the top changes, and of nothing else: numbers change every second."""
_NONE = '<span class="none">–</span>'
_WORDS = {
    "ready": "Ready",
    "busy": "Busy",
    "blocked": "Blocked",
    "stopped": "Stopped",
    "closed": "Closed",
}


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# By hash and not 'unsafe-inline': text of a vendor that got past `escape` would still not run.
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_hash(STYLE)}'; script-src 'sha256-{_hash(SCRIPT)}'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's Content-Security-Policy."""


def page(title: str, snapshot: StatusSnapshot) -> str:
    """The whole page. Its script listens to `events` beside it; the numbers as JSON are in `status.json`."""
    body = "".join(
        f'<section id="{name}" class="{name}"{_ANNOUNCED.get(name, "")}>{content}</section>'
        for name, content in parts(title, snapshot).items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="robots" content="noindex"><meta name="color-scheme" content="light dark">'
        f'<title>{escape(title)}: status</title><link rel="icon" href="data:image/svg+xml,{ICON}">'
        f'<noscript><meta http-equiv="refresh" content="10"></noscript><style>{STYLE}</style></head>'
        f'<body><main>{body}</main><footer><span id="live">as of {_clock(snapshot.at)} UTC</span>'
        f'<a href="status.json">JSON</a></footer><script>{SCRIPT}</script></body></html>'
    )


def parts(title: str, snapshot: StatusSnapshot) -> dict[str, str]:
    """The HTML inside each section, by its id: what the stream sends when it has changed."""
    makers: dict[str, Callable[[StatusSnapshot], str]] = {
        "figures": _figures,
        "history": _history,
        "circuits": _circuits,
        "accounts": _accounts,
        "tickets": _tickets,
        "money": _money,
        "errors": _errors,
    }
    return {"summary": _summary(title, snapshot), **{name: make(snapshot) for name, make in makers.items()}}


# -- the head


def _summary(title: str, snapshot: StatusSnapshot) -> str:
    kind, sentence = _verdict(snapshot)
    return f'<h1>{escape(title)}</h1><p class="verdict {kind}"><span class="dot"></span>{escape(sentence)}</p>'


def _verdict(snapshot: StatusSnapshot) -> tuple[str, str]:
    """The state of everything in one sentence."""
    if not snapshot.is_open:
        return "off", "No client is open."
    accounts = snapshot.accounts
    down = [each for each in accounts if each.readiness in ("stopped", "blocked", "closed")]
    doubt = snapshot.tickets_in_doubt
    in_doubt = f"{_count(doubt, 'ticket')} in doubt: look at the vendor's dashboard."
    if not down:
        if is_calm(snapshot):
            busy = sum(each.readiness == "busy" for each in accounts)
            ready = "The account is ready." if len(accounts) == 1 else f"All {len(accounts)} accounts take tasks."
            return ("good", ready) if not busy else ("good", f"All is well; {_count(busy, 'account')} at a limit.")
        return "warn", in_doubt
    if len(down) == len(accounts):
        sentence = f"No account takes tasks: {', '.join(f'{each.account} {each.readiness}' for each in down)}."
        return "bad", sentence
    names = ", ".join(f"{each.account} {each.readiness}" for each in down)
    return "warn", f"{len(accounts) - len(down)} of {len(accounts)} accounts take tasks; {names}."


# -- figures


def _figures(snapshot: StatusSnapshot) -> str:
    accounts = snapshot.accounts
    tasks, queued = sum(each.tasks for each in accounts), sum(each.queued for each in accounts)
    solved = sum(minute.solved for minute in snapshot.minutes)
    unsolved = sum(minute.failed for minute in snapshot.minutes)
    today = snapshot.days[-1] if snapshot.days and snapshot.days[-1].day == snapshot.at.date() else None
    spent = {} if today is None else today.total()
    unknown = 0 if today is None else today.unknown
    waiting = snapshot.tickets_in_doubt + snapshot.tickets_unclaimed
    cells = [
        ("In flight", _number(tasks), "tasks at the vendors", ""),
        ("Queued", _number(queued), "wait to be sent", ""),
        ("Success", _percent(snapshot.share), f"{_number(solved)} solved, {_number(unsolved)} not", ""),
        ("Solve time p50", _seconds(snapshot.solve_p50_s), f"p95 {_seconds(snapshot.solve_p95_s)}", ""),
        ("Notice delay p50", _seconds(snapshot.notice_p50_s), f"p95 {_seconds(snapshot.notice_p95_s)}", ""),
        (
            "Spent today",
            _money_of(spent),
            "since 0:00 UTC" if not unknown else f"{_number(unknown)} of unknown price",
            "",
        ),
        (
            "Tickets that wait",
            _number(waiting),
            f"{snapshot.tickets_in_doubt} in doubt, {snapshot.tickets_unclaimed} unclaimed",
            " alert" if snapshot.tickets_in_doubt else "",
        ),
    ]
    return (
        '<h2 class="unseen">Figures of the last hour</h2><dl>'
        + "".join(
            f'<div class="figure{kind}"><dt>{name}</dt><dd><b>{value}</b><small>{note}</small></dd></div>'
            for name, value, note, kind in cells
        )
        + "</dl>"
    )


# -- charts


def _history(snapshot: StatusSnapshot) -> str:
    minutes = snapshot.minutes
    solved, failed = [minute.solved for minute in minutes], [minute.failed for minute in minutes]
    times = [1 - (snapshot.at - each.at).total_seconds() / (MINUTES * 60) for each in snapshot.in_flight]
    tasks, queued = [each.tasks for each in snapshot.in_flight], [each.queued for each in snapshot.in_flight]
    shown = [
        (
            "Solves a minute",
            _legend(("solved", f"{sum(solved):,} solved"), ("failed", f"{sum(failed):,} not")),
            charts.bars(
                solved, failed, f"Solves in each minute of the last hour: {sum(solved)} solved, {sum(failed)} not"
            ),
        ),
        (
            "In flight",
            _legend(
                ("tasks", f"at most {max(tasks, default=0):,} tasks"), ("queued", f"{max(queued, default=0):,} queued")
            ),
            charts.area(times, tasks if any(tasks) or any(queued) else [], queued, _flight_label(tasks, queued))
            if any(tasks) or any(queued)
            else charts.area([], [], [], _flight_label(tasks, queued)),
        ),
        (
            "Solve time",
            _legend(("median", "median"), ("band", "to the 95th percentile")),
            charts.band(
                [minute.solve_p50_s for minute in minutes],
                [minute.solve_p95_s for minute in minutes],
                f"Solve time by minute; over the hour the median is {_seconds(snapshot.solve_p50_s)}",
            ),
        ),
    ]
    return '<h2 class="unseen">The last hour</h2>' + "".join(
        f"<figure><figcaption><b>{name}</b>{legend}</figcaption>{chart}</figure>" for name, legend, chart in shown
    )


def _flight_label(tasks: list[int], queued: list[int]) -> str:
    now = f"{tasks[-1]} tasks and {queued[-1]} queued solves now" if tasks else "nothing known yet"
    return f"Tasks in flight and queued solves over the last hour: {now}"


def _legend(*entries: tuple[str, str]) -> str:
    keys = "".join(f'<span><i class="key {name}"></i>{escape(text)}</span>' for name, text in entries)
    return f'<span class="legend">{keys}</span>'


# -- circuits


def _circuits(snapshot: StatusSnapshot) -> str:
    head = f"<h2>Circuits{_badge(len(snapshot.circuits), 'bad')}</h2>"
    if not snapshot.circuits:
        return f'{head}<p class="calm">No circuit is open: nothing is stopped, nothing cools down.</p>'
    return f'{head}<ul class="stops">{"".join(_circuit(each, snapshot.at) for each in snapshot.circuits)}</ul>'


def _circuit(stop: Circuit, at: datetime) -> str:
    if stop.ends_at is None or stop.remaining_s is None:
        end = "<b>until it is mended</b>"
    elif stop.remaining_s <= 0:
        end = "<b>a single request tries it next</b>"
    else:
        end = f"<b>{_span(stop.remaining_s)}</b> left, ends {_clock(stop.ends_at)} UTC"
    if stop.probing:
        end = "<b>being tried now</b>"
    action = "" if stop.action is None else f"<p>{escape(stop.action)}</p>"
    return (
        f'<li><div class="what"><b>{escape(stop.account)}</b> <code>{escape(stop.code)}</code>'
        f'<span class="covers">{escape(stop.covers)}</span></div>'
        f'<p class="why">{escape(_sentence(stop.meaning))}</p>{action}<p class="end">{end}</p></li>'
    )


# -- accounts


def _accounts(snapshot: StatusSnapshot) -> str:
    head = "<h2>Accounts</h2>"
    if not snapshot.accounts:
        return f'{head}<p class="calm">No client is open.</p>'
    columns = (
        "Account",
        "State",
        "Tasks in the window",
        "Queued",
        "Success",
        "Solve time",
        "Notice delay",
        "Spent today",
    )
    names = "".join(f'<th scope="col">{name}</th>' for name in columns)
    bodies = "".join(
        _vendor(provider, list(accounts), len(columns))
        for provider, accounts in groupby(snapshot.accounts, key=lambda each: each.provider)
    )
    return f'{head}<table class="cards"><thead><tr>{names}</tr></thead>{bodies}</table>'


def _vendor(provider: str, accounts: list[AccountStatus], columns: int) -> str:
    """The rows of one vendor's accounts; below a line with their sum, where there are several."""
    rows = "".join(_row(each) for each in accounts)
    if len(accounts) == 1:
        return f"<tbody>{rows}</tbody>"
    solved, ended = sum(each.solved for each in accounts), sum(_ended(each) for each in accounts)
    total = _count(sum(each.tasks for each in accounts), "task")
    if ended:
        total += f", {_percent(solved / ended)} of {_number(ended)} solved"
    title = f'<th scope="rowgroup" colspan="{columns}"><span>{escape(provider)}</span><small>{total}</small></th>'
    return f'<tbody class="several"><tr class="vendor">{title}</tr>{rows}</tbody>'


def _ended(each: AccountStatus) -> int:
    return each.solved + each.failed + each.in_doubt


def _row(each: AccountStatus) -> str:
    vendor = "" if each.account == each.provider else f"<small>{escape(each.provider)}</small>"
    window = f"{_number(each.tasks)} of {_number(each.task_window)}"
    part = each.tasks / each.task_window if each.task_window else 0.0
    bar = charts.share_bar(part, window, "full" if part >= 1 else "used")
    notes = [f"{_number(each.waiting)} waiting for a poll", _count(each.requests, "request")]
    notes.append(f"submits {_number(each.submits_in_flight)} of {_number(each.submit_window)}")
    small = [", ".join(notes)]
    if each.ban_rule is not None:
        small.append(f"ban rule {each.ban_rule}")
    small += [f"{name}: {why}" for name, why in each.held_back.items()]
    ended = _ended(each)
    cells = [
        (
            "State",
            f'<span class="pill {escape(each.readiness)}">{_WORDS.get(each.readiness, escape(each.readiness))}</span>',
        ),
        ("Tasks in the window", f"{window}{bar}{''.join(f'<small>{escape(line)}</small>' for line in small)}"),
        ("Queued", _number(each.queued)),
        (
            "Success",
            f"{_percent(each.share)}<small>{_number(each.solved)} of {_number(ended)}</small>" if ended else _NONE,
        ),
        ("Solve time", _percentiles(each.solve_p50_s, each.solve_p95_s)),
        ("Notice delay", _percentiles(each.notice_p50_s, each.notice_p95_s)),
        ("Spent today", _money_of(each.spent_today)),
    ]
    row = "".join(f'<td data-name="{name}"><div>{value}</div></td>' for name, value in cells)
    return f'<tr><th scope="row">{escape(each.account)}{vendor}</th>{row}</tr>'


# -- tickets, money, errors


def _tickets(snapshot: StatusSnapshot) -> str:
    in_doubt, unclaimed = snapshot.tickets_in_doubt, snapshot.tickets_unclaimed
    head = f"<h2>Tickets that wait{_badge(in_doubt + unclaimed, 'warn')}</h2>"
    if not snapshot.tickets:
        return f'{head}<p class="calm">None is in doubt, and every solution was taken.</p>'
    rows = "".join(_ticket(each, snapshot.at) for each in snapshot.tickets)
    more = in_doubt + unclaimed - len(snapshot.tickets)
    rest = f'<p class="calm">and {_number(more)} more</p>' if more > 0 else ""
    names = "".join(f'<th scope="col">{name}</th>' for name in ("Ticket", "State", "For", "Account", "Since"))
    advice = (
        '<p class="advice"><b>In doubt</b>: the answer to createTask was lost. See on the vendor\'s dashboard whether it was '
        "charged, then <code>anycap settle</code>. <b>Unclaimed</b>: paid for, and nobody took it: "
        "<code>client.resume()</code> gives it.</p>"
    )
    return f'{head}<table class="cards"><thead><tr>{names}</tr></thead><tbody>{rows}</tbody></table>{rest}{advice}'


def _ticket(each: WaitingTicket, at: datetime) -> str:
    words, kind = ("in doubt", "stopped") if each.state == "in_doubt" else ("unclaimed", "busy")
    tag = "" if each.tag is None else f"<small>{escape(each.tag)}</small>"
    return (
        f'<tr><th scope="row"><code>{escape(each.ticket_id)}</code></th>'
        f'<td data-name="State"><div><span class="pill {kind}">{words}</span></div></td>'
        f'<td data-name="For"><div>{escape(each.type)}{tag}</div></td>'
        f'<td data-name="Account"><div>{escape(each.account)}</div></td>'
        f'<td data-name="Since"><div>{_span((at - each.since).total_seconds())} ago</div></td></tr>'
    )


def _money(snapshot: StatusSnapshot) -> str:
    head = "<h2>Spend by day</h2>"
    if not snapshot.days:
        return f'{head}<p class="calm">Nothing was charged since {_clock(snapshot.since)} UTC on {_day(snapshot.since)}.</p>'
    totals = [(day, day.total()) for day in snapshot.days]
    # Bars of each currency have a scale of their own: points and dollars in one would show dollars as nothing.
    tops = {currency: max(total.get(currency, Decimal(0)) for _, total in totals) for _, t in totals for currency in t}
    rows = []
    for day, total in reversed(totals):
        notes = [_count(day.tasks, "task")]
        if day.unknown:
            notes.append(f"{_number(day.unknown)} of unknown price")
        if day.reserved:
            notes.append(f"{_money_of(day.reserved)} held back for tasks on their way")
        bars = "".join(
            f'<span class="amount">{_amount(amount, currency)}</span>'
            f"{charts.share_bar(float(amount / tops[currency]) if tops[currency] else 0, f'{amount} {currency}', 'spent')}"
            for currency, amount in sorted(total.items())
        )
        shares = ", ".join(f"{escape(name)} {_money_of(amounts)}" for name, amounts in sorted(day.amounts.items()))
        several = f"<small>{shares}</small>" if len(day.amounts) > 1 else ""
        rows.append(
            f'<li><span class="day">{_day(day.day)}</span><div>{bars}<small>{", ".join(notes)}</small>{several}</div></li>'
        )
    return f'{head}<ul class="days">{"".join(rows)}</ul>'


def _errors(snapshot: StatusSnapshot) -> str:
    head = "<h2>Not solved, by reason</h2>"
    if not snapshot.errors:
        return f'{head}<p class="calm">Nothing failed in the last hour.</p>'
    most = max(snapshot.errors.values())
    rows = "".join(
        f"<li><code>{escape(code)}</code><span>{_number(count)}</span>"
        f"{charts.share_bar(count / most, f'{count} times', 'failing')}</li>"
        for code, count in list(snapshot.errors.items())[:12]
    )
    return f'{head}<ul class="reasons">{rows}</ul>'


# -- words and numbers


def _badge(count: int, kind: str) -> str:
    return f' <span class="badge {kind}">{_number(count)}</span>' if count else ""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{_number(number)} {noun}s"


def _number(value: int) -> str:
    return f"{value:,}"


def _percent(share: float | None) -> str:
    if share is None:
        return _NONE
    # Never rounded up to "all": 99.96 % is not 100 %.
    percent = int(share * 1000) / 10
    return f"{percent:g} %"


def _seconds(value: float | None) -> str:
    if value is None:
        return _NONE
    return f"{value:.2f} s" if value < 1 else f"{value:.1f} s" if value < 60 else _span(value)


def _percentiles(median: float | None, high: float | None) -> str:
    return _NONE if median is None else f"{_seconds(median)}<small>p95 {_seconds(high)}</small>"


def _span(seconds: float) -> str:
    """A length of time in the two units that matter: `4 min 10 s`."""
    left = max(int(seconds + 0.5), 0)
    shown: list[str] = []
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        number, left = divmod(left, size)
        if number or (name == "s" and not shown):
            shown.append(f"{number} {name}")
    return " ".join(shown[:2])


def _clock(at: datetime) -> str:
    return f"{at:%H:%M:%S}"


def _day(day: date) -> str:
    return f"{day:%a} {day.day} {day:%b}"


def _amount(amount: Decimal, currency: str) -> str:
    if amount == int(amount) and amount >= 100:  # points
        shown = f"{amount:,.0f}"
    else:
        shown = f"{amount:,.{2 if amount >= 1 else 3 if amount >= Decimal('0.1') else 4}f}"
    return f'<span class="sum">{shown} <span class="unit">{escape(currency)}</span></span>'


def _money_of(amounts: Mapping[str, Decimal]) -> str:
    return " + ".join(_amount(amount, currency) for currency, amount in sorted(amounts.items())) or _NONE
