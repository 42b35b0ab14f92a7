"""With this folder on PYTHONPATH, `python -m trainer.main` trains the miniature.

Python imports a module of this name at its start. It is for commands that tests do not write
themselves, also of a trainer that is installed elsewhere.
"""

import contextlib
import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location(
    "miniature_backbone", Path(__file__).parents[1] / "miniature_backbone.py"
)
_miniature = importlib.util.module_from_spec(_spec)
with contextlib.suppress(ModuleNotFoundError):  # The trainer is installed later.
    _spec.loader.exec_module(_miniature)
    from trainer.model import backbone

    backbone._BACKBONES["vgg16"] = _miniature.MINIATURE
