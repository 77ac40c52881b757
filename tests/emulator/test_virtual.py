"""Virtual time: hours pass in no time, deadlocks are found, the same seed gives the same trace byte for byte."""

import asyncio
import time
from typing import Any

import anyio
import pytest
import trio.testing

from anycap.credentials import encode_json
from anycap.emulator import DEFAULT_KEY, Emulator, Fault, InProcess, VirtualLoop, run_virtual
from anycap.emulator.virtual import VirtualDeadlock
from anycap.transport import Answer, Body, Request
from tests.emulator.vendor_caller import TOKEN_TASKS


class TestLoop:
    def test_an_hour_takes_no_time(self) -> None:
        async def main() -> float:
            await asyncio.sleep(3600)
            return asyncio.get_running_loop().time()

        started = time.perf_counter()
        assert run_virtual(main) == 3600.0
        assert time.perf_counter() - started < 1.0

    def test_timers_fire_in_order_at_their_time(self) -> None:
        async def main() -> list[tuple[str, float]]:
            fired: list[tuple[str, float]] = []

            async def nap(name: str, seconds: float) -> None:
                await anyio.sleep(seconds)
                fired.append((name, anyio.current_time()))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(nap, "b", 2.0)
                tasks.start_soon(nap, "a", 1.5)
                tasks.start_soon(nap, "c", 7000.25)
            return fired

        assert run_virtual(main) == [("a", 1.5), ("b", 2.0), ("c", 7000.25)]

    def test_time_limits_work(self) -> None:
        async def main() -> float:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(30):
                    await asyncio.Event().wait()
            with anyio.move_on_after(12):
                await anyio.sleep_forever()
            return asyncio.get_running_loop().time()

        assert run_virtual(main) == 42.0

    def test_a_deadlock_is_an_error_that_names_the_task(self) -> None:
        async def stuck_for_good() -> None:
            await asyncio.Event().wait()

        with pytest.raises(VirtualDeadlock, match="test_virtual.py"):
            run_virtual(stuck_for_good)

    def test_a_result_and_an_error_come_through(self) -> None:
        async def add(a: int, b: int) -> int:
            return a + b

        async def fail() -> None:
            raise KeyError("x")

        assert run_virtual(add, 2, 3) == 5
        with pytest.raises(KeyError):
            run_virtual(fail)

    def test_it_runs_in_debug_mode(self) -> None:
        async def main() -> bool:
            await asyncio.sleep(100)
            return asyncio.get_running_loop().get_debug()

        assert run_virtual(main, debug=True) is True

    def test_a_thread_may_wake_an_idle_loop(self) -> None:
        async def main() -> str:
            return await asyncio.get_running_loop().run_in_executor(None, lambda: "from the thread")

        assert run_virtual(main) == "from the thread"

    def test_far_times_still_move_on(self) -> None:
        async def main() -> float:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            loop.jump(1e12)
            await asyncio.sleep(86_400 * 30)
            for _ in range(100):
                await asyncio.sleep(1e-6)
            return asyncio.get_running_loop().time()

        assert run_virtual(main) >= 1e12

    def test_anyio_runs_on_it(self) -> None:
        async def main() -> float:
            await anyio.sleep(5)
            return anyio.current_time()

        assert anyio.run(main, backend="asyncio", backend_options={"loop_factory": VirtualLoop}) == 5.0


FAULTS = (
    Fault(action="http", method="getTaskResult", probability=0.05),
    Fault(action="reset", method="getTaskResult", probability=0.05),
    Fault(action="truncate", method="getTaskResult", probability=0.02),
    Fault(action="drop_after_create", probability=0.03),
)


async def naive_solve(door: InProcess, url: str, provider: str, seen: list[str]) -> None:
    """A naive client: creates once, then polls every three seconds until something final comes."""

    async def ask(method: str, **fields: Any) -> Any:
        import json

        body = Body({"clientKey": DEFAULT_KEY, **fields}, encode_json)
        got = await door.send(Request(f"{url}/{method}", body, 10.0))
        try:
            return json.loads(got.body) if isinstance(got, Answer) else {}
        except ValueError:
            return {}

    created = await ask("createTask", task=TOKEN_TASKS[provider])
    if "taskId" not in created:
        seen.append("in doubt")
        return
    while True:
        await anyio.sleep(3)
        answer = await ask("getTaskResult", taskId=created["taskId"])
        if answer.get("status") == "ready" or answer.get("errorId"):
            seen.append(answer.get("status") or answer["errorCode"])
            return


async def storm(seed: int) -> tuple[Emulator, list[str]]:
    emulator = Emulator(seed=seed, faults=FAULTS)
    door = InProcess(emulator, latency_s=(0.02, 0.2))
    seen: list[str] = []
    async with anyio.create_task_group() as tasks:
        for number in range(200):
            provider = ("anti-captcha", "capmonster", "yescaptcha", "ezcaptcha")[number % 4]
            tasks.start_soon(naive_solve, door, emulator.base_url(provider), provider, seen)
    emulator.check()
    return emulator, seen


class TestWorld:
    def test_the_same_seed_gives_the_same_trace(self) -> None:
        first, second, other = run_virtual(storm, 1), run_virtual(storm, 1), run_virtual(storm, 2)
        assert first[0].trace_bytes() == second[0].trace_bytes()
        assert first[1] == second[1]
        assert first[0].trace_bytes() != other[0].trace_bytes()
        assert len(first[0].trace) == first[0].requests > 600

    def test_the_ledger_counts_what_the_client_is_in_doubt_about(self) -> None:
        emulator, seen = run_virtual(storm, 3)
        drops = sum(vendor.ledger.ambiguous_drops for vendor in emulator.vendors.values())
        assert drops == seen.count("in doubt") > 0
        assert len(seen) == 200
        assert sum(len(vendor.ledger.lost) for vendor in emulator.vendors.values()) == drops

    def test_it_runs_under_trios_mock_clock(self) -> None:
        clock = trio.testing.MockClock(autojump_threshold=0)
        emulator, seen = anyio.run(storm, 4, backend="trio", backend_options={"clock": clock})
        assert len(seen) == 200
        assert 10 < emulator.clock() < 400

    def test_a_second_loop_continues_the_emulators_time(self) -> None:
        emulator = Emulator()

        async def wait_ten() -> float:
            emulator.clock()
            await anyio.sleep(10)
            return emulator.clock()

        assert run_virtual(wait_ten) == 10.0
        assert run_virtual(wait_ten) == 20.0
        assert emulator.clock() == 20.0, "looked at without a loop"
