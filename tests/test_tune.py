"""A search for a recipe: what may be drawn, when a trial is given up, how it goes on, its files."""

import dataclasses
import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import pytest
from absl import flags as absl_flags

from buckets.store import Store
from cli.command import PreemptedError
from cli.flags import define
from tests.support import miniature
from tests.support.miniature_backbone import MINIATURE
from tfrecords.manifest import read_manifest
from trainer import checks
from trainer.config import TrainConfig, TuneConfig
from trainer.loop.signals import StopSignals
from trainer.model.backbone import VGG16
from trainer.tuning.best_flags import flagfile
from trainer.tuning.space import Space
from trainer.workdir.crossval_files import CrossvalFiles, describe
from trainer.workdir.initial_model import identify
from trainer.workdir.tuning_files import TuningFiles


class Draws:
    """Draws each value at random, or as it is told."""

    def __init__(self, seed: int = 0, **told: object) -> None:
        self.random, self.told, self.drawn = random.Random(seed), told, {}

    def _draw(self, name: str, drawn: object) -> object:
        self.drawn[name] = self.told.get(name, drawn)
        return self.drawn[name]

    def suggest_categorical(self, name: str, choices: tuple) -> object:
        return self._draw(name, self.random.choice(choices))

    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> object:
        return self._draw(name, self.random.randint(low, high))

    def suggest_float(self, name: str, low: float, high: float, **_: object) -> object:
        return self._draw(name, self.random.uniform(low, high))


def config_of(**changes: object) -> TrainConfig:
    return TrainConfig(**{"data_dir": "d", "workdir": "w", **changes})


def space_of(sizes: tuple[int, ...] = (), has_boxes: bool = True, **fixed: object) -> Space:
    return Space(config_of(**fixed), frozenset(fixed), VGG16, sizes, has_boxes)


@pytest.mark.parametrize(
    "fixed",
    [
        {},
        {"head": "flatten"},
        {"head": "places", "head_init": "logistic", "head_units": 0},
        {"head_init": "logistic", "head_units": 0, "epochs": 0},
        {"head_units": 128},
        {"epochs": 3},
        {"augment": "full"},
        {"augment": "flip"},
        {"cache_features": "off"},
        {"mixup": 0.2},
        {"warmup_epochs": 7.5},
        {"unfreeze": "9:block5_conv1"},
        {"freeze_layers": 0},
        {"feature_norm": "l2", "dropout": 0.2, "optimizer": "sgd"},
    ],
)
def test_what_is_drawn_goes_together_and_leaves_alone_what_was_given(fixed: dict) -> None:
    space = space_of(sizes=(224, 448), **fixed)
    for seed in range(200):
        flags = space.propose(Draws(seed))
        assert not flags.keys() & fixed.keys()
        recipe = dataclasses.replace(space.base, **flags, **space.shared)  # Refuses what does not.
        if not space.has_features:
            assert not recipe.needs_features


@pytest.mark.parametrize(
    ("told", "flags"),
    [
        (
            {"head_init": "logistic", "trained": "no", "head": "gap_gmp", "places": "yes"},
            {"head": "places", "head_units": 0, "epochs": 0, "dropout": 0.0},
        ),
        ({"head_init": "logistic", "trained": "yes", "epochs": 9}, {"epochs": 9, "head_units": 0}),
        ({"head_init": "random", "head_units": 64}, {"freeze_layers": 19, "head_units": 64}),
        ({"mirrored": "yes"}, {"augment": "flip", "test_views": "flip"}),
        ({"learning_rate": 0.0012345}, {"learning_rate": 0.0012}),
    ],
)
def test_what_is_drawn_stands_for_flags(told: dict, flags: dict) -> None:
    told = {"head_init": "random", **told}
    assert space_of().propose(Draws(**told)).items() >= flags.items()


@pytest.mark.parametrize(
    ("told", "space", "not_drawn"),
    [
        ({"head_init": "logistic"}, space_of(has_boxes=False), {"places", "head_units"}),
        ({"head_init": "random"}, space_of(), {"places", "trained", "input_size", "augment"}),
        ({"head_init": "logistic", "trained": "no"}, space_of(), {"epochs", "learning_rate"}),
        ({"head_init": "random", "optimizer": "sgd"}, space_of(), {"weight_decay"}),
        ({"head_init": "random"}, space_of(augment="flip"), {"mirrored", "augment"}),
    ],
)
def test_what_would_not_matter_is_not_drawn(told: dict, space: Space, not_drawn: set) -> None:
    for seed in range(50):
        draws = Draws(seed, **told)
        space.propose(draws)
        assert not draws.drawn.keys() & not_drawn


