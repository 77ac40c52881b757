"""What one seed means: a whole world as values. Nothing happens here; `world.py` lets it happen.

A plan is drawn once from its seed and can be shown; two runs of one plan see the same fates in the same order. All times
are seconds from the start of the world.
"""

from __future__ import annotations

import math
from random import Random

from attrs import field, frozen

PROVIDERS = ("anti-captcha", "capmonster", "yescaptcha", "ezcaptcha")
KINDS = {
    "anti-captcha": ("RecaptchaV2", "Turnstile", "ImageToText"),
    "capmonster": ("RecaptchaV2", "Turnstile", "ImageToText"),
    "yescaptcha": ("RecaptchaV2", "Turnstile", "ImageToText"),
    "ezcaptcha": ("RecaptchaV2", "Turnstile"),
}
"""What the simulated callers ask of each vendor. ImageToText is solved in the answer to createTask at YesCaptcha."""
EPOCH_S = 1_767_225_600.0
HORIZON_S = 20_000.0
"""A world that is not over by then is stuck."""


@frozen
class Outage:
    """A vendor does not work from `start` to `end`: `hang`, `refuse` (connections), `page` (HTML 502), `no_slots`, `block`.

    Or something in front of it answers for it: `firewall` (HTML 403), `redirect` (302 to a login page).
    """

    start: float
    end: float
    mode: str


@frozen
class Losses:
    """How often requests come to grief, each a probability.

    `unsent`: no connection; `before`: lost on the way there; `after`: the vendor acts, its answer is lost; `page`: a 502
    page before the vendor acts; `torn`: the vendor acts, half of the answer comes; `limited`: 429 with Retry-After.
    """

    unsent: float = 0.0
    before: float = 0.0
    after: float = 0.0
    page: float = 0.0
    torn: float = 0.0
    limited: float = 0.0


@frozen
class VendorPlan:
    """One vendor: its temper and its network. `rtt_s` is (median, sigma) of a lognormal round trip.

    Its habits, each a probability: `odd_ids`: a createTask that makes a task is answered with an error beside the id;
    `endless`: a task is in work for ever; `foreign`: a poll is answered with another task's id beside its solution.
    """

    provider: str
    rtt_s: tuple[float, float]
    solve_s: tuple[float, float]
    failure_rate: float
    workers: int | None
    processing: str
    submit: Losses
    poll: Losses
    outages: tuple[Outage, ...]
    odd_ids: float = 0.0
    endless: float = 0.0
    foreign: float = 0.0


@frozen
class AccountPlan:
    """One account: `tasks_paid` how many tasks its balance pays for, `top_up_at` when it is filled up (inf: never).

    The key is wrong from `key_dies_at` on (0: never known) and right again, as another key, from `key_renewed_at` on.
    `create_refused` is from when to when createTask alone calls the key unknown: polls are answered as ever.
    """

    provider: str
    name: str
    slots: int | None
    tasks_paid: int | None
    top_up_at: float
    key_dies_at: float
    key_renewed_at: float
    max_in_flight: int
    create_refused: tuple[float, float] = (math.inf, math.inf)


@frozen
class Arrival:
    """One solve: when it comes, on which account, and how its caller behaves. `leaves_after` (seconds) cancels."""

    at: float
    account: int
    kind: str
    timeout_s: float
    wait: bool | None
    leaves_after: float
    abandons: bool


@frozen
class Plan:
    """A world."""

    seed: int
    vendors: tuple[VendorPlan, ...]
    accounts: tuple[AccountPlan, ...]
    arrivals: tuple[Arrival, ...]
    restarts: tuple[tuple[float, float], ...] = ()
    """Killed at, started again at."""
    suspends: tuple[tuple[float, float, bool], ...] = ()
    """At, for how long, and whether the monotonic clock counts the time asleep."""
    wall_jumps: tuple[tuple[float, float], ...] = ()
    """At, by how much."""
    journal_s: float = 0.0
    journal_faults: tuple[tuple[float, float], ...] = ()
    """The journal cannot be written from, to."""
    balance_asked_s: float = math.inf
    """How often the user asks for every account's balance."""
    adaptive: bool = True
    """Whether polls are planned from what was learned of the solve times; costs two thirds of a world's time."""
    orphans_fetched: float = field(default=0.5)
    """How many of the callers that left come back for their result."""


