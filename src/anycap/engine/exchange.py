"""One exchange with a vendor: build the request, send it, read the answer. Never raises, whatever it calls.

Transports and adapters may be third parties' and raise anything. That ends this exchange and nothing else: a request that was
not built was not sent, one that a transport gave up on may have been, and an answer that an adapter cannot read is unreadable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar

from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.credentials import NotEncodable
from anycap.engine.faults import log_fault
from anycap.taxonomy import Code, ErrorAnswer, row_of_ours
from anycap.transport.port import Answer, Delivery, Failure, FailureKind, Request, Transport

T = TypeVar("T")


Exchange: TypeAlias = "tuple[Answer | Failure, ParsedAnswer, str]"
"""What came of it: as the transport gave it, as the adapter read it, and why there was no request to send, if there was none;
trying again would not help then."""


async def exchange(
    transport: Transport,
    build: Callable[[T], Request],
    read: Callable[[Answer | Failure, T], ParsedAnswer],
    about: T,
    provider: str,
) -> Exchange:
    """Do one exchange `about` a solve, a call or a method. `provider` names the vendor in what is logged and said."""
    # One coroutine for all of it: a second one would be resumed and left with the first, three times a solve.
    outcome: Answer | Failure
    not_built = ""
    try:
        request = build(about)
    except Exception as error:  # noqa: BLE001 - code of others: see above
        names = log_fault(f"a request to {provider} could not be built", error)
        outcome, not_built = _never_sent(f"the adapter of {provider} could not build the request ({names})")
    else:
        try:
            outcome = await transport.send(request)
        except NotEncodable as error:  # a transport encodes the body before it sends a byte
            outcome, not_built = _never_sent(str(error))
        except Exception as error:  # noqa: BLE001 - code of others
            names = log_fault("a transport raised, which no transport should", error)
            outcome = Failure(Delivery.MAYBE_SENT, FailureKind.PROTOCOL, f"the transport failed with {names}")
    try:
        return outcome, read(outcome, about), not_built
    except Exception as error:  # noqa: BLE001 - code of others
        names = log_fault(f"the adapter of {provider} could not read an answer", error)
        return outcome, _unreadable(outcome, provider, names), not_built


def _never_sent(why: str) -> tuple[Failure, str]:
    return Failure(Delivery.NOT_SENT, FailureKind.WRITE, why), why


def _unreadable(outcome: Answer | Failure, provider: str, names: str) -> ParsedAnswer:
    if isinstance(outcome, Failure):
        return ParsedAnswer(AnswerKind.LOST, outcome.delivery, failure=outcome, http_status=outcome.status)
    row = row_of_ours(
        provider,
        Code.UNREADABLE_ANSWER,
        meaning=f"the adapter failed with {names} on the vendor's answer",
        action="Report it to the author of the adapter; the log has the frames.",
        source="seen by anycap",
    )
    # The vendor may have done what it was asked for.
    return ParsedAnswer(
        AnswerKind.LOST,
        Delivery.MAYBE_SENT,
        problem=ErrorAnswer(row, provider, None, None, None, outcome.status),
        http_status=outcome.status,
    )
