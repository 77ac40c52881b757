"""What a guard tells the other machines of an account, what it keeps to itself, and what it takes over from them."""

import math

import pytest
from attrs import evolve

from anycap.core.admission.circuit_breaker import CircuitBreaker
from anycap.core.admission.decisions import Deferred, Limit
from anycap.core.admission.fleet import ANOTHER_ASKS, FREE_RUN, TURN_LOOK_S, FleetView
from anycap.core.admission.guard import ADMITTED, Guard
from anycap.core.admission.recovery_policy import ALL, Recovery
from anycap.core.parsed_answer import ParsedAnswer
from anycap.taxonomy import Code, Scope
from tests.core.admission.guard_answers import ACCEPTED, EZCAPTCHA_SUBMIT, YESCAPTCHA_FLOOD, lost, make, problem, submit

KIND = "RecaptchaV2"


class Neighbours:
    """Writes down what the address file would be told."""

    def __init__(self) -> None:
        self.stops: list[str] = []
        self.bad: list[str] = []

    def look(self, now: float) -> None:
        pass

    def bad_answer(self, rule: str, until: float) -> None:
        self.bad.append(rule)

    def stopped(self, key: str, breaker: CircuitBreaker, now: float) -> None:
        self.stops.append(key)


def joined() -> tuple[Guard, FleetView, Neighbours]:
    guard, fleet, neighbours = make(EZCAPTCHA_SUBMIT, YESCAPTCHA_FLOOD), FleetView("vendor.example main"), Neighbours()
    guard.join(fleet)
    guard.address.meet(neighbours)
    return guard, fleet, neighbours


def told(fleet: FleetView) -> list[tuple[str, str]]:
    return [(report.what, report.key) for report in fleet.reports]


def stop_of(answer: ParsedAnswer) -> dict[str, CircuitBreaker]:
    """The stops of another machine that got this answer."""
    guard, fleet, _ = joined()
    submit(guard, 0.0, answer)
    return {report.key: report.breaker for report in fleet.reports if report.breaker is not None}


def test_a_dead_key_is_told_to_the_fleet_and_counts_for_both_kinds_of_rules() -> None:
    guard, fleet, neighbours = joined()
    submit(guard, 0.0, problem(Code.INVALID_KEY))
    assert told(fleet) == [("bad", "key-on-create"), ("opened", "invalid_key")]
    assert neighbours.stops == []
    assert neighbours.bad == ["flood"]


def test_a_block_of_the_address_is_told_to_the_machine_alone() -> None:
    guard, fleet, neighbours = joined()
    submit(guard, 0.0, problem(Code.IP_BLOCKED, scope=Scope.ADDRESS))
    assert told(fleet) == []
    assert neighbours.stops == ["ip_blocked"]


def test_an_address_that_is_not_on_the_list_stops_this_machine_alone() -> None:
    guard, fleet, _ = joined()
    submit(guard, 0.0, problem(Code.IP_NOT_ALLOWED))
    assert told(fleet) == []
    guard.breakers.adopt(1.0, {}, ())
    hold = guard.admit_submit(1.0, KIND)
    assert isinstance(hold, Deferred)
    assert hold.problem is not None
    assert hold.problem.code is Code.IP_NOT_ALLOWED


def test_a_full_vendor_narrows_the_fleets_window_and_not_this_guards() -> None:
    guard, fleet, _ = joined()
    window = guard.health(0.0).task_window
    submit(guard, 0.0, problem(Code.NO_WORKERS))
    assert ("refused", KIND) in told(fleet)
    submit(guard, 0.0, problem(Code.CONCURRENCY_LIMIT), "ImageToText")
    assert ("refused", "") in told(fleet)
    assert guard.health(0.0).task_window == window


def test_slow_start_is_the_fleets() -> None:
    guard, _, _ = joined()
    assert guard.health(0.0).submit_window > 1
    guard.reset(0.0)
    assert guard.health(0.0).submit_window > 1


def test_what_others_have_opened_holds_here_until_they_lift_it() -> None:
    guard, _, _ = joined()
    guard.breakers.adopt(0.0, stop_of(problem(Code.NO_FUNDS)), ())
    hold = guard.admit_submit(0.0, KIND)
    assert isinstance(hold, Deferred)
    assert hold.problem is not None
    assert hold.problem.code is Code.NO_FUNDS
    guard.breakers.adopt(1.0, {}, ())
    assert guard.admit_submit(1.0, KIND) == ADMITTED


