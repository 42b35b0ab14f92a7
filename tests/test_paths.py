"""Paths that a person gives, whichever command they are given to."""

import json
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from buckets import urls
from cli import paths
from tests.support.coco_folder import jpeg
from tests.support.miniature import environment


@pytest.mark.parametrize(
    ("given", "expanded"),
    [
        ("~", "{home}"),
        ("~/data", "{home}/data"),
        ("~/data/", "{home}/data/"),
        ("~root/data", f"{pwd.getpwnam('root').pw_dir}/data"),
        ("data", "data"),
        ("./~/data", "./~/data"),
        ("a/~/data", "a/~/data"),
        ("gs://bucket/data", "gs://bucket/data"),
        ("GS://bucket/..a/b.c/", "gs://bucket/..a/b.c/"),
        # A colon is no scheme.
        ("C:\\data", "C:\\data"),
        ("run:2/data", "run:2/data"),
        ("./gs:/data", "./gs:/data"),
        ("/a://b", "/a://b"),
        ("", ""),
    ],
)
def test_home_folder_is_expanded_and_nothing_else(
    given: str, expanded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.expand(given, schemes=("gs",)) == expanded.format(home=tmp_path)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("s3://bucket/data", "or begin with gs://. Received: s3://bucket/data. Give such"),
        ("az://bucket/data", "Received: az://"),
        ("HTTP://host/data", "Received: HTTP://host/data. Give such"),
        ("file:///data", "Received: file:///data. Write /data."),
        ("GCS://bucket/data", "Received: GCS://bucket/data. Write gs://bucket/data."),
        ("s3a://bucket/data", "Received: s3a://bucket/data. Give such"),
        ("gs://b/x/../data/run", "'..', '.' or an empty one. Received: gs://b/x/../data"),
        ("gs://b//data/run", "Received: gs://b//data/run. Write the URL without"),
        ("gs://b/data/./run", "Received: gs://b/data/./run"),
        ("gs://../data", "Received: gs://../data"),
        ("gs:/bucket/data", "Write gs://bucket/data, or ./gs:/bucket/data"),
        ("file:/data", "Write file:///data, or ./file:/data"),
        ("~nobody-of-this-name/data", "or ./~nobody-of-this-name/data"),
    ],
)
def test_path_that_cannot_be_served_is_refused(given: str, says: str) -> None:
    with pytest.raises(ValueError, match="Received") as error:
        paths.expand(given, schemes=("gs",))
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ("gcs://b/x/y", "gs://b/x/y"),
        ("s3a://b/x", "s3://b/x"),
        ("S3N://b/x", "s3://b/x"),
        ("abfs://c/x", "az://c/x"),
        ("abfss://c@account.dfs.core.windows.net/x/y", "az://c/x/y"),
        ("wasbs://c@account.blob.core.windows.net", "az://c"),
        ("https://storage.googleapis.com/b/x", "gs://b/x"),
        ("https://b.storage.googleapis.com/x", "gs://b/x"),
        ("https://console.cloud.google.com/storage/browser/b/x", "gs://b/x"),
        ("https://s3.eu-west-1.amazonaws.com/b/x", "s3://b/x"),
        ("https://my.b.s3.eu-west-1.amazonaws.com/x", "s3://my.b/x"),
        ("https://account.blob.core.windows.net/c/x", "az://c/x"),
        ("https://storage.googleapis.com/b/x?alt=media", None),
        ("https://storage.googleapis.com/b/a%20b", None),
        ("https://example.org/b/x", None),
        ("gcs://", None),
        ("gs://b/x", None),
    ],
)
def test_url_in_the_spelling_of_another_tool_is_known(given: str, ours: str | None) -> None:
    assert urls.respelt(given) == ours


# For each command its flags that take a path, and whether they take one of a bucket.
PATH_FLAGS = {
    "data_prep.build": {"data_dir": True, "coco_dir": True, "annotations": True,
                        "images_dir": True, "folder_dir": True},
    "data_prep.verify": {"data_dir": True, "data_cache": False},
    "trainer.main": {"data_dir": True, "workdir": True, "weights": True, "cache_dir": False,
                     "data_cache": False},
    "trainer.evaluate": {"data_dir": True, "workdir": True, "data_cache": False},
    "trainer.predict": {"workdir": True, "plot": False, "save_dir": False},
    "launch.run": {"write_to": False, "python": False},
    "launch.logs": {"job_dir": False},
}  # fmt: skip
TRY_EACH = """
import importlib, json, sys
from absl import flags
importlib.import_module(sys.argv[1])
for name in sys.argv[2:]:
    for path in ("~/x", "S3://b/x", "hdfs://b/x"):
        try:
            flags.FLAGS[name].parse(path)
            print(json.dumps(flags.FLAGS[name].value))
        except flags.IllegalFlagValueError as error:
            print(json.dumps(str(error)))
"""


@pytest.mark.parametrize("module", PATH_FLAGS)
def test_each_path_flag_takes_what_its_command_can_serve(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRY_EACH, module, *PATH_FLAGS[module]],
        capture_output=True, text=True, check=True, env={**environment(), "HOME": "/nest"},
    )  # fmt: skip
    printed = iter(map(json.loads, done.stdout.splitlines()))
    for name, buckets in PATH_FLAGS[module].items():
        home, s3, hdfs = (next(printed) for _ in range(3))
        assert home in ("/nest/x", ["/nest/x"]), name
        served = s3 in ("s3://b/x", ["s3://b/x"])
        assert served if buckets else "must be a path of this machine" in s3, name
        assert hdfs.startswith(f"flag --{name}=hdfs://b/x: must be a path of this machine"), name
        assert hdfs.count("hdfs://") == 1, name


def test_photograph_is_found_in_the_home_folder_and_another_scheme_costs_only_itself(
    tmp_path: Path,
) -> None:
    (tmp_path / "photo.jpg").write_bytes(jpeg(0))
    code = (
        "import io; from trainer import prediction; from trainer.inference import selection; "
        "found = selection.select(['~/photo.jpg', 'http://h/x.jpg'], io.BytesIO()); "
        "[(name, _)] = prediction.read(found.photographs, 16, print); "
        "[(_, said)] = found.errors; print(name, said)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**environment(), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.startswith("~/photo.jpg must be a path of this machine, or begin with gs://")


def test_path_that_no_text_can_hold_is_refused_with_a_line() -> None:
    """A dataset's manifest and a run's config write it down."""
    with pytest.raises(ValueError, match=r"must be UTF-8. Received: /data/caf\\xe9"):
        paths._Parser(()).parse("/data/caf\udce9")


@pytest.mark.parametrize(("required", "parsed"), [("workdir", None), (None, "")])
def test_empty_path_is_none_where_one_is_required(required: str | None, parsed: str | None) -> None:
    """`--workdir=$UNSET` is not the folder that the command is started in."""
    parser = paths._Parser((), required=required)
    if required:
        with pytest.raises(ValueError, match=r"must name a directory\. Received: workdir=''"):
            parser.parse("")
    else:
        assert parser.parse("") == parsed
