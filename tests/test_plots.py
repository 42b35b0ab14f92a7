import dataclasses
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.colors import to_hex
from PIL import Image

from cli import page
from trainer.results import fonts, plots
from trainer.results.predictions import Prediction

CLASSES = ["bear", "cat", "dog"]


def prediction(
    name: str, height: int = 30, width: int = 40, label: int | None = None
) -> Prediction:
    image = np.full((height, width, 3), 90, np.uint8)
    return Prediction(name, image, np.array([0.2, 0.7, 0.1]), label)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_picture_grows_with_the_number_of_photographs(count, tmp_path) -> None:
    shapes = [(30, 40), (80, 20), (5, 60)]  # Landscape, portrait, panorama.
    predictions = [prediction(f"{i}.jpg", *shapes[i % 3]) for i in range(count)]
    plots.draw_predictions(predictions, CLASSES, tmp_path / "plot.png", top_k=5)
    with Image.open(tmp_path / "plot.png") as image:
        assert image.format == "PNG"
        assert image.width > 400 * min(count, 3)
        assert image.height > 300 * -(-count // 3)


@pytest.mark.parametrize(
    "name",
    [
        r"$\frac$.jpg", "caf\udce9.jpg", "x" * 200, "a/b/cat.jpg", "猫" * 30, "قطة",
        "बिल्ली", "한국어", "🐱\ufe0f cat", "two\nlines", "\x07",
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")  # Of a letter that is missing, there would be one.
def test_any_file_or_class_name_can_be_drawn(name, tmp_path) -> None:
    plots.draw_predictions([prediction(name, label=0)], ["$^$", name, "dog"], tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert 400 < image.width < 500


@pytest.fixture
def only_stix(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which matplotlib finds one font beside its own."""
    stix = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "STIXGeneral.ttf")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [stix, "/damaged.ttf"])
    for cached in (fonts.family_with, fonts._installed):
        cached.cache_clear()
    yield
    for cached in (fonts.family_with, fonts._installed):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("text", "spelt", "families"),
    [
        ("cat", "cat", [fonts.OWN]),
        ("قطة", "قطة", [fonts.OWN]),
        ("\u1d81 cat", "\u1d81 cat", [fonts.OWN, "STIXGeneral"]),  # Only this one has it.
        ("a 猫", r"a \u{732b}", [fonts.OWN]),  # No font has it: no box, no warning.
        ("🦁0.jpg", r"\u{1f981}0.jpg", [fonts.OWN]),
        ("two\nlines", r"two\nlines", [fonts.OWN]),
        ("cat\U000e0100", "cat", [fonts.OWN]),  # A variation of a letter, nothing by itself.
    ],
)
def test_letters_come_from_a_font_that_has_them_or_are_spelt(
    text: str, spelt: str, families: list[str], only_stix: None
) -> None:
    assert fonts.spell(text) == spelt
    assert fonts.families([fonts.spell(text)]) == families


@pytest.mark.parametrize("label", [None, 0])
def test_title_stands_from_left_to_right_whatever_its_script(
    label: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles: list[str] = []
    monkeypatch.setattr(
        "matplotlib.axes.Axes.set_title", lambda _, title, **__: titles.append(title)
    )
    plots._picture([prediction("قطة 1.jpg", label=label)], CLASSES, top_k=1)
    [title] = titles
    assert all(line.startswith("\u200e") for line in title.splitlines())


def test_wide_names_are_cut_to_the_same_width() -> None:
    assert fonts.width(plots.shorten("猫" * 99, 18)) <= 18


def count_pixels(path, colour: str) -> int:
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    with Image.open(path) as image:
        return int((np.asarray(image.convert("RGB")) == wanted).all(axis=2).sum())


@pytest.mark.parametrize(
    ("label", "is_wrong", "accents"),
    [(None, False, True), (1, False, True), (0, True, True)],  # 0: the true class's own bar.
)
def test_only_a_wrong_prediction_is_marked_red(label, is_wrong, accents, tmp_path) -> None:
    one = prediction("x.jpg", label=label)
    plots.draw_predictions([one], CLASSES, tmp_path / "plot.png")
    assert one.is_wrong == is_wrong
    assert (count_pixels(tmp_path / "plot.png", plots.WRONG) > 500) == is_wrong
    assert (count_pixels(tmp_path / "plot.png", page.ACCENT) > 500) == accents


def test_no_photograph_is_refused_and_leaves_no_file(tmp_path) -> None:
    with pytest.raises(ValueError, match="Received: none"):
        plots.draw_predictions([], CLASSES, tmp_path / "plot.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "shown"),
    [("cat.jpg", "cat.jpg"), ("x" * 30 + "y" * 30, "x" * 16 + "…" + "y" * 17)],
)
def test_long_name_keeps_both_ends(name, shown) -> None:
    assert plots.shorten(name) == shown


def test_rejected_photograph_is_marked_and_no_bar_stands_out() -> None:
    named, rejected = (
        prediction("a.jpg"),
        dataclasses.replace(prediction("b.jpg"), is_rejected=True),
    )
    figure = plots._picture([named, rejected], CLASSES, top_k=2)
    above, below = figure.axes[:2], figure.axes[2:]
    assert [axes.get_title().splitlines()[1:] for axes in above] == [[], ["\u200enone of these"]]
    # Each bar is drawn over its track.
    colours = [[to_hex(bar.get_facecolor()) for bar in axes.patches[2:]] for axes in below]
    assert colours == [[page.ACCENT, plots._BAR], [plots._BAR, plots._BAR]]


def test_best_come_first_and_ties_keep_the_order_of_the_classes() -> None:
    tied = Prediction("x", np.zeros((1, 1, 3), np.uint8), np.array([0.25, 0.5, 0.25]))
    assert tied.top(3) == [(1, 0.5), (0, 0.25), (2, 0.25)]
    assert tied.top(9) == tied.top(3)


@pytest.mark.parametrize("epochs", [0, 1, 2, 100])
@pytest.mark.parametrize("name", ["loss", "accuracy"])
def test_curve_holds_every_value_and_counts_whole_epochs(name, epochs) -> None:
    history = [{"epoch": i + 1, name: 0.9, f"val_{name}": 1 / (i + 1)} for i in range(epochs)]
    figure = plots.learning_curve(history, name)
    figure.canvas.draw()
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    assert low == 0
    assert all(row[key] <= high for row in history for key in (name, f"val_{name}"))
    if epochs:
        assert all(tick == int(tick) for tick in axes.get_xticks())
