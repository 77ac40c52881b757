"""Takes our secrets out of what an answer says, before anything else sees it: errors, events, journal and health quote it.

How a secret is found in a text is in `credentials.py`; which secrets there are, the account's session knows.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from anycap.core.parsed_answer import ParsedAnswer
from anycap.credentials import Secret, scrub_all


def without_secrets(answer: ParsedAnswer, secrets: Sequence[Secret]) -> ParsedAnswer:
    """The answer itself, or a copy without the secrets in its words: its error, its failure, its status, a redirect's host.

    A key that is split over several of them is taken out of all. Task ids and solutions stay as they came: they are of no
    use otherwise.
    """
    error, failure = answer.problem, answer.failure
    vendor_id = error.vendor_id if error is not None and isinstance(error.vendor_id, str) else None
    words = [
        None if error is None else error.vendor_code,
        vendor_id,
        None if error is None else error.description,
        None if error is None else error.row.vendor_code,
        None if failure is None else failure.detail,
        answer.location_host,
        answer.status,
    ]
    clean = [text or None for text in scrub_all([word or "" for word in words], secrets)]
    if clean == [word or None for word in words]:
        return answer
    code, clean_id, description, row_code, detail, host, status = clean
    if error is not None:
        error = attrs.evolve(
            error,
            row=attrs.evolve(error.row, vendor_code=row_code),
            vendor_code=code,
            vendor_id=error.vendor_id if vendor_id is None else clean_id,
            description=description,
        )
    if failure is not None:
        failure = attrs.evolve(failure, detail=detail or "")
    return attrs.evolve(answer, problem=error, failure=failure, location_host=host, status=status)
