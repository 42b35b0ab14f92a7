"""What `python -m benchmarks.gpu` measures first, and how it reads what the processes leave."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu_figures import figures_of, rates_of, read_log, same_bits, table
from benchmarks.gpu_jobs import Job, Recipe, plan
from tests.support import miniature

USUAL = Recipe("float32", False, "off", 256)


def jobs() -> list[Job]:
    precisions = ("float32", "mixed_bfloat16", "mixed_float16")
    return plan(precisions, (False, True), ("off", "on"), (256, 32))


def test_every_combination_is_measured_once() -> None:
    trainings = [job.recipe for job in jobs() if job.kind == "training"]
    assert len(trainings) == len(set(trainings)) == 3 * 2 * 2 * 2
    assert len({job.name for job in jobs()}) == len(jobs())


def test_what_a_user_begins_with_comes_first_and_its_bits_next() -> None:
    kinds = ("training", "bound", "deterministic", "again", "resumed")
    assert jobs()[:5] == [Job(kind, USUAL) for kind in kinds]


def test_fewer_departures_come_before_more() -> None:
    apart = [
        sum(a != b for a, b in zip(job.recipe, USUAL, strict=True))
        for job in jobs()
        if job.kind == "training"
    ]
    assert apart == sorted(apart)


def test_each_training_has_its_bound_at_hand() -> None:
    """Even where the time is over in the midst: no later than behind the first that needs it."""
    order = jobs()
    for place, job in enumerate(order):
        if job.kind == "training":
            known = [(j.recipe[:2]) for j in order[: place + 2] if j.kind == "bound"]
            assert known.count(job.recipe[:2]) == 1


def test_recipe_is_told_as_the_trainer_takes_it() -> None:
    assert USUAL._replace(jit_compile=True).flags == [
        "--precision=float32", "--jit_compile=true", "--cache_features=off", "--batch_size=256",
    ]  # fmt: skip


def test_verdict_and_memory_are_read_from_what_a_training_prints() -> None:
    verdict = "4133.7 images/s, waiting for input 1.2% of the time: bound by compute. More."
    printed = f'epoch 4/4 done: loss 1.8\n{verdict}\nReport: r\n{{"peak_bytes": 16}}\n'
    assert figures_of(printed) == {"verdict": verdict, "peak_bytes": 16}


def test_first_epoch_does_not_count(tmp_path: Path) -> None:
    history = tmp_path / "history.csv"
    history.write_text("epoch,images_per_second\n1,5.0\n2,90.0\n3,110.0\n4,100.0\n")
    assert rates_of(history) == {"images_per_second": 100.0}


def checkpoint(run: Path, weight: float, seconds: float, step: int = 2) -> Path:
    (run / "checkpoints").mkdir(parents=True)
    progress = np.frombuffer(json.dumps({"seconds": seconds}).encode(), np.uint8)
    weights = {"0000": np.float32([weight]), "progress": progress}
    np.savez(run / "checkpoints" / f"step-{step:08d}.npz", **weights)
    return run


@pytest.mark.parametrize(
    ("weight", "step", "same"), [(0.1, 2, True), (0.10000001, 2, False), (0.1, 3, False)]
)
def test_bits_are_those_of_the_weights_and_not_the_times(tmp_path, weight, step, same) -> None:
    one = checkpoint(tmp_path / "one", 0.1, seconds=1.0)
    assert same_bits(one, checkpoint(tmp_path / "other", weight, seconds=2.0, step=step)) == same


def test_table_divides_by_the_bound_of_the_same_recipe() -> None:
    figures = [
        {"what": "train", "batch_size": 256, "images_per_second": 5000.0},
        {"what": "train", "batch_size": 32, "images_per_second": 1.0},
        {"what": "features", "batch_size": 256, "images_per_second": 2.0},
    ]
    verdict = "4500.0 images/s, waiting for input 1.2% of the time: bound by compute. More"
    of_training = {"images_per_second": 4500.0, "peak_bytes": 16_800_000_000, "verdict": verdict}
    entries = [
        {"name": "t", "kind": "training", **USUAL._asdict(), **of_training},
        {"name": "b", "kind": "bound", **USUAL._asdict(), "bounds": figures},
        {"name": "again", "kind": "again", **USUAL._asdict(), "same_bits": True},
        {"name": "x", "kind": "training", **USUAL._asdict(), "error": "Ended with 1"},
    ]
    printed = table(entries).splitlines()
    assert printed[2] == "| float32 | no | photographs | 256 | 4,500 | 0.90 | 16.8 GB | compute |"
    assert "again: same bits: True" in printed
    assert len(printed) == 3 + len(figures) + 1


def test_log_that_is_not_there_yet_holds_nothing(tmp_path: Path) -> None:
    assert read_log(tmp_path / "log") == []


def test_what_is_noted_is_not_measured_again_and_what_there_is_no_time_for_is_named(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    recipe = {**USUAL._asdict(), "batch_size": 4}
    noted = {"kind": "deterministic", "name": "deterministic, float32, 4", **recipe}
    failed = {"kind": "again", "name": "again, float32, 4", **recipe, "error": "Ended with 1"}
    log.write_text(f"{json.dumps(noted)}\n{json.dumps(failed)}\n")
    done = miniature.python(
        "benchmarks.gpu", "--data_dir=none", f"--log={log}", "--limit_s=0", "--batch_sizes=4",
        "--precisions=float32", "--jit_compile=false", "--cache_features=off",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    over = [line for line in done.stdout.splitlines() if line.startswith("The time is over: ")]
    assert [line.split(": ")[1].partition(",")[0] for line in over] == [
        "training", "bound", "again", "resumed",
    ]  # fmt: skip
    assert len(read_log(log)) == 2
