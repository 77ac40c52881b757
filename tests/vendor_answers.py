"""Answers as vendors send them (structure from their documentation, values are placeholders): seeds for fuzzing.

Used by `test_total.py` and `tests/fuzz/fuzz_answers.py`. No expected values here.
"""

import json
from pathlib import Path

TABLE = Path(__file__).parent / "data" / "taxonomy.csv"
UUID = "61138bb6-19fb-11ec-a9c8-0242ac110006"

EXCHANGES: tuple[bytes, ...] = (
    b'{"errorId":0,"taskId":7654321}',
    b'{"errorId":1,"errorCode":"ERROR_KEY_DOES_NOT_EXIST","errorDescription":"text"}',
    b'{"errorId":0,"status":"processing"}',
    (
        b'{"errorId":0,"status":"ready","solution":{"text":"abc","url":"http://host/x.jpg"},"cost":"0.000700","ip":"192.0.2.1",'
        b'"createTime":1472205564,"endTime":1472205570,"solveCount":"0"}'
    ),
    b'{"errorId":0,"status":"success"}',
    b'{"errorId":16,"errorCode":"ERROR_NO_SUCH_CAPCHA_ID","errorDescription":"text"}',
    b'{"waiting":242,"load":60.33,"bid":"0.0008600982","speed":10.77,"total":610}',
    b'{"errorId":1,"errorCode":"ERROR_KEY_DOES_NOT_EXIST","errorDescription":"text","taskId":0}',
    b'{"errorCode":null,"errorDescription":null,"errorId":0,"status":"processing"}',
    b'{"errorId":1,"errorCode":"CAPTCHA_NOT_READY"}',
    b'{"errorId":1,"errorCode":"ERROR_TOO_MUCH_REQUESTS"}',
    b'{"errorId":0,"status":"ready","solution":{"gRecaptchaResponse":"TOKEN"}}',
    (
        b'{"solution":{"answer":[297],"metadata":{"AnswerType":"NumericArray"}},"cost":0.0005,"status":"ready","errorId":0,'
        b'"errorCode":null,"errorDescription":null}'
    ),
    b'{"errorId":0,"errorCode":"","errorDescription":"","taskId":"' + UUID.encode() + b'"}',
    (
        b'{"errorId":0,"errorCode":"","errorDescription":"null","status":"ready","taskId":"UUID","solution":{"objects":[1,5,8],'
        b'"type":"multi"}}'
    ),
    b'{"errorId":0,"errorCode":"","errorDescription":"","status":"ready","solution":{"text":"44795"},"taskId":"UUID"}',
    b'{"errorId":0,"errorCode":null,"errorDescription":null,"solution":{"gRecaptchaResponse":"TOKEN"},"status":"ready"}',
    b'{"errorId":0,"balance":1071810,"softBalance":36.0098,"inviteBalance":0,"inviteBy":"3"}',
    '{"errorId":1,"errorCode":"ERROR_REQUIRED_FIELDS","errorDescription":"请检查字段:XXX"}'.encode(),
    b'{"errorId":1,"errorCode":"ERROR_REQUEST_PARAMETERS","errors":{"websiteURL":["required"]},"requestId":"r-1"}',
    b'{"errorId":0,"status":"idle","taskId":"' + UUID.encode() + b'","solution":{}}',
    b"<html><head><title>502 Bad Gateway</title></head><body><center>nginx</center></body></html>",
    b"",
)


def answers() -> list[bytes]:
    """All of them: the exchanges and one error answer for each of the 176 rows."""
    import csv

    with TABLE.open(newline="") as file:
        rows = [
            json.dumps({"errorId": int((row["error_ids"] or "1").split()[0]), "errorCode": row["vendor_code"]}).encode()
            for row in csv.DictReader(file)
        ]
    return [*EXCHANGES, *rows]


BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Every character that turns the direction of writing (Unicode's Bidi_Control)."""
