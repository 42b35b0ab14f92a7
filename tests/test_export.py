"""A run in other formats: each answers in its own runtime as the trained model does, or is none."""

import dataclasses
import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import get_args, get_type_hints

import keras
import numpy as np
import onnx as onnx_files
import pytest
import tensorflow as tf
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image, ImageOps

from tests.support import miniature, trained_run
from tests.support.miniature import REPOSITORY
from tests.test_saved_model import LINEAR, SMALL_VGG
from tfrecords import images
from tfrecords.manifest import read_manifest
from trainer.config import TrainConfig
from trainer.data.view import View
from trainer.exporting import card, extra, graph, litert, onnx, parity, photographs, savedmodel
from trainer.exporting.config import ExportConfig
from trainer.exporting.export import export
from trainer.exporting.folder import new_folder
from trainer.inference.classifier import Classifier
from trainer.model import classifier as models
from trainer.model.head import Head
from trainer.results.figures import figures_of_nothing
from trainer.workdir.files import Workdir

FORMATS = {"savedmodel": savedmodel, "onnx": onnx, "litert": litert}
WITHOUT_TENSORFLOW = REPOSITORY / "tests/support/without_tensorflow"


def write_run(folder: Path, data_dir: Path, **recipe: object) -> Path:
    manifest = read_manifest(data_dir)
    run = trained_run.write(
        folder,
        classes=manifest.classes,
        image_size=manifest.options["image_size"],
        digest=manifest.digest,
        **recipe,
    )
    config = json.loads((run / "config.json").read_text())
    flags = {"data_dir": str(data_dir), "workdir": str(run)}
    recipe = {"weights": "none", "backbone": "vgg16", **config["recipe"]}
    (run / "config.json").write_text(json.dumps({**config, "recipe": recipe, "flags": flags}))
    return run


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "first", dataset)


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of all formats, and the table that was printed."""
    output = tmp_path_factory.mktemp("out") / "made" / "all"
    return output, export(ExportConfig(workdir=str(run), format="all", output=str(output)))


@pytest.fixture(scope="module")
def jpegs(run: Path) -> list[bytes]:
    """The photographs that the run was validated on."""
    _, val = photographs.find(Workdir(Path(run)), None).splits()
    return [jpeg for batch in photographs.batches(val, 4) for jpeg in batch.jpegs]


@pytest.mark.parametrize("name", FORMATS)
def test_artefact_answers_as_the_model_does_for_any_number_of_photographs(
    name: str, exported: tuple[Path, str], run: Path, jpegs: list[bytes]
) -> None:
    trained = Classifier.load(run)
    squares = trained.squares(jpegs)
    expected = trained.probabilities(squares)
    opened = FORMATS[name].Opened(exported[0] / name)
    for rows in (slice(0, 1), slice(0, 3), slice(0, 9)):
        found = opened.of_rgb(squares[rows].astype(np.float32))
        np.testing.assert_allclose(found, expected[rows], atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.05


def test_savedmodel_takes_jpegs_of_any_size_and_names_their_classes(
    exported: tuple[Path, str], run: Path
) -> None:
    rng, files = np.random.default_rng(0), []
    for shape in ((60, 90), (128, 128), (300, 200), (700, 900)):
        pixels = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        out = io.BytesIO()
        pixels.resize(shape, Image.Resampling.BICUBIC).save(out, "JPEG", quality=95)
        files.append(out.getvalue())
    trained = Classifier.load(run)
    expected = trained.predict(files)
    signature = tf.saved_model.load(str(exported[0] / "savedmodel")).signatures["serving_default"]
    answer = signature(jpegs=tf.constant(files))
    np.testing.assert_allclose(answer["probabilities"], expected, atol=0.02)  # Shrunk otherwise.
    np.testing.assert_allclose(answer["probabilities"][:3], expected[:3], atol=1e-5)
    best = [trained.classes[i] for i in expected.argmax(axis=1)]
    assert [name.decode() for name in answer["classes"].numpy()] == best
    start = files[0].index(b"\xff\xc0") + 5  # Height and width in the JPEG's frame header.
    bomb = files[0][:start] + (20_000).to_bytes(2, "big") * 2 + files[0][start + 4 :]
    with pytest.raises(tf.errors.InvalidArgumentError, match="too many pixels"):
        signature(jpegs=tf.constant([bomb]))


def test_files_hold_the_names_of_the_classes_and_a_free_batch(
    exported: tuple[Path, str], run: Path
) -> None:
    folder, classes = exported[0], trained_classes(run)
    model = onnx_files.load(folder / "onnx" / "model.onnx")
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(properties["classes"]) == classes
    for tensor, name in (
        (model.graph.input[0], "images"),
        (model.graph.output[0], "probabilities"),
    ):
        assert (tensor.name, tensor.type.tensor_type.shape.dim[0].dim_param) == (name, "batch")
    with zipfile.ZipFile(folder / "litert" / "model.tflite") as labels:
        assert labels.read("labels.txt").decode().splitlines() == classes
    for name in FORMATS:
        assert json.loads((folder / name / "classes.json").read_text()) == classes


def trained_classes(run: Path) -> list[str]:
    return json.loads((run / "classes.json").read_text())


def test_table_and_folder_hold_every_format_and_nothing_else(exported: tuple[Path, str]) -> None:
    folder, table = exported
    header, *rows = table.splitlines()
    titles = ["size", "ms an image", "accuracy", "largest difference", "another class"]
    assert re.split(r"\s{2,}", header.strip()) == titles
    assert [row.split()[0] for row in rows] == ["model.keras", *FORMATS]
    for row in rows[1:]:
        assert float(row.split()[-2]) < 1e-5
        assert row.split()[-1] == "0"
    assert sorted(path.name for path in folder.iterdir()) == sorted(FORMATS)
    assert [path.name for path in folder.parent.iterdir()] == ["all"]
    litert_files = {path.name for path in (folder / "litert").iterdir()}
    assert litert_files == {"README.md", "classes.json", "model.tflite", "predict.py"}


HEADS = [
    {"head": "flatten", "head_units": 4, "test_views": "scales"},
    {"head": "gap", "precision": "mixed_float16"},
    {"head": "gmp", "feature_norm": "l2"},
    {"head": "gem", "feature_norm": "power_l2"},
    {"head": "gap_gmp", "feature_norm": "standardize"},
    {
        **LINEAR, "head": "places", "feature_norm": "standardize", "test_views": "flip",
        "precision": "mixed_bfloat16",
    },
]  # fmt: skip


def test_every_head_is_among_those_that_are_exported() -> None:
    heads = get_args(get_type_hints(TrainConfig)["head"])
    assert {options["head"] for options in HEADS} == set(heads)


@pytest.mark.parametrize("options", HEADS, ids=lambda options: options["head"])
def test_heads_views_and_precisions_are_exported_in_float32(
    options: dict[str, str], tmp_path: Path
) -> None:
    config = TrainConfig(data_dir="", workdir="", input_size=96, freeze_layers=2, **options)
    model = models.build_model(
        3, backbone=SMALL_VGG, input_size=96, freeze_layers=2, head=Head.from_config(config),
        precision=config.precision,
    )  # fmt: skip
    saved = models.for_inference(model, config, SMALL_VGG, temperature=0.7)
    rgb = np.random.default_rng(0).integers(100, 140, (3, 96, 96, 3), np.uint8)
    exact = graph.in_float32(saved)
    assert graph.is_float32(exact)
    assert graph.is_float32(saved) == (config.precision == "float32")
    expected = Classifier(exact, list("abc"), View(96), 0).probabilities(rgb)
    near = Classifier(saved, list("abc"), View(96), 0).probabilities(rgb)
    np.testing.assert_allclose(near, expected, atol=0.1)
    made = graph.of_model(saved, list("abc"))
    for name in ("onnx", "litert"):
        (tmp_path / name).mkdir()
        FORMATS[name].write(tmp_path / name, made, None)
        found = FORMATS[name].Opened(tmp_path / name).of_rgb(rgb.astype(np.float32))
        np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=name)


def swish_network(images: keras.KerasTensor) -> keras.Model:
    """Of the layers that other backbones have and VGG16 has not: swish brings its own gradient."""
    x = keras.layers.Conv2D(4, 3, padding="same", use_bias=False, name="stem")(images)
    x = keras.layers.BatchNormalization(name="stem_bn")(x)
    x = keras.layers.Activation("swish", name="stem_activation")(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = keras.layers.Conv2D(4, 3, padding="same", groups=4, name="groups")(x)
    x = keras.layers.LayerNormalization(name="layer_norm")(x)
    x = keras.layers.Activation("gelu", name="gelu")(x)
    x = keras.layers.MaxPooling2D(32, name="pool")(x)
    return keras.Model(keras.utils.get_source_inputs(images), x)


def test_layers_of_other_backbones_are_exported_in_every_format(tmp_path: Path) -> None:
    backbone = dataclasses.replace(SMALL_VGG, network=swish_network)
    config = TrainConfig(data_dir="", workdir="", input_size=96, head="gap")
    model = models.build_model(
        3, backbone=backbone, input_size=96, freeze_layers=1, head=Head.from_config(config)
    )
    saved = models.for_inference(
        model, dataclasses.replace(config, freeze_layers=1), backbone, temperature=0.7
    )
    rgb = np.random.default_rng(0).integers(100, 140, (3, 96, 96, 3), np.uint8)
    classifier = Classifier(saved, list("abc"), View(96), 0)
    made = graph.of_model(saved, list("abc"))
    for name, module in FORMATS.items():
        (tmp_path / name).mkdir()
        data = (classifier.view, 0) if name == "savedmodel" else (None,)
        module.write(tmp_path / name, made, *data)
        found = module.Opened(tmp_path / name).of_rgb(rgb.astype(np.float32))
        expected = classifier.probabilities(rgb)
        np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=name)


def test_run_that_was_trained_in_half_precision_is_exported(dataset: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    done = miniature.train(
        f"--data_dir={dataset}", f"--workdir={run}", "--weights=none", "--num_gpus=0",
        "--epochs=1", "--precision=mixed_bfloat16",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = export(ExportConfig(workdir=str(run), format="onnx", output=str(out)))
    _, half, row = (line.split() for line in table.splitlines())
    assert float(half[-2]) > 1e-5  # The run's own, computed in half.
    assert float(row[-2]) < 1e-4
    assert row[-1] == "0"
    figures = json.loads((run / "metrics.json").read_text())
    page = (out / "README.md").read_text()
    assert f"accuracy {figures['accuracy']:.1%}".replace("%", " %") in page
    assert f"(the trained model: {half[-3].replace('%', ' %')})" in page
    assert f"at temperature {figures['temperature']:.2f}" in page
    assert "It computes in float32, the run in mixed_bfloat16" in page


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_script_makes_the_square_that_the_model_was_trained_on(fit: str, tmp_path: Path) -> None:
    made = card._render("square.py.jinja", size=96, fit=fit, image_size=128)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)
    shapes = ((128, 181), (171, 128), (50, 70), (128, 128), (190, 300), (500, 400))
    for number, shape in enumerate(shapes):
        path = tmp_path / f"{number}.jpg"
        Image.fromarray(pixels).resize(shape, Image.Resampling.BICUBIC).save(path, quality=95)
        stored = images.store_jpeg(path.read_bytes(), 128)
        expected = View(96, fit=fit).square(tf.constant(stored)).numpy().astype(int)
        names = {"path": path, "Image": Image, "ImageOps": ImageOps, "io": io}
        exec(f"if True:\n{made}", names)
        differences = np.abs(np.asarray(names["square"], int) - expected)
        is_shrunk = min(shape) > 128  # By another library, then stored as a JPEG.
        # At a crop's edges, colours are decoded otherwise.
        assert np.mean(differences > (4 if is_shrunk else 2)) < 0.02
        assert differences.mean() < (1.2 if is_shrunk else 0.5)


@pytest.mark.parametrize("name", ["onnx", "litert"])
def test_script_predicts_where_there_is_no_tensorflow(
    name: str, exported: tuple[Path, str], run: Path, jpegs: list[bytes], runtimes: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    paths = [tmp_path / f"{number}.jpg" for number in range(len(jpegs))]
    for path, jpeg in zip(paths, jpegs, strict=True):
        path.write_bytes(jpeg)
    done = subprocess.run(  # -S: of this environment's packages none is there.
        [sys.executable, "-S", exported[0] / name / "predict.py", *paths],
        capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(runtimes), "PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    trained = Classifier.load(run)
    rows = trained.predict(paths)
    expected = [(str(p), trained.classes[row.argmax()]) for p, row in zip(paths, rows, strict=True)]
    said = [re.fullmatch(r"(.*): (\w+) ([\d.]+)%", line) for line in done.stdout.splitlines()]
    assert [(line[1], line[2]) for line in said if line] == expected
    np.testing.assert_allclose([float(line[3]) for line in said], 100 * rows.max(axis=1), atol=1)


@pytest.fixture(scope="module")
def runtimes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the cards say to install, what that requires, and nothing else."""
    folder = tmp_path_factory.mktemp("runtimes")
    wanted = [card._FORMATS[name].packages.split() for name in ("onnx", "litert")]
    for package in with_requirements({name for names in wanted for name in names}):
        for file in metadata.files(package) or []:
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (folder / top).exists():
                (folder / top).symlink_to(str(metadata.distribution(package).locate_file(top)))
    assert not (folder / "tensorflow").exists()
    return folder