def test_a_pause_that_was_over_long_ago_does_not_begin_again_where_nobody_knows_it() -> None:
    guard, _, _ = joined()
    stops = stop_of(problem(Code.NO_WORKERS))  # 3 s; the store keeps it until somebody's next task goes well
    guard.breakers.adopt(3.0 + 600.0, stops, ())
    assert [it.covers for it in guard.health(603.0).cooldowns] == [KIND]
    assert guard.admit_submit(604.0, "ImageToText") == ADMITTED  # which notices that the pause is long over
    guard.breakers.adopt(604.0, stops, ())
    assert guard.health(604.0).cooldowns == ()


def test_a_stop_that_was_not_told_yet_is_not_lifted_by_those_who_do_not_know_it() -> None:
    guard, _, _ = joined()
    submit(guard, 0.0, problem(Code.NO_FUNDS))
    guard.breakers.adopt(0.0, {}, {"no_funds"})
    assert isinstance(guard.admit_submit(0.0, KIND), Deferred)


def test_a_probe_is_asked_for_again_when_the_connection_was_lost() -> None:
    guard, fleet, _ = joined()
    submit(guard, 0.0, problem(Code.CONCURRENCY_LIMIT))
    (breaker,) = guard.breakers
    fleet.reports.clear()
    guard.admit_submit(breaker.until, KIND)
    fleet.granted(["concurrency_limit"], changed=False)
    fleet.connection_lost()  # a replica that answers now may have let another one probe
    fleet.reports.clear()
    hold = guard.admit_submit(breaker.until, KIND)
    assert isinstance(hold, Deferred)
    assert hold.limit is Limit.PROBE
    assert told(fleet) == [("probe", "concurrency_limit")]


def test_one_member_probes_and_the_others_wait_for_its_answer() -> None:
    guard, fleet, _ = joined()
    submit(guard, 0.0, problem(Code.CONCURRENCY_LIMIT))
    (breaker,) = guard.breakers
    fleet.reports.clear()
    later = breaker.until
    hold = guard.admit_submit(later, KIND)
    assert isinstance(hold, Deferred)
    assert hold.limit is Limit.PROBE
    assert told(fleet) == [("probe", "concurrency_limit")]
    fleet.granted(["concurrency_limit"], changed=False)
    assert guard.admit_submit(later, KIND) == ADMITTED
    fleet.reports.clear()
    submit(guard, later, ACCEPTED)
    assert told(fleet) == [("lifted", "concurrency_limit")]


def test_a_paid_task_is_polled_whoever_probes_a_rejected_key() -> None:
    guard, fleet, _ = joined()
    (theirs,) = stop_of(problem(Code.INVALID_KEY)).values()
    theirs.blocks, theirs.policy = ALL, evolve(theirs.policy, way=Recovery.POLL)
    theirs.until = math.inf
    guard.breakers.adopt(1.0, {"invalid_key": theirs}, ())
    assert guard.admit_poll(2.0, KIND) == ADMITTED
    assert told(fleet) == []
    assert isinstance(guard.admit_submit(2.0, KIND), Deferred)


def test_a_key_that_another_createtask_has_found_dead_costs_no_request_here() -> None:
    guard, fleet, _ = joined()
    for way in (Recovery.POLL, Recovery.KEY):
        (theirs,) = stop_of(problem(Code.INVALID_KEY)).values()
        theirs.policy, theirs.until = evolve(theirs.policy, way=way), math.inf
        guard.breakers.adopt(1.0, {"invalid_key": theirs}, ())
    (stop,) = guard.breakers
    assert stop.policy.way is Recovery.KEY
    assert isinstance(guard.admit_submit(2.0, KIND), Deferred)
    assert told(fleet) == []


def test_while_another_probes_the_store_is_asked_once_a_second() -> None:
    guard, fleet, _ = joined()
    submit(guard, 0.0, problem(Code.CONCURRENCY_LIMIT))
    (breaker,) = guard.breakers
    fleet.reports.clear()
    asked_at = []
    for tenth in range(25):
        now = breaker.until + tenth / 10
        guard.admit_submit(now, KIND)
        if fleet.has_news:
            asked_at.append(tenth)
            fleet.reports.clear()
            fleet.granted([], changed=False)
    assert asked_at == [0, 10, 20]


def test_a_probe_is_ours_no_more_once_another_answer_has_changed_the_stop() -> None:
    guard, fleet, _ = joined()
    submit(guard, 0.0, problem(Code.CONCURRENCY_LIMIT))
    (breaker,) = guard.breakers
    later = breaker.until
    fleet.granted(["concurrency_limit"], changed=False)
    assert guard.admit_submit(later, KIND) == ADMITTED
    fleet.granted([], changed=True)
    (theirs,) = stop_of(problem(Code.CONCURRENCY_LIMIT)).values()
    theirs.until = later + 6.0
    guard.breakers.adopt(later, {"concurrency_limit": theirs}, ())
    hold = guard.admit_submit(later + 1.0, KIND)
    assert isinstance(hold, Deferred)
    assert hold.until == later + 6.0


