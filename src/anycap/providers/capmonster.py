"""CapMonster style: HTTP 500 and 503 on getTaskResult mean "still processing"; the error id is a flag."""

from __future__ import annotations

from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.providers.adapter import GET_TASK_RESULT, Adapter


class CapMonsterAdapter(Adapter):
    """A poll answered with one of the catalog's `processing_http_statuses`, and no protocol in the body, is progress.

    `http_status` stays in the parsed answer: a row of them over many tasks is a vendor in trouble, and the guard counts them.
    Sources: the official .NET and JS clients (503) and the Python client (500).
    """

    def bare_status(self, method: str, status: int) -> ParsedAnswer | None:
        """PROCESSING for the statuses that the catalog names, on getTaskResult only."""
        if method == GET_TASK_RESULT and status in self.catalog.processing_http_statuses:
            return ParsedAnswer(AnswerKind.PROCESSING, http_status=status)
        return None
