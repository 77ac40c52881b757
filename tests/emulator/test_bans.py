"""Ban rules at the vendors' full numbers: one less is let through, the last one brings the penalty."""

import json

import pytest

from tests.emulator.vendor_caller import Caller


def create_codes(caller: Caller, count: int, key: str = "KEY") -> list[str]:
    return [caller.create(key=key).get("errorCode") or "ok" for _ in range(count)]


class TestYesCaptchaNoSlots:
    def test_19_no_slot_answers_in_a_minute_are_let_through(self) -> None:
        caller = Caller("yescaptcha")
        caller.vendor.no_slots(30)
        assert create_codes(caller, 19) == ["ERROR_NO_SLOT_AVAILABLE"] * 19
        caller.clock.advance(31)
        assert caller.create()["errorId"] == 0
        assert caller.vendor.bans.imposed == []

    def test_the_20th_blocks_task_creation_for_20_seconds(self) -> None:
        caller = Caller("yescaptcha")
        caller.vendor.no_slots(1)
        assert create_codes(caller, 20) == ["ERROR_NO_SLOT_AVAILABLE"] * 20
        caller.clock.advance(19.9)
        assert create_codes(caller, 1) == ["ERROR_NO_SLOT_AVAILABLE_BLOCK"]
        caller.clock.advance(0.2)
        assert caller.create()["errorId"] == 0

    def test_the_block_stops_only_task_creation(self) -> None:
        caller = Caller("yescaptcha")
        task_id = caller.create()["taskId"]
        caller.vendor.no_slots(1)
        create_codes(caller, 20)
        assert caller.result(task_id)["errorId"] == 0
        assert caller.call("getBalance")["errorId"] == 0

    def test_no_slot_answers_leave_the_window_after_60_seconds(self) -> None:
        caller = Caller("yescaptcha")
        caller.vendor.no_slots(200)
        create_codes(caller, 10)
        caller.clock.advance(60)
        assert create_codes(caller, 19) == ["ERROR_NO_SLOT_AVAILABLE"] * 19
        assert caller.vendor.bans.imposed == []

    def test_another_key_is_not_blocked_with_it(self) -> None:
        caller = Caller("yescaptcha")
        caller.vendor.add_account("OTHER")
        caller.vendor.no_slots(1)
        create_codes(caller, 20)
        caller.clock.advance(2)
        assert create_codes(caller, 1) == ["ERROR_NO_SLOT_AVAILABLE_BLOCK"]
        assert caller.create(key="OTHER")["errorId"] == 0

    def test_knocking_20_times_during_the_block_begins_it_anew(self) -> None:
        caller = Caller("yescaptcha")
        caller.vendor.no_slots(1)
        create_codes(caller, 20)
        caller.clock.advance(10)
        assert create_codes(caller, 20) == ["ERROR_NO_SLOT_AVAILABLE_BLOCK"] * 20
        caller.clock.advance(15)
        assert create_codes(caller, 1) == ["ERROR_NO_SLOT_AVAILABLE_BLOCK"]


class TestYesCaptchaErrorFlood:
    def test_1000_errors_in_a_minute_ban_the_address_for_30_minutes(self) -> None:
        caller = Caller("yescaptcha")
        caller.vendor.no_slots(1000)
        for number in range(1000):
            caller.vendor.add_account(f"K{number}")
        codes = [caller.create(key=f"K{number}")["errorCode"] for number in range(999)]
        assert set(codes) == {"ERROR_NO_SLOT_AVAILABLE"}
        assert caller.vendor.bans.imposed == []
        caller.create(key="K999")
        assert [ban.rule for ban in caller.vendor.bans.imposed] == ["error-flood"]
        caller.clock.advance(1799)
        assert caller.call("getBalance")["errorCode"] == "ERROR_IP_BANNED"
        caller.clock.advance(1.1)
        assert caller.call("getBalance")["errorId"] == 0

    def test_the_ban_is_of_the_address_and_no_other(self) -> None:
        caller = Caller("yescaptcha")
        caller.vendor.no_slots(1000)
        for number in range(1000):
            caller.vendor.add_account(f"K{number}")
            caller.create(key=f"K{number}")
        body = json.dumps({"clientKey": "KEY"})
        assert json.loads(caller.ask("getBalance", body))["errorCode"] == "ERROR_IP_BANNED"
        assert json.loads(caller.ask("getBalance", body, address="127.0.0.9"))["errorId"] == 0


