"""What a vendor's catalog says about tasks, as values: types and fields per challenge, waits, proxy form, images, methods.

They are read from the TOML in `task_tables.py`. What is done with them: `encode.py` (requests), `preflight.py` (checks),
`solutions.py` (answers), `reports.py`, `matrix.py` (tables for the docs).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import Factory, field, frozen

from anycap.core.vendor_limits import Timing


@frozen
class ImageRule:
    """Which images a vendor takes: size in bytes, formats by magic bytes, and pixel sizes (empty: any).

    Between `bytes_warn` and `bytes_max` an image is sent with a warning. `side_max` bounds width and height.
    """

    bytes_min: int = 1
    bytes_max: int | None = None
    bytes_warn: int | None = None
    formats: tuple[str, ...] = ()
    animated: bool = True
    sides: tuple[int, ...] = ()
    side_max: int | None = None
    source: str = ""


@frozen
class ProxyRule:
    """How a vendor wants a proxy written.

    `form`: `fields` (proxyType, proxyAddress, proxyPort, proxyLogin, proxyPassword), `fields_without_type`, `url` (one
    URL in `proxy`) or `colon` (`type:ip:port:user:pass` in `proxy`). `ip_only`: no host names. `private_refused`: no
    local networks. `login_required`: a proxy without login and password is refused.
    """

    form: str = "fields"
    schemes: tuple[str, ...] = ("http", "https", "socks4", "socks5")
    ip_only: bool = False
    private_refused: bool = False
    login_required: bool = False
    source: str = ""


@frozen
class UserAgentRule:
    """Which user agents a vendor's workers can take on: `contains` are words of which one must be in it (empty: any).

    Another one is sent with a warning: what is accepted changes faster than a catalog.
    """

    contains: tuple[str, ...] = ()
    source: str = ""


@frozen
class Target:
    """Where one challenge field goes: a path in the task (`metadata.Task`), or a field beside it (`^languagePool`)."""

    path: tuple[str, ...]
    conversion: str = ""
    top: bool = False


@frozen
class Variant:
    """Another type name of the vendor for the same challenge, with waits of its own where they differ."""

    type: str
    timing: Timing
    with_proxy: bool = False


def _filled(spec: TaskSpec) -> tuple[tuple[tuple[str, ...], Any], ...]:
    given = (*spec.defaults.items(), *spec.constants.items())
    return tuple((tuple(path.split(".")), value) for path, value in given)


@frozen
class TaskSpec:
    """How one vendor takes one challenge: type name, field names, checks, waits, shape of the solution.

    `type` is the name without a proxy (None: the vendor demands one), `type_with_proxy` the name with one (None: the
    vendor takes none). `when` selects on challenge fields; `given` are fields that must be set to select this spec.
    `required` must be set, `ignored` have no place here and do no harm: they are left out with a warning. `constants`
    and `defaults` are vendor fields; `filled` are both, defaults first, each with the steps of its path. `shape` is how the
    solution is read, `cells_from` the number that the vendor gives to the first cell of a grid. `confirmed` is False where
    no vendor page was read, or pages contradict each other.
    """

    challenge: str
    type: str | None
    type_with_proxy: str | None
    timing: Timing
    shape: str
    fields: Mapping[str, tuple[Target, ...]] = field(factory=dict)
    when: Mapping[str, Any] = field(factory=dict)
    given: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    allowed: Mapping[str, tuple[Any, ...]] = field(factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(factory=dict)
    constants: Mapping[str, Any] = field(factory=dict)
    defaults: Mapping[str, Any] = field(factory=dict)
    variants: Mapping[str, Variant] = field(factory=dict)
    images: ImageRule = field(factory=ImageRule)
    proxy: ProxyRule = field(factory=ProxyRule)
    main_fields: tuple[str, ...] = ()
    cells_from: int = 0
    confirmed: bool = True
    source: str = ""
    filled: tuple[tuple[tuple[str, ...], Any], ...] = field(
        init=False, repr=False, eq=False, default=Factory(_filled, takes_self=True)
    )

    @property
    def types(self) -> tuple[str, ...]:
        """Every type name this challenge may be sent under, variants included."""
        names = [self.type, self.type_with_proxy, *self.variants]
        return tuple(dict.fromkeys(name for name in names if name))


@frozen
class MethodSpec:
    """One API method of a vendor.

    `keyed`: sent with `clientKey`. `fields` may be given, `required` must. `read_only`: repeating it changes nothing.
    `costs`: it is paid for, so `call()` refuses it as it does createTask. `min_interval_s`: how often the vendor wants it at
    the most (None: nothing stated).
    `verb` and `url` differ from POST and `<base URL>/<name>` only for odd ones. For report methods, `reports` is
    `incorrect` or `correct`, `kinds` the challenges it accepts (empty: all), `window_s` the seconds after the end of
    the task in which a report is taken (None: no limit stated), `volume_min` how many tasks of these kinds the
    account must have made in `volume_window_s` for the vendor to count the report, `languages` the language pools it
    takes, and `constants` what is sent with it.
    """

    name: str
    path: str
    keyed: bool = True
    fields: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    read_only: bool = True
    costs: bool = False
    min_interval_s: float | None = None
    verb: str = "POST"
    url: str | None = None
    reports: str | None = None
    kinds: tuple[str, ...] = ()
    window_s: float | None = None
    volume_min: int | None = None
    volume_window_s: float = 86_400.0
    languages: tuple[str, ...] = ()
    constants: Mapping[str, Any] = field(factory=dict)
    confirmed: bool = True
    source: str = ""


def _specs_by_challenge(tables: TaskTables) -> Mapping[str, tuple[TaskSpec, ...]]:
    # Looked up for every task, and a catalog has some fifty specs. Their order is kept: the first that fits is taken.
    kinds = dict.fromkeys(spec.challenge for spec in tables.tasks)
    return {kind: tuple(spec for spec in tables.tasks if spec.challenge == kind) for kind in kinds}


def _timings_by_type(tables: TaskTables) -> Mapping[str, Timing]:
    # The first spec to name a type has the last word, and a variant before a main type.
    timings: dict[str, Timing] = {}
    for spec in reversed(tables.tasks):
        timings |= {name: spec.timing for name in (spec.type, spec.type_with_proxy) if name}
    for spec in reversed(tables.tasks):
        timings |= {name: variant.timing for name, variant in spec.variants.items()}
    return timings


@frozen
class TaskTables:
    """Everything a catalog says about tasks and methods."""

    provider: str
    tasks: tuple[TaskSpec, ...] = ()
    timings: Mapping[str, Timing] = field(factory=dict)
    proxy: ProxyRule | None = None
    images: ImageRule = field(factory=ImageRule)
    user_agent: UserAgentRule = field(factory=UserAgentRule)
    methods: Mapping[str, MethodSpec] = field(factory=dict)
    _by_challenge: Mapping[str, tuple[TaskSpec, ...]] = field(
        init=False, repr=False, eq=False, default=Factory(_specs_by_challenge, takes_self=True)
    )
    _by_type: Mapping[str, Timing] = field(
        init=False, repr=False, eq=False, default=Factory(_timings_by_type, takes_self=True)
    )

    def specs_for(self, kind: str) -> tuple[TaskSpec, ...]:
        """The specs of one challenge kind, in the catalog's order."""
        return self._by_challenge.get(kind, ())

    def timing_of(self, vendor_type: str) -> Timing:
        """The waits of a vendor type; those of the class `default` (else `token`) when the type is not modelled."""
        known = self._by_type.get(vendor_type)
        return known or self.timings.get("default") or self.timings.get("token") or Timing()
