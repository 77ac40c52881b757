"""Writes the error explorer: one self-contained page from the catalogs, `explorer/template.html` and `explorer/explorer.js`.

Used by generate.py. The page works from a file, without a network; its reading of answers is held to the same vectors as
`anycap.normalize` by tests/docs/test_explorer.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anycap.errors import _CAUSE
from anycap.providers import BUILT_IN, get
from anycap.providers.catalog import Catalog
from anycap.providers.rows import find_row
from anycap.taxonomy import CODES, Category, Code, ErrorRow

HERE = Path(__file__).parent / "explorer"

# What the client does by itself, by category and, where a code differs, by code.
DOES: dict[Category | Code, str] = {
    Category.ACCOUNT: "Stops new tasks of this account and raises the same error to everyone who waits. Paid tasks are still polled.",
    Category.BLOCKED: "Stops every request that the block covers until it is over, then lets one request go first.",
    Category.BUSY: "Waits, adapts to the vendor's limit and sends the same request again, within your timeout.",
    Category.REQUEST: "Raises the error. The same request is not sent again, here or to another vendor.",
    Category.CHALLENGE: "Raises the error. Another attempt with the same values would fail again.",
    Category.PROXY: "Raises the error and pauses new tasks through this proxy for a short while.",
    Category.UNSOLVED: "Creates a new task only where the vendor does not charge for failures, or where you allowed it.",
    Category.REFUSED: "Raises the error. It is final, and the challenge is never sent to another vendor.",
    Category.SERVICE: "Keeps polling a paid task. A createTask that may have made a task is never sent again.",
    Category.PROGRESS: "Keeps polling: this is no error.",
    Code.UNAVAILABLE: "Sends the same request again after a growing wait, within the retry budget and your timeout.",
    Code.UNKNOWN: "Keeps the code. A poll answered so three times in a row ends the task; createTask is not sent again.",
    Code.UNSUPPORTED_TASK_TYPE: "Raises the error. Nothing was made, so another account of the client may be asked.",
    Code.INVALID_KEY: "Sends nothing more with this key, reads the key again in case it was rotated, and probes with one poll of a paid task.",
    Code.ACCESS_DENIED: "Stops this task type of the account for ten minutes, longer each time, then lets one request go first.",
    Code.WORKERS_FILTERED: "Stops this task type of the account for ten minutes, longer each time, then lets one request go first.",
    Code.NO_FUNDS: "Stops new tasks, asks for the balance after a minute and then less often, and goes on once it is positive.",
}


def _row(row: ErrorRow) -> dict[str, Any]:
    return {
        "code": row.code, "category": row.category, "retry": row.retry, "scope": row.scope, "retry_after": row.retry_after,
        "charged": row.charged, "meaning": row.meaning, "action": row.action, "source": row.source, "known": row.known,
    }  # fmt: skip


def _vendor(catalog: Catalog) -> dict[str, Any]:
    return {
        "name": catalog.name,
        "title": catalog.title,
        "rows": {code: _row(row) for code, row in catalog.errors.items()},
        "aliases": dict(catalog.aliases),
        "ids": {str(number): _row(find_row(catalog, None, number)) for number in catalog.ids},
        "not_error_codes": sorted(catalog.not_error_codes),
    }


def explorer_data() -> dict[str, Any]:
    """Everything the page knows, from the catalogs."""
    return {
        "vendors": [_vendor(get(name).catalog) for name in BUILT_IN],
        "codes": {code: {"meaning": info.meaning, "category": info.category} for code, info in CODES.items()},
        "whose": dict(_CAUSE),
        "exceptions": {
            category: "ServiceError" if category is Category.PROGRESS else f"{category.capitalize()}Error"
            for category in Category
        },
        "does": {str(key): text for key, text in DOES.items()},
    }


def explorer() -> str:
    """The page, whole."""
    # `</` would end the script element early; JSON may write the slash escaped.
    data = json.dumps(explorer_data(), ensure_ascii=True, separators=(",", ":")).replace("</", "<\\/")
    page = HERE.joinpath("template.html").read_text(encoding="utf-8")
    return page.replace("@DATA@", data).replace("@SCRIPT@", HERE.joinpath("explorer.js").read_text(encoding="utf-8"))
