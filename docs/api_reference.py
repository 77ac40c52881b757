"""Writes the API reference from the public names: signatures, docstrings, methods. Used by generate.py."""

from __future__ import annotations

import inspect
import re
from enum import Enum
from typing import Any

import attrs

import anycap

# heading, and the modules whose public names it lists, in the order a reader needs them.
SECTIONS = (
    ("Client and accounts", ("client", "accounts", "engine.health", "callbacks", "queues")),
    ("Challenges", ("challenges",)),
    ("Solutions, tickets, balances", ("results", "tickets", "outcomes")),
    ("Errors", ("errors", "normalize", "taxonomy")),
    ("Settings", ("settings",)),
    ("Events", ("events",)),
    ("Secrets", ("credentials",)),
)
_QUOTED = re.compile(r"(: |-> )'([^']*)'")
_REPR_AT = re.compile(r" at 0x[0-9a-f]+")


def api_reference() -> str:
    """Every public name, by topic."""
    text = (
        "# API reference\n\nEverything here is imported from `anycap` itself: `from anycap import Client`. What is not listed\n"
        "is not public, except `anycap.emulator`, `anycap.testing.pytest_plugin`, `anycap.contrib` and `anycap.testing.conformance`.\n"
    )
    listed: set[str] = set()
    for heading, modules in SECTIONS:
        here = [name for module in modules for name in sorted(anycap._MODULE_OF) if anycap._MODULE_OF[name] == module]
        listed.update(here)
        if here:
            text += f"\n## {heading}\n" + "".join(_entry(name) for name in here)
    missing = set(anycap._MODULE_OF) - listed
    if missing:
        raise SystemExit(f"docs/api_reference.py: no section lists {', '.join(sorted(missing))}")
    return text


def _entry(name: str) -> str:
    thing = getattr(anycap, name)
    if inspect.ismodule(thing):  # anycap.normalize: the function of that name
        thing = getattr(thing, name)
    text = f"\n### {name}\n\n"
    if inspect.isclass(thing) and issubclass(thing, Enum):
        text += _doc(thing) + "\n\n" + ", ".join(f"`{member.value}`" for member in thing) + "\n"
        return text
    text += f"```python\n{_signature(name, thing)}\n```\n\n{_doc(thing)}\n"
    if inspect.isclass(thing):
        for attribute, value in vars(thing).items():
            text += _member(attribute, value)
    return text


def _member(name: str, value: object) -> str:
    if name.startswith("_"):
        return ""
    if isinstance(value, property):
        return f"\n**`{name}`**: {_doc(value)}\n" if value.__doc__ else ""
    function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
    if not inspect.isfunction(function) or not function.__doc__:
        return ""
    prefix = "async " if inspect.iscoroutinefunction(function) else ""
    return f"\n#### {name}\n\n```python\n{prefix}{_signature(name, function)}\n```\n\n{_doc(function)}\n"


def _signature(name: str, thing: object) -> str:
    if isinstance(thing, type) and issubclass(thing, BaseException):
        return f"class {name}({', '.join(base.__name__ for base in thing.__bases__)})"
    if isinstance(thing, type) and attrs.has(thing):
        return _attrs_signature(name, thing)
    if not callable(thing):
        return name
    signature = inspect.signature(thing.__init__ if isinstance(thing, type) else thing)  # type: ignore[misc]  # a class's own
    kept = [parameter for parameter in signature.parameters.values() if parameter.name not in {"self", "cls"}]
    shown = _plain(str(signature.replace(parameters=kept)))
    if isinstance(thing, type):
        shown = shown.removesuffix(" -> None")
    if len(name) + len(shown) > 100 and kept:
        plain = "".join(f"    {_plain(line)},\n" for line in _lines(kept))
        tail = shown.rpartition(")")[2]
        return f"{name}(\n{plain}){tail}"
    return f"{name}{shown}"


def _plain(signature: str) -> str:
    """A signature without the quotes of postponed annotations and without addresses."""
    return _REPR_AT.sub("", _QUOTED.sub(r"\1\2", signature))


def _attrs_signature(name: str, cls: type) -> str:
    """How a value is made, from its fields: converters hide the types from `inspect`."""
    given = [attribute for attribute in attrs.fields(cls) if attribute.init]
    lines = [_attrs_line(attribute) for attribute in given if not attribute.kw_only]
    by_name = [_attrs_line(attribute) for attribute in given if attribute.kw_only]
    lines += ["*", *by_name] if by_name else []
    short = f"{name}({', '.join(lines)})"
    return short if len(short) <= 100 else f"{name}(\n" + "".join(f"    {line},\n" for line in lines) + ")"


def _attrs_line(attribute: Any) -> str:
    kind = attribute.type
    line = f"{attribute.alias}: {kind.__name__ if isinstance(kind, type) else kind}"
    if attribute.default is attrs.NOTHING:
        return line
    return f"{line} = " + ("..." if hasattr(attribute.default, "factory") else repr(attribute.default))


def _lines(parameters: list[inspect.Parameter]) -> list[str]:
    lines, keyword_only = [], False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            lines.append("*")
            keyword_only = True
        lines.append(str(parameter))
    return lines


def _doc(thing: object) -> str:
    """The docstring as Markdown: examples become code blocks."""
    lines: list[str] = []
    in_example = False
    for line in (inspect.getdoc(thing) or "").splitlines():
        if line.startswith(">>>") and not in_example:
            lines.append("```pycon")
            in_example = True
        if in_example and not line.strip():
            lines.append("```")
            in_example = False
        lines.append(line)
    if in_example:
        lines.append("```")
    return "\n".join(lines)
