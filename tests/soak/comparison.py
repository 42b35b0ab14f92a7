"""How far two runs are apart at their ends. Defines no flags."""

import csv
from pathlib import Path

import numpy as np


def compare(whole: Path, resumed: Path) -> dict[str, float]:
    """Returns how far two runs are apart at most: their weights, and the rows of history.csv."""
    pairs = zip(weights_of(whole), weights_of(resumed), strict=True)
    rows = np.abs(history_of(whole) - history_of(resumed))
    return {
        "weights": max(float(np.abs(a - b).max()) for a, b in pairs),
        "histories": float(rows.max()),
    }


def weights_of(workdir: Path) -> list[np.ndarray]:
    """The weights of model.keras."""
    import keras

    return keras.models.load_model(workdir / "model.keras", compile=False).get_weights()


def history_of(workdir: Path) -> np.ndarray:
    """history.csv without the columns that tell the time, float64 [epochs, columns]."""
    with (workdir / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name not in ("images_per_second", "seconds")]
    return np.array([[float(row[name]) for name in names] for row in rows])
