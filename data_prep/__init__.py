"""From photographs with annotations to sharded TFRecords."""