def draw(seed: int, *, solves: int = 200) -> Plan:
    """The world of a seed, with about `solves` solves (a few worlds have one, a few have 5,000)."""
    chance = Random(f"world/{seed}")
    calm = chance.random() < 0.3
    count = 1 if chance.random() < 0.02 else max(1, int(solves * chance.choice((0.3, 0.6, 1.0, 1.0, 1.5))))
    if seed % 500 == 499:
        count = 5000
    providers = chance.sample(PROVIDERS, chance.choice((1, 1, 2, 3)))
    span_s = chance.choice((0.0, 5.0, 60.0, 300.0))
    vendors = tuple(_vendor(chance, seed, provider, count, span_s, calm=calm) for provider in providers)
    accounts = tuple(
        _account(chance, seed, vendor.provider, number, count, span_s, calm=calm)
        for vendor in vendors
        for number in range(chance.choice((1, 1, 1, 2)))
    )
    arrivals = _arrivals(chance, count, span_s, accounts, calm=calm)
    rough = not calm
    restarts: tuple[tuple[float, float], ...] = ()
    if rough and chance.random() < 0.4:
        restarts = _restarts(chance, span_s, arrivals)
    suspends: tuple[tuple[float, float, bool], ...] = ()
    if rough and chance.random() < 0.1:
        suspends = ((chance.uniform(0.0, span_s + 60.0), chance.choice((60.0, 7200.0)), chance.random() < 0.5),)
    wall_jumps: tuple[tuple[float, float], ...] = ()
    if chance.random() < 0.2:
        wall_jumps = tuple((chance.uniform(0.0, span_s + 60.0), chance.choice((-86400.0, 86400.0))) for _ in range(2))
    journal_faults: tuple[tuple[float, float], ...] = ()
    if rough and chance.random() < 0.1:
        start = chance.uniform(0.0, span_s + 30.0)
        journal_faults = ((start, start + chance.choice((0.5, 10.0))),)
    return Plan(
        seed=seed,
        vendors=vendors,
        accounts=accounts,
        arrivals=arrivals,
        restarts=restarts,
        suspends=suspends,
        wall_jumps=wall_jumps,
        journal_s=chance.choice((0.0, 0.0, 0.002, 0.05)),
        journal_faults=journal_faults,
        balance_asked_s=chance.choice((math.inf, math.inf, 7.0, 60.0)),
        adaptive=chance.random() < 0.3,
    )


def _vendor(chance: Random, seed: int, provider: str, count: int, span_s: float, *, calm: bool) -> VendorPlan:
    losses = [Losses(), Losses()]
    if not calm:
        for index in range(2):
            if chance.random() < 0.5:
                level = chance.choice((0.01, 0.1, 0.6))
                losses[index] = Losses(
                    unsent=level * chance.random() * 0.3,
                    before=level * chance.random() * 0.2,
                    after=level * chance.random() * 0.2,
                    page=level * chance.random() * 0.15,
                    torn=level * chance.random() * 0.15,
                    limited=chance.choice((0.0, 0.0, 0.02)),
                )
    outages: list[Outage] = []
    while not calm and chance.random() < 0.35 and len(outages) < 3:
        start = chance.uniform(0.0, span_s + 40.0) if chance.random() < 0.8 else 0.0
        mode = chance.choice(("hang", "refuse", "page", "no_slots", "no_slots", "block"))
        outages.append(Outage(start, start + chance.choice((3.0, 20.0, 60.0, 200.0)), mode))
    # What was added later draws from a stream of its own, so that the worlds of older seeds stay what they were.
    later = Random(f"later/{seed}/{provider}")
    if not calm and later.random() < 0.15:
        losses[0] = Losses(unsent=later.choice((0.4, 0.7)))
    habits = Random(f"habits/{seed}/{provider}")
    if not calm and habits.random() < 0.25:
        start = habits.uniform(0.0, span_s + 40.0)
        mode = habits.choice(("firewall", "redirect"))
        outages.append(Outage(start, start + habits.choice((3.0, 20.0, 90.0, 400.0)), mode))
    return VendorPlan(
        provider=provider,
        rtt_s=(chance.choice((0.02, 0.05, 0.2, 0.6)), chance.choice((0.0, 0.3))),
        solve_s=(chance.choice((1.0, 4.0, 12.0, 30.0)), chance.choice((0.0, 0.4, 0.8))),
        failure_rate=0.0 if provider == "ezcaptcha" else chance.choice((0.0, 0.0, 0.05, 0.3)),
        workers=None if calm or chance.random() < 0.7 else max(1, int(count * chance.choice((0.05, 0.3)))),
        processing=chance.choice(("plain", "mixed")) if provider == "capmonster" else "plain",
        submit=losses[0],
        poll=losses[1],
        outages=tuple(outages),
        odd_ids=habits.choice((0.0, 0.0, 0.0, 0.05, 0.3)) if not calm else 0.0,
        endless=habits.choice((0.0, 0.0, 0.0, 0.02, 0.1)) if not calm else 0.0,
        foreign=habits.choice((0.0, 0.0, 0.0, 0.1)) if not calm else 0.0,
    )


