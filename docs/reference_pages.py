"""Writes the API reference: which public names stand on which page. What they mean is in their docstrings.

Used by generate.py; the pages hold mkdocstrings directives, which the site's build turns into signatures and text. A
public name that no page lists, and a page that lists a name twice, is an error.
"""

from __future__ import annotations

import anycap

# page, title, one line, and the names on it: those of whole modules of `anycap`, then dotted names elsewhere.
PAGES: tuple[tuple[str, str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("client", "Client and accounts", "What you open, and what you ask it.", ("client", "accounts", "engine.health", "callbacks", "queues"), ()),
    ("challenges", "Challenges", "What is to be solved, for any vendor.", ("challenges",), ()),
    ("solutions", "Solutions, tickets, balances", "What comes back.", ("results", "tickets", "outcomes"), ()),
    ("exceptions", "Exceptions", "What is raised, and the error language behind it.", ("errors", "normalize", "taxonomy"), ()),
    ("settings", "Settings", "Every number you may set.", ("settings",), ()),
    ("shared", "Many machines", "The server that a fleet of clients shares.", ("shared.settings",), ()),
    ("events", "Events", "What a hook receives.", ("events",), ()),
    ("secrets", "Secrets", "How keys are held.", ("credentials",), ()),
    (
        "emulator",
        "Emulator and test tools",
        "The emulated vendors, virtual time, and pytest fixtures.",
        (),
        (
            "anycap.emulator.emulator.Emulator", "anycap.emulator.options.VendorOptions", "anycap.emulator.in_process.InProcess",
            "anycap.emulator.model.Vendor", "anycap.emulator.access.Access",
            "anycap.emulator.faults.Fault", "anycap.emulator.server.serve", "anycap.emulator.virtual.run_virtual",
            "anycap.testing.rehearse", "anycap.testing.emulated.emulated_client", "anycap.testing.emulated.VirtualTime",
            "anycap.testing.ModelJournal", "anycap.testing.JournalFault",
            "anycap.testing.pytest_plugin", "anycap.testing.conformance",
            "anycap.testing.conformance.journals.JournalBench", "anycap.testing.conformance.journals.JournalConformance",
            "anycap.testing.conformance.limits.LimitsBench", "anycap.testing.conformance.limits.LimitsMember",
            "anycap.testing.conformance.limits.LimitsConformance", "anycap.testing.model_limits.ModelFleet",
            "anycap.testing.model_limits.ModelLimits",
        ),
    ),
    ("contrib", "Frameworks", "Glue for web frameworks; each module is imported only by you.", (), ("anycap.contrib.aiohttp", "anycap.contrib.starlette", "anycap.contrib.scrapy", "anycap.contrib.shutdown", "anycap.contrib.http_errors")),
    ("telemetry", "Metrics, traces, status page", "Hooks for OpenTelemetry and Prometheus, and the status page; each module is imported only by you.", (), ("anycap.contrib.opentelemetry", "anycap.contrib.prometheus", "anycap.contrib.status")),
    (
        "ports",
        "Ports",
        "What you implement to keep tickets elsewhere or to speak HTTP differently.",
        ("journal.port", "transport.port", "engine.runtime"),
        (
            "anycap.journal.port.Entry", "anycap.journal.port.Record", "anycap.journal.port.RecordKind",
            "anycap.journal.port.SharedJournal", "anycap.journal.port.Capability",
            "anycap.journal.limits.Limits", "anycap.journal.limits.LimitReport", "anycap.journal.limits.ReportKind",
            "anycap.journal.limits.AccountSeen", "anycap.journal.limits.StopSeen", "anycap.journal.limits.SlotWish",
            "anycap.journal.limits.RuleWish",
            "anycap.transport.port.Request", "anycap.transport.port.Body", "anycap.transport.port.Answer",
            "anycap.transport.port.Failure", "anycap.transport.port.FailureKind", "anycap.transport.port.Delivery",
        ),
    ),
)  # fmt: skip

HEAD = "Everything here that has no module before its name is imported from `anycap` itself: `from anycap import Client`.\n"


def names_on(modules: tuple[str, ...]) -> list[str]:
    """The public names of these modules, in the order in which a reader would look for them."""
    return [name for module in modules for name in sorted(anycap._MODULE_OF) if anycap._MODULE_OF[name] == module]


def reference_pages() -> dict[str, str]:
    """Every page of the reference by its path below docs/, the index `api.md` included."""
    listed = [name for _, _, _, modules, _ in PAGES for name in names_on(modules)]
    missing = set(anycap._MODULE_OF) - set(listed)
    if missing or len(listed) != len(set(listed)):
        raise SystemExit(
            f"docs/reference_pages.py: no page, or two pages, list {', '.join(sorted(missing)) or 'a name'}"
        )
    pages = {}
    index = f"# API reference\n\n{HEAD}"
    for page, title, line, modules, more in PAGES:
        names = [*(f"anycap.{name}" for name in names_on(modules)), *more]
        pages[f"reference/{page}.md"] = f"# {title}\n\n{line}\n\n" + "\n".join(f"::: {name}" for name in names) + "\n"
        shown = [f"[`{name.removeprefix('anycap.')}`](reference/{page}.md#{name})" for name in names]
        index += f"\n## {title}\n\n{line}\n\n" + ",\n".join(shown) + "\n"
    return pages | {"api.md": index}


def navigation() -> str:
    """The pages as lines of the site's navigation."""
    return "".join(f'      {{ "{title}" = "reference/{page}.md" }},\n' for page, title, *_ in PAGES)
