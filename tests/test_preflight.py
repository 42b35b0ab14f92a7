"""The dry run: what it says, and that it leaves no trace."""

import re
from pathlib import Path

from tests.support import miniature


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder: its bytes and when they were written."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_dry_run_says_what_would_be_and_writes_nothing(dataset: Path, tmp_path: Path) -> None:
    before = contents(dataset)
    workdir = tmp_path / "run"
    done = miniature.train(
        f"--data_dir={dataset}", f"--workdir={workdir}", "--batch_size=8", "--epochs=4",
        "--cpu_replicas=2", "--precision=mixed_bfloat16", "--dry_run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = {" ".join(line.split()) for line in done.stdout.splitlines()}
    assert {
        "Dry run: nothing is written.",
        "Global batch: 8 = 2 x 4, 4 at once",
        "Data: 41 to train on, 9 to validate on, 8 classes",
        "Steps: 6 an epoch, 24 in 4 epochs; starting at step 0",
        "Parameters: 51,464: 0 frozen, 51,464 train",
        str(workdir / "model.keras"),
    } <= lines
    assert any(line.startswith("First step: ") for line in lines)
    [step] = [line for line in lines if line.startswith("Step: ")]
    assert re.match(r"Step: mixed_bfloat16 [\d.e-]+ s, float32 [\d.e-]+ s: ", step)
    assert not list(tmp_path.iterdir())
    assert contents(dataset) == before