def with_requirements(packages: set[str]) -> set[str]:
    """Returns what pip would install of packages: they and, without extras, what they require."""
    found: set[str] = set()
    while missing := packages - found:
        for package in missing:
            required = map(Requirement, metadata.requires(package) or [])
            packages = packages | {
                canonicalize_name(each.name)
                for each in required
                if each.marker is None or each.marker.evaluate({"extra": ""})
            }
        found |= missing
    return found


def test_card_has_what_model_hubs_read(exported: tuple[Path, str]) -> None:
    libraries = {"savedmodel": "tensorflow", "onnx": "onnx", "litert": "tflite"}
    for name, library in libraries.items():
        text = (exported[0] / name / "README.md").read_text()
        _, head, page = text.split("---\n", 2)
        read = yaml.safe_load(head)
        assert (read["library_name"], read["pipeline_tag"]) == (library, "image-classification")
        assert {"license", "tags", "metrics", "model-index"} <= read.keys()
        assert read["model-index"][0]["name"] == "first"
        assert "largest difference of a probability" in page
        assert "{" not in page


FIGURES = {
    "split": "val", "num_examples": 2, "accuracy": 0.5, "accuracy_ci95": [0.1, 0.9], "loss": 1.5,
    "per_class": {"cat": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}},
}  # fmt: skip
LATER = {
    "macro_f1": 0.4, "macro_f1_ci95": [0.2, 0.7], "expected_calibration_error": 0.12,
    "temperature": None, "uncalibrated": None,
    "reject": [
        {"precision": 0.9, "threshold": 0.625, "coverage": 0.75},
        {"precision": 0.99, "threshold": None, "coverage": 0.0},
    ],
}  # fmt: skip
CALIBRATED = {"temperature": 1.25, "uncalibrated": {"expected_calibration_error": 0.34}}


