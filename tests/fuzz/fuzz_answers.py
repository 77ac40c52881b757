"""A long fuzz run over everything that reads answers: `python tests/fuzz/fuzz_answers.py 1000000 [--seed N]`.

Damages vendors' answers, builds random envelopes and throws raw bytes; every input must give a typed outcome within its time
limit at every vendor. A failure prints seed, number and input, and the same seed repeats it. `test_fuzz.py` runs a short one.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from anycap.providers import BUILT_IN, get
from anycap.providers.wire import Unreadable, decode
from anycap.transport import Answer, Delivery, Failure, FailureKind
from tests.answer_checks import METHODS, check_answer, check_normalize
from tests.vendor_answers import answers

INPUT_S_MAX = 1.0
"""Processor seconds that no input may exceed, all readers of one vendor together."""

STATUSES = (200, 200, 200, 200, 201, 204, 301, 302, 400, 401, 403, 404, 405, 413, 429, 500, 502, 503, 504, 599)
TOKENS = (
    b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"\\u", b"\\ud800", b"null", b"true", b"-", b"1e9", b"0", b"\0", b"\xff",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"NaN", b"errorId", b"taskId", b"solution", b"<html>", b"\n", b" ",
)  # fmt: skip
WORDS = (
    "",
    "0",
    "1",
    "null",
    "ready",
    "processing",
    "failed",
    "error",
    "idle",
    "CAPTCHA_NOT_READY",
    "ERROR_PROXY_X",
    "\ud800",
    "漢",
    "1e999999999",
    "-1e999999999",
    "Infinity",
    "nan",
    "9" * 5_000,
)
FIELDS = (
    "errorId", "errorCode", "errorDescription", "taskId", "status", "solution", "cost", "errors", "balance", "softID",
    "createTime", "endTime", "solveCount", "gRecaptchaResponse", "token", "text", "answer", "objects", "coordinates",
    "cookies", "userAgent", "x",
)  # fmt: skip


def value(chance: random.Random, depth: int = 0) -> Any:
    """Any JSON value, small."""
    pick = chance.randrange(10 if depth < 4 else 7)
    if pick == 0:
        return None
    if pick == 1:
        return chance.random() < 0.5
    if pick == 2:
        return chance.choice((0, 1, -1, 12, 51, 10**18, -(10**19), chance.getrandbits(70)))
    if pick == 3:
        return chance.choice((0.0, 1.5, 1e308, float("nan"), float("inf"), chance.random()))
    if pick < 7:
        return chance.choice(WORDS)
    if pick == 7:
        return [value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {chance.choice(FIELDS): value(chance, depth + 1) for _ in range(chance.randrange(4))}


def ready(chance: random.Random) -> bytes:
    """A solved task whose fields hold anything."""
    names = chance.sample(FIELDS[6:], chance.randrange(8))
    fields = {"errorId": 0, "status": "ready", **{name: value(chance) for name in names}}
    fields["solution"] = {name: value(chance) for name in chance.sample(FIELDS, 1 + chance.randrange(6))}
    return json.dumps(fields).encode()


def damaged(chance: random.Random, body: bytes) -> bytes:
    """`body` with a few bytes cut, doubled, replaced, or in another charset."""
    text = bytearray(body)
    for _ in range(chance.randrange(5)):
        at = chance.randrange(len(text) + 1)
        end = min(len(text), at + chance.randrange(16))
        text[at:end] = chance.choice((b"", chance.choice(TOKENS), bytes(text[at:end]) * 3, chance.randbytes(3)))
    if chance.random() < 0.05:
        return text.decode("latin-1").encode(chance.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig")))
    return bytes(text)


def body(chance: random.Random, seeds: list[bytes]) -> bytes:
    """One answer's body."""
    pick = chance.random()
    if pick < 0.45:
        return damaged(chance, chance.choice(seeds))
    if pick < 0.5:  # fields may come twice
        pairs = (f"{json.dumps(chance.choice(FIELDS))}:{json.dumps(value(chance))}" for _ in range(chance.randrange(7)))
        return f"{{{','.join(pairs)}}}".encode()
    if pick < 0.6:
        return ready(chance)
    if pick < 0.8:
        return json.dumps({name: value(chance) for name in chance.sample(FIELDS, chance.randrange(6))}).encode()
    if pick < 0.97:
        return b"".join(chance.choice(TOKENS) for _ in range(chance.randrange(40)))
    if pick < 0.99:
        return chance.randbytes(chance.randrange(200))
    return chance.choice((b"[", b'{"a":', b'{"errorId":[', b'"', b"9")) * chance.randrange(5000)


def outcome(chance: random.Random, content: bytes) -> Answer | Failure:
    """The answer, or now and then none."""
    if chance.random() < 0.03:
        status = chance.choice((None, *STATUSES))
        return Failure(chance.choice(list(Delivery)), chance.choice(list(FailureKind)), "our words", status)
    return Answer(
        chance.choice(STATUSES),
        content,
        retry_after=chance.choice((None, None, None, "5", "-1", "soon", "Sun, 06 Nov 1994 08:49:37 GMT")),
        location=chance.choice((None, "https://x.example/", "/y", "http://[")),
        date=chance.choice((None, "Sun, 06 Nov 1994 08:49:00 GMT")),
    )


def run(count: int, seed: int) -> Counter[str]:
    """Read `count` inputs; raises AssertionError, naming seed and number, for the first that breaks a promise."""
    seeds = answers()
    seen: Counter[str] = Counter()
    for provider in BUILT_IN:  # reading the catalogs is no part of reading an answer
        get(provider)
    for number in range(count):
        chance = random.Random(f"{seed}/{number}")
        content = body(chance, seeds)
        provider = BUILT_IN[number % len(BUILT_IN)]
        one = outcome(chance, content)
        started = time.process_time()
        try:
            check_answer(provider, one, has_image=chance.random() < 0.5)
            check_normalize(provider, content, chance.choice(METHODS), chance.choice(STATUSES))
            took_s = time.process_time() - started
            assert took_s < INPUT_S_MAX, f"took {took_s:.2f} s"
        except Exception as error:
            raise AssertionError(f"seed {seed}, input {number}, {provider}: {one!r} with {content[:500]!r}") from error
        found = decode(content)
        seen["object" if not isinstance(found, Unreadable) else str(found.flaw)] += 1
        seen[f"poll: {get(provider).read_poll(one).kind}"] += 1
    return seen


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Fuzz everything that reads vendor answers.")
    parser.add_argument("count", type=int, nargs="?", default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    started = time.perf_counter()
    seen = run(asked.count, asked.seed)
    took_s = time.perf_counter() - started
    print(f"{asked.count} inputs, seed {asked.seed}, {took_s:.0f} s: every outcome was a typed one")
    for name, times in seen.most_common():
        print(f"  {times:>9} {name}")


if __name__ == "__main__":
    main()
