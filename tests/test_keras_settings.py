"""A user's settings of Keras neither change a run nor break it, and the user hears so."""

import json
from pathlib import Path

import pytest

from tests.support import miniature, warm
from trainer.keras_settings import describe_overruled

DAMAGED = "{0}/keras.json is passed over: it cannot be read as JSON"

# Of the file and the environment: what is said.
SETTINGS = {
    "none": (None, {}, []),
    "Keras's own": (
        {"floatx": "float32", "epsilon": 1e-7, "backend": "tensorflow",
         "image_data_format": "channels_last"},
        {"KERAS_BACKEND": "tensorflow"}, [],
    ),
    "backend of the environment": (
        None, {"KERAS_BACKEND": "jax"}, ["backend tensorflow in place of jax (KERAS_BACKEND)"],
    ),
    "backend of the file": (
        {"backend": "torch"}, {}, ["backend tensorflow in place of torch ({0}/keras.json)"],
    ),
    "the environment is asked first": (
        {"backend": "torch"}, {"KERAS_BACKEND": "tensorflow"}, [],
    ),
    "numbers and axes": (
        {"floatx": "float16", "epsilon": 0.001, "image_data_format": "channels_first"}, {},
        ["floatx float32 in place of float16 ({0}/keras.json)",
         "epsilon 1e-07 in place of 0.001 ({0}/keras.json)",
         "image_data_format channels_last in place of channels_first ({0}/keras.json)"],
    ),
    "limits": (
        None, {"KERAS_MAX_EPOCHS": "1", "KERAS_MAX_STEPS_PER_EPOCH": "2"},
        ["KERAS_MAX_EPOCHS is passed over", "KERAS_MAX_STEPS_PER_EPOCH is passed over"],
    ),
    "no JSON": ("{backend", {}, [DAMAGED]),
    "no object": ([1], {}, [DAMAGED]),
    "no text": (b"\xff\xfe\x00", {"KERAS_BACKEND": "jax"},
                [DAMAGED, "backend tensorflow in place of jax (KERAS_BACKEND)"]),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_not_taken_is_said(name: str, tmp_path: Path) -> None:
    content, environ, expected = SETTINGS[name]
    write(tmp_path, content)
    said = describe_overruled({"KERAS_HOME": str(tmp_path), **environ})
    assert said == [line.format(tmp_path) for line in expected]


def write(home: Path, content: object) -> None:
    if content is not None:
        text = content if isinstance(content, str | bytes) else json.dumps(content)
        (home / "keras.json").write_bytes(text if isinstance(text, bytes) else text.encode())


# What would change a run, stop it at Keras's import, or leave it without its last epochs.
BAD = [
    ({"backend": "jax", "image_data_format": "channels_first", "floatx": "float16",
      "epsilon": 0.1}, {}),
    ({"floatx": "bfloat16", "epsilon": 1}, {"KERAS_BACKEND": "numpy", "TF_USE_LEGACY_KERAS": "1"}),
    ("{", {"KERAS_MAX_EPOCHS": "1", "KERAS_MAX_STEPS_PER_EPOCH": "2", "KERAS_BACKEND": "nonsense"}),
]  # fmt: skip
RECIPE = ("--batch_size=8", "--epochs=2", "--deterministic", "--weights=none", "--num_gpus=0")


@pytest.fixture(scope="module")
def plain(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("plain")
    done = miniature.train(f"--data_dir={dataset}", f"--workdir={workdir}", *RECIPE)
    assert done.returncode == 0, done.stderr
    assert "Keras:" not in done.stderr
    return workdir


@pytest.mark.parametrize("case", range(len(BAD)))
def test_run_ends_at_the_same_bits_and_leaves_the_users_file(
    case: int, plain: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, environ = BAD[case]
    home, workdir = tmp_path / "home", tmp_path / "run"
    home.mkdir()
    write(home, content)
    before = (home / "keras.json").read_bytes()
    for name, value in {"KERAS_HOME": str(home), **environ}.items():
        monkeypatch.setenv(name, value)
    flags = (f"--data_dir={dataset}", f"--workdir={workdir}", *RECIPE)
    done = miniature.train(*flags, start=warm.cold)
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stderr.splitlines() if "Keras: " in line]
    assert ("in place of" in line) or ("is passed over" in line)
    assert loss_of(workdir) == loss_of(plain)
    assert list(home.iterdir()) == [home / "keras.json"]
    assert (home / "keras.json").read_bytes() == before


def loss_of(workdir: Path) -> float:
    return json.loads((workdir / "metrics.json").read_text())["loss"]


def test_evaluate_says_so_too_and_writes_no_file_where_there_is_none(
    plain: Path, dataset: Path, tmp_path: Path
) -> None:
    done = miniature.python(
        "trainer.evaluate", f"--workdir={plain}", f"--data_dir={dataset}",
        KERAS_HOME=str(tmp_path / "home"), KERAS_BACKEND="jax",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Keras: backend tensorflow in place of jax (KERAS_BACKEND)." in done.stderr
    assert json.loads(done.stdout)["loss"] == pytest.approx(loss_of(plain), rel=1e-5)
    assert not list(tmp_path.iterdir())


def test_predict_says_so_too(plain: Path, dataset: Path, tmp_path: Path) -> None:
    photograph = min((dataset / "synthetic_coco" / "val2017").glob("*.jpg"))
    write(tmp_path, BAD[0][0])
    done = miniature.python(
        "trainer.predict", f"--workdir={plain}", str(photograph), KERAS_HOME=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{photograph}\nProbability ")
    assert "Keras: backend tensorflow in place of jax" in done.stderr
