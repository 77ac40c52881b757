"""Money, slots, expiry and reports: what the ledger says after each thing that can happen to a task."""

from decimal import Decimal

import pytest

from anycap.credentials import fingerprint
from anycap.emulator.ledger import TaskState
from tests.emulator.vendor_caller import PAGE, Caller, b64, png


class TestMoney:
    def test_a_solved_task_costs_its_price(self) -> None:
        caller = Caller("anti-captcha", balance=1)
        caller.result(caller.solved())
        assert caller.call("getBalance")["balance"] == 0.998
        assert caller.vendor.ledger.charged == Decimal("0.002")

    def test_an_image_costs_less_than_a_token(self) -> None:
        caller = Caller("anti-captcha", balance=1)
        caller.create({"type": "ImageToTextTask", "body": b64(png())})
        assert caller.call("getBalance")["balance"] == 0.9993

    def test_an_unsolvable_task_is_billed_at_anti_captcha(self) -> None:
        caller = Caller("anti-captcha", balance=1, failure_rate=1.0)
        answer = caller.result(caller.solved())
        assert (answer["errorId"], answer["errorCode"]) == (12, "ERROR_CAPTCHA_UNSOLVABLE")
        assert caller.call("getBalance")["balance"] == 0.998

    @pytest.mark.parametrize("provider", ["capmonster", "yescaptcha", "ezcaptcha", "2captcha", "capsolver"])
    def test_an_unsolvable_task_is_free_elsewhere(self, provider: str) -> None:
        caller = Caller(provider, balance=100, failure_rate=1.0)
        assert caller.result(caller.solved())["errorId"] != 0
        assert caller.call("getBalance")["balance"] == 100
        assert caller.vendor.ledger.tasks[0].state is TaskState.FAILED
        assert caller.vendor.ledger.charged == 0

    def test_a_pending_task_holds_its_price(self) -> None:
        caller = Caller("anti-captcha", balance="0.003")
        assert caller.create()["errorId"] == 0
        answer = caller.create()
        assert (answer["errorId"], answer["errorCode"]) == (10, "ERROR_ZERO_BALANCE")

    def test_a_top_up_lets_tasks_through_again(self) -> None:
        caller = Caller("capmonster", balance=0)
        assert caller.create()["errorCode"] == "ERROR_ZERO_BALANCE"
        caller.vendor.account().top_up("0.0008")
        assert caller.create()["errorId"] == 0
        assert caller.call("getBalance")["balance"] == 0

    def test_accounts_pay_for_themselves(self) -> None:
        caller = Caller("anti-captcha", balance=1)
        caller.vendor.add_account("OTHER", balance=5)
        caller.create(key="OTHER")
        assert caller.call("getBalance")["balance"] == 1
        assert caller.call("getBalance", "OTHER")["balance"] == 4.998


