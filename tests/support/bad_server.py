"""A loopback web server with a folder's files, and with bad manners where a test asks for them."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class BadServer(ThreadingHTTPServer):
    """Serves `content` ({path: bytes}) and keeps what was asked for.

    Attributes:
        manners: {path: what to do at its next requests}, in turn; afterwards it behaves.
        requests: (path, Range header or "") of every request.
        sent: Bytes of bodies sent.
    """

    daemon_threads = True

    def __init__(self, content: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.manners: dict[str, list[str]] = defaultdict(list)
        self.requests: list[tuple[str, str]] = []
        self.sent = 0
        self.counting = threading.Lock()
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: BadServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "")
        self.server.requests.append((self.path, asked))
        manners = self.server.manners[self.path]
        manner = manners.pop(0) if manners else "good"
        if self.path not in self.server.content or manner.isdigit():
            code = int(manner) if manner.isdigit() else 404
            self._answer(code, b"<html>", {"Retry-After": "7"} if code == 429 else {})
            return
        body, code, headers = self.server.content[self.path], 200, {}
        if asked and manner != "no ranges":
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            code, headers = 206, {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
            if start >= len(body):
                self._answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
                return
            body = body[start:]
        if manner == "hang up":
            self.close_connection = True
        elif manner == "too short":  # Says that it is all of the file.
            self._answer(code, body[:-50], headers)
        elif manner == "corrupt":
            self._answer(code, bytes(len(body)), headers)
        else:
            cut = len(body) // 2 if manner in ("drop", "stall") else len(body)
            self._answer(code, body[:cut], {**headers, "Content-Length": str(len(body))})
            if manner == "stall":
                self.server.over.wait(60)
            self.close_connection = cut < len(body)

    def _answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with self.server.counting:  # Before a client has all, and its test looks.
            self.server.sent += len(body)
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(content: dict[str, bytes]) -> Iterator[BadServer]:
    """A server on a free port of this machine."""
    server = BadServer(content)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
