"""A cross-validation of the miniature, each fold started warm: what it leaves, goes on, refuses."""

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from buckets.store import Store
from cli.command import PREEMPTED, PreemptedError
from tests.support import miniature
from trainer import checks, cross_validation
from trainer.config import CrossvalConfig, TrainConfig
from trainer.cross_validation import cross_validate
from trainer.loop.signals import StopSignals
from trainer.workdir import mirror, provenance

# Features, so that they are shared, of two views each.
RECIPE = {
    "weights": "none", "num_gpus": 0, "batch_size": 8, "epochs": 2, "learning_rate": 0.05,
    "deterministic": True, "augment": "flip", "cache_features": "on",
}  # fmt: skip


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands of the folds' runs, which train the miniature from warm."""
    commands = []

    def run(command: Sequence[str], *_: object, **__: object) -> int:
        assert command[1:3] == ["-m", "trainer.main"]
        commands.append(command[3:])
        done = miniature.train(*command[3:])
        print(done.stdout, done.stderr)
        return done.returncode

    monkeypatch.setattr(cross_validation.child, "run", run)
    return commands


def crossval(dataset: Path, workdir: Path, folds: int = 2, repeats: int = 1, **changes) -> str:
    against = changes.pop("against", None)
    recipe = {**RECIPE, **changes}
    given = [f"--{name}={value}" for name, value in recipe.items()]
    return cross_validate(
        CrossvalConfig(folds=folds, repeats=repeats, against=against),
        TrainConfig(data_dir=str(dataset), workdir=str(workdir), **recipe),
        [f"--data_dir={dataset}", f"--workdir={workdir}", *given, f"--folds={folds}"],
        StopSignals(),
    )


def rows_of(path: Path) -> list[list[str]]:
    with path.open() as file:
        _, *rows = csv.reader(file)
    return rows