class TestTime:
    def test_anti_captcha_keeps_a_result_59_seconds_and_not_61(self) -> None:
        caller = Caller("anti-captcha")
        early, late = caller.create()["taskId"], caller.create()["taskId"]
        caller.clock.advance(10 + 59)
        assert caller.result(early)["status"] == "ready"
        caller.clock.advance(2)
        answer = caller.result(late)
        assert (answer["errorId"], answer["errorCode"]) == (16, "ERROR_NO_SUCH_CAPCHA_ID")
        assert caller.vendor.task(late).state is TaskState.EXPIRED
        assert caller.vendor.task(early).state is TaskState.SOLVED, "it was delivered before it was dropped"
        assert caller.vendor.ledger.charged == Decimal("0.004"), "a lost result is paid all the same"

    def test_a_result_stays_while_it_is_asked_for_again(self) -> None:
        caller = Caller("anti-captcha")
        task_id = caller.solved()
        assert caller.result(task_id)["solution"] == caller.result(task_id)["solution"]
        assert caller.vendor.task(task_id).delivered == 2

    @pytest.mark.parametrize("provider", ["capmonster", "yescaptcha"])
    def test_a_task_is_gone_300_seconds_after_creation(self, provider: str) -> None:
        caller = Caller(provider)
        task_id = caller.create()["taskId"]
        caller.clock.advance(299.9)
        assert caller.result(task_id)["status"] == "ready"
        caller.clock.advance(2.1)
        assert caller.result(task_id)["errorId"] == 1

    def test_solve_times_do_not_depend_on_polling(self) -> None:
        finished = []
        for polls in (0, 7):
            caller = Caller("anti-captcha", solve_time=None)
            for _ in range(5):
                task_id = caller.create()["taskId"]
                for _ in range(polls):
                    caller.result(task_id)
            caller.clock.advance(200)
            caller.vendor.advance_to()
            finished.append([task.settled_at for task in caller.vendor.ledger.tasks])
        assert finished[0] == finished[1]

    def test_speed_divides_solve_times_only(self) -> None:
        caller = Caller("capmonster", speed=10.0, strict_pacing=True)
        task_id = caller.create()["taskId"]
        caller.clock.advance(1)
        assert caller.result(task_id)["status"] == "ready"
        caller.clock.advance(1.9)
        assert caller.result(task_id)["errorCode"] == "ERROR_TOO_MUCH_REQUESTS"

    def test_a_law_may_be_given_per_type(self) -> None:
        caller = Caller("anti-captcha", solve_time={"ImageToTextTask": 1.0, "*": (20.0, 0.0)})
        image = caller.create({"type": "ImageToTextTask", "body": b64(png())})["taskId"]
        token = caller.create()["taskId"]
        caller.clock.advance(1)
        assert caller.result(image)["status"] == "ready"
        caller.clock.advance(18.9)
        assert caller.result(token)["status"] == "processing"
        caller.clock.advance(0.2)
        assert caller.result(token)["status"] == "ready"


class TestSlots:
    @pytest.mark.parametrize(
        ("provider", "code"),
        [
            ("anti-captcha", "ERROR_NO_SLOT_AVAILABLE"),
            ("capmonster", "ERROR_NO_SLOT_AVAILABLE"),
            ("yescaptcha", "ERROR_THREADS_MAXIMUM"),
            ("ezcaptcha", "ERROR_NO_SLOT_AVAILABLE"),
            ("capsolver", "ERROR_RATE_LIMIT"),
        ],
    )
    def test_a_full_account_gets_the_vendors_own_code_until_a_task_ends(self, provider: str, code: str) -> None:
        caller = Caller(provider, slots=2)
        assert caller.create()["errorId"] == 0
        assert caller.create()["errorId"] == 0
        assert caller.create()["errorCode"] == code
        caller.clock.advance(10)
        assert caller.create()["errorId"] == 0

    def test_the_vendors_workers_are_shared_by_all_accounts(self) -> None:
        caller = Caller("yescaptcha", workers=1)
        caller.vendor.add_account("OTHER")
        caller.create(key="OTHER")
        assert caller.create()["errorCode"] == "ERROR_NO_SLOT_AVAILABLE"

    def test_an_outage_of_one_type_leaves_the_others_alone(self) -> None:
        caller = Caller("anti-captcha")
        caller.vendor.no_slots(5, "ImageToTextTask")
        image = {"type": "ImageToTextTask", "body": b64(png())}
        assert caller.create(image)["errorCode"] == "ERROR_NO_SLOT_AVAILABLE"
        assert caller.create()["errorId"] == 0
        caller.clock.advance(5)
        assert caller.create(image)["errorId"] == 0


class TestAccess:
    def test_an_account_may_be_bound_to_addresses(self) -> None:
        caller = Caller("anti-captcha")
        caller.vendor.add_account("BOUND", allowed_addresses=["192.0.2.1"])
        answer = caller.call("getBalance", "BOUND")
        assert (answer["errorId"], answer["errorCode"]) == (11, "ERROR_IP_NOT_ALLOWED")

    def test_a_suspended_account_says_so_and_a_closed_one_is_unknown(self) -> None:
        caller = Caller("anti-captcha")
        account = caller.vendor.account("KEY")
        account.suspended = True
        assert caller.call("getBalance")["errorId"] == 55
        account.closed = True
        assert caller.call("getBalance")["errorId"] == 1


