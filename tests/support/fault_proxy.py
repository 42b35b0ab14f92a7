"""A proxy between a client and a server of buckets, in a process of its own: slow, and faulty.

`before(scheme, endpoint)` starts one. Requests are counted. Faults are planned: each says which
requests it is for, what happens to them, and how many of them or which part. A request is passed on
once all of it is here, so that a slow upload does not keep the emulator's only thread: on a slow
line, an upload takes the line's time and then the server's.
"""

import asyncio
import collections
import contextlib
import dataclasses
import json
import random
import re
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp
import requests
from aiohttp import web
from yarl import URL

from tests.support import own_process

_PIECE = 1 << 16
_OWN_TO_A_CONNECTION = {"connection", "transfer-encoding", "content-length", "expect", "keep-alive"}
# What each store says of a token that is over: the status, the code, the message.
_EXPIRED = {
    "s3": (400, "ExpiredToken", "The provided token has expired."),
    "gs": (401, "authError", "Invalid Credentials"),
}
_CODES = {
    403: "AccessDenied", 429: "TooManyRequests", 500: "InternalError", 503: "SlowDown",
}  # fmt: skip


@dataclasses.dataclass
class Fault:
    """What goes wrong, and with which requests.

    Attributes:
        kind: `answer` with `status` at once, or `answer_halfway` through the request's body;
            `expired`: the store's word for an old token; `drop`: the connection ends instead of an
            answer, and the server has got nothing, or in `drop_after` has done all; `cut`: it ends
            after half of the answer's body; `stall`: nothing is answered for `seconds`;
            `flip_down`, `flip_up`: one byte of the answer's or the request's body is another.
        method: Pattern of the whole method.
        path: Pattern that is looked for in path and query, as the client has sent them.
        after: So many of these requests pass unharmed first.
        times: So many are hit, or all.
        probability: That one is hit, drawn from `seed`.
        status: Of `answer` and `answer_halfway`; `code` and `message` are told with it.
    """

    kind: Literal[
        "answer", "answer_halfway", "expired", "drop", "drop_after", "cut", "stall",
        "flip_down", "flip_up",
    ]  # fmt: skip
    method: str = ".*"
    path: str = ""
    after: int = 0
    times: int | None = 1
    probability: float = 1.0
    seed: int = 0
    status: int = 503
    code: str = ""
    message: str = "A fault that was planned."
    seconds: float = 5.0


class FaultProxy:
    """The side of a test: where the proxy is, and what it is told.

    Attributes:
        endpoint: For clients.
    """

    def __init__(self, endpoint: str, control: str) -> None:
        self.endpoint = endpoint
        self._control = control
        self._session = requests.Session()
        self._session.trust_env = False

    def plan(self, *faults: Fault) -> None:
        """Replaces the plan, and counts from zero; with no fault all is well again."""
        self._tell("plan", [dataclasses.asdict(fault) for fault in faults])

    def slow(self, latency: float = 0.0, rate: float | None = None) -> None:
        """Seconds before each answer, and bytes a second in each direction over all connections."""
        self._tell("slow", {"latency": latency, "rate": rate})

    def requests(self) -> list[tuple[str, str]]:
        """Method, path and query of each request since the last plan."""
        return [tuple(each) for each in self._tell("requests", None)]

    def counts(self) -> collections.Counter[str]:
        """How many requests there were since the last plan, by method."""
        return collections.Counter(method for method, _ in self.requests())

    def hits(self) -> list[int]:
        """How many requests each fault of the plan has hit."""
        return self._tell("hits", None)

    def _tell(self, what: str, content: Any) -> Any:
        answer = self._session.post(
            f"{self._control}/{what}", data=json.dumps(content), timeout=300
        )
        answer.raise_for_status()
        return answer.json()


@contextlib.contextmanager
def before(scheme: str, endpoint: str) -> Iterator[FaultProxy]:
    """A proxy before that endpoint of a server of `scheme`, as long as the block."""
    with own_process.started(__name__, scheme, endpoint) as (own_endpoint, control):
        yield FaultProxy(own_endpoint, control)


