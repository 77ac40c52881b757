"""The test of the canary: leaks are planted in an inner test run, and each must turn its passing test into a failure."""

import pytest

pytest_plugins = ["pytester"]

INNER_TESTS = '''
import logging, sys
import pytest
from anycap.credentials import Secret
from anycap.results import TokenSolution

KEY = "canary-key-of-nobody-42"

class LeakyAccount:
    """As an Account would be whose repr forgot that the key is secret."""

    def __init__(self, key):
        self.key = Secret(key)

    def __repr__(self):
        return f"LeakyAccount(key={self.key._value!r})"

def test_leak_in_log():
    logging.getLogger("app").warning("using %r", LeakyAccount(KEY))

def test_leak_in_debug_log(caplog):
    caplog.set_level(logging.DEBUG)
    logging.debug("using %s", LeakyAccount(KEY))

def test_leak_in_logged_traceback():
    try:
        raise ValueError(repr(LeakyAccount(KEY)))
    except ValueError:
        logging.exception("failed")

def test_leak_on_stdout():
    print(LeakyAccount(KEY))

def test_leak_on_stderr():
    print(LeakyAccount(KEY), file=sys.stderr)

def test_leak_read_by_capsys(capsys):
    print(LeakyAccount(KEY))
    capsys.readouterr()

def test_leak_in_file(tmp_path):
    (tmp_path / "tasks.db").write_text(repr(LeakyAccount(KEY)))

def test_leak_of_a_token_in_log():
    solution = TokenSolution(token="03AFcWeA-a-token-of-a-good-length")
    logging.info("solved: %s", solution)
    logging.warning("solved: %s", solution.token)

def test_clean_token_printed_and_fingerprint_logged():
    solution = TokenSolution(token="03AFcWeA-a-token-of-a-good-length")
    print(solution.token)
    logging.warning("solved: %r", solution)

def test_clean_secret_shown_as_one(caplog):
    print(Secret(KEY))
    logging.warning("%r", Secret(KEY))

@pytest.mark.writes_secret
def test_clean_key_file_on_purpose(tmp_path):
    (tmp_path / "key").write_text(LeakyAccount(KEY).key._value)
'''


def test_every_planted_leak_fails_its_test_and_nothing_else_does(
    pytester: pytest.Pytester, pytestconfig: pytest.Config
) -> None:
    hooks = "from tests.canary import *"
    pytester.makeconftest(f"import sys\nsys.path.insert(0, {str(pytestconfig.rootpath)!r})\n{hooks}\n")
    pytester.makepyfile(INNER_TESTS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-v")
    outcome = {
        line.split("::")[1].split()[0]: line.split()[1] for line in result.outlines if "::test" in line and "%]" in line
    }
    assert len(outcome) == 11
    assert {name for name, word in outcome.items() if word == "FAILED"} == {
        n for n in outcome if n.startswith("test_leak")
    }
    assert "canary-key-of-nobody-42" not in "".join(line for line in result.outlines if "canary found" in line)
