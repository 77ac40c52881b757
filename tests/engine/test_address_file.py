"""The address file: what processes behind one address tell each other, and what becomes of it in bad hands."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from anycap.accounts import Account
from anycap.challenges import RecaptchaV2, VendorTask
from anycap.client import Client
from anycap.emulator import DEFAULT_KEY, Emulator, InProcess
from anycap.emulator.thread import serve_in_thread
from anycap.engine.address_file import AddressFile, default_folder
from anycap.engine.runtime import Runtime
from anycap.errors import AccountError, AnycapError
from anycap.providers import get
from anycap.results import TokenSolution
from anycap.settings import GuardSettings, Settings
from tests.client.virtual import World, in_virtual_time

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks and rights as on POSIX")
PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")


def sharing(world: World, folder: Path, provider: str = "anti-captcha", key: str = DEFAULT_KEY) -> Client:
    """A client as another process of this machine would have it: a door, a journal and a file of its own."""
    settings = Settings(guard=GuardSettings(address_dir=folder))
    return world.client(
        provider, key=key, http=InProcess(world.emulator), settings=settings, runtime=world.runtime_of_its_own()
    )


async def outcome(client: Client, challenge: Any = PAGE, **options: Any) -> object:
    try:
        return await client.solve(challenge, **options)
    except AnycapError as error:
        return error


@in_virtual_time
async def test_a_dead_key_costs_eight_clients_one_request(world: World, tmp_path: Path) -> None:
    clients = [sharing(world, tmp_path, key="0" * 32) for _ in range(8)]
    errors: list[object] = []

    async def many(client: Client) -> None:
        async with client, anyio.create_task_group() as tasks:

            async def one() -> None:
                errors.append(await outcome(client, timeout=60))

            for _ in range(10):
                tasks.start_soon(one)

    async with anyio.create_task_group() as all_of_them:
        for client in clients:
            all_of_them.start_soon(many, client)
    assert len(errors) == 80
    assert all(isinstance(error, AccountError) and error.code == "invalid_key" for error in errors)
    assert world.requests("createTask") <= 2
    # Who comes later need not ask either, for ten minutes; then one asks.
    async with sharing(world, tmp_path, key="0" * 32) as late:
        with pytest.raises(AccountError) as caught:
            await late.balance()
        assert caught.value.sent is False
    assert len(world.emulator.trace) <= 2
    await anyio.sleep(601)
    async with sharing(world, tmp_path, key="0" * 32) as later:
        with pytest.raises(AccountError) as caught:
            await later.balance()
        assert caught.value.sent is True


@in_virtual_time
async def test_balance_asks_once_for_all_with_a_dead_key(world: World, tmp_path: Path) -> None:
    clients = [sharing(world, tmp_path, key="0" * 32) for _ in range(8)]

    async def ask(client: Client) -> None:
        async with client:
            with pytest.raises(AccountError):
                await client.balance()

    async with anyio.create_task_group() as tasks:
        for client in clients:
            tasks.start_soon(ask, client)
    assert world.requests("getBalance") <= 2


@in_virtual_time
async def test_a_good_key_is_proven_for_all_and_waits_for_nobody(world: World, tmp_path: Path) -> None:
    async with sharing(world, tmp_path) as first, sharing(world, tmp_path) as second:
        for client in (first, second):
            found = [await outcome(client, timeout=100) for _ in range(3)]
            assert all(isinstance(solution, TokenSolution) for solution in found)
    assert (tmp_path / "anti-captcha.address").exists() or list(tmp_path.iterdir())


@in_virtual_time
async def test_a_reset_lets_one_ask_again(world: World, tmp_path: Path) -> None:
    async with sharing(world, tmp_path, key="0" * 32) as client:
        assert isinstance(await outcome(client), AccountError)
        before = world.requests("createTask")
        assert isinstance(await outcome(client), AccountError)
        assert world.requests("createTask") == before
        client.reset()
        assert isinstance(await outcome(client), AccountError)
        assert world.requests("createTask") == before + 1


@in_virtual_time
async def test_clients_with_nonsense_stay_below_the_ban_together(world: World, tmp_path: Path) -> None:
    """anti-captcha bans an address for 150 nonsense createTasks in 60 s; each client alone would stop at 75."""
    clients = [sharing(world, tmp_path) for _ in range(2)]

    async def nonsense(client: Client) -> None:
        async with client, anyio.create_task_group() as tasks:
            for number in range(1_000):  # 20 a second, for less than the window
                tasks.start_soon(partial(outcome, client, VendorTask(f"Nonsense{number}Task", {}), timeout=1))
                await anyio.sleep(0.05)

    async with anyio.create_task_group() as tasks:
        for client in clients:
            tasks.start_soon(nonsense, client)
    assert 60 <= world.requests("createTask") <= 76
    assert not any("BLOCKED" in str(line) for line in world.emulator.trace)


@in_virtual_time
async def test_what_a_process_did_before_its_end_still_counts(world: World, tmp_path: Path) -> None:
    for _ in range(6):  # started again and again, by a supervisor, within the minute
        async with sharing(world, tmp_path) as client:
            for number in range(30):
                await outcome(client, VendorTask(f"Nonsense{number}Task", {}), timeout=0.5)
    assert world.requests("createTask") <= 76


@in_virtual_time
async def test_a_block_that_one_meets_stops_the_others(world: World, tmp_path: Path) -> None:
    async with sharing(world, tmp_path, "yescaptcha") as first, sharing(world, tmp_path, "yescaptcha") as second:
        assert isinstance(await outcome(second), TokenSolution)
        world.fault("error", method="createTask", code="ERROR_IP_BLOCKED_5MIN", count=1)
        blocked = await outcome(first, wait_for_capacity=False)
        requests = world.requests("createTask")
        also = await outcome(second, wait_for_capacity=False)
        assert type(blocked).__name__ == type(also).__name__ == "BlockedError"
        assert also.sent is False  # type: ignore[attr-defined]
        assert world.requests("createTask") == requests
        await anyio.sleep(330)
        assert isinstance(await outcome(second), TokenSolution)


# -- the file itself


def a_file(path: Path, elapsed: float = 1_000.0) -> AddressFile:
    file = AddressFile(path, "anti-captcha", lambda *_: pytest.fail("no row is needed"), lambda: elapsed, lambda: 0.0)
    file.open()
    return file


def test_two_sign_in_and_out(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "v.address"
    first, second = a_file(path), a_file(path)
    assert len(read(path)["members"]) == 2
    first.close()
    assert len(read(path)["members"]) == 1
    second.close()
    assert read(path)["members"] == {}
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


def read(path: Path) -> Any:
    content = path.read_bytes()
    size = int.from_bytes(content[8:16], "little")
    return json.loads(content[48 : 16 + size])


@pytest.mark.parametrize("content", [b"", b"x" * 10_000, b"\xff" * 16, b"\0" * 16 + b"[1,2]" * 100])
def test_garbage_counts_for_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "v.address"
    path.write_bytes(content)
    file = a_file(path)
    file.bad_answer("rule", 60.0)
    assert list(read(path)["bad"]) == ["rule"]
    file.close()


def test_who_holds_the_lock_holds_nobody_up(tmp_path: Path) -> None:
    import fcntl

    path = tmp_path / "v.address"
    file = a_file(path)
    holder = os.open(path, os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    file.bad_answer("rule", 60.0)  # not written yet, and not waited for
    assert read(path)["bad"] == {}
    os.close(holder)
    file.look(1.0)
    assert len(read(path)["bad"]["rule"]) == 1
    file.close()


def test_a_killed_process_is_no_neighbour_any_more(tmp_path: Path) -> None:
    path = tmp_path / "v.address"
    script = (
        "import sys, time; from pathlib import Path; from anycap.engine.address_file import AddressFile\n"
        "file = AddressFile(Path(sys.argv[1]), 'anti-captcha', None, lambda: 1000.0, lambda: 0.0); file.open()\n"
        "print('open', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    file = a_file(path)
    assert len(read(path)["members"]) == 2
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    process.stdout.close()
    file.bad_answer("rule", 60.0)
    assert len(read(path)["members"]) == 1
    file.close()


@pytest.mark.parametrize("later", [-900.0, 1e6])
def test_another_clock_makes_nothing_last_for_ever(tmp_path: Path, later: float) -> None:
    path = tmp_path / "v.address"
    before = a_file(path, 1_000.0)
    before.bad_answer("rule", 60.0)
    before.later(lambda book: book["keys"].__setitem__("k", ["stopped", "x", 1_000.0, "E", 1]))
    after = a_file(path, 1_000.0 + later)
    after.bad_answer("other", 60.0)
    assert read(path)["keys"] == {}
    assert len(read(path)["bad"].get("rule", [])) == (later < 0)  # at most a window longer, never more
    before.close()
    after.close()


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() == 0:
        yield Path("/proc/anycap")  # root may write everywhere but here
        return
    tmp_path.chmod(0o500)
    yield tmp_path / "folder"
    tmp_path.chmod(0o700)


@in_virtual_time
async def test_a_folder_that_cannot_be_written_is_one_warning(
    world: World, read_only: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with sharing(world, read_only) as client:
        assert isinstance(await outcome(client), TokenSolution)
    assert [record.message.count("hold for this process alone") for record in caplog.records].count(1) == 1


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """A folder that all users may write to, as /tmp is."""
    with tempfile.TemporaryDirectory(prefix="anycap-") as name:
        folder = Path(name)
        folder.chmod(0o1777)
        yield folder


@contextmanager
def another_user(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be another user for a while: really, where we may; else by what the system would say of others' files."""
    if os.geteuid() == 0:
        os.seteuid(65_534)
        try:
            yield
        finally:
            os.seteuid(0)
        return
    opened = os.open

    def refuse(path: Any, *args: Any, **options: Any) -> int:
        if str(path).endswith(".address"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        yield


@in_virtual_time
async def test_two_users_of_one_folder_work_on_and_are_told(
    world: World, everybodys: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is its maker's alone (0600): the other user's rules hold for its own process, and a warning says so."""
    async with sharing(world, everybodys) as first:
        assert isinstance(await outcome(first), TokenSolution)
        (file,) = everybodys.glob("*.address")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        before = file.read_bytes()
        with another_user(monkeypatch):
            async with sharing(world, everybodys) as second:
                assert isinstance(await outcome(second), TokenSolution)
        assert file.read_bytes() == before
        assert isinstance(await outcome(first), TokenSolution)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "Permission denied" in warnings[0]
    assert "address_dir" in warnings[0]


@in_virtual_time
async def test_a_link_that_somebody_has_planted_is_not_followed(
    world: World, everybodys: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with sharing(world, everybodys):
        (file,) = everybodys.glob("*.address")
    file.unlink()
    target = tmp_path / "precious"
    target.write_text("mine")
    file.symlink_to(target)
    async with sharing(world, everybodys) as client:
        assert isinstance(await outcome(client), TokenSolution)
    assert target.read_text() == "mine"
    assert [record.levelname for record in caplog.records].count("WARNING") == 1


def test_a_full_disk_loses_no_bad_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "v.address"
    file = a_file(path)
    with monkeypatch.context() as patch:

        def full(*args: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(os, "pwrite", full)
        file.bad_answer("rule", 60.0)
    assert "No space left on device" in caplog.text
    assert read(path)["bad"] == {}
    file.bad_answer("rule", 61.0)
    assert len(read(path)["bad"]["rule"]) == 2
    file.close()


@pytest.mark.parametrize("write", [1, 2, 3])
def test_who_is_killed_while_it_writes_harms_nobody(tmp_path: Path, write: int) -> None:
    """The lock goes with its holder; what it has half written counts for nothing, or for what it says."""
    path = tmp_path / "v.address"
    file = a_file(path)
    file.bad_answer("rule", 60.0)
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom anycap.engine.address_file import AddressFile\n"
        "file = AddressFile(Path(sys.argv[1]), 'v', None, lambda: 1000.0, lambda: 0.0)\nfile.open()\n"
        "written, real = [], os.pwrite\n"
        "def pwrite(descriptor, data, at):\n"
        "    written.append(at)\n"
        "    dies = len(written) == int(sys.argv[2])\n"
        "    real(descriptor, data[:len(data) // 2] if dies else data, at)\n"
        "    if dies: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return len(data)\n"
        "os.pwrite = pwrite\nfile.bad_answer('rule', 61.0)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(path), str(write)], check=False)
    assert killed.returncode == -signal.SIGKILL
    file.bad_answer("rule", 62.0)
    assert 1 <= len(read(path)["bad"]["rule"]) <= 3
    file.close()


@in_virtual_time
async def test_loopback_and_injected_transports_write_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    async with world.client() as client:
        assert isinstance(await outcome(client), TokenSolution)
    assert list(tmp_path.iterdir()) == []


def test_the_default_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert default_folder() == tmp_path / "anycap"


def test_no_key_is_in_the_file(tmp_path: Path) -> None:
    async def main(url: str) -> None:
        account = Account("anti-captcha", DEFAULT_KEY, base_url=url)
        settings = Settings(guard=GuardSettings(address_dir=tmp_path))
        async with Client(account, settings=settings, runtime=Runtime()) as client:
            await client.balance()

    with serve_in_thread(Emulator(seed=1)) as urls:
        anyio.run(main, urls["anti-captcha"])
    (path,) = tmp_path.iterdir()
    assert DEFAULT_KEY.encode() not in path.read_bytes()
    assert [known[0] for known in read(path)["keys"].values()] == ["proven"]
    assert get("anti-captcha").catalog.family in path.name
