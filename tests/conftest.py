"""Fixtures: the real photographs where they are, and a small drawn dataset."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photographs and weights beside the project."""
    path = Path(__file__).parents[2] / "shared"
    if not path.is_dir():
        pytest.skip("needs ../shared, which is not here")
    return path


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 drawn animals as shards: 41 for training, 9 for validation."""
    from data_prep.build import build
    from data_prep.config import BuildConfig

    data_dir = tmp_path_factory.mktemp("dataset")
    build(
        BuildConfig(
            data_dir=str(data_dir), synthetic_images=50, label_policy="largest", num_workers=1
        )
    )
    return data_dir
