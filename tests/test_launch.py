"""What a launch would submit, read by the programs that it is for; nothing is submitted here."""

import dataclasses
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from cli.command import FlagsError
from cli.flags import options_of
from data_prep.config import BuildConfig
from launch import planning, source
from launch.config import BACKENDS_BY_OPTION, LaunchConfig
from launch.job import Job
from tests.support.miniature import REPOSITORY, python
from trainer.config import TrainConfig
from trainer.distribute.cluster import find_cluster

BACKENDS = options_of(LaunchConfig)["backend"].choices
BUCKET = ("--data_dir=gs://b/data", "--workdir=gs://b/runs/first")
IMAGE = "registry.example/animals:1"
TRICKY = '--weights=gs://b/it\'s a "$HOME" `file`.h5'


def planned(backend: str, *flags: str, **options: object) -> Job:
    if backend == "k8s":
        options = {"image": IMAGE, **options}
    return planning.plan(LaunchConfig(backend=backend, **options), flags or BUCKET)


BUILD = ("--data_dir=d", "--coco_dir=c")


def command_of(job: Job, *start: str) -> list[str]:
    [command] = [list(c) for c in job.commands if c[: len(start)] == start]
    return command


@pytest.mark.parametrize("backend", BACKENDS)
def test_dry_run_prints_files_and_commands_and_writes_nothing(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    needed = [f"--image={IMAGE}"] if backend == "k8s" else []
    done = python(
        "launch.run", f"--backend={backend}", "--dry_run", *needed, "--", *BUCKET, "--epochs=3"
    )
    assert (done.returncode, done.stderr) == (0, "")
    job = planned(backend, *BUCKET, "--epochs=3", dry_run=True)
    assert done.stdout == job.describe()
    for content in job.files.values():
        assert content in done.stdout
    assert not list(tmp_path.iterdir())


def test_written_files_are_what_is_printed_and_submitted(tmp_path: Path) -> None:
    clients = tmp_path / "bin"
    clients.mkdir()
    sbatch = clients / "sbatch"
    sbatch.write_text(f'#!/bin/sh\ncp "$1" {tmp_path}/submitted\n')
    sbatch.chmod(0o755)
    arguments = ("--backend=slurm", f"--write_to={tmp_path}/job", "--", "--data_dir=d",
                 "--workdir=w")  # fmt: skip
    path = f"{clients}:{os.environ['PATH']}"
    assert python("launch.run", "--dry_run", *arguments, PATH=path).returncode == 0
    assert not (tmp_path / "submitted").exists()
    script = tmp_path / "job" / "train.sbatch"
    printed = script.read_text()
    assert python("launch.run", *arguments, PATH=path).returncode == 0
    assert (tmp_path / "submitted").read_text() == script.read_text() == printed
    # What a user has edited is submitted by the script beside it.
    script.write_text(printed + "# edited\n")
    subprocess.run(["bash", tmp_path / "job" / "submit.sh"], check=True, env={"PATH": path})
    assert (tmp_path / "submitted").read_text().endswith("# edited\n")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--epohcs=3",), "no flag --epohcs. Did you mean --epochs?"),
        (("--nodeterministc",), "Did you mean --deterministic?"),
        (("--batchsize=8",), "Did you mean --batch_size?"),
        (("--epochs=three",), "--epochs=three"),
        (("--head=gpa",), "head must be one of"),
        (("--epochs=-1",), "epochs must be 0 or more"),
        (("gap",), "Received: 'gap'"),
        (("--num_gpus=2",), "more GPUs than a node has"),
        (("--batch_size=33",), "divide evenly over the replicas"),
        (("--flagfile=none.flags",), "none.flags"),
        (("--weights=vgg.h5",), "see no file of this one"),
    ],
)
def test_wrong_trainer_flag_costs_nothing(flags: tuple[str, ...], says: str) -> None:
    replicas = {"num_nodes": 2} if "--batch_size=33" in flags else {}
    with pytest.raises(FlagsError) as error:
        planned("sky", *BUCKET, *flags, **replicas)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--backend=gcp", "--", *BUCKET, "--epohcs=3"), 2, "Did you mean --epochs?"),
        (("--backend=gcp",), 2, "The trainer needs --data_dir"),
        (("--backend=gcp", *BUCKET), 2, "The trainer's flags stand behind --"),
        (("--backend=gpc", "--", *BUCKET), 2, "gpc"),
        (("--backend=gcp", "--num_nodes=2", "--", *BUCKET), 2, "gcp makes one VM"),
        (("--backend=gcp", "--", "--data_dir=d", "--workdir=w"), 2, "such as gs://BUCKET/d"),
        (("--backend=gcp", "--gpus=16", "--", *BUCKET), 2, "1, 2, 4, 8 GPUs of the kind L4"),
        (("--backend=gcp", "--accelerator=K80", "--", *BUCKET), 2, "--machine_type too"),
        (("--backend=gcp", "--name=Run_1", "--", *BUCKET), 2, "lower-case letters"),
        (("--backend=slurm", "--spot", "--", *BUCKET), 2, "spot is an option of gcp and sky"),
        (("--backend=sky", "--", "--data_dir=gs://b/d", "--workdir=w"), 2, "gs://BUCKET/w"),
        (("--backend=sky", "--", "--data_dir=none", "--workdir=gs://b/w"), 2, "none, which is not"),
        (("--backend=k8s", "--image=i", "--", "--data_dir=/a", "--workdir=/b"), 2,
         "/animals/data"),
        (("--backend=k8s", "--", *BUCKET), 2, "k8s needs --image"),
        (("--backend=slurm", "--max_hours=2", "--", *BUCKET), 2, "Slurm has --time_limit"),
        (("--backend=gcp", "--max_hours=0", "--", *BUCKET), 2, "between 0.01 and 2880"),
        # A path that only this machine understands.
        (("--backend=k8s", "--image=i", "--", "--data_dir=data", "--workdir=/animals/run"), 2,
         "--data_dir as they see it"),
        (("--backend=k8s", "--image=i", "--", "--data_dir=~/d", "--workdir=/animals/run"), 2,
         "--data_dir as they see it"),
        (("--backend=gcp", "--", "--data_dir=~/d", "--workdir=~/w"), 2, "such as gs://BUCKET/d."),
        (("--backend=sky", "--", *BUCKET, "--cache_dir=c"), 2, "--cache_dir as they see it"),
        (("--backend=gcp", "--", *BUCKET, "--cache_dir=~/c"), 2, "--cache_dir as they see it"),
        (("--backend=slurm", "--", "--data_dir=hdfs://b/d", "--workdir=w"), 2,
         "would refuse --data_dir"),
        (("--backend=k8s", "--image=i", "--", "--data_dir=az:///d", "--workdir=/a/w"), 2,
         "would refuse --data_dir, which names no bucket"),
        (("--backend=gcp", "--", *BUCKET, "--weights=hdfs://b/w.h5"), 2, "would refuse --weights"),
        (("--backend=gcp", "--", "--data_dir=s3://b/d", "--workdir=gs://b/w"), 2,
         "must begin with gs://. Received: s3://b/d. Copy it to a bucket such as gs://BUCKET/d,"),
        (("--backend=sky", "--", "--data_dir=memory://b/d", "--workdir=gs://b/w"), 2,
         "in memory no other machine sees"),
        (("--backend=k8s", "--image=i", "--when_done=stop", "--", *BUCKET), 2,
         "when_done is an option of gcp"),
        ((), 2, "--backend must be given"),
        (("--backend=slurm", "--build_tasks=2", "--", "--num_tasks=3"), 2, "--num_tasks=3"),
        (("--backend=slurm", "--time_limit=banana", "--", *BUCKET), 2, "as Slurm has it"),
        (("--backend=gcp", "--", *BUCKET), 1, "no gcloud on the PATH"),
        (("--backend=sky", "--", *BUCKET), 1, "no sky on the PATH"),
        (("--backend=slurm", "--", *BUCKET), 1, "no sbatch on the PATH"),
        (("--backend=k8s", "--image=i", "--", *BUCKET), 1, "no kubectl on the PATH"),
    ],
)  # fmt: skip
def test_one_line_and_the_right_code(
    arguments: tuple[str, ...], code: int, says: str, tmp_path: Path
) -> None:
    git = tmp_path / "git"  # All that is on the PATH: a gcp job names this clone's commit.
    git.symlink_to(str(shutil.which("git")))
    done = python("launch.run", f"--write_to={tmp_path}/job", *arguments, PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["git"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--clases=cat,dog",), "The build has no flag --clases. Did you mean --classes?"),
        (("--data_dir=hdfs://b/d",), "refuse --data_dir, which must be a path of this machine"),
        (("--coco_dir=hdfs://b/c",), "The build would refuse --coco_dir, which must be a path"),
        (
            ("--coco_dir=", "--annotations=a.json,hdfs://b/c.json", "--images_dir=i"),
            "Received: hdfs:",
        ),
        (("--val_fraction=2",), "val_fraction must be between 0 and 1"),
        (("--num_shards=few",), "--num_shards=few"),
        (("--folder_dir=f",), "A dataset has one source"),
        (("--data_dir=c/d",), "must not go among the photographs"),
        (("--data_dir=",), "The build needs --data_dir. Received behind --: "),
        (("--runner=beam",), "Beam shares the shards out by itself"),
        (("cat",), "Behind -- stand flags of data_prep.build alone"),
        (("--commit_only",), "without --num_tasks, --task_index, --commit_only. Received: "),
        (("--salt=a\nb",), "no place for such a character"),
    ],
)
def test_wrong_flag_of_a_build_is_said_before_it_is_submitted(
    flags: tuple[str, ...], says: str
) -> None:
    with pytest.raises(FlagsError) as error:
        planned("slurm", *BUILD, *flags, build_tasks=2)
    assert says in str(error.value)


