"""What goes wrong with an object store, in a person's words, and what may pass by itself.

Each client has errors of its own: botocore's, aiohttp's, gcsfs's HttpError, Azure's. They are told
apart by the status of the store's answer, and where there was none by their kind.
"""

import asyncio
import errno
import http
from collections.abc import Callable, Iterator

from buckets import urls

_PASSING = (408, 425, 429, 500, 502, 503, 504, 509)
# What s3fs makes of 500, 503 and 409: it keeps the status in the cause alone.
_PASSING_ERRNO = (errno.EBUSY, getattr(errno, "EREMOTEIO", errno.EIO), errno.ETIMEDOUT)
# By name, as no client need be installed: of aiohttp, botocore, requests, google.auth and Azure.
_UNREACHABLE = {
    "ClientError", "HTTPClientError", "RequestException", "TransportError", "ServiceRequestError",
    "ServiceResponseError", "ConnectionError", "TimeoutError", "IncompleteRead", "ChecksumError",
    "IncompleteReadError",
}  # fmt: skip
_NO_CREDENTIALS = {
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound",
    "TokenRetrievalError", "UnauthorizedSSOTokenError", "SSOTokenLoadError", "RefreshError",
    "DefaultCredentialsError", "ClientAuthenticationError", "ConfigParseError", "CredentialsError",
}  # fmt: skip
_WRONG_BYTES = {"FlexibleChecksumError"}  # Of botocore: not those that were put up.
_EXPIRED = ("ExpiredToken", "RequestExpired", "token has expired", "TokenRefreshRequired")
_SET_UP = {
    "gs": "Log in with `gcloud auth application-default login`, or name a service account's key in "
    "GOOGLE_APPLICATION_CREDENTIALS",
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "az": "Set AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY or what else your account "
    "needs",
}


class BucketError(RuntimeError):
    """An object store does not do what is asked: one line for a person."""


class CredentialsError(ValueError):
    """What the environment says of credentials is not enough, or makes no sense."""


class ChangedError(BucketError):
    """An object is not the one that was expected."""


class ShortReadError(ConnectionError):
    """Fewer bytes came than were asked for."""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def status_of(error: BaseException) -> int | None:
    """The HTTP status of the store's answer; None where there was no answer."""
    for each in _chain(error):
        response = getattr(each, "response", None)
        if isinstance(response, dict):  # botocore's.
            found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            names = ("status_code", "status", "code")
            found = next((getattr(each, n) for n in names if hasattr(each, n)), None)
        try:
            return int(found)
        except (TypeError, ValueError):
            continue
    return None


def _kinds(error: BaseException) -> set[str]:
    """The names of the classes of an error, and of what it came from."""
    return {kind.__name__ for each in _chain(error) for kind in type(each).__mro__}


def is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed a little later."""
    if isinstance(error, (FileNotFoundError, FileExistsError, PermissionError, BucketError)):
        return False
    if _kinds(error) & _NO_CREDENTIALS:
        return False
    status = status_of(error)
    if status is not None and status >= 400:
        return status in _PASSING
    if isinstance(error, OSError) and error.errno in _PASSING_ERRNO:
        return True
    if isinstance(error, (ConnectionError, TimeoutError, asyncio.TimeoutError)):
        return True
    return bool(_kinds(error) & _UNREACHABLE)


def has_wrong_bytes(error: BaseException) -> bool:
    """Whether a client found by a checksum that what came is not what was put up."""
    told = any("BadDigest" in str(each) for each in _chain(error))  # By S3, of an upload.
    return told or bool(_kinds(error) & _WRONG_BYTES)


def _is_denied(error: BaseException) -> bool:
    """Gcsfs has no class of its own for it."""
    if isinstance(error, PermissionError) or status_of(error) == http.HTTPStatus.FORBIDDEN:
        return True
    return isinstance(error, OSError) and str(error).startswith("Forbidden")


def explain(
    error: BaseException,
    url: str,
    doing: str,
    *,
    is_anonymous: Callable[[], bool] = lambda: False,
) -> BucketError:
    """Returns what to tell a person.

    Args:
        error: What the client raised.
        url: Of the object, or of the folder.
        doing: What was tried, as `read`.
        is_anonymous: Says whether the client has no credentials; asked only if it got an answer.
    """
    if isinstance(error, BucketError):
        return error
    bucket = f"{urls.scheme_of(url)}://{urls.bucket_of(url)}"
    set_up = _SET_UP.get(urls.scheme_of(url) or "", "See the client's documentation")
    words = said(error)
    status = status_of(error)
    if has_wrong_bytes(error):
        return ChangedError(f"The bytes are not those that were put up. Received: {url} ({words}).")
    if any(word in words for word in _EXPIRED):
        return BucketError(
            f"The credentials for {bucket} have expired. Received: {url} ({words}). {set_up}, and "
            "start the same command again."
        )
    is_refused = _is_denied(error)
    if (
        _kinds(error) & _NO_CREDENTIALS
        or status == http.HTTPStatus.UNAUTHORIZED
        or (is_refused and is_anonymous())
    ):
        return BucketError(
            f"There are no credentials for {bucket}, or they are not accepted. Received: {url} "
            f"({words}). {set_up}."
        )
    if is_refused:
        return BucketError(
            f"The bucket refuses it: {url} may not be {doing} with these credentials. Received: "
            f"{words}. Take others, or ask its owner for the right. {set_up}."
        )
    if is_passing(error):
        return BucketError(
            f"The object store does not answer as it should. Received: {url}, which could not be "
            f"{doing} ({words}). See whether it can be reached from this machine, and whether "
            "its endpoint is the right one; then start the same command again."
        )
    return BucketError(f"{url} could not be {doing}. Received: {words}.")


def no_such_bucket(url: str) -> BucketError:
    """What to say of a bucket that does not exist."""
    bucket = f"{urls.scheme_of(url)}://{urls.bucket_of(url)}"
    return BucketError(
        f"There is no bucket {bucket}, or these credentials do not see it. Received: {url}. Create "
        "it, or mend its name."
    )


def said(error: BaseException) -> str:
    """What a client said, on one line."""
    text = " ".join(str(error).split()) or " ".join(repr(error).split())
    return f"{type(error).__name__}: {text[:300]}"
