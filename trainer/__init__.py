"""From shards to a trained, evaluated, saved model."""

import os
import platform

# TensorFlow computes with oneDNN on some x86 processors and with Eigen on older ones, where it is
# slower and a photograph's numbers depend on its place in the batch. It reads this as it starts.
if platform.machine() in ("x86_64", "AMD64"):
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