@pytest.mark.parametrize(
    ("figures", "said", "unsaid"),
    [
        (FIGURES, ["accuracy 50.0 %"], ["macro F1", "Calibration:", "temperature", "- Answers"]),
        (
            FIGURES | LATER,
            ["macro F1 0.400 (0.200 to 0.700)", "error 0.120", "0.625 or more are right in 90 %"],
            ["temperature", "99 %"],
        ),
        (FIGURES | LATER | CALIBRATED, ["at temperature 1.25", "the error was 0.340"], []),
        (figures_of_nothing(), ["no photographs apart from those"], ["accuracy 50.0 %"]),
        (None, ["metrics.json is not there"], ["no photographs apart from those"]),
    ],
    ids=["older", "as they came", "calibrated", "without val", "gone"],
)
def test_card_says_what_the_run_knows_of_itself(
    figures: dict[str, object] | None, said: list[str], unsaid: list[str], run: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(shutil.copytree(run, tmp_path / "run"))
    files = Workdir(Path())
    if figures is not None:
        files.metrics.write_text(json.dumps(figures))
    data = photographs.find(files, None)
    found = parity.Comparison("onnx", 1, 1.0, accuracy=0.7, difference=1e-6)
    compared = card.Compared(found, data.splits()[1], 0.7, is_quantized=False)
    card.write(tmp_path, "onnx", files=files, data=data, compared=compared, view=View(96))
    _, head, page = (tmp_path / "README.md").read_text().split("---\n", 2)
    for text in said:
        assert text in page
    for text in unsaid:
        assert text not in page
    [entry] = yaml.safe_load(head)["model-index"]
    assert entry["name"] == "run"
    measured = [row["metrics"] for row in entry["results"]]
    has_f1 = figures is not None and figures.get("macro_f1") is not None
    names = ["Accuracy", "Macro F1"] if has_f1 else ["Accuracy"]
    has_figures = figures is not None and bool(figures["num_examples"])
    assert [[each["name"] for each in row] for row in measured] == ([names] if has_figures else [])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p + 0.01, "must be within --tolerance=0.0001 of the trained model. Received"),
        (
            lambda p: p[:, ::-1],
            "says another class than the trained model. Received: 9 photographs",
        ),
        (lambda p: p * np.nan, "the largest difference of a probability is inf"),
    ],
)
def test_artefact_that_answers_otherwise_is_refused_and_leaves_nothing(
    change: object, said: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = litert.Opened.of_rgb
    monkeypatch.setattr(litert.Opened, "of_rgb", lambda self, rgb: change(answer(self, rgb)))
    output = tmp_path / "new" / "out"
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        export(ExportConfig(workdir=str(run), format="litert", output=str(output)))
    assert re.search(r"on \S+\.jpg\. Nothing is written\.$", str(error.value))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FORMATS)
