# /// script
# requires-python = ">=3.11"
# dependencies = ["nox>=2025.10.14", "uv>=0.9"]
#
# [tool.nox]
# script-venv-backend = "virtualenv"
# script-download-python = "never"
# ///
"""Every job of the project, by name: `nox -s NAME` runs one in an environment of its own; arguments go after `--`.

Needs Python 3.11 or newer, pip and git; nox fetches uv, and uv installs what a session uses, in the versions of uv.lock.
Only `lowest`, `latest` and `pairs` do not use the lock file. `.ci/run` calls these sessions.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "docs", "build", "tests"]

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
VERSIONS = nox.project.python_versions(PROJECT)
UV = (sys.executable, "-m", "uv")  # for sessions without an environment, where nox does not look for its own uv
ON_ALL_CORES = ("-n", "auto", "--dist", "worksteal")
"""`worksteal` because a few tests take seconds: 178 s on two cores, `load` 235, `loadfile` 270, one process 295."""


def sync(session: nox.Session, *groups: str, options: tuple[str, ...] = ()) -> None:
    """Make the environment hold the checkout (editable) and the dependency groups exactly as uv.lock names them."""
    session.run_install(
        "uv",
        "sync",
        "--quiet",
        "--locked",  # a lock file that no longer fits pyproject.toml is an error: `nox -s lock`
        "--no-default-groups",
        f"--python={session.virtualenv.location}",
        *(f"--group={group}" for group in groups),
        *options,
        env={"UV_PROJECT_ENVIRONMENT": session.virtualenv.location},
    )


EXTRAS = {
    "aiohttp": "anycap.contrib.aiohttp",
    "cli": "shtab",
    "opentelemetry": "anycap.contrib.opentelemetry",
    "prometheus": "anycap.contrib.prometheus",
    "redis": "coredis",
    "scrapy": "anycap.contrib.scrapy",
    "starlette": "anycap.contrib.starlette",
    "trio": "trio",
}
"""What must be there with each extra alone. Those of anycap's own say which extra they need when theirs is missing."""
IMPORT_EXTRAS = """
import importlib, json, sys
import anycap, anycap.cli, anycap.contrib.status
wanted, modules = sys.argv[1], json.loads(sys.argv[2])
importlib.import_module(modules.pop(wanted))
for extra, module in modules.items():
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if module.startswith("anycap") and f"pip install 'anycap[{extra}]'" not in str(error):
            raise
"""


def resolve(session: nox.Session, *options: str) -> None:
    """Install the checkout with all its extras and what its tests need, not from the lock file."""
    session.run_install("uv", "pip", "install", "--quiet", *options, "--editable", ".[aiohttp,trio]", "--group", "test")


def pytest(session: nox.Session) -> None:
    """Run the tests: all, on all cores, or what the session's arguments say."""
    session.run("python", "-m", "pytest", "-q", *(session.posargs or ON_ALL_CORES))


@nox.session
def demo(session: nox.Session) -> None:
    """Watch a few dozen tasks being solved at four emulated vendors, faults and all."""
    sync(session)
    session.run("anycap", "demo", *session.posargs)


@nox.session(venv_backend="none")
def dev(session: nox.Session) -> None:
    """Put everything an editor and a commit need into .venv: the checkout, pytest, ruff, mypy, the commit hooks."""
    environment = {"VIRTUAL_ENV": str(ROOT / ".venv"), "UV_PYTHON_DOWNLOADS": "never"}
    session.run(*UV, "sync", "--quiet", "--active", "--locked", "--inexact", env=environment)
    session.run(*UV, "run", "--active", "--no-sync", "pre-commit", "install", env=environment, success_codes=[0, 1])


@nox.session
def tests(session: nox.Session) -> None:
    """All tests on the Python that runs nox, on all cores; or some: `nox -s tests -- tests/core -x`."""
    sync(session, "test")
    pytest(session)


@nox.session(python=VERSIONS)
def matrix(session: nox.Session) -> None:
    """All tests on every supported Python that is installed here; those not found are named as skipped."""
    sync(session, "test")
    pytest(session)


@nox.session
def lowest(session: nox.Session) -> None:
    """All tests with the oldest direct dependencies that pyproject.toml allows, not the locked ones."""
    resolve(session, "--resolution", "lowest-direct")
    session.run("uv", "pip", "list", "--quiet")
    pytest(session)


@nox.session
def latest(session: nox.Session) -> None:
    """All tests with the newest dependencies there are today, not the locked ones."""
    resolve(session, "--upgrade")
    session.run("uv", "pip", "list", "--quiet")
    pytest(session)


