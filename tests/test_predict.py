"""Predicting takes photographs as people give them, and goes on whatever one of them does."""

import csv
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support import trained_run
from tests.support.coco_folder import jpeg
from tfrecords import heif, walk
from trainer import prediction
from trainer.inference import rejection
from trainer.inference.classifier import Classifier
from trainer.inference.formats import Answer, Csv, Json, Text
from trainer.inference.selection import Selection, select
from trainer.results import saved_predictions

CLASSES = ["cat", 'a "dog", wet']


def found(*arguments: object, listed: bytes = b"", leave_out: Path | None = None) -> Selection:
    return select([*map(str, arguments)], io.BytesIO(listed), leave_out and str(leave_out))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photographs in folders, among what is none."""
    for number, name in enumerate(("b.jpg", "a/z.JPG", "a/b/c.jpg", "a/photograph", "d[1].jpg")):
        path = tmp_path / "photographs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))
    for name in ("Thumbs.db", "a/._z.JPG", "a/notes.txt", "a/list", "__MACOSX/b.jpg"):
        path = tmp_path / "photographs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no photograph")
    (tmp_path / "photographs" / "a" / "up").symlink_to("..")
    (tmp_path / "photographs" / "bad.jpg").write_bytes(b"no photograph")
    return tmp_path / "photographs"


def test_folder_gives_its_photographs_in_order_and_counts_what_is_none(folder: Path) -> None:
    names = ["a/b/c.jpg", "a/photograph", "a/z.JPG", "b.jpg", "bad.jpg", "d[1].jpg"]
    selection = found(folder)
    assert selection.photographs == [str(folder / name) for name in names]
    assert selection.errors == []
    assert selection.passed_over_in_words() == (
        "Passed over 4 files that are no photographs: Thumbs.db and others."
    )
    below = found(folder / "a", folder / "b.jpg", leave_out=folder / "a" / "b")
    expected = [folder / name for name in ("a/photograph", "a/z.JPG", "b.jpg")]
    assert below.photographs == [*map(str, expected)]


PATTERNS = {
    "*.jpg": ["b.jpg", "bad.jpg", "d[1].jpg"],
    "?.jpg": ["b.jpg"],
    "**/*.jpg": ["a/b/c.jpg", "b.jpg", "bad.jpg", "d[1].jpg"],
    "d[1].jpg": ["d[1].jpg"],  # A file of this name.
    "b*": ["b.jpg", "bad.jpg"],
    "a*": ["a/b/c.jpg", "a/photograph", "a/z.JPG"],  # A folder.
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pattern_that_no_shell_replaced_is_replaced(
    pattern: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "__MACOSX" / "b.jpg").unlink()
    assert found(pattern).photographs == PATTERNS[pattern]
    assert found(pattern).errors == []


LISTS = {
    "lines": b"b.jpg\na/z.JPG\n",
    "lines of Windows": b"\xef\xbb\xbfb.jpg\r\na/z.JPG\r\n\r\n",
    "NULs": b"b.jpg\0a/z.JPG\0",
    "without an end": b"b.jpg\na/z.JPG",
}


@pytest.mark.parametrize("name", LISTS)
def test_paths_are_listed_on_standard_input(name: str) -> None:
    selection = found("x.jpg", "-", listed=LISTS[name])
    assert selection == Selection(["x.jpg", "b.jpg", "a/z.JPG"])


def test_listed_path_is_no_pattern_and_no_home_folder(folder: Path) -> None:
    listed = f"~/x.jpg\n*.jpg\n-\n{folder / 'a/b'}\n"
    selection = found("-", listed=listed.encode())
    assert selection.photographs == ["./~/x.jpg", "*.jpg", "-", str(folder / "a/b/c.jpg")]


def test_argument_that_gives_no_photograph_gets_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    (folder / "round").symlink_to("round")
    selection = found("empty", "__MACOSX", "x*.jpg", "*.db", "http://h/*.jpg", "round")
    says = [
        ("empty", "No photograph is in this folder."),
        ("x*.jpg", "No file matches this pattern."),
        ("*.db", "No photograph is among what it matches, 1 of other kinds."),
    ]
    assert selection.errors[:3] == says
    assert selection.errors[3][1].startswith("must be a path of this machine")
    assert selection.photographs == ["__MACOSX/b.jpg", "round"]  # Reading says what is wrong.
    assert found("-").errors == [
        ("-", "Standard input lists no path. Give one a line, as `find` prints them.")
    ]
    assert "holds a photograph" in found("-", listed=jpeg(0)).errors[0][1]


def test_folder_that_cannot_be_listed_is_said_and_the_others_are_looked_through(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def scandir(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path) == folder / "a":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(walk.os, "scandir", scandir)
    selection = found(folder)
    assert [Path(path).name for path in selection.photographs] == ["b.jpg", "bad.jpg", "d[1].jpg"]
    assert selection.errors == [
        (str(folder / "a"), "Permission denied: its photographs are not among these.")
    ]


def test_each_bad_image_gets_a_line_and_the_others_are_read(tmp_path: Path) -> None:
    whole, cut, odd = (tmp_path / name for name in ("1.jpg", "2.jpg", os.fsdecode(b"caf\xe9.jpg")))
    whole.write_bytes(jpeg(1))
    odd.write_bytes(jpeg(2))
    cut.write_bytes(jpeg(3)[:20])
    pipe, loop, long = tmp_path / "pipe.jpg", tmp_path / "loop.jpg", tmp_path / ("x" * 300)
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    paths = [str(path) for path in (whole, cut, pipe, loop, long, tmp_path / "no", odd)]
    errors: dict[str, str] = {}
    jpegs = list(prediction.read(found(*paths).photographs, 256, errors.__setitem__))
    assert jpegs == [(str(whole), jpeg(1)), (rf"{tmp_path}/caf\xe9.jpg", jpeg(2))]
    hint = "Give a photograph, such as a JPEG or a PNG."
    assert errors == {
        str(cut): f"not an image. {hint}",
        str(pipe): f"cannot be read: not a regular file. {hint}",
        str(loop): f"cannot be read: Too many levels of symbolic links. {hint}",
        str(long): f"cannot be read: File name too long. {hint}",
        str(tmp_path / "no"): "No such file or directory. Give the path of a photograph.",
    }


def test_photographs_whose_names_look_alike_and_one_given_twice_are_all_answered(
    tmp_path: Path,
) -> None:
    latin, escaped = tmp_path / os.fsdecode(b"caf\xe9.jpg"), tmp_path / r"caf\xe9.jpg"
    for number, path in enumerate((latin, escaped)):
        path.write_bytes(jpeg(number))
    gone = str(tmp_path / "gone.jpg")
    given = [str(escaped), gone, str(latin), str(escaped), gone]
    errors: list[str] = []
    jpegs = list(prediction.read(given, 256, lambda name, _: errors.append(name)))
    assert jpegs == [(str(escaped), jpeg(number)) for number in (1, 0, 1)]
    assert errors == [gone, gone]


def test_heic_and_avif_are_read_where_their_plug_ins_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pillow_heif

    pixels = Image.effect_noise((64, 48), 40).convert("RGB")
    pillow_heif.from_pillow(pixels).save(tmp_path / "1.heic")
    pixels.save(tmp_path / "2.avif")
    photographs = found(tmp_path).photographs
    assert [Path(path).name for path in photographs] == ["1.heic", "2.avif"]
    assert len([*prediction.read(photographs, 32, pytest.fail)]) == 2
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(heif.features, "check", lambda name: False)
    monkeypatch.setattr(Image, "open", lambda *_, **__: (_ for _ in ()).throw(
        Image.UnidentifiedImageError("no")
    ))  # fmt: skip
    errors: list[str] = []
    assert [*prediction.read(photographs, 32, lambda _, reason: errors.append(reason))] == []
    assert [error.split(":")[0] for error in errors] == [
        "HEIC needs the extra [heic]", "AVIF needs the extra [heic]",
    ]  # fmt: skip


ROWS = np.array([[0.75, 0.25], [0.4, 0.6]], np.float32)
ANSWERS = [Answer("x, y.jpg", ROWS[0]), Answer("z.jpg", ROWS[1])]
JUDGED = [answer._replace(rejected=answer.name == "z.jpg") for answer in ANSWERS]


def written(form: Text | Json | Csv, answers: list[Answer]) -> str:
    return "".join([*map(form.write, answers), form.end()])


def test_text_names_the_photograph_then_the_most_probable_classes() -> None:
    assert written(Text(CLASSES, 2), ANSWERS).splitlines() == [
        "x, y.jpg", "Probability 75.00% of [cat]", 'Probability 25.00% of [a "dog", wet]',
        "z.jpg", 'Probability 60.00% of [a "dog", wet]', "Probability 40.00% of [cat]",
    ]  # fmt: skip
    assert written(Text(CLASSES, 1), JUDGED).splitlines() == [
        "x, y.jpg", "Probability 75.00% of [cat]",
        "z.jpg", 'None of these (most probable: Probability 60.00% of [a "dog", wet])',
    ]  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 2])
def test_json_is_written_piece_by_piece_as_it_would_be_at_once(count: int) -> None:
    text = written(Json(CLASSES, 1), ANSWERS[:count])
    content = json.loads(text)
    assert text == json.dumps(content, indent=2) + "\n"
    assert content == [
        {"image": "x, y.jpg", "predictions": [{"class": "cat", "probability": 0.75}]},
        {"image": "z.jpg", "predictions": [
            {"class": 'a "dog", wet', "probability": float(ROWS[1, 1])}
        ]},
    ][:count]  # fmt: skip
    judged = json.loads(written(Json(CLASSES, 1), JUDGED))
    assert [(entry["rejected"], entry["answer"]) for entry in judged] == [
        (False, "cat"), (True, "none of these"),
    ]  # fmt: skip


def test_csv_gives_every_probability_back_and_quotes_as_rfc_4180_does() -> None:
    text = written(Csv(CLASSES), JUDGED)
    assert text.startswith('image,predicted,probability,cat,"a ""dog"", wet"\r\n"x, y.jpg",cat,')
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert header == ["image", "predicted", "probability", *CLASSES]
    assert [row[:2] for row in rows] == [["x, y.jpg", "cat"], ["z.jpg", "none of these"]]
    np.testing.assert_array_equal(np.array([row[2] for row in rows], np.float32), ROWS.max(axis=1))
    np.testing.assert_array_equal(np.array([row[3:] for row in rows], np.float32), ROWS)
    assert written(Csv(CLASSES), []).count("\r\n") == 1


FIGURES = {
    "num_examples": 200,
    "reject": [
        {"precision": 0.95, "threshold": 0.6, "coverage": 0.8},
        {"precision": 0.99, "threshold": 0.9, "coverage": 0.25},
        {"precision": 1.0, "threshold": None, "coverage": 0.0},
    ],
}


@pytest.mark.parametrize(
    ("threshold", "says"),
    [
        (0.6, "160 are at least 60.00% sure of their class, and 95% of those"),
        (0.89, "160 are at least 60.00% sure of their class, and 95% of those"),
        (0.9, "50 are at least 90.00% sure of their class, and 99% of those"),
        (0.1, "160 are at least 60.00% sure of their class, and 95% of those"),
    ],
)
def test_threshold_is_said_in_terms_of_the_runs_validation(threshold: float, says: str) -> None:
    said = rejection.in_words(FIGURES, threshold)
    assert said == f"Of the run's 200 validation photographs {says}, or more, are right."
    assert rejection.in_words({"num_examples": 200}, threshold) is None


def test_many_are_read_predicted_and_answered_in_batches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained_run.write(tmp_path / "run")
    some = [(f"{number}.jpg", jpeg(number)) for number in range(70)]
    read: list[str] = []

    def photographs() -> Iterator[tuple[str, bytes]]:
        for name, content in some:
            read.append(name)
            yield name, content

    known, names, rows = [], [], []
    for answer, _ in prediction.predict(photographs(), str(run), reject_below=0.99):
        known.append(len(read))
        names.append(answer.name)
        rows.append(answer.probabilities)
        assert answer.rejected == (answer.probabilities.max() < 0.99)
    assert names == [name for name, _ in some]
    assert known == [32] * 32 + [64] * 32 + [70] * 6
    expected = Classifier.load(run).predict([content for _, content in some])
    np.testing.assert_array_equal(rows, expected)


def config(**options: object) -> prediction.PredictConfig:
    return prediction.PredictConfig(workdir="run", **options)


def answered(count: int) -> Iterator[tuple[Answer, bytes]]:
    for number in range(count):
        yield Answer(f"folder {number % 3}/Dog.jpg", ROWS[number % 2]), jpeg(number)


def test_what_was_printed_before_an_interruption_is_whole(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupted() -> Iterator[tuple[Answer, bytes]]:
        yield from answered(2)
        raise KeyboardInterrupt

    options = config(format="json", save_dir=str(tmp_path / "saved"))
    with pytest.raises(KeyboardInterrupt):
        prediction.write(interrupted(), CLASSES, options, 10)
    assert len(json.loads(capsys.readouterr().out)) == 2
    assert (tmp_path / "saved" / "predictions.csv").read_text().count("Dog.jpg") == 2


def test_nobody_who_reads_on_ends_it_unless_something_is_left_to_draw(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("trainer.prediction.streams.takes_more", lambda _: False)
    drawn: list[int] = []
    monkeypatch.setattr(
        "trainer.results.plots.draw_predictions", lambda some, *_: drawn.append(len(some))
    )
    left = answered(100)
    prediction.write(left, CLASSES, config(), 100)
    assert len([*left]) == 99
    left = answered(100)
    prediction.write(left, CLASSES, config(plot=str(tmp_path / "plot.png")), 100)
    assert len([*left]) == 40
    assert drawn == [60]


def test_picture_shows_the_first_of_many_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(
        "trainer.results.plots.draw_predictions", lambda some, *_: drawn.append(len(some))
    )
    for count in (60, 400):
        prediction.write(answered(count), CLASSES, config(plot=str(tmp_path / "plot.png")), count)
    assert drawn == [60, 60]
    assert capsys.readouterr().err == "The picture shows the first 60 of 400.\n"


def test_saved_pictures_have_names_of_their_own_within_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "predictions.csv").symlink_to(tmp_path / "elsewhere.csv")
    prediction.write(answered(2), CLASSES, config(save_dir=str(folder), overwrite=True), 2)
    assert sorted(path.name for path in folder.iterdir()) == [
        "Dog.jpg-2.png", "Dog.jpg.png", "predictions.csv",
    ]  # fmt: skip
    with Image.open(folder / "Dog.jpg.png") as image:
        assert image.format == "PNG"
    assert (folder / "predictions.csv").read_text().startswith("image,predicted,probability,cat,")
    assert not (tmp_path / "elsewhere.csv").exists()
    with pytest.raises(ValueError, match="new or an empty folder"):
        prediction.check_save_dir(str(folder), overwrite=False)
    prediction.check_save_dir(str(folder), overwrite=True)


@pytest.mark.parametrize(
    ("photograph", "name"),
    [
        ("a/dog.jpg", "dog.jpg"),
        ("../..", "photograph"),
        (r"..\dog.jpg", "_dog.jpg"),
        ("a/b\n$x.jpg", "b__x.jpg"),
        (".hidden", "hidden"),
        ("ひ" * 200 + ".jpeg", f"{'ひ' * 30}..{'ひ' * 11}.jpeg"),
    ],
)
def test_picture_is_named_after_its_photograph(photograph: str, name: str) -> None:
    assert saved_predictions.picture_name(photograph) == name


def test_wrong_threshold_is_refused() -> None:
    for wrong in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="must be above 0, and 1 at most"):
            config(reject_below=wrong)
