import html
import math
import re

import numpy as np
import pytest

from trainer.results import metrics
from trainer.results.figures import figures_of_nothing
from trainer.results.predictions import Prediction
from trainer.results.report import Photographs, Title, write_report
from trainer.workdir.history import COLUMNS

TITLE = Title("first", "animals (0123abcd)", "2026-05-01 12:00 UTC", "python -m trainer.main <x>")
MANY = [f"class {i}" for i in range(30)]


def write_page(path, classes: list[str], epochs: int) -> tuple[str, dict]:
    """Writes a report in which class 0 is often taken for the last, which has no example."""
    labels = np.arange(20) % (len(classes) - 1)
    probabilities = np.eye(len(classes))[np.arange(20) % len(classes)]
    figures = {"split": "val", **metrics.compute_metrics(labels, probabilities, classes)}
    predictions = [
        Prediction(f"{i}.jpg", np.zeros((8, 8, 3), np.uint8), probabilities[i], int(labels[i]))
        for i in range(4)
    ]
    write_report(
        path,
        title=TITLE,
        facts={"Recipe": "a & b"},
        history=[dict.fromkeys(COLUMNS, 0.5) | {"epoch": i + 1} for i in range(epochs)],
        metrics=figures,
        photographs=Photographs(
            [p for p in predictions if p.is_wrong],
            unsure=[p for p in predictions if not p.is_wrong],
            doubted=[(predictions[0], 1)],
        ),
        classes=classes,
        phases={"training": 3.0, "validation": 1.0},
        details={"Settings": {"seed": 0}},
    )
    return path.read_text(), figures


@pytest.mark.parametrize("epochs", [0, 1, 3])
@pytest.mark.parametrize("classes", [["cat", "<b>dog</b>"], MANY])
def test_page_says_every_figure_and_needs_nothing_else(epochs, classes, tmp_path) -> None:
    page, figures = write_page(tmp_path / "report.html", classes, epochs)
    low, high = figures["accuracy_ci95"]
    assert f"{100 * figures['accuracy']:.1f} %" in page
    assert re.search(rf"{100 * low:.1f} to\s+{100 * high:.1f} %", page)
    assert f"{figures['loss']:.3f}" in page
    assert f"{figures['expected_calibration_error']:.3f}" in page
    assert "photographs, split val" in page
    assert "a &amp; b" in page
    assert "<b>dog</b>" not in page  # A class name is text, not markup.
    assert all(html.escape(name) in page for name in classes)
    assert all(f"{i}.jpg" in page for i in range(4))
    sources = re.findall(r'(?:src|href)="([^"]{0,30})|url\(([^)]*)', page)
    assert sources
    assert all("".join(source).startswith(("data:", "#")) for source in sources)
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert "//" not in re.sub(r"base64,[^\"]*", "", without_namespaces)


def test_figures_share_no_id_and_follow_the_colours_of_the_page(tmp_path) -> None:
    page, _ = write_page(tmp_path / "report.html", ["cat", "dog"], epochs=3)
    svgs = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(svgs) == 3
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page)) <= {
        pair for i in ids for pair in ((i, ""), ("", i))
    }
    assert all("var(--accent)" in svg and "#2563eb" not in svg for svg in svgs)


def test_page_of_no_epoch_says_so_and_draws_no_empty_axes(tmp_path) -> None:
    page, _ = write_page(tmp_path / "report.html", ["cat", "dog"], epochs=0)
    assert "No epoch was trained." in page
    assert page.count("<svg") == 1  # The reliability diagram.


def test_page_of_a_run_without_validation_shows_training_alone(tmp_path) -> None:
    row = dict.fromkeys(COLUMNS, 0.5) | {"val_loss": math.nan, "val_accuracy": math.nan}
    write_report(
        tmp_path / "report.html",
        title=TITLE,
        facts={},
        history=[row | {"epoch": epoch} for epoch in (1, 2)],
        metrics=figures_of_nothing(),
        photographs=Photographs(),
        classes=["cat", "dog"],
        phases={},
        details={},
        is_running=True,
    )
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 2
    assert "</i>training</p>" in page
    assert "Training, under way" in page
    body = page.partition("</style>")[2]
    assert not re.search("validation|accuracy on|always saying|NaN|nan", body)


def test_class_without_images_has_no_score(tmp_path) -> None:
    page, _ = write_page(tmp_path / "report.html", ["cat", "dog"], epochs=1)
    row = re.search(r"<tr><th><bdi>dog</bdi></th>(.*?)</tr>", page, re.DOTALL).group(1)
    assert re.findall(r"<td>(.*?)</td>", row) == ["—", "—", "—", "0"]


def test_confusion_matrix_is_written_in_counts(tmp_path) -> None:
    page, figures = write_page(tmp_path / "report.html", ["cat", "dog"], epochs=1)
    cells = re.findall(r'<td style="--share: ([\d.]+)"[^>]*>(\d*)</td>', page)
    assert figures["confusion_matrix"] == [[10, 10], [0, 0]]
    assert cells == [("50.0", "10"), ("50.0", "10"), ("0.0", ""), ("0.0", "")]


def test_mistakes_come_first_and_say_which_word_is_the_models(tmp_path) -> None:
    page, _ = write_page(tmp_path / "report.html", ["cat", "dog"], epochs=1)
    assert "10 of 20 were taken for another class." in page
    figures = re.findall(r'<figure( class="wrong")?>.*?<b><bdi>(.*?)</bdi></b>', page, re.DOTALL)
    wrong, doubted = "cat, taken for dog", "labelled cat, looks like dog"
    assert figures == [(' class="wrong"', wrong)] * 2 + [("", doubted)] + [("", "cat")] * 2


def test_page_under_way_says_so_and_shows_what_is_there(tmp_path) -> None:
    page, _ = write_page(tmp_path / "report.html", ["cat", "dog"], epochs=1)
    assert "Training, under way" not in page
    assert re.search(r"75.0%.*training.*3.0 s.*25.0%.*validation", page, re.DOTALL)


def test_page_says_which_run_it_is_of(tmp_path) -> None:
    page, figures = write_page(tmp_path / "report.html", ["cat", "dog"], epochs=1)
    assert f"<title>first: {100 * figures['accuracy']:.1f} % accuracy on {TITLE.dataset}" in page
    assert "<h1>first</h1>" in page
    assert all(html.escape(said) in page for said in TITLE)


def test_accuracy_stands_beside_that_of_the_commonest_class(tmp_path) -> None:
    page, _ = write_page(tmp_path / "report.html", ["cat", "dog", "emu"], epochs=1)
    assert re.search(r"always saying <bdi>cat</bdi>:\s+50.0 %", page)


@pytest.mark.parametrize(("classes", "said"), [(["cat", "dog"], False), (MANY, True)])
def test_top_5_is_said_only_of_more_than_5_classes(classes, said, tmp_path) -> None:
    page, _ = write_page(tmp_path / "report.html", classes, epochs=1)
    assert ("top 5 of" in page) == said
