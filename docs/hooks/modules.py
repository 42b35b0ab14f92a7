"""The map of the code: a page of every file and the one sentence that it begins with."""

import ast
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_PACKAGES = ("buckets", "cli", "data_prep", "tfrecords", "trainer", "launch", "benchmarks")

_INTRODUCTION = """# Map of the code

Every file, by the sentence that it begins with. [Design and recipes](design.md) says how they
belong together, and which of them to touch.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the page."""
    root = Path(config.config_file_path).parent
    sections = [_section(root, root / package) for package in _PACKAGES]
    content = "\n".join([_INTRODUCTION, *sections])
    files.append(File.generated(config, "modules.md", content=content))
    return files


def _section(root: Path, folder: Path) -> str:
    """A package with its files, then its rooms."""
    level = len(folder.relative_to(root).parts) + 1
    lines = [
        f"{'#' * level} {folder.relative_to(root)}/",
        "",
        _sentence(folder / "__init__.py"),
        "",
    ]
    modules = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
    if modules:
        lines += ["| | |", "|---|---|"]
        lines += [f"| `{path.name}` | {_sentence(path)} |" for path in modules]
    rooms = [path.parent for path in sorted(folder.glob("*/__init__.py"))]
    return "\n".join([*lines, "", *(_section(root, room) for room in rooms)])


def _sentence(path: Path) -> str:
    """The first line of its docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].replace("<", "&lt;").replace("|", r"\|").replace("*", r"\*")
