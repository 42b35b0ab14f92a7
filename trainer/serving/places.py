"""Places: how many photographs, and how many bytes of them, may be inside at once."""

from http import HTTPStatus
from types import TracebackType
from typing import Self

from trainer.serving.refusal import RefusalError


class Places:
    """What is free; used by the event loop's thread alone."""

    def __init__(self, photographs: int, num_bytes: int) -> None:
        self._most_photographs, self._most_bytes = photographs, num_bytes
        self.photographs = 0
        self.bytes = 0

    def take(self, photographs: int, num_bytes: int) -> None:
        """Takes so many more.

        Raises:
            RefusalError: with 503, if there are not so many.
        """
        if (
            self.photographs + photographs > self._most_photographs
            or self.bytes + num_bytes > self._most_bytes
        ):
            raise RefusalError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"Too many photographs are waiting: {self.photographs}, at most "
                f"{self._most_photographs} may. Send them again later.",
            )
        self.photographs += photographs
        self.bytes += num_bytes


class Held:
    """The places of one request, which are free again once it is left."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._photographs = self._bytes = 0

    def __enter__(self) -> Self:
        """Takes the place of a first photograph, before its request is read."""
        self.take(photographs=1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._places.photographs -= self._photographs
        self._places.bytes -= self._bytes

    def take(self, photographs: int = 0, num_bytes: int = 0) -> None:
        """Takes so many more; raises as `Places.take`."""
        self._places.take(photographs, num_bytes)
        self._photographs += photographs
        self._bytes += num_bytes
