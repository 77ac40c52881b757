"""Challenges in words: nothing to look at, a question to answer."""

from __future__ import annotations

from typing import ClassVar

from attrs import field, frozen

from anycap.challenges.base import Challenge, a_block, maybe, one_of
from anycap.results import Solution, TextSolution


@frozen(repr=False)
class TextQuestion(Challenge[TextSolution]):
    """A question that a person answers in a word or two.

    `language_pool`: `en` or `rn` (Russian), whose workers shall answer.

    Raises InvalidChallenge for a wrong or missing field.

    >>> TextQuestion("If tomorrow is Saturday, what day is today?").kind
    'TextQuestion'
    """

    solution_type: ClassVar[type[Solution]] = TextSolution

    question: str = field(validator=a_block)
    language_pool: str | None = field(default=None, kw_only=True, validator=maybe(one_of("en", "rn")))
