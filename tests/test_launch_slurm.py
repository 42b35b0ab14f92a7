"""A launch on a real Slurm: preempted, robbed of a node, failing, and as an array."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_prep.build import build
from data_prep.config import BuildConfig
from tests.support import coco_folder, miniature
from tests.support.slurm import Cluster
from tests.test_train import figures_of, weights_of
from tfrecords.manifest import read_manifest


def launched(cluster: Cluster, *arguments: str) -> list[str]:
    """Submits through launch.run; returns the ids of the jobs."""
    done = miniature.python(
        "launch.run", "--backend=slurm", "--cpus=1", "--time_limit=5", *arguments,
        SLURM_CONF=cluster.environment["SLURM_CONF"],
        PYTHONPATH=f"{miniature.AS_MINIATURE}:{miniature.REPOSITORY}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [line.split()[-1] for line in done.stdout.splitlines() if "batch job" in line]


def logs(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("*.log"))


def wait_until(condition: Callable[[], bool], folder: Path, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, logs(folder)
        time.sleep(0.05)


def newest_step(workdir: Path) -> int:
    return max((int(p.stem[5:]) for p in workdir.glob("checkpoints/step-*.npz")), default=0)


def test_two_nodes_through_preemption_and_a_lost_node_end_at_the_weights_of_one_process(
    slurm_cluster: Cluster,
    dataset: Path,
    long_run: Path,
    long_recipe: tuple[str, ...],
    tmp_path: Path,
) -> None:
    workdir, folder = tmp_path / "run", tmp_path / "job"
    [job] = launched(
        slurm_cluster, "--num_nodes=2", "--gpus=0", f"--write_to={folder}",
        "--", f"--data_dir={dataset}", f"--workdir={workdir}", *long_recipe,
    )  # fmt: skip

    def goes_on_from(step: int) -> None:
        """Slurm holds a requeued job back for two minutes, of which two seconds do here."""
        # A node that comes back has nothing left of the job; this one was only said to be lost.
        wait_until(lambda: not slurm_cluster.processes_of(job), folder)
        slurm_cluster.wait_for_nodes()
        # A node refuses a job whose last start was revoked in the same second.
        slurm_cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now+2")
        wait_until(lambda: newest_step(workdir) > step, folder)

    wait_until(lambda: newest_step(workdir) > 0, folder)
    slurm_cluster.run("scancel", "--signal=TERM", job)
    wait_until(lambda: slurm_cluster.states(job) == ["PENDING"], folder)
    preempted_at = newest_step(workdir)
    assert logs(folder).count(f"a checkpoint of step {preempted_at} is written") == 2

    goes_on_from(preempted_at)
    slurm_cluster.run("scontrol", "update", "NodeName=127.0.0.2", "State=DOWN", "Reason=test")
    wait_until(lambda: slurm_cluster.states(job) == ["PENDING"], folder)
    goes_on_from(newest_step(workdir))
    assert slurm_cluster.wait(job) == ["COMPLETED"], logs(folder)
    assert f"starting at step {preempted_at}." in logs(folder)

    for one, two in zip(weights_of(long_run), weights_of(workdir), strict=True):
        np.testing.assert_array_equal(two, one)
    assert figures_of(workdir) == figures_of(long_run)


def test_run_that_fails_is_not_queued_again(slurm_cluster: Cluster, tmp_path: Path) -> None:
    [job] = launched(
        slurm_cluster, "--gpus=0", f"--write_to={tmp_path}/job",
        "--", f"--data_dir={tmp_path}/none", f"--workdir={tmp_path}/run",
    )  # fmt: skip
    assert slurm_cluster.wait(job) == ["FAILED"]
    assert "The trainer ended with exit code 1" in logs(tmp_path / "job")


def test_array_builds_the_bytes_of_one_build(slurm_cluster: Cluster, tmp_path: Path) -> None:
    coco = coco_folder.write(tmp_path / "coco", coco_folder.instances(40))
    whole = build(
        BuildConfig(
            data_dir=str(tmp_path / "whole"), source="coco", coco_dir=str(coco),
            classes=coco_folder.CLASSES, num_workers=1,
        )
    )  # fmt: skip
    jobs = launched(
        slurm_cluster, "--build_tasks=3", f"--write_to={tmp_path}/job",
        "--", "--source=coco", f"--coco_dir={coco}", "--classes=cat,dog",
        f"--data_dir={tmp_path}/data",
    )  # fmt: skip
    states = [state for job in jobs for state in slurm_cluster.wait(job)]
    assert states == ["COMPLETED"] * 4, logs(tmp_path / "job")
    assert read_manifest(tmp_path / "data").digest == whole.digest


def test_array_that_is_stopped_is_not_queued_again(slurm_cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / """it's "a" #1 50%"""  # sbatch writes the logs there, too.
    builder = tmp_path / "python"
    builder.write_text(
        "#!/bin/bash\ntrap 'exit 42' TERM\necho begun\nwhile sleep 0.1; do :; done\n"
    )
    builder.chmod(0o755)
    array, last = launched(
        slurm_cluster, "--build_tasks=2", f"--write_to={folder}", f"--python={builder}",
        "--name=stopped", "--", f"--data_dir={tmp_path}/data", f"--coco_dir={tmp_path}/coco",
    )  # fmt: skip
    wait_until(lambda: logs(folder).count("begun") == 2, folder)
    # Told to stop by Slurm itself it goes on later: it is still its job that runs.
    slurm_cluster.run("scancel", "--signal=TERM", "--full", array)
    wait_until(lambda: slurm_cluster.states(array) == ["PENDING"] * 2, folder)
    slurm_cluster.run("scontrol", "update", f"JobId={array}", "StartTime=now+2")
    wait_until(lambda: logs(folder).count("begun") == 4, folder)

    stop = miniature.python(
        "launch.stop", f"--job_dir={folder}", SLURM_CONF=slurm_cluster.environment["SLURM_CONF"]
    )
    assert stop.returncode == 0, stop.stderr
    states = [*slurm_cluster.wait(array), *slurm_cluster.wait(last)]
    assert states == ["CANCELLED"] * 3, logs(folder)
