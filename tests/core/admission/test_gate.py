"""How many requests may be in progress: what falls due, and what brings more answers."""

import math

import pytest

from anycap.core.admission.gate import Gate


class Vendor:
    """Answers each request after `rtt_s`, and at most `capacity` a second: beyond that the round trip grows."""

    def __init__(self, *, rtt_s: float, capacity: float = math.inf) -> None:
        self.rtt_s = rtt_s
        self.capacity = capacity
        self.now = 0.0
        self.most = 0

    def keeps_full(self, gate: Gate, seconds: float, *, tasks: int = 10**9, full: bool = True) -> int:
        """Ask for so long, with as many requests at once as the gate lets; what it lets at the end."""
        until = self.now + seconds
        while self.now < until:
            limit = gate.limit(tasks)
            self.most = max(self.most, limit)
            rtt_s = max(self.rtt_s, limit / self.capacity)
            for _ in range(limit):
                self.now += rtt_s / limit
                gate.answered(self.now, rtt_s, full=full)
        return gate.limit(tasks)


def opened(requests_max: int) -> Gate:
    """One that a long queue has opened, and that has little to do now: ten requests a second."""
    gate, vendor = Gate(requests_max), Vendor(rtt_s=0.2)
    assert vendor.keeps_full(gate, 60.0) == requests_max
    for second in range(1, 4 * requests_max):
        gate.answered(vendor.now + second / 10, 0.2, full=False)
    return gate


def test_it_is_sized_by_the_polls_that_fall_due_and_the_round_trip() -> None:
    gate = opened(1000)
    gate.planned(3.0)
    # 3,000 tasks every 3 s are 1,000 polls a second, 200 of them on their way at 0.2 s; twice that, and 16 for the rest
    assert gate.limit(3000) == 416
    assert gate.limit(0) == 16 + 4  # ten a second at 0.2 s are two on their way
    assert opened(64).limit(100_000) == 64
    assert Gate(64).limit(3) == 16
    assert Gate(3).limit(100) == 3


def test_tasks_of_one_burst_find_it_open_though_few_of_them_are_left() -> None:
    gate, vendor = Gate(256), Vendor(rtt_s=0.05, capacity=1600.0)  # 80 on their way, however many tasks there are
    assert vendor.keeps_full(gate, 4.0) == 81
    for _ in range(300):
        gate.planned(8.0)
    assert gate.limit(100) == 81  # by the tasks alone: 17
    for second in range(1, 400):  # the burst is over
        gate.answered(vendor.now + second / 10, 0.05, full=False)
    assert gate.limit(100) == 17


def test_it_takes_the_gaps_that_are_planned_not_those_that_the_vendor_advises() -> None:
    gate = opened(10_000)
    for _ in range(300):  # six times the memory of the mean
        gate.planned(8.0)
    # 10,000 tasks every 8 s are 1,250 a second, 250 on their way at 0.2 s
    assert gate.limit(10_000) == pytest.approx(16 + 2 * 250, abs=1)
    gate.planned(0.0)  # a callback: as soon as possible
    assert gate.limit(10_000) < 540


def test_it_follows_a_slower_vendor_fast_and_a_faster_one_slowly() -> None:
    gate = Gate(10_000)
    gate.answered(0.0, 0.1, full=False)
    for _ in range(10):
        gate.answered(0.0, 1.0, full=False)
    assert gate.rtt_s > 0.9
    for _ in range(10):
        gate.answered(0.0, 0.1, full=False)
    assert gate.rtt_s > 0.5


def test_a_clock_that_goes_back_does_not_close_it() -> None:
    gate = Gate(64)
    for second in range(100):
        gate.answered(-float(second), -60.0, full=True)
    assert gate.limit(1000) == 16
    vendor = Vendor(rtt_s=0.05)
    vendor.now = -1000.0
    assert vendor.keeps_full(gate, 2.0) == 64


def test_it_opens_step_by_step_while_every_step_brings_as_many_more_answers() -> None:
    gate, vendor, sizes = Gate(256), Vendor(rtt_s=0.05), [16]
    while vendor.now < 2.0:
        size = vendor.keeps_full(gate, 0.001)
        if size != sizes[-1]:
            sizes.append(size)
    assert sizes == [16, 24, 36, 54, 81, 122, 183, 256]


def test_more_connections_than_bring_more_answers_are_not_opened() -> None:
    # One that answers at once, 3,000 times a second: 16 requests in progress are plenty, and one step shows it.
    gate, at_once = Gate(256), Vendor(rtt_s=0.001, capacity=3000.0)
    assert at_once.keeps_full(gate, 4.0) == 16
    assert at_once.most == 24
    # 2,000 a second after 50 ms: 100 in progress are enough, whatever the round trip has become meanwhile.
    gate, slower = Gate(10_000), Vendor(rtt_s=0.05, capacity=2000.0)
    assert slower.keeps_full(gate, 4.0) == 122
    assert slower.most == 183


def test_a_step_that_brought_nothing_is_tried_again_later() -> None:
    gate, vendor = Gate(256), Vendor(rtt_s=0.05, capacity=320.0)  # 16 in progress are all that it takes
    assert vendor.keeps_full(gate, 4.0) == 16
    vendor.capacity = math.inf
    assert vendor.keeps_full(gate, 0.9) == 16  # not at once: a step that fails costs connections
    assert vendor.keeps_full(gate, 2.0) == 256


def test_a_gate_that_nobody_waits_at_stays_as_it_is() -> None:
    gate, vendor = Gate(256), Vendor(rtt_s=0.05)
    assert vendor.keeps_full(gate, 60.0, full=False) == 16
    assert vendor.keeps_full(gate, 0.5) > 24
    size = gate.limit(10**9)
    # A step that is just being tried has met the need when nobody waits any more: fewer would be too few.
    assert vendor.keeps_full(gate, 60.0, full=False) == size


def test_requests_that_hang_do_not_look_like_answers() -> None:
    # Time-outs of 20 s: half of the requests. The gate opens all the same, as more in progress bring more answers.
    gate, now = Gate(256), 0.0
    for _ in range(60):
        limit = gate.limit(10**9)
        for index in range(limit):
            now += 20.0 / limit
            gate.answered(now, 20.0 if index % 2 else 0.05, full=True)
    assert gate.limit(10**9) == 256
