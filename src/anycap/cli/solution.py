"""How the commands print a solution: whole, as JSON, or the one thing that a shell script wants."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from anycap.cli.output import jsonable
from anycap.vendor_text import escaped

if TYPE_CHECKING:
    from anycap.results import Solution

_TEXT_FIELDS = ("token", "text", "coordinates", "cells", "values", "cookies")


def solution_fields(solution: Solution) -> dict[str, Any]:
    """A solution as JSON. This is where a token is meant to be shown: it is what was asked for."""
    from attrs import fields

    shown = {field.name: getattr(solution, field.name) for field in fields(type(solution)) if field.name != "ticket"}
    return {
        "type": type(solution).__name__,
        **shown,
        "ticket": None if solution.ticket is None else solution.ticket.to_dict(),
    }


def solution_text(solution: Solution) -> str:
    """The one thing a shell script wants: the token, the text, or whatever the solution is made of."""
    for name in _TEXT_FIELDS:
        value = getattr(solution, name, None)
        if value:
            return escaped(value) if isinstance(value, str) else json.dumps(jsonable(value))
    return json.dumps(jsonable(solution.raw))
