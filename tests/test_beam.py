"""Apache Beam builds the same bytes as this machine's own processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import coco_folder, miniature
from tfrecords.manifest import read_manifest

SEVERAL = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")


def build(coco: Path, data_dir: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return miniature.python(
        "data_prep.build", "--source=coco", f"--coco_dir={coco}", f"--data_dir={data_dir}",
        "--classes=cat,dog", *flags,
    )  # fmt: skip


@pytest.mark.parametrize("beam_args", [(), SEVERAL])
def test_beam_writes_the_same_bytes(beam_args: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("apache_beam", reason="needs the extra [beam]")
    coco = coco_folder.write(tmp_path / "coco", coco_folder.instances(40))
    assert build(coco, tmp_path / "local", "--num_workers=1").returncode == 0
    beam = ("--runner=beam", f"--beam_args={','.join(beam_args)}")
    done = build(coco, tmp_path / "beam", *beam)
    assert done.returncode == 0, done.stderr
    local, other = read_manifest(tmp_path / "local"), read_manifest(tmp_path / "beam")
    assert other.digest == local.digest
    assert other.counts == local.counts
    shard = tmp_path / "beam" / local.shards[0].file
    stamp = shard.stat().st_mtime_ns
    (tmp_path / "beam" / local.shards[1].file).unlink()
    assert build(coco, tmp_path / "beam", *beam).returncode == 0
    assert read_manifest(tmp_path / "beam").digest == local.digest
    assert shard.stat().st_mtime_ns == stamp  # Beam's workers too trust what is finished.


@pytest.mark.parametrize("beam_args", [(), SEVERAL])
def test_failure_in_beam_ends_with_the_reason(beam_args: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("apache_beam", reason="needs the extra [beam]")
    coco = coco_folder.write(tmp_path / "coco")
    data_dir = tmp_path / "data"
    for number in range(8):  # A folder in the way of a shard, whatever shard that is.
        (data_dir / f"coco_animals-train.tfrecord-{number:05d}-of-00008").mkdir(parents=True)
    done = build(coco, data_dir, "--runner=beam", f"--beam_args={','.join(beam_args)}")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: Beam's pipeline failed. Received: ")
    assert str(data_dir / "coco_animals-train") in last
    assert "directory" in last
    assert not (data_dir / "manifest.json").exists()


def test_missing_beam_says_how_to_install_it(tmp_path: Path) -> None:
    coco = coco_folder.write(tmp_path / "coco")
    without = "import sys; sys.modules['apache_beam'] = None; from data_prep.build import run; "
    done = subprocess.run(
        [
            *(sys.executable, "-c", f"{without} run()", "--runner=beam", "--classes=cat,dog"),
            *("--source=coco", f"--coco_dir={coco}", f"--data_dir={tmp_path / 'data'}"),
        ],
        capture_output=True, text=True, env=miniature.environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "needs Apache Beam" in line
    assert "pip install -e '.[beam]'" in line
