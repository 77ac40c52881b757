"""`python -m anycap emulator` and the pytest fixtures, as users run them: in a process of their own."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import pytest

from anycap.emulator import DEFAULT_KEY, Emulator
from anycap.emulator.command import main
from anycap.emulator.thread import serve_in_thread
from tests.emulator.vendor_caller import TOKEN_TASKS

COMMAND = [sys.executable, "-m", "anycap.emulator.command"]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_one_json_line_serves_and_stops_cleanly(stop: signal.Signals, tmp_path: Path) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text('{"faults": [{"action": "http", "provider": "capmonster", "status": 503}]}')
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", "--json", "--speed", "1000", "--faults", str(faults), "--balance", "7"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "ANYCAP_EMULATOR_KEY": "my-own-key"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        urls = json.loads(process.stdout.readline())
        assert list(urls) == ["anti-captcha", "capmonster", "yescaptcha", "ezcaptcha", "ports", "control"]
        assert urls["anti-captcha"].startswith("http://127.0.0.1:")
        assert list(urls["ports"]) == ["anti-captcha", "capmonster", "yescaptcha", "ezcaptcha"]
        own = httpx.post(
            f"{urls['ports']['anti-captcha']}/getBalance", json={"clientKey": "my-own-key"}, trust_env=False
        )
        assert own.json() == {"errorId": 0, "balance": 7.0}
        balance = httpx.post(f"{urls['anti-captcha']}/getBalance", json={"clientKey": "my-own-key"}, trust_env=False)
        assert balance.json() == {"errorId": 0, "balance": 7.0}
        faulty = httpx.post(f"{urls['capmonster']}/getBalance", json={"clientKey": "my-own-key"}, trust_env=False)
        assert faulty.status_code == 503
    finally:
        process.send_signal(stop)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert out == ""
    assert "my-own-key" not in err
    assert "Traceback" not in err


def test_early_polls_are_told_when_it_stops() -> None:
    command = [*COMMAND, "--provider", "capmonster", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["capmonster"]
        order = {"clientKey": DEFAULT_KEY, "task": TOKEN_TASKS["capmonster"]}
        task_id = httpx.post(f"{url}/createTask", json=order, trust_env=False).json()["taskId"]
        for _ in range(3):
            poll = {"clientKey": DEFAULT_KEY, "taskId": task_id}
            assert httpx.post(f"{url}/getTaskResult", json=poll, trust_env=False).json()["errorId"] == 0
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=10)
    assert err == "capmonster: 2 polls came sooner than this vendor asks for\n"


def test_without_json_it_prints_a_line_per_vendor() -> None:
    with subprocess.Popen([*COMMAND, "--provider", "2captcha"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline().split() for _ in range(2)]
            assert [line[0] for line in lines] == ["2captcha", "control"]
            answer = httpx.get(f"{lines[1][1]}/ledger", trust_env=False).json()
            assert list(answer) == ["2captcha"]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=10)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--speed", "0"], "speed must be above 0"),
        (["--port", "70000"], "--port must be 0 to 65535"),
        (["--failure-rate", "2"], "failure_rate lies between 0 and 1"),
        (["--balance", "much"], "balance"),
        (["--faults", "/nowhere/faults.json"], "cannot be read"),
        (["--provider", "/nowhere/acme.toml"], "acme.toml: the catalog cannot be read"),
        (["--provider", "nobody"], "No provider is called 'nobody'"),
        (["--vendor-port", "capmonster"], "--vendor-port is NAME=PORT"),
        (["--vendor-port", "2captcha=8080"], "--vendor-port is NAME=PORT"),
        (["--allow-host", "http://x"], "is no host name"),
        (["--allow-callback", "http://example.com"], "callbacks go to http:// addresses of this machine"),
    ],
)
def test_a_wrong_argument_is_said_in_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize(("text", "words"), [("{", "not JSON"), ('[{"action":"boom"}]', "no action 'boom'")])
def test_a_wrong_fault_file_is_named(text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "faults.json"
    file.write_text(text)
    assert main(["--faults", str(file)]) == 2
    assert words in capsys.readouterr().err


def test_a_taken_port_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["--port", str(taken.getsockname()[1])]) == 1
    assert "cannot serve on 127.0.0.1" in capsys.readouterr().err


def test_the_fixtures_work_as_their_page_says(tmp_path: Path) -> None:
    """The plugin in a pytest of its own: options by marker, both doors, ledgers checked afterwards."""
    (tmp_path / "test_user.py").write_text(
        textwrap.dedent(
            """
            import json
            import httpx, pytest
            from anycap.credentials import encode_json
            from anycap.emulator import DEFAULT_KEY, InProcess
            from anycap.transport import Body, Request

            @pytest.mark.anyio
            @pytest.mark.anycap_emulator(balance=3, seed=8)
            async def test_in_process(anycap_emulator, anycap_transport):
                assert anycap_emulator.seed == 8
                url = anycap_emulator.base_url("capmonster") + "/getBalance"
                got = await anycap_transport.send(Request(url, Body({"clientKey": DEFAULT_KEY}, encode_json), 1.0))
                assert json.loads(got.body)["balance"] == 3

            def test_over_http(anycap_emulator_url, anycap_emulator):
                url = anycap_emulator_url["anti-captcha"] + "/getBalance"
                answer = httpx.post(url, json={"clientKey": DEFAULT_KEY}, trust_env=False)
                assert answer.json()["errorId"] == 0
                assert anycap_emulator.requests == 1

            def test_ledgers_are_checked(anycap_emulator):
                anycap_emulator["capmonster"].account().balance += 1
            """
        )
    )
    plugins = ["-p", "anyio.pytest_plugin", "-p", "anycap.testing.pytest_plugin"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--strict-markers", *plugins, "-o", "addopts=", "--rootdir", str(tmp_path)],
        cwd=tmp_path, env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    last = run.stdout.strip().splitlines()[-1]
    assert last.startswith(("3 passed, 1 error", "4 passed, 1 error")), run.stdout
    assert "balance 101, by the ledger 100" in run.stdout


def test_code_without_an_event_loop_is_served_from_a_thread() -> None:
    emulator = Emulator(providers=["capmonster"])
    with serve_in_thread(emulator) as urls:
        answer = httpx.post(f"{urls['capmonster']}/getBalance", json={"clientKey": DEFAULT_KEY}, trust_env=False)
        assert answer.json() == {"errorId": 0, "balance": 100.0}
    with pytest.raises(httpx.ConnectError):
        httpx.get(urls.control, trust_env=False)


def test_tasks_of_every_vendor_are_documented_types() -> None:
    from anycap.emulator.vendor_rules import catalog_of, type_spec

    for provider, task in TOKEN_TASKS.items():
        assert type_spec(catalog_of(provider), task["type"]) is not None
