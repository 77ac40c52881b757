"""Whether a failed solve is tried again with a fresh, paid task. Pure; the loop that does it is in `engine/solving.py`."""

from decimal import Decimal

from anycap.settings import RetrySettings
from anycap.taxonomy import Charged, ErrorRow, Retry, Scope


def try_new_task(
    row: ErrorRow,
    charged: Charged,
    *,
    settings: RetrySettings,
    charges_failures: bool,
    tries: int,
    spent: Decimal,
    price: Decimal | None,
    max_cost: Decimal | None,
) -> bool:
    """Whether to pay for another task after `tries` new ones.

    Only where the row says that a new task can help, and never through the same failed proxy. Off by default where the
    vendor charges for failures. `spent` is what the tasks so far have cost, `price` what the next may cost (None:
    unknown; then a vendor that charges for failures gets no second chance under a `max_cost`).
    """
    if row.retry is not Retry.NEW_TASK or row.scope is Scope.PROXY:
        return False
    costs = charged is not Charged.NO and charges_failures
    limit = settings.new_tasks_max
    if limit is None:
        limit = 0 if charged is Charged.YES or costs else 1
    if tries >= limit:
        return False
    if max_cost is None:
        return True
    if price is None:
        return not costs
    return spent + price <= max_cost
