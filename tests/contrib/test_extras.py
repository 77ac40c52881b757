"""A module whose library is not installed says so in one line that names the extra. `nox -s extras` installs each alone."""

import subprocess
import sys

import pytest

WANTED = {
    "anycap.contrib.aiohttp": ("aiohttp", "aiohttp"),
    "anycap.contrib.scrapy": ("scrapy", "scrapy"),
    "anycap.contrib.starlette": ("starlette", "starlette"),
    "anycap.contrib.opentelemetry": ("opentelemetry", "opentelemetry"),
    "anycap.contrib.prometheus": ("prometheus_client", "prometheus"),
}
IMPORT = """
import importlib, sys
sys.modules[{library!r}] = None  # as if it were not installed
importlib.import_module({module!r})
"""


@pytest.mark.parametrize("module", WANTED)
def test_an_absent_library_is_one_clear_error_that_names_the_extra(module: str) -> None:
    library, extra = WANTED[module]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT.format(library=library, module=module)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == f"ModuleNotFoundError: {module} needs {library}: pip install 'anycap[{extra}]'"
    assert "During handling" not in done.stderr


def test_a_shared_server_without_its_library_is_one_clear_error_that_names_the_extra() -> None:
    code = """
import sys
sys.modules["coredis"] = None  # as if it were not installed
from anycap import Account, Client, ConfigurationError, Shared
try:
    Client(Account("anti-captcha", "0123456789abcdef"), shared=Shared("redis://127.0.0.1:1"))
except ConfigurationError as error:
    print(error, error.__cause__, error.__context__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "shared= needs coredis: pip install 'anycap[redis]'. Nothing was sent. None None"


def test_anycap_itself_imports_none_of_them() -> None:
    code = "import sys, anycap; anycap.Client; print([name for name in sys.argv[1:] if name in sys.modules])"
    libraries = [*(library for library, _ in WANTED.values()), "coredis"]
    done = subprocess.run([sys.executable, "-c", code, *libraries], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
