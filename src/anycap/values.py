"""`statically_frozen`: attrs classes that are frozen for the type checker, and cheap to make.

A class of `attrs.frozen` refuses assignments at run time, so its own `__init__` has to go round that with a call for every
field (see decision 0016). This one is for what every request or event makes anew. All other values are `frozen`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["statically_frozen"]

if TYPE_CHECKING:
    from attrs import frozen as statically_frozen
else:
    from attrs import define, setters

    def statically_frozen(cls: type | None = None, **options: Any) -> Any:
        """As `attrs.frozen`, hash included, but for assignments: type checkers refuse those, Python does not."""

        def decorate(cls: type) -> type:
            return define(unsafe_hash=True, on_setattr=setters.NO_OP, **options)(cls)

        return decorate if cls is None else decorate(cls)
