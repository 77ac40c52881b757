"""`anycap completion`: a script that names every command, made without importing what the commands need."""

from __future__ import annotations

import subprocess
import sys

import pytest

from anycap.cli import COMMANDS, main


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_the_script_names_every_command(shell: str) -> None:
    pytest.importorskip("shtab")
    # In a process of its own: the script holds every short word, and some test's placeholder secret may be one.
    command = [sys.executable, "-m", "anycap", "completion", shell]
    script = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [name for name in COMMANDS if name not in script] == []
    assert "provider" in script


def test_without_shtab_the_message_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert "anycap[cli]" in capsys.readouterr().err
