"""The flag reference: a page made from what absl knows of each command, in its own words.

Each command is asked in a process of its own, as no two may define their flags in one. What it
answers with comes from its config's fields, so the page says what `--help` says.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

COMMANDS = {
    "data_prep.build": "animals build",
    "data_prep.verify": "animals verify",
    "trainer.main": "animals train",
    "trainer.evaluate": "animals evaluate",
    "trainer.predict": "animals predict",
    "trainer.crossval": "animals crossval",
    "trainer.tune": "animals tune",
    "trainer.explain": "animals explain",
    "trainer.export": "animals export",
    "trainer.serve": "animals serve",
    "launch.run": "animals launch",
}

_INTRODUCTION = """# Flags

This page is made from the commands themselves, so it says what `--help` says. Three things hold
for all of them:

- `-h` or `--help` prints a command's flags, `--helpfull` those of its libraries too, `--version`
  the version.
- `--flagfile=FILE` reads flags from a file, one a line. It is the config file of this project.
- `--verbosity=1` shows the traceback of an error, `--verbosity=-1` only warnings.

Exit codes: 0 done; 1 failed, with one line that says why; 2 a wrong flag; 42 stopped with the
finished work kept, so that the same command goes on.
"""

# Prints a command's own flags as JSON, in the order in which `--help` has them.
_ASK = """
import importlib, json, sys
from absl import flags
importlib.import_module(sys.argv[1])
print(json.dumps([
    {
        "name": flag.name,
        "boolean": flag.boolean,
        "help": flag.help,
        "kind": flag.parser.syntactic_help,
        "choices": list(getattr(flag.parser, "enum_values", None) or []),
        "default": (flag.default_as_str or "").strip("'"),
        "required": any(not check.checker(None) for check in flag.validators),
    }
    for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[1])
]))
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the page."""
    root = Path(config.config_file_path).parent
    sections = [_section(module, _flags(module, root)) for module in COMMANDS]
    content = "\n".join([_INTRODUCTION, *sections])
    files.append(File.generated(config, "flags.md", content=content))
    return files


def _flags(module: str, root: Path) -> list[dict[str, Any]]:
    asked = [sys.executable, "-c", _ASK, module]
    done = subprocess.run(asked, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{module} does not say its flags. Received: {done.stderr.strip()}")
    return json.loads(done.stdout)


def _section(module: str, found: list[dict[str, Any]]) -> str:
    needed = [flag for flag in found if flag["required"]]
    optional = [flag for flag in found if not flag["required"]]
    entries = "\n".join(_entry(module, flag) for flag in [*needed, *optional])
    return f"## {module}\n\n`python -m {module}`, or `{COMMANDS[module]}`\n\n{entries}"


def _entry(module: str, flag: dict[str, Any]) -> str:
    name = f"--[no]{flag['name']}" if flag["boolean"] else f"--{flag['name']}"
    anchor = f"[](){{ #{module.replace('.', '-')}-{flag['name']} }}"
    notes = "; ".join(_notes(flag))
    text = flag["help"]
    if flag["choices"]:  # absl puts them before the sentence too.
        text = text.removeprefix(f"<{'|'.join(flag['choices'])}>: ")
    term = f"{anchor}`{name}`{f' *{notes}*' if notes else ''}"
    return f"{term}\n:   {_as_markdown(text)}\n"


def _notes(flag: dict[str, Any]) -> list[str]:
    notes = ["required"] if flag["required"] else []
    if flag["choices"]:
        notes.append(" or ".join(f"`{choice}`" for choice in flag["choices"]))
    elif flag["kind"]:
        notes.append(flag["kind"])
    if flag["default"] == sys.executable:
        notes.append("default: the Python that launches")
    elif flag["default"] and not (flag["boolean"] and flag["default"] == "false"):
        notes.append(f"default `{flag['default']}`")
    return notes


def _as_markdown(text: str) -> str:
    """The sentence, its flags set as code, its other characters as they are."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    parts[::2] = [
        re.sub(r"(--[a-z_]+(?:=[\w.]+)?)", r"`\1`", part.replace("<", "&lt;").replace("*", r"\*"))
        for part in parts[::2]
    ]
    return "".join(parts)