def test_flags_that_settle_all_leave_nothing_to_search() -> None:
    settled = {
        "head": "gap", "head_init": "logistic", "head_units": 0, "epochs": 0, "feature_norm": "l2",
        "class_weights": "none", "augment": "flip", "test_views": "flip",
    }  # fmt: skip
    assert space_of(**settled).is_empty()
    assert not space_of().is_empty()


def config_from(flagfile: Path, **others: object) -> TrainConfig:
    values = absl_flags.FlagValues()
    define(TrainConfig, values)
    flags = [f"--{name}={value}" for name, value in others.items()]
    values(["trainer.main", *flags, f"--flagfile={flagfile}"])
    return TrainConfig(**{f.name: values[f.name].value for f in dataclasses.fields(TrainConfig)})


def test_best_flags_say_the_recipe_again(tmp_path: Path) -> None:
    for seed in range(20):
        space = space_of(class_weights="balanced", fit="squash")
        recipe = dataclasses.replace(space.base, **space.propose(Draws(seed)))
        path = tmp_path / "best.flags"
        path.write_text(flagfile(recipe, ["Words."]))
        assert config_from(path, data_dir="d", workdir="w") == recipe


class Losses:
    """In place of training: each trial's loss on each fold; a trial may be stopped or fail."""

    def __init__(self, tmp_path: Path, loss: Callable[[dict, int], float], **space: object) -> None:
        self.files = TuningFiles(tmp_path)
        self.files.claim({})
        self.space, self.loss = space_of(**space), loss
        self.tried: list[tuple[int, int]] = []
        self.flags: dict[int, dict] = {}
        self.stop_at: tuple[int, int] | None = None

    def measure(self, flags: dict, number: int, fold: int) -> dict[str, float]:
        if (number, fold) == self.stop_at:
            raise PreemptedError("Stopped.")
        assert self.flags.setdefault(number, flags) == flags
        self.tried.append((number, fold))
        loss = self.loss(flags, number)
        return {"loss": loss, "accuracy": 1 - loss / 10, "num_examples": 10 + fold}

    def make(self, count: int, jobs: int = 1):
        from trainer.tuning import trials

        study = trials.open_study(self.files, seed=0)
        every = trials.Trials(study, self.space, self.measure, lambda number: None, folds=3)
        every.make(count, None, jobs)
        return study


def test_trial_worse_than_most_is_given_up_after_a_fold(tmp_path: Path) -> None:
    losses = Losses(tmp_path, lambda _, number: 9.0 if number >= 6 else 1.0 + number / 10)
    study = losses.make(8)
    states = [trial.state.name for trial in study.trials]
    assert states[-2:] == ["PRUNED", "PRUNED"]
    assert [fold for number, fold in losses.tried if number == 7] == [1]
    assert study.best_value == pytest.approx(1.0)


def test_stopped_trial_is_the_next_one_with_its_flags_and_its_folder(tmp_path: Path) -> None:
    losses = Losses(tmp_path, lambda _, number: 1.0 + number / 10)
    losses.stop_at = (2, 3)
    with pytest.raises(PreemptedError):
        losses.make(4)
    losses.stop_at = None
    study = losses.make(4)
    assert losses.tried[-6:] == [(2, 1), (2, 2), (2, 3), (4, 1), (4, 2), (4, 3)]
    assert [trial.state.name for trial in study.trials].count("COMPLETE") == 4
    assert losses.make(4).trials[-1].number == study.trials[-1].number  # None is missing.


def test_trials_side_by_side_share_one_study(tmp_path: Path) -> None:
    losses = Losses(tmp_path, lambda _, number: 1.0 + number / 100)
    study = losses.make(10, jobs=5)
    assert len([t for t in study.trials if t.state.name in ("COMPLETE", "PRUNED")]) == 10


def test_same_flags_are_not_tried_twice(tmp_path: Path) -> None:
    fixed = {"head_init": "logistic", "head_units": 0, "epochs": 0, "head": "gap",
             "feature_norm": "l2", "augment": "flip", "test_views": "flip"}  # fmt: skip
    losses = Losses(tmp_path, lambda *_: 1.0, **fixed)  # Only class_weights is left.
    study = losses.make(6)
    assert len(losses.flags) == 2
    assert [trial.value for trial in study.trials] == [1.0] * 6


