"""What the README's figures are made with."""

import trainer  # noqa: F401  # Before TensorFlow, which it tells how to compute.
