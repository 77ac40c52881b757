"""Which report a vendor takes about which solution: `report_method`. Pure; sending and counting is the client's part.

The rules are catalog data (`[methods.*]` with `reports`): the challenges a method accepts, the window after the end of
the task, and how many tasks the account must have made for the vendor to count the report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anycap.errors import ReportRefused, UnsupportedMethod

if TYPE_CHECKING:
    from anycap.providers.catalog import Catalog
    from anycap.providers.tasks import MethodSpec


def report_method(catalog: Catalog, kind: str, *, correct: bool, language_pool: str | None = None) -> MethodSpec:
    """The vendor's method for saying that a solution was right (`correct`) or wrong.

    `kind` is the challenge's kind, as in the ticket; `language_pool` the queue of an image (None: the vendor's default,
    English). Raises UnsupportedMethod when the vendor has no report methods of this direction at all, and ReportRefused
    when it has some but none for this kind of challenge or this queue.

    >>> from anycap.providers.catalog import load_builtin
    >>> report_method(load_builtin("anti-captcha"), "RecaptchaV3", correct=False).name
    'reportIncorrectRecaptcha'
    """
    direction = "correct" if correct else "incorrect"
    methods = [spec for spec in catalog.tasks.methods.values() if spec.reports == direction]
    if not methods:
        raise UnsupportedMethod(f"{catalog.title} takes no reports of {direction} solutions. Nothing was sent.")
    for spec in methods:
        if not spec.kinds or kind in spec.kinds:
            if spec.languages and (language_pool or "en") not in spec.languages:
                raise ReportRefused(
                    f"{catalog.title} takes reports about images of the language pool {', '.join(spec.languages)} only, "
                    f"not {language_pool}. Nothing was sent."
                )
            return spec
    takes = ", ".join(dict.fromkeys(each for spec in methods for each in spec.kinds))
    raise ReportRefused(
        f"{catalog.title} takes reports of {direction} solutions for {takes}, not for {kind}. Nothing was sent."
    )
