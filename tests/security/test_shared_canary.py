"""No secret reaches the shared server: not its memory, not its file, not one command. A real server, all kinds of solves.

What is searched in is shown to be searchable: the page and the vendor's task id, which belong there, are found in each.
"""

from __future__ import annotations

import base64
import random
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from anycap import (
    Account,
    AnycapError,
    Client,
    HCaptcha,
    ImageToText,
    Polling,
    Proxy,
    RecaptchaV2,
    Secret,
    Shared,
    Turnstile,
)
from anycap.cli.demo_script import png
from anycap.emulator import Emulator, Fault
from anycap.emulator.thread import serve_in_thread
from anycap.settings import GuardSettings, Settings
from tests.valkey_server import Valkey

pytestmark = pytest.mark.anyio

CLIENT_KEY = "c11e47ca9a7e0f0bb101e425a89e8624"
PAGE = "https://canary.example/login"
IMAGE = png(random.Random(7), width=60, height=20)
SECRETS = {
    "client key": CLIENT_KEY,
    "another client key": "0dd0dd0dd0dd0dd0dd0dd0dd0dd0dd0d",
    "proxy login": "canary-proxy-login",
    "proxy password": "canary-proxy-pa55word",
    "password of the server": "canary-store-pa55word",
    "cookie": "canary-session-cookie",
    "data-s": "canary-one-time-data-s",
    "rqdata": "canary-one-time-rqdata",
    "page data": "canary-page-data",
    "idempotency key": "canary idempotency key",
}


def spellings(secret: str) -> set[bytes]:
    """As it is, in a URL, and in base64 at each of the three offsets that it may have."""
    raw = secret.encode()
    middles = {base64.b64encode(b"x" * offset + raw)[4:-4] for offset in range(3)}
    return {raw, quote(secret).encode(), *middles}


def found_in(text: bytes) -> list[str]:
    found = [name for name, secret in SECRETS.items() if any(each in text for each in spellings(secret))]
    image = base64.b64encode(IMAGE)
    if IMAGE[16:60] in text or image[24:80] in text:
        found.append("image")
    return found


@contextmanager
def monitored(server: Valkey) -> Iterator[bytearray]:
    """Every command that the server carries out, those of scripts included."""
    seen = bytearray()
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(b"*1\r\n$7\r\nMONITOR\r\n")
    assert connection.recv(5) == b"+OK\r\n"

    def read() -> None:
        with suppress(OSError):
            while data := connection.recv(1 << 16):
                seen.extend(data)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield seen
        server.ask("PING", "the last command")
        end = time.monotonic() + 10
        while b"the last command" not in seen:
            assert time.monotonic() < end
            time.sleep(0.01)
    finally:
        connection.shutdown(socket.SHUT_RDWR)
        thread.join()
        connection.close()


def dumps(server: Valkey) -> bytes:
    """Every key as DUMP gives it, with its name."""
    answer = server.ask("KEYS", "*")
    names = [line.decode() for line in answer.split(b"\r\n") if line.startswith(b"anycap:")]
    assert len(names) > 10
    return b"".join(name.encode() + server.ask("DUMP", name) for name in names)


def files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".log")


async def solve_all_kinds(client: Client, faults: Emulator) -> list[str]:
    """Solves that succeed and some that fail, with everything that is secret; gives the tokens."""
    proxy = Proxy("http", "203.0.113.7", 3128, SECRETS["proxy login"], SECRETS["proxy password"])
    cookies: Mapping[str, str] = {"session": SECRETS["cookie"]}
    challenges: list[Any] = [
        RecaptchaV2(PAGE, "6Le-site-key", proxy=proxy, cookies=cookies, user_agent="Mozilla/5.0"),
        RecaptchaV2(PAGE, "6Le-site-key", data_s=SECRETS["data-s"], enterprise=True),
        HCaptcha(PAGE, "0x4AAAAAAADnP", enterprise_payload={"rqdata": SECRETS["rqdata"]}),
        Turnstile(PAGE, "0x4AAAAAAADnP", page_data=SECRETS["page data"]),
        ImageToText(IMAGE),
    ]
    tokens, came = [], []
    for number, challenge in enumerate(challenges):
        key = f"{SECRETS['idempotency key']} {number}"
        try:
            solution = await client.solve(challenge, timeout=30, idempotency_key=key, tag="canary")
        except AnycapError as error:
            came.append(type(error).__name__)
        else:
            tokens.append(getattr(solution, "token", "") or solution.text)
    assert len(tokens) >= 4, came
    # A vendor that repeats the secrets in its words, a proxy that fails, an answer that is lost.
    for action, method, code in (
        ("error", "createTask", f"ERROR_{CLIENT_KEY}"),
        ("error", "getTaskResult", f"ERROR_PROXY_{SECRETS['proxy password']}"),
        ("error", "createTask", "ERROR_NO_SLOT_AVAILABLE"),
        ("drop_after_create", "createTask", ""),
    ):
        options = {"code": code} if code else {}
        faults.faults.add(Fault(action=action, method=method, nth=1, **options))
        with suppress(AnycapError):
            await client.solve(RecaptchaV2(PAGE, "6Le-site-key", proxy=proxy, cookies=cookies), timeout=5)
    return tokens


