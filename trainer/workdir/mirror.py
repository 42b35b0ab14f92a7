"""Runs in buckets: a copy on this machine that everything works in, and what goes up from it.

The bucket is the truth. What a command begins with is what is there, and what a run leaves goes up
with each checkpoint and at the end. Features are computed anew where they are not: they stay here.
"""

import concurrent.futures
import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from absl import logging

from buckets import copies, urls
from cli import lock
from trainer.workdir import mirrored

if TYPE_CHECKING:  # A local run needs no client of a bucket.
    from buckets.lease import Lease
    from buckets.replica import Replica
    from buckets.store import Entry

_AT_ONCE = 8


class Mirror:
    """The copy of one run, cross-validation or search, and what lies in the bucket of it.

    Attributes:
        url: As `urls.normalise` returns it.
        root: The copy.
        writes: Whether this process is the one that writes.
    """

    _replica: "Replica"

    def __init__(self, url: str, kind: str, writes: bool) -> None:
        from buckets.store import Store

        self.url, self.writes = url, writes
        self.root = copies.copy_of(url, kind)
        self.store = Store(url)
        self._changing = threading.RLock()
        self._checkpoints: set[str] = set()
        self._of_folds: set[str] = set()  # Checkpoints of folds that were stopped.
        self._given_up: set[Path] = set()
        self._writing: concurrent.futures.Future[None] | None = None
        self._lease: Lease | None = None

    @contextlib.contextmanager
    def leased(self) -> Iterator[None]:
        """Keeps others out: of the copy by a lock of this machine, of the bucket by a lease.

        Raises:
            RuntimeError: if another process is inside.
            BucketError: if that cannot be told.
        """
        from buckets.lease import Lease

        self.root.parent.mkdir(parents=True, exist_ok=True)
        path = self.root.with_name(f"{self.root.name}.lock")
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(lock.NoLocksError):  # The lease is enough.
                stack.enter_context(
                    lock.hold(path, lambda path: in_use(self.url, lock.holder(path)))
                )
            lease = Lease(self.store, lambda holder: in_use(self.url, holder), logging.warning)
            stack.callback(lease.release)
            lease.take()
            self._lease = lease
            yield

    def begin(self) -> None:
        """Makes the copy what the bucket holds; a run's checkpoints are fetched when it needs them.

        Those of folds are fetched, whose processes know of no bucket.

        Raises:
            BucketError: if it cannot be read.
        """
        from buckets.replica import Replica

        self.root.mkdir(parents=True, exist_ok=True)
        self._replica = Replica(self.store, self.root)
        entries = self.store.list()
        self._checkpoints = mirrored.checkpoints(entries)
        self._of_folds = (
            {name for name in entries if mirrored.is_of_fold(name)} if self.writes else set()
        )
        for name in self._names():
            if name not in entries and not self._may_stay(name, entries):
                self._replica.forget(name)
        wanted = [name for name in entries if mirrored.is_fetched(name) or name in self._of_folds]
        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda name: self._replica.fetch(name, entries[name]), wanted))
        self._replica.save()

    def _may_stay(self, name: str, entries: dict[str, "Entry"]) -> bool:
        """Whether a file that only the copy has is kept.

        Features are; and the checkpoints of a fold that nobody has gone on with elsewhere, of which
        the newest alone goes up, and that at a stop.
        """
        parts = PurePosixPath(name).parts
        if parts[0] in mirrored.STAY_HERE:
            return True
        if mirrored.CHECKPOINTS not in parts[1:]:
            return False
        identity = "/".join([*parts[: parts.index(mirrored.CHECKPOINTS)], "config.json"])
        if identity not in entries and parts[0] == mirrored.FOLDS:
            identity = mirrored.CROSSVAL_FILE  # It was killed in its first start.
        return identity in entries and self._replica.has_seen(identity, entries[identity])

    def put_up(self, *, and_what_is_gone: bool = False) -> None:
        """Puts up whatever has changed, but checkpoints; `metrics.json` last.

        Args:
            and_what_is_gone: Whether to look what somebody has removed from the bucket, and to put
                that up again.

        Raises:
            LostLeaseError: if another process has taken the run over.
            BucketError: if it cannot be written.
        """
        with self._changing:
            self.require()
            self._remove_old_figures()
            there = self.store.list() if and_what_is_gone else None
            for name in sorted(self._names(), key=mirrored.place):
                is_gone = there is not None and name not in there
                if not mirrored.is_put_up(name) or (
                    self._replica.is_unchanged(name) and not is_gone
                ):
                    continue
                self.require()  # Many files may take long.
                with contextlib.suppress(FileNotFoundError):  # Removed meanwhile.
                    is_model = name.endswith(".keras")
                    self._replica.put(name, compared=is_model, snapshot=not is_model)
            self._replica.save()
            self._remove_of_folds({name for name in self._of_folds if self._is_done(name)})

    def _remove_old_figures(self) -> None:
        """Removes figures that stand for a run that is finished, where it goes on."""
        for name in self._replica.names():
            if PurePosixPath(name).name == mirrored.LAST and self._is_removed(name):
                self._replica.remove(name)

    def _is_done(self, name: str) -> bool:
        """Whether nobody needs the checkpoint of a fold any more."""
        fold = (self.root / name).parents[1]
        return fold in self._given_up or (fold / mirrored.LAST).exists()

    def _remove_of_folds(self, names: set[str]) -> None:
        """Removes checkpoints of folds from the bucket alone."""
        self.store.remove(*names)
        self._of_folds -= names

    def _is_removed(self, name: str) -> bool:
        """Whether a file is gone, and its folder is not: a cache may be emptied at any time."""
        path = self.root / name
        return path.parent.is_dir() and not path.exists()

    def remove(self, path: Path) -> None:
        """Removes a file in the bucket and here, at once."""
        with self._changing:
            self.require()
            self._replica.remove(self._name(path))
            self._checkpoints.discard(self._name(path))

    def require(self) -> None:
        """Returns if this process still is the one that writes.

        Raises:
            LostLeaseError: if it is not.
        """
        assert self._lease
        self._lease.require()

    @property
    def is_lost(self) -> bool:
        """Whether another process is known to have taken the run over."""
        return self._lease is not None and self._lease.is_lost

    def checkpoints(self) -> set[Path]:
        """Where the checkpoints that the bucket holds are in the copy, or would be."""
        if not self.writes:  # Another process may have written or removed some.
            self._checkpoints = mirrored.checkpoints(self.store.list(f"{mirrored.CHECKPOINTS}/"))
        return {self.root / name for name in self._checkpoints}

    def fetch(self, path: Path, *, anew: bool = False) -> None:
        """Fetches a checkpoint, if it is not there.

        Raises:
            FileNotFoundError: if the bucket has none of this name.
            BucketError: if it cannot be read.
        """
        with self._changing:
            self._replica.fetch(self._name(path), anew=anew)
            self._replica.save()

    def put_checkpoint(self, path: Path, in_haste: Callable[[], bool]) -> None:
        """Puts up a checkpoint, reads it back, and puts it up again if it is not the file.

        Args:
            in_haste: Says whether there is no time to read it back.

        Raises:
            LostLeaseError: if another process has taken the run over.
            BucketError: if it cannot be written.
        """
        with self._changing:
            self.require()
            self._replica.put(self._name(path), compared=True, in_haste=in_haste, snapshot=False)
            self._checkpoints.add(self._name(path))
            self._replica.save()
        logging.info("The checkpoint is in the bucket: %s.", shown(path))

    def put_newest(self, folder: Path, in_haste: Callable[[], bool]) -> Path | None:
        """Puts up the newest checkpoint of a fold that was stopped, and keeps the one before it.

        Then whatever else has changed: without its study, a search would draw another trial, and
        hold the checkpoint for that one's.

        Args:
            folder: Its checkpoints, which the fold's process has written.
            in_haste: As `put_checkpoint` takes it.

        Returns:
            The checkpoint; None where there is none yet, or nobody needs it any more.

        Raises:
            LostLeaseError: if another process has taken the run over.
            BucketError: if it cannot be written.
        """
        paths = sorted(folder.glob("step-*.npz"), key=mirrored.step)
        if not paths or self._is_done(self._name(paths[-1])):
            return None
        newest = self._name(paths[-1])
        with self._changing:
            self.require()
            self._remove_old_figures()  # With them, it would pass for one that nobody needs.
            entry = self.store.entry(newest)
            if entry is None or not self._replica.is_current(newest, entry):
                self._replica.put(newest, compared=True, in_haste=in_haste, snapshot=False)
            there = {name for name in self._of_folds if (self.root / name).parent == folder}
            before = [name for name in there if mirrored.step(name) < mirrored.step(newest)]
            self._of_folds.add(newest)
            kept = {newest, *sorted(before, key=mirrored.step)[-1:]}
            self._remove_of_folds(there - kept)
            self.put_up()
        return paths[-1]

    def give_up(self, fold: Path) -> None:
        """Has checkpoints of a fold that will not go on removed, once all the rest is put up."""
        self._given_up.add(fold)

    def follow(self, writing: "concurrent.futures.Future[None]") -> None:
        """Takes what writes a checkpoint, which is waited for before the run is given back."""
        self._writing = writing

    def end(self) -> None:
        """Returns once no checkpoint is being written."""
        if self._writing:
            concurrent.futures.wait([self._writing])

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _names(self) -> list[str]:
        """The files of the copy; what a link leads to is none of them."""
        return [
            self._name(Path(folder) / file)
            for folder, _, files in os.walk(self.root)
            for file in files
            if not (Path(folder) / file).is_symlink()
        ]


