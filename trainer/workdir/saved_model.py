"""The file `model.keras` of a run."""

import keras

from trainer.workdir.files import Workdir, read_json


def load_model(workdir: Workdir) -> keras.Model:
    """Loads the trained model of a run; its input's shape says what size of photograph it takes.

    Raises:
        ValueError: if the run has none yet, or one of other classes than it says.
    """
    workdir.require_model()
    model = keras.models.load_model(str(workdir.model), compile=False)
    num_outputs, num_classes = model.output_shape[-1], len(read_json(workdir.classes))
    if num_outputs != num_classes:
        raise ValueError(
            "The model and the names of its classes do not belong together. Received: "
            f"{workdir.model} with {num_outputs} outputs, {workdir.classes.name} with "
            f"{num_classes} names. Put the run's own files back."
        )
    return model
