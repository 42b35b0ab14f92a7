"""After a launch: the backend's own commands, run by name. The backends are scripts that tell."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from cli.command import FlagsError
from launch import planning
from launch.config import LaunchConfig
from tests.support.miniature import python

BUCKET = ("--data_dir=gs://b/data", "--workdir=gs://b/runs/first")
GROUPS = "gcloud compute instance-groups managed"
PODS = "--namespace=lab --selector=jobset.sigs.k8s.io/jobset-name=animals-first"
# What each command runs, for a job of each backend; %s is the folder of its files.
CASES = [
    ("gcp", {"spot": True}, {
        "logs": ["gcloud storage cat gs://b/runs/first.launch/startup.log"],
        "status": [f"{GROUPS} list-instances animals-first --zone=us-central1-a"],
        "stop": [f"{GROUPS} delete animals-first --zone=us-central1-a --quiet",
                 "gcloud compute instance-templates delete animals-first --quiet"],
    }),
    ("gcp", {"zone": "z", "project": "p"}, {
        "logs": ["gcloud storage cat gs://b/runs/first.launch/startup.log"],
        "status": ["gcloud compute instances list --filter=name=animals-first --project=p"],
        "stop": ["gcloud compute instances delete animals-first --zone=z --project=p --quiet"],
    }),
    ("gcp", {"when_done": "stop"}, {
        "stop": ["gcloud compute instances stop animals-first --zone=us-central1-a --quiet"],
    }),
    ("sky", {}, {
        "logs": ["sky jobs logs --name=animals-first"],
        "status": ["sky jobs queue"],
        "stop": ["sky jobs cancel --yes --name=animals-first"],
    }),
    ("slurm", {}, {
        "logs": ["tail -n 1000 -F %s/animals-first-*.log"],
        "status": ["squeue --me --name=animals-first --states=all"],
        "stop": ["scancel --me --name=animals-first"],
    }),
    ("k8s", {"image": "i", "namespace": "lab", "num_nodes": 2}, {
        "logs": [f"kubectl logs --follow --prefix --max-log-requests=2 --tail=1000 {PODS}"],
        "status": ["kubectl get jobset animals-first --namespace=lab",
                   f"kubectl get pods --output=wide {PODS}"],
        "stop": ["kubectl patch jobset animals-first --namespace=lab --type=merge "
                 "--patch={\"spec\": {\"suspend\": true}}"],
    }),
]  # fmt: skip


@pytest.fixture
def clients(tmp_path: Path) -> Path:
    """A PATH whose backends say how they were called; with a file `fails` they then fail."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("gcloud", "sky", "tail", "squeue", "scancel", "kubectl"):
        client = folder / name
        client.write_text(f'#!/bin/sh\necho "{name} $*"\ntest ! -e {tmp_path}/fails\n')
        client.chmod(0o755)
    return folder


def submitted(folder: Path, backend: str, **options: object) -> None:
    """Writes the files of a job, as its submission does."""
    config = LaunchConfig(backend=backend, write_to=str(folder), **options)
    planning.plan(config, BUCKET).write()
    (folder / "animals-first-7.log").touch()


def after(verb: str, *flags: str, path: Path | str) -> subprocess.CompletedProcess[str]:
    return python(f"launch.{verb}", *flags, PATH=f"{path}:{os.environ['PATH']}")


@pytest.mark.parametrize(("backend", "options", "commands"), CASES)
def test_commands_are_those_of_the_backend(
    backend: str, options: dict, commands: dict[str, list[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "job"
    submitted(folder, backend, **options)
    record = json.loads((folder / "job.json").read_text())
    assert (record["name"], record["backend"]) == ("animals-first", backend)
    for verb, expected in commands.items():
        kept = [" ".join(shlex.split(command)) for command in record[verb]]
        assert kept == [command.replace("%s", str(folder)) for command in expected]


def test_command_is_printed_run_and_found_by_name(
    clients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(tmp_path / "jobs/animals-first", "slurm")
    monkeypatch.chdir(tmp_path)
    said = f"tail -n 1000 -F {tmp_path}/jobs/animals-first/animals-first-7.log"
    shown = after("logs", "--name=animals-first", "--dry_run", path=clients)
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, f"{said}\n", "")
    done = after("logs", "--name=animals-first", path=clients)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{said}\n", f"+ {said}\n")


def test_failure_of_one_command_keeps_none_of_the_others_back(
    clients: Path, tmp_path: Path
) -> None:
    submitted(tmp_path / "job", "gcp", spot=True)
    (tmp_path / "fails").touch()
    done = after("stop", f"--job_dir={tmp_path}/job", path=clients)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2
    *_, error = done.stderr.splitlines()
    assert error.startswith("Error: `gcloud compute instance-groups managed delete animals-first")
    assert "ended with 1 and the lines above" in error


@pytest.mark.parametrize(
    ("verb", "flags", "code", "says"),
    [
        ("logs", (), 2, "--name says which job, or --job_dir where its files are."),
        ("logs", ("--name=Animals",), 2, "lower-case letters"),
        ("stop", ("--name=none",), 2, "job.json, which is not there."),
        ("stop", ("--name=none",), 2, "Here are: animals-first."),
        ("status", ("--name=other", "--job_dir=jobs/animals-first"), 2, "another job's"),
        ("status", ("--job_dir=broken",), 1, "is not what launch.run wrote"),
        ("status", ("--name=animals-first",), 1, "no squeue on the PATH"),
        ("logs", ("--name=animals-first",), 1, "The job has said nothing yet"),
        ("logs", ("--name=animals-first", "more"), 2, "Only flags are taken"),
    ],
)
def test_one_line_and_the_right_code(
    verb: str, flags: tuple[str, ...], code: int, says: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    submitted(tmp_path / "jobs/animals-first", "slurm")
    (tmp_path / "jobs/animals-first/animals-first-7.log").unlink()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/job.json").write_text('{"name": 3}')
    monkeypatch.chdir(tmp_path)
    done = python(f"launch.{verb}", *flags, PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: ")


SAME = {  # The same run or dataset, in two spellings; and another one.
    "gcp": ("gs://b/runs/first", "gs://b/runs/first/", "gs://c/runs/first"),
    "sky": ("gs://b/runs/first", "gs://b/runs/first/", "gs://c/runs/first"),
    "slurm": ("runs/first", "{here}/runs/first/", "/elsewhere/runs/first"),
    "k8s": ("/m/runs/first", "/m/runs/first/", "/m/others/first"),
}


@pytest.mark.parametrize("backend", SAME)
def test_another_run_does_not_take_the_place_of_a_job_of_the_same_name(
    backend: str, tmp_path: Path
) -> None:
    def write(workdir: str, *flags: str) -> None:
        image = {"image": "r/i:1"} if backend == "k8s" else {}
        config = LaunchConfig(backend=backend, write_to=str(tmp_path), **image)
        given = [f"--workdir={workdir}", *flags]
        data = "/m/data" if backend == "k8s" else "gs://b/data"
        planning.plan(config, [f"--data_dir={data}", *given]).write()

    first, again, other = (path.format(here=Path.cwd()) for path in SAME[backend])
    write(first)
    write(again, "--epochs=3")  # As it goes on.
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    with pytest.raises(FlagsError, match=rf"runs/first\. Received: a job that writes {other}"):
        write(other)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
