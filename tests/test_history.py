"""What a run's history.csv decides, before TensorFlow is loaded."""

from pathlib import Path

import pytest

from trainer.workdir import history


def written(path: Path, val_losses: list[float]) -> list[dict[str, float]]:
    rows = [
        dict.fromkeys(history.COLUMNS, 0.5) | {"epoch": epoch, "val_loss": val_loss}
        for epoch, val_loss in enumerate(val_losses, start=1)
    ]
    history.write(path, rows)
    return rows


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    assert history.read(path) is None
    rows = written(path, [0.5, 0.1, 0.3])
    assert history.read(path) == rows


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],  # In the midst of a row.
        lambda content: content.replace(b"\n1,", b"\n7,"),
        lambda content: content.replace(b"0.5", b"\xff"),
        lambda content: content.replace(b"val_loss", b"loss"),
        lambda content: b"".join(content.splitlines(keepends=True)[1:]),
    ],
)  # fmt: skip
def test_damaged_file_decides_nothing(damage, tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    written(path, [0.5, 0.1, 0.3, 0.4])
    path.write_bytes(damage(path.read_bytes()))
    rows = history.read(path)
    assert not rows or not history.stops_early(rows, patience=2)


@pytest.mark.parametrize(
    ("val_losses", "patience", "stops"),
    [
        ([], 1, False),
        ([0.1, 0.2, 0.3], None, False),  # Nothing but a patience stops a run.
        ([0.1, 0.2, 0.3], 2, True),
        ([0.1, 0.2, 0.3], 3, False),
        ([float("nan"), 0.2, 0.1], 1, False),
    ],
)
def test_run_stops_early_by_its_losses_alone(
    val_losses: list[float], patience: int | None, stops: bool, tmp_path: Path
) -> None:
    rows = written(tmp_path / "history.csv", val_losses)
    assert history.stops_early(rows, patience) == stops
