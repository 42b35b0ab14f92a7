"""Training runs of the miniature in which memory holds no more than some images at once.

`python tests/support/hungry.py IMAGES,... FLAGS`: a number for each worker. More at once end in
the error that TensorFlow's allocators give, without the 10 seconds that the one for CPUs waits
before.
"""

import json
import os
import sys
from typing import Any

from tests.support import miniature


def _limit(most: int) -> None:
    import tensorflow as tf

    from trainer.numerics.reproducible_model import ReproducibleModel

    gradient = ReproducibleModel._gradient

    def allocate(images: Any) -> Any:
        raise MemoryError("OOM when allocating tensor")

    def hungry(self: Any, images: tf.Tensor, *others: Any) -> Any:
        if images.shape[0] > most:
            shape = images.shape
            images = tf.ensure_shape(tf.numpy_function(allocate, [images], images.dtype), shape)
        return gradient(self, images, *others)

    ReproducibleModel._gradient = hungry


if __name__ == "__main__":
    most_by_rank = [int(most) for most in sys.argv.pop(1).split(",")]
    rank = json.loads(os.environ.get("TF_CONFIG", '{"task": {"index": 0}}'))["task"]["index"]
    miniature.run(lambda: _limit(most_by_rank[rank]))
