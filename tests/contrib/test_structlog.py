"""The recipe for structlog in the guide: its block is run as it stands, and an event's fields are in the line."""

from __future__ import annotations

import io
import json
import logging
import re
from pathlib import Path
from typing import Any

from anycap import RecaptchaV2
from anycap.emulator import Emulator
from anycap.testing import VirtualTime

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "services.md"


def test_structlog_writes_the_fields_beside_the_message() -> None:
    (block,) = re.findall(r"```py\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    logger, found = logging.getLogger("anycap"), {}  # type: ignore[var-annotated] # what the block defines
    before = list(logger.handlers), logger.level
    try:
        exec(block, found)
        found["handler"].setStream(written := io.StringIO())
        logger.setLevel(logging.INFO)

        async def scene(client: Any) -> None:
            await client.solve(RecaptchaV2("https://example.com", "6Le-site-key"))

        VirtualTime(Emulator(), "yescaptcha")(scene)
    finally:
        logger.handlers, _ = before
        logger.setLevel(before[1])
    accepted, solved = map(json.loads, written.getvalue().splitlines())
    assert (accepted["kind"], solved["kind"]) == ("accepted", "solved")
    assert solved["level"] == "info"
    assert solved["event"].startswith("yescaptcha: RecaptchaV2 solved")
    assert solved["solve_s"] > 0
    assert solved["ticket_id"] == accepted["ticket_id"]
