"""What an exception tells: cause, wait (once), the vendor's words in bounds; and that it survives pickling."""

import pickle

import attrs
import pytest

from anycap import errors
from anycap.errors import (
    AnycapError,
    BusyError,
    Charged,
    DeadlineError,
    ErrorContext,
    InDoubtError,
    SolveError,
    TransportError,
    error_from,
)
from anycap.normalize import normalize
from anycap.taxonomy import Category, Code, ErrorAnswer, row_of_ours
from tests.vendor_answers import BIDI

CLASSES = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, AnycapError)]


def busy(description: str | None = None, *, code: str = "ERROR_X", action: str = "Slow down.") -> ErrorAnswer:
    row = row_of_ours("toy", Code.NO_WORKERS, meaning="Nobody is free.", action=action, source="here")
    return ErrorAnswer(row, "toy", code, 7, description)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_survives_pickling_with_all_it_carries(kind: type[AnycapError]) -> None:
    context = ErrorContext(account="main", phase="poll", sent=False, retry_after=2.0, charged=Charged.NO)
    error = kind(busy("words"), context) if issubclass(kind, SolveError) else kind("what happened")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert vars(again) == vars(error)
    assert (str(again), again.args) == (str(error), error.args)


def test_every_category_has_its_class_and_a_cause() -> None:
    row = busy().row
    for category in Category:
        error = error_from(attrs.evolve(busy(), row=attrs.evolve(row, category=category)))
        assert error.category is category
        assert "Cause: " in str(error)
    assert "Cause: your account." in str(
        error_from(attrs.evolve(busy(), row=attrs.evolve(row, category=Category.ACCOUNT)))
    )


def test_the_wait_is_said_once() -> None:
    error = normalize("yescaptcha", {"errorId": 1, "errorCode": "ERROR_NO_SLOT_AVAILABLE"})
    assert str(error).count("3 s") == 1  # in the catalog's advice: "Try again after 3 seconds"
    blocked = normalize("yescaptcha", {"errorId": 1, "errorCode": "ERROR_IP_BLOCKED_5MIN"})
    assert "5 minutes" in str(blocked)
    assert "300 s" not in str(blocked)
    assert str(error_from(busy(), ErrorContext(retry_after=2.5))).endswith("What to do: Slow down. Try again in 2.5 s.")
    other = busy(action="Wait 20 seconds.")
    assert str(error_from(other, ErrorContext(retry_after=60.0))).endswith("Try again in 60 s.")


def test_at_most_300_characters_of_the_vendors_words_are_shown_and_all_are_kept() -> None:
    words = "y" * 2_000_000
    error = error_from(busy(words))
    assert 250 < str(error).count("y") <= 300
    assert len(str(error)) < 700
    assert error.description == words
    for long in (error_from(busy(code="C" * 100_000)), error_from(attrs.evolve(busy(), vendor_id="9" * 100_000))):
        assert len(str(long)) < 700
        assert len(pickle.dumps(long)) > 100_000


NASTY = f"a\x1b]52;c;Zm9v\x07b\x9b31mc{BIDI}d\r\ne\u2028\u2029\x00f\ud800"


def test_what_a_terminal_would_act_on_is_escaped_and_kept_as_it_came_beside() -> None:
    error = error_from(attrs.evolve(busy(NASTY, code=NASTY), vendor_id=NASTY))
    assert str(error).isprintable()
    assert "\\x1b]52;c;Zm9v\\x07" in str(error)
    assert not set(BIDI) & set(str(error))
    assert (error.description, error.vendor_code, error.vendor_id) == (NASTY, NASTY, NASTY)


def test_the_meaning_never_quotes_the_vendor() -> None:
    error = normalize("capmonster", {"errorId": 1, "errorCode": "ERROR_<b>FREE MONEY</b>", "errorDescription": "x"})
    assert error is not None
    assert error.vendor_code == "ERROR_<b>FREE MONEY</b>"
    assert "MONEY" not in error.meaning + error.action


def test_with_docs_url_the_message_ends_with_a_link_to_the_code() -> None:
    answer = busy(code="ERROR_X")
    error = error_from(answer, ErrorContext(docs_url="https://docs.example/anycap/"))
    assert error.docs_link == "https://docs.example/anycap/error-explorer.html#toy/ERROR_X"
    assert str(error).endswith(f" See {error.docs_link}")
    assert error_from(answer).docs_link is None


def test_a_code_that_no_catalog_lists_links_to_the_shared_code_and_not_to_the_vendors_words() -> None:
    unknown = attrs.evolve(busy(code='"><script>'), row=attrs.evolve(busy().row, known=False))
    error = error_from(unknown, ErrorContext(docs_url="https://docs.example"))
    assert error.docs_link == "https://docs.example/error-explorer.html#no_workers"


def test_in_doubt_counts_as_charged_unknown() -> None:
    assert InDoubtError("lost").charged is Charged.UNKNOWN


def test_a_deadline_names_what_it_waited_on() -> None:
    reason = error_from(busy())
    error = DeadlineError("not solved within 5 s", last_error=reason)
    assert str(error) == f"not solved within 5 s. It was waiting on this: {reason}"
    assert error.last_error is reason
    assert error.__cause__ is None
    assert str(DeadlineError("not solved within 5 s")) == "not solved within 5 s"
    nested = DeadlineError("late", last_error=TransportError("no answer", delivery="maybe_sent", kind="read"))
    assert str(pickle.loads(pickle.dumps(nested))) == "late. It was waiting on this: no answer"


def test_not_sent_is_said() -> None:
    error = BusyError(busy(), ErrorContext(sent=False))
    assert str(error).endswith("Nothing was sent: this client stopped the request.")
