"""After a vendor has rejected the key of an account: the key is read again, as it may have been rotated.

Where a key comes from is in `accounts.py`; the stop itself is the guard's (`core/admission/guard.py`). Nothing is sent from
here.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from anycap.engine.account_session import AccountSession
from anycap.taxonomy import Code

logger = logging.getLogger("anycap.accounts")

KEY_RECHECK_S = 10.0
"""How often at most a rejected key is read again. Ours: a key function may ask a secret store, which should not notice us."""
KEY_RECHECK_MAX_S = 160.0
"""The wait doubles up to this while the key stays the same. Ours: a rotation is noticed within three minutes."""


async def read_again(
    session: AccountSession,
    offload: Callable[..., Awaitable[Any]],
    clock: Callable[[], float],
    wake: Callable[[], None],
) -> bool:
    """Read the key again; True when it is another one, and the account's stop lifted."""
    session.key_checked = clock()
    try:
        changed = await session.keys.refresh(offload)
    except Exception as error:  # noqa: BLE001 - the user's key function may raise anything; the old key stays
        logger.warning("the key of account %s could not be read again: %s", session.name, type(error).__name__)
        return False
    if changed:
        session.guard.key_changed(clock())
        session.scheduler.look_again()
        wake()
    return changed


async def watch(
    session: AccountSession,
    offload: Callable[..., Awaitable[Any]],
    clock: Callable[[], float],
    wake: Callable[[], None],
) -> None:
    """Read the key again and again, ever more rarely, until it is another one or the stop was lifted otherwise."""
    wait_s = KEY_RECHECK_S
    try:
        while any(stop.code == Code.INVALID_KEY for stop in session.guard.health(clock()).cooldowns):
            if await read_again(session, offload, clock, wake):
                break
            await anyio.sleep(wait_s)
            wait_s = min(wait_s * 2, KEY_RECHECK_MAX_S)
    finally:
        session.key_watched = False