def test_full_disk_is_one_line_and_leaves_nothing(name: str, run: Path, small_disk: Path) -> None:
    (small_disk / "full").write_bytes(bytes(24 * 1024))  # Of 32: two files of a page each fit.
    output = small_disk / "new" / "out"
    with pytest.raises(OSError, match="No space left on device") as error:
        export(ExportConfig(workdir=str(run), format=name, output=str(output)))
    assert error.value.errno == errno.ENOSPC
    assert str(small_disk) in str(error.value)
    assert [path.name for path in small_disk.iterdir()] == ["full"]


def test_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    output = tmp_path / "new" / "out"

    def write(then: Callable[[], object]) -> None:
        with new_folder(str(output)) as folder:
            (folder / "model.onnx").touch()
            then()

    def stop() -> None:
        raise KeyboardInterrupt

    def others() -> None:
        output.mkdir()
        (output / "others").touch()

    with pytest.raises(KeyboardInterrupt):
        write(stop)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="must not be there yet"):
        write(others)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == [
        "new/out/others"
    ]
    (output / "others").unlink()
    write(lambda: None)  # An empty folder is one that was made for it.
    assert [path.name for path in output.iterdir()] == ["model.onnx"]


def test_int8_says_how_much_accuracy_it_costs(run: Path, tmp_path: Path) -> None:
    config = ExportConfig(
        workdir=str(run), format="all", quantize="int8", tolerance=1.0, output=str(tmp_path / "out")
    )
    lines = {line.split()[0]: line.split() for line in export(config).splitlines()[1:]}
    assert float(lines["savedmodel"][-2]) < 1e-5  # It stays as it is.
    assert 1e-5 < float(lines["onnx"][-2]) < 0.5
    assert 1e-5 < float(lines["litert"][-2]) < 0.5
    model = onnx_files.load(tmp_path / "out" / "onnx" / "model.onnx")
    assert "QuantizeLinear" in {node.op_type for node in model.graph.node}
    assert "quantized to int8" in (tmp_path / "out" / "litert" / "README.md").read_text()


