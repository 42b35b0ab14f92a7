import subprocess
from pathlib import Path

from trainer.workdir import provenance


def git(root: Path, *arguments: str) -> str:
    settings = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", "-C", str(root), *settings, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_commit_is_named_and_changes_since_it_are_marked(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "--quiet", "-m", "First")
    head = git(tmp_path, "rev-parse", "HEAD")
    git(tmp_path, "tag", "v1")  # A tag does not take the commit's place.
    (tmp_path / "data.txt").write_text("Not part of the code.")
    assert provenance.git_commit(tmp_path) == head
    (tmp_path / "code.py").write_text("2")
    assert provenance.git_commit(tmp_path) == f"{head}-dirty"


def test_install_within_another_project_has_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    inside = tmp_path / "site-packages"
    inside.mkdir()
    assert provenance.git_commit(inside) is None
