"""A refusal: a request that is answered with a reason in place of predictions."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple

RETRY_SECONDS = 1


class BadImage(NamedTuple):
    """A photograph that is refused, and why."""

    image: str
    reason: str


class RefusalError(Exception):
    """A request that cannot be answered.

    Attributes:
        status: Of HTTP.
        images: The photographs that are to blame; none: the request as a whole.
    """

    def __init__(
        self, status: HTTPStatus, detail: str = "", images: Sequence[BadImage] = ()
    ) -> None:
        super().__init__(detail or "; ".join(f"{name}: {reason}" for name, reason in images))
        self.status = status
        self.images = list(images)

    @property
    def headers(self) -> Mapping[str, str]:
        """What goes with the answer."""
        is_passing = self.status == HTTPStatus.SERVICE_UNAVAILABLE
        return {"Retry-After": str(RETRY_SECONDS)} if is_passing else {}
