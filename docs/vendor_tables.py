"""Writes the pages of vendors from the catalogs: one overview (who solves what), and one page for each vendor.

Used by generate.py; the rows come from `anycap.providers.matrix` and the catalogs themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from anycap.core.vendor_limits import BanRule, Timing
from anycap.providers import BUILT_IN, get
from anycap.providers.catalog import Catalog
from anycap.providers.matrix import challenge_matrix, method_matrix
from anycap.providers.tasks import MethodSpec
from anycap.taxonomy import ErrorRow, Retry

Table = Callable[[Sequence[str], Sequence[Sequence[str]]], str]

HEAD = """# Vendors

Which vendor solves what. Each vendor's page has the type names that anycap sends, the limits, and every error code with its source. A type that is
not listed goes through `VendorTask`. To add a vendor, write one file: [Add a vendor](add-a-vendor.md).

"""
PROXY = {"no": "no", "optional": "yours or none", "required": "yours"}
HELPS = {
    Retry.NEVER: "nothing, until something is changed",
    Retry.SAME: "the same request again, after the wait",
    Retry.NEW_TASK: "only a new task",
}

TAIL = """
## What stays `VendorTask`

A captcha that one vendor only documents, and everything whose purpose is to pass a site's bot wall (clearance cookies and the like) rather than to answer a
captcha: the type names that we have met. The fields are the vendor's own, the answer is in `solution.raw`.

| vendor | captchas | bot walls |
| --- | --- | --- |
| anti-captcha | | `AntiBotCookieTask` |
| CapMonster Cloud | `CustomTask` with `class` `Basilisk`, `HUNT`, `Castle`, `Temu` (a draft) | `CustomTask` with `class` `DataDome`, `Imperva`, `tspd`; `TurnstileTask` for clearance |
| YesCaptcha | | `CloudFlareTaskS2`, `CloudFlareTaskS3` |
| EzCaptcha | in its SDKs only: `HCaptcha`, `ReCaptchaV2Classification` and other classifications | `CloudFlare5STask` |
| 2Captcha, RuCaptcha | `YandexSmartCaptchaTask`, `CaptchaFoxTask`, `LeminTask`, `CapyTask`, `KeyCaptchaTask`, `CutCaptchaTask`, `AntiCyberSiAraTask`, `AtbCaptchaTask`, `BasiliskTask`, `VKCaptchaTask`, `VKCaptchaImageTask`, `BoundingBoxTask`, `DrawAroundTask`, `TemuCaptchaTask`, whose fields have nothing in common with CapMonster's | `DataDomeSliderTask`, `IncapsulaTask`, `tspdtask` |
| CapSolver | `VisionEngine` with other modules than `rotate_...`, `AwsWafClassification` | `DatadomeSliderTask`, `AntiCloudflareTask` |

The names of 2Captcha's types are those that python-rucaptcha 6.8.2 sends; most of them exist with `Proxyless` at the end, too.

## Others that speak createTask

