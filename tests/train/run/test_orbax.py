"""Checkpoints in folders of any name, and what Orbax writes next to what the manifest lists."""

import shutil
from pathlib import Path

import pytest

from tests.train.helpers import list_saved_steps
from tests.train.run.test_checkpoint import make_state, open_checkpoints, restore_newest
from train.errors import UserError
from train.run import manifest
from train.run.checkpoint import Progress


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """Save an epoch; for reading only."""
    folder = tmp_path_factory.mktemp("saved")
    with open_checkpoints(folder) as checkpoints:
        checkpoints.save_first(make_state(0), Progress())
        checkpoints.save_epoch(make_state(6), Progress(3.0, 0.3, 1), 1)
    return folder


@pytest.fixture
def run(saved, tmp_path) -> Path:
    """Return a copy of `saved` that the test may change."""
    return shutil.copytree(saved, tmp_path / "run")


# Characters that are patterns of `glob`, schemes, quotes, spaces, or not in ASCII.
ODD_NAMES = (
    *("a[1]", "[!a]", "a*", "a?b", "**", r"a\b", "gs:", "a:b", "a%20b", "$HOME", "{a}", "~"),
    *(" ", "a\nb", "a\tb", "a'b\"c", "a|b;c&d", "ä 日本", "e\u0301", "-a", "7", "\x01"),
)


@pytest.mark.parametrize("name", [*ODD_NAMES, "gs:/a[b]/*"])
def test_a_checkpoint_is_restored_from_a_folder_of_any_name(tmp_path, name):
    workdir = tmp_path / name / "run"
    with open_checkpoints(workdir) as checkpoints:
        checkpoints.save_epoch(make_state(2), Progress(1.0, 0.5, 1), 1)
    assert restore_newest(workdir) == (2, Progress(1.0, 0.5, 1))
    assert not manifest.find_damage(workdir / "last" / "2")


def test_a_pattern_in_the_name_does_not_match_another_run(tmp_path):
    for step, name in enumerate(("ab", "a*"), 1):
        with open_checkpoints(tmp_path / name) as checkpoints:
            checkpoints.save_last(make_state(step), Progress())
    assert restore_newest(tmp_path / "a*")[0] == 2 and restore_newest(tmp_path / "ab")[0] == 1


def test_without_proc_a_link_replaces_an_odd_name(tmp_path, monkeypatch):
    monkeypatch.setattr("train.run.orbax.DESCRIPTORS", tmp_path / "none")
    with open_checkpoints(tmp_path / "a[1]") as checkpoints:
        checkpoints.save_last(make_state(1), Progress())
    assert restore_newest(tmp_path / "a[1]")[0] == 1


def test_a_checkpoint_that_cannot_be_restored_is_not_saved(tmp_path):
    """Lose a file during the save: Orbax only warns if it does not write all files."""

    def lose(folder: Path) -> None:
        (folder / "state" / "manifest.ocdbt").unlink()
        manifest.write(folder)

    with (
        pytest.raises(UserError, match="cannot be restored: .* state/manifest.ocdbt"),
        open_checkpoints(tmp_path, write_manifest=lose) as checkpoints,
    ):
        checkpoints.save_last(make_state(1), Progress())
    assert list_saved_steps(tmp_path) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b"[" * 100_000, b'{"item_handlers": 3}', b'{"custom_metadata": 7}', b"\xff"],
    ids=["empty", "list", "deep", "handlers", "metadata", "binary"],
)
def test_damage_of_the_file_that_no_manifest_lists_does_not_matter(run, content):
    for folder in ("last/6", "best/6", "first/0"):
        (run / folder / "_CHECKPOINT_METADATA").write_bytes(content)
    assert restore_newest(run)[0] == 6


def test_files_of_the_system_next_to_checkpoints_are_ignored(run):
    for name in (".DS_Store", "Thumbs.db", "²", "007", "notes.txt"):
        (run / "last" / name).write_text("")
    with open_checkpoints(run) as checkpoints:
        checkpoints.save_last(make_state(8), Progress())
    assert restore_newest(run)[0] == 8 and (run / "last" / ".DS_Store").is_file()
