"""The copy of a run in a bucket: what is fetched, what goes up and in which order."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buckets import lease
from buckets.failures import BucketError
from buckets.lease import LostLeaseError
from buckets.removal import VanishedError
from buckets.store import Store
from tests.support.miniature import environment
from tests.test_checkpoints import RUN, fill, names, row, small_model
from trainer.config import TrainConfig
from trainer.divergence import DivergedError
from trainer.model.backbone import VGG16
from trainer.model.weights import WeightsError, check_path
from trainer.workdir import initial_model, mirror
from trainer.workdir.checkpoints import Checkpoints
from trainer.workdir.crossval_files import CrossvalFiles
from trainer.workdir.files import Workdir, read_json, write_json
from trainer.workdir.train_state import TrainState

DAMAGED = b"not what was put here"


@pytest.fixture
def url(memory_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return f"{memory_bucket}/runs/first"


@pytest.fixture
def store(url: str) -> Store:
    return Store(url)


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was put into the bucket and removed from it."""
    done: list[str] = []
    upload, remove = Store.upload, Store.remove

    def note_upload(self: Store, path: Path, name: str, **how: bool) -> object:
        done.append(name)
        return upload(self, path, name, **how)

    def note_remove(self: Store, *removed: str) -> None:
        done.extend(f"- {name}" for name in removed if name != lease.NAME)
        remove(self, *removed)

    monkeypatch.setattr(Store, "upload", note_upload)
    monkeypatch.setattr(Store, "remove", note_remove)
    return done


@contextlib.contextmanager
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    """Another machine, which has copied nothing yet."""
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        yield


def checkpoints(url: str, keep: int = 1) -> Checkpoints:
    workdir = Workdir(url)
    return Checkpoints(workdir.checkpoints, RUN, keep, mirror=workdir.mirror)


def save(url: str, *steps: int, keep: int = 1, hurried: bool = False) -> None:
    """Checkpoints of an epoch each, the weights as high as the step, the first one the best."""
    model, kept = small_model(), checkpoints(url, keep)
    history = [row(step, val_loss=step) for step in range(1, steps[0])]
    for step in steps:
        history.append(row(step, val_loss=step))
        fill(model, step)
        kept.begin(model, TrainState(step, list(history)), in_haste=lambda: hurried)
        kept.wait()


def restored(url: str) -> tuple[int, float]:
    model = small_model()
    state = checkpoints(url).restore(model)
    return state.step, float(model.weights[0].numpy().max())