_OPEN: dict[str, Mirror] = {}  # By the URL: what this process works in.
_COPIES = "ANIMALS_COPIES"  # In the environment of a command that works in another one's copy.


def _handed_down(variables: Mapping[str, str]) -> dict[Path, str]:
    """The URL of each copy that another process has made, puts up, and has this one work in."""
    return {Path(root): url for root, url in json.loads(variables.get(_COPIES, "{}")).items()}


_HANDED_DOWN = _handed_down(os.environ)
_GIVEN: dict[Path, str] = {**_HANDED_DOWN}  # The URL that a copy is of.
TRIED = "tried"  # The kind of a copy that a dry run has beside the run's.


@contextlib.contextmanager
def opened(
    path: str | os.PathLike[str], kind: str = "runs", *, writes: bool = True
) -> Iterator[Mirror | None]:
    """Makes a copy of what lies in a bucket, in which `Workdir` and the like are from then on.

    At the end, however it comes, what has changed is put up. A folder of this machine is left as
    it is, and None is yielded.

    Args:
        kind: Processes of one machine that work on one URL at a time need one of their own.
        writes: Whether this is the one process that writes. Another one is neither kept out nor
            does it put anything up.

    Raises:
        RuntimeError: if another process writes there, or has taken over.
        BucketError: if the bucket cannot be read or written; within 10 seconds, if it cannot be
            reached.
        ValueError: if the platform's cache folder cannot be written.
    """
    if not urls.is_remote(os.fspath(path)):
        with _noticed(Path(path)) if is_handed_down(path) else contextlib.nullcontext():
            yield None
        return
    from buckets.replica import held

    url = urls.normalise(os.fspath(path))
    mirror = Mirror(url, kind, writes)
    copies.require(mirror.root.parent)
    mirror.store.check(writes=writes)
    _GIVEN[mirror.root] = url
    with mirror.leased() if writes else held(mirror.root, logging.warning):
        mirror.begin()
        _OPEN[url] = mirror
        try:
            with _noticed(mirror.root):
                yield mirror
                mirror.end()
                if writes:
                    mirror.put_up(and_what_is_gone=True)
        except BaseException as error:
            if writes:
                _save_what_can_be(mirror, error)
            raise
        finally:
            del _OPEN[url]


