"""What an export needs beside the trainer, asked for before the work."""

import importlib.util
from collections.abc import Iterable

# The packages of the extra [export] that a format is written and opened with.
_PACKAGES = {
    "savedmodel": (),
    "onnx": ("tf2onnx", "onnxruntime"),
    "litert": ("ai_edge_litert",),
}


def require(formats: Iterable[str]) -> None:
    """Refuses to go on without what the formats are written and opened with.

    Raises:
        RuntimeError: if a package is not installed.
    """
    for format_name in formats:
        for package in _PACKAGES[format_name]:
            if importlib.util.find_spec(package) is None:
                raise RuntimeError(
                    f"--format={format_name} needs {package}, which comes with the extra "
                    "[export]. Received: an install without it. Install it with "
                    "`pip install -e '.[export]'`."
                )
