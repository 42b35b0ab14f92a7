"""Checkpoints of a small model: what is kept, what is passed over, what is refused."""

import json
import threading
from pathlib import Path

import keras
import numpy as np
import pytest

from trainer.workdir.checkpoints import Checkpoints
from trainer.workdir.train_state import TrainState

RUN = {"recipe": {"seed": 0, "epochs": 9}, "data": {"digest": "abc"}}


def row(epoch: int, val_loss: float, steps_per_epoch: int = 1) -> dict[str, float]:
    return {"epoch": epoch, "step": epoch * steps_per_epoch, "val_loss": val_loss}


def small_model(units: int = 2) -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def fill(model: keras.Model, value: float) -> None:
    for variable in (*model.weights, *model.optimizer.variables):
        variable.assign(np.full(variable.shape, value))


def steps(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def names(*numbers: int) -> list[str]:
    return [f"step-{number:08d}.npz" for number in numbers]


def save_steps(checkpoints: Checkpoints, val_losses: list[float]) -> None:
    """A checkpoint an epoch, each epoch one step, the weights as high as the step."""
    model, history = small_model(), []
    for epoch, val_loss in enumerate(val_losses, start=1):
        history.append(row(epoch, val_loss))
        fill(model, epoch)
        checkpoints.save(model, TrainState(step=epoch, history=list(history)))


def test_restored_is_what_was_saved(tmp_path: Path) -> None:
    model, other = small_model(), small_model()
    fill(model, 7)
    state = TrainState(step=5, history=[row(1, 0.5)], seconds=1.25, metrics=[0.1, 3.0])
    Checkpoints(tmp_path, RUN, keep=2).save(model, state)
    assert Checkpoints(tmp_path, RUN, keep=2).restore(other) == state
    for variable in (*other.weights, *other.optimizer.variables):
        np.testing.assert_array_equal(variable, np.full(variable.shape, 7))


@pytest.mark.parametrize(
    ("keep", "val_losses", "kept"),
    [
        (1, [3, 2, 1], [3]),
        (2, [3, 2, 1], [2, 3]),
        (2, [3, 1, 2, 4, 5], [2, 4, 5]),  # The best one besides.
        (1, [1, 1, 1], [1, 3]),  # The earliest of equals.
        (1, [float("nan"), 2, float("nan")], [2, 3]),
    ],
)
def test_newest_and_best_are_kept(tmp_path: Path, keep, val_losses, kept) -> None:
    save_steps(Checkpoints(tmp_path, RUN, keep), val_losses)
    assert steps(tmp_path) == names(*kept)


def test_best_is_restored(tmp_path: Path) -> None:
    checkpoints, model = Checkpoints(tmp_path, RUN, keep=1), small_model()
    save_steps(checkpoints, [3, 1, 2, 4])
    state = checkpoints.restore(model)
    assert model.weights[0].numpy().max() == 4
    checkpoints.restore_best(model, state)
    assert model.weights[0].numpy().max() == 2
    (tmp_path / names(2)[0]).unlink()
    with pytest.raises(ValueError, match="best epoch is missing or damaged"):
        checkpoints.restore_best(model, state)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Lets no checkpoint be written until it is set."""
    event, write = threading.Event(), np.savez

    def write_later(*arguments: object, **arrays: np.ndarray) -> None:
        assert event.wait(timeout=120)
        write(*arguments, **arrays)

    monkeypatch.setattr(np, "savez", write_later)
    return event


def test_steps_go_on_while_a_checkpoint_is_written(tmp_path: Path, held: threading.Event) -> None:
    """What is written is what was there as it was begun."""
    checkpoints, model, state = Checkpoints(tmp_path, RUN, keep=2), small_model(), TrainState(1)
    told: list[list[str]] = []
    fill(model, 1)
    checkpoints.begin(model, state, written=lambda: told.append(steps(tmp_path)))
    fill(model, 2)
    state.step = 2
    assert names(1)[0] not in steps(tmp_path)
    assert not told
    held.set()
    checkpoints.wait()
    other = small_model()
    assert checkpoints.restore(other).step == 1
    assert {float(weight.numpy().max()) for weight in other.weights} == {1}
    assert told == [names(1)]


def test_no_more_than_one_checkpoint_is_behind(tmp_path: Path, held: threading.Event) -> None:
    checkpoints, model = Checkpoints(tmp_path, RUN, keep=2), small_model()
    checkpoints.begin(model, TrainState(1))
    threading.Timer(0.05, held.set).start()
    checkpoints.begin(model, TrainState(2))
    assert names(1)[0] in steps(tmp_path)
    checkpoints.wait()
    assert steps(tmp_path) == names(1, 2)


def test_checkpoint_that_cannot_be_written_is_an_error_at_the_next(tmp_path: Path) -> None:
    checkpoints, model = Checkpoints(tmp_path / "file", RUN, keep=2), small_model()
    (tmp_path / "file").write_bytes(b"")
    checkpoints.begin(model, TrainState(1))
    with pytest.raises(FileExistsError):
        checkpoints.begin(model, TrainState(2))


DAMAGES = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "one bit": lambda content: content.replace(b"\x00\x00@@", b"\x00\x00@A", 1),
    "garbage": lambda content: b"garbage" * 100,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_newest_is_passed_over_and_then_replaced(tmp_path: Path, damage: str) -> None:
    checkpoints, model = Checkpoints(tmp_path, RUN, keep=1), small_model()
    save_steps(Checkpoints(tmp_path, RUN, keep=2), [4, 3, 2])
    newest = tmp_path / names(3)[0]
    before = newest.read_bytes()
    newest.write_bytes(DAMAGES[damage](before))
    assert newest.read_bytes() != before
    state = checkpoints.restore(model)
    assert state.step == 2
    assert model.weights[0].numpy().max() == 2
    # Another step before the damaged one's: what is kept must be one that can be read.
    state.step, state.history = 1, state.history[:1]
    checkpoints.save(model, state)
    assert steps(tmp_path) == names(1)


def test_all_damaged_is_an_error_and_no_start_from_nothing(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, RUN, keep=2)
    save_steps(checkpoints, [2, 1])
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"Every checkpoint is damaged.*step-00000002\.npz"):
        checkpoints.restore(small_model())


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"recipe": {"seed": 1, "epochs": 9}, "data": RUN["data"]}, "seed: 0 there, 1 here"),
        ({"recipe": RUN["recipe"], "data": {"digest": "abd"}}, "digest: abc there, abd here"),
        ({"recipe": {"seed": 0, "epochs": 8}, "data": RUN["data"]}, "epochs: 9 there, 8 here"),
    ],
)
def test_checkpoint_of_another_run_is_refused(tmp_path: Path, other, says) -> None:
    save_steps(Checkpoints(tmp_path, RUN, keep=2), [1])
    with pytest.raises(ValueError, match=says):
        Checkpoints(tmp_path, other, keep=2).restore(small_model())


def test_checkpoint_of_a_run_that_is_given_more_epochs_is_its_own(tmp_path: Path) -> None:
    save_steps(Checkpoints(tmp_path, RUN, keep=2), [1])
    longer = {**RUN, "recipe": {**RUN["recipe"], "epochs": 10}}
    assert Checkpoints(tmp_path, longer, keep=2).restore(small_model()).step == 1


def test_option_that_the_checkpoint_did_not_know_was_at_its_default(tmp_path: Path) -> None:
    save_steps(Checkpoints(tmp_path, RUN, keep=2), [1])
    now = {**RUN, "recipe": {**RUN["recipe"], "warmup_epochs": 0.0}}
    assert Checkpoints(tmp_path, now, keep=2).restore(small_model()).step == 1
    now["recipe"]["warmup_epochs"] = 1.0
    with pytest.raises(ValueError, match=r"warmup_epochs: 0.0 there, 1.0 here"):
        Checkpoints(tmp_path, now, keep=2).restore(small_model())


def test_checkpoint_of_another_model_changes_nothing(tmp_path: Path) -> None:
    checkpoints, wider = Checkpoints(tmp_path, RUN, keep=2), small_model(units=3)
    save_steps(checkpoints, [1])
    fill(wider, 9)
    with pytest.raises(ValueError, match="does not fit the model"):
        checkpoints.restore(wider)
    assert all((weight.numpy() == 9).all() for weight in wider.weights)


def test_what_a_kill_left_behind_goes(tmp_path: Path) -> None:
    (tmp_path / f"{names(8)[0]}.incomplete").write_bytes(b"half")
    save_steps(Checkpoints(tmp_path, RUN, keep=2), [1])
    assert steps(tmp_path) == names(1)


def test_what_another_process_writes_meanwhile_stays(tmp_path: Path) -> None:
    checkpoints, model = Checkpoints(tmp_path, RUN, keep=1), small_model()
    checkpoints.save(model, TrainState(step=3))
    others = [f"{names(9)[0]}.0123abcd.incomplete", *names(1, 2, 8)]
    for name in others:
        (tmp_path / name).write_bytes(b"")
    checkpoints.save(model, TrainState(step=4))
    assert steps(tmp_path) == sorted([*others, *names(4)])


@pytest.mark.parametrize(
    ("val_losses", "patience", "stops"),
    [
        ([], 1, False),
        ([1, 2, 3], None, False),
        ([3, 2, 1], 1, False),
        ([1, 2], 1, True),
        ([1, 2], 2, False),
        ([1, 2, 2], 2, True),
        ([2, 1, 1.5, 0.5, 1], 2, False),
        ([1, float("nan"), float("nan")], 2, True),
    ],
)
def test_when_to_stop_early_is_a_function_of_the_history(val_losses, patience, stops) -> None:
    history = [row(epoch, val_loss) for epoch, val_loss in enumerate(val_losses, start=1)]
    assert TrainState(history=history).stops_early(patience) is stops


def test_epoch_awaits_its_row_between_its_last_step_and_its_end() -> None:
    assert not TrainState(step=0).awaits_row(6)
    assert not TrainState(step=5).awaits_row(6)
    assert TrainState(step=6).awaits_row(6)
    assert not TrainState(step=6, history=[row(1, 1, 6)]).awaits_row(6)
    assert TrainState(step=12, history=[row(1, 1, 6)]).awaits_row(6)


def test_checkpoint_of_the_first_version_is_restored(tmp_path: Path) -> None:
    """Its JSON has the names of then, and lacks what came later."""
    model = small_model()
    checkpoints = Checkpoints(tmp_path, RUN, keep=2)
    checkpoints.save(model, TrainState(step=9))
    [path] = tmp_path.iterdir()
    with np.load(path) as stored:
        arrays = dict(stored)
    described = json.loads(arrays["progress"].tobytes())
    assert described.keys() == {
        "run", "step", "history", "seconds", "metrics", "left_out", "microbatch",
    }  # fmt: skip
    described |= {"left_out": [4, 7]}
    del described["microbatch"]
    arrays["progress"] = np.frombuffer(json.dumps(described).encode(), np.uint8)
    np.savez(path, **arrays)
    assert checkpoints.restore(model) == TrainState(step=9, skipped_batches=[4, 7])