def test_flags_of_a_build_reach_the_nodes_with_paths_that_mean_the_same(tmp_path: Path) -> None:
    flagfile = tmp_path / "mine.flags"
    flagfile.write_text("--min_area=0.1\n")
    script = planned(
        "slurm", "--data_dir=~/d", "--annotations=a.json,/b.json", "--images_dir=../i",
        "--coco_dir=", "--classes=\"cat, wild\",dog", f"--flagfile={flagfile}", build_tasks=2,
    ).files["build.sbatch"]  # fmt: skip
    array = script[script.index("FLAGS=(") : script.index("\n)\n") + 3]
    bash = f'{array}printf "%s\\n" "${{FLAGS[@]}}"'
    done = subprocess.run(["bash", "-c", bash], capture_output=True, text=True, check=True)
    here = Path.cwd()
    assert sorted(done.stdout.splitlines()) == sorted(
        ["--num_tasks=2", "--num_workers=8", f"--data_dir={Path.home()}/d", "--coco_dir=",
         f"--annotations={here}/a.json,/b.json", f"--images_dir={here}/../i", "--min_area=0.1",
         '--classes="cat, wild",dog']
    )  # fmt: skip


@pytest.mark.parametrize(
    ("workdir", "name"),
    [
        ("gs://b/runs/First_1/", "animals-first-1"),
        ("gs://b/猫", "animals-a810bf84"),
        ("gs://b/犬", "animals-1e82f9b0"),
        ("gs://b/猫-1", "animals-1-06b34312"),
        ("gs://b/" + "é1" * 40, "animals-1-1-1-1-1-1-1-1-1-1-1-1-2d4324b9"),
        ("gs://b/" + "a" * 40, "animals-" + "a" * 32),
    ],
)
def test_job_is_called_as_its_workdir_and_as_no_other(workdir: str, name: str) -> None:
    job = planned("sky", "--data_dir=gs://b/data", f"--workdir={workdir}")
    assert job.folder.name == name
    LaunchConfig(backend="sky", name=job.folder.name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("flag", ["--data_dir", "--workdir", "--weights"])
def test_half_a_scheme_is_refused_as_by_the_trainer(backend: str, flag: str) -> None:
    says = f"{flag}, which has one slash .* Received: gs:/b/x. Write gs://b/x, or"
    with pytest.raises(FlagsError, match=says):
        planned(backend, *BUCKET, f"{flag}=gs:/b/x")


@pytest.mark.parametrize("backend", BACKENDS)
def test_run_among_the_files_of_its_dataset_is_refused_on_every_backend(backend: str) -> None:
    with pytest.raises(FlagsError, match="must not go among the files of its dataset"):
        planned(backend, "--data_dir=gs://b/data", "--workdir=gs://b/data/run")


@pytest.mark.parametrize(
    "time_limit",
    ["90", "90:30", "24:00:00", "2-12", "2-12:30", "2-12:30:00", "UNLIMITED"],
)  # fmt: skip
def test_time_limit_is_what_slurm_takes(time_limit: str) -> None:
    script = planned("slurm", time_limit=time_limit).files["train.sbatch"]
    assert f"#SBATCH --time={time_limit}\n" in script
    for wrong in (f"{time_limit}h", f"-{time_limit}", f"{time_limit}:", "", "1:2:3:4", "1-"):
        with pytest.raises(ValueError, match="as Slurm has it"):
            LaunchConfig(backend="slurm", time_limit=wrong)


def test_option_of_some_backends_says_in_its_help_which() -> None:
    options = options_of(LaunchConfig)
    said = {
        name: tuple(option.help.partition(":")[0].split(", ")) for name, option in options.items()
    }
    said = {name: words for name, words in said.items() if set(words) <= set(BACKENDS)}
    assert {n: w for n, w in said.items() if n != "backend"} == BACKENDS_BY_OPTION


@pytest.mark.parametrize(
    ("module", "config"), [("trainer.main", TrainConfig), ("data_prep.build", BuildConfig)]
)
def test_every_flag_of_the_command_is_known_here(module: str, config: type) -> None:
    code = (
        f"from absl import flags; import {module}; "
        f"print(*(f.name for f in flags.FLAGS.get_key_flags_for_module('{module}')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    fields = {field.name for field in dataclasses.fields(config)}
    assert set(done.stdout.split()) <= fields


def test_flags_reach_the_machine_as_the_user_meant_them(tmp_path: Path) -> None:
    flagfile = tmp_path / "mine.flags"
    flagfile.write_text("--epochs=7\n# A comment.\n--deterministic\n")
    job = planned("slurm", f"--flagfile={flagfile}", "--data_dir=d", "--workdir", "w", TRICKY,
                  "--nodry_run")  # fmt: skip
    [line] = [c for c in job.commands if c[0] == "sbatch"]
    assert line == ("sbatch", f"{job.folder}/train.sbatch")
    script = job.files["train.sbatch"]
    array = script[script.index("FLAGS=(") : script.index("\n)\n") + 3]
    bash = f'{array}printf "%s\\n" "${{FLAGS[@]}}"'
    done = subprocess.run(["bash", "-c", bash], capture_output=True, text=True, check=True)
    assert sorted(done.stdout.splitlines()) == sorted(
        ["--num_gpus=1", f"--data_dir={Path.cwd()}/d", f"--workdir={Path.cwd()}/w", "--epochs=7",
         "--deterministic", TRICKY, "--nodry_run"]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "options", "says"),
    [
        # Beside a bucket lies another one, maybe a stranger's.
        (("--workdir=gs://c",), {}, "a folder of its bucket, such as gs://c/first. Received"),
        (("--workdir=gs://c/",), {}, "a folder of its bucket, such as gs://c/first. Received"),
        (("--workdir=gs://b/run*",), {}, "for a pattern, of several runs"),
        (("--workdir=gs://b/run[1]",), {}, "for a pattern, of several runs"),
        # What is cleaned up would have the data in it.
        (("--data_dir=gs://b/r.launch", "--workdir=gs://b/r/"), {}, "--data_dir must lie else"),
        (("--weights=gs://b/runs/first.launch/w.h5",), {}, "--weights must lie elsewhere"),
        # The VM has rights in no other.
        (("--weights=s3://b/w.h5",), {}, "--weights must begin with gs://"),
        (("--init_from=az://b/run",), {}, "--init_from must begin with gs://"),
        ((), {"write_to": "/a,b"}, "Received: /a,b. Name another one with --write_to"),
        ((), {"write_to": "/[a]"}, "Received: /[a]. Name another one with --write_to"),
    ],
)
def test_what_gcloud_or_the_vm_would_take_for_something_else_is_refused(
    flags: tuple[str, ...], options: dict, says: str
) -> None:
    with pytest.raises(FlagsError) as error:
        planned("gcp", *BUCKET, *flags, **options)
    assert says in str(error.value)


# Each language's quotes, comments, variables and lists, and a letter beyond 16 bits.
NASTY = """it's: "a" #1 {b} [c] $HOME `d` \\e %x & | > !f, {{ g }} 猫😀"""
FREE = {
    "gcp": ("zone",),
    "sky": ("infra", "accelerator"),
    "slurm": ("partition",),
    "k8s": ("namespace", "image", "claim", "mount", "service_account", "secret"),
}


def assigned(script: str, *names: str) -> list[str]:
    """The variables of a script's head, as bash reads them; nothing else of it is run."""
    assert subprocess.run(["bash", "-n", "-c", script], check=False).returncode == 0
    head = script[script.index("set -") : script.index("\n)\n") + 3]
    shown = "".join(f'printf "%s\\0" "${{{name}}}"\n' for name in names)
    done = subprocess.run(
        ["bash", "-c", f"{head}{shown}"], capture_output=True, text=True, check=True,
        env={**os.environ, "SLURM_JOB_ID": "7"},
    )  # fmt: skip
    return done.stdout.split("\0")[:-1]


def nasty(backend: str, data: str, run: str, **options: object) -> Job:
    """A job of a backend whose free options and paths are all nasty."""
    free = dict.fromkeys(FREE[backend], NASTY)
    flags = (f"--data_dir={data}", f"--workdir={run}", f"--weights=gs://b/{NASTY}")
    return planned(backend, *flags, **{"name": "null", **free, **options})


def test_vm_script_has_the_values_that_a_user_gave() -> None:
    data, run = f"gs://b/d/{NASTY}", f"gs://b/r/{NASTY}".replace("[c]", "")
    script = nasty("gcp", data, run).files["startup.sh"]
    found = assigned(script, "DATA", "RUN", "SOURCE", "ZONE", "FLAGS[@]")
    uploaded = f"{run}.launch/source-{source.commit()[:12]}.tar.gz"
    assert found == [data, run, uploaded, NASTY, f"--weights=gs://b/{NASTY}"]


def test_batch_script_has_the_values_that_a_user_gave() -> None:
    flags = [f"--data_dir=gs://b/d/{NASTY}", f"--workdir=gs://b/r/{NASTY}"]
    script = nasty("slurm", *(flag.partition("=")[2] for flag in flags)).files["train.sbatch"]
    expected = ["--num_gpus=1", *flags, f"--weights=gs://b/{NASTY}"]
    assert assigned(script, "FLAGS[@]") == expected
    assert f"--partition={NASTY}" in sbatch_options(script)


def sbatch_options(script: str) -> list[str]:
    """Those of the #SBATCH lines, which sbatch reads as Python does: get_argument of its opt.c."""
    lines = [line for line in script.splitlines() if line.startswith("#SBATCH ")]
    return [word for line in lines for word in shlex.split(line[8:], comments=True)]


def test_sky_task_has_the_values_that_a_user_gave() -> None:
    flags = [f"--data_dir=gs://b/d/{NASTY}", f"--workdir=gs://b/r/{NASTY}"]
    job = nasty("sky", *(flag.partition("=")[2] for flag in flags))
    task = yaml.safe_load(job.files["task.yaml"])
    assert (task["name"], task["resources"]["infra"]) == ("null", NASTY)
    assert task["resources"]["accelerators"] == f"{NASTY}:1"
    words = shlex.split(task["run"].replace(" \\\n", " "))
    assert words[4:] == ["--num_gpus=1", *flags, f"--weights=gs://b/{NASTY}"]


def test_jobset_has_the_values_that_a_user_gave() -> None:
    mount = f"/m/{NASTY}"
    data, run = f"{mount}/d/{NASTY}", f"{mount}/r/{NASTY}"
    job = nasty("k8s", data, run, mount=mount)
    jobset = yaml.safe_load(job.files["jobset.yaml"])
    assert jobset["metadata"] == {"name": "null", "namespace": NASTY}
    pod = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    flags = [f"--data_dir={data}", f"--workdir={run}", f"--weights=gs://b/{NASTY}"]
    args = [arg.replace("$$", "$") for arg in container["args"]]  # As Kubernetes reads it.
    assert args[2:] == flags
    assert "$$" in container["args"][2]
    assert container["volumeMounts"][0]["mountPath"] == mount
    assert container["envFrom"][0]["secretRef"]["name"] == container["image"] == NASTY
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == NASTY
    assert pod["serviceAccountName"] == NASTY
    assert shlex.split(job.clean_up)[-1] == f"--namespace={NASTY}"


def test_job_of_slurm_may_be_in_a_folder_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / """it's "a" #1 50%"""
    folder.mkdir()
    monkeypatch.chdir(folder)
    script = planned("slurm", *BUILD, build_tasks=2).files["build.sbatch"]
    job = f"{folder}/jobs/animals-build".replace("%", "%%")  # As sbatch has a percent sign.
    assert {f"--chdir={folder}", f"--output={job}/%x-%j.log"} <= set(sbatch_options(script))


@pytest.mark.parametrize("value", ["a\nb", "a\x7fb", "a\u2028b"])
def test_character_that_begins_a_line_is_refused_in_every_value(value: str) -> None:
    for backend, names in FREE.items():
        with pytest.raises(ValueError, match=f"{names[0]} has a character .*Leave it out"):
            LaunchConfig(backend=backend, **{names[0]: value})
        for flags in ((f"--data_dir=gs://b/{value}", BUCKET[1]),
                      (BUCKET[0], f"--workdir=gs://b/{value}")):  # fmt: skip
            with pytest.raises(FlagsError, match="no place for such a character"):
                planned(backend, *flags)


def test_paths_of_shared_folders_reach_the_nodes_absolute() -> None:
    job = planned("slurm", "--data_dir=~/d", "--workdir=runs/first", "--cache_dir=c",
                  "--weights=~/w.h5", python="bin/python")  # fmt: skip
    here, home, script = Path.cwd(), Path.home(), job.files["train.sbatch"]
    for flag in (f"--data_dir={home}/d", f"--workdir={here}/runs/first", f"--cache_dir={here}/c",
                 f"--weights={home}/w.h5"):  # fmt: skip
        assert f"'{flag}'" in script
    assert f"PYTHON='{here}/bin/python'" in script


def test_folder_that_skypilot_uploads_may_be_below_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    task = planned("sky", "--data_dir=~/data", "--workdir=gs://b/run").files["task.yaml"]
    assert yaml.safe_load(task)["file_mounts"]["/animals/data"] == f"{tmp_path}/data"


@pytest.mark.parametrize(
    ("backend", "options", "clean_up"),
    [
        ("gcp", {"when_done": "stop", "zone": "z"},
         "gcloud compute instances delete animals-first --zone=z"),
        ("gcp", {"when_done": "stop", "spot": True}, "delete animals-first-XXXX --zone"),
        ("gcp", {}, "gcloud storage rm --recursive gs://b/runs/first.launch"),
        ("sky", {}, "sky down"),
        ("slurm", {}, "cd /j && rm -f train.sbatch worker.sh submit.sh job.json anim"),
        ("k8s", {}, "kubectl delete jobset animals-first"),
    ],
)  # fmt: skip
def test_commands_for_afterwards_are_shown(backend: str, options: dict, clean_up: str) -> None:
    lines = planned(backend, write_to="/j", **options).describe().splitlines()[-4:]
    titles = ("Watch:", "How far:", "Stop:", "Clean up:")
    commands = (*(f"python -m launch.{verb} --job_dir=/j" for verb in ("logs", "status", "stop")),
                clean_up)  # fmt: skip
    for line, title, command in zip(lines, titles, commands, strict=True):
        assert line.startswith(title)
        assert command in line
        subprocess.run(["bash", "-n", "-c", line.partition(":")[2]], check=True)
    assert "python -m launch.logs --name=animals-first\n" in planned(backend).advice()


@pytest.mark.parametrize("flags", [("--data_dir=d", "--workdir=job"), BUILD])
def test_clean_up_of_slurm_leaves_what_is_no_file_of_the_job(
    flags: tuple[str, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "it's a job"
    options = {"build_tasks": 2} if flags == BUILD else {}
    job = planned("slurm", *flags, name="mine", write_to=str(folder), **options)
    job.write()
    for name in ("mine-7.log", "preempted-7", "mine.txt", "history.csv"):
        (folder / name).touch()
    subprocess.run(["bash", "-c", job.clean_up], check=True)
    assert sorted(path.name for path in folder.iterdir()) == ["history.csv", "mine.txt"]


def clone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with one commit, in place of this project's."""
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", folder)
    for words in (("init", "-q"), ("commit", "-q", "--allow-empty", "-m", "First.")):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(source, "ROOT", folder)
    return folder


def test_uncommitted_files_are_named_before_a_commit_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = clone(tmp_path, monkeypatch)
    assert planned("gcp").warning is None
    for name in "abcdefg":
        (root / f"{name} é.py").touch()
    job = planned("gcp")
    assert "a é.py, b é.py, c é.py, d é.py, e é.py and 2 more" in str(job.warning)
    assert source.commit()[:12] in str(job.warning)
    assert f"Warning: {job.warning}" in job.describe()
    assert planned("sky").warning is None  # It sends the folder as it is.


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"--machine-type=g2-standard-8", "--accelerator=type=nvidia-l4,count=1",
              "--provisioning-model=STANDARD", "--maintenance-policy=TERMINATE",
              "--image-family=common-cu129-ubuntu-2404-nvidia-580",
              "--image-project=deeplearning-platform-release", "--zone=us-central1-a",
              "--boot-disk-size=100GB", "--scopes=cloud-platform"}),
        ({"gpus": 8, "accelerator": "A100", "spot": True, "project": "p", "zone": "z",
          "service_account": "s@p", "disk_gb": 7},
         {"--machine-type=a2-highgpu-8g", "--accelerator=type=nvidia-tesla-a100,count=8",
          "--provisioning-model=SPOT", "--instance-termination-action=DELETE", "--project=p",
          "--service-account=s@p", "--boot-disk-size=7GB"}),
        # The VM ends itself before; this is for one that hangs.
        ({"max_hours": 1.5}, {"--max-run-duration=6000s", "--instance-termination-action=DELETE"}),
        ({"max_hours": 2880, "when_done": "stop"},
         {"--max-run-duration=10368000s", "--instance-termination-action=STOP"}),
        ({"gpus": 0}, {"--machine-type=n2-standard-8", "--image-family=ubuntu-2404-lts-amd64"}),
        ({"accelerator": "nvidia-b200", "gpus": 8, "machine_type": "a4-highgpu-8g"},
         {"--machine-type=a4-highgpu-8g", "--accelerator=type=nvidia-b200,count=8"}),
    ],
)  # fmt: skip
def test_gcp_creates_the_vm_that_was_asked_for(options: dict, expected: set[str]) -> None:
    job = planned("gcp", **options)
    kind = "instance-templates" if options.get("spot") else "instances"
    create = command_of(job, "gcloud", "compute", kind, "create")
    assert create[4] == "animals-first"
    assert expected <= set(create)
    if not options.get("gpus", 1):
        assert not any(word.startswith("--accelerator") for word in create)
    if not options.get("spot") and not options.get("max_hours"):
        assert not any(word.startswith("--instance-termination") for word in create)
    scripts = [w for w in create if w.startswith("--metadata-from-file=")]
    assert scripts == [
        f"--metadata-from-file=startup-script={job.folder}/startup.sh,"
        f"shutdown-script={job.folder}/shutdown.sh"
    ]