class _Planned:
    """A fault of the plan, and what came of it."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.seen = self.hits = 0
        self._random = random.Random(fault.seed)

    def hits_now(self, method: str, path: str) -> bool:
        """Whether this request is one that is to fail."""
        fault = self.fault
        if method == "HEAD" and fault.kind in ("cut", "flip_down"):
            return False  # Its answer has no body.
        if not re.fullmatch(fault.method, method) or not re.search(fault.path, path):
            return False
        self.seen += 1
        if self.seen <= fault.after or (fault.times is not None and self.hits >= fault.times):
            return False
        if self._random.random() >= fault.probability:
            return False
        self.hits += 1
        return True


class _Line:
    """One direction of a slow line, shared by all connections."""

    def __init__(self) -> None:
        self.rate: float | None = None
        self._free = 0.0

    async def carry(self, size: int) -> None:
        """Waits until so many bytes are through."""
        if self.rate:
            self._free = max(self._free, time.monotonic()) + size / self.rate
            await asyncio.sleep(self._free - time.monotonic())


class _Proxy:
    """The proxy itself."""

    def __init__(self, scheme: str, upstream: str) -> None:
        self.scheme = scheme
        self.upstream = upstream
        self.planned: list[_Planned] = []
        self.seen: list[tuple[str, str]] = []
        self.latency = 0.0
        self.up, self.down = _Line(), _Line()
        self.session: Any = None

    async def control(self, request: Any) -> Any:
        """Does what a test tells it."""
        content = await request.json()
        match request.path:
            case "/plan":
                self.planned = [_Planned(Fault(**each)) for each in content]
                self.seen = []
            case "/slow":
                self.latency = content["latency"]
                self.up.rate = self.down.rate = content["rate"]
            case "/requests":
                return web.json_response(self.seen)
            case "/hits":
                return web.json_response([each.hits for each in self.planned])
        return web.json_response(None)

    async def handle(self, request: Any) -> Any:
        """Passes a request on, or does to it what is planned."""
        self.seen.append((request.method, request.raw_path))
        hit = (p.fault for p in self.planned if p.hits_now(request.method, request.raw_path))
        fault = next(hit, None)
        kind = fault.kind if fault else ""
        if kind == "drop":
            return self._hang_up(request)
        half = (request.content_length or 0) // 2 if kind == "answer_halfway" else None
        body = await self._read(request, half)
        await asyncio.sleep(self.latency)
        if fault and kind in ("answer", "answer_halfway", "expired"):
            return self._refusal(request, fault)
        if fault and kind == "stall":
            await asyncio.sleep(fault.seconds)
        if kind == "flip_up" and body:
            body[len(body) // 2] ^= 1
        try:
            return await self._pass_on(request, body, kind)
        except aiohttp.ClientError:
            return self._hang_up(request)  # As the server, or the client, has done.

    async def _read(self, request: Any, most: int | None) -> bytearray:
        if request.headers.get("Expect", "").lower() == "100-continue":
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = bytearray()
        while (most is None or len(body) < most) and (
            piece := await request.content.read(_PIECE if most is None else most - len(body))
        ):
            body += piece
            await self.up.carry(len(piece))
        return body

    async def _pass_on(self, request: Any, body: bytearray, kind: str) -> Any:
        url = URL(self.upstream + request.raw_path, encoded=True)
        headers = [
            (n, v) for n, v in request.headers.items() if n.lower() not in _OWN_TO_A_CONNECTION
        ]
        headers.append(("Content-Length", str(len(body))))
        async with self.session.request(
            request.method, url, data=bytes(body), headers=headers, allow_redirects=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        ) as answer:  # fmt: skip
            if kind == "drop_after":
                return self._hang_up(request)
            return await self._answer(request, answer, kind)

    async def _answer(self, request: Any, answer: Any, kind: str) -> Any:
        size = int(answer.headers.get("Content-Length", 0))
        passed = web.StreamResponse(status=answer.status, reason=answer.reason)
        for name, value in answer.headers.items():
            if name.lower() not in _OWN_TO_A_CONNECTION:
                passed.headers.add(name, value)
        if "Content-Length" in answer.headers:
            passed.headers["Content-Length"] = str(size)
        await passed.prepare(request)
        done = 0
        async for piece in self._pieces(answer):
            if kind == "flip_down" and done <= size // 2 < done + len(piece):
                piece[size // 2 - done] ^= 1
            if kind == "cut" and done + len(piece) > size // 2:
                await passed.write(piece[: size // 2 - done])
                await asyncio.sleep(0.05)  # Else what was written goes with the connection.
                return self._hang_up(request)
            await passed.write(piece)
            done += len(piece)
        await passed.write_eof()
        return passed

    async def _pieces(self, answer: Any) -> AsyncIterator[bytearray]:
        async for piece in answer.content.iter_chunked(_PIECE):
            await self.down.carry(len(piece))
            yield bytearray(piece)

    def _refusal(self, request: Any, fault: Fault) -> Any:
        status, code, message = fault.status, fault.code, fault.message
        if fault.kind == "expired":
            status, code, message = _EXPIRED[self.scheme]
        code = code or _CODES.get(status, "InternalError")
        if self.scheme == "s3":
            kind = "application/xml"
            text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        else:
            kind = "application/json"
            errors = [{"reason": code, "message": message}]
            text = json.dumps({"error": {"code": status, "message": message, "errors": errors}})
        answer = web.Response(status=status, text=text, content_type=kind)
        if fault.kind == "answer_halfway":
            answer.force_close()
        return answer

    def _hang_up(self, request: Any) -> Any:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    async def serve(self, ready: Any) -> None:
        """Listens, for clients and for control, until the process ends."""
        self.session = aiohttp.ClientSession(
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
        )
        endpoints = []
        for handler in (self.handle, self.control):
            runner = web.ServerRunner(web.Server(handler))
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            endpoints.append("http://{}:{}".format(*runner.addresses[0][:2]))
        ready(endpoints)
        await asyncio.Event().wait()


def main() -> None:
    """Serves on a thread, while the main one waits for the end."""
    scheme, upstream = sys.argv[1:]
    assert urlsplit(upstream).hostname == "127.0.0.1"
    told: list[str] = []
    listening = threading.Event()

    def ready(endpoints: list[str]) -> None:
        told.extend(endpoints)
        listening.set()

    proxy = _Proxy(scheme, upstream)
    threading.Thread(target=lambda: asyncio.run(proxy.serve(ready)), daemon=True).start()
    listening.wait()
    own_process.tell_and_wait(told)


if __name__ == "__main__":
    main()
