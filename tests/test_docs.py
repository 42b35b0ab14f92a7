"""What README and docs/ quote stands in the code: messages, files, commands and their flags."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.support.miniature import REPOSITORY, environment

PACKAGES = ("buckets", "cli", "data_prep", "tfrecords", "trainer", "launch")
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
VERBS = {
    "build": "data_prep.build",
    "verify": "data_prep.verify",
    "train": "trainer.main",
    "evaluate": "trainer.evaluate",
    "predict": "trainer.predict",
    "explain": "trainer.explain",
    "serve": "trainer.serve",
    "crossval": "trainer.crossval",
    "tune": "trainer.tune",
    "export": "trainer.export",
    "launch": "launch.run",
}
FILE = re.compile(
    r"`((?:%s|benchmarks|tests|docs)/[\w/]*(?:\.\w+|/))`" % "|".join(PACKAGES)  # noqa: UP031
)
COMMAND = re.compile(r"(?:python -m ([\w.]+)|animals (%s)\b)([^`\n#]*)" % "|".join(VERBS))  # noqa: UP031


def texts_of(path: Path) -> list[str]:
    """The strings of a file; what an f-string fills in is a gap, which no quotation matches."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def messages() -> list[str]:
    page = (REPOSITORY / "docs/troubleshooting.md").read_text()
    return re.findall(r"^### (.+)$", page, re.MULTILINE)


@cache
def texts() -> list[str]:
    files = [path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py")]
    return [text for path in files for text in texts_of(path)]


@pytest.mark.parametrize("message", messages())
def test_message_that_troubleshooting_quotes_stands_in_the_code(message: str) -> None:
    assert any(message in text for text in texts())


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    names = FILE.findall(page.read_text())
    assert [name for name in names if not (REPOSITORY / name).exists()] == []


def commands() -> set[tuple[str, str]]:
    """(module, flag) of every command that a page quotes; what stands behind -- is another's."""
    found = set()
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        for module, verb, rest in COMMAND.findall(text):
            own, _, behind = rest.partition(" -- ")
            module = module or VERBS[verb]
            found |= {(module, flag) for flag in flags_of(own)}
            behind_is = "data_prep.build" if "--build_tasks" in own else "trainer.main"
            found |= {(behind_is, flag) for flag in flags_of(behind)}
    return found


def flags_of(text: str) -> list[str]:
    """`--beam_args=--runner=...` is one flag: those of others stand in its value."""
    return re.findall(r"(?<!\S)['\"]?--(\w+)", text)


@cache
def known_flags(module: str) -> str:
    """What a command's --help names; a benchmark's source, as its --help imports TensorFlow."""
    if module.split(".")[0] in ("benchmarks", "tests"):
        return (REPOSITORY / f"{module.replace('.', '/')}.py").read_text()
    return subprocess.run(
        [sys.executable, "-m", module, "--help"],
        capture_output=True, text=True, env=environment(), check=True,
    ).stdout  # fmt: skip


@pytest.mark.parametrize("module", sorted({module for module, _ in commands()}))
def test_flags_that_pages_quote_are_there(module: str) -> None:
    wanted = {flag for name, flag in commands() if name == module}
    if module.split(".")[0] in ("benchmarks", "tests"):
        missing = [flag for flag in wanted if f'"{flag}"' not in known_flags(module)]
    else:
        known = set(re.findall(r"--(?:\[no\])?(\w+)", known_flags(module)))
        missing = sorted(wanted - known)
    assert missing == []