def _noticed(root: Path) -> contextlib.AbstractContextManager[None]:
    """Says so where somebody removes a copy in the midst of the work in it."""
    from buckets import removal

    return removal.noticed(root, shown(root))


def _save_what_can_be(mirror: Mirror, error: BaseException) -> None:
    """Puts up what there is, on the way out of an error that is to be shown, not another one."""
    from buckets.failures import BucketError
    from buckets.lease import LostLeaseError
    from buckets.removal import VanishedError

    mirror.end()
    # It would go wrong again, the first for minutes.
    if isinstance(error, (BucketError, LostLeaseError, VanishedError)):
        return
    try:
        mirror.put_up(and_what_is_gone=True)
    except Exception as second:
        logging.warning("Not all of %s was put up: %s", mirror.url, second)


def of(path: str | os.PathLike[str]) -> Mirror | None:
    """What this process has opened for a path; None of a folder of this machine."""
    return _OPEN.get(urls.normalise(os.fspath(path)))


def folder_of(path: str | os.PathLike[str]) -> Path:
    """Where the files are: in the folder itself; of a URL, in its copy."""
    if not urls.is_remote(os.fspath(path)):
        return Path(path)
    if mirror := of(path):
        return mirror.root
    root = copies.copy_of(os.fspath(path), "read")
    _GIVEN[root] = urls.normalise(os.fspath(path))
    return root


