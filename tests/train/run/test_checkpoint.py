"""Checkpoints: which are saved and kept, and that only intact ones are restored."""

import errno
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import pytest

from tests.train.helpers import get_bits, list_saved_steps, read_contents
from train.errors import UserError
from train.run import manifest
from train.run.checkpoint import Checkpoints, Progress, find_newest_step

# Only a test that fails waits this long.
PATIENCE_SECONDS = 60


class State(flax.struct.PyTreeNode):
    """A small state; checkpoints use only its step."""

    step: Any
    key: Any
    params: Any


def make_state(step: int) -> Any:
    """Return a state that differs from the states of all other steps."""
    params = {"w": jnp.arange(6.0) + step, "b": jnp.full((3,), step / 8)}
    return State(step=jnp.array(step), key=jax.random.key(step), params=params)


@contextmanager
def open_checkpoints(workdir: Path, **keep: Any) -> Iterator[Checkpoints]:
    with closing(Checkpoints(workdir, **keep)) as checkpoints:
        yield checkpoints


def restore_newest(workdir: Path) -> tuple[int, Progress]:
    """Return the step and the progress from which a run would resume; check the state."""
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), make_state(0)
    )
    with open_checkpoints(workdir) as checkpoints:
        found = checkpoints.restore(like)
    assert found is not None
    state, progress = found
    assert get_bits(state) == get_bits(make_state(int(state.step)))
    return int(state.step), progress


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """Save three epochs of two steps, of which the second is the best; for reading only."""
    folder = tmp_path_factory.mktemp("saved")
    with open_checkpoints(folder) as checkpoints:
        checkpoints.save_first(make_state(0), Progress())
        for epoch in (1, 2, 3):
            best = min(epoch, 2)
            progress = Progress(float(epoch), best / 10, best)
            checkpoints.save_epoch(make_state(2 * epoch), progress, epoch)
    return folder


@pytest.fixture
def run(saved, tmp_path) -> Path:
    """Return a copy of `saved` that the test may change."""
    return shutil.copytree(saved, tmp_path / "run")


def test_the_first_the_last_two_and_the_best_are_saved(saved):
    kept = {folder: sorted(list_saved_steps(saved, folder)) for folder in ("first", "last", "best")}
    assert kept == {"first": [0], "last": [4, 6], "best": [4]}
    assert list_saved_steps(saved, "every") == []


def test_every_second_epoch_is_kept_in_addition_to_the_newest(tmp_path):
    with open_checkpoints(tmp_path, last=1, every_epochs=2) as checkpoints:
        for epoch in range(1, 8):
            checkpoints.save_epoch(make_state(epoch), Progress(), epoch)
    assert sorted(list_saved_steps(tmp_path, "every")) == [2, 4, 6]
    assert list_saved_steps(tmp_path) == [7]


def test_held_epochs_are_written_with_the_next_save(tmp_path):
    with open_checkpoints(tmp_path) as checkpoints:
        for epoch in (1, 2, 3):
            best = min(epoch, 2)
            progress = Progress(float(epoch), best / 10, best)
            checkpoints.save_epoch(make_state(epoch), progress, epoch, hold=True)
        checkpoints.wait()
        assert find_newest_step(tmp_path) is None
        checkpoints.save_last(make_state(4), Progress(4.0, 0.2, 2))
        checkpoints.wait()
        assert (list_saved_steps(tmp_path, "best"), list_saved_steps(tmp_path)) == ([2], [4])
    assert restore_newest(tmp_path) == (4, Progress(4.0, 0.2, 2))


@pytest.mark.parametrize("write", [Checkpoints.close, Checkpoints.find_last_step])
def test_held_epochs_are_written_by_close_and_last_step(tmp_path, write):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_epoch(make_state(1), Progress(1.0, 0.5, 1), 1, hold=True)
    write(checkpoints)
    assert restore_newest(tmp_path) == (1, Progress(1.0, 0.5, 1))
    checkpoints.close()


def test_a_held_state_is_not_changed_by_donated_steps(tmp_path):
    def train(state: Any) -> Any:
        return state.replace(params=jax.tree.map(lambda x: x * 3 + 1, state.params))

    step, state = jax.jit(train, donate_argnums=0), make_state(5)
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )
    expected = get_bits(state)
    with open_checkpoints(tmp_path) as checkpoints:
        checkpoints.save_epoch(state, Progress(), 1, hold=True)
        for _ in range(3):
            state = step(state)
    with open_checkpoints(tmp_path) as checkpoints:
        found = checkpoints.restore(like)
    assert found is not None and get_bits(found[0]) == expected != get_bits(state)


