"""Bytes in, bytes out, against the exchanges that the vendors' pages show, written down by hand."""

import json
import re

import pytest

from tests.emulator.vendor_caller import PAGE, TOKEN_TASKS, Caller, b64, png

TOKEN = r'"03A[A-Za-z0-9_-]{160}"'
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def matches(pattern: str, body: bytes) -> bool:
    return re.fullmatch(pattern, body.decode()) is not None


class TestAntiCaptcha:
    def test_create_poll_and_result_are_spelled_as_on_the_vendors_page(self) -> None:
        caller = Caller("anti-captcha", epoch_s=1472205564)
        image = b64(png())
        task = '{"clientKey":"KEY","task":{"type":"ImageToTextTask","body":"' + image + '"},"softId":0}'
        assert caller.ask("createTask", task) == b'{"errorId":0,"taskId":7654321}'
        poll = '{"clientKey":"KEY","taskId":7654321}'
        assert caller.ask("getTaskResult", poll) == b'{"errorId":0,"status":"processing"}'
        caller.clock.advance(10)
        assert matches(
            r'\{"errorId":0,"status":"ready","solution":\{"text":"[a-z0-9]{4,6}","url":"http://198\.51\.100\.7/\w+\.jpg"\},'
            r'"cost":"0\.000700","ip":"127\.0\.0\.1","createTime":1472205564,"endTime":1472205574,"solveCount":"0"\}',
            caller.ask("getTaskResult", poll),
        )

    def test_a_wrong_key_has_id_1_and_all_three_fields(self) -> None:
        answer = Caller("anti-captcha").call("createTask", "BAD", task={})
        assert list(answer) == ["errorId", "errorCode", "errorDescription"]
        assert (answer["errorId"], answer["errorCode"]) == (1, "ERROR_KEY_DOES_NOT_EXIST")
        assert answer["errorDescription"]

    def test_an_unknown_task_has_id_16_in_the_capcha_spelling(self) -> None:
        answer = Caller("anti-captcha").result(12345)
        assert (answer["errorId"], answer["errorCode"]) == (16, "ERROR_NO_SUCH_CAPCHA_ID")

    def test_a_balance_is_a_number_and_success_has_no_error_code(self) -> None:
        caller = Caller("anti-captcha", balance="14.12")
        assert caller.ask("getBalance", '{"clientKey":"KEY"}') == b'{"errorId":0,"balance":14.12}'

    def test_captcha_credits_are_in_the_balance_of_who_has_some(self) -> None:
        caller = Caller("anti-captcha", balance="14.12")
        caller.vendor.account().captcha_credits = 250
        assert caller.ask("getBalance", '{"clientKey":"KEY"}') == b'{"errorId":0,"balance":14.12,"captchaCredits":250}'

    def test_queue_stats_need_no_key_and_give_the_bid_as_text(self) -> None:
        caller = Caller("anti-captcha")
        answer = json.loads(caller.ask("getQueueStats", '{"queueId":6}'))
        assert list(answer) == ["waiting", "load", "bid", "speed", "total"]
        assert isinstance(answer["bid"], str)
        assert isinstance(answer["waiting"], int)

    def test_queue_stats_are_cached_for_ten_seconds(self) -> None:
        caller = Caller("anti-captcha")
        first = caller.ask("getQueueStats", '{"queueId":6}')
        caller.clock.advance(9.9)
        assert caller.ask("getQueueStats", '{"queueId":6}') == first
        caller.clock.advance(0.2)
        assert caller.ask("getQueueStats", '{"queueId":6}') != first

    def test_an_unknown_method_has_id_14(self) -> None:
        caller = Caller("anti-captcha")
        for method, verb in (("getTaskResults", "POST"), ("createTask", "GET")):
            answer = json.loads(caller.ask(method, b"{}", verb=verb))
            assert (answer["errorId"], answer["errorCode"]) == (14, "ERROR_NO_SUCH_METHOD")

    def test_a_numeric_string_is_taken_for_a_task_id(self) -> None:
        caller = Caller("anti-captcha")
        task_id = caller.solved()
        assert caller.result(str(task_id))["status"] == "ready"


