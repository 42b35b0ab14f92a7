"""The notice of Google's cloud, from a metadata server on loopback."""

import http.server
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support import miniature, warm
from trainer.loop import preemption


class MetadataServer(http.server.ThreadingHTTPServer):
    """Answers as Google's does; `preempted` is set by the test."""

    def __init__(self) -> None:
        self.preempted = threading.Event()
        self.waiting = threading.Event()
        self.paths: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: MetadataServer

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if self.headers["Metadata-Flavor"] != "Google":
            self.send_error(403)
            return
        self.server.paths.append(url.path)
        query = parse_qs(url.query)
        if query.get("last_etag") == ["no"] and query["wait_for_change"] == ["true"]:
            self.server.waiting.set()
            self.server.preempted.wait(60)
        preempted = self.server.preempted.is_set()
        self.send_response(200)
        self.send_header("ETag", "yes" if preempted else "no")
        self.end_headers()
        if url.path.endswith("/name"):
            self.wfile.write(b"animals-first-x1y2")
        else:
            self.wfile.write(b"TRUE" if preempted else b"FALSE")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[MetadataServer]:
    with MetadataServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.preempted.set()
        server.shutdown()


def test_notice_stops_a_run_with_a_checkpoint(
    server: MetadataServer, dataset: Path, tmp_path: Path
) -> None:
    flags = (f"--data_dir={dataset}", f"--workdir={tmp_path}", "--batch_size=8", "--epochs=100000")
    environment = {**miniature.environment(), "GCE_METADATA_HOST": server.host}
    with subprocess.Popen(
        warm.up(miniature.command(*flags)), env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert server.waiting.wait(180)
        for line in process.stdout:
            if line.startswith("epoch 2/"):
                break
        server.preempted.set()
        _, stderr = process.communicate(timeout=180)
    assert process.returncode == 42, stderr
    assert set(server.paths) == {"/computeMetadata/v1/instance/preempted"}
    [line] = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    step = int(line.partition("a checkpoint of step ")[2].split()[0])
    assert (tmp_path / "checkpoints" / f"step-{step:08d}.npz").exists()


def test_elsewhere_nobody_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GCE_METADATA_HOST", raising=False)
    product = tmp_path / "product_name"
    monkeypatch.setattr(preemption, "_PRODUCT_NAME", product)
    assert not preemption.is_on_gcp()  # No such file: a container, or no Linux.
    product.write_text("Standard PC\n")
    assert not preemption.is_on_gcp()
    assert preemption.watch_for_notice() is None
    product.write_text("Google Compute Engine\n")
    assert preemption.is_on_gcp()
