"""Every job of the project, by name: `nox -l` lists them, `nox -s NAME` runs one in an environment of its own.

Only Python 3.11 or newer, pip and git are needed; each session installs what it uses. `.ci/run` calls these sessions.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import nox

if sys.version_info < (3, 11):  # noqa: UP036 - nox itself also runs on older versions; say it in words
    raise SystemExit(f"anycap needs Python 3.11 or newer to develop; nox runs on {sys.version.split()[0]}")

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "docs", "build", "tests"]

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
VERSIONS = nox.project.python_versions(PROJECT)


def install(session: nox.Session, *groups: str) -> None:
    """Install the checkout (editable) and the named dependency groups of pyproject.toml."""
    wanted = list(dict.fromkeys(need for group in groups for need in nox.project.dependency_groups(PROJECT, group)))
    session.install("-e", ".", *wanted)


@nox.session
def demo(session: nox.Session) -> None:
    """Watch a few dozen tasks being solved at four emulated vendors, faults and all."""
    session.install("-e", ".")
    session.run("anycap", "demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests on the Python that runs nox; arguments go to pytest: `nox -s tests -- tests/core -x`."""
    install(session, "test")
    session.run("python", "-m", "pytest", "-q", *session.posargs)


@nox.session(python=VERSIONS)
def matrix(session: nox.Session) -> None:
    """Run the tests on every supported Python that is installed here."""
    install(session, "test")
    session.run("python", "-m", "pytest", "-q", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the tests with branch coverage and show what no test reaches."""
    install(session, "test")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "-q", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def lint(session: nox.Session) -> None:
    """ruff (its S rules are bandit's), and zizmor over the workflows, offline."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("zizmor", "--offline", "--quiet", ".github/workflows")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict and pyright, over the code and over the typing cases of the public API."""
    install(session, "types")
    session.run("mypy")
    session.run("pyright", env={"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"})
    session.run("python", "-m", "pytest", "-q", "tests/typing")


@nox.session
def docs(session: nox.Session) -> None:
    """Write the generated pages anew and build the site into site/, offline."""
    install(session, "docs")
    session.run("python", "docs/generate.py", *session.posargs)
    session.run("zensical", "build", "--clean", "--strict", env={"CI": "true"})


@nox.session
def build(session: nox.Session) -> None:
    """Build the wheel, check what is in it, and run the smoke tests against the installed wheel."""
    session.install(*nox.project.dependency_groups(PROJECT, "build"))
    out = Path(session.create_tmp()) / "dist"
    shutil.rmtree(out, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(out), ".", silent=True)
    (wheel,) = out.glob("*.whl")
    (sdist,) = out.glob("*.tar.gz")
    check_wheel(session, wheel)
    session.log(f"{wheel.name}: {wheel.stat().st_size:,} bytes; {sdist.name}: {sdist.stat().st_size:,} bytes")
    session.install("--force-reinstall", str(wheel), *nox.project.dependency_groups(PROJECT, "test"))
    smoke = ROOT / "tests" / "smoke"
    with tempfile.TemporaryDirectory() as elsewhere, session.chdir(elsewhere):  # nothing of the checkout is importable
        session.run(
            "python", "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", str(smoke)
        )


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


@nox.session
def lowest(session: nox.Session) -> None:
    """Run the tests with the oldest direct dependencies that pyproject.toml allows (needs uv to resolve them)."""
    session.install("uv>=0.5")
    groups = nox.project.dependency_groups(PROJECT, "test")
    session.run("uv", "pip", "install", "--quiet", "--resolution", "lowest-direct", "-e", ".[aiohttp]", *groups)
    session.run("python", "-m", "pytest", "-q", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure beside bare loops and write benchmarks/results: `nox -s bench -- transport --quick`, `-- --check`."""
    install(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def simulate(session: nox.Session) -> None:
    """Run simulated worlds with ban rules at full strength: `nox -s simulate -- --seeds 10000`."""
    install(session, "test")
    session.run("python", "-m", "tests.simulation", *session.posargs)


@nox.session
def torture(session: nox.Session) -> None:
    """Kill a solving process again and again and compare journal and ledgers: `nox -s torture -- 1000`."""
    install(session, "test")
    session.run("python", "-m", "tests.torture.kill", *(session.posargs or ["1000"]))


@nox.session
def fuzz(session: nox.Session) -> None:
    """Throw damaged answers at everything that reads them: `nox -s fuzz -- 1000000`."""
    install(session, "test")
    session.run("python", "tests/fuzz/fuzz_answers.py", *(session.posargs or ["1000000"]))


@nox.session
def mutation(session: nox.Session) -> None:
    """Change core/ in thousands of small ways and see which changes no test notices; long. Writes docs/mutation.md."""
    install(session, "mutation")
    session.run("mutmut", "run", *session.posargs, success_codes=[0, 1])
    session.run("python", "docs/mutation_report.py")


@nox.session
def audit(session: nox.Session) -> None:
    """pip-audit over what the package installs; says clearly when the advisory service cannot be reached."""
    session.install("-e", ".[aiohttp]", *nox.project.dependency_groups(PROJECT, "audit"))
    code = (  # what pip-audit asks for each package: advisories of one version
        "import json, urllib.request as r; "
        "print('vulnerabilities' in json.load(r.urlopen('https://pypi.org/pypi/attrs/24.2.0/json', timeout=10)))"
    )
    answer = session.run("python", "-c", code, silent=True, success_codes=[0, 1])
    if str(answer).strip() != "True":
        session.skip("NOT AUDITED: the advisory data at pypi.org cannot be reached from here")
    session.run("pip-audit", "--skip-editable", "--progress-spinner", "off")
