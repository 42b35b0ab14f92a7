"""What the figures of docs/benchmarks.md are made with."""

import trainer  # noqa: F401  # Before TensorFlow, which it tells how to compute.
