"""Callbacks make polls rare only while they come."""

from anycap.core.polling.callback_trust import CallbackTrust


def test_no_trust_before_the_first_callback() -> None:
    assert CallbackTrust().stretch() == 1.0


def test_one_callback_is_enough_and_three_missed_in_a_row_end_it() -> None:
    trust = CallbackTrust()
    trust.ready(callbacks=1)
    assert trust.stretch() == 4.0
    trust.ready(callbacks=0)
    trust.ready(callbacks=0)
    assert trust.stretch() == 4.0
    trust.ready(callbacks=2)
    trust.ready(callbacks=0)
    trust.ready(callbacks=0)
    assert trust.stretch() == 4.0
    trust.ready(callbacks=0)
    assert trust.stretch() == 1.0