@pytest.fixture(scope="module")
def finished(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir of two folds."""
    workdir = tmp_path_factory.mktemp("crossval")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            cross_validation.child,
            "run",
            lambda command, *_, **__: miniature.train(*command[3:]).returncode,
        )
        crossval(dataset, workdir)
    return workdir


def test_every_example_is_judged_once_by_a_model_that_has_not_seen_it(
    finished: Path, dataset: Path
) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    assert {
        "accuracy", "top_5_accuracy", "loss", "num_examples", "per_class", "confusion_matrix",
        "accuracy_ci95", "expected_calibration_error", "macro_f1", "macro_f1_ci95",
        "accuracy_bootstrap_ci95", "folds",
    } <= metrics.keys()  # fmt: skip
    pooled = rows_of(finished / "out_of_fold.csv")
    of_folds = [rows_of(finished / f"folds/1-{fold}/predictions.csv") for fold in (1, 2)]
    # Each is at its temperature, which leaves the class.
    assert sorted(row[:4] for row in pooled) == sorted(row[:4] for row in of_folds[0] + of_folds[1])
    assert metrics["num_examples"] == len({id for id, *_ in pooled}) == 50
    right = np.mean([label == predicted for _, _, label, predicted, *_ in pooled])
    assert metrics["accuracy"] == pytest.approx(right)
    for row, fold in zip(metrics["folds"], (1, 2), strict=True):
        own = json.loads((finished / f"folds/1-{fold}/metrics.json").read_text())
        for key in ("accuracy", "num_examples"):
            assert row[key] == pytest.approx(own[key], rel=1e-6)
        assert own["temperature"] is None  # Which a fold's photographs would be judged by.
    losses = [
        json.loads((finished / f"folds/1-{fold}/metrics.json").read_text())["loss"]
        for fold in (1, 2)
    ]
    counts = [row["num_examples"] for row in metrics["folds"]]
    as_trained = metrics["uncalibrated"]["loss"]
    assert as_trained == pytest.approx(np.average(losses, weights=counts), rel=1e-6)
    low, high = metrics["accuracy_bootstrap_ci95"]
    assert low <= metrics["accuracy"] <= high
    assert "Cross-validation" in (finished / "report.html").read_text()


def test_folds_share_one_set_of_features(finished: Path) -> None:
    assert len(list((finished / "features").iterdir())) == 1
    assert not list(finished.glob("folds/*/features"))


def test_finished_folds_are_not_started_again_and_need_no_tensorflow(
    finished: Path, dataset: Path
) -> None:
    before = (finished / "metrics.json").read_bytes()
    flags = [f"--{k}={v}" for k, v in RECIPE.items() if k != "deterministic"]
    without = miniature.REPOSITORY / "tests/support/without_tensorflow"
    done = miniature.python(
        "trainer.crossval", f"--data_dir={dataset}", f"--workdir={finished}", "--folds=2",
        "--deterministic", *flags, PYTHONPATH=f"{without}:{miniature.REPOSITORY}",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Finished before.") == 2
    assert done.stdout.splitlines()[-2].startswith("Accuracy ")
    assert (finished / "metrics.json").read_bytes() == before


def test_cross_validation_in_a_bucket_goes_on_elsewhere(
    finished: Path,
    dataset: Path,
    memory_bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each fold's run leaves what the finished one did; the second is stopped at first."""
    url, trained, begun_at = f"{memory_bucket}/crossval", [], []

    def run(command: Sequence[str], *_: object, **__: object) -> int:
        [workdir] = [Path(flag.partition("=")[2]) for flag in command if "--workdir" in flag]
        trained.append(workdir.name)
        checkpoint = workdir / "checkpoints/step-00000007.npz"
        begun_at.append(checkpoint.exists())
        if trained == ["1-1", "1-2"]:
            checkpoint.parent.mkdir(parents=True)
            checkpoint.write_text("of step 7")
            return PREEMPTED
        shutil.rmtree(workdir, ignore_errors=True)
        shutil.copytree(finished / "folds" / workdir.name, workdir)
        return 0

    monkeypatch.setattr(cross_validation.child, "run", run)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "one"))
    with pytest.raises(PreemptedError):
        crossval(dataset, url)
    store, checkpoint = Store(url), "folds/1-2/checkpoints/step-00000007.npz"
    assert store.read(checkpoint) == b"of step 7"
    assert f"The checkpoint is in the bucket: {url}/{checkpoint}." in capsys.readouterr().out
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "two"))
    assert f"Report: {url}/report.html" in crossval(dataset, url)
    assert trained == ["1-1", "1-2", "1-2"]
    assert begun_at == [False, False, True]
    assert not [name for name in store.list() if "step-" in name]
    assert store.read("out_of_fold.csv") == (finished / "out_of_fold.csv").read_bytes()
    assert {"metrics.json", "folds/1-2/metrics.json"} <= store.list().keys()
    assert f"Against {url}, " in crossval(dataset, finished, against=url)
    with pytest.raises(
        ValueError, match=f"holds another cross-validation. .*workdir={url}; epochs"
    ):
        crossval(dataset, url, epochs=1)
    with (
        pytest.raises(ValueError, match=f"holds a cross-validation, .*workdir={url}. Name"),
        mirror.opened(url),
    ):
        checks.check_no_other(url)


def test_fold_that_was_lost_is_trained_again_to_the_same_bits(
    finished: Path, dataset: Path, started: list[list[str]]
) -> None:
    before = (finished / "out_of_fold.csv").read_bytes()
    (finished / "folds/1-2/report.html").unlink()
    crossval(dataset, finished)
    [command] = started
    assert "--fold=2/2" in command
    assert (finished / "out_of_fold.csv").read_bytes() == before