async def test_no_secret_is_in_the_memory_the_file_or_any_command(make_valkey: Any) -> None:
    # DUMP packs long texts unless it is told not to, and what is packed cannot be searched.
    server: Valkey = make_valkey(rdbcompression="no", aof_use_rdb_preamble="no")
    server.ask("ACL", "SETUSER", "fleet", "reset", "on", ">" + SECRETS["password of the server"], "allkeys", "allchannels",
               "allcommands")  # fmt: skip
    shared = Shared(f"redis://fleet@127.0.0.1:{server.port}", password=Secret(SECRETS["password of the server"]))
    emulator = Emulator(seed=1, key=CLIENT_KEY, solve_time=0.05)
    settings = Settings(guard=GuardSettings(busy_backoff_s=0.2))
    with serve_in_thread(emulator) as urls, monitored(server) as commands:

        def account(key: str) -> Account:
            return Account("anti-captcha", key, base_url=urls["anti-captcha"], polling=Polling(fixed=(0.05, 0.05)))

        async with Client(account(CLIENT_KEY), shared=shared, settings=settings) as client:
            tokens = await solve_all_kinds(client, emulator)
            while_open = dumps(server)
        # A key that the vendor rejects is a stop of the whole fleet; the stop knows the key by a short hash.
        async with Client(account(SECRETS["another client key"]), shared=shared, settings=settings) as client:
            with pytest.raises(AnycapError):
                await client.solve(RecaptchaV2(PAGE, "6Le-site-key"), timeout=5)
        after = dumps(server)
    task_id = str(emulator["anti-captcha"].ledger.tasks[0].id).encode()
    for where, text in {
        "memory": while_open, "memory at the end": after, "file": files(server.folder), "commands": bytes(commands),
    }.items():  # fmt: skip
        assert PAGE.encode() in text and task_id in text, f"{where} cannot be searched"
        assert found_in(text) == [], where
    assert b"invalid_key" in after
    assert tokens[0].encode() in while_open  # of a keyed solve: kept until it expires


async def test_a_token_is_gone_when_it_has_expired_and_from_the_file_when_that_is_rewritten(make_valkey: Any) -> None:
    server: Valkey = make_valkey(rdbcompression="no", aof_use_rdb_preamble="no")
    emulator = Emulator(seed=1, key=CLIENT_KEY, solve_time=0.05)
    with serve_in_thread(emulator) as urls:
        account = Account(
            "anti-captcha", CLIENT_KEY, base_url=urls["anti-captcha"], polling=Polling(fixed=(0.05, 0.05))
        )
        async with Client(account, shared=Shared(server.url)) as client:
            solution = await client.solve(RecaptchaV2(PAGE, "6Le-site-key"), timeout=30, idempotency_key="kept")
            token = solution.token.encode()
            assert token in dumps(server)
            journal = client._fleet.journal
            assert journal is not None
            await journal.erase_expired(time.time() + 2 * 86_400)
            assert token not in dumps(server)
    assert token in files(server.folder)
    server.ask("BGREWRITEAOF")
    end = time.monotonic() + 10
    while token in files(server.folder):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert b"generation" in files(server.folder)


def test_the_search_finds_what_is_planted() -> None:
    assert found_in(b"..." + SECRETS["cookie"].encode() + b"...") == ["cookie"]
    assert found_in(base64.b64encode(b"session=" + SECRETS["cookie"].encode())) == ["cookie"]
    assert found_in(quote(SECRETS["idempotency key"]).encode()) == ["idempotency key"]
    assert found_in(b"x" + base64.b64encode(IMAGE)) == ["image"]