def read(
    path: str | os.PathLike[str], names: Sequence[str] = mirrored.RUN, *, writes: bool = False
) -> Path:
    """Returns where the files are, for who does not write them; of a URL, copies as they are now.

    They are no files of `opened`, which another process may be working in.

    Args:
        names: Of the files that are needed. One that is not there in the bucket is not there here.
        writes: Whether `put` is to follow: that it can be is looked up first.

    Raises:
        RuntimeError: if the client of its store is not installed.
        BucketError: if the bucket cannot be read.
    """
    if not urls.is_remote(os.fspath(path)):
        return Path(path)
    from buckets.replica import fetched

    root = fetched(os.fspath(path), names, writes=writes)
    _GIVEN[root] = urls.normalise(os.fspath(path))
    return root


def put(*paths: Path) -> None:
    """Puts up files that were written into what `read` returned; of a URL, one after the other.

    Raises:
        BucketError: if one cannot be written.
    """
    for path in paths:
        root = next((root for root in _GIVEN if path.is_relative_to(root)), None)
        if root is not None:
            from buckets.store import Store

            Store(_GIVEN[root]).upload(path, path.relative_to(root).as_posix(), compared=True)


def environment() -> dict[str, str]:
    """What a command is given that is to work in a copy of this process, and to speak of URLs."""
    copied = {str(each.root): each.url for each in _OPEN.values()}
    return {_COPIES: json.dumps(copied)} if copied else {}


def put_newest(folder: Path, in_haste: Callable[[], bool]) -> Path | None:
    """Puts up the newest checkpoint of a fold that was stopped, and the rest, as `Mirror` does.

    Returns:
        The checkpoint; None where there is none to put up, and of a fold in no bucket.
    """
    mirror = _around(folder)
    return mirror.put_newest(folder, in_haste) if mirror else None


def is_put_up_by_another() -> bool:
    """Whether what this process writes is put into a bucket by the one that started it."""
    return bool(_HANDED_DOWN)


def is_handed_down(path: str | os.PathLike[str]) -> bool:
    """Whether a path is in a copy of the process that started this one, which puts it up."""
    return any(Path(path).is_relative_to(root) for root in _HANDED_DOWN)


def is_leased(path: Path) -> bool:
    """Whether a path is in a copy that this process keeps others out of."""
    return (mirror := _around(path)) is not None and mirror.writes


def _around(path: Path) -> Mirror | None:
    """What this process has opened that a path is in."""
    return next((each for each in _OPEN.values() if path.is_relative_to(each.root)), None)


def shown(path: Path) -> str:
    """What a person is told of a path: of one in a copy, the URL, if it goes up."""
    return url_of(path) or str(_of_the_run(path))


def url_of(path: Path) -> str | None:
    """The URL of what a path is a copy of; None where it is none, and stays here."""
    for root, url in _GIVEN.items():
        if path.is_relative_to(root):
            parts = path.relative_to(root).parts
            return None if parts and parts[0] in mirrored.STAY_HERE else urls.join(url, *parts)
    return None


def _of_the_run(path: Path) -> Path:
    """Where a file will be that a dry run speaks of."""
    for root, url in _GIVEN.items():
        if path.is_relative_to(root) and root.parent.name == TRIED:
            return copies.copy_of(url, "runs") / path.relative_to(root)
    return path


def in_use(workdir: str, holder: str) -> str:
    """What to tell a person who starts a second process in a workdir."""
    return (
        f"Another process trains in this workdir. Received: {workdir}, in use by "
        f"{holder}. Wait for it, end it, or name another --workdir. (One process uses "
        "all GPUs of its machine: start no copies of it.)"
    )