def test_other_predictions_on_the_same_folds_are_compared(
    finished: Path, dataset: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "other"
    shutil.copytree(finished, workdir)
    path = workdir / "folds/1-1/predictions.csv"
    header, *rows = path.read_text().splitlines()
    cells = [row.split(",") for row in rows]
    shifted = [",".join([*row[:4], *row[5:], row[4]]) for row in cells]  # Another class for each.
    path.write_text("\n".join([header, *shifted, ""]))
    words = crossval(dataset, workdir, against=str(finished))
    assert f"\nAgainst {finished}, " in words
    mine, other = (json.loads((w / "metrics.json").read_text()) for w in (workdir, finished))
    difference = mine["accuracy"] - other["accuracy"]
    against = mine["against"]
    assert against["accuracy_difference"] == pytest.approx(difference)
    assert against["right_only_here"] - against["right_only_there"] == round(50 * difference)
    assert against["right_only_here"] + against["right_only_there"] > 0


def test_repeats_are_added_and_averaged(finished: Path, dataset: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "repeated"
    shutil.copytree(finished, workdir)
    before = json.loads((finished / "metrics.json").read_text())
    crossval(dataset, workdir, repeats=2)
    metrics = json.loads((workdir / "metrics.json").read_text())
    assert [(row["repeat"], row["fold"]) for row in metrics["folds"]] == [
        (1, 1), (1, 2), (2, 1), (2, 2),
    ]  # fmt: skip
    assert metrics["repeats"][0] == before["repeats"][0]
    assert metrics["num_examples"] == 50
    with pytest.raises(ValueError, match=r"compare\. Received: against=.* 2 folds, 1 times, of"):
        crossval(dataset, workdir, repeats=2, against=str(finished))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"learning_rate": 0.01}, r"holds another cross-validation.*; learning_rate: 0\.05 there"),
        ({"folds": 3}, r"holds another cross-validation\. Received: .*; folds: 2 there, 3 here\."),
        ({"folds": 40}, r"Each class needs a photograph for each fold\. Received: .*, for 40 fo"),
        ({"epochs": 1}, r"epochs: 2 there, 1 here \(it may only grow\)"),
        (
            {"early_stopping_patience": 2},
            r"photographs that a fold is judged on\. Received: early_",
        ),
        ({"against": "nowhere"}, r"no finished cross-validation to compare with. Received: aga"),
    ],
)
def test_refusals_name_the_difference_and_lose_nothing(
    changes: dict, complaint: str, finished: Path, dataset: Path, started: list[list[str]]
) -> None:
    files = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    with pytest.raises(ValueError, match=complaint):
        crossval(dataset, finished, **changes)
    assert started == []
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == files


def test_model_that_has_seen_the_folds_is_no_start(finished: Path, dataset: Path) -> None:
    run = finished / "folds" / "1-1"
    with pytest.raises(ValueError, match=f"judged on. Received: init_from={run}, a run on this"):
        crossval(dataset, finished, init_from=str(run))


def test_run_and_cross_validation_do_not_take_each_others_workdir(
    finished: Path, dataset: Path
) -> None:
    with pytest.raises(ValueError, match="needs a folder of its own"):
        crossval(dataset, finished / "folds" / "1-1")
    with pytest.raises(ValueError, match="The workdir holds a cross-validation"):
        checks.check_no_other(finished)


def test_fold_that_fails_ends_the_others(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_validation.child, "run", lambda *_, **__: 1)
    with pytest.raises(RuntimeError, match="Received: exit code 1 of fold 1/2 in "):
        crossval(dataset, tmp_path)
    assert not (tmp_path / "metrics.json").exists()


def test_fold_in_a_bucket_speaks_of_the_bucket_and_is_locked_here(
    memory_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process is given a folder of this machine, and what that is a copy of."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url = f"{memory_bucket}/crossval"
    with mirror.opened(url) as opened:
        monkeypatch.setattr(mirror, "_HANDED_DOWN", mirror._handed_down(mirror.environment()))
        workdir, features = opened.root / "folds/1-1", opened.root / "features"
        assert mirror.is_leased(workdir)
    run = TrainConfig(data_dir="d", workdir=str(workdir), cache_dir=str(features))
    assert not mirror.is_leased(workdir)
    assert mirror.shown(features) == str(features)
    assert provenance.command_line(run) == (
        f"python -m trainer.main --data_dir=d --workdir={url}/folds/1-1"
    )