def test_epochs_are_held_until_seconds_apart_have_passed(tmp_path):
    now = [100.0]
    with open_checkpoints(tmp_path, seconds_apart=10, clock=lambda: now[0]) as checkpoints:
        assert not checkpoints.is_time()
        now[0] = 110
        assert checkpoints.is_time()
        checkpoints.save_epoch(make_state(1), Progress(), 1)
        assert not checkpoints.is_time()
        now[0] = 119.9
        checkpoints.save_epoch(make_state(2), Progress(), 2, hold=True)
        now[0] = 120
        assert checkpoints.is_time()


def test_checkpoints_within_an_epoch_are_due_every_few_steps(tmp_path):
    with open_checkpoints(tmp_path, every_steps=3) as checkpoints:
        assert [step for step in range(10) if checkpoints.is_due(step)] == [3, 6, 9]
    with open_checkpoints(tmp_path) as checkpoints:
        assert not any(checkpoints.is_due(step) for step in range(10))


def test_the_newest_is_restored_with_its_progress(run):
    assert restore_newest(run) == (6, Progress(3.0, 0.2, 2))


@pytest.mark.parametrize("other", [jnp.bfloat16, jnp.float16, jnp.int32])
def test_a_state_of_other_types_is_refused_and_not_converted(run, other):
    """Restore other types, as from a run without x64 of a version that did not record x64."""
    like = make_state(0)
    like = like.replace(params=jax.tree.map(lambda x: x.astype(other), like.params))
    with (
        open_checkpoints(run) as checkpoints,
        pytest.raises(UserError, match="params/b is float32 in it, .* JAX_ENABLE_X64 or the"),
    ):
        checkpoints.restore(like)


def test_a_state_without_x64_is_not_restored_with_x64(run):
    with jax.enable_x64(True):
        like = make_state(0)
        with (
            open_checkpoints(run) as checkpoints,
            pytest.raises(UserError, match="params/b is float32 in it, float64 in this process"),
        ):
            checkpoints.restore(like)


def test_nothing_is_restored_before_the_first_save(tmp_path):
    with open_checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(make_state(0)) is None and checkpoints.find_last_step() is None


def test_a_checkpoint_has_its_manifest_before_it_has_its_name(tmp_path):
    """Then a run that is killed at any moment leaves no checkpoint without a manifest."""
    names = []

    def note_and_write(folder: Path) -> None:
        names.append(folder.name)
        manifest.write(folder)

    with open_checkpoints(tmp_path, write_manifest=note_and_write) as checkpoints:
        checkpoints.save_last(make_state(1), Progress())
    assert (
        len(names) == 1
        and names[0].startswith("1.")
        and manifest.find_damage(tmp_path / "last/1") is None
    )


def test_the_last_is_completed_after_the_best(tmp_path):
    """Then a run that is killed between the two never resumes without its best checkpoint."""
    may_complete = threading.Event()
    best_before_last: list[int] = []

    def write_manifest(folder: Path) -> None:
        if folder.parent.name == "best":
            assert may_complete.wait(PATIENCE_SECONDS)
        if folder.parent.name == "last":
            best_before_last.extend(list_saved_steps(tmp_path, "best"))
        manifest.write(folder)

    with open_checkpoints(tmp_path, write_manifest=write_manifest) as checkpoints:
        # Returns although neither can be completed yet.
        checkpoints.save_epoch(make_state(1), Progress(1.0, 0.5, 1), 1)
        assert list_saved_steps(tmp_path, "best") == list_saved_steps(tmp_path, "last") == []
        may_complete.set()
    assert best_before_last == list_saved_steps(tmp_path, "last") == [1]


def test_the_last_fails_with_the_best(tmp_path):
    def fail(folder: Path) -> None:
        if folder.parent.name == "best":
            raise OSError(errno.ENOSPC, "No space left on device")
        manifest.write(folder)

    checkpoints = Checkpoints(tmp_path, write_manifest=fail)
    checkpoints.save_first(make_state(0), Progress())
    checkpoints.save_epoch(make_state(1), Progress(1.0, 0.5, 1), 1)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.close()
    assert find_newest_step(tmp_path) == 0


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def cut_in_half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


FILES = ["state/manifest.ocdbt", "state/_METADATA", "progress/metadata"]
HARMS = [
    (flip_a_bit, "{} has changed since it was written"),
    (cut_in_half, "{} has "),
    (Path.unlink, "{} is missing"),
]


