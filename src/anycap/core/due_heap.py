"""One heap of due times per account: who is next, and when to look again. Knows nothing of what is due."""

from heapq import heappop, heappush

from anycap.core.solve import Solve


class DueHeap:
    """Solves by the monotonic second at which they are due. A solve is in it at most once; putting it again replaces.

    A changed due time leaves its old heap entry behind; it is recognised by its time and dropped when it comes up.
    """

    __slots__ = ("_heap", "_live", "_seq")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Solve]] = []
        self._seq = 0
        self._live = 0

    def __len__(self) -> int:
        return self._live

    def put(self, solve: Solve, due: float) -> None:
        """Have `solve` come up at `due`."""
        if solve.due < 0.0:
            self._live += 1
        solve.due = due
        self._seq += 1
        heappush(self._heap, (due, self._seq, solve))

    def drop(self, solve: Solve) -> None:
        """Take `solve` out, if it is in."""
        if solve.due >= 0.0:
            solve.due = -1.0
            self._live -= 1

    def next_due(self) -> float | None:
        """When the next solve is due; None when there is none."""
        heap = self._heap
        while heap:
            due, _, solve = heap[0]
            if solve.due == due:
                return due
            heappop(heap)
        return None

    def pop(self, now: float) -> tuple[float, Solve] | None:
        """The solve that is due longest at `now` and when it was due, or None. It is taken out."""
        heap = self._heap
        while heap:
            due, _, solve = heap[0]
            if solve.due != due:
                heappop(heap)
                continue
            if due > now:
                return None
            heappop(heap)
            solve.due = -1.0
            self._live -= 1
            return due, solve
        return None
