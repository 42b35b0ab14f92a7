"""The server as a user starts it: its page in a browser, many clients at once, and its end."""

import base64
import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import trained_run, warm
from tests.support.coco_folder import jpeg
from tests.support.miniature import environment, python

CHROMIUM = Path("/usr/bin/chromium")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-first-run"]  # fmt: skip

# The server, whose model waits at a gate while there is one.
GATED = """
import sys, time
from pathlib import Path
from typing import Any
gate = Path(sys.argv.pop())
import trainer
from trainer.inference.classifier import Classifier
compute = Classifier.probabilities
def wait(self, squares):
    while gate.exists():
        time.sleep(0.01)
    return compute(self, squares)
Classifier.probabilities = wait
from trainer import serve
serve.run()
"""


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run.write(tmp_path_factory.mktemp("run") / "first")


@pytest.fixture(scope="module")
def url(workdir: Path) -> Iterator[str]:
    with serving("-m", "trainer.serve", f"--workdir={workdir}") as (_, url):
        yield url


@contextlib.contextmanager
def serving(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Starts a server, and yields its process and address once it answers."""
    process = subprocess.Popen(
        warm.up([sys.executable, *words[:2], "--port=0", *words[2:]]),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found, process.communicate()[1]
        yield process, found[0]
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate()
    assert process.returncode == 0


def test_200_clients_at_once_are_all_answered_as_predict_answers(
    url: str, workdir: Path, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{number}.jpg" for number in range(200)]
    for number, path in enumerate(paths):
        path.write_bytes(jpeg(number))
    words = ["-m", "trainer.predict", f"--workdir={workdir}", "--format=json", *map(str, paths)]
    said = subprocess.run(
        warm.up([sys.executable, *words]), capture_output=True, env=environment(), check=True
    )
    with httpx.Client(timeout=300, limits=httpx.Limits(max_connections=200)) as client:

        def ask(path: Path) -> list[dict]:
            files = {"image": (str(path), path.read_bytes())}
            return client.post(f"{url}predict", files=files).json()

        with ThreadPoolExecutor(200) as clients:
            answers = [answer for [answer] in clients.map(ask, paths)]
    for answer, expected in zip(answers, json.loads(said.stdout), strict=True):
        assert answer["image"] == expected["image"]
        for mine, its in zip(answer["predictions"], expected["predictions"], strict=True):
            assert mine["class"] == its["class"]
            assert mine["probability"] == pytest.approx(its["probability"], abs=1e-6)


def test_person_drops_photographs_on_the_page_and_reads_their_bars(
    url: str, tmp_path: Path
) -> None:
    if not CHROMIUM.exists():
        pytest.skip("needs Chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    expected = {f"<b>{number}.jpg": post(f"{url}predict", number).json()[0] for number in (1, 2)}
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page()
        page.set_default_timeout(180_000)  # Other tests may be at work.
        fetched: list[str] = []
        errors: list[str] = []
        page.on("request", lambda request: fetched.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        drop(page, {name: jpeg(number) for number, name in enumerate(expected, 1)})
        page.get_by_text("2 photographs answered").wait_for()
        for name, answer in expected.items():
            figure = page.locator("figure", has_text=name)
            assert figure.locator(".bar").all_inner_texts() == [
                f"Probability {each['probability']:.2%} of [{each['class']}]"
                for each in answer["predictions"]
            ]
            assert figure.locator("b").inner_text() == answer["predictions"][0]["class"]
        look = page.get_by_role("button", name="Where it looked: <b>1.jpg")
        heat = page.get_by_role("img", name="Where it looked for")
        assert (heat.count(), look.get_attribute("aria-pressed")) == (0, "false")
        look.press("Enter")
        heat.wait_for()
        assert heat.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [32, 24]
        assert look.get_attribute("aria-pressed") == "true"
        look.click()
        heat.wait_for(state="hidden")
        assert look.get_attribute("aria-pressed") == "false"
        page.route("**/explain", lambda route: route.abort())
        page.get_by_role("button", name="Where it looked: <b>2.jpg").click()
        page.get_by_text("The server cannot be reached").wait_for()
        (tmp_path / "notes.jpg").write_text("no photograph")
        page.set_input_files("input", tmp_path / "notes.jpg")
        page.get_by_text("3 photographs answered, 1 of them refused").wait_for()
        assert page.locator("figure.refused b").inner_text() == "Not an image"
        page.get_by_role("button", name="Clear").click()
        assert page.locator("figure").count() == 0
        browser.close()
    assert errors == []
    assert all(each.startswith((url, "blob:")) for each in fetched), fetched


def drop(page: Any, photographs: dict[str, bytes]) -> None:
    """Drops files on the page, as a person does with a mouse."""
    given = [[name, base64.b64encode(each).decode()] for name, each in photographs.items()]
    transfer = page.evaluate_handle(
        """given => {
          const transfer = new DataTransfer();
          for (const [name, text] of given) {
            const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
            transfer.items.add(new File([bytes], name, {type: "image/jpeg"}));
          }
          return transfer;
        }""",
        given,
    )
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event(".drop", event, {"dataTransfer": transfer})


def test_what_was_accepted_by_sigterm_is_answered_before_the_end(
    workdir: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    arguments = (f"--workdir={workdir}", str(gate))
    with serving("-c", GATED, *arguments) as (process, url), ThreadPoolExecutor(40) as clients:
        gate.touch()
        asked = [
            clients.submit(post, f"{url}{path}", n)
            for n, path in enumerate(["predict"] * 39 + ["explain"])
        ]
        wait_until(lambda: "\nanimals_photographs_inside 40.0\n" in figures(url))
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: not listens(url))
        gate.unlink()
        assert [each.result().status_code for each in asked] == [200] * 40
        assert process.wait(300) == 0
        assert process.stderr is not None
        assert process.stderr.read().endswith("Loading TensorFlow and the model ...\n")


def post(url: str, number: int) -> httpx.Response:
    return httpx.post(url, files={"image": jpeg(number)}, timeout=300)


def figures(url: str) -> str:
    return httpx.get(f"{url}metrics", timeout=300).text


def listens(url: str) -> bool:
    port = int(url.rstrip("/").rpartition(":")[2])
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_until(holds: Callable[[], bool], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_what_cannot_be_served_is_said_on_one_line(url: str, workdir: Path, tmp_path: Path) -> None:
    port = url.rstrip("/").rpartition(":")[2]
    damaged = trained_run.write(tmp_path / "damaged")
    model = damaged / "model.keras"
    model.write_bytes(model.read_bytes()[: model.stat().st_size // 2])
    for flags, said in (
        ((f"--workdir={workdir}", f"--port={port}"), "another program listens there. Give"),
        ((f"--workdir={workdir}", "--host=192.0.2.1"), "it is no address of this machine"),
        ((f"--workdir={workdir}", "--host=no.such.host.invalid"), "The host is not known: "),
        ((f"--workdir={tmp_path}/no",), f"{tmp_path}/no"),
        ((f"--workdir={damaged}",), "The trained model is damaged"),
    ):
        done = python("trainer.serve", *flags)
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        [line] = done.stderr.splitlines()
        assert line.startswith("Error: ")
        assert said in line
