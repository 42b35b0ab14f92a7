"""The server's answers, in-process: what is refused, how batches form, what a page may do."""

import base64
import io
import threading
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.support import trained_run
from tests.support.coco_folder import jpeg
from trainer.inference.classifier import Classifier
from trainer.serving import app
from trainer.serving.batching import Batcher
from trainer.serving.service import Limits, Service

LIMITS = Limits(file_bytes=100_000, request_bytes=400_000, images=4, waiting=8)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier.load(trained_run.write(tmp_path_factory.mktemp("run")))


@pytest.fixture
def service(classifier: Classifier) -> Iterator[Service]:
    with Service(classifier, LIMITS) as service:
        yield service


@pytest.fixture
def client(service: Service) -> TestClient:
    return client_of(service)


def client_of(service: Service, reject_below: float | None = None, **options: Any) -> TestClient:
    shown = app.Shown("runs/first", top_k=2, reject_below=reject_below)
    return TestClient(app.create(service, shown), **options)


def image(content: bytes, name: str = "a.jpg") -> tuple[str, tuple[str, bytes]]:
    return ("image", (name, content))


def zip_of(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.jpg", content)
    return out.getvalue()


def huge_png() -> bytes:
    out = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(out, "PNG")
    return out.getvalue()


def test_answers_as_predict_does_in_the_order_of_the_photographs(
    client: TestClient, classifier: Classifier
) -> None:
    photographs = [jpeg(number) for number in range(3)]
    names = ["b.jpg", "../../a.jpg", "<b>.jpg"]
    response = client.post("/predict", files=[*map(image, photographs, names)])
    assert response.status_code == 200
    assert [answer["image"] for answer in response.json()] == names
    expected = classifier.predict(photographs)
    for answer, row in zip(response.json(), expected, strict=True):
        assert answer.keys() == {"image", "predictions"}
        best = np.argsort(-row)[:2]
        assert [each["class"] for each in answer["predictions"]] == [
            classifier.classes[i] for i in best
        ]
        assert [each["probability"] for each in answer["predictions"]] == pytest.approx(
            row[best].tolist(), abs=1e-6
        )
    as_json = [base64.b64encode(content).decode() for content in photographs]
    same = client.post("/predict", json={"images": as_json}).json()
    assert [answer["image"] for answer in same] == ["images[0]", "images[1]", "images[2]"]
    one = client.post("/predict", json={"image": as_json[0]}).json()
    for answer in (same[0], one[0]):
        assert answer["predictions"][0] == pytest.approx(response.json()[0]["predictions"][0])


@pytest.mark.parametrize(
    ("files", "status", "blamed"),
    [
        ([image(zip_of(jpeg(1)))], 422, {"a.jpg": "not an image"}),
        ([image(huge_png(), "h.png")], 422, {"h.png": "too large: "}),
        ([image(b"")], 422, {"a.jpg": "empty file"}),
        ([image(b"", "")], 400, {}),  # What a browser sends where none was chosen.
        ([image(jpeg(1)[:-300])], 422, {"a.jpg": "cannot be decoded"}),
        ([image(bytes(100_001))], 413, {"a.jpg": "too large: 100,001 bytes, at most 100,000"}),
        ([image(b"x", "x\u2028.jpg")], 422, {r"x\u2028.jpg": "not an image"}),
        ([image(b"x", "x" * 300)], 422, {"x" * 255 + "…": "not an image"}),
        ([image(b"x"), image(jpeg(1), "b.jpg"), image(b"", "c")], 422,
         {"a.jpg": "not an image", "c": "empty file"}),
        ([image(b"x")] * 10_000, 413, {}),
        ([("file", ("a.jpg", jpeg(1)))], 400, {}),
        ([image(jpeg(1)), ("photo", ("b.jpg", jpeg(1)))], 400, {}),
        ([("image", (None, "text"))], 400, {}),
    ],
    ids=["zip", "huge", "empty", "none chosen", "half", "bytes", "line", "name", "mixed", "10,000",
         "wrong field", "one wrong field", "text"],
)  # fmt: skip
def test_bad_uploads_get_a_reason_that_names_the_file(
    files: list[Any], status: int, blamed: dict[str, str], client: TestClient, service: Service
) -> None:
    response = client.post("/predict", files=files)
    problem = response.json()
    assert response.status_code == status
    assert "Traceback" not in response.text
    assert "\n" not in problem["detail"]
    assert [each["image"] for each in problem["images"]] == list(blamed)
    for each, (name, reason) in zip(problem["images"], blamed.items(), strict=True):
        assert each["reason"].startswith(reason)
        assert f"{name}: {reason}" in problem["detail"]
    assert service.places.photographs == service.places.bytes == 0
    assert client.post("/predict", files=[image(jpeg(1))]).status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "status", "said"),
    [
        (b"", None, 415, "Received: no content type."),
        (jpeg(1), "image/jpeg", 415, "Received: image/jpeg."),
        (b"abc", "multipart/form-data", 400, "The form cannot be read: Missing boundary"),
        (b"abc", "multipart/form-data; boundary=b", 400, "The form cannot be read: Invalid"),
        (b"", "multipart/form-data; boundary=b", 400, "Received: fields none."),
        (b"{", "application/json", 400, "The request is no JSON."),
        (b"[" * 100_000, "application/json", 400, "The request is no JSON."),
        (b"\xff\xfe\xfd", "application/json", 400, "The request is no JSON."),
        (b'{"images": []}', "application/json", 400, 'Send {"images": '),
        (b'{"images": [1]}', "application/json", 400, 'Send {"images": '),
        (b'["eA=="]', "application/json", 400, 'Send {"images": '),
        (b'{"image": "?"}', "application/json", 422, "image: not base64"),
        (b'{"image": "\xc3\xa9"}', "application/json", 422, "image: not base64"),
        (b'{"images": ["eA==", "eA=="]}', "application/json", 422, "images[1]: not an image"),
        (b'{"images": ["", "", "", "", ""]}', "application/json", 413, "4 photographs at most"),
        (b"[" * 400_001, "application/json", 413, "0 MiB at most"),
        ([b"[" * 200_000] * 3, "application/json", 413, "0 MiB at most"),  # Of unknown length.
    ],
)
def test_bad_requests_get_a_reason(
    content: Any, kind: str | None, status: int, said: str, client: TestClient
) -> None:
    headers = {"Content-Type": kind} if kind else {}
    content = iter(content) if isinstance(content, list) else content
    response = client.post("/predict", content=content, headers=headers)
    assert response.status_code == status
    assert said in response.json()["detail"]


