"""Transfer learning: from shards to a trained, evaluated, saved model."""

from trainer import workarounds

workarounds.use_onednn()  # TensorFlow reads it as it starts, whoever imports it.
