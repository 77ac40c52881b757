"""Draws the pictures of the documentation and the README: the demo's terminal and the social card. Used by generate.py.

`docs/assets/demo.txt` is what `anycap demo --quiet` printed at its end; a test holds it to the demo. The card is wanted as
PNG by those who show links, and only a browser draws its text as other programs do: `python docs/pictures.py` writes
`social-card.png` anew with Playwright and Chromium (`nox -s browser` has both).
"""

from __future__ import annotations

import os
import re
import shutil
from html import escape
from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
CHAR, LINE = 8.43, 20  # width of a character and height of a line, in a font of 14 px
GREEN, GREY, RED, TEXT, GROUND = "#3fb950", "#8b949e", "#ff7b72", "#e6edf3", "#0d1117"
COLOURS = re.compile(
    r"#+|\.{2,}|(?:^|(?<=\s))\$ .*|-{3,}[- ]*|invalid_key|unsolvable|InDoubtError|(?:none|0)\b(?=\s|$)"
)
TICKET = "M3 8V6a2 2 0 0 1 2-2h14a2 2 0 0 1 2 2v2a3 3 0 0 0 0 6v4a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2v-4a3 3 0 0 0 0-6z"


def demo() -> str:
    """The end of `anycap demo` in a terminal's window."""
    lines = ASSETS.joinpath("demo.txt").read_text(encoding="utf-8").rstrip().split("\n")
    width = round(max(map(len, lines)) * CHAR) + 40
    height = len(lines) * LINE + 66
    said = "the end of anycap demo: bars for four vendors, no paid task lost, none paid twice, no bans"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{said}">',
        f'<rect width="{width}" height="{height}" rx="10" fill="{GROUND}" stroke="#30363d"/>',
        *(f'<circle cx="{22 + 18 * at}" cy="20" r="5.5" fill="{c}"/>' for at, c in enumerate((RED, "#d29922", GREEN))),
        f'<g font-family="{MONO}" font-size="14" fill="{TEXT}" xml:space="preserve">',
    ]
    # `textLength` keeps the columns where they are, whatever font the reader has.
    for at, line in enumerate(lines):
        y = 56 + at * LINE
        if line.strip():
            parts.append(
                f'<text x="20" y="{y}" textLength="{len(line) * CHAR:.0f}" lengthAdjust="spacingAndGlyphs" '
                f'style="white-space: pre">{_coloured(line, promise="paid twice" in line)}</text>'
            )
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"


def _coloured(line: str, *, promise: bool) -> str:
    """A line with its bars, rules and errors in colour."""
    text, end = "", 0
    for match in COLOURS.finditer(line):
        word = match[0]
        if word in {"none", "0"} and not promise:
            continue
        colour = GREY if word[0] in ".-$" else RED if word[0].isalpha() and word != "none" else GREEN
        text += escape(line[end : match.start()]) + f'<tspan fill="{colour}">{escape(word)}</tspan>'
        end = match.end()
    return text + escape(line[end:])


def social_card() -> str:
    """1200 x 630: the name, one sentence, the three promises."""
    promises = (("0", "paid tasks lost"), ("0", "paid twice"), ("0", "bans"))
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1200 630" width="1200" height="630">',
        f'<rect width="1200" height="630" fill="{GROUND}"/>',
        f'<g transform="translate(80 84) scale(4)" fill="none" stroke="{TEXT}" stroke-width="2" stroke-linecap="round">',
        f'<path stroke-linejoin="round" d="{TICKET}"/><path stroke="{GREEN}" d="m8 12.5 3 3 5.5-6"/></g>',
        f'<g font-family="{SANS}" fill="{TEXT}">',
        '<text x="204" y="162" font-size="88" font-weight="700">anycap</text>',
        '<text x="80" y="268" font-size="38">An asyncio and trio client for captcha-solving services:</text>',
        '<text x="80" y="326" font-size="38">any vendor, one error language, no paid task lost.</text>',
    ]
    for at, (number, what) in enumerate(promises):
        x = 80 + at * 360
        parts += [
            f'<text x="{x}" y="480" font-size="104" font-weight="700" fill="{GREEN}">{number}</text>',
            f'<text x="{x}" y="534" font-size="36" fill="{GREY}">{what}</text>',
        ]
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"


def main() -> None:
    """Write `social-card.png`."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("ANYCAP_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 630})
        page.set_content(f"<style>body {{ margin: 0 }}</style>{social_card()}")
        page.screenshot(path=str(ASSETS / "social-card.png"))
        browser.close()


if __name__ == "__main__":
    main()
