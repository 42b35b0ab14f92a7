"""Heads that one process trains on features that stay: what a run of the trainer would measure."""

import json
from pathlib import Path

import pytest

from tests.support import miniature
from tests.support.miniature_backbone import MINIATURE

SHARED = (
    "--weights=none", "--num_gpus=0", "--batch_size=8", "--fold_seed=1000", "--cache_features=on",
    "--cache_maps", "--augment=flip", "--test_views=flip",
)  # fmt: skip