@nox.session
@nox.parametrize("newest", ["anyio", "trio"])
def pairs(session: nox.Session, newest: str) -> None:
    """All tests with the newest anyio and the oldest of the rest, and the same with trio: these two must fit."""
    resolve(session, "--resolution", "lowest-direct")
    resolve(session, "--upgrade-package", newest)
    session.run("uv", "pip", "list", "--quiet")
    pytest(session)


@nox.session
@nox.parametrize("extra", sorted(EXTRAS))
def extras(session: nox.Session, extra: str) -> None:
    """Each extra installed alone: its module is imported, and those of the others say what they lack."""
    session.run_install("uv", "pip", "install", "--quiet", f".[{extra}]")
    session.run("python", "-c", IMPORT_EXTRAS, extra, json.dumps(EXTRAS))


@nox.session
def coverage(session: nox.Session) -> None:
    """All tests with branch coverage; shows what no test reaches."""
    sync(session, "test")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "-q", *(session.posargs or ON_ALL_CORES))
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def lint(session: nox.Session) -> None:
    """The commit hooks over all files (ruff, its formatter, zizmor), the lock file's sources, the import contracts."""
    sync(session, "lint")
    session.run("pre-commit", "run", "--all-files", "--color=never")
    check_sources(session)
    session.run("lint-imports", "--no-cache")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict and pyright, over the code and over the typing cases of the public API."""
    sync(session, "types")
    session.run("mypy")
    session.run("pyright", env={"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"})
    session.run("python", "-m", "pytest", "-q", "tests/typing")


@nox.session
def docs(session: nox.Session) -> None:
    """The generated pages, written anew, and the site, built into site/ offline."""
    sync(session, "docs")
    session.run("python", "docs/generate.py", *session.posargs)
    session.run("zensical", "build", "--clean", "--strict", env={"CI": "true"})
    session.run("python", "docs/trim_search.py")
    session.run("python", "-m", "pytest", "-q", "tests/docs/test_site.py")


@nox.session
def browser(session: nox.Session) -> None:
    """The pages of ours in a headless Chromium (Debian: chromium): `nox -s docs browser`."""
    sync(session, "browser")
    session.run("python", "-m", "pytest", "-q", *(session.posargs or ["tests/browser"]))


@nox.session
def build(session: nox.Session) -> None:
    """The wheel: what is in it, and the smoke tests against it, installed."""
    sync(session, "build", "test", options=("--no-install-project",))
    out = Path(session.create_tmp()) / "dist"
    shutil.rmtree(out, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(out), ".", silent=True)
    (wheel,) = out.glob("*.whl")
    (sdist,) = out.glob("*.tar.gz")
    check_wheel(session, wheel)
    session.log(f"{wheel.name}: {wheel.stat().st_size:,} bytes; {sdist.name}: {sdist.stat().st_size:,} bytes")
    session.run_install("uv", "pip", "install", "--quiet", "--no-deps", "--reinstall", str(wheel))
    session.run("uv", "pip", "check")  # the wheel's own requirements, against what the lock file brought
    smoke = ROOT / "tests" / "smoke"
    with tempfile.TemporaryDirectory() as elsewhere, session.chdir(elsewhere):  # nothing of the checkout is importable
        session.run(
            "python", "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", str(smoke)
        )


@nox.session
def release(session: nox.Session) -> None:
    """What a release publishes, into dist/: built twice and compared, checked, with its bill of materials."""
    sync(session, "release", options=("--no-install-project",))
    dist = ROOT / "dist"
    again = Path(session.create_tmp()) / "again"
    epoch = str(session.run("git", "log", "-1", "--format=%ct", external=True, silent=True)).strip()
    for out in (dist, again):
        shutil.rmtree(out, ignore_errors=True)
        session.run("python", "-m", "build", "--outdir", str(out), ".", silent=True, env={"SOURCE_DATE_EPOCH": epoch})
    for first in sorted(dist.iterdir()):
        if first.read_bytes() != (again / first.name).read_bytes():
            session.error(f"{first.name} is not the same when it is built again")
    session.run("twine", "check", "--strict", *map(str, sorted(dist.iterdir())))
    (wheel,) = dist.glob("*.whl")
    tag = os.environ.get("GITHUB_REF_NAME", "") if os.environ.get("GITHUB_REF_TYPE") == "tag" else ""
    if tag and not wheel.name.startswith(f"anycap-{tag.removeprefix('v')}-"):
        session.error(f"the tag is {tag}, what was built is {wheel.name}")
    clean = Path(session.create_tmp()) / "installed"
    shutil.rmtree(clean, ignore_errors=True)
    session.run_install("uv", "venv", "--quiet", str(clean))
    session.run_install("uv", "pip", "install", "--quiet", f"--python={clean}", str(wheel))
    session.run("cyclonedx-py", "environment", "--output-file", str(dist / "sbom.cdx.json"), str(clean))
    session.log(f"in dist/: {', '.join(path.name for path in sorted(dist.iterdir()))}")


@nox.session
def bench(session: nox.Session) -> None:
    """Measures beside bare loops, into benchmarks/results: `nox -s bench -- transport --quick`, `-- --check`."""
    sync(session, "bench", "test")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def simulate(session: nox.Session) -> None:
    """Simulated worlds: ban rules, routing and budgets, keys and kills: `nox -s simulate -- --seeds 10000`."""
    sync(session, "test")
    for worlds in ("tests.simulation", "tests.simulation.routed", "tests.simulation.keyed"):
        session.run("python", "-m", worlds, *session.posargs)


@nox.session
def torture(session: nox.Session) -> None:
    """Kills a solving process again and again, compares journal and ledgers: `nox -s torture -- 1000`."""
    sync(session, "test")
    session.run("python", "-m", "tests.torture.kill", *(session.posargs or ["1000"]))


@nox.session
def fleet(session: nox.Session) -> None:
    """Kills and stops processes that share a real server, and the server, compares with the ledger: `nox -s fleet -- 200`."""
    sync(session, "test")
    session.run("python", "-m", "tests.fleet.dose", *(session.posargs or ["200"]))


@nox.session
def clients(session: nox.Session) -> None:
    """Run the vendors' and other people's public clients on the emulator (PyPI and npm): `nox -s clients -- unicaps`."""
    sync(session, "test")
    session.run("python", "-m", "tests.clients.run", *session.posargs)


@nox.session
def peers(session: nox.Session) -> None:
    """Compare other people's Python clients with this one, fault by fault, on the emulator: `nox -s peers -- --write`."""
    sync(session, "test")
    session.run("python", "-m", "tests.clients.compare", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Throws damaged answers at everything that reads them: `nox -s fuzz -- 1000000`."""
    sync(session, "test")
    session.run("python", "tests/fuzz/fuzz_answers.py", *(session.posargs or ["1000000"]))


@nox.session
def mutation(session: nox.Session) -> None:
    """Changes core/ in thousands of small ways, lists those no test notices in docs/mutation.md; takes hours."""
    sync(session, "mutation")
    session.run("mutmut", "run", *session.posargs, success_codes=[0, 1])
    session.run("python", "docs/mutation_report.py")


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities of the locked dependencies; needs pypi.org's JSON API, and is skipped in words without it."""
    sync(session, "audit", options=("--all-extras",))
    code = (  # what pip-audit asks for each package: advisories of one version
        "import json, urllib.request as r; "
        "print('vulnerabilities' in json.load(r.urlopen('https://pypi.org/pypi/attrs/24.2.0/json', timeout=10)))"
    )
    answer = session.run("python", "-c", code, silent=True, success_codes=[0, 1])
    if str(answer).strip() != "True":
        session.skip("NOT AUDITED: the advisory data at pypi.org cannot be reached from here")
    session.run("pip-audit", "--skip-editable", "--progress-spinner", "off")


@nox.session(venv_backend="none")
def lock(session: nox.Session) -> None:
    """Makes uv.lock fit pyproject.toml again; `nox -s lock -- --upgrade` takes the newest of everything."""
    session.run(*UV, "lock", "--no-config", "--default-index=https://pypi.org/simple", *session.posargs)
    check_sources(session)


def check_sources(session: nox.Session) -> None:
    """Fail if uv.lock names any host but PyPI's two: a mirror that one machine was set to, most likely."""
    hosts = set(re.findall(r'"https?://([^/"]+)', (ROOT / "uv.lock").read_text(encoding="utf-8")))
    if others := hosts - {"pypi.org", "files.pythonhosted.org"}:
        session.error(f"uv.lock names {', '.join(sorted(others))}: lock anew with `nox -s lock`")


def check_wheel(session: nox.Session, wheel: Path) -> None:
    """Fail unless the wheel holds every file of src/anycap, the licence and the marker for typing, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    source = ROOT / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in source.joinpath("anycap").rglob("*")
        if path.is_file() and path.suffix not in {".pyc", ".pyo"}
    }
    package = {name for name in inside if ".dist-info/" not in name}
    if "anycap/py.typed" not in package:
        session.error("the wheel lacks anycap/py.typed")
    if package != wanted:
        session.error(f"wheel and src/anycap differ in: {sorted(package ^ wanted)}")
    if not any(name.endswith("/licenses/LICENSE") for name in inside):
        session.error("the wheel lacks the licence")
