"""Each workaround still matters, or a run goes on without it and says so."""

import subprocess
import sys

import keras
import pytest
import tensorflow as tf
from tensorflow.python.data.ops import multi_device_iterator_ops

from tests.support.miniature import environment
from trainer import workarounds
from trainer.numerics.reproducible_model import ReproducibleModel


@pytest.fixture(autouse=True)
def nothing_said_yet() -> None:
    workarounds._say_gone.cache_clear()


STEPS = """
import ctypes, resource, sys
from trainer import workarounds

if sys.argv[1] == "keep":
    workarounds.keep_memory()
libc, size = ctypes.CDLL(None), 2**26
libc.malloc.restype = ctypes.c_void_p
for step in range(10):
    if step == 5:  # The first ones find their memory.
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(size)))
    ctypes.memset(block, 1, size)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str, **variables: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", STEPS, how],
        capture_output=True, text=True, check=True, env={**environment(), **variables},
    )  # fmt: skip
    return int(done.stdout)


def test_memory_that_a_step_frees_is_there_for_the_next() -> None:
    assert page_faults("keep") < page_faults("give back") / 10


def test_users_settings_of_glibc_are_left_alone() -> None:
    threshold = {"MALLOC_MMAP_THRESHOLD_": "65536"}
    assert page_faults("keep") < page_faults("keep", **threshold) / 10


SUMS = """
import sys
import tensorflow as tf
from trainer import workarounds

if sys.argv[1] == "keep":
    workarounds.keep_order_of_sums()

@tf.function
def add(a, b, c, d):
    return (a + b) + (c + d)

print(add.get_concrete_function(*[tf.TensorSpec([1000])] * 4) and
      float(tf.reduce_max(add(*[tf.fill([1000], x) for x in (3.0, 1e8, -1e8, 3.0)]))))
"""


def total(how: str) -> float:
    command = [sys.executable, "-c", SUMS, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    return float(done.stdout)


def test_sums_keep_their_order() -> None:
    assert total("keep") == 0.0  # (3 + 1e8) + (-1e8 + 3): either loses its 3.
    assert total("let be") == 3.0  # Else the last one is added to what is left.


def test_iterators_without_the_private_function_are_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(multi_device_iterator_ops, "_create_device_dataset")
    workarounds.end_iterators_at_once()
    workarounds.end_iterators_at_once()
    [record] = caplog.records
    assert "_create_device_dataset is not there any more" in record.getMessage()


def test_option_that_tensorflow_does_not_know_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tf.config.optimizer, "set_experimental_options", lambda options: None)
    monkeypatch.setattr(tf.config.optimizer, "get_experimental_options", dict)
    workarounds.keep_order_of_sums()
    assert "arithmetic_optimization is not there any more" in caplog.text


def test_keras_without_its_way_to_build_trains_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ReproducibleModel, "_symbolic_build", None)
    inputs = keras.Input((3,))
    model = ReproducibleModel(inputs, keras.layers.Dense(2)(inputs))
    model.compile("sgd", "mse")
    model.build_training()
    assert "_symbolic_build is not there any more" in caplog.text
    assert model.optimizer.built


def test_user_who_wants_no_onednn_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    workarounds.use_onednn()
    assert workarounds.os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0"
