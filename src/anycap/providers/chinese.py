"""Chinese-vendor style (YesCaptcha, EzCaptcha, CapSolver): field errors in an `errors` object beside the description.

UUID task ids, solutions inside the createTask answer and status words of their own need no code: the shared decoder and the
catalog have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anycap.providers.adapter import Adapter
from anycap.providers.envelope import as_text


class ChineseAdapter(Adapter):
    """Adds what these vendors say about single fields to the description, so that an error names the field."""

    def describe(self, body: Mapping[str, Any]) -> str | None:
        """The description, with the `errors` object of newer EzCaptcha answers behind it."""
        said = super().describe(body)
        fields = body.get("errors")
        if not isinstance(fields, dict | list) or not fields:
            return said
        return f"{said or ''} {as_text(fields)}".strip()