They are not built in: we know too little of them, and a domain that lapses would be sent your key. [`compatible`](add-a-vendor.md#in-a-minute-an-address)
serves them at the address you give. What is said here was read in public pages and clients in November 2026. **None of these services was asked, and none was tried with anycap**:
run `anycap doctor` first, and a task whose answer you know.

| service | what was read |
| --- | --- |
| CapBypass | `createTask` and `getTaskResult`; statuses `processing`, `ready`, `failed`; results live 10 minutes; `ERROR_TASK_NOT_FOUND` |
| Regotcha | the same two methods; ids are text; `ERROR_NO_SUCH_TASK`, `ERROR_TASK_TIMEOUT` |
| CapKill, 3xcaptcha | the same two methods; ids are numbers; `errorId` is 0 or 1; `ERROR_KEY_DOES_NOT_EXIST`; anti-captcha's type names |
| captcha69 | as these, with CapMonster's type names; it asks for polls 3 to 5 s apart and at most 120 a task |
| CapMonster and XEvil (botmaster) on your own machine | they imitate anti-captcha, type names and all: `Account("compatible", base_url="http://127.0.0.1:8080")` |

By the same pages these have an API of another kind, which anycap does not speak: SolveCaptcha, CapGuru, AZcaptcha, CaptchaAI, DeathByCaptcha, BestCaptchaSolver, EndCaptcha,
NopeCHA (none of them takes createTask), FunBypass (results by path).
"""


def catalogs() -> list[Catalog]:
    """The catalogs of the built-in vendors, in the order of the pages."""
    return [get(name).catalog for name in BUILT_IN]


def vendors(table: Table) -> str:
    """The overview: providers, challenge x vendor and method x vendor as marks."""
    found = catalogs()
    titles = [f"[{catalog.title}](vendors/{catalog.name}.md)" for catalog in found]
    reference = "reference/challenges.md#anycap."
    text = HEAD + table(
        ("provider", "vendor", "paid in", "failed tasks are charged"),
        [(f"`{c.name}`", title, c.currency, _charges(c)) for c, title in zip(found, titles, strict=True)],
    )
    text += "\n## Challenges\n\n"
    text += f"{_mark(['a type'])} solved, {_mark(['a type'], confirmed=False)} sent as a public page or client writes it, which no "
    text += "vendor page confirms. Type names: point at a mark, or open the vendor's page.\n\n"
    text += table(
        ("challenge", *titles),
        [
            (
                f"[`{row.challenge}`]({reference}{row.challenge})",
                *(_mark(c.types, confirmed=c.confirmed) for c in row.cells),
            )
            for row in challenge_matrix(BUILT_IN)
        ],
    )
    text += "\n## Methods\n\nWhat `client.call(...)` and the methods of the client can reach. Which solutions a report takes, and for "
    text += "how long: point at a mark, or open the vendor's page.\n\n"
    text += table(
        ("method", *titles),
        [
            (f"`{row.method}`", *("" if c is None else _mark([_method(c)], confirmed=c.confirmed) for c in row.cells))
            for row in method_matrix(BUILT_IN)
        ],
    )
    return text + TAIL


def vendor_page(catalog: Catalog, table: Table) -> str:
    """One vendor: what it solves, when it is asked, its limits, methods and error codes."""
    column = BUILT_IN.index(catalog.name)
    text = f"# {catalog.title}\n\n" + table(
        ("at a glance", ""),
        [
            ("provider", f"`{catalog.name}`"),
            ("key", f"`ANYCAP_{re.sub('[^A-Z0-9]', '_', catalog.name.upper())}_KEY`"),
            ("address", f"`{catalog.base_url}`"),
            *(("also", f"`{address}` ({name})") for name, address in catalog.mirrors.items()),
            ("documentation", f"<{catalog.docs}>"),
            ("paid in", catalog.currency),
            ("failed tasks are charged", _charges(catalog)),
            ("callbacks", _yes(catalog.callback_field is not None)),
        ],
    )
    solved = [(row.challenge, row.cells[column]) for row in challenge_matrix(BUILT_IN) if row.cells[column].types]
    text += "\n## What it solves\n\n" + table(
        ("challenge", "type", "`variant=`", "proxy", "confirmed"),
        [
            (f"`{name}`", _codes(cell.types), _codes(cell.variants) or "-", PROXY[cell.proxy], _yes(cell.confirmed))
            for name, cell in solved
        ],
    )
    text += "\n## When it is asked\n\nSeconds. The first poll and the gaps start with the vendor's advice; learning stays above the floor.\n\n"
    timings = {name: catalog.tasks.timing_of(name) for spec in catalog.tasks.tasks for name in spec.types}
    text += table(
        ("type", "first poll", "gap", "floor", "polls at most", "task kept", "result kept", "solution valid"),
        [(f"`{name}`", *_timing(timing)) for name, timing in timings.items()],
    )
    if catalog.ban_rules:
        text += "\n## What brings a ban\n\nanycap stays below half of each number.\n\n" + table(
            ("rule", "more than", "within", "costs", "counted per", "source"),
            [_ban_rule(rule) for rule in catalog.ban_rules],
        )
    specs = [(row.method, row.cells[column]) for row in method_matrix(BUILT_IN) if row.cells[column] is not None]
    text += "\n## Methods\n\n" + table(("method", "what"), [(f"`{name}`", _method(spec)) for name, spec in specs])
    text += "\n## Error codes\n\nLook one up in the [error explorer](../error-explorer.html).\n\n" + table(
        ("vendor code", "shared code", "what can help", "wait", "charged", "meaning", "what to do"),
        [_error_cells(code, row) for code, row in catalog.errors.items()],
    )
    if catalog.unconfirmed:
        text += "\n## Not confirmed\n\n" + "".join(f"- {line}\n" for line in catalog.unconfirmed)
    sources = sorted(
        {word.rstrip(",;:.)") for row in catalog.errors.values() for word in re.findall(r"https?://[^ )]+", row.source)}
    )
    return text + "\n## Sources\n\n" + "".join(f"- <{source}>\n" for source in sources)


def _charges(catalog: Catalog) -> str:
    return _yes(catalog.charges_failures) if catalog.charges_failures_known else "not said, taken as yes"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _codes(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _mark(notes: Sequence[str], *, confirmed: bool = True) -> str:
    """A mark with `notes` on hover (none: an empty cell). Its looks are in stylesheets/extra.css."""
    if not notes:
        return ""
    look, sign = ("mark", "✓") if confirmed else ("mark open", "○")
    return f'<span class="{look}" title="{", ".join(notes)}">{sign}</span>'


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _timing(timing: Timing) -> tuple[str, ...]:
    if timing.sync:
        return ("answered at once", "-", "-", "-", "-", "-", _number(timing.token_life_s))
    floors = [getattr(timing, "min_first_s", None), timing.min_gap_s or None]
    return (
        _number(timing.first_s),
        _number(timing.gap_s),
        " then ".join(_number(value) for value in floors if value) or "-",
        _number(timing.polls_max),
        _number(timing.life_s),
        _number(timing.result_life_s),
        _number(timing.token_life_s),
    )


def _ban_rule(rule: BanRule) -> tuple[str, ...]:
    what = ", ".join(f"`{code}`" for code in sorted(rule.codes)) or "any error"
    source = "assumed" if rule.assumed else "published"
    return (what, str(rule.count_max), f"{rule.window_s:g} s", f"{rule.penalty_s:g} s", str(rule.scope), source)


def _error_cells(code: str, row: ErrorRow) -> tuple[str, ...]:
    wait = "-" if row.retry_after is None else f"{row.retry_after:g} s"
    return (f"`{code}`", f"`{row.code}`", HELPS[row.retry], wait, str(row.charged), row.meaning, row.action)


def _method(spec: MethodSpec | None) -> str:
    if spec is None:
        return ""
    notes = []
    if spec.reports is not None:
        notes.append(f"{spec.reports} solutions")
    if spec.window_s is not None:
        notes.append(f"within {spec.window_s:g} s")
    if not spec.keyed:
        notes.append("no key")
    return ("yes" + (f" ({', '.join(notes)})" if notes else "")) + ("" if spec.confirmed else " ?")
