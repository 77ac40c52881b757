"""Ban rules at the vendors' full numbers: one less is let through, the last one brings the penalty."""

import json

import pytest

from tests.emulator.world_for_tests import Caller


def create_codes(desk: Caller, count: int, key: str = "KEY") -> list[str]:
    return [desk.create(key=key).get("errorCode") or "ok" for _ in range(count)]


class TestYesCaptchaNoSlots:
    def test_19_no_slot_answers_in_a_minute_are_let_through(self) -> None:
        desk = Caller("yescaptcha")
        desk.vendor.no_slots(30)
        assert create_codes(desk, 19) == ["ERROR_NO_SLOT_AVAILABLE"] * 19
        desk.clock.advance(31)
        assert desk.create()["errorId"] == 0
        assert desk.vendor.bans.imposed == []

    def test_the_20th_blocks_task_creation_for_20_seconds(self) -> None:
        desk = Caller("yescaptcha")
        desk.vendor.no_slots(1)
        assert create_codes(desk, 20) == ["ERROR_NO_SLOT_AVAILABLE"] * 20
        desk.clock.advance(19.9)
        assert create_codes(desk, 1) == ["ERROR_NO_SLOT_AVAILABLE_BLOCK"]
        desk.clock.advance(0.2)
        assert desk.create()["errorId"] == 0

    def test_the_block_stops_only_task_creation(self) -> None:
        desk = Caller("yescaptcha")
        task_id = desk.create()["taskId"]
        desk.vendor.no_slots(1)
        create_codes(desk, 20)
        assert desk.result(task_id)["errorId"] == 0
        assert desk.call("getBalance")["errorId"] == 0

    def test_no_slot_answers_leave_the_window_after_60_seconds(self) -> None:
        desk = Caller("yescaptcha")
        desk.vendor.no_slots(200)
        create_codes(desk, 10)
        desk.clock.advance(60)
        assert create_codes(desk, 19) == ["ERROR_NO_SLOT_AVAILABLE"] * 19
        assert desk.vendor.bans.imposed == []

    def test_another_key_is_not_blocked_with_it(self) -> None:
        desk = Caller("yescaptcha")
        desk.vendor.add_account("OTHER")
        desk.vendor.no_slots(1)
        create_codes(desk, 20)
        desk.clock.advance(2)
        assert create_codes(desk, 1) == ["ERROR_NO_SLOT_AVAILABLE_BLOCK"]
        assert desk.create(key="OTHER")["errorId"] == 0

    def test_knocking_20_times_during_the_block_begins_it_anew(self) -> None:
        desk = Caller("yescaptcha")
        desk.vendor.no_slots(1)
        create_codes(desk, 20)
        desk.clock.advance(10)
        assert create_codes(desk, 20) == ["ERROR_NO_SLOT_AVAILABLE_BLOCK"] * 20
        desk.clock.advance(15)
        assert create_codes(desk, 1) == ["ERROR_NO_SLOT_AVAILABLE_BLOCK"]


class TestYesCaptchaErrorFlood:
    def test_1000_errors_in_a_minute_ban_the_address_for_30_minutes(self) -> None:
        desk = Caller("yescaptcha")
        desk.vendor.no_slots(1000)
        for number in range(1000):
            desk.vendor.add_account(f"K{number}")
        codes = [desk.create(key=f"K{number}")["errorCode"] for number in range(999)]
        assert set(codes) == {"ERROR_NO_SLOT_AVAILABLE"}
        assert desk.vendor.bans.imposed == []
        desk.create(key="K999")
        assert [ban.rule for ban in desk.vendor.bans.imposed] == ["error-flood"]
        desk.clock.advance(1799)
        assert desk.call("getBalance")["errorCode"] == "ERROR_IP_BANNED"
        desk.clock.advance(1.1)
        assert desk.call("getBalance")["errorId"] == 0

    def test_the_ban_is_of_the_address_and_no_other(self) -> None:
        desk = Caller("yescaptcha")
        desk.vendor.no_slots(1000)
        for number in range(1000):
            desk.vendor.add_account(f"K{number}")
            desk.create(key=f"K{number}")
        body = json.dumps({"clientKey": "KEY"})
        assert json.loads(desk.ask("getBalance", body))["errorCode"] == "ERROR_IP_BANNED"
        assert json.loads(desk.ask("getBalance", body, address="127.0.0.9"))["errorId"] == 0


