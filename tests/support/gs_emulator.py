"""gcp-storage-emulator, made to refuse what Google's store refuses and it does not."""

import contextlib
import re
from collections.abc import Callable
from http import HTTPStatus
from http.server import HTTPServer
from types import SimpleNamespace
from typing import Any

from gcp_storage_emulator import server, settings
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects

Handler = Callable[[Any, Any, Any], None]  # Of a request, its response, and what is stored.


def serve() -> str:
    """Serves from a thread of this process; returns the endpoint."""
    stricter = {
        objects.insert: _heed_precondition(objects.insert),
        objects.upload_partial: _heed_precondition(objects.upload_partial),
        objects.download: _heed_end(objects.download),
    }
    for pattern, methods in server.HANDLERS:
        methods.update({m: stricter[f] for m, f in methods.items() if f in stricter})
        if pattern.startswith(f"^{settings.UPLOAD_API_ENDPOINT}/"):
            methods["DELETE"] = _cancel
    HTTPServer.handle_error = lambda *_: None  # A client that hangs up is no news.
    emulator = server.create_server("127.0.0.1", 0, in_memory=True)
    emulator.start()
    return "http://{}:{}".format(*emulator._api._httpd.server_address)


def _heed_precondition(handle: Handler) -> Handler:
    """`ifGenerationMatch=0`: only where there is no object."""

    def handler(request: Any, response: Any, storage: Any) -> None:
        if "0" in request.query.get("ifGenerationMatch", ()):
            name = request.query["name"][0] if "name" in request.query else None
            with contextlib.suppress(NotFound):
                storage.get_file_obj(
                    request.params["bucket_name"], name or request.data["meta"]["name"]
                )
                response.status = HTTPStatus.PRECONDITION_FAILED
                return
        handle(request, response, storage)

    return handler


def _heed_end(handle: Handler) -> Handler:
    """A range that begins where the object has ended is none."""

    def handler(request: Any, response: Any, storage: Any) -> None:
        asked = re.match(r"bytes=(\d+)-", request.get_header("range") or "")
        with contextlib.suppress(NotFound):
            there = storage.get_file_obj(request.params["bucket_name"], request.params["object_id"])
            if asked and int(asked[1]) >= int(there["size"]):
                response.status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
                return
        handle(request, response, storage)

    return handler


def _cancel(request: Any, response: Any, storage: Any) -> None:
    """An upload that is given up: what Google answers then is in no list of HTTP's."""
    with contextlib.suppress(NotFound, KeyError):
        storage.delete_resumable_file_obj(request.query["upload_id"][0])
    response.status = SimpleNamespace(value=499, phrase="Client Closed Request")