@pytest.mark.parametrize(
    "file, harm, complaint",
    [
        # Each file once and each harm once; the other pairs are slow.
        pytest.param(file, *harm, marks=[] if i == j else pytest.mark.slow)
        for i, file in enumerate(FILES)
        for j, harm in enumerate(HARMS)
    ],
)
def test_a_damaged_newest_checkpoint_is_moved_for_an_older_one(run, capsys, file, harm, complaint):
    harm(run / "last/6" / file)
    was = read_contents(run / "last/6")
    assert restore_newest(run) == (4, Progress(2.0, 0.2, 2))
    said = capsys.readouterr().err
    assert said.startswith(f"the checkpoint last/6 is damaged: {complaint.format(file)}")
    assert "It was moved to damaged/last-6-0; the run resumes from step 4, last/4." in said
    assert read_contents(run / "damaged/last-6-0").keys() == was.keys()
    assert list_saved_steps(run) == [4]
    assert restore_newest(run)[0] == 4 and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "harm, complaint",
    [
        *((Path.unlink, "missing"), (cut_in_half, "damaged")),
        *((lambda f: f.write_text("[]"), "damaged"), (lambda f: f.write_text("{}"), "damaged")),
    ],
)
def test_a_checkpoint_without_an_intact_manifest_is_not_restored(run, capsys, harm, complaint):
    harm(run / "last/6/manifest.json")
    assert restore_newest(run)[0] == 4
    assert f"last/6 is damaged: manifest.json is {complaint}." in capsys.readouterr().err


def test_every_file_needed_to_restore_is_in_the_manifest(run):
    """Files that are not in the manifest may be lost or damaged."""
    files = {p.relative_to(run / "last/6").as_posix() for p in (run / "last/6").rglob("*")}
    files = {name for name in files if (run / "last/6" / name).is_file()}
    named = json.loads((run / "last/6/manifest.json").read_text()).keys()
    assert files - named == manifest.UNLISTED
    for name in manifest.UNLISTED - {manifest.NAME}:
        for harm in (flip_a_bit, cut_in_half, Path.unlink):
            harm(run / "last/6" / name)
            assert restore_newest(run)[0] == 6


def test_the_best_or_the_first_is_restored_when_newer_ones_are_damaged(run, capsys):
    for newer in ("last/6", "last/4"):
        flip_a_bit(run / newer / "progress/metadata")
    assert restore_newest(run)[0] == 4
    assert "the run resumes from step 4, best/4." in capsys.readouterr().err
    flip_a_bit(run / "best/4/progress/metadata")
    assert restore_newest(run)[0] == 0
    assert "the run resumes from step 0, first/0." in capsys.readouterr().err
    assert len(list((run / "damaged").iterdir())) == 3


def test_the_same_step_can_be_saved_and_damaged_again(run):
    for number in (0, 1):
        flip_a_bit(run / "last/6/progress/metadata")
        assert restore_newest(run)[0] == 4
        assert (run / f"damaged/last-6-{number}").is_dir()
        with open_checkpoints(run) as checkpoints:
            checkpoints.save_last(make_state(6), Progress())
    assert restore_newest(run)[0] == 6


def test_when_all_are_damaged_all_are_named_and_none_is_moved(run):
    for file in run.rglob("progress/metadata"):
        flip_a_bit(file)
    before = read_contents(run)
    with pytest.raises(UserError, match="every checkpoint in .* is damaged") as error:
        Checkpoints(run)
    assert read_contents(run) == before
    for each in ("last/6", "last/4", "best/4", "first/0"):
        assert f"{each}: progress/metadata has changed since it was written" in str(error.value)
    assert str(error.value).count("\n") < 3
    assert "replace one by an intact copy, or start again" in str(error.value)


@pytest.mark.parametrize("with_manifest", [True, False])
def test_an_incomplete_save_is_ignored_and_removed(run, capsys, with_manifest):
    left = run / "last/8.orbax-checkpoint-tmp"
    shutil.copytree(run / "last/6", left)
    if not with_manifest:
        (left / manifest.NAME).unlink()
    assert restore_newest(run)[0] == 6
    assert capsys.readouterr().err == ""
    with open_checkpoints(run) as checkpoints:
        checkpoints.save_last(make_state(8), Progress())
    assert restore_newest(run)[0] == 8 and not left.exists()


def save_again(checkpoints: Checkpoints) -> None:
    checkpoints.save_last(make_state(3), Progress())


def wait_and_ask(checkpoints: Checkpoints) -> None:
    while checkpoints._managers["last"].is_saving_in_progress():
        time.sleep(0.001)
    checkpoints.raise_failure()


@pytest.mark.parametrize("notice", [save_again, wait_and_ask, Checkpoints.close])
def test_a_failed_save_is_raised_and_deletes_no_older_checkpoint(
    tmp_path, notice: Callable[[Checkpoints], None]
):
    def fail(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_checkpoints(tmp_path, last=1) as checkpoints:
        checkpoints.save_last(make_state(1), Progress())
    checkpoints = Checkpoints(tmp_path, last=1, write_manifest=fail)
    checkpoints.save_last(make_state(2), Progress())
    with pytest.raises(OSError, match="No space left"):
        notice(checkpoints)
    assert list_saved_steps(tmp_path) == [1] and restore_newest(tmp_path)[0] == 1