def test_more_than_may_wait_are_asked_to_come_back(classifier: Classifier) -> None:
    with Service(classifier, LIMITS._replace(waiting=2)) as service:
        client = client_of(service)
        response = client.post("/predict", files=[image(jpeg(1))] * 3)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        assert client.post("/predict", files=[image(jpeg(1))] * 2).status_code == 200


def test_a_failure_of_the_model_is_told_without_its_words(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: np.ndarray) -> np.ndarray:
        raise MemoryError("at /home/secret")

    monkeypatch.setattr(classifier, "probabilities", fail)
    with Service(classifier, LIMITS) as service:
        client = client_of(service, raise_server_exceptions=False)
        for _ in range(2):  # The model's thread outlives it.
            response = client.post("/predict", files=[image(jpeg(1))])
            assert response.status_code == 500
            assert response.json()["detail"] == "The server failed. Its log says why."


def test_below_the_threshold_the_answer_is_none_of_these(
    service: Service, classifier: Classifier
) -> None:
    best = float(classifier.predict([jpeg(1)]).max())
    for reject_below, rejected in ((best - 1e-3, False), (best + 1e-3, True)):
        client = client_of(service, reject_below)
        [answer] = client.post("/predict", files=[image(jpeg(1))]).json()
        assert (answer["answer"] == "none of these") == rejected
        assert rejected or answer["answer"] == answer["predictions"][0]["class"]


def test_batches_are_what_waits_together_and_a_failed_one_fails_alone() -> None:
    sizes: list[int] = []
    started, go = threading.Event(), threading.Event()

    def compute(squares: np.ndarray) -> np.ndarray:
        started.set()
        go.wait()
        if (squares == 255).any():
            raise ValueError("white")
        return squares[:, 0, 0]

    with Batcher(compute, sizes.append) as batcher:
        first = batcher.submit(np.zeros((1, 1, 1), np.uint8))
        started.wait()  # Alone, at once.
        rest = [batcher.submit(np.full((1, 1, 1), n, np.uint8)) for n in range(1, 41)]
        white = [batcher.submit(np.full((1, 1, 1), 255, np.uint8)) for _ in range(24)]
        assert batcher.waiting == 64
        rest[0].cancel()
        go.set()
        last = batcher.submit(np.full((1, 1, 1), 7, np.uint8))
    assert [int(row.result()[0]) for row in (first, *rest[1:32], last)] == [0, *range(2, 33), 7]
    assert sizes == [1, 31, 32, 1]
    assert all(isinstance(row.exception(), ValueError) for row in (*rest[32:], *white))


def test_page_runs_its_own_script_alone_and_fetches_nothing_from_elsewhere(
    client: TestClient,
) -> None:
    response = client.get("/")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert policy.count("'sha256-") == 2
    assert "unsafe" not in policy
    assert "://" not in response.text
    assert "cat" in response.text
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_operators_are_told_of_health_figures_and_the_api(client: TestClient) -> None:
    client.post("/predict", files=[image(jpeg(1))] * 3)
    client.post("/predict", files=[image(b"x")])
    client.get("/no/such/path")
    assert client.head("/healthz").status_code == 200
    assert client.get("/healthz").json() == {"status": "ok"}
    figures = client.get("/metrics").text
    for line in (
        'animals_requests_total{code="200",path="/predict"} 1.0',
        'animals_requests_total{code="422",path="/predict"} 1.0',
        'animals_requests_total{code="404",path="other"} 1.0',
        'animals_request_seconds_count{path="/predict"} 2.0',
        "animals_batch_size_sum 3.0",
        "animals_photographs_inside 0.0",
        "animals_photographs_queued 0.0",
    ):
        assert f"\n{line}\n" in figures
    api = client.get("/openapi.json").json()["paths"]["/predict"]["post"]
    assert api["requestBody"]["content"].keys() == {"multipart/form-data", "application/json"}
    assert client.get("/docs").status_code == 404  # It would come from a CDN.
