"""Recipes: flags that ship with the trainer, and that flags beside them win over."""

import dataclasses
from pathlib import Path

import pytest
from absl import flags

from cli import recipes
from cli.flags import define
from trainer.config import RECIPES, TrainConfig


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small.flags").write_text("# Words.\n--size=1\n--nofast\n")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "expanded"),
    [
        (["--size=3"], ["--size=3"]),
        (["--size=3", "--recipe=small"], ["--size=1", "--nofast", "--size=3", "--recipe=small"]),
        (["--recipe", "small"], ["--size=1", "--nofast", "--recipe", "small"]),
        (["--recipe=none_such"], ["--recipe=none_such"]),
        (["--", "--recipe=small"], ["--", "--recipe=small"]),
    ],
)
def test_recipe_stands_before_all_flags(
    given: list[str], expanded: list[str], folder: Path
) -> None:
    assert recipes.expand(given, folder) == expanded


def config_of(*arguments: str) -> TrainConfig:
    values = flags.FlagValues()
    define(TrainConfig, values)
    paths = ("--data_dir=d", "--workdir=w")
    values(["trainer.main", *recipes.expand([*paths, *arguments], RECIPES)])
    return TrainConfig(**{f.name: values[f.name].value for f in dataclasses.fields(TrainConfig)})


def test_seed_recipe_is_the_defaults() -> None:
    plain = TrainConfig(data_dir="d", workdir="w")
    assert config_of("--recipe=seed") == dataclasses.replace(plain, recipe="seed")
    assert config_of("--recipe=seed").settings() == plain.settings()


def test_flag_beside_a_recipe_wins() -> None:
    best = config_of("--recipe=best")
    assert best.head_init == "logistic"
    assert best.input_size > 224
    assert config_of("--input_size=224", "--recipe=best").input_size == 224


def test_every_recipe_can_be_named_and_every_name_has_one() -> None:
    named = [option for option in ("seed", "best") if (RECIPES / f"{option}.flags").exists()]
    assert sorted(path.stem for path in RECIPES.glob("*.flags")) == sorted(named)