class TestCapMonster:
    def test_create_poll_and_result_are_spelled_as_on_the_vendors_page(self) -> None:
        caller = Caller("capmonster")
        task = (
            '{"clientKey":"KEY","task":{"type":"RecaptchaV2Task","websiteURL":"https://example.com",'
            '"websiteKey":"SITEKEY"},"callbackUrl":"https://example.com/cb"}'
        )
        assert caller.ask("createTask", task) == b'{"errorId":0,"taskId":7654321}'
        poll = '{"clientKey":"KEY","taskId":7654321}'
        assert caller.ask("getTaskResult", poll) == (
            b'{"errorCode":null,"errorDescription":null,"errorId":0,"status":"processing"}'
        )
        caller.clock.advance(10)
        ready = r'\{"errorId":0,"status":"ready","solution":\{"gRecaptchaResponse":' + TOKEN + r"\}\}"
        assert matches(ready, caller.ask("getTaskResult", poll))

    def test_an_error_of_create_task_carries_task_id_0(self) -> None:
        answer = Caller("capmonster").create(key="BAD")
        assert list(answer) == ["errorId", "errorCode", "errorDescription", "taskId"]
        assert (answer["errorId"], answer["errorCode"], answer["taskId"]) == (1, "ERROR_KEY_DOES_NOT_EXIST", 0)

    def test_an_error_elsewhere_has_no_description(self) -> None:
        caller = Caller("capmonster")
        assert caller.result(1) == {"errorId": 1, "errorCode": "ERROR_NO_SUCH_CAPCHA_ID"}
        assert caller.result("abc") == {"errorId": 1, "errorCode": "WRONG_CAPTCHA_ID"}

    def test_polling_within_two_seconds_is_refused_in_strict_mode_and_the_task_lives(self) -> None:
        caller = Caller("capmonster", strict_pacing=True)
        task_id = caller.create()["taskId"]
        assert caller.result(task_id)["status"] == "processing"
        caller.clock.advance(1.99)
        assert caller.result(task_id) == {"errorId": 1, "errorCode": "ERROR_TOO_MUCH_REQUESTS"}
        caller.clock.advance(2.0)
        assert caller.result(task_id)["status"] == "processing"
        assert caller.vendor.gap_violations == 1

    def test_options_after_the_key_belong_to_the_same_account(self) -> None:
        caller = Caller("capmonster")
        assert caller.call("getBalance", "KEY__nocache__recognizingthreshold_65")["errorId"] == 0

    def test_a_grid_answer_carries_cost_and_nulls(self) -> None:
        caller = Caller("capmonster")
        task = {
            "type": "ComplexImageTask", "class": "recaptcha", "imagesBase64": [b64(png())],
            "metadata": {"Grid": "4x4", "Task": "/m/0k4j"},
        }  # fmt: skip
        task_id = caller.create(task)["taskId"]
        caller.clock.advance(10)
        answer = caller.result(task_id)
        assert list(answer) == ["solution", "cost", "status", "errorId", "errorCode", "errorDescription"]
        assert answer["cost"] == 0.0003
        assert len(answer["solution"]["answer"]) == 16
        assert set(map(type, answer["solution"]["answer"])) == {bool}

    @pytest.mark.parametrize(
        ("flavour", "status", "body"),
        [
            ("not_ready", 200, b'{"errorId":1,"errorCode":"CAPTCHA_NOT_READY"}'),
            ("http_500", 500, b""),
            ("http_503", 503, b""),
        ],
    )
    def test_the_other_ways_to_say_still_processing(self, flavour: str, status: int, body: bytes) -> None:
        caller = Caller("capmonster", processing=flavour)
        caller.create()
        answer = caller.full("getTaskResult", '{"clientKey":"KEY","taskId":7654321}')
        assert (answer[0], answer[2]) == (status, body)

    def test_mixed_flavours_all_occur_and_never_ban(self) -> None:
        caller = Caller("capmonster", processing="mixed", solve_time=170.0)
        caller.create()
        seen = set()
        for _ in range(60):
            caller.clock.advance(2)
            answer = caller.full("getTaskResult", '{"clientKey":"KEY","taskId":7654321}')
            seen.add((answer[0], b"NOT_READY" in answer[2]))
        assert seen == {(200, False), (200, True), (500, False), (503, False)}
        assert caller.vendor.bans.imposed == []

    def test_the_user_agent_is_plain_text_and_needs_no_key(self) -> None:
        status, headers, body = Caller("capmonster").full("api/useragent/actual", verb="GET")
        assert (status, dict(headers)["Content-Type"]) == (200, "text/plain; charset=utf-8")
        assert body.startswith(b"Mozilla/5.0 (Windows NT 10.0; Win64; x64)")

    def test_an_unknown_path_is_no_json_at_all(self) -> None:
        caller = Caller("capmonster")
        assert caller.full("getQueueStats", b'{"clientKey":"KEY"}')[0] == 404
        assert caller.full("createTask", verb="GET")[0] == 405

    def test_broken_json_is_an_absent_task(self) -> None:
        assert json.loads(Caller("capmonster").ask("createTask", b'{"clientKey":'))["errorCode"] == "ERROR_TASK_ABSENT"


