"""The record of a run's environment."""

import re
import subprocess

import pit_jax
from train.run.environment import find_commit


def test_a_checkout_has_its_commit_with_a_plus_after_changes(tmp_path):
    file = tmp_path / "module.py"
    file.write_text("")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *arguments], check=True)
    commit = find_commit(file)
    assert re.fullmatch("[0-9a-f]{12}", commit)
    file.write_text("changed = True")
    assert find_commit(file) == f"{commit}+"


def test_an_installed_package_has_its_version_even_inside_another_checkout(tmp_path):
    assert find_commit(tmp_path / "module.py") == f"pit_jax {pit_jax.__version__}"
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    assert find_commit(tmp_path / "module.py") == f"pit_jax {pit_jax.__version__}"