class TestEzCaptchaKeyErrors:
    @pytest.mark.parametrize(("method", "penalty_s"), [("createTask", 180), ("getTaskResult", 60)])
    def test_30_wrong_key_answers_a_minute_ban_the_key(self, method: str, penalty_s: int) -> None:
        caller = Caller("ezcaptcha")
        codes = [caller.call(method, "BAD", task=caller.task, taskId="x")["errorCode"] for _ in range(30)]
        assert codes == ["ERROR_KEY_DOES_NOT_EXIST"] * 30
        assert caller.call(method, "BAD", task=caller.task)["errorCode"] == "ERROR_REQUEST_BANNED"
        assert caller.create()["errorId"] == 0, "the good key of the same address goes on"
        caller.clock.advance(penalty_s + 0.1)
        assert caller.call(method, "BAD", task=caller.task)["errorCode"] == "ERROR_KEY_DOES_NOT_EXIST"

    def test_29_are_let_through(self) -> None:
        caller = Caller("ezcaptcha")
        for _ in range(29):
            caller.create(key="BAD")
        assert caller.vendor.bans.imposed == []

    def test_an_empty_balance_counts_with_them(self) -> None:
        caller = Caller("ezcaptcha", balance=0)
        assert create_codes(caller, 30) == ["ERROR_ZERO_BALANCE"] * 30
        assert create_codes(caller, 1) == ["ERROR_REQUEST_BANNED"]


class TestPollLimits:
    def test_120_polls_of_a_capmonster_task_pass_and_the_121st_blocks_for_ten_minutes(self) -> None:
        caller = Caller("capmonster", solve_time=170.0)
        task_id = caller.create()["taskId"]
        for _ in range(120):
            caller.clock.advance(2)
            assert caller.result(task_id)["errorId"] == 0
        assert caller.vendor.bans.imposed == []
        caller.clock.advance(2)
        assert caller.result(task_id)["errorCode"] == "ERROR_IP_BLOCKED"
        caller.clock.advance(599)
        assert caller.call("getBalance")["errorCode"] == "ERROR_IP_BLOCKED"
        caller.clock.advance(2)
        assert caller.call("getBalance")["errorId"] == 0
        assert caller.vendor.poll_violations == 1

    def test_the_121st_poll_of_a_yescaptcha_task_finds_it_gone(self) -> None:
        caller = Caller("yescaptcha", solve_time=100.0)
        task_id = caller.create()["taskId"]
        for _ in range(120):
            assert caller.result(task_id)["errorId"] == 0
        assert caller.result(task_id)["errorCode"] == "ERROR_TASKID_INVALID"

    def test_polls_of_an_unknown_id_bring_capmonsters_block(self) -> None:
        caller = Caller("capmonster")
        for _ in range(600):
            assert caller.result(99)["errorCode"] == "ERROR_NO_SUCH_CAPCHA_ID"
        assert caller.call("getBalance")["errorCode"] == "ERROR_IP_BLOCKED"


class TestBooksOfBans:
    def test_a_ban_names_rule_time_and_fingerprint_but_no_key(self) -> None:
        caller = Caller("yescaptcha")
        caller.vendor.no_slots(1)
        caller.clock.advance(0.5)
        create_codes(caller, 20)
        ban = caller.vendor.bans.imposed[0].to_json()
        assert ban["rule"] == "no-slot-burst"
        assert (ban["at"], ban["until"]) == (0.5, 20.5)
        assert ban["who"].startswith("sha256:")
        assert "KEY" not in ban["who"]

    def test_a_block_on_purpose_ends_by_itself(self) -> None:
        caller = Caller("anti-captcha")
        caller.vendor.block(5)
        answer = caller.call("getBalance")
        assert (answer["errorId"], answer["errorCode"]) == (21, "ERROR_IP_BLOCKED")
        caller.clock.advance(5)
        assert caller.call("getBalance")["errorId"] == 0