class TestReports:
    def recaptcha(self, caller: Caller) -> int:
        task_id = caller.solved()
        assert isinstance(task_id, int)
        return task_id

    def test_a_report_in_time_is_accepted_once(self) -> None:
        caller = Caller("anti-captcha")
        task_id = self.recaptcha(caller)
        caller.clock.advance(59.9)
        assert caller.call("reportIncorrectRecaptcha", taskId=task_id) == {"errorId": 0, "status": "success"}
        answer = caller.call("reportIncorrectRecaptcha", taskId=task_id)
        assert (answer["errorId"], answer["errorCode"]) == (16, "ERROR_NO_SUCH_CAPCHA_ID")
        assert caller.vendor.task(task_id).report == "incorrect"

    def test_a_report_after_60_seconds_is_too_late(self) -> None:
        caller = Caller("anti-captcha")
        task_id = self.recaptcha(caller)
        caller.clock.advance(60.1)
        assert caller.call("reportIncorrectRecaptcha", taskId=task_id)["errorId"] == 16

    def test_a_task_still_in_work_cannot_be_reported(self) -> None:
        caller = Caller("anti-captcha")
        task_id = caller.create()["taskId"]
        assert caller.call("reportIncorrectRecaptcha", taskId=task_id)["errorId"] == 16

    def test_the_wrong_report_method_does_not_find_the_task(self) -> None:
        caller = Caller("anti-captcha")
        task_id = self.recaptcha(caller)
        for method in ("reportIncorrectImageCaptcha", "reportIncorrectHcaptcha"):
            assert caller.call(method, taskId=task_id)["errorId"] == 16
        assert caller.call("reportCorrectRecaptcha", taskId=task_id)["errorId"] == 0

    def test_the_russian_image_queue_takes_no_reports(self) -> None:
        caller = Caller("anti-captcha")
        english = caller.create({"type": "ImageToTextTask", "body": b64(png())})["taskId"]
        russian = caller.create({"type": "ImageToTextTask", "body": b64(png()), "languagePool": "rn"})["taskId"]
        caller.clock.advance(10)
        assert caller.call("reportIncorrectImageCaptcha", taskId=english)["errorId"] == 0
        assert caller.call("reportIncorrectImageCaptcha", taskId=russian)["errorId"] == 16

    def test_below_100_tasks_in_24_hours_a_report_is_accepted_but_does_not_count(self) -> None:
        caller = Caller("anti-captcha")
        for _ in range(98):
            caller.create()
        task_id = self.recaptcha(caller)
        caller.call("reportIncorrectRecaptcha", taskId=task_id)
        assert caller.vendor.task(task_id).report_counted is False
        hundredth = self.recaptcha(caller)
        caller.call("reportIncorrectRecaptcha", taskId=hundredth)
        assert caller.vendor.task(hundredth).report_counted is True

    def test_capmonster_states_no_window_and_knows_an_alias(self) -> None:
        caller = Caller("capmonster")
        first, second = caller.create()["taskId"], caller.create()["taskId"]
        caller.clock.advance(200)
        assert caller.call("reportIncorrectTokenCaptcha", taskId=first) == {"errorId": 0, "status": "success"}
        assert caller.call("reportIncorrectRecaptcha", taskId=second) == {"errorId": 0, "status": "success"}
        assert caller.call("reportIncorrectImageCaptcha", taskId=second)["errorId"] == 1

    def test_2captcha_has_one_pair_for_all_types(self) -> None:
        caller = Caller("2captcha")
        first, second = caller.create()["taskId"], caller.create()["taskId"]
        caller.clock.advance(10)
        assert caller.call("reportCorrect", taskId=first)["errorId"] == 0
        assert caller.call("reportIncorrect", taskId=second)["errorId"] == 0

    def test_yescaptcha_has_no_reports(self) -> None:
        assert Caller("yescaptcha").call("reportCorrect", taskId="x")["errorCode"] == "ERROR_PAGE_NOT_FOUND"


