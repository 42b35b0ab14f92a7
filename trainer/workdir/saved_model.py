"""The file `model.keras` of a run."""

import keras

from trainer.workdir.files import Workdir, read_json
from trainer.workdir.mirror import shown


def load_model(workdir: Workdir) -> keras.Model:
    """Loads the trained model of a run; its input's shape says what size of photograph it takes.

    Raises:
        ValueError: if the run has none yet, a damaged one, or one of other classes than it says.
    """
    workdir.require_model()
    try:
        model = keras.models.load_model(str(workdir.model), compile=False, safe_mode=True)
    except Exception as error:  # Of a damaged file, or of layers that are not Keras's, many kinds.
        said = " ".join(str(error).split())[:200]
        raise ValueError(
            f"The trained model cannot be read: {said}. Received: {shown(workdir.model)}. Put a "
            "copy of it back; or remove it and start the run's training command again, which "
            "writes it from the last checkpoint."
        ) from error
    num_outputs, num_classes = model.output_shape[-1], len(read_json(workdir.classes))
    if num_outputs != num_classes:
        raise ValueError(
            "The model and the names of its classes do not belong together. Received: "
            f"{shown(workdir.model)} with {num_outputs} outputs, {workdir.classes.name} with "
            f"{num_classes} names. Put the run's own files back."
        )
    return model
