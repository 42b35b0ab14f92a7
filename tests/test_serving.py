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
from trainer.serving.places import Held
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


@pytest.mark.parametrize(
    ("request_of", "label"),
    [
        ({"files": [image(jpeg(1))]}, None),
        ({"files": [image(jpeg(1))], "data": {"class": "zebra"}}, 2),
        ({"files": [image(jpeg(1))], "params": {"class": "dog"}}, 1),
        ({"json": {"image": base64.b64encode(jpeg(1)).decode(), "class": "cat"}}, 0),
        ({"json": {"images": [base64.b64encode(jpeg(1)).decode()]}}, None),
    ],
    ids=["form", "form's class", "address's class", "JSON's class", "JSON"],
)
def test_photograph_is_answered_as_classifier_explains_it(
    request_of: dict[str, Any], label: int | None, client: TestClient, classifier: Classifier
) -> None:
    classes = None if label is None else [classifier.classes[label]]
    [expected] = classifier.explain([jpeg(1)], classes)
    response = client.post("/explain", **request_of)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "image/png")
    picture = np.array(Image.open(io.BytesIO(response.content)))
    np.testing.assert_allclose(picture, expected.overlay(), atol=1)
    assert response.headers["Explained-Class"] == classifier.classes[expected.label]
    is_lit = expected.heat_map.any()
    assert response.headers["Explained-Heat"] == ("some" if is_lit else "none")


@pytest.mark.parametrize(
    ("request_of", "status", "said"),
    [
        ({"files": [image(jpeg(1))], "data": {"class": "zebar"}}, 400,
         "one of cat, dog, zebra. Received: zebar."),
        ({"files": [image(jpeg(1))], "params": {"class": ""}}, 400, "Received: none."),
        ({"json": {"image": "eA==", "class": 1}}, 400, "`class` must be a string"),
        ({"files": [image(b"x")]}, 422, "a.jpg: not an image"),
        ({"files": [image(jpeg(1)), image(jpeg(2))]}, 413, "may have one photograph."),
        ({"json": {"images": ["eA==", "eA=="]}}, 413, "may have one photograph."),
        ({"files": [image(bytes(100_001))]}, 413, "too large: 100,001 bytes"),
        ({"data": {"class": "cat"}}, 415, "Send photographs as files"),
    ],
    ids=["class", "empty class", "number", "no image", "two", "two in JSON", "bytes", "no file"],
)  # fmt: skip
def test_bad_requests_to_explain_get_a_reason(
    request_of: dict[str, Any], status: int, said: str, client: TestClient, service: Service
) -> None:
    response = client.post("/explain", **request_of)
    assert response.status_code == status
    assert said in response.json()["detail"]
    assert service.places.photographs == service.places.bytes == 0


def test_more_than_may_wait_are_asked_to_come_back(classifier: Classifier) -> None:
    with Service(classifier, LIMITS._replace(waiting=2)) as service:
        client = client_of(service)
        response = client.post("/predict", files=[image(jpeg(1))] * 3)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        assert client.post("/predict", files=[image(jpeg(1))] * 2).status_code == 200
        with Held(service.places) as held:
            held.take(photographs=1)
            assert client.post("/explain", files=[image(jpeg(1))]).status_code == 503


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


def test_other_work_takes_its_turn_between_batches_and_fails_alone() -> None:
    done: list[Any] = []
    started, go = threading.Event(), threading.Event()

    def compute(squares: np.ndarray) -> np.ndarray:
        started.set()
        go.wait()
        done.append(len(squares))
        return squares

    def fail() -> None:
        raise ValueError("cold")

    square = np.zeros((1, 1, 3), np.uint8)
    with Batcher(compute, lambda _: None) as batcher:
        batcher.submit(square)
        started.wait()
        batcher.submit(square), batcher.submit(square)
        named = batcher.do(threading.current_thread)
        failed, gone = batcher.do(fail), batcher.do(lambda: done.append("gone"))
        gone.cancel()
        batcher.do(lambda: done.append("work"))
        batcher.submit(square)
        go.set()
    assert done == [1, 2, "work", 1]
    assert named.result().name == "model"
    assert isinstance(failed.exception(), ValueError)


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
    client.post("/explain", files=[image(jpeg(1))])
    client.get("/no/such/path")
    assert client.head("/healthz").status_code == 200
    assert client.get("/healthz").json() == {"status": "ok"}
    figures = client.get("/metrics").text
    for line in (
        'animals_requests_total{code="200",path="/predict"} 1.0',
        'animals_requests_total{code="422",path="/predict"} 1.0',
        'animals_requests_total{code="200",path="/explain"} 1.0',
        'animals_requests_total{code="404",path="other"} 1.0',
        'animals_request_seconds_count{path="/predict"} 2.0',
        "animals_batch_size_sum 4.0",
        "animals_photographs_inside 0.0",
        "animals_photographs_queued 0.0",
    ):
        assert f"\n{line}\n" in figures
    paths = client.get("/openapi.json").json()["paths"]
    for path, answer in (("/predict", "application/json"), ("/explain", "image/png")):
        api = paths[path]["post"]
        assert api["requestBody"]["content"].keys() == {"multipart/form-data", "application/json"}
        assert api["responses"]["200"]["content"].keys() == {answer}
    assert client.get("/docs").status_code == 404  # It would come from a CDN.