def test_a_store_that_could_not_be_told_is_not_asked_again_at_once() -> None:
    _, fleet, _ = joined()
    assert fleet.tell_at(5.0) == math.inf
    fleet.refused("")
    assert fleet.tell_at(5.0) == 5.0
    fleet.telling_failed_at = 5.0
    assert fleet.tell_at(5.0) == 6.0
    assert fleet.tell_at(7.0) == 7.0


def test_no_slot_holds_for_a_while_or_until_there_is_room() -> None:
    guard, fleet, _ = joined()
    hold = fleet.hold(0.0, Limit.MAX_IN_FLIGHT)
    assert hold.until == TURN_LOOK_S
    assert guard.admit_submit(1.0, KIND) is hold
    assert guard.admit_submit(TURN_LOOK_S, KIND) == ADMITTED
    fleet.hold(20.0, Limit.TASK_TYPE, task_type=KIND)
    assert isinstance(guard.admit_submit(21.0, KIND), Deferred)
    assert guard.admit_submit(21.0, "ImageToText") == ADMITTED
    fleet.release()
    assert guard.admit_submit(21.0, KIND) == ADMITTED


def test_where_slots_are_few_one_request_asks_at_a_time() -> None:
    guard, fleet, _ = joined()
    for _ in range(2):  # nothing is known to be full
        assert guard.admit_submit(0.0, KIND) == ADMITTED
        fleet.asked()
    assert not fleet.answered()
    assert not fleet.answered()
    fleet.hold(0.0, Limit.MAX_IN_FLIGHT)
    fleet.release()
    for _ in range(FREE_RUN):
        assert guard.admit_submit(1.0, KIND) == ADMITTED
        fleet.asked()
        assert guard.admit_submit(1.0, KIND) is ANOTHER_ASKS
        assert fleet.answered()
    fleet.asked()
    assert guard.admit_submit(1.0, KIND) == ADMITTED


def test_bad_answers_are_those_of_all_machines() -> None:
    guard, _, neighbours = joined()
    (rule,) = guard.own_rules
    rule.seen_by_fleet([61.0, 60.5])
    assert rule.bad == 2
    assert rule.next_change(0.0) == 60.5
    rule.seen_by_fleet(())
    assert rule.next_change(0.0) == math.inf
    assert neighbours.bad == []


def test_an_answer_that_never_came_may_have_been_bad_for_all_machines() -> None:
    guard, fleet, _ = joined()
    submit(guard, 0.0, problem(Code.INVALID_KEY))
    guard.breakers.clear()
    fleet.reports.clear()
    submit(guard, 1.0, lost())
    assert ("bad", "key-on-create") in told(fleet)


def test_in_a_fleet_each_has_its_part_of_the_polls_and_the_store_counts_the_submits() -> None:
    guard, _, _ = joined()
    (rule,) = guard.own_rules
    rule.peers = 8
    for _ in range(rule.limit - 1):
        rule.sent(submit=True)
    assert rule.admits(0.0, submit=True)
    rule.sent(submit=False)
    assert not rule.admits(0.0, submit=False)
    rule.unsent(submit=False)
    assert rule.admits(0.0, submit=False)


def test_a_store_that_was_lost_is_told_of_stops_counts_and_windows() -> None:
    guard, fleet, _ = joined()
    submit(guard, 0.0, problem(Code.NO_FUNDS))
    (of_machine, _, _) = joined()
    submit(of_machine, 0.0, problem(Code.IP_NOT_ALLOWED))
    stops = {**guard.breakers.of_account, **of_machine.breakers.of_account}
    assert len(stops) == 2
    fleet.version, fleet.windows = "g 7", {"tasks": 4.0}
    fleet.reports.clear()
    fleet.granted(["no_funds"], changed=False)
    fleet.store_lost(stops.items(), [rule.rule.name for rule in guard.own_rules])
    assert told(fleet) == [("opened", "no_funds"), ("counted", "key-on-create"), ("window", "tasks")]
    assert fleet.version == ""
    assert not fleet.may_probe(1.0, "no_funds")
    (rule,) = guard.own_rules
    assert rule.ages(1.0) == pytest.approx([1.0], abs=0.01)
