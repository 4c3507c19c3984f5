"""What the server counts while it runs: plain numbers, changed by the loop's thread only, read at scrape time."""

from __future__ import annotations

from bisect import bisect_left

__all__ = ["LATENCY_BOUNDS_S", "ROWS_BOUNDS", "Counters", "Histogram"]

LATENCY_BOUNDS_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128)


class Histogram:
    """Count values into buckets with upper bounds, as Prometheus does; the last bucket has none."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """Return how many values were counted."""
        return sum(self.counts)

    def cumulative(self) -> list[int]:
        """Return, for each bound and for infinity, how many values were not above it."""
        sums, running = [], 0
        for count in self.counts:
            running += count
            sums.append(running)
        return sums

    def quantile(self, share: float) -> float:
        """Estimate a quantile by linear interpolation within its bucket; 0 where nothing was counted."""
        wanted, below = share * self.count, 0
        for index, count in enumerate(self.counts):
            if count and below + count >= wanted:
                if index == len(self.bounds):
                    return float(self.bounds[-1])
                low = self.bounds[index - 1] if index else 0.0
                return low + (self.bounds[index] - low) * (wanted - below) / count
            below += count
        return 0.0


class Counters:
    """Hold all counters of one server process."""

    def __init__(self) -> None:
        self.responses: dict[int, int] = {}
        self.latency = Histogram(LATENCY_BOUNDS_S)
        self.in_flight = 0
        self.connections = 0
        self.connections_refused = 0
        self.inferences = 0
        self.failures = 0
        self.rows = 0
        self.run_rows = Histogram(ROWS_BOUNDS)
        self.run_s = 0.0
        self.waited_s = 0.0
        self.queue_depth = 0
        self.rejected = 0
        self.warm_pings = 0
        self.log_dropped = 0
        self.ready = 0
        self.load_s = 0.0
        self.warm_up_s = 0.0

    def forget_warm_up(self) -> None:
        """Begin anew after the inferences that nobody asked for; what is open stays counted."""
        connections, in_flight, responses, latency = self.connections, self.in_flight, self.responses, self.latency
        self.__init__()  # type: ignore[misc]  # the same object, since others hold it
        self.connections, self.in_flight = connections, in_flight
        self.responses, self.latency = responses, latency
