"""What is wrong with a command's inputs is said before TensorFlow is loaded: here it cannot be."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support import coco_folder, miniature
from tests.support.miniature import REPOSITORY
from tfrecords.manifest import read_manifest
from trainer.config import TrainConfig
from trainer.workdir import identity

WITHOUT_TENSORFLOW = Path(__file__).parent / "support/without_tensorflow"


def python(module: str, *arguments: str) -> tuple[int, str, list[str]]:
    """Returns exit code, stdout and the lines of stderr of a command that cannot have it."""
    path = f"{WITHOUT_TENSORFLOW}:{REPOSITORY}"
    done = miniature.python(module, *arguments, PYTHONPATH=path)
    return done.returncode, done.stdout, done.stderr.splitlines()


@pytest.fixture(scope="module")
def inputs(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, `data`, a run that was trained on it, `run`, and much that is not right."""
    root = tmp_path_factory.mktemp("inputs")
    shutil.copytree(dataset, root / "data", ignore=shutil.ignore_patterns("synthetic_coco"))
    write_run(root / "run", root / "data")
    write_run(root / "untrained", root / "data")
    (root / "untrained" / "model.keras").unlink()
    write_run(root / "others", root / "data", classes=["apple", "pear"])
    shutil.copytree(root / "data", root / "incomplete")
    min((root / "incomplete").glob("*-val.tfrecord-*")).unlink()
    shutil.copytree(root / "data", root / "cut_off")
    shard = min((root / "cut_off").glob("*-train.tfrecord-*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    shutil.copytree(root / "data", root / "one_class")
    manifest = json.loads((root / "data" / "manifest.json").read_text())
    (root / "one_class" / "manifest.json").write_text(json.dumps(manifest | {"classes": ["cat"]}))
    shutil.copytree(root / "data", root / "without_val")
    del manifest["counts"]["val"]
    (root / "without_val" / "manifest.json").write_text(json.dumps(manifest))
    for name, file in (("cut_model", "model.keras"), ("cut_classes", "classes.json"),
                       ("cut_config", "config.json")):  # fmt: skip
        write_run(root / name, root / "data")
        (root / name / file).write_text("{}" if file.endswith("json") else "")
    (root / "linked").symlink_to("data")
    shutil.copytree(root / "data", root / "other_data")
    (root / "weights").mkdir()
    (root / "text.h5").write_text("<html>")
    with h5py.File(root / "others.h5", "w") as file:
        file.attrs["layer_names"] = ["dense"]
        file.create_group("dense").attrs["weight_names"] = ["kernel"]
        file["dense"]["kernel"] = np.zeros([2, 3], np.float32)
    (root / "photograph.jpg").write_bytes(coco_folder.jpeg(1))
    return root


def write_run(workdir: Path, data_dir: Path, patience: int | None = None, **data: object) -> None:
    """Writes what a command looks at before it loads the model."""
    config = TrainConfig(
        data_dir=str(data_dir), workdir=str(workdir), weights="none",
        early_stopping_patience=patience,
    )  # fmt: skip
    described = identity.describe(config, read_manifest(data_dir))
    described["data"] |= data
    workdir.mkdir()
    (workdir / "config.json").write_text(json.dumps(described))
    (workdir / "classes.json").write_text(json.dumps(described["data"]["classes"]))
    with zipfile.ZipFile(workdir / "model.keras", "w") as file:
        file.writestr("a model", "")


TRAIN = ("trainer.main", "--data_dir=data", "--workdir=new", "--weights=none")
EVALUATE = ("trainer.evaluate", "--data_dir=data", "--workdir=run")
PREDICT = ("trainer.predict", "--workdir=run")
EARLY = {
    # What is trained on.
    "no dataset": (*TRAIN, "--data_dir=nowhere", 1, "no manifest.json. Received: data_dir=nowhere"),
    "shard missing": (*TRAIN, "--data_dir=incomplete", 1, "which is not there; expected: "),
    "shard cut off": (*TRAIN, "--data_dir=cut_off", 1, "A shard is not what the manifest says."),
    "one class": (*TRAIN, "--data_dir=one_class", 1, "needs two classes or more. Received: "
                  "data_dir=one_class with cat."),
    "no val to stop by": (*TRAIN, "--data_dir=without_val", "--early_stopping_patience=2", 1,
                          "needs a split named val, whose loss decides. Received: "),
    "no val": (*EVALUATE, "--data_dir=without_val", 1, "split='val'. It has: train."),
    "nothing to try": (*TRAIN, "--data_dir=nowhere", "--dry_run", 1, "data_dir=nowhere"),
    # What it starts from.
    "no weights": (*TRAIN, "--weights=nowhere.h5", 1, "Tried nowhere.h5: no such file. Give"),
    "text as weights": (*TRAIN, "--weights=text.h5", 1, "Tried text.h5: not an HDF5 file. Give"),
    "other weights": (*TRAIN, "--weights=others.h5", 1, "not VGG16's ImageNet weights: digest"),
    "weights to try": (*TRAIN, "--weights=nowhere.h5", "--dry_run", 1, "no such file"),
    "another run": (*TRAIN, "--workdir=run", "--epochs=3", 1, "epochs: 20 there, 3 here"),
    "run on other data": (*TRAIN, "--workdir=others", 1, "classes: ['apple', 'pear'] there"),
    "weights in a folder": (*TRAIN, "--weights=weights", 1, "weights: a folder, and no file. Give"),
    "misspelt weights": (*TRAIN, "--weights=Imagenet", 1, "did you mean --weights=imagenet?"),
    "weights of a run": (*TRAIN, "--weights=run/model.keras", 1, "a run's model is not taken"),
    # What it trains.
    "no such network": (*TRAIN, "--backbone=resnet-50", 2, "'resnet-50'. The nearest: resnet50, "),
    "too many layers": (*TRAIN, "--freeze_layers=20", 2, "between 0 and 19, the layers of VGG16."),
    "frozen twice": (*TRAIN, "--freeze_layers=1", "--freeze_until=x", 2, "takes the place of"),
    # Where it goes.
    "among the data": (*TRAIN, "--workdir=data/run", 2, "must not go among the files of its data"),
    "over the data": (*TRAIN, "--workdir=linked/", 2, "workdir=linked/, data_dir=data. Name a"),
    "over other data": (*TRAIN, "--workdir=other_data", 1, "The workdir holds a dataset"),
    "over a file": (*TRAIN, "--workdir=text.h5", 1, "workdir=text.h5, and text.h5 is a file."),
    "below a file": (*TRAIN, "--workdir=text.h5/a/b", 1, "and text.h5 is a file. Name another"),
    "nowhere": (*TRAIN, "--workdir=", 2, "must name a directory. Received: workdir=''"),
    "no settings": (*TRAIN, "--workdir=cut_config", 1, "it has no recipe.epochs. Received: cut_"),
    "data in a file": (*TRAIN, "--data_dir=text.h5", 1, "no manifest.json. Received: data_dir="),
    # What is evaluated.
    "no run": (*EVALUATE, "--workdir=nowhere", 1, "there is no classes.json. Received: nowhere"),
    "no model": (*EVALUATE, "--workdir=untrained", 1, "no trained model. Received: untrained"),
    "no data": (*EVALUATE, "--data_dir=nowhere", 1, "no manifest.json. Received: data_dir=nowhere"),
    "no split": (*EVALUATE, "--split=dev", 1, "split='dev'. It has: train, val."),
    "shard gone": (*EVALUATE, "--data_dir=incomplete", 1, "which is not there"),
    "other classes": (*EVALUATE, "--workdir=others", 1, "Received: apple, pear (workdir); bear, "),
    "name with a slash": (*EVALUATE, "--name=a/b", 2, "must be a plain name"),
    "name of a parent": (*EVALUATE, "--name=..", 2, "must be a plain name"),
    "no name": (*EVALUATE, "--name=", 2, "must be a plain name"),
    "endless name": (*EVALUATE, f"--name={'x' * 300}", 1, "cannot be made: File name too long."),
    "a file as run": (*EVALUATE, "--workdir=text.h5", 1, "is no classes.json. Received: text.h5"),
    "damaged model": (*EVALUATE, "--workdir=cut_model", 1, "The trained model is damaged: it is"),
    "damaged classes": (*EVALUATE, "--workdir=cut_classes", 1, "a list of the classes' names."),
    # What is predicted.
    "no run to ask": (*PREDICT, "--workdir=nowhere", "photograph.jpg", 1, "is no config.json"),
    "no model to ask": (*PREDICT, "--workdir=untrained", "photograph.jpg", 1, "no trained model"),
    "no photograph": (*PREDICT, "nowhere.jpg", 1, "nowhere.jpg: No such file or directory"),
    "text as photograph": (*PREDICT, "text.h5", 1, "text.h5: not an image"),
    "damaged settings": (*PREDICT, "--workdir=cut_config", "photograph.jpg", 1,
                         "it has no data.image_size. Received: cut_config/config.json"),
    "folder": (*PREDICT, "data", 1, "data: No photograph is in this folder, "),
    "no match": (*PREDICT, "data/*.jpg", 1, "data/*.jpg: No file matches this pattern."),
    "no probability": (*PREDICT, "--reject_below=0", "photograph.jpg", 2, "must be above 0, and"),
    "save over files": (*PREDICT, "--save_dir=data", "photograph.jpg", 1,
                        "new or an empty folder. Received: save_dir=data, which holds files."),
    "save below a file": (*PREDICT, "--save_dir=text.h5/x", "photograph.jpg", 1,
                          "The folder of --save_dir cannot be made: Not a directory."),
    "plot as JPEG": (*PREDICT, "--plot=x.jpg", "photograph.jpg", 2, "must be the name of a PNG"),
    "plot below a file": (*PREDICT, "--plot=text.h5/x.png", "photograph.jpg", 1,
                          "The folder of --plot cannot be made: "),
    "nothing to look at": (*PREDICT, 2, "At least one image is needed"),
}  # fmt: skip


@pytest.mark.parametrize("name", EARLY)
def test_wrong_input_is_said_before_tensorflow_is_loaded(
    name: str, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, *flags, code, says = EARLY[name]
    monkeypatch.chdir(inputs)
    returned, stdout, lines = python(str(module), *map(str, flags))
    assert (returned, stdout) == (code, ""), lines
    [line] = lines
    assert line.startswith("Error: ")
    assert str(says) in line
    assert not (inputs / "new").exists()


@pytest.mark.parametrize(
    "command", [TRAIN, EVALUATE, (*PREDICT, "photograph.jpg")], ids=lambda command: command[0]
)
def test_right_input_comes_as_far_as_tensorflow(
    command: tuple[str, ...], inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which shows that it cannot be loaded here; it is said before that it will be."""
    monkeypatch.chdir(inputs)
    _, stdout, lines = python(*command)
    assert lines[-1].startswith("Error: tensorflow was loaded") or "keras was" in lines[-1]
    assert "Loading TensorFlow" in (stdout + "".join(lines[:-1]))


def write_figures(workdir: Path, name: str, **of_data: str) -> None:
    folder = workdir / "evaluations" / name
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(of_data))


FIGURES: dict[str, tuple[dict[str, str], tuple[str, ...], str]] = {
    "of the same data": ({}, (), "was loaded"),
    "of another model": ({"model_digest": "0123"}, (), "was loaded"),
    "of another split": ({"split": "test"}, (), "split: test there, val here"),
    "of another dataset": ({"dataset_digest": "0123"}, (), "dataset_digest: 0123 there, "),
    "to be replaced": ({"dataset_digest": "0123"}, ("--overwrite",), "was loaded"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_on_other_data_are_replaced_only_where_that_is_asked_for(
    name: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, flags, says = FIGURES[name]
    shutil.copytree(inputs / "run", tmp_path / "run")
    same = {"split": "val", "dataset_digest": read_manifest(inputs / "data").digest}
    write_figures(tmp_path / "run", "mine", **same | changes)
    monkeypatch.chdir(tmp_path)
    _, _, lines = python(*EVALUATE, f"--data_dir={inputs / 'data'}", "--name=mine", *flags)
    assert says in lines[-1]
    replaces = "The figures in run/evaluations/mine are of an earlier model of"
    assert any(line.startswith(replaces) for line in lines) == ("model_digest" in changes)


@pytest.mark.parametrize("history", [None, "", "epoch,step\n1,"])
@pytest.mark.parametrize("patience", [(), ("--early_stopping_patience=2",)])
def test_damaged_history_does_not_pass_for_an_early_stop(
    history: str | None, patience: tuple[str, ...], inputs: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    data = inputs / "data"
    write_run(tmp_path / "run", data, patience=2 if patience else None)
    for file in ("metrics.json", "report.html"):
        (tmp_path / "run" / file).write_text("{}")
    if history is not None:
        (tmp_path / "run" / "history.csv").write_text(history)
    _, stdout, _ = python(*TRAIN, f"--data_dir={data}", "--workdir=run", "--epochs=21", *patience)
    assert "Loading TensorFlow" in stdout
    assert "stopped early" not in stdout


def test_run_that_goes_on_needs_its_first_weights_no_more(
    inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = TrainConfig(data_dir="data", workdir="run").settings()
    config = json.loads((inputs / "run" / "config.json").read_text()) | {"recipe": recipe}
    shutil.copytree(inputs / "run", inputs / "with_weights")
    (inputs / "with_weights" / "config.json").write_text(json.dumps(config))
    monkeypatch.chdir(inputs)
    _, stdout, _ = python(*TRAIN, "--workdir=with_weights", "--weights=gone.h5")
    assert "Loading TensorFlow" in stdout


ANSWERED = """
import sys
import numpy as np
import trainer.predict
from trainer.inference.formats import Answer

said = Answer("photograph.jpg", np.array([0, 0, 0.25, 0.75, 0, 0, 0, 0]))
trainer.prediction.predict = lambda jpegs, *_: ((said, jpeg) for _, jpeg in jpegs)
trainer.predict.run()
"""


@pytest.mark.parametrize("is_read", [True, False])
def test_predictions_are_printed_and_then_drawn_whoever_reads_them(
    is_read: bool, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inputs)
    plot = tmp_path / "not" / "there yet" / "plot.png"
    flags = ("--workdir=run", f"--plot={plot}", "--top_k=2")
    with subprocess.Popen(
        [sys.executable, "-c", ANSWERED, *flags, "photograph.jpg"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**miniature.environment(), "PYTHONPATH": f"{WITHOUT_TENSORFLOW}:{REPOSITORY}"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        if not is_read:
            process.stdout.close()  # As `head` does once it has its lines.
        else:
            printed = process.stdout.read()
            assert printed.splitlines() == [
                "photograph.jpg", "Probability 75.00% of [dog]", "Probability 25.00% of [cat]",
            ]  # fmt: skip
    assert plot.read_bytes().startswith(b"\x89PNG")