def test_spot_vm_is_the_one_member_of_a_group_of_its_template() -> None:
    job = planned("gcp", spot=True, zone="z", project="p")
    *_, template, group = job.commands
    assert not any(word.startswith("--zone") for word in template)  # It has none.
    assert group == (
        "gcloud", "compute", "instance-groups", "managed", "create", "animals-first", "--zone=z",
        "--project=p", "--template=animals-first", "--base-instance-name=animals-first",
        "--size=1", "--default-action-on-vm-failure=do-nothing",
    )  # fmt: skip
    assert "GROUP='animals-first' " in job.files["startup.sh"]
    assert "GROUP='' " in planned("gcp").files["startup.sh"]


@pytest.mark.parametrize(
    ("flags", "gpus", "extras"),
    [
        (BUCKET, 1, "[gpu,gcs]"),
        (("--data_dir=s3://b/d", "--workdir=gs://b/w", "--weights=az://b/w.h5"), 0,
         "[azure,gcs,s3]"),
        (("--data_dir=tests", "--workdir=S3://b/w"), 0, "[s3]"),
    ],
)  # fmt: skip
def test_machine_installs_the_clients_of_its_buckets(
    flags: tuple[str, ...], gpus: int, extras: str
) -> None:
    task = yaml.safe_load(planned("sky", *flags, gpus=gpus).files["task.yaml"])
    assert f'".{extras}"' in task["setup"]


