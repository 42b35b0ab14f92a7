from trainer import callbacks


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_log_gets_a_line_a_period_and_one_an_epoch(capsys) -> None:
    clock = Clock()
    lines = callbacks.ProgressLines(epochs=2, steps_per_epoch=5, period=30, clock=clock)
    lines.on_epoch_begin(0)
    for batch in range(5):  # 20 s a step: a line after 40 s and after 80 s.
        clock.now += 20
        lines.on_train_batch_end(batch, {"loss": 0.5})
    lines.on_epoch_end(0, {"loss": 0.25})
    assert capsys.readouterr().out.splitlines() == [
        "epoch 1/2 step 2/5: loss 0.5",
        "epoch 1/2 step 4/5: loss 0.5",
        "epoch 1/2 done: loss 0.25",
    ]