class TestYesCaptcha:
    def test_create_poll_and_result_are_spelled_as_on_the_vendors_page(self) -> None:
        caller = Caller("yescaptcha")
        task = (
            '{"clientKey":"KEY","task":{"type":"NoCaptchaTaskProxyless","websiteURL":"https://example.com",'
            '"websiteKey":"SITEKEY","isInvisible":false}}'
        )
        created = caller.ask("createTask", task)
        assert matches(r'\{"errorId":0,"errorCode":"","errorDescription":"","taskId":"' + UUID + r'"\}', created)
        caller.clock.advance(10)
        poll = json.dumps({"clientKey": "KEY", "taskId": json.loads(created)["taskId"]})
        ready = (
            r'\{"errorId":0,"errorCode":null,"errorDescription":null,"solution":\{"gRecaptchaResponse":'
            + TOKEN
            + r'\},"status":"ready"\}'
        )
        assert matches(ready, caller.ask("getTaskResult", poll))

    def test_a_classification_is_solved_in_the_create_task_answer(self) -> None:
        caller = Caller("yescaptcha")
        task = {"type": "ReCaptchaV2Classification", "image": b64(png(width=300, height=300)), "question": "/m/0k4j"}
        body = caller.ask("createTask", json.dumps({"clientKey": "KEY", "task": task}))
        assert matches(
            r'\{"errorId":0,"errorCode":"","errorDescription":"null","status":"ready","taskId":"' + UUID + r'",'
            r'"solution":\{"objects":\[\d,\d,\d\],"type":"multi"\}\}',
            body,
        )

    def test_muggle_text_is_solved_in_the_create_task_answer(self) -> None:
        caller = Caller("yescaptcha")
        task = {"type": "ImageToTextTaskMuggle", "body": b64(png())}
        body = caller.ask("createTask", json.dumps({"clientKey": "KEY", "task": task}))
        assert matches(
            r'\{"errorId":0,"errorCode":"","errorDescription":"","status":"ready","solution":\{"text":"\w+"\},'
            r'"taskId":"' + UUID + r'"\}',
            body,
        )
        assert caller.vendor.ledger.summary()["solved"] == 1

    def test_a_balance_lists_the_referral_balances(self) -> None:
        body = Caller("yescaptcha").ask("getBalance", '{"clientKey":"KEY"}')
        assert body == b'{"errorId":0,"balance":1071810,"softBalance":36.0098,"inviteBalance":0,"inviteBy":"3"}'

    def test_wrong_verb_and_wrong_path_are_two_codes(self) -> None:
        caller = Caller("yescaptcha")
        assert json.loads(caller.ask("createTask", verb="GET"))["errorCode"] == "ERROR_NO_SUCH_METHOD"
        assert json.loads(caller.ask("getQueueStats", b"{}"))["errorCode"] == "ERROR_PAGE_NOT_FOUND"

    def test_a_missing_field_is_named_in_the_description(self) -> None:
        answer = Caller("yescaptcha").create({"type": "NoCaptchaTaskProxyless", "websiteURL": "https://example.com"})
        assert answer["errorCode"] == "ERROR_REQUIRED_FIELDS"
        assert "websiteKey" in answer["errorDescription"]
        assert not answer["errorDescription"].isascii()

    def test_a_slow_task_ends_after_120_seconds_unbilled(self) -> None:
        caller = Caller("yescaptcha", solve_time=500.0)
        task_id = caller.create()["taskId"]
        caller.clock.advance(119.9)
        assert caller.result(task_id)["status"] == "processing"
        caller.clock.advance(0.1)
        assert caller.result(task_id)["errorCode"] == "ERROR_TASK_TIMEOUT"
        assert caller.call("getBalance")["balance"] == 1071810

    def test_the_soft_id_has_a_method_of_its_own(self) -> None:
        answer = Caller("yescaptcha").call("getSoftID")
        assert isinstance(answer["softID"], int)


