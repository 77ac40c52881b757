"""How long one task type of one account takes: the chance per second of being solved, learned from polls.

Here live the estimate and its forgetting; when to poll is decided by its neighbour `schedule.py`. Pure arithmetic.

Rules of the file:
- Ages are cut into bins of equal logarithmic width. Each bin counts tasks at risk (unsolved on entering it) and solves.
  The hazard is solves over tasks at risk. It needs no order: a thousand tasks submitted at once report the quick ones
  first, which would fool any estimate from finished tasks alone.
- "Processing" adds risk at once. "Ready" says only that the solve lies between two polls: the last `WINDOW` of these are
  kept as they are and shared out again (EM) whenever the curve is drawn, older ones stay as last shared out.
- Solves and risk are smoothed over neighbouring bins, the less the more is known (n^-1/5): no shape is assumed, so two
  humps (cached answers) stay two humps.
- The prior is the law whose best schedule is the vendor's default, with the weight of `PRIOR_TASKS` tasks.
- A bin remembers about `MEMORY_TASKS` tasks and forgets exponentially as new ones pass through it. When solves and
  expectation drift apart more than chance allows, everything but the last few tasks loses its weight.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import exp, log, sqrt

# Seven per cent a bin: finer than solve times repeat, coarse enough that drawing a curve takes a millisecond.
FIRST_EDGE_S = 0.25
RATIO = 1.07
BINS = 122
"""Edges from 0.25 s to about 900 s; what lies beyond belongs to the last bin."""
# Four: after eight tasks the learned law outweighs the vendor's advice two to one.
PRIOR_TASKS = 4.0
PRIOR_FLOOR = 0.05
"""Part of the prior's weight that it keeps at ages its own law never reaches."""
# A queue of workers changes by the hour; 150 tasks are some minutes of a busy account and smooth enough to plan with.
MEMORY_TASKS = 150.0
# Shared out again at each drawing, so the window is what a drawing costs.
WINDOW = 64
SMOOTHING = 0.35
"""Smoothing width in logarithmic units for one solve; shrinks with n^-1/5."""
PRIOR_FADE_TASKS = 8.0
"""The prior has lost half its weight after this many tasks: at ages that nobody polls, it would otherwise stay for ever."""
SHIFT_MEMORY = 0.95
"""Solves minus expected solves are summed over about 1 / (1 - this) tasks."""
SHIFT_SLOWER, SHIFT_FASTER = -20.0, 9.0
"""Where that sum says that the law has moved. One task can only be one solve too early, but many too late."""
# Before that the sum is noise: one slow task alone can reach the lower bound.
SHIFT_FROM_TASKS = 8
# Tasks' worth of the old law that stays: a false alarm then costs three tasks, not a hundred and fifty.
KEPT_AFTER_SHIFT = 3.0

# exp(-300) is as good as zero and far from where a float becomes one.
TOTAL_MAX = 300.0
"""Upper bound of the integrated hazard."""
# Smaller than this, an interval has no solves under the present estimate, and dividing by it would give infinity.
MASS_MIN = 1e-100

_LOG_RATIO = log(RATIO)
EDGES_S = (0.0, *(FIRST_EDGE_S * RATIO**index for index in range(BINS)))
"""Edges of the bins: bin i runs from `EDGES_S[i]` to `EDGES_S[i + 1]`."""
WIDTHS_S = tuple(after - before for before, after in pairwise(EDGES_S))


def place(age_s: float) -> tuple[int, float]:
    """The bin of an age, and the part of the bin that lies before it."""
    if age_s < FIRST_EDGE_S:
        return 0, max(age_s, 0.0) / FIRST_EDGE_S
    index = min(1 + int(log(age_s / FIRST_EDGE_S) / _LOG_RATIO), BINS - 1)
    return index, min(max((age_s - EDGES_S[index]) / WIDTHS_S[index], 0.0), 1.0)


