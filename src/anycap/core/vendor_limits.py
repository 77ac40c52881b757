"""What a vendor demands, as values: poll timing per task type and ban rules. Loaded from a catalog, used by the core.

No decision lives here: `polling.py` and `guard.py` act on these values, and the emulator enforces them.
"""

from attrs import frozen

from anycap.taxonomy import Code, Scope

ASSUMED_LIFE_S = 3600.0
"""Ours: vendors that name a life keep tasks for 2 to 5 minutes, and give up on tokens after 2 to 10. An hour loses nobody's
task, AntiGate's scenarios included, and ends one that the vendor has forgotten. Catalogs say less where a type is quicker."""


@frozen
class Timing:
    """When one task type of one vendor may and should be asked about. All in seconds; `polls_max` is a count.

    `first_s` is the wait from acceptance to the first poll, `gap_s` the usual wait between polls (send to send). `min_first_s`
    and `min_gap_s` are the vendor's floors, which nothing learned goes below: from acceptance to the first poll, and from the
    end of a poll to the next send of the same task. `polls_max` polls may be sent in all; after `life_s` the vendor has
    dropped the task. Where no source gives that number, a task that is not solved after `assumed_life_s` is taken for one that
    never will be. `result_life_s` is how long a finished result is kept. `token_life_s` is how long the solution is of
    use. None means that no source gives a number. `sync` types are answered in the createTask response.
    """

    first_s: float = 5.0
    gap_s: float = 3.0
    min_first_s: float = 0.0
    min_gap_s: float = 0.0
    polls_max: int | None = None
    life_s: float | None = None
    assumed_life_s: float = ASSUMED_LIFE_S
    result_life_s: float | None = None
    token_life_s: float | None = None
    sync: bool = False


@frozen
class BanRule:
    """One way to get banned: `count_max` bad answers within `window_s` bring `penalty_s` of answers `vendor_code`.

    `codes` are the shared codes that count (empty: every error); `methods` the vendor methods that count (empty: all).
    `scope` is ACCOUNT (one key) or ADDRESS (every key from this machine). `blocks` are the methods that the penalty
    stops (empty: all). `assumed` marks a threshold that the vendor does not publish; `source` says where it comes from.
    """

    name: str
    count_max: int
    window_s: float
    penalty_s: float
    vendor_code: str
    scope: Scope
    codes: frozenset[Code] = frozenset()
    methods: frozenset[str] = frozenset()
    blocks: frozenset[str] = frozenset()
    assumed: bool = False
    source: str = ""