class TestCapSolver:
    def test_statuses_go_from_idle_through_processing_to_ready(self) -> None:
        caller = Caller("capsolver")
        created = caller.create()
        assert created["status"] == "idle"
        assert caller.result(created["taskId"])["status"] == "idle"
        assert caller.result(created["taskId"])["status"] == "processing"
        caller.clock.advance(10)
        assert caller.result(created["taskId"])["status"] == "ready"

    def test_errors_come_with_http_400_and_a_wrong_key_with_401(self) -> None:
        caller = Caller("capsolver")
        status, _, body = caller.full("createTask", '{"clientKey":"KEY","task":{"type":"Nothing"}}')
        assert (status, json.loads(body)["errorCode"]) == (400, "ERROR_TASK_NOT_SUPPORTED")
        status, _, body = caller.full("getBalance", '{"clientKey":"BAD"}')
        assert (status, json.loads(body)["errorId"], json.loads(body)["errorCode"]) == (
            401,
            1,
            "ERROR_KEY_DENIED_ACCESS",
        )

    def test_feedback_takes_one_verdict_per_task(self) -> None:
        caller = Caller("capsolver")
        task_id = caller.solved()
        assert caller.call("feedbackTask", taskId=task_id, result={"invalid": True})["errorId"] == 0
        assert caller.vendor.task(task_id).report == "incorrect"
        assert (
            caller.call("feedbackTask", taskId=task_id, result={"invalid": True})["errorCode"] == "ERROR_TASKID_INVALID"
        )


class TestTheOthers:
    def test_2captcha_numbers_tasks_above_32_bits_and_gives_cost_as_text(self) -> None:
        caller = Caller("2captcha")
        task_id = caller.solved()
        assert task_id > 2**32
        assert caller.result(task_id)["cost"] == "0.002990"

    def test_ezcaptcha_speaks_yescaptchas_shape(self) -> None:
        caller = Caller("ezcaptcha")
        created = caller.create()
        assert list(created) == ["errorId", "errorCode", "errorDescription", "taskId"]
        caller.clock.advance(10)
        assert caller.result(created["taskId"])["status"] == "ready"

    def test_ezcaptcha_puts_http_429_on_a_banned_key(self) -> None:
        caller = Caller("ezcaptcha")
        for _ in range(30):
            caller.create(key="BAD")
        status, _, body = caller.full("createTask", json.dumps({"clientKey": "BAD", "task": caller.task}))
        assert status == 429
        assert json.loads(body)["errorCode"] == "ERROR_REQUEST_BANNED"
        assert json.loads(body)["requestId"]

    @pytest.mark.parametrize("provider", sorted(TOKEN_TASKS))
    def test_the_same_seed_gives_the_same_solution(self, provider: str) -> None:
        answers = []
        for _ in range(2):
            caller = Caller(provider)
            task_id = caller.solved()
            answers.append(caller.result(task_id)["solution"])
        assert answers[0] == answers[1]

    @pytest.mark.parametrize("provider", sorted(TOKEN_TASKS))
    def test_a_task_of_another_account_is_not_found(self, provider: str) -> None:
        caller = Caller(provider)
        caller.vendor.add_account("OTHER")
        task_id = caller.solved()
        assert caller.result(task_id, key="OTHER")["errorId"] != 0
        assert caller.result(task_id)["status"] == "ready"

    @pytest.mark.parametrize("provider", sorted(TOKEN_TASKS))
    @pytest.mark.parametrize("body", [b"", b"[]", b"null", b"\xff\xfe", b'{"clientKey":', b"[" * 100_000, b'"text"'])
    def test_a_body_that_is_no_json_object_gets_an_error_answer(self, provider: str, body: bytes) -> None:
        answer = json.loads(Caller(provider).ask("createTask", body))
        assert answer["errorId"] != 0

    def test_half_a_surrogate_pair_goes_back_as_an_escape(self) -> None:
        caller = Caller("anti-captcha")
        page = {"websiteURL": "https://example.com/", "gt": "g", "challenge": "\\ud800"}
        task = json.dumps({"clientKey": "KEY", "task": {"type": "GeeTestTaskProxyless", **page}}).replace("\\\\", "\\")
        task_id = json.loads(caller.ask("createTask", task))["taskId"]
        caller.clock.advance(10)
        body = caller.ask("getTaskResult", json.dumps({"clientKey": "KEY", "taskId": task_id}))
        assert b'"challenge":"\\ud800"' in body
        assert json.loads(body)["status"] == "ready"

    def test_a_byte_order_mark_is_no_harm(self) -> None:
        assert json.loads(Caller("anti-captcha").ask("getBalance", b'\xef\xbb\xbf{"clientKey":"KEY"}'))["errorId"] == 0

    def test_page_constants_stay_out_of_the_error_text(self) -> None:
        answer = Caller("anti-captcha").create({"type": "RecaptchaV2TaskProxyless", "websiteURL": PAGE["websiteURL"]})
        assert answer["errorCode"] == "ERROR_INCORRECT_SESSION_DATA"
        assert "websiteKey" in answer["errorDescription"]
