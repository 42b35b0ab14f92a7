"""An export, from the run to the folder: what can be wrong is said before TensorFlow is loaded."""

import sys

from tfrecords.shard_cache import ShardCache
from trainer import checks, keras_settings
from trainer.exporting import extra, photographs
from trainer.exporting.config import ExportConfig
from trainer.exporting.folder import new_folder
from trainer.workdir.files import Workdir


def export(config: ExportConfig) -> str:
    """Writes the formats into the new folder, and returns the table of what they are.

    Each is opened in its own runtime on every photograph that the run was validated on. Where one
    of them answers differently, nothing is left.

    Raises:
        ValueError: if there is no such run or dataset, if the output is there already, or if an
            artefact does not answer as the trained model does.
        RuntimeError: if the extra is not installed.
        OSError: if the disk is full.
    """
    extra.require(config.formats)
    files = Workdir.reading(config.workdir)
    checks.check_trained(files)
    cache = ShardCache(config.data_cache, config.data_cache_gib)
    data = photographs.find(files, config.data_dir, cache)
    with new_folder(config.output) as folder:
        _say("Loading TensorFlow and the model ...")
        keras_settings.import_keras(find_devices=True)
        from trainer.exporting.artefacts import Artefacts

        artefacts = Artefacts(files, data, _say)
        for name in config.formats:
            artefacts.write(
                name,
                folder / name if config.format == "all" else folder,
                quantize=config.quantizes(name),
                tolerance=config.tolerance_of(name),
            )
    _say(f"Written to {config.output}.")
    return artefacts.table()


def _say(line: str) -> None:
    """Prints on stderr: stdout holds the table alone."""
    print(line, file=sys.stderr, flush=True)
