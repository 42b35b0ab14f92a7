"""Imports point one way, and what must start fast does not load TensorFlow."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.miniature import REPOSITORY, environment

# What each package may import of the project, itself aside.
ALLOWED = {
    "buckets": set(),
    "cli": {"buckets"},
    "tfrecords": {"buckets"},
    "data_prep": {"buckets", "cli", "tfrecords"},
    "trainer": {"buckets", "cli", "tfrecords"},
    "launch": {"buckets", "cli", "data_prep.config", "trainer.config", "trainer.model.backbone"},
}


# The rooms and files of a package, floor by floor: each imports from the floors below its own.
FLOORS = {
    "trainer": [
        "main evaluate predict explain export serve crossval tune",
        "tuning exporting serving",
        "preflight cross_validation lr_find prediction",
        "train",
        "divergence half_precision head_start outcome",
        "microbatch run_report",
        "run",
        "features results",
        "inference",
        "data loop checks tracking",
        "distribute workdir",
        "model",
        "numerics",
        "config keras_settings workarounds",
    ],
    "data_prep": [
        "build verify",
        "commit summary verification",
        "selection lookalikes report card beam identity inspection",
        "plan",
        "digests rejections",
        "shards",
        "examples",
        "sources synthetic",
        "target",
        "config rules lock runners",
    ],
}


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, also inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.partition(".")[0] in ALLOWED}


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_point_one_way(package: str) -> None:
    files = sorted((REPOSITORY / package).rglob("*.py"))
    assert files
    for path in files:
        for name in imports_of(path):
            allowed = ALLOWED[package] | {package}
            assert any(name == a or name.startswith(f"{a}.") for a in allowed), (path.name, name)


@pytest.mark.parametrize("package", FLOORS)
def test_rooms_import_downwards(package: str) -> None:
    floors = {room: floor for floor, rooms in enumerate(FLOORS[package]) for room in rooms.split()}
    folder = REPOSITORY / package
    rooms = {path.stem for path in folder.iterdir() if path.name != "__init__.py"}
    assert rooms - {"templates", "recipes", "__pycache__"} == floors.keys()
    for path in folder.rglob("*.py"):
        room = path.relative_to(folder).parts[0].removesuffix(".py")
        below = {name.split(".")[1] for name in imports_of(path) if name.startswith(f"{package}.")}
        for other in below - {room}:
            assert floors[other] > floors.get(room, -1), (path, other)


@pytest.mark.parametrize("package", ALLOWED)
def test_package_is_the_one_of_this_repository(package: str) -> None:
    """The names are plain: another `trainer` on the path would win silently."""
    assert Path(importlib.import_module(package).__file__).parent == REPOSITORY / package


@pytest.mark.parametrize(
    "module",
    [
        "cli.animals",
        "data_prep.build",
        "data_prep.shards",  # Each worker process imports it.
        "data_prep.inspection",  # So does each of the verifier's.
        "data_prep.verify",
        "launch.run",
        "launch.logs",
        "trainer.distribute.cluster",
        "trainer.config",
        "trainer.model.backbone",
        "trainer.model.weights",
        "trainer.main",
        "trainer.evaluate",
        "trainer.predict",
        "trainer.explain",
        "trainer.serve",
        "trainer.crossval",
        "trainer.tune",
        "trainer.tuning.worker",  # Each worker process imports it.
        "trainer.export",
    ],
)
def test_module_starts_without_tensorflow(module: str) -> None:
    code = f"import sys, {module}; print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True
    )
    assert done.stdout.split() == ["False", "False"]
