"""One way from a photograph to probabilities, in whatever form the photograph comes."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import trainer
from buckets.store import Store
from tests.support import trained_run
from tests.support.coco_folder import jpeg
from tests.support.miniature import environment
from tfrecords import images
from tfrecords.manifest import read_manifest
from tfrecords.unusable import UnusableImageError
from trainer.data.split import find_split
from trainer.inference.classifier import Classifier
from trainer.workdir.files import Workdir
from trainer.workdir.saved_model import load_model


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run.write(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def classifier(workdir: Path) -> Classifier:
    return Classifier.load(workdir)


@pytest.mark.parametrize("read", [Classifier.load, read_manifest])
def test_url_that_a_path_has_taken_a_slash_from_is_refused(
    read: Callable[[Path], object],
) -> None:
    with pytest.raises(ValueError, match=r'Received: s3:/B/x. Give the string "s3://B/x"\.'):
        read(Path("s3://B/x"))


def test_path_bytes_and_pixels_of_a_photograph_have_the_same_probabilities(
    classifier: Classifier, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 150, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    path = tmp_path / "photograph.png"
    path.write_bytes(out.getvalue())
    rows = classifier.predict([path, str(path), path.read_bytes(), pixels])
    assert rows.dtype == np.float32
    assert rows.shape == (4, 3)
    np.testing.assert_array_equal(rows, rows[:1].repeat(4, axis=0))
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-6)


def test_many_are_predicted_as_one_is(classifier: Classifier, workdir: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (40, 1, 1, 3), np.uint8)
    some = [*np.broadcast_to(colours, (40, 100, 120, 3))]
    rows = classifier.predict(some)
    alone = np.concatenate([classifier.predict([each]) for each in some])
    np.testing.assert_allclose(rows, alone, atol=1e-6)
    assert len(np.unique(rows.round(4), axis=0)) > 30
    model = load_model(Workdir(Path(workdir)))
    kept = classifier.squares([classifier.read(each) for each in some])
    np.testing.assert_allclose(rows, model.predict(kept, verbose=0), atol=1e-6)
    assert classifier.predict([]).shape == (0, 3)


def test_split_is_predicted_as_its_photographs_are(dataset: Path, tmp_path: Path) -> None:
    manifest = read_manifest(dataset)
    run = trained_run.write(tmp_path / "run", classes=manifest.classes, image_size=256)
    classifier = Classifier.load(run)
    split = find_split(str(dataset), manifest, "val")
    counted: list[int] = []
    rows = classifier.predict_split(split, 4, counted.append)
    assert counted == [4, 4, 1]
    assert rows.shape == (9, len(manifest.classes))
    from tfrecords import reader

    stored = [
        reader.parse_example(each)["image"].numpy() for each in reader.read_serialized(split.paths)
    ]
    np.testing.assert_allclose(rows, classifier.predict(stored), atol=1e-6)


def test_one_of_several_that_cannot_be_used_is_named(
    classifier: Classifier, tmp_path: Path
) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no photograph")
    with pytest.raises(UnusableImageError, match=rf"some\[2\] \({text}\): not an image"):
        classifier.predict([jpeg(1), jpeg(2), text])


@pytest.mark.parametrize(
    ("photograph", "error", "message"),
    [
        (b"", UnusableImageError, "empty file"),
        (b"PK\x03\x04" + bytes(99), UnusableImageError, "not an image"),
        (jpeg(1)[:200], UnusableImageError, "Truncated File Read"),
        (np.zeros([4, 4], np.uint8), ValueError, "Received: uint8 [4, 4]."),
        (np.zeros([4, 4, 3]), ValueError, "Received: float64 [4, 4, 3]."),
        (np.zeros([0, 4, 3], np.uint8), ValueError, "Received: uint8 [0, 4, 3]."),
        ("gone.jpg", FileNotFoundError, "No such file"),
    ],
    ids=["empty", "zip", "cut", "grey", "floats", "no pixels", "gone"],
)
def test_what_is_no_photograph_is_refused_with_the_reason(
    photograph: object, error: type[Exception], message: str, classifier: Classifier
) -> None:
    with pytest.raises(error, match=message and message.replace("[", r"\[")):
        classifier.predict([photograph])


@pytest.mark.parametrize("one", ["1.jpg", Path("1.jpg"), b""], ids=["text", "path", "bytes"])
def test_one_photograph_is_not_taken_for_a_list(one: object, classifier: Classifier) -> None:
    for method in (classifier.predict, classifier.explain):
        with pytest.raises(TypeError, match=r"must be a list\. Received: one photograph\."):
            method(one)


def test_memory_holds_the_squares_of_some_photographs_and_not_of_all(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[int] = []
    squares = classifier.squares
    monkeypatch.setattr(classifier, "squares", lambda j: at_once.append(len(j)) or squares(j))
    assert classifier.predict([jpeg(1)] * 70).shape == (70, 3)
    assert at_once == [32, 32, 6]


def test_names_in_another_order_than_the_run_was_trained_with_are_refused(tmp_path: Path) -> None:
    run = trained_run.write(tmp_path / "run")
    (run / "classes.json").write_text('["dog", "cat", "zebra"]')
    with pytest.raises(ValueError, match=r"with dog, cat, zebra; .*config.json with cat, dog, z"):
        Classifier.load(run)


def test_damaged_model_is_refused_with_what_to_do(tmp_path: Path) -> None:
    run = trained_run.write(tmp_path / "run")
    whole = (run / "model.keras").read_bytes()
    (run / "model.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"is damaged: it is no zip file.*Put a copy of it back"):
        Classifier.load(run)
    (run / "model.keras").write_bytes(whole[:4000] + bytes(2000) + whole[6000:])
    with pytest.raises(ValueError, match=r"cannot be read: .*Put a copy of it back"):
        Classifier.load(run)


def test_model_that_would_run_code_is_refused(tmp_path: Path) -> None:
    run = trained_run.write(tmp_path / "run")
    images = keras.Input((96, 96, 3))
    x = keras.layers.Lambda(lambda rgb: rgb[:, 0, 0, :])(images)
    keras.Model(images, x).save(run / "model.keras")
    with pytest.raises(ValueError, match=r"cannot be read: .*[Ll]ambda"):
        Classifier.load(run)


def test_too_many_pixels_are_refused_before_they_are_decoded(classifier: Classifier) -> None:
    out = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(out, "PNG")
    with pytest.raises(UnusableImageError, match="too large"):
        classifier.predict([out.getvalue()])
    assert images.MAX_PIXELS < 20_000**2


def test_run_in_a_bucket_is_loaded(
    workdir: Path,
    classifier: Classifier,
    memory_bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = Store(url := f"{memory_bucket}/run")
    for path in workdir.iterdir():
        store.upload(path, path.name)
    squares = np.zeros((1, 96, 96, 3), np.uint8)
    remote = Classifier.load(url)
    assert remote.classes == classifier.classes
    np.testing.assert_array_equal(remote.probabilities(squares), classifier.probabilities(squares))
    store.remove("model.keras")
    with pytest.raises(ValueError, match=f"holds no trained model. Received: {url}. Train"):
        Classifier.load(url)


def test_package_gives_it_and_is_itself_imported_without_tensorflow() -> None:
    assert trainer.Classifier is Classifier
    code = "import sys, trainer; print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True
    )
    assert done.stdout == "False\n"