def refused(*arguments: str) -> tuple[int, str]:
    """Returns exit code and the one line of a command that cannot load TensorFlow."""
    path = f"{WITHOUT_TENSORFLOW}:{REPOSITORY}"
    done = miniature.python("trainer.export", *arguments, PYTHONPATH=path)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_bad_inputs_are_one_line_before_tensorflow_is_loaded(run: Path, tmp_path: Path) -> None:
    there, file = tmp_path / "there", tmp_path / "file"
    there.mkdir()
    (there / "mine").touch()
    file.touch()
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    config = json.loads((run / "config.json").read_text())
    for text, name in (("/nowhere", "gone"), (None, "silent")):
        shutil.copytree(run, tmp_path / name)
        flags = {"flags": {"data_dir": text}} if text else {}
        kept = {key: value for key, value in config.items() if key != "flags"}
        (tmp_path / name / "config.json").write_text(json.dumps({**kept, **flags}))
    out = f"--output={tmp_path / 'out'}"
    of_run = (f"--workdir={run}", "--format=onnx")
    for arguments, code, said in (
        ((*of_run, f"--output={there}"), 1, "The output must not be there yet. Received: output="),
        ((*of_run, f"--output={file}/out"), 1, "The folder of the export cannot be made: Not a "),
        ((*of_run, f"--output={tmp_path}/model.onnx"), 2, "output must be a folder, which holds "),
        (
            (f"--workdir={tmp_path}/gone", "--format=onnx", out),
            1,
            "compared on the run's own photo",
        ),
        (
            (f"--workdir={tmp_path}/silent", "--format=onnx", out),
            1,
            "config.json does not say where",
        ),
        ((*of_run, out, f"--data_dir={tmp_path}"), 1, "No complete dataset: there is no manifest"),
        ((f"--workdir={tmp_path}", "--format=onnx", out), 1, "The workdir holds no trained run"),
        (
            (f"--workdir={run}", "--format=savedmodel", out, "--quantize=int8"),
            2,
            "quantize is for ",
        ),
    ):
        exit_code, line = refused(*arguments)
        assert exit_code == code, line
        assert said in line
        assert line.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_another_dataset_is_refused(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "run"
    shutil.copytree(run, other)
    config = json.loads((run / "config.json").read_text())
    config["data"]["digest"] = "f" * 64
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"another one than the run was trained on.*ffffffff"):
        photographs.find(Workdir(Path(other)), None)


@pytest.mark.parametrize(("name", "package"), [("onnx", "tf2onnx"), ("litert", "ai_edge_litert")])
def test_missing_extra_is_one_line(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extra.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(RuntimeError, match=rf"--format={name} needs {package}.*\[export\]"):
        extra.require(["savedmodel", name])
    extra.require(["savedmodel"])