def test_another_machine_goes_on(
    url: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mirror.opened(url):
        save(url, 1, 2)
        write_json(Workdir(url).config, {"recipe": {"epochs": 3}})
    assert sorted(store.list()) == [f"checkpoints/{name}" for name in names(1, 2)] + ["config.json"]
    with elsewhere(tmp_path, monkeypatch, "other"), mirror.opened(url):
        assert Workdir(url).epochs() == 3
        assert not Workdir(url).checkpoints.exists()  # They are large: not before they are needed.
        assert restored(url) == (2, 2)
        assert [path.name for path in Workdir(url).checkpoints.iterdir()] == names(2)
        save(url, 3)
    with mirror.opened(url):  # The first one again: its own newest one is not the run's.
        assert restored(url) == (3, 3)
        assert not (Workdir(url).checkpoints / names(2)[0]).exists()


def test_checkpoint_is_there_before_an_older_one_is_not(url: str, done: list[str]) -> None:
    with mirror.opened(url):
        save(url, 1, 2, 3)
    one, two, three = (f"checkpoints/{name}" for name in names(1, 2, 3))
    assert done == [one, two, three, f"- {two}"]  # The first one is the best.


def test_checkpoint_that_arrives_damaged_is_put_again(
    url: str, store: Store, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put, spoiled = type(store._fs).put_file, []

    def spoil(self: object, source: str, target: str, **how: object) -> None:
        put(self, source, target, **how)
        if not spoiled:
            spoiled.append(target)
            content = self.cat_file(target)
            self.pipe_file(target, content[:-1] + bytes([content[-1] ^ 1]))

    monkeypatch.setattr(type(store._fs), "put_file", spoil)
    with mirror.opened(url):
        save(url, 1)
        assert spoiled
        assert restored(url) == (1, 1)
    written = mirror.folder_of(url).parent.parent / "runs" / mirror.folder_of(url).name
    assert (
        store.read(f"checkpoints/{names(1)[0]}")
        == (written / "checkpoints" / names(1)[0]).read_bytes()
    )


def test_damaged_checkpoint_in_the_bucket_gives_way_to_an_older_one(
    url: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mirror.opened(url):
        save(url, 1, 2, 3, keep=2)
    store.write(f"checkpoints/{names(3)[0]}", DAMAGED)
    with elsewhere(tmp_path, monkeypatch, "other"), mirror.opened(url):
        assert restored(url) == (2, 2)
        save(url, 3, keep=2)
    with mirror.opened(url):
        assert restored(url) == (3, 3)


def test_damaged_copy_is_fetched_again(url: str) -> None:
    with mirror.opened(url):
        save(url, 1, 2)
        path = Workdir(url).checkpoints / names(2)[0]
        stat = path.stat()
        path.write_bytes(path.read_bytes()[:-9] + b"123456789")
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert restored(url) == (2, 2)


def test_checkpoint_that_only_the_copy_has_is_not_trusted(url: str, store: Store) -> None:
    with mirror.opened(url):
        save(url, 1, 2)
    store.remove(f"checkpoints/{names(2)[0]}")
    with mirror.opened(url):
        assert restored(url) == (1, 1)


def test_bucket_that_fails_is_no_damaged_checkpoint(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run would go back to an older one, or to its start."""
    with mirror.opened(url):
        save(url, 1, 2, keep=2)
    with elsewhere(tmp_path, monkeypatch, "other"), mirror.opened(url):
        with monkeypatch.context() as patch:
            patch.setattr(Store, "download", fail)
            with pytest.raises(BucketError, match="gone"):
                restored(url)
        assert restored(url) == (2, 2)


def fail(*_: object, **__: object) -> None:
    raise BucketError("gone")


def test_in_haste_the_newest_goes_up_and_older_ones_stay(url: str, done: list[str]) -> None:
    with mirror.opened(url):
        save(url, 1)
        (mirror.folder_of(url) / "history.csv").write_text("")
        done.clear()
        save(url, 2, 3, hurried=True)
        assert done == [f"checkpoints/{name}" for name in names(2, 3)]
        assert restored(url) == (3, 3)
        done.clear()
        save(url, 4)
        gone = {f"- checkpoints/{name}" for name in names(2, 3)}
        assert gone <= set(done)
        assert done[0] == f"checkpoints/{names(4)[0]}"


def test_best_epoch_is_fetched(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mirror.opened(url):
        save(url, 1, 2, 3)
    with elsewhere(tmp_path, monkeypatch, "other"), mirror.opened(url):
        model, kept = small_model(), checkpoints(url)
        kept.restore_best(model, kept.restore(model))
        assert float(model.weights[0].numpy().max()) == 1


def test_another_worker_reads_what_the_chief_has_written(url: str) -> None:
    with mirror.opened(url) as chief:
        save(url, 1)
        with other_worker(url, chief):
            assert restored(url) == (1, 1)
        save(url, 2, 3)
        with other_worker(url, chief):
            assert restored(url) == (3, 3)
            assert mirror.folder_of(url) != chief.root


@contextlib.contextmanager
def other_worker(url: str, chief: mirror.Mirror) -> Iterator[None]:
    del mirror._OPEN[url]  # It is another process.
    with mirror.opened(url, "runs-1", writes=False):
        yield
    mirror._OPEN[url] = chief


@pytest.mark.parametrize("dry_run", [False, True])
def test_workers_of_one_machine_wait_for_nobody(dry_run: bool, tmp_path: Path) -> None:
    """Each has a copy of its own, or they would never meet."""
    code = (
        "import os, signal; signal.alarm(120)\n"
        "from trainer.config import TrainConfig\n"
        "from trainer.distribute.cluster import Cluster\n"
        "from trainer.main import copied\n"
        f"config = TrainConfig(data_dir='d', workdir='memory://bucket/run', dry_run={dry_run})\n"
        "known = {'launcher': 'tests', 'addresses': ('a:1', 'a:2')}\n"
        "one, two = (Cluster(**known, rank=rank) for rank in (0, 1))\n"
        "with copied(config, one), copied(config, two):\n"
        "    print('met', flush=True); os._exit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**environment(), "XDG_CACHE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout == "met\n", done.stderr


def test_run_that_was_taken_over_writes_no_more(url: str, store: Store, done: list[str]) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.raises(LostLeaseError, match="host far"))
        opened = stack.enter_context(mirror.opened(url))
        save(url, 1, 2)
        holder = json.loads(store.read(lease.NAME)) | {"token": "other", "host": "far"}
        with opened._lease._renewing:  # It does not write over what it has not seen.
            store.write(lease.NAME, json.dumps(holder).encode())
        opened._lease._confirmed -= 60  # Else it looks a few seconds later.
        done.clear()
        save(url, 3)
    assert done == []
    assert json.loads(store.read(lease.NAME))["token"] == "other"


def test_second_run_is_refused(url: str) -> None:
    with mirror.opened(url):
        del mirror._OPEN[url]
        with (
            pytest.raises(RuntimeError, match=f"Another process trains.*Received: {url}, in use"),
            mirror.opened(url),
        ):
            pass
        mirror._OPEN[url] = None
    with mirror.opened(url):  # It was given back.
        pass


def write(url: str, *names: str) -> None:
    for name in names:
        path = mirror.folder_of(url) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")


def test_figures_go_up_last_and_features_not_at_all(url: str, done: list[str]) -> None:
    with mirror.opened(url):
        write(url, "metrics.json", "model.keras", "config.json", "tensorboard/a", "features/f/1",
              "vectors/v", "history.csv.1234abcd.incomplete", "model.incomplete.keras",
              "folds/1-1/metrics.json", "folds/1-1/checkpoints/step-00000001.npz")  # fmt: skip
    assert done == ["tensorboard/a", "config.json", "model.keras", "folds/1-1/metrics.json",
                    "metrics.json"]  # fmt: skip
    done.clear()
    with mirror.opened(url):
        write(url, "history.csv")
        assert (mirror.folder_of(url) / "features/f/1").exists()
    assert done == ["history.csv"]  # The others have not changed.


def test_figures_of_a_run_that_goes_on_are_removed_at_once(url: str, store: Store) -> None:
    run = {"recipe": {"epochs": 2}, "data": {"classes": ["cat"]}}
    with mirror.opened(url):
        Workdir(url).claim(run, {})
        assert store.entry("config.json")
        write(url, "metrics.json")
    with mirror.opened(url):
        Workdir(url).claim({**run, "recipe": {"epochs": 3}}, {})
        assert store.entry("metrics.json") is None
        write(url, "folds/1-1/metrics.json")
        Workdir(url).put_up()
        (mirror.folder_of(url) / "folds/1-1/metrics.json").unlink()  # By the run of a fold.
    assert store.entry("folds/1-1/metrics.json") is None


def test_emptied_cache_removes_nothing_from_the_bucket(url: str, store: Store) -> None:
    with mirror.opened(url):
        write(url, "config.json", "metrics.json")
        Workdir(url).put_up()
        shutil.rmtree(mirror.folder_of(url))
    assert {"config.json", "metrics.json"} <= store.list().keys()


def write_nowhere(root: Path) -> None:
    shutil.rmtree(root)
    (root / "history.csv").write_text("")


def write_nowhere_below(root: Path) -> None:
    (root / "folds/1-1/history.csv").write_text("")


def write_beside_a_new_one(root: Path) -> None:
    shutil.rmtree(root)
    (root / "checkpoints").mkdir(parents=True)
    raise RuntimeError("A fold failed.")


@pytest.mark.parametrize("work", [write_nowhere, write_nowhere_below, write_beside_a_new_one])
def test_copy_that_is_removed_in_the_midst_is_said_to_be(
    work: Callable[[Path], None], url: str, caplog: pytest.LogCaptureFixture, monkeypatch
) -> None:
    root = mirror.copies.copy_of(url, "runs")

    def work_in(path: str | Path) -> None:
        with mirror.opened(path):
            work(root if path == url else Path(path))

    monkeypatch.setattr(mirror, "_HANDED_DOWN", {root: url})
    with pytest.raises(VanishedError, match=f"vanished .*, from {url}. N"):
        work_in(url)
    assert caplog.text == ""  # Nothing is tried to be put up.
    with pytest.raises(VanishedError, match=f"vanished .*, from {url}/folds/1-1. N"):
        work_in(root / "folds/1-1")  # As its process does.


def test_other_errors_are_what_they_are(url: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), mirror.opened(url):
        (tmp_path / "elsewhere").read_text()
    with pytest.raises(FileNotFoundError), mirror.opened(tmp_path / "run"):
        (tmp_path / "run/history.csv").write_text("")


@pytest.mark.parametrize("error", [None, DivergedError])
def test_what_somebody_removed_from_the_bucket_is_back_at_the_end(
    url: str, store: Store, done: list[str], error: type[Exception] | None
) -> None:
    with contextlib.suppress(DivergedError), mirror.opened(url):
        write(url, "config.json", "classes.json")
        Workdir(url).put_up()
        store.remove("config.json")
        done.clear()
        Workdir(url).put_up()  # It does not look: it comes after each epoch.
        assert done == []
        if error:
            raise error
    assert done == ["config.json"]
    assert store.read("config.json") == b"content of config.json"


def test_what_there_is_goes_up_on_the_way_out_of_an_error(url: str, store: Store) -> None:
    with contextlib.suppress(DivergedError), mirror.opened(url):
        write(url, "diverged.json")
        raise DivergedError
    assert store.read("diverged.json") == b"content of diverged.json"


def test_failure_on_the_way_out_of_an_error_is_a_warning(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.suppress(DivergedError), mirror.opened(url):
        write(url, "diverged.json")
        monkeypatch.setattr(Store, "upload", fail)
        raise DivergedError
    assert f"Not all of {url} was put up: gone" in caplog.text


def test_database_goes_up_whole_while_it_is_written_to(url: str, store: Store, tmp_path) -> None:
    with mirror.opened(url):
        path = mirror.folder_of(url) / "study.db"
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.executescript("create table t (n); insert into t values (1);")
            database.execute("insert into t values (2)")  # Not committed.
            mirror.of(url).put_up()
            store.download("study.db", tmp_path / "copy.db")
            with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
                assert copy.execute("select n from t").fetchall() == [(1,)]


def test_checkpoints_of_a_fold_stay_unless_another_machine_went_on(url: str, store: Store) -> None:
    with mirror.opened(url):
        write(url, "folds/1-1/config.json", "folds/1-1/checkpoints/step-00000001.npz")
    checkpoint = "folds/1-1/checkpoints/step-00000001.npz"
    with mirror.opened(url):
        assert (mirror.folder_of(url) / checkpoint).exists()
    store.write("folds/1-1/config.json", b"of another start")
    with mirror.opened(url):
        assert not (mirror.folder_of(url) / checkpoint).exists()
        assert (CrossvalFiles(url).fold(1, 1).config).read_bytes() == b"of another start"


def test_fold_that_was_killed_in_its_first_start_goes_on_on_its_machine(
    url: str, store: Store
) -> None:
    with mirror.opened(url):
        CrossvalFiles(url).claim({"folds": 2})
        assert store.entry("crossval.json")
    checkpoint = mirror.copies.copy_of(url, "runs") / "folds/1-1/checkpoints/step-00000001.npz"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    with mirror.opened(url):
        assert checkpoint.exists()
    store.write("crossval.json", b"of another start")
    with mirror.opened(url):
        assert not checkpoint.exists()


def stop_fold(url: str, *steps: int, newest: int) -> list[str]:
    """A fold whose process leaves these checkpoints is stopped; returns what the bucket holds."""
    with mirror.opened(url):
        shutil.rmtree(folder := CrossvalFiles(url).fold(1, 2).checkpoints, ignore_errors=True)
        write(url, *(f"folds/1-2/checkpoints/{name}" for name in names(*steps)))
        write(url, "tune.json")
        assert mirror.put_newest(folder, in_haste=lambda: True) == folder / names(newest)[0]
        assert Store(url).entry("tune.json")  # Before the end of the grace ends all.
    return sorted(name[-12:] for name in Store(url).list("folds/1-2/checkpoints/"))


def test_newest_checkpoint_of_a_fold_that_was_stopped_is_kept_until_it_is_done(
    url: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stop_fold(url, 8, 16, newest=16) == ["00000016.npz"]
    assert stop_fold(url, 16, 24, newest=24) == ["00000016.npz", "00000024.npz"]
    assert stop_fold(url, 24, 32, newest=32) == ["00000024.npz", "00000032.npz"]
    assert stop_fold(url, 28, newest=28) == ["00000024.npz", "00000028.npz"]  # 32 was damaged.
    with elsewhere(tmp_path, monkeypatch, "other"), mirror.opened(url):
        fold = CrossvalFiles(url).fold(1, 2)
        assert sorted(path.name for path in fold.checkpoints.iterdir()) == names(24, 28)
        write(url, "folds/1-2/metrics.json")
        CrossvalFiles(url).put_up()
        assert mirror.put_newest(fold.checkpoints, in_haste=lambda: True) is None
        assert not store.list("folds/1-2/checkpoints/")
        fold.metrics.unlink()  # It is given more epochs.
        mirror.put_newest(fold.checkpoints, in_haste=lambda: True)
        assert store.entry("folds/1-2/metrics.json") is None
    assert store.entry(f"folds/1-2/checkpoints/{names(28)[0]}")


def test_dataset_is_not_fetched(url: str, store: Store) -> None:
    for name in ("manifest.json", "train-0.tfrecord", "report.html"):
        store.write(name, b"{}")
    with mirror.opened(url):
        there = {path.name for path in mirror.folder_of(url).iterdir()}
    assert there == {"manifest.json", "report.html"}


def test_reader_beside_a_writer_has_what_was_put_up(url: str, store: Store) -> None:
    with mirror.opened(url) as writer:
        write_json(Workdir(url).classes, ["cat"])
        writer.put_up()
        write_json(Workdir(url).classes, ["cat", "dog"])
        del mirror._OPEN[url]  # The reader is another process.
        reader = Workdir.reading(url)
        assert read_json(reader.classes) == ["cat"]
        assert reader.root != writer.root
        mirror._OPEN[url] = writer
    assert read_json(Workdir.reading(url).classes) == ["cat", "dog"]
    store.remove("classes.json")
    with pytest.raises(ValueError, match=f"there is no classes.json. Received: {url}. Train"):
        read_json(Workdir.reading(url).classes)


def test_object_that_is_replaced_while_it_is_fetched_is_fetched_again(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("config.json", b"{}")
    download, news = Store.download, [b'{"second": 2}']

    def replace(self: Store, name: str, path: Path, **how: object) -> str:
        digest = download(self, name, path, **how)
        if news:
            store.write(name, news.pop())
        return digest

    monkeypatch.setattr(Store, "download", replace)
    assert read_json(Workdir.reading(url).config) == {"second": 2}


def test_folder_of_this_machine_is_left_as_it_is(tmp_path: Path) -> None:
    with mirror.opened(tmp_path / "run") as opened:
        assert opened is None
        workdir = Workdir(tmp_path / "run")
        assert (workdir.root, workdir.mirror) == (tmp_path / "run", None)
        assert mirror.shown(workdir.config) == str(tmp_path / "run/config.json")
    assert list(tmp_path.iterdir()) == []


def test_messages_name_the_url(url: str) -> None:
    run = {"recipe": {"epochs": 2}, "data": {"classes": ["cat"], "digest": "a"}}
    with mirror.opened(url):
        workdir = Workdir(url)
        workdir.claim(run, {})
        with pytest.raises(ValueError, match=f"another run. Received: workdir={url}; digest"):
            workdir.check({**run, "data": {"digest": "b"}})
        with pytest.raises(ValueError, match=f"no trained model. Received: {url}."):
            workdir.require_model()
        assert workdir.name == "first"
        assert mirror.shown(workdir.report) == f"{url}/report.html"


def config(tmp_path: Path, init_from: str) -> TrainConfig:
    return TrainConfig(data_dir="data", workdir=str(tmp_path / "new"), init_from=init_from)


@pytest.mark.parametrize("named", ["{}", "{}/model.keras"])
def test_model_to_start_from_is_the_same_in_a_bucket(
    url: str, store: Store, tmp_path: Path, named: str
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with zipfile.ZipFile(run / "model.keras", "w") as file:
        file.writestr("model.weights.h5", "numbers")
    write_json(run / "classes.json", ["cat", "dog"])
    for path in run.iterdir():
        store.upload(path, path.name)
    local, remote = (config(tmp_path, named.format(base)) for base in (run, url))
    assert initial_model.digest(remote) == initial_model.digest(local)
    store.remove("model.keras")
    with pytest.raises(ValueError, match=f"there is no {url}/model.keras. Name another one"):
        initial_model.digest(remote)


def test_weights_come_from_a_bucket(store: Store, url: str) -> None:
    store.write("weights.h5", b"no HDF5")
    with pytest.raises(WeightsError, match=f"Tried {url}/weights.h5: not an HDF5 file"):
        check_path(f"{url}/weights.h5", VGG16)
    with pytest.raises(WeightsError, match=f"Tried {url}/none.h5: no such file"):
        check_path(f"{url}/none.h5", VGG16)


def test_dry_run_names_where_the_runs_features_will_be(url: str, tmp_path: Path) -> None:
    with mirror.opened(url, mirror.TRIED, writes=False):
        workdir = Workdir(url)
    assert mirror.shown(workdir.report) == f"{url}/report.html"
    assert mirror.shown(workdir.features) == f"{mirror.copies.copy_of(url, 'runs')}/features"


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("crossval.json", "a cross-validation. Received: {0}. Name one of its runs, as {0}/folds"),
        ("tune.json", "a search .*. Received: {0}. Train .* --flagfile={0}/best.flags "),
    ],
)
def test_reader_of_many_runs_is_pointed_to_one(
    name: str, advice: str, url: str, store: Store, tmp_path: Path
) -> None:
    store.write(name, b"{}")
    (tmp_path / name).write_text("{}")
    for path in (url, tmp_path):
        with pytest.raises(ValueError, match=advice.format(path)):
            Workdir.reading(path)
