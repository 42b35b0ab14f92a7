import dataclasses
import re

import pytest

from data_prep.config import BuildConfig
from trainer.config import TrainConfig

SEED_RECIPE = {
    "batch_size": 32, "epochs": 20, "learning_rate": 1e-4, "optimizer": "sgd",
    "backbone": "vgg16", "freeze_layers": 15, "head": "flatten", "weights": "imagenet",
    "freeze_until": None,
    "seed": 0, "deterministic": False,
    "learning_rate_schedule": "constant", "warmup_epochs": 0.0, "early_stopping_patience": None,
    "weight_decay": None, "label_smoothing": 0.0, "class_weights": "none", "augment": "none",
    "mixup": 0.0, "cutmix": 0.0, "data_ram_mib": 2048,
    "cache_dtype": None, "cache_views": None, "precision": "float32", "input_size": 224,
    "fold": None, "fold_seed": 0,
    "fit": "crop", "object_crops": False, "test_views": "1", "cache_maps": False,
    "head_units": 256, "dropout": 0.5, "feature_norm": "none", "head_init": "random",
    "unfreeze": None, "layer_decay": 1.0, "ema": None, "lr_scaling": "none", "init_from": None,
    "calibration": "temperature",
}  # fmt: skip


LOGISTIC = {"head_init": "logistic", "head_units": 0}


def test_defaults_are_the_seeds_recipe() -> None:
    assert TrainConfig(data_dir="d", workdir="w").settings() == SEED_RECIPE


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"microbatch_size": "0"}, "microbatch_size='0'"),
        ({"microbatch_size": ""}, "microbatch_size=''"),
        ({"microbatch_size": "half"}, "microbatch_size='half'"),
        ({"epochs": 0}, "epochs=0"),
        ({"num_gpus": -1}, "num_gpus=-1"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"freeze_layers": -1}, "freeze_layers=-1"),
        (
            {"freeze_layers": 15, "freeze_until": "block5_conv1"},
            "freeze_until=block5_conv1, freeze_layers=15. Leave one out.",
        ),
        ({"head": "attention"}, "head='attention'"),
        ({"optimizer": "lion"}, "optimizer='lion'"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0"),
        ({"class_weights": "inverse"}, "class_weights='inverse'"),
        ({"augment": "cutout"}, "augment='cutout'"),
        ({"mixup": -0.1}, "mixup=-0.1"),
        ({"cutmix": float("inf")}, "cutmix=inf"),
        ({"data_ram_mib": 0}, "data_ram_mib=0"),
        ({"mixup": 0.2, "batch_size": 3, "num_gpus": 0}, "num_replicas=1. Use 4."),
        ({"profile_steps": "10"}, "profile_steps='10'"),
        ({"profile_steps": "0:5"}, "profile_steps='0:5'"),
        ({"profile_steps": "20:10"}, "as in 10:20. Received: profile_steps='20:10'"),
        ({"on_nan": "ignore"}, "on_nan='ignore'"),
        ({"cache_features": "maybe"}, "cache_features='maybe'"),
        ({"cache_dtype": "int8", "cache_features": "on"}, "cache_dtype='int8'"),
        (
            {"cache_dtype": "bfloat16"},
            "cache_dtype=bfloat16, cache_views=None, cache_features=auto",
        ),
        ({"cache_views": 2, "augment": "full"}, "cache_views=2, cache_features=auto"),
        ({"cache_views": 2, "cache_features": "on"}, "cache_views=2, augment=none"),
        ({"precision": "float16"}, "precision='float16'"),
        ({"seed": -1}, "seed=-1"),
        ({"fold": "0/5"}, "counted from 1, as in 3/5. Received: fold='0/5'"),
        ({"fold": "6/5"}, "fold='6/5'"),
        ({"fold": "1/1"}, "fold='1/1'"),
        ({"fold": "3"}, "fold='3'"),
        ({"fold_seed": 1}, "fold_seed goes with --fold. Received: fold_seed=1, fold=None"),
        ({"fit": "stretch"}, "fit='stretch'"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"head_init": "logistic"}, "head_init=logistic, head_units=256. Add --head_units=0"),
        ({"head": "places"}, "head=places, head_init=random"),
        ({**LOGISTIC, "cache_features": "off"}, "cache_features=off. Leave --cache_features out"),
        ({**LOGISTIC, "mixup": 0.2}, "no image is seen twice. Received: mixup=0.2"),
        ({**LOGISTIC, "augment": "full"}, "augment=full. Leave them out"),
        ({"object_crops": True, "augment": "full"}, "whose crops know no boxes"),
        ({"learning_rate_schedule": "linear"}, "learning_rate_schedule='linear'"),
        ({"warmup_epochs": -0.5}, "warmup_epochs=-0.5"),
        ({"warmup_epochs": 3.0, "epochs": 3}, "less than the 3 epochs. Received: warmup_epochs=3"),
        ({"early_stopping_patience": 0}, "early_stopping_patience=0"),
        ({"keep_checkpoints": 0}, "keep_checkpoints=0"),
        (
            {"jit_compile": True, "deterministic": True},
            "jit_compile does not go with deterministic",
        ),
        ({"cpu_replicas": 2}, "cpu_replicas goes with --num_gpus=0"),
        ({"cpu_replicas": 3, "num_gpus": 0}, "num_replicas=3. Use 30."),
        ({"cpu_replicas": 64, "num_gpus": 0}, "num_replicas=64. Use 64."),
    ],
)
def test_wrong_option_is_named_with_what_was_received(options, says) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        TrainConfig(data_dir="d", workdir="w", **options)


def test_machine_may_change_on_resume_and_the_recipe_may_not() -> None:
    config = TrainConfig(data_dir="d", workdir="w")
    elsewhere = dataclasses.replace(
        config,
        data_dir="e",
        workdir="v",
        num_gpus=0,
        cpu_replicas=2,
        checkpoint_every=5,
        keep_checkpoints=1,
        profile_steps="10:20",
        dry_run=True,
    )
    assert elsewhere.settings() == config.settings()
    assert dataclasses.replace(config, weights="a/path.h5").settings() == config.settings()
    for other in ({"learning_rate": 1e-3}, {"weights": "none"}, {"epochs": 21}):
        assert dataclasses.replace(config, **other).settings() != config.settings()


@pytest.mark.parametrize(
    "config",
    [TrainConfig(data_dir="d", workdir="w"), BuildConfig(data_dir="d", source="synthetic")],
)
def test_config_cannot_be_changed_after_it_was_checked(config) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1


@pytest.mark.parametrize(
    ("workdir", "data_dir", "is_refused"),
    [
        ("data", "data", True),
        ("data/", "./data", True),
        ("data/run", "data", True),
        ("a/../data/run", "data", True),
        ("link/run", "data", True),
        ("data", "link", True),
        ("gs://b/data/", "gs://b/data", True),
        ("gs://b/data/run", "gs://b/data", True),
        ("data_2", "data", False),
        ("run", "run/data", False),  # No file of a run has the name of a folder of data.
        ("gs://b/data_2", "gs://b/data", False),
        ("data", "gs://b/data", False),
    ],
)
def test_run_does_not_go_among_the_files_of_its_dataset(
    workdir: str, data_dir: str, is_refused: bool, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("data")
    if is_refused:
        with pytest.raises(ValueError, match="must not go among the files of its dataset"):
            TrainConfig(data_dir=data_dir, workdir=workdir)
    else:
        TrainConfig(data_dir=data_dir, workdir=workdir)