def test_failed_trial_ends_the_search_only_where_it_is_the_first(tmp_path: Path) -> None:
    from trainer.tuning.trials import FailedTrialError

    def loss(_: dict, number: int) -> float:
        if number == failing:
            raise FailedTrialError("Received: exit code 1.")
        return 1.0 + number / 10

    failing = 1
    study = Losses(tmp_path / "second", loss).make(3)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    failing = 0
    with pytest.raises(RuntimeError, match="The first trial failed: Received: exit code 1"):
        Losses(tmp_path / "first", loss).make(3)


def test_missing_optuna_is_said_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer import checks

    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(RuntimeError, match=r"comes with the extra \[tune\]"):
        checks.require_optuna()


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The commands of the folds' runs, which leave figures alone; workers train the miniature."""
    from trainer.tuning import folds, search

    started = []

    def run(command: Sequence[str], _: StopSignals, show: Callable[[str], object]) -> int:
        started.append(command)
        [workdir] = [word.partition("=")[2] for word in command if word.startswith("--workdir=")]
        figures = {"loss": 1.0 + len(started), "accuracy": 0.5, "num_examples": 25}
        Path(workdir).mkdir(parents=True)
        Path(workdir, "metrics.json").write_text(json.dumps(figures))
        show("done")
        return 0

    monkeypatch.setattr(folds.child, "run", run)
    monkeypatch.setenv("PYTHONPATH", f"{miniature.AS_MINIATURE}:{miniature.REPOSITORY}")
    monkeypatch.setattr(search, "named", lambda _: MINIATURE)
    return started


def tune(dataset: Path, workdir: Path, trials: int = 2, **changes: object) -> str:
    from trainer.tuning import search

    recipe = {"weights": "none", "num_gpus": 0, "batch_size": 8, "epochs": 1, **changes}
    given = [f"--{name}={value}" for name, value in recipe.items()]
    paths = {"data_dir": str(dataset), "workdir": str(workdir)}
    return search.tune(
        TuneConfig(trials=trials, folds=2),
        TrainConfig(**paths, **recipe),
        [*(f"--{name}={value}" for name, value in paths.items()), *given],
        StopSignals(),
    )


def leave_crossval(workdir: Path, recipe: TrainConfig) -> None:
    """Leaves what a cross-validation of the recipe does."""
    found = CrossvalFiles(f"{workdir}-crossval")
    found.claim(describe(identify(recipe, read_manifest(recipe.data_dir)), 5, []))
    figures = {
        "accuracy": 0.618, "accuracy_bootstrap_ci95": [0.5, 0.7], "macro_f1": 0.6,
        "macro_f1_ci95": [0.5, 0.7], "loss": 1.0, "num_examples": 50, "num_folds": 5,
        "num_repeats": 1, "repeats": [{"accuracy": 0.618}], "uncalibrated": None,
    }  # fmt: skip
    found.metrics.write_text(json.dumps(figures))


