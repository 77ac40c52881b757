"""in.php and res.php in front of an emulated 2Captcha, for the public client that speaks nothing else.

Each request becomes one createTask, getTaskResult or getBalance of the emulator's; what the emulator's faults do to the
answer (another status, a reset) reaches the client as it is.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


def task_of(form: Mapping[str, str]) -> dict[str, Any]:
    """The task that the fields of an in.php request ask for."""
    place = {"websiteURL": form.get("pageurl", ""), "websiteKey": form.get("googlekey", form.get("sitekey", ""))}
    match form.get("method"), form.get("version"):
        case "base64", _:
            return {"type": "ImageToTextTask", "body": form["body"]}
        case "turnstile", _:
            return {"type": "TurnstileTaskProxyless", **place}
        case "userrecaptcha", "v3":
            return {"type": "RecaptchaV3TaskProxyless", "minScore": 0.7, "pageAction": form.get("action", ""), **place}
        case _:
            return {"type": "RecaptchaV2TaskProxyless", **place}


def answer_of(method: str, said: Mapping[str, Any]) -> str:
    """What in.php or res.php answers, from the emulator's answer."""
    if said.get("errorId"):
        return str(said["errorCode"])
    if method == "getBalance":
        return str(said["balance"])
    if method == "createTask":
        return f"OK|{said['taskId']}"
    if said["status"] != "ready":
        return "CAPCHA_NOT_READY"
    solution = said["solution"]
    return "OK|" + str(solution.get("text") or solution.get("gRecaptchaResponse") or solution.get("token"))


@contextmanager
def serve_older_protocol(address: str) -> Iterator[str]:
    """Serve in.php and res.php on a loopback port for the emulated 2Captcha at `address`; gives the base URL."""

    class Front(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = dict(parse_qsl(body))
            self._ask("createTask", {"clientKey": form.get("key"), "task": task_of(form)})

        def do_GET(self) -> None:
            form = dict(parse_qsl(urlsplit(self.path).query))
            if form.get("action") == "getbalance":
                self._ask("getBalance", {"clientKey": form.get("key")})
            else:
                self._ask("getTaskResult", {"clientKey": form.get("key"), "taskId": int(form.get("id", 0))})

        def _ask(self, method: str, fields: dict[str, Any]) -> None:
            vendor = http.client.HTTPConnection(urlsplit(address).netloc)
            try:
                vendor.request("POST", f"/{method}", json.dumps(fields), {"Content-Type": "application/json"})
                answer = vendor.getresponse()
                status, body = answer.status, answer.read()
            except (ConnectionError, http.client.HTTPException):
                self._reset()
                return
            finally:
                vendor.close()
            text = answer_of(method, json.loads(body)).encode() if status == 200 else body
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _reset(self) -> None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    ThreadingHTTPServer.request_queue_size = 64  # 20 callers at once
    server = ThreadingHTTPServer(("127.0.0.1", 0), Front)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
