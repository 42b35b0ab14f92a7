import contextlib
import fcntl
import math
import pty
import struct
import termios
from typing import Any

import pytest

from cli.progress import Progress
from trainer.loop.display import Display
from trainer.workdir.train_state import TrainState


class Clock:
    """A clock that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


LOGS = {"accuracy": 0.8625, "loss": 0.5, "waiting_for_input": 0.0001614}


def train(state: TrainState, clock: Clock, epoch: int, val_loss: float) -> None:
    """What is left of an epoch of five steps of 20 s and 10 images, and 100 s of validation."""
    display = Display(state, epochs=3, steps_per_epoch=5, batch_size=10, period=30, clock=clock)
    display.on_epoch_begin(epoch)
    for batch in range(5 * (epoch + 1) - state.step):
        clock.now += 20
        state.step += 1
        display.on_train_batch_end(batch, LOGS)
    clock.now += 100
    logs: dict[str, Any] = LOGS | {"val_loss": val_loss, "val_accuracy": 0.75}
    if math.isnan(val_loss):
        logs = LOGS
    row = {"epoch": epoch + 1, "val_loss": val_loss, "images_per_second": 2.5}
    state.history.append(logs | row)
    display.on_epoch_end(epoch, logs)


def test_log_gets_a_line_a_period_and_one_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    train(TrainState(), Clock(), epoch=0, val_loss=0.75)
    assert capsys.readouterr().out.splitlines() == [
        "epoch 1/3: 20 of 50 images (0.5/s, 01:00 left), loss 0.5, accuracy 86.2%",
        "epoch 1/3: 40 of 50 images (0.5/s, 00:20 left), loss 0.5, accuracy 86.2%",
        # Ten steps of 20 s, and validation twice.
        "epoch 1/3: loss 0.5, accuracy 86.2%, val_loss 0.75, val_accuracy 75.0%; 2.5 images/s; "
        "best so far: epoch 1, val_loss 0.75; 06:40 left",
    ]


def test_run_that_goes_on_counts_on_and_knows_its_best_epoch(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {"epoch": 1, "val_loss": 0.25}
    train(TrainState(step=8, history=[before]), Clock(), epoch=1, val_loss=0.75)
    within, end = capsys.readouterr().out.splitlines()
    assert within.startswith("epoch 2/3: 50 of 50 images, loss 0.5")
    assert "best so far: epoch 1, val_loss 0.25; " in end


def test_last_epoch_has_no_time_left_and_none_is_best_without_validation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = TrainState(step=14)
    train(state, Clock(), epoch=2, val_loss=float("nan"))
    end = capsys.readouterr().out.splitlines()[-1]
    assert end.endswith("loss 0.5, accuracy 86.2%; 2.5 images/s")


@pytest.mark.parametrize(
    ("unit", "done", "line"),
    [
        ("photographs", 0, "30 of 120 photographs (1.0/s, 01:30 left)"),
        ("photographs", 60, "90 of 120 photographs (1.0/s, 00:30 left)"),  # Of before, no speed.
        ("B", 0, "0 of 0 MB (0.0 MB/s, 01:30 left)"),
    ],
)
def test_line_tells_speed_and_time_left(
    unit: str, done: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    with Progress(120, unit, done=done, period=30, clock=clock) as progress:
        clock.now += 29
        progress.add(29)
        clock.now += 1
        progress.add(1)
    assert capsys.readouterr().out.splitlines() == [line]


def shown_by(terminal: int) -> str:
    """All that a terminal whose other end is closed was given; it comes in pieces."""
    pieces = []
    with open(terminal, "rb", buffering=0) as screen, contextlib.suppress(OSError):
        while piece := screen.read(1024):
            pieces.append(piece)
    return b"".join(pieces).decode()


@pytest.mark.parametrize("size", [(24, 80), (0, 0), (0, 110)])
def test_terminal_shows_a_bar_also_where_it_does_not_say_how_large_it_is(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    with open(theirs, "w") as terminal:  # noqa: PTH123
        monkeypatch.setattr("sys.stderr", terminal)
        with Progress(8, "photographs", title="validation") as progress:
            progress.say("loss 0.5")
            progress.add(8)
    shown = shown_by(ours)
    assert "validation:   0%|" in shown
    assert shown.rstrip(" ").endswith("\r")  # It is taken away.