def _account(
    chance: Random, seed: int, provider: str, number: int, count: int, span_s: float, *, calm: bool
) -> AccountPlan:
    dies_at = renewed_at = top_up_at = math.inf
    paid: int | None = None
    if not calm and chance.random() < 0.15:
        dies_at = 0.0 if chance.random() < 0.5 else chance.uniform(0.0, span_s + 30.0)
        if chance.random() < 0.5:
            renewed_at = dies_at + chance.uniform(5.0, 300.0)
    if not calm and chance.random() < 0.15:
        paid = chance.choice((0, 5, count // 3))
        if chance.random() < 0.6:
            top_up_at = chance.uniform(1.0, span_s + 200.0)
    habits = Random(f"habits/{seed}/{provider}/{number}")
    create_refused = (math.inf, math.inf)
    if not calm and dies_at == math.inf and habits.random() < 0.3:
        start = habits.uniform(0.0, span_s * 0.6 + 0.5)  # while solves come
        create_refused = (start, start + habits.choice((10.0, 200.0, math.inf)))
    return AccountPlan(
        provider=provider,
        create_refused=create_refused,
        name=f"{provider}-{number}",
        slots=None if calm or chance.random() < 0.6 else max(1, int(count * chance.choice((0.02, 0.1, 0.5)))),
        tasks_paid=paid,
        top_up_at=top_up_at,
        key_dies_at=dies_at,
        key_renewed_at=renewed_at,
        max_in_flight=chance.choice((10_000, 10_000, 20)),
    )


def _arrivals(
    chance: Random, count: int, span_s: float, accounts: tuple[AccountPlan, ...], *, calm: bool
) -> tuple[Arrival, ...]:
    times: list[float] = []
    while len(times) < count:
        start = chance.uniform(0.0, span_s)
        burst = min(count - len(times), chance.choice((1, 3, 20, 200, 5000)))
        times.extend(start + chance.random() * chance.choice((0.0, 1.0)) for _ in range(burst))
    kinds = {name: chance.sample(known, chance.choice((1, 1, 2))) for name, known in KINDS.items()}
    impatient = 0.0 if calm else chance.choice((0.0, 0.1, 0.5))
    timeout_s = chance.choice((60.0, 120.0, 300.0, 600.0))
    waits = chance.choice((None, None, True, False))
    arrivals: list[Arrival] = []
    for at in sorted(times):
        account = chance.randrange(len(accounts))
        arrivals.append(
            Arrival(
                at=at,
                account=account,
                kind=chance.choice(kinds[accounts[account].provider]),
                timeout_s=timeout_s,
                wait=waits,
                leaves_after=chance.expovariate(1 / 10.0) if chance.random() < impatient else math.inf,
                abandons=chance.random() < 0.2,
            )
        )
    return tuple(arrivals)


def _restarts(chance: Random, span_s: float, arrivals: tuple[Arrival, ...]) -> tuple[tuple[float, float], ...]:
    restarts: list[tuple[float, float]] = []
    at = 0.0
    for _ in range(chance.choice((1, 1, 2, 4))):
        if chance.random() < 0.5:
            # While requests are on their way.
            at = max(at, chance.choice(arrivals).at) + chance.choice((0.01, 0.1, 1.0)) * (0.1 + chance.random())
        else:
            at += chance.uniform(0.1, span_s / 2 + 20.0)
        again = at + chance.choice((0.1, 2.0, 30.0))
        restarts.append((at, again))
        at = again
    return tuple(restarts)
