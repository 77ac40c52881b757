"""A crawl in several processes of plain `multiprocessing`, with one account for all of them.

    ANYCAP_SHARED_URL=redis://127.0.0.1 ANYCAP_CAPMONSTER_KEY=... python examples/processes_crawl.py https://example.com/1 ...

Each process has a client of its own; the shared server makes their limits one, on this machine and on others. A process
that is killed loses nothing: another is started for its pages, and as each page has a key, it finds what was paid for.
"""

import multiprocessing
import sys
from collections.abc import Iterable, Sequence
from hashlib import sha256
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import anyio
import anyio.to_thread
from attrs import define, field

from anycap import Account, AnycapError, Client, RecaptchaV2, Shared

PROCESSES = 4
STARTS_MAX = 3
"""A page whose process dies so often is left out."""
# A fresh interpreter for each process: a fork would copy locks and threads in whatever state they are.
SPAWN = multiprocessing.get_context("spawn")


@define
class Crawl:
    """What a crawl found: a token by page, and why others are missing."""

    tokens: dict[str, str] = field(factory=dict)
    missing: dict[str, str] = field(factory=dict)


@define
class Worker:
    """One process, the pages that it has not answered for, and how often somebody was started for them."""

    process: BaseProcess
    connection: Connection
    pages: set[str]
    starts: int


def work(connection: Connection, pages: Sequence[str], account: dict[str, Any], options: dict[str, Any]) -> None:
    """What a process does. Keys and passwords are not passed: each process reads them from the environment."""
    anyio.run(_work, connection, pages, account, options)


async def _work(connection: Connection, pages: Sequence[str], account: dict[str, Any], options: dict[str, Any]) -> None:
    async def one(client: Client, page: str) -> None:
        try:
            solution = await client.solve(
                RecaptchaV2(page, "6Lc_aCMTAAAAABx7u2N0"),
                timeout=180,
                idempotency_key=sha256(page.encode()).hexdigest(),
                reuse="expired",
                tag="crawl",
            )
        except AnycapError as error:
            connection.send((page, None, f"{type(error).__name__}: {error}"))
        else:
            connection.send((page, solution.token, None))

    if "shared" not in options:
        options["shared"] = Shared.from_env()
    async with Client(Account(**account), **options) as client, anyio.create_task_group() as tasks:
        for page in pages:
            tasks.start_soon(one, client, page)


def crawl(pages: Iterable[str], account: dict[str, Any], *, processes: int = PROCESSES, **options: Any) -> Crawl:
    """Solve the challenges of all pages. `account` has the arguments of `Account`, `options` those of `Client`."""

    def start(pages: Sequence[str], starts: int) -> Worker:
        ours, theirs = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(target=work, args=(theirs, pages, account, options))
        process.start()
        theirs.close()  # from now on the pipe ends with the process, however that ends
        return Worker(process, ours, set(pages), starts)

    result, all_pages = Crawl(), list(dict.fromkeys(pages))
    shares = [all_pages[place::processes] for place in range(processes)]
    workers = [start(share, 1) for share in shares if share]
    while workers:
        ready = wait([worker.connection for worker in workers])
        for worker in [worker for worker in workers if worker.connection in ready]:
            try:
                page, token, error = worker.connection.recv()
            except (EOFError, OSError):  # it has ended, perhaps in the middle of a message
                workers.remove(worker)
                worker.process.join()
                worker.connection.close()
                if worker.pages and worker.starts < STARTS_MAX:
                    workers.append(start(sorted(worker.pages), worker.starts + 1))
                else:
                    result.missing |= dict.fromkeys(worker.pages, f"its process died {STARTS_MAX} times")
                continue
            worker.pages.discard(page)
            if token is None:
                result.missing[page] = error
            else:
                result.tokens[page] = token
    return result


def main(pages: Sequence[str]) -> None:
    """Crawl the addresses given."""
    result = crawl(pages, {"provider": "capmonster"})
    for page, token in result.tokens.items():
        print(page, token)
    for page, error in result.missing.items():
        print(page, "is missing:", error)


if __name__ == "__main__":
    main(sys.argv[1:])
