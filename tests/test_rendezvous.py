"""Workers that meet before TensorFlow starts: threads of this process, over the loopback device."""

import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.support.ports import free_ports
from trainer.distribute import rendezvous
from trainer.distribute.cluster import Cluster


def workers(count: int) -> list[Cluster]:
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(count))
    return [Cluster(launcher="any", addresses=addresses, rank=rank) for rank in range(count)]


def start(pool: ThreadPoolExecutor, *come: Cluster, timeout_s: float = 60) -> list[Future[None]]:
    return [pool.submit(rendezvous.meet, worker, timeout_s, 0.1) for worker in come]


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("count", [2, 9])
@pytest.mark.parametrize("last", [0, 1])
def test_nobody_goes_on_before_the_last_has_come(count: int, last: int) -> None:
    everyone = workers(count)
    with ThreadPoolExecutor(count) as pool:
        others = start(pool, *(worker for worker in everyone if worker.rank != last))
        time.sleep(0.3)
        assert not any(other.done() for other in others)
        for other in [*others, *start(pool, everyone[last])]:
            other.result()
    everyone[0].check_port()  # It is TensorFlow's now.


def test_chief_names_who_is_missing_until_the_time_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chief = workers(3)[0]
    with pytest.raises(RuntimeError, match=r"3 workers came within 0\.5 s") as error:
        rendezvous.meet(chief, 0.5, 0.1)
    assert f"worker 1 ({chief.addresses[1]}), worker 2 ({chief.addresses[2]}). " in str(error.value)
    assert "--rendezvous_timeout_s" in str(error.value)


def test_chief_names_only_who_has_not_come_yet(caplog: pytest.LogCaptureFixture) -> None:
    chief, early, late = workers(3)
    with ThreadPoolExecutor(3) as pool:
        ends = start(pool, chief, early)
        alone = f"s: no word from worker 2 ({chief.addresses[2]})."
        wait_until(lambda: caplog.text.rstrip().endswith(alone))
        spoke = len(lines_of("Worker 1", caplog))
        wait_until(lambda: len(lines_of("Worker 0", caplog)) >= spoke + 3)
        assert len(lines_of("Worker 1", caplog)) == spoke  # The chief speaks for all.
        for end in (*ends, *start(pool, late)):
            end.result()


def lines_of(worker: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records]
    return [line for line in lines if line.startswith(worker)]


@pytest.mark.parametrize(
    ("host", "reason"),
    [("127.0.0.1", "Connection refused"), ("nowhere.invalid", "")],
)
def test_other_workers_name_a_chief_that_is_missing(
    host: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    chief, other = free_ports(2)
    addresses = (f"{host}:{chief}", f"127.0.0.1:{other}")
    worker = Cluster(launcher="any", addresses=addresses, rank=1)
    with ThreadPoolExecutor(1) as pool:
        [end] = start(pool, worker, timeout_s=1)
    assert "Received by worker 1: no word from worker 0" in str(end.exception())
    assert f"no word from worker 0 ({host}:{chief}: {reason}" in caplog.text + str(end.exception())


def test_worker_that_ends_while_it_waits_is_missing_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chief, doomed, late = workers(3)
    with ThreadPoolExecutor(3) as pool:
        [first] = start(pool, chief)
        with pytest.raises(RuntimeError):
            rendezvous.meet(doomed, 0.6, 0.1)  # It comes, gives up, and comes again.
        wait_until(lambda: "worker 1 (" in caplog.text.rpartition("Worker 0")[2])
        [third] = start(pool, late)
        time.sleep(0.3)
        assert not first.done()
        assert not third.done()
        for end in (first, third, *start(pool, doomed)):
            end.result()


def test_who_is_none_of_the_run_is_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    chief, other = workers(2)
    address = ("127.0.0.1", int(chief.addresses[0].rpartition(":")[2]))
    stranger = Cluster(launcher="any", addresses=(chief.addresses[0], "other:1"), rank=1)
    with ThreadPoolExecutor(3) as pool:
        [first] = start(pool, chief)
        wait_until(lambda: not socket.socket().connect_ex(address))
        silent = socket.create_connection(address)
        loud = socket.create_connection(address)
        loud.sendall(b"GET / HTTP/1.1\r\n\r\n")

        def is_told() -> bool:
            [alien] = start(pool, stranger, timeout_s=2)
            return "is the chief of another run" in caplog.text + str(alien.exception())

        assert any(is_told() for _ in range(9))  # The first time, where nothing holds it up.
        assert not first.done()
        for end in (first, *start(pool, other)):
            end.result()
    silent.close()
    loud.close()
