"""What Prometheus is told of a server: requests, their times, batches and what waits."""

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """The figures of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "animals_requests", "Requests that were answered.", ["path", "code"],
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "animals_request_seconds", "From a request to its answer.", ["path"],
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._batches = Histogram(
            "animals_batch_size", "Photographs that went through the model together.",
            buckets=_SIZES, registry=self._registry,
        )  # fmt: skip
        ProcessCollector(registry=self._registry)

    def request(self, path: str, code: int, seconds: float) -> None:
        """Counts a request that was answered."""
        self._requests.labels(path, code).inc()
        self._seconds.labels(path).observe(seconds)

    def batch(self, size: int) -> None:
        """Counts a batch."""
        self._batches.observe(size)

    def watch(self, name: str, what: str, read: Callable[[], float]) -> None:
        """Shows a figure that is read when it is asked for."""
        Gauge(f"animals_{name}", what, registry=self._registry).set_function(read)

    def text(self) -> bytes:
        """Returns all of it, as Prometheus reads it."""
        return generate_latest(self._registry)
