"""The photographs of a request: read within bounds, none of them decoded or written by its name.

What is larger than a mebibyte waits in a nameless temporary file, as Starlette has it.
"""

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, NamedTuple

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from tfrecords import originals
from tfrecords.unusable import UnusableImageError
from trainer.serving.refusal import BadImage, RefusalError

FIELD = "image"
_SECONDS_TO_SEND = 120
_LONGEST_NAME = 255
_DATA_URL = re.compile(r"data:[^,]{0,100};base64,")  # What browsers' FileReader puts before it.
_HOW = (
    f"Send photographs as files of the form field `{FIELD}`, as `curl -F {FIELD}=@photo.jpg` does"
)
_HOW_JSON = '{"images": ["base64 of a photograph", ...]} or {"image": "base64 of a photograph"}'


class Upload(NamedTuple):
    """A photograph that was sent.

    Attributes:
        name: As the sender calls it, fit to be shown; never a path.
        read: Returns the bytes of its file; may take a while.
    """

    name: str
    read: Callable[[], bytes]


class Sent(NamedTuple):
    """What a request holds.

    Attributes:
        photographs: One or more.
        text: Of the field of text that was asked for; None: it has none.
    """

    photographs: list[Upload]
    text: str | None


class Bounds(NamedTuple):
    """What a request may hold.

    Attributes:
        file_bytes: Size of a photograph's file.
        request_bytes: Size of all of it.
        images: How many photographs.
    """

    file_bytes: int
    request_bytes: int
    images: int


@contextlib.asynccontextmanager
async def receive(
    request: Request,
    bounds: Bounds,
    arrived: Callable[[int], object],
    text_field: str | None = None,
) -> AsyncIterator[Sent]:
    """Yields the photographs of a request; their files are gone after it.

    Args:
        request: Of which nothing was read.
        bounds: What it may hold.
        arrived: Called with the number of bytes that came; may raise a refusal.
        text_field: The field of text that it may have beside them, in the form, the JSON or the
            address.

    Raises:
        RefusalError: with the reason, if it holds anything but photographs within the bounds.
    """
    _check_length(request, bounds)
    bounded = Request(request.scope, _bounded(request.receive, bounds, arrived))
    async with contextlib.AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(_SECONDS_TO_SEND):
                sent = await _read(bounded, bounds, text_field, stack)
        except TimeoutError as error:
            raise RefusalError(
                HTTPStatus.REQUEST_TIMEOUT,
                f"The request must arrive within {_SECONDS_TO_SEND} s.",
            ) from error
        except ClientDisconnect as error:  # Nobody is there to read it.
            raise RefusalError(HTTPStatus.BAD_REQUEST, "The request was cut off.") from error
        if sent.text is None and text_field:
            sent = sent._replace(text=request.query_params.get(text_field))
        yield sent


async def _read(
    request: Request, bounds: Bounds, text_field: str | None, stack: contextlib.AsyncExitStack
) -> Sent:
    """Reads a form or JSON; the files of a form are closed with the stack."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        form = await _read_form(request, bounds)
        stack.push_async_callback(form.close)
        text = form.get(text_field) if text_field else None
        return Sent(_of_form(form, bounds), text if isinstance(text, str) else None)
    if kind == "application/json":
        return await run_in_threadpool(_of_json, await request.body(), bounds, text_field)
    raise RefusalError(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        f"{_HOW}, or {_HOW_JSON} as application/json. Received: "
        f"{shown(kind) or 'no content type'}.",
    )


def _check_length(request: Request, bounds: Bounds) -> None:
    """Refuses what says by itself that it is too large, before it comes."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > bounds.request_bytes:
        raise _too_large(bounds)


def _too_large(bounds: Bounds) -> RefusalError:
    return RefusalError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"A request may have {bounds.request_bytes // 2**20} MiB at most. Send the photographs in "
        "several, or smaller.",
    )


