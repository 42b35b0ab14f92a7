"""What lies beside docs/ becomes pages of the site too: README is its first one.

MkDocs itself checks the links and anchors between pages; here those are checked that lead from the
files where they lie, as one who reads the repository follows them.
"""

import logging
import re
from pathlib import Path
from urllib.parse import urlsplit

from markdown.extensions.toc import slugify
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}

_CODE = re.compile(r"```.*?```|`[^`\n]*`|^(?: {4}|\t).*$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^()\s]+)\)|(?:src|href)=\"([^\"]+)\"")
_HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)

log = logging.getLogger("mkdocs.hooks.pages")  # `--strict` counts its warnings.


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    root = Path(config.config_file_path).parent
    for source, page in _PAGES.items():
        text = (root / source).read_text(encoding="utf-8").replace("](docs/", "](")
        for name, other in _PAGES.items():
            text = text.replace(f"]({name}", f"]({other}")
        files.append(File.generated(config, page, content=text))
    return files


def on_pre_build(config: MkDocsConfig) -> None:
    """Checks the links of what lies beside docs/, and the form of all links to elsewhere."""
    root = Path(config.config_file_path).parent
    for file in (root / name for name in _PAGES):
        for link in _links(file):
            if fault := _fault(file, link):
                log.warning("%s: the link %s %s.", file.name, link, fault)
    for file in sorted(Path(config.docs_dir).rglob("*.md")):
        for link in _links(file):
            if "://" in link and (fault := _fault(file, link)):
                log.warning("%s: the link %s %s.", file.name, link, fault)


def _links(file: Path) -> list[str]:
    text = _CODE.sub("", file.read_text(encoding="utf-8"))
    return [markdown or html for markdown, html in _LINK.findall(text)]


def _fault(file: Path, link: str) -> str | None:
    """What is wrong with a link, or None. One to elsewhere is checked for its form alone."""
    url = urlsplit(link)
    if url.scheme:
        is_whole = url.scheme in ("http", "https") and "." in url.netloc
        return None if is_whole else "is no address"
    target = file.parent / url.path if url.path else file
    if not target.exists():
        return "leads to no file"
    if url.fragment and url.fragment not in _anchors(target):
        return "leads to no heading"
    return None


def _anchors(page: Path) -> set[str]:
    headings = _HEADING.findall(page.read_text(encoding="utf-8"))
    return {slugify(re.sub(r"[`*]", "", heading), "-") for heading in headings}