def test_slurm_passes_buckets_on() -> None:
    script = planned("slurm", "--data_dir=s3://b/d", "--workdir=gs://b/w").files["train.sbatch"]
    assert "'--data_dir=s3://b/d'" in script
    assert "'--workdir=gs://b/w'" in script


@pytest.mark.parametrize("name", ["raw", *BACKENDS, "array"])
def test_scripts_are_clean_to_shellcheck(name: str, tmp_path: Path) -> None:
    if name == "raw":  # As they lie in the project, before anything is filled in.
        scripts = [p for p in (REPOSITORY / "launch/templates").iterdir() if p.suffix != ".yaml"]
    else:
        options = {"build_tasks": 4} if name == "array" else {"gpus": 1}
        flags = (
            ["--data_dir=d", "--coco_dir=c", "--classes=it's,dog"]
            if name == "array"
            else [*BUCKET, "--weights=gs://b/it's.h5"]
        )
        backend = "slurm" if name == "array" else name
        job = planned(backend, *flags, write_to=str(tmp_path), **options)
        job.write()
        scripts = [p for p in tmp_path.iterdir() if p.suffix not in (".yaml", ".json")]
    checked = subprocess.run(
        [Path(sys.executable).with_name("shellcheck"), "--shell=bash", *scripts],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout


SKY_TASKS = [
    ({}, BUCKET),
    ({"num_nodes": 4, "gpus": 8, "accelerator": "A100-80GB", "spot": True,
      "infra": "gcp/us-central1"}, (*BUCKET, TRICKY)),
    ({"gpus": 0, "max_hours": 2}, (f"--data_dir={REPOSITORY}/tests", "--workdir=s3://b/run")),
]  # fmt: skip
# In a process of its own: SkyPilot keeps files in the home folder, and must not call home.
SKY_READER = """
import json, sys, sky
for path in sys.argv[1:]:
    task = sky.Task.from_yaml(path)
    [resources] = task.resources
    print(json.dumps({
        "nodes": task.num_nodes, "spot": resources.use_spot, "gpus": resources.accelerators,
        "recovery": resources.job_recovery, "files": task.file_mounts, "run": task.run,
        "setup": task.setup,
        "storage": {k: [v.source, v.mode.value] for k, v in task.storage_mounts.items()},
    }))
"""


@pytest.fixture(scope="module")
def sky_tasks(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What SkyPilot reads in the files of SKY_TASKS."""
    home = tmp_path_factory.mktemp("sky")
    for number, (options, flags) in enumerate(SKY_TASKS):
        planned("sky", *flags, write_to=f"{home}/{number}", **options).write()
    done = subprocess.run(
        [sys.executable, "-c", SKY_READER, *sorted(home.glob("*/task.yaml"))],
        capture_output=True, text=True, check=False,
        env={**os.environ, "HOME": str(home), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("number", range(len(SKY_TASKS)))
def test_sky_task_is_one_to_skypilot(number: int, sky_tasks: list[dict]) -> None:
    (options, flags), task = SKY_TASKS[number], sky_tasks[number]
    gpus = options.get("gpus", 1)
    assert task["nodes"] == options.get("num_nodes", 1)
    assert task["spot"] == options.get("spot", False)
    assert task["gpus"] == ({options.get("accelerator", "L4"): gpus} if gpus else None)
    assert task["recovery"]["recover_on_exit_codes"] == [42]
    data, workdir = (flag.partition("=")[2] for flag in flags[:2])
    # The trainer reads and writes buckets itself; a folder of this machine goes with the job.
    uploaded = {} if data.startswith("gs://") else {"/animals/data": data}
    assert (task["files"] or {}, task["storage"]) == (uploaded, {})
    words = subprocess.run(
        ["bash", "-c", task["run"].replace("exec ", "printf '%s\\n' ", 1)],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    if "max_hours" in options:
        assert words[:3] == ["timeout", "--kill-after=60", "7200"]
        words = words[3:]
    # SkyPilot would start again what ended at its time.
    assert task["recovery"]["max_restarts_on_errors"] == (0 if "max_hours" in options else 3)
    data = "/animals/data" if uploaded else data
    assert words[1:6] == ["-m", "trainer.main", f"--num_gpus={gpus}", f"--data_dir={data}",
                          f"--workdir={workdir}"]  # fmt: skip
    assert words[6:] == list(flags[2:])
    assert "--constraint docker/constraints.txt" in task["setup"]


JOBSETS = [
    ({}, BUCKET),
    ({"service_account": "trainer", "secret": "keys"}, BUCKET),
    ({"num_nodes": 4, "gpus": 8, "image": "r.example/animals:1", "namespace": "lab",
      "claim": "pvc"}, ("--data_dir=/animals/data", "--workdir=/animals/runs/first", TRICKY)),
    ({"num_nodes": 2, "gpus": 0, "max_hours": 1.5},
     ("--data_dir=/animals/data", "--workdir=/animals/runs/first")),
]  # fmt: skip


def lost(given: object, kept: object, place: str = "jobset") -> list[str]:
    """The places where something of `given` is missing or other in `kept`."""
    if isinstance(given, dict) and isinstance(kept, dict):
        return [p for k in given for p in lost(given[k], kept.get(k), f"{place}.{k}")]
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        both = zip(given, kept, strict=True)
        return [p for i, (g, k) in enumerate(both) for p in lost(g, k, f"{place}[{i}]")]
    return [] if given == kept else [place]


@pytest.mark.parametrize(("options", "flags"), JOBSETS)
def test_jobset_is_one_to_the_schemas(options: dict, flags: tuple[str, ...]) -> None:
    from kubeflow_trainer_api.models.jobset_v1alpha2_job_set import JobsetV1alpha2JobSet

    jobset = yaml.safe_load(planned("k8s", *flags, **options).files["jobset.yaml"])
    # The model drops keys that it does not know, and adds defaults.
    assert lost(jobset, JobsetV1alpha2JobSet.from_dict(jobset).to_dict()) == []
    [replicated] = jobset["spec"]["replicatedJobs"]
    kubernetes_validate.validate(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": replicated["name"]},
            "spec": replicated["template"]["spec"],
        },
        "1.31",
        strict=True,
    )


@pytest.mark.parametrize(("options", "flags"), JOBSETS)
def test_pods_of_a_jobset_find_each_other(options: dict, flags: tuple[str, ...]) -> None:
    jobset = yaml.safe_load(planned("k8s", *flags, **options).files["jobset.yaml"])
    name, [replicated] = jobset["metadata"]["name"], jobset["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    [container] = job["template"]["spec"]["containers"]
    nodes = options.get("num_nodes", 1)
    assert job["completions"] == job["parallelism"] == nodes
    # What has run for its time is not started again, as what is preempted is.
    assert job.get("activeDeadlineSeconds") == (5400 if "max_hours" in options else None)
    rules = {rule["onJobFailureReasons"][0]: rule["action"]
             for rule in jobset["spec"]["failurePolicy"]["rules"]}  # fmt: skip
    assert rules.get("DeadlineExceeded") == ("FailJobSet" if "max_hours" in options else None)
    assert rules["PodFailurePolicy"] == "RestartJobSetAndIgnoreMaxRestarts"
    for index in range(nodes):
        environ = {entry["name"]: entry["value"] for entry in container["env"]}
        cluster = find_cluster({**environ, "JOB_COMPLETION_INDEX": str(index)})
        if nodes == 1:
            assert cluster is None
            continue
        # As the JobSet controller names them.
        hosts = [f"{name}-{replicated['name']}-0-{i}.{name}" for i in range(nodes)]
        assert [a.rpartition(":")[0] for a in cluster.addresses] == hosts
        assert cluster.rank == index
    assert job["template"]["spec"].get("serviceAccountName") == options.get("service_account")
    secrets = [entry["secretRef"]["name"] for entry in container.get("envFrom", [])]
    assert secrets == ([options["secret"]] if "secret" in options else [])
    assert jobset["spec"]["network"]["subdomain"] == name
    gpus = options.get("gpus", 1)
    limits = container["resources"].get("limits")
    assert limits == ({"nvidia.com/gpu": str(gpus)} if gpus else None)
    paths = [a.partition("=")[2] for a in container["args"] if a.startswith(("--data", "--work"))]
    mounts = [m["mountPath"] for m in container["volumeMounts"] if m["name"] == "animals"]
    assert mounts == ([] if flags == BUCKET else ["/animals"])
    for path in paths:
        assert path.startswith(("gs://", "/animals/"))
