"""From shards to a trained, evaluated, saved model."""