def test_search_leaves_flags_a_page_and_small_trials_and_refuses_others(
    dataset: Path, tmp_path: Path, commands: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workdir = tmp_path / "search"
    told = mock.Mock(id="run")
    monkeypatch.setattr("trainer.tracking.trackers._start_one", lambda *_: told)
    words = tune(dataset, workdir, trackers="mlflow")
    *trials, (last, step) = [call.args for call in told.log.call_args_list]
    assert [(row["trial"], number) for row, number in trials] == [(0, 0), (1, 1)]
    assert last["final_loss"] == min(row["loss"] for row, _ in trials)
    assert step is None
    assert [file.name for file in told.keep.call_args.args[0]] == ["best.flags", "report.html"]
    assert not list((workdir / "trials").rglob("trackers.json"))  # Folds are not runs of their own.
    assert not commands  # The head alone trains.
    assert words.startswith("Best: trial ")
    assert f"trainer.crossval --flagfile={workdir}/best.flags " in words
    assert len(list((workdir / "features").iterdir())) <= 2
    kept = {path.name for path in (workdir / "trials/0000/folds/1-1").iterdir()}
    assert kept >= {"metrics.json", "predictions.csv", "config.json"}
    assert not kept & {"model.keras", "checkpoints", "tensorboard", "report.html"}
    folds = [
        json.loads((workdir / f"trials/0000/folds/1-{fold}/metrics.json").read_text())
        for fold in (1, 2)
    ]
    assert sum(each["num_examples"] for each in folds) == 50
    best = (workdir / "best.flags").read_text()
    assert best.startswith("# Trial ")
    assert "--epochs=1\n" in best
    page = (workdir / "report.html").read_text()
    assert "optimistic" in page
    assert "trainer.crossval" in page
    before = (workdir / "trials/0001/log.txt").read_bytes()
    leave_crossval(workdir, config_from(workdir / "best.flags", data_dir=dataset, workdir="w"))
    words = tune(dataset, workdir)
    assert (workdir / "trials/0001/log.txt").read_bytes() == before  # Nothing is missing.
    assert "How good it is: Accuracy 61.8% (95 % interval 50.0% to 70.0%)" in words
    assert "Accuracy 61.8%" in (workdir / "report.html").read_text()
    shutil.rmtree(f"{workdir}-crossval")
    best = config_from(workdir / "best.flags", data_dir=dataset, workdir="w")
    leave_crossval(workdir, dataclasses.replace(best, seed=1))
    assert "61.8%" not in tune(dataset, workdir)  # It is of another recipe.
    with pytest.raises(ValueError, match=r"holds another search\. .*; epochs: 1 there, 2 here\."):
        tune(dataset, workdir, epochs=2)
    with pytest.raises(ValueError, match="head: not given there, gap here"):
        tune(dataset, workdir, head="gap")
    with pytest.raises(ValueError, match="The workdir holds a search for a recipe"):
        checks.check_no_other(workdir)


def test_trial_that_trains_the_backbone_is_a_run_for_each_fold(
    dataset: Path, tmp_path: Path, commands: list[Sequence[str]]
) -> None:
    words = tune(dataset, tmp_path, trials=1, freeze_layers=0, cache_features="off")
    folds = [flag for command in commands for flag in command if flag.startswith("--fold=")]
    assert folds == ["--fold=1/2", "--fold=2/2"]
    assert all({"--freeze_layers=0", "--fold_seed=1000"} <= {*command} for command in commands)
    assert not [flag for command in commands for flag in command if flag.startswith("--trials=")]
    assert "loss 2.5000" in words  # Of both folds.
    assert (tmp_path / "trials/0000/log.txt").read_text() == "donedone"


def test_search_in_a_bucket_goes_on_elsewhere(
    dataset: Path,
    tmp_path: Path,
    commands: list[Sequence[str]],
    memory_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = f"{memory_bucket}/search"
    recipe = {"freeze_layers": 0, "cache_features": "off"}
    for machine, trials in (("one", 1), ("two", 2), ("one", 2)):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / machine))
        words = tune(dataset, url, trials=trials, **recipe)
        assert len(commands) == 2 * trials  # No fold is measured twice.
        assert f"Flags: {url}/best.flags\nReport: {url}/report.html" in words
        assert f"--flagfile={url}/best.flags " in words
        assert f"--workdir={url}-crossval " in words
    there = Store(url).list()
    assert {"study.db", "tune.json", "best.flags", "trials/0001/folds/1-2/metrics.json"} <= {*there}
    assert Store(url).read("trials/0001/log.txt") == b"donedone"


@pytest.mark.parametrize(
    ("fixed", "flags", "alone"),
    [
        ({}, {"head_init": "logistic", "head_units": 0}, True),
        ({}, {"head_init": "random", "freeze_layers": 19}, True),
        ({"freeze_layers": 18}, {"head_init": "logistic", "head_units": 0}, False),
        ({"freeze_until": "block5_conv1"}, {"head_init": "logistic", "head_units": 0}, False),
        ({"unfreeze": "9:block5_conv1"}, {"head_init": "logistic", "head_units": 0}, False),
        ({"on_nan": "rollback"}, {"head_init": "logistic", "head_units": 0}, False),
        ({"cache_features": "off"}, {"freeze_layers": 19}, False),
        ({"cache_features": "on"}, {"freeze_layers": 19}, True),
        ({"mixup": 0.2}, {"freeze_layers": 19}, False),
    ],
)
def test_worker_measures_what_trains_the_head_alone(fixed: dict, flags: dict, alone: bool) -> None:
    assert space_of(**fixed).trains_head_alone(flags) == alone
