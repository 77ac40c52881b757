"""`internal`: an attrs class for values that stay within the library and of which every request makes some.

Type checkers see `attrs.frozen` and refuse a change. At run time nothing watches, which halves the price of making one:
attrs can set the fields of a frozen class only through `object.__setattr__`. What users hold is `frozen` in truth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attrs import frozen as internal
else:
    from functools import partial

    from attrs import define

    internal = partial(define, unsafe_hash=True)

__all__ = ["internal"]
