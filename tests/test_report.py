import re

import numpy as np
import pytest

from trainer import metrics
from trainer.callbacks import HISTORY_COLUMNS
from trainer.predictions import Prediction
from trainer.report import write_report


@pytest.mark.parametrize("epochs", [0, 1, 3])
@pytest.mark.parametrize("classes", [["cat", "<b>dog</b>"], [f"class {i}" for i in range(30)]])
def test_page_says_every_figure_and_needs_nothing_else(epochs, classes, tmp_path) -> None:
    labels = np.arange(20) % (len(classes) - 1)  # The last class has no example.
    probabilities = np.eye(len(classes))[np.arange(20) % len(classes)]
    figures = metrics.compute_metrics(labels, probabilities, classes)
    predictions = [
        Prediction(f"{i}.jpg", np.zeros((8, 8, 3), np.uint8), probabilities[i], int(labels[i]))
        for i in range(4)
    ]
    write_report(
        tmp_path / "report.html",
        title_facts={"Recipe": "a & b"},
        history=[dict.fromkeys(HISTORY_COLUMNS, 0.5) | {"epoch": i} for i in range(epochs)],
        metrics=figures,
        predictions=predictions,
        classes=classes,
    )
    page = (tmp_path / "report.html").read_text()
    assert f"{100 * figures['accuracy']:.1f} %" in page
    assert "a &amp; b" in page
    assert "<b>dog</b>" not in page  # A class name is text, not markup.
    for name in classes:
        assert name.replace("<", "&lt;").replace(">", "&gt;") in page
    assert all(f"{i}.jpg" in page for i in range(4))
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert sources
    assert all(source.startswith("data:") for source in sources)