def _bounded(
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    bounds: Bounds,
    arrived: Callable[[int], object],
) -> Callable[[], Awaitable[MutableMapping[str, Any]]]:
    """Counts what comes: a request need not say how large it is, nor say the truth."""
    left = bounds.request_bytes

    async def counted() -> MutableMapping[str, Any]:
        nonlocal left
        message = await receive()
        count = len(message.get("body", b""))
        left -= count
        if left < 0:
            raise _too_large(bounds)
        arrived(count)
        return message

    return counted


async def _read_form(request: Request, bounds: Bounds) -> FormData:
    try:
        return await request.form(max_files=bounds.images)
    except StarletteHTTPException as error:
        if "files" in error.detail:
            raise RefusalError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                _too_many(bounds),
            ) from error
        detail = f"The form cannot be read: {error.detail.removesuffix('.')}. {_HOW}."
        raise RefusalError(HTTPStatus.BAD_REQUEST, detail) from error


def _of_form(form: FormData, bounds: Bounds) -> list[Upload]:
    """Passes over other fields of text, which a form may have; a file elsewhere is a mistake."""
    uploads, sizes, others = [], [], []
    for field, value in form.multi_items():
        if isinstance(value, UploadFile) and field == FIELD:
            uploads.append(Upload(shown(value.filename or "") or "(no name)", value.file.read))
            sizes.append(value.size or 0)
        elif isinstance(value, UploadFile) or field == FIELD:
            others.append(field)
    if others or not uploads:
        fields = ", ".join(shown(field) or "(no name)" for field in others or form) or "none"
        what = "text in the field" if FIELD in others else "fields"
        raise RefusalError(HTTPStatus.BAD_REQUEST, f"{_HOW}. Received: {what} {fields}.")
    _check_sizes(uploads, sizes, bounds)
    return uploads


def _too_many(bounds: Bounds) -> str:
    if bounds.images == 1:
        return "A request may have one photograph. Send the others in requests of their own."
    return f"A request may have {bounds.images} photographs at most. Send them in several."


def _of_json(body: bytes, bounds: Bounds, text_field: str | None) -> Sent:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusalError(
            HTTPStatus.BAD_REQUEST, f"The request is no JSON. Send {_HOW_JSON}."
        ) from error
    text = content.pop(text_field, None) if text_field and isinstance(content, dict) else None
    if not isinstance(text, str | None):
        raise RefusalError(HTTPStatus.BAD_REQUEST, f"The field `{text_field}` must be a string.")
    named = _named_texts(content)
    if len(named) > bounds.images:
        raise RefusalError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"{_too_many(bounds)} Received: {len(named):,}.",
        )
    uploads = [Upload(name, _decoder(text)) for name, text in named.items()]
    _check_sizes(uploads, [len(text) * 3 // 4 for text in named.values()], bounds)
    return Sent(uploads, text)


def _named_texts(content: Any) -> dict[str, str]:
    """Returns the photographs in base64, each by where it stands."""
    found: Any = None
    if isinstance(content, dict) and content.keys() == {"image"}:
        found = {"image": content["image"]}
    elif isinstance(content, dict) and content.keys() == {"images"}:
        several = content["images"]
        found = isinstance(several, list) and {f"images[{i}]": x for i, x in enumerate(several)}
    if not found or not all(isinstance(text, str) for text in found.values()):
        raise RefusalError(HTTPStatus.BAD_REQUEST, f"Send {_HOW_JSON}.")
    return dict(found)


def _decoder(text: str) -> Callable[[], bytes]:
    def decode() -> bytes:
        try:
            return base64.b64decode(_DATA_URL.sub("", text, count=1), validate=True)
        except ValueError as error:
            raise UnusableImageError("not base64") from error

    return decode


def _check_sizes(uploads: list[Upload], sizes: list[int], bounds: Bounds) -> None:
    large = [
        BadImage(
            upload.name, f"too large: {size:,} bytes, at most {bounds.file_bytes:,} are allowed"
        )
        for upload, size in zip(uploads, sizes, strict=True)
        if size > bounds.file_bytes
    ]
    if large:
        raise RefusalError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, images=large)


def shown(name: str) -> str:
    """Returns a name on one line, and not a page of it."""
    text = originals.shown(name)
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}…"
