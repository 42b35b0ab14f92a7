"""What converters and runtimes print whatever happens, kept back; --verbosity=1 shows it."""

import contextlib
import warnings
from collections.abc import Iterator

from absl import logging

from cli import startup

# Of LiteRT's converter and its runtime, in C++.
_ALWAYS = r"fully_quantize: |INFO: Created TensorFlow Lite |INFO: Applying \d+ TensorFlow Lite "


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Lets errors through alone."""
    verbosity = logging.get_verbosity()
    if verbosity >= logging.DEBUG:
        yield
        return
    logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"), startup.hiding(_ALWAYS):
            yield
    finally:
        logging.set_verbosity(verbosity)
