"""A build as a Slurm array: each task builds its share, a last job completes the dataset."""

import sys
from pathlib import Path

from data_prep.build import build
from data_prep.config import BuildConfig
from tests import coco_folder
from tests.miniature import REPOSITORY
from tests.slurm import Cluster
from tfrecords.manifest import read_manifest


def test_slurm_array_makes_the_bytes_of_one_build(slurm_cluster: Cluster, tmp_path: Path) -> None:
    coco = coco_folder.write(tmp_path / "coco", coco_folder.instances(40))
    of_both = {"source": "coco", "coco_dir": str(coco), "classes": coco_folder.CLASSES}
    whole = build(BuildConfig(data_dir=str(tmp_path / "whole"), num_workers=1, **of_both))
    data_dir = tmp_path / "data"
    command = (
        f"cd {REPOSITORY} && {sys.executable} -m data_prep.build --source=coco --coco_dir={coco} "
        f"--classes=cat,dog --data_dir={data_dir} --num_tasks=3 --num_workers=1"
    )
    log = f"--output={tmp_path}/log.%A.%a"
    tasks = slurm_cluster.submit(
        "--array=0-2", log, f"--wrap={command} --task_index=$SLURM_ARRAY_TASK_ID"
    )
    last = slurm_cluster.submit(
        f"--dependency=afterok:{tasks}", log, f"--wrap={command} --commit_only"
    )
    states = [*slurm_cluster.wait(tasks), *slurm_cluster.wait(last)]
    assert states == ["COMPLETED"] * 4, [p.read_text() for p in tmp_path.glob("log.*")]
    assert read_manifest(data_dir).digest == whole.digest