class TestStatistics:
    def test_spending_is_told_by_the_hour(self) -> None:
        caller = Caller("anti-captcha", epoch_s=1_700_000_000)  # 22:13:20, so an hour begins 1,699,999,200
        caller.create()
        caller.clock.advance(3600)
        caller.create()
        data = caller.call("getSpendingStats", date=1_699_999_200)["data"]
        assert data == [
            {"dateFrom": 1_699_999_200, "dateTill": 1_700_002_799, "volume": 1, "money": 0.002},
            {"dateFrom": 1_700_002_800, "dateTill": 1_700_006_399, "volume": 1, "money": 0.002},
        ]

    def test_spending_may_be_asked_by_queue_app_and_address(self) -> None:
        caller = Caller("anti-captcha")
        caller.create(softId=7)
        caller.create({"type": "ImageToTextTask", "body": b64(png())})

        def volume(**fields: object) -> int:
            return sum(row["volume"] for row in caller.call("getSpendingStats", **fields)["data"])

        assert volume() == 2
        assert volume(queue="English ImageToText") == 1
        assert volume(queue="Recaptcha Proxyless") == 1
        assert volume(softId=7) == 1
        assert volume(ip="192.0.2.1") == 0

    def test_app_statistics_are_for_the_owner(self) -> None:
        caller = Caller("anti-captcha")
        caller.vendor.add_account("OWNER", apps=[7])
        assert caller.call("getAppStats", softId=7)["errorCode"] == "ERROR_ACCESS_DENIED"
        answer = caller.call("getAppStats", "OWNER", softId=7, mode="money")
        assert set(answer) == {"errorId", "chartData", "fromDate", "toDate"}
        assert caller.call("getAppStats", "OWNER", softId=7, mode="weather")["errorId"] == 24


class TestAntiGate:
    TASK = {
        "type": "AntiGateTask", "websiteURL": PAGE["websiteURL"], "templateName": "Sign-in",
        "variables": {"login": "me", "code": "_WAIT_FOR_IT_"},
    }  # fmt: skip

    def test_a_task_waits_for_its_variable(self) -> None:
        caller = Caller("anti-captcha")
        task_id = caller.create(self.TASK)["taskId"]
        caller.clock.advance(30)
        assert caller.result(task_id)["status"] == "processing"
        answer = caller.call("pushAntiGateVariable", taskId=task_id, name="code", value="123456")
        assert answer == {"errorId": 0, "status": "success"}
        caller.clock.advance(10)
        assert caller.result(task_id)["status"] == "ready"

    def test_a_variable_nobody_waits_for_is_refused(self) -> None:
        caller = Caller("anti-captcha")
        task_id = caller.create(self.TASK)["taskId"]
        assert caller.call("pushAntiGateVariable", taskId=task_id, name="login", value="x")["errorId"] == 24

    def test_an_unknown_template_is_said_at_creation(self) -> None:
        caller = Caller("anti-captcha")
        caller.vendor.account().missing_templates = frozenset({"Sign-in"})
        assert caller.create(self.TASK)["errorId"] == 56


class TestCallbacks:
    def test_a_finished_task_calls_back_once_with_what_a_poll_would_say(self) -> None:
        caller = Caller("capmonster")
        task_id = caller.create(callbackUrl="http://127.0.0.1:9/cb/abc")["taskId"]
        assert caller.vendor.due_callbacks() == []
        caller.clock.advance(10)
        (callback,) = caller.vendor.due_callbacks()
        assert (callback.url, callback.task_id, callback.at) == ("http://127.0.0.1:9/cb/abc", task_id, 10.0)
        caller.clock.advance(1)
        polled = caller.ask("getTaskResult", f'{{"clientKey":"KEY","taskId":{task_id}}}')
        assert callback.body == polled
        assert caller.vendor.due_callbacks() == []

    def test_a_vendor_without_callbacks_sends_none(self) -> None:
        caller = Caller("yescaptcha")
        caller.create(callbackUrl="http://127.0.0.1:9/cb")
        caller.clock.advance(20)
        assert caller.vendor.due_callbacks() == []


class TestPrivacy:
    def test_the_ledger_shows_fingerprints_and_no_field_of_a_task(self) -> None:
        caller = Caller("anti-captcha")
        caller.create()
        line = caller.vendor.ledger.to_json()["tasks"][0]
        assert line["account"] == fingerprint("KEY")
        assert PAGE["websiteURL"] not in str(line)
        assert line["amount"] == "0.002"
        assert line["state"] == "pending"
