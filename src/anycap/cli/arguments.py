"""Reads what to solve, and with which account, from the command line: `RecaptchaV2 website_url=... website_key=...`.

Keys and proxies never come as arguments, where every process of the machine could read them: keys from the environment,
a file or stdin, the task's proxy from `ANYCAP_TASK_PROXY`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anycap.errors import ConfigurationError, InvalidChallenge

if TYPE_CHECKING:
    from anycap.accounts import Account
    from anycap.challenges import Challenge
    from anycap.results import Solution

PROXY_VARIABLE = "ANYCAP_TASK_PROXY"
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def add_account_options(parser: argparse.ArgumentParser) -> None:
    """The options that every command with an account has."""
    parser.add_argument("--provider", metavar="P", required=True, help="anti-captcha, capmonster, yescaptcha, ...")
    parser.add_argument("--base-url", metavar="URL", help="another address: a mirror, or the emulator")
    parser.add_argument("--key-stdin", action="store_true", help="read the key from the first line of stdin")
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_journal_option(parser: argparse.ArgumentParser) -> None:
    """`--journal`, for commands that spend money or wait for what was spent."""
    parser.add_argument(
        "--journal", metavar="FILE", help="keep tickets in this SQLite file, to be resumed after a crash"
    )


def read_account(options: argparse.Namespace) -> Account:
    """The account of the options; its key from stdin, or from the environment when the client opens."""
    from anycap.accounts import Account

    key = None
    if options.key_stdin:
        key = sys.stdin.readline().strip()
        if not key:
            raise ConfigurationError("--key-stdin: the first line of stdin is empty; the key is expected there")
    return Account(options.provider, key, base_url=options.base_url)


def read_challenge(kind: str, words: Sequence[str], *, with_proxy: bool = False) -> Challenge[Solution]:
    """The challenge that `kind` and `name=value` words describe.

    Text stays text; flags are true or false, numbers numbers, images file names; mappings and lists are JSON.
    Raises InvalidChallenge that names the field and what is expected.
    """
    from attrs import fields

    from anycap.challenges import KINDS, Proxy

    if kind not in KINDS:
        raise InvalidChallenge(f"unknown challenge {kind!r}; known: {', '.join(KINDS)}")
    annotations = {field.name: str(field.type) for field in fields(KINDS[kind])}
    values: dict[str, Any] = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not sign:
            raise InvalidChallenge(f"{word!r} is not name=value; fields of {kind}: {', '.join(annotations)}")
        if name == "proxy":
            raise InvalidChallenge(f"a proxy is not given as an argument: put it into {PROXY_VARIABLE} and say --proxy")
        if name not in annotations:
            raise InvalidChallenge(f"{kind} has no field {name!r}; it has: {', '.join(annotations)}")
        values[name] = _value(f"{kind}: {name}", annotations[name], text)
    if with_proxy:
        url = os.environ.get(PROXY_VARIABLE, "")
        if not url:
            raise InvalidChallenge(
                f"--proxy: {PROXY_VARIABLE} is not set; expected scheme://login:password@host:port there"
            )
        values["proxy"] = Proxy.from_url(url)
    return KINDS[kind](**values)


def _value(where: str, annotation: str, text: str) -> Any:
    if "Image" in annotation:
        return [Path(part) for part in text.split(",")] if "tuple" in annotation else Path(text)
    if "bool" in annotation:
        if text.lower() not in _TRUTH:
            raise InvalidChallenge(f"{where} is a flag: true or false, not {text!r}")
        return _TRUTH[text.lower()]
    for kind in (int, float):
        if kind.__name__ in annotation:
            try:
                return kind(text)
            except ValueError:
                raise InvalidChallenge(f"{where} is a number, not {text!r}") from None
    if "Mapping" in annotation and text.lstrip().startswith("{"):
        return _json(where, text)
    if "tuple" in annotation:
        return _json(where, text) if text.lstrip().startswith("[") else text.split(",")
    if "Mapping" in annotation and "str |" not in annotation and "cookies" not in where:
        raise InvalidChallenge(f'{where} is a JSON object, for example \'{{"name": "value"}}\'')
    return text


def _json(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidChallenge(f"{where} is not JSON: {error}") from None