class SolveTimes:
    """The learned hazard of the solve time, in `BINS` bins.

    `prior(age_s)` is the hazard (per second) assumed before anything is known. `hazard` is the estimate, refreshed by
    `redraw()`; `solves` counts every solve learned from.
    """

    def __init__(self, prior: Callable[[float], float]) -> None:
        self._prior_risk: list[float] = []
        self._prior_hazard = [prior((before + after) / 2) for before, after in pairwise(EDGES_S)]
        left = 1.0
        for hazard, width_s in zip(self._prior_hazard, WIDTHS_S, strict=True):
            self._prior_risk.append(PRIOR_TASKS * max(left, PRIOR_FLOOR))
            left *= exp(-hazard * width_s)
        self._risk = [0.0] * BINS
        self._solved = [0.0] * BINS
        self._window: list[tuple[float, float]] = []
        self._surprise = 0.0
        self.solves = 0
        self.shifts = 0
        self._steady = 0
        self.hazard: list[float] = list(self._prior_hazard)
        self._total: list[float] = []
        self._integrate()

    # -- what polls tell ----------------------------------------------------------------------------------------------

    def survived(self, after_s: float, by_s: float) -> None:
        """A task known to be unsolved at `after_s` was still unsolved at `by_s`."""
        if by_s <= after_s:
            return
        risk = self._risk
        first, skipped = place(after_s)
        last, covered = place(by_s)
        risk[first] -= skipped
        for index in range(first, last):
            risk[index] += 1.0
        risk[last] += covered
        # What was expected and did not come. Solves add to the sum, so that under a true law it stays about zero.
        self._surprise -= self.expected(by_s) - self.expected(after_s)

    def solved(self, after_s: float, by_s: float) -> bool:
        """A task unsolved at `after_s` was solved by `by_s` (equal: exactly then). True when the law seems to have moved."""
        self.solves += 1
        self._window.append((min(after_s, by_s), by_s))
        before, upto = self.expected(after_s), self.expected(by_s)
        ran = upto - before
        # The mean of an exponential of rate 1 cut off at `ran`: how much was to be expected up to the unknown moment.
        spent = 1.0 - ran * exp(-ran) / (1.0 - exp(-ran)) if ran > 1e-6 else ran / 2
        self._surprise = SHIFT_MEMORY * (self._surprise + 1.0 - spent)
        self._steady += 1
        if self._steady < SHIFT_FROM_TASKS:
            # Right after a shift the old estimate still rules: its errors must not count as the next shift.
            self._surprise = min(max(self._surprise, -3.0), 3.0)
        elif not SHIFT_SLOWER < self._surprise < SHIFT_FASTER:
            self._forget()
            return True
        if len(self._window) > 2 * WINDOW:
            self._share_out(WINDOW)
        return False

    # -- the estimate -------------------------------------------------------------------------------------------------

    def expected(self, age_s: float) -> float:
        """Integral of the hazard up to an age."""
        index, part = place(age_s)
        return self._total[index] + part * (self._total[index + 1] - self._total[index])

    def part_solved(self, age_s: float) -> float:
        """P(solved by this age) under the present estimate."""
        return 1.0 - exp(-self.expected(age_s))

    def age_of(self, part: float) -> float:
        """Age by which this part of the tasks is solved (at most the last edge)."""
        goal = -log(1.0 - part)
        for index, total in enumerate(self._total[1:]):
            if total >= goal:
                before = self._total[index]
                return EDGES_S[index] + WIDTHS_S[index] * (goal - before) / (total - before)
        return EDGES_S[-1]

    def redraw(self, rounds: int = 4) -> None:
        """Bring `hazard` up to date with everything told so far; `rounds` of sharing out and smoothing."""
        if any(risk > 2 * MEMORY_TASKS for risk in self._risk):
            self._share_out(0)
            self._fade()
        width = SMOOTHING * max(self.known, 1.0) ** -0.2
        keep = _smoother(width / _LOG_RATIO)
        for _ in range(rounds):
            solved, risk = self._shared(self._window)
            solved = _smooth([a + b for a, b in zip(solved, self._solved, strict=True)], keep)
            risk = _smooth([max(a + b, 0.0) for a, b in zip(risk, self._risk, strict=True)], keep)
            faded = PRIOR_FADE_TASKS / (PRIOR_FADE_TASKS + self.known)
            for index in range(BINS):
                weight = self._prior_risk[index] * faded
                solves = solved[index] + weight * self._prior_hazard[index] * WIDTHS_S[index]
                self.hazard[index] = solves / (weight + risk[index]) / WIDTHS_S[index]
            self._integrate()

    @property
    def known(self) -> float:
        """How many solves the estimate rests on now, after forgetting."""
        return sum(self._solved) + len(self._window)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _integrate(self) -> None:
        total, self._total = 0.0, [0.0]
        for hazard, width_s in zip(self.hazard, WIDTHS_S, strict=True):
            total = min(total + hazard * width_s, TOTAL_MAX)
            self._total.append(total)

    def _shared(self, window: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
        """Solves and risk by bin: the E step of EM, each solve shared out over its interval as the present estimate has it.

        With S(t) the part still unsolved at t, a solve known to lie in (a, b) lies in a bin from u to v with probability
        (S(u) - S(v)) / (S(a) - S(b)), and its risk there is the mean of (S(t) - S(b)) / (S(a) - S(b)). The first and last bin
        of each interval are added at once. The whole bins between differ only by a factor, so their factors are summed as
        differences (`starts`, `ends`) and spread in one pass: the cost grows with solves plus bins, not with their product.
        """
        solved, risk = [0.0] * BINS, [0.0] * BINS
        starts, ends = [0.0] * (BINS + 1), [0.0] * (BINS + 1)
        left = [exp(-total) for total in self._total]
        for after_s, by_s in window:
            first, skipped = place(after_s)
            last, covered = place(by_s)
            if first == last:
                # Within one bin nothing is to be shared out; on average half the interval was at risk.
                solved[first] += 1.0
                risk[first] += (covered - skipped) / 2
                continue
            begin = left[first] + skipped * (left[first + 1] - left[first])
            end = left[last] + covered * (left[last + 1] - left[last])
            mass = begin - end
            scale = 1.0 / mass if mass > MASS_MIN else 0.0
            if not scale:
                # The estimate thinks this impossible: believe the poll that found it.
                solved[last] += 1.0
                continue
            # The rest of the first bin, then the beginning of the last; a straight line stands for S within a bin.
            inside = (begin - left[first + 1]) * scale
            solved[first] += inside
            risk[first] += (1.0 - skipped) * (1.0 - inside / 2)
            inside = (left[last] - end) * scale
            solved[last] += inside
            risk[last] += covered * inside / 2
            starts[first + 1] += scale
            starts[last] -= scale
            ends[first + 1] += scale * end
            ends[last] -= scale * end
        scale = end = 0.0
        for index in range(BINS):
            scale += starts[index]
            end += ends[index]
            if scale > 0.0:
                solved[index] += scale * (left[index] - left[index + 1])
                risk[index] += max(scale * (left[index] + left[index + 1]) / 2 - end, 0.0)
        return solved, risk

    def _share_out(self, kept: int) -> None:
        """Share out all but the last `kept` solves of the window for good."""
        cut = len(self._window) - kept
        solved, risk = self._shared(self._window[:cut])
        self._window = self._window[cut:]
        self._solved = [a + b for a, b in zip(self._solved, solved, strict=True)]
        self._risk = [max(a + b, 0.0) for a, b in zip(self._risk, risk, strict=True)]

    def _fade(self) -> None:
        """Cut every bin back to its memory; solves and risk alike, so that the hazard stays."""
        for index, risk in enumerate(self._risk):
            if risk > MEMORY_TASKS:
                self._solved[index] *= MEMORY_TASKS / risk
                self._risk[index] = MEMORY_TASKS

    def _forget(self) -> None:
        """The law has moved: what is known counts little from here on."""
        self.shifts += 1
        self._steady = 0
        self._share_out(0)
        for index, risk in enumerate(self._risk):
            part = min(1.0, KEPT_AFTER_SHIFT / max(risk, self._solved[index], 1e-9))
            self._solved[index] *= part
            self._risk[index] *= part
        self._surprise = 0.0


def _smoother(sigma_bins: float) -> float:
    """The part that an exponential filter, run twice in both directions, keeps from bin to bin for this sigma."""
    variance = sigma_bins * sigma_bins / 4
    # One pass has the variance keep / (1 - keep)^2; solved for keep. Below that width a filter would keep nothing.
    return 1.0 + 1.0 / (2 * variance) - sqrt((1.0 + 1.0 / (2 * variance)) ** 2 - 1.0) if variance > 1e-6 else 0.0


def _smooth(values: list[float], keep: float) -> list[float]:
    """Four passes of an exponential filter, close to a bell curve; the sum is kept up to what leaves at the edges."""
    # Forwards and backwards, twice: one direction would shift every hump towards later ages.
    give = 1.0 - keep
    for _ in range(2):
        for _ in range(2):
            carried, out = values[0], []
            for value in values:
                carried = keep * carried + give * value
                out.append(carried)
            out.reverse()
            values = out
    return values