class TestEzCaptchaKeyErrors:
    @pytest.mark.parametrize(("method", "penalty_s"), [("createTask", 180), ("getTaskResult", 60)])
    def test_30_wrong_key_answers_a_minute_ban_the_key(self, method: str, penalty_s: int) -> None:
        desk = Caller("ezcaptcha")
        codes = [desk.call(method, "BAD", task=desk.task, taskId="x")["errorCode"] for _ in range(30)]
        assert codes == ["ERROR_KEY_DOES_NOT_EXIST"] * 30
        assert desk.call(method, "BAD", task=desk.task)["errorCode"] == "ERROR_REQUEST_BANNED"
        assert desk.create()["errorId"] == 0, "the good key of the same address goes on"
        desk.clock.advance(penalty_s + 0.1)
        assert desk.call(method, "BAD", task=desk.task)["errorCode"] == "ERROR_KEY_DOES_NOT_EXIST"

    def test_29_are_let_through(self) -> None:
        desk = Caller("ezcaptcha")
        for _ in range(29):
            desk.create(key="BAD")
        assert desk.vendor.bans.imposed == []

    def test_an_empty_balance_counts_with_them(self) -> None:
        desk = Caller("ezcaptcha", balance=0)
        assert create_codes(desk, 30) == ["ERROR_ZERO_BALANCE"] * 30
        assert create_codes(desk, 1) == ["ERROR_REQUEST_BANNED"]


class TestPollLimits:
    def test_120_polls_of_a_capmonster_task_pass_and_the_121st_blocks_for_ten_minutes(self) -> None:
        desk = Caller("capmonster", solve_time=170.0)
        task_id = desk.create()["taskId"]
        for _ in range(120):
            desk.clock.advance(2)
            assert desk.result(task_id)["errorId"] == 0
        assert desk.vendor.bans.imposed == []
        desk.clock.advance(2)
        assert desk.result(task_id)["errorCode"] == "ERROR_IP_BLOCKED"
        desk.clock.advance(599)
        assert desk.call("getBalance")["errorCode"] == "ERROR_IP_BLOCKED"
        desk.clock.advance(2)
        assert desk.call("getBalance")["errorId"] == 0
        assert desk.vendor.poll_violations == 1

    def test_the_121st_poll_of_a_yescaptcha_task_finds_it_gone(self) -> None:
        desk = Caller("yescaptcha", solve_time=100.0)
        task_id = desk.create()["taskId"]
        for _ in range(120):
            assert desk.result(task_id)["errorId"] == 0
        assert desk.result(task_id)["errorCode"] == "ERROR_TASKID_INVALID"

    def test_polls_of_an_unknown_id_bring_capmonsters_block(self) -> None:
        desk = Caller("capmonster")
        for _ in range(150):
            assert desk.result(99)["errorCode"] == "ERROR_NO_SUCH_CAPCHA_ID"
        assert desk.call("getBalance")["errorCode"] == "ERROR_IP_BLOCKED"


class TestBooksOfBans:
    def test_a_ban_names_rule_time_and_fingerprint_but_no_key(self) -> None:
        desk = Caller("yescaptcha")
        desk.vendor.no_slots(1)
        desk.clock.advance(0.5)
        create_codes(desk, 20)
        ban = desk.vendor.bans.imposed[0].to_json()
        assert ban["rule"] == "no-slot-burst"
        assert (ban["at"], ban["until"]) == (0.5, 20.5)
        assert ban["who"].startswith("sha256:")
        assert "KEY" not in ban["who"]

    def test_a_block_on_purpose_ends_by_itself(self) -> None:
        desk = Caller("anti-captcha")
        desk.vendor.block(5)
        answer = desk.call("getBalance")
        assert (answer["errorId"], answer["errorCode"]) == (21, "ERROR_IP_BLOCKED")
        desk.clock.advance(5)
        assert desk.call("getBalance")["errorId"] == 0
