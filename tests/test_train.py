"""Training runs of the miniature, each in a process of its own."""

import csv
import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support import miniature, warm
from tests.support.doomed import Kill, survive
from trainer.workdir import provenance
from trainer.workdir.history import COLUMNS

# 41 training examples and batches of 8: six steps, whose last one reaches into the next epoch.
RECIPE = ("--batch_size=8", "--epochs=4", "--learning_rate=0.05", "--deterministic")


def weights_of(workdir: Path) -> list[np.ndarray]:
    import keras

    return keras.models.load_model(workdir / "model.keras", compile=False).get_weights()


def figures_of(workdir: Path) -> list[dict[str, str]]:
    """history.csv without the columns that tell the time."""
    with (workdir / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"], row["images_per_second"]
    return rows


@pytest.fixture(scope="module")
def uninterrupted(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("uninterrupted")
    flags = (f"--data_dir={dataset}", f"--workdir={workdir}", *RECIPE, "--profile_steps=3:5")
    done = miniature.train(*flags, start=warm.cold)  # What warm ones are held against, too.
    assert done.returncode == 0, done.stderr
    assert "Profile of steps 3 to 5: tensorboard --logdir=" in done.stdout
    assert re.search(
        r"^[\d.]+ images/s, waiting for input [\d.]+% of the", done.stdout, re.MULTILINE
    )
    return workdir


def test_workdir_holds_what_the_contract_promises(uninterrupted: Path) -> None:
    for name in (
        "config.json", "checkpoints", "history.csv", "tensorboard", "model.keras", "classes.json",
        "metrics.json", "report.html",
    ):  # fmt: skip
        assert (uninterrupted / name).exists(), name
    with (uninterrupted / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    metrics = json.loads((uninterrupted / "metrics.json").read_text())
    assert {
        "accuracy", "top_5_accuracy", "loss", "num_examples", "per_class", "confusion_matrix",
        "accuracy_ci95", "expected_calibration_error", "macro_f1", "averages", "brier_score",
        "reliability", "reject", "temperature", "uncalibrated",
    } <= metrics.keys()  # fmt: skip
    # The last row and the final evaluation looked at the same weights and the same examples.
    as_trained = metrics["uncalibrated"]["loss"]
    assert float(rows[-1]["val_loss"]) == pytest.approx(as_trained, rel=1e-6)
    assert metrics["loss"] <= as_trained


def test_tensorboard_holds_the_profile_and_the_wait_for_input(uninterrupted: Path) -> None:
    assert len(list(uninterrupted.glob("tensorboard/plugins/profile/*/*.xplane.pb"))) == 1
    [events] = uninterrupted.glob("tensorboard/train/*.v2")
    assert b"epoch_waiting_for_input" in events.read_bytes()


def test_config_records_where_the_numbers_come_from(uninterrupted: Path, dataset: Path) -> None:
    config = json.loads((uninterrupted / "config.json").read_text())
    manifest = json.loads((dataset / "manifest.json").read_text())
    assert config["data"]["digest"] == manifest["digest"]
    assert config["recipe"]["seed"] == 0
    assert config["flags"]["workdir"] == str(uninterrupted)
    assert config["flags"]["deterministic"] is True
    assert config["versions"].keys() >= {"python", "tensorflow", "keras", "numpy"}
    assert config["git_commit"] == provenance.git_commit()
    assert [device.rpartition("/")[2] for device in config["devices"]["replicas"]] == [
        "device:CPU:0"
    ]


def test_finished_run_started_again_changes_nothing(uninterrupted: Path, dataset: Path) -> None:
    files = [path for path in uninterrupted.rglob("*") if path.is_file()]
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
    flags = (f"--data_dir={dataset}", f"--workdir={uninterrupted}", *RECIPE)
    done = miniature.train(*flags, start=warm.cold)
    assert done.returncode == 0, done.stderr
    first, second, _ = done.stdout.splitlines()
    assert first.endswith("is finished: there is nothing left to train.")
    assert second.startswith("Accuracy ")
    assert "tensorflow" not in done.stderr.lower()  # Not even imported.
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files} == before


def test_training_learns(uninterrupted: Path) -> None:
    rows = figures_of(uninterrupted)
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_end_at_the_bits_of_one(
    replicas: int, uninterrupted: Path, dataset: Path, tmp_path: Path
) -> None:
    done = miniature.train(
        f"--data_dir={dataset}", f"--workdir={tmp_path}", f"--cpu_replicas={replicas}", *RECIPE
    )
    assert done.returncode == 0, done.stderr
    for one, several in zip(weights_of(uninterrupted), weights_of(tmp_path), strict=True):
        np.testing.assert_array_equal(several, one)
    assert figures_of(tmp_path) == figures_of(uninterrupted)


def test_run_that_is_stopped_again_and_again_ends_at_the_same_bits(
    uninterrupted: Path, dataset: Path, tmp_path: Path
) -> None:
    flags = (f"--data_dir={dataset}", f"--workdir={tmp_path}", "--checkpoint_every=4", *RECIPE)
    planned = [
        Kill("import", 1, 0.3, signal.SIGINT),  # Ctrl-C while TensorFlow loads.
        Kill("train", 2, 0.0, signal.SIGTERM),  # A machine is taken away within an epoch.
        Kill("checkpoint", 2, 0.001, signal.SIGKILL, replicas=2),  # No warning.
        Kill("evaluate", 1, 0.0, signal.SIGTERM),  # Between an epoch's last step and its row.
        Kill("train", 3, 0.0, signal.SIGUSR1),  # Slurm's notice.
        Kill("report", 1, 0.1, signal.SIGKILL, replicas=4),
    ]
    survived = list(survive(flags, planned))
    assert [kill for kill, _ in survived] == planned
    assert max(seconds for _, seconds in survived) < 20
    for whole, resumed in zip(weights_of(uninterrupted), weights_of(tmp_path), strict=True):
        np.testing.assert_array_equal(resumed, whole)
    assert figures_of(tmp_path) == figures_of(uninterrupted)
    resumed = json.loads((tmp_path / "config.json").read_text())["resumed"]
    assert [start["flags"]["cpu_replicas"] for start in resumed] == [2, 1, 1, 4, 1]


def test_run_that_is_given_more_epochs_ends_as_if_it_had_them_from_the_start(
    uninterrupted: Path, dataset: Path, tmp_path: Path
) -> None:
    flags = (f"--data_dir={dataset}", f"--workdir={tmp_path}", *RECIPE)
    # One that was stopped within its second epoch, then one that is finished.
    stopped = Kill("train", 9, 0.0, signal.SIGTERM)
    done = subprocess.run(
        stopped.command((*flags, "--epochs=2")), env=miniature.environment(), check=False
    )
    assert done.returncode == stopped.code
    assert miniature.train(*flags, "--epochs=3").returncode == 0
    assert len(figures_of(tmp_path)) == 3
    done = miniature.train(*flags)
    assert "Epochs grow from 3 to 4: the run ends as if" in done.stdout, done.stderr
    for whole, grown in zip(weights_of(uninterrupted), weights_of(tmp_path), strict=True):
        np.testing.assert_array_equal(grown, whole)
    assert figures_of(tmp_path) == figures_of(uninterrupted)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["recipe"]["epochs"] == 4
    assert [start["flags"]["epochs"] for start in config["resumed"]] == [3, 4]


def test_early_stopping_takes_the_best_epochs_weights(dataset: Path, tmp_path: Path) -> None:
    """A rate this high spoils the model, so that an early epoch is the best one."""
    flags = ("--batch_size=8", "--epochs=20", "--learning_rate=0.5", "--early_stopping_patience=2")
    done = miniature.train(f"--data_dir={dataset}", f"--workdir={tmp_path}", *flags)
    assert done.returncode == 0, done.stderr
    losses = [float(row["val_loss"]) for row in figures_of(tmp_path)]
    assert len(losses) < 20
    assert losses.index(min(losses)) == len(losses) - 1 - 2
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["uncalibrated"]["loss"] == pytest.approx(min(losses), rel=1e-6)
    # More epochs are none that it would take.
    more = (f"--data_dir={dataset}", f"--workdir={tmp_path}", *flags, "--epochs=30")
    done = miniature.train(*more)
    assert done.returncode == 0
    assert f"the run stopped early, after {len(losses)} of 20." in done.stdout
    assert len(figures_of(tmp_path)) == len(losses)


def test_run_without_validation_says_so_and_claims_no_accuracy(
    dataset: Path, tmp_path: Path
) -> None:
    shutil.copytree(dataset, tmp_path / "data", ignore=shutil.ignore_patterns("synthetic_coco"))
    manifest = json.loads((dataset / "manifest.json").read_text())
    manifest["shards"] = [s for s in manifest["shards"] if "-train." in s["file"]]
    del manifest["counts"]["val"]
    (tmp_path / "data" / "manifest.json").write_text(json.dumps(manifest))
    flags = (f"--data_dir={tmp_path / 'data'}", f"--workdir={tmp_path / 'run'}", *RECIPE)
    dry = miniature.train(*flags, "--dry_run")
    assert dry.returncode == 0, dry.stderr
    assert "41 to train on, 0 to validate on" in dry.stdout
    done = miniature.train(*flags)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("No split val: nothing validates the epochs") == 1
    assert "val_loss" not in done.stdout
    assert "No accuracy: the dataset has no split val." in done.stdout
    rows = figures_of(tmp_path / "run")
    assert [(row["val_loss"], row["val_accuracy"]) for row in rows] == [("nan", "nan")] * 4
    assert all(float(row["loss"]) > 0 for row in rows)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (metrics["split"], metrics["num_examples"], metrics["accuracy"]) == (None, 0, None)
    again = miniature.train(*flags)
    assert "is finished: there is nothing left to train." in again.stdout


def test_damaged_newest_checkpoint_falls_back_to_the_one_before(
    uninterrupted: Path, dataset: Path, tmp_path: Path
) -> None:
    flags = (f"--data_dir={dataset}", f"--workdir={tmp_path}", *RECIPE)
    assert miniature.train(*flags).returncode == 0
    newest = max(tmp_path.glob("checkpoints/*.npz"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    newest.write_bytes(content)
    (tmp_path / "metrics.json").unlink()  # Its absence says that the run is not finished.
    done = miniature.train(*flags)
    assert "Passed over a damaged checkpoint" in done.stderr
    assert "starting at step 18" in done.stdout
    for whole, resumed in zip(weights_of(uninterrupted), weights_of(tmp_path), strict=True):
        np.testing.assert_array_equal(resumed, whole)


@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        (("--batch_size=9", "--cpu_replicas=2"), 2, "Use 8."),
        (("--num_gpus=3",), 1, "num_gpus=3; visible: none"),
        (("--freeze_layers=20",), 2, "freeze_layers"),
        (("--data_dir=nowhere",), 1, "data_dir=nowhere"),
        (("--weights=nowhere.h5",), 1, "nowhere.h5: no such file"),
        # The workdir holds another run.
        (("--epochs=3",), 1, "epochs: 4 there, 3 here (it may only grow)"),
        (("--learning_rate=-1",), 2, "learning_rate=-1"),
    ],
)
def test_bad_input_gets_one_clear_line(
    flags: tuple[str, ...], code: int, says: str, uninterrupted: Path, dataset: Path, tmp_path: Path
) -> None:
    another = any("epochs" in flag for flag in flags)
    workdir = uninterrupted if another else tmp_path
    given = (f"--data_dir={dataset}", f"--workdir={workdir}", *RECIPE, *flags)
    done = miniature.train(*given, start=warm.cold)
    assert done.returncode == code, done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert says in line
    assert "Traceback" not in done.stderr
    assert another or not list(tmp_path.iterdir())  # The corrected command finds no other run.


def test_evaluate_counts_every_example_once_and_leaves_the_runs_own_figures(
    uninterrupted: Path, dataset: Path
) -> None:
    before = (uninterrupted / "metrics.json").read_bytes()
    digest = json.loads((dataset / "manifest.json").read_text())["digest"]
    flags = (f"--workdir={uninterrupted}", f"--data_dir={dataset}", "--batch_size=7")
    for split, examples in (("train", 41), ("val", 9)):
        done = miniature.python("trainer.evaluate", *flags, f"--split={split}")
        assert done.returncode == 0, done.stderr
        printed = json.loads(done.stdout)
        folder = uninterrupted / "evaluations" / f"{split}-{digest[:8]}"
        assert printed == json.loads((folder / "metrics.json").read_text())
        assert printed["num_examples"] == examples
        model = (uninterrupted / "model.keras").read_bytes()
        assert printed["model_digest"] == hashlib.sha256(model).hexdigest()
        assert sum(map(sum, printed["confusion_matrix"])) == examples
        with (folder / "predictions.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len({row["id"] for row in rows}) == examples
        right = [row["label"] == row["predicted"] for row in rows]
        assert sum(right) / examples == pytest.approx(printed["accuracy"])
        assert sum(float(rows[0][name]) for name in printed["per_class"]) == pytest.approx(1)
    own = json.loads(before)
    assert printed["loss"] == pytest.approx(own["loss"], rel=1e-5)
    assert printed["temperature"] == pytest.approx(own["temperature"])
    as_trained = own["uncalibrated"]["loss"]
    assert printed["uncalibrated"]["loss"] == pytest.approx(as_trained, rel=1e-4)
    assert (uninterrupted / "metrics.json").read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["trainer.evaluate", "trainer.predict"])
def test_reading_command_ends_with_one_line(
    module: str, number: signal.Signals, uninterrupted: Path, dataset: Path
) -> None:
    photograph = min((dataset / "synthetic_coco" / "val2017").glob("*.jpg"))
    inputs = [f"--data_dir={dataset}"] if module == "trainer.evaluate" else [str(photograph)]
    with subprocess.Popen(
        [sys.executable, "-m", module, f"--workdir={uninterrupted}", *inputs],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=miniature.environment(),
    ) as process:  # fmt: skip
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        # The command's last words before TensorFlow, which it imports for seconds from then on.
        next(line for line in lines if line.startswith("Loading TensorFlow"))
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=180)
    assert (process.returncode, stdout) == (42, "")
    assert stderr.splitlines()[-1].startswith("Error: Interrupted.")
    assert "Traceback" not in stderr


def test_predict_prints_the_seeds_lines_and_goes_on_after_a_bad_image(
    uninterrupted: Path, dataset: Path, tmp_path: Path
) -> None:
    photographs = sorted((dataset / "synthetic_coco" / "val2017").glob("*.jpg"))[:2]
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    images = [str(photographs[0]), str(bad), str(tmp_path / "missing.jpg"), str(photographs[1])]
    plot = tmp_path / "pictures" / "of today" / "plot.png"
    done = miniature.python(
        "trainer.predict", f"--workdir={uninterrupted}", "--top_k=3", f"--plot={plot}", *images
    )
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.endswith(".jpg")] == [images[0], images[3]]
    assert len(lines) == 2 * (1 + 3)
    assert all(
        line.startswith("Probability ") and "% of [" in line for line in lines[1:4] + lines[5:8]
    )
    assert "bad.jpg: not an image" in done.stderr
    assert "missing.jpg: No such file or directory" in done.stderr
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_predict_prints_json(uninterrupted: Path, dataset: Path) -> None:
    photograph = min((dataset / "synthetic_coco" / "val2017").glob("*.jpg"))
    done = miniature.python(
        "trainer.predict", f"--workdir={uninterrupted}", "--format=json", str(photograph)
    )
    [content] = json.loads(done.stdout)
    assert content["image"] == str(photograph)
    probabilities = [entry["probability"] for entry in content["predictions"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert len(probabilities) == 5
