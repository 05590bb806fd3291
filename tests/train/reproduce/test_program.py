"""The program from its command to its pages, with tiny networks."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.train.helpers import ENVIRONMENT, ROOT
from tests.train.reproduce.tiny import (
    CITED,
    NO_DATA,
    PIT,
    UNSTABLE,
    list_bytes,
    make_experiment,
    read_runs,
    reproduce,
    use_experiments,
)
from train.errors import UserError
from train.reproduce import __main__ as program
from train.reproduce import sources as copy
from train.reproduce.folder import check_data, check_folder, explain_disk_errors
from train.reproduce.jobs import start
from train.reproduce.jobs.start import JobMaker
from train.reproduce.plan import find_slug, make_task
from train.reproduce.records import read_records
from train.reproduce.sources import hash_sources, list_changes, take_sources

COMMAND = (sys.executable, "-m", "train.reproduce", "table4", "table9", "--scale", "smoke")
TABLE = make_experiment(PIT, UNSTABLE, NO_DATA, CITED)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a folder in which all possible runs are done, and the exit code."""
    out = tmp_path_factory.mktemp("reproduce") / "out"
    with pytest.MonkeyPatch.context() as patch:
        use_experiments(patch, TABLE)
        patch.setenv("PYTHONPATH", str(ROOT))
        code = reproduce(out, "table7")
    return out, code


@pytest.fixture
def table(monkeypatch):
    use_experiments(monkeypatch, TABLE)
    return monkeypatch


def test_runs_failures_and_missing_data_are_recorded_and_shown(finished):
    out, code = finished
    assert code == 1
    good = read_runs(out, find_slug("table7", PIT))
    assert list(good) == ["0", "1"]
    assert all(0 < run["accuracy"] <= 1 and run["spikes"] > 0 for run in good.values())
    (bad,) = read_runs(out, find_slug("table7", UNSTABLE)).values()
    assert "not finite" in bad["failed"] and str(out) not in bad["failed"]
    assert set(read_records(TABLE, out)) == {PIT.label, UNSTABLE.label}
    page = (out / "table7.md").read_text()
    assert "seed 0 failed" in page and "seeds 0-1 missing" in page
    assert {file.suffix for file in out.glob("table7.*")} == {".md", ".csv", ".tex", ".png"}


def test_a_record_has_the_command_code_data_and_environment_of_its_runs(finished):
    out, _ = finished
    record = json.loads((out / "records" / f"{find_slug('table7', PIT)}.json").read_text())
    assert record["command"].startswith(
        "python -m train.main --config smoke:ours --config.epochs=1"
    )
    assert record["config"]["epochs"] == 1 and "seed" not in record["config"]
    assert record["data"]["name"] == "synthetic" and len(record["data"]["sha256"]) == 64
    assert (
        record["code"]["commit"]
        == json.loads((out / "sources/manifest.json").read_text())["commit"]
    )
    (environment,) = record["environment"]
    assert environment["PJRT_NPROC"] == "1" and "arguments" not in environment
    run = out / "runs" / find_slug("table7", PIT) / "seed_1"
    assert json.loads((run / "config.json").read_text())["seed"] == 1
    summary = json.loads((run / "summary.json").read_text())
    assert summary["last_accuracy"] == record["runs"]["1"]["accuracy"]


def test_what_is_recorded_is_not_trained_again(finished, table):
    out, _ = finished
    before = list_bytes(out)
    table.delattr(start, "Workers")  # No process may start.
    assert reproduce(out, "table7", "--rows", PIT.label) == 0
    assert list_bytes(out) == before


def test_pages_are_made_again_from_records_alone(finished, table, tmp_path):
    out, _ = finished
    (tmp_path / "records").mkdir()
    for file in (out / "records").iterdir():
        (tmp_path / "records" / file.name).write_bytes(file.read_bytes())
    assert reproduce(tmp_path, "table7", "--rows", CITED.label) == 0
    names = [f"table7.{suffix}" for suffix in ("md", "csv", "tex", "png")]
    assert all((tmp_path / name).read_bytes() == (out / name).read_bytes() for name in names)
    assert not (tmp_path / "sources").exists() and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["table7.md", "table7.png", "table7_levels.png"])
def test_a_page_that_the_program_did_not_write_is_kept(name, table, tmp_path, capsys):
    (tmp_path / "records").mkdir()
    (tmp_path / name).write_text("mine")
    assert reproduce(tmp_path, "table7", "--rows", CITED.label) == 2
    assert "was not written by train.reproduce, or changed since" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "mine"


def test_a_page_that_is_edited_while_runs_train_does_not_end_them(table, tmp_path, capsys):
    def train(plan, out, *, finish, **options):
        (out / "table7.md").write_text("mine")
        for task in plan.tasks:
            finish(task)
        print("all have ended")
        return {}

    table.setattr(program, "train_missing", train)
    assert reproduce(tmp_path, "table7") == 2
    printed = capsys.readouterr()
    assert "all have ended" in printed.out
    first, second = printed.err.splitlines()
    assert first.startswith("note: ") and second == first.replace("note: ", "error: ")
    assert (tmp_path / "table7.md").read_text() == "mine"


def test_a_page_of_another_scale_is_kept(table, tmp_path, capsys):
    (tmp_path / "records").mkdir()
    words = ["reproduce", "table7", "--rows", CITED.label, "--out", str(tmp_path)]
    assert program.main([*words, "--scale", "laptop"]) == 0
    before = list_bytes(tmp_path)
    assert program.main([*words, "--scale", "smoke"]) == 2
    assert "has table7 at another scale" in capsys.readouterr().err
    assert list_bytes(tmp_path) == before
    assert program.main([*words, "--scale", "laptop", "--seeds", "3"]) == 0


def test_the_folder_of_something_else_is_refused(table, tmp_path, capsys):
    (tmp_path / "thesis.tex").touch()
    assert reproduce(tmp_path, "table7") == 2
    assert "is not empty and has no results of train.reproduce" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "error, reason",
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), "Read-only file system"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), "Permission denied"),
        # As from copying a folder.
        (shutil.Error([("a", "b", f"[Errno 28] {os.strerror(errno.ENOSPC)}: 'a'")]), "No space"),
    ],
)
def test_a_folder_that_cannot_be_written_is_reported(error, reason, table, tmp_path, capsys):
    def fail(*args: object, **options: object) -> None:
        raise error

    table.setattr(copy, "_copy", fail)
    assert reproduce(tmp_path, "table7") == 2
    assert f"cannot write to {tmp_path} ({reason}" in capsys.readouterr().err
    table.setattr(copy, "_copy", lambda part: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        reproduce(tmp_path, "table7")


@pytest.mark.parametrize("change", ["edit", "add", "remove"])
def test_a_changed_copy_of_the_sources_is_refused(change, table, tmp_path, capsys):
    file = take_sources(tmp_path).folder / "train" / "loop.py"
    if change == "edit":
        file.write_text(file.read_text() + "\n")
    elif change == "add":
        file.with_name("loops.py").touch()
    else:
        file.unlink()
    assert reproduce(tmp_path, "table7") == 2
    assert f"was changed: train/loop{'s' * (change == 'add')}.py" in capsys.readouterr().err


@pytest.mark.parametrize(
    "file, raised",
    [("{out}/runs/a", UserError), ("{above}", UserError), ("/data/a.npy", PermissionError)],
)
def test_only_files_of_the_folder_are_reported_as_not_writable(file, raised, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(raised), explain_disk_errors(out):
        raise PermissionError(
            errno.EACCES, "Permission denied", file.format(out=out, above=tmp_path)
        )


def test_what_a_killed_process_has_copied_is_removed(tmp_path):
    part = tmp_path / "sources.7-00c0ffee.part"
    (part / "train").mkdir(parents=True)
    take_sources(tmp_path)
    assert not part.exists()


def test_runs_whose_sources_are_missing_are_refused(table, tmp_path, capsys):
    (tmp_path / "locks").mkdir()
    (tmp_path / "runs" / find_slug("table7", PIT)).mkdir(parents=True)
    assert reproduce(tmp_path, "table7") == 2
    assert "sources is missing, from which the runs in" in capsys.readouterr().err


@pytest.mark.parametrize("pages", ["[]", '{"table7.md": 5}'])
def test_a_damaged_list_of_pages_is_reported(pages, table, tmp_path, capsys):
    (tmp_path / "locks").mkdir()
    (tmp_path / "pages.json").write_text(pages)
    assert reproduce(tmp_path, "table7") == 2
    assert "restore it or move it away" in capsys.readouterr().err


def test_later_starts_use_the_copy_of_the_first(tmp_path, monkeypatch):
    sources = take_sources(tmp_path)
    assert list_changes(sources) == [] and "configs/digits.py" in sources.files
    fewer = {"train": copy._find_packages()["train"]}
    monkeypatch.setattr(copy, "_find_packages", lambda: fewer)
    assert take_sources(tmp_path) == sources
    assert "configs/digits.py" in list_changes(sources)


def test_the_hash_of_the_code_depends_on_imported_modules_only(tmp_path):
    sources = take_sources(tmp_path)
    names = ["train/loop.py", "train/main.py"]
    other = sources._replace(files={**sources.files, "train/predict/sheet.py": "0"})
    assert hash_sources(other, names) == hash_sources(sources, reversed(names))
    other = sources._replace(files={**sources.files, "train/loop.py": "0"})
    assert hash_sources(other, names) != hash_sources(sources, names)


def test_other_data_under_the_same_name_are_refused(tmp_path):
    data = {"name": "digits", "sha256": "a"}
    check_data(tmp_path, {"digits": data})
    check_data(tmp_path, {"digits": data, "mnist": data})
    with pytest.raises(ValueError, match="differ from those of the other runs"):
        check_data(tmp_path, {"digits": data | {"sha256": "b"}})


def test_an_unfinished_first_start_leaves_a_folder_that_is_accepted(tmp_path):
    (tmp_path / "locks").mkdir()
    check_folder(tmp_path, ["table7"], "smoke")


# Does a job in a process that started from the copy, and prints what it has imported in the end.
DO_JOB = """
import json, sys
from pathlib import Path
from train.reproduce.jobs import work, worker
from train.reproduce.sources import FOLDER, list_imported, list_pages, verify_sources

job, out = json.loads(sys.argv[1]), Path(sys.argv[2])
sys.modules["__main__"].__file__ = worker.__file__
work.prepare(out)
before = set(work._imported)
found = {}
work.do_job({**job, "kind": "probe", "timed": False}, lambda event, **values: found.update(values))
work.do_job({**job, "data": found["data"]}, lambda event, **values: print(event, file=sys.stderr))
sources = verify_sources(out / FOLDER)
print(sorted(list_imported(sources) - before - list_pages(sources, job["page"])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("measures", [(), ("energy", "levels")])
def test_a_run_imports_nothing_that_the_hash_of_its_code_does_not_cover(measures, tmp_path):
    sources = take_sources(tmp_path)
    task = make_task("table7", PIT._replace(measures=measures), 1)
    job = json.dumps(JobMaker(tmp_path, tmp_path).make(task, [0]))
    done = subprocess.run(
        [sys.executable, "-c", DO_JOB, job, str(tmp_path)],
        cwd=sources.folder,
        env=ENVIRONMENT | {"PYTHONPATH": str(sources.folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "done" in done.stderr, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def reproduce_alone(out: Path, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [*COMMAND, "--out", str(out)],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def count_workers(out: Path) -> int:
    """Return the number of worker processes of a folder."""
    found = 0
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += f"reproduce.jobs.worker\0{out}\0".encode() in file.read_bytes()
        except OSError:  # It has ended.
            continue
    return found


def wait_for(condition, seconds=120) -> bool:
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads the processes of Linux")
def test_kills_at_random_moments_and_a_second_process_change_no_byte(tmp_path):
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    printed, _ = reproduce_alone(alone).communicate(timeout=400)
    assert "about " in printed and "claims" in printed
    generator = random.Random(0)
    for attempt in range(4):
        processes = [reproduce_alone(killed) for _ in range(1 + attempt % 2)]
        time.sleep(generator.uniform(2, 20))
        for process in processes:
            process.kill()
            process.communicate()
        assert wait_for(lambda: not count_workers(killed), 10)
    both = [reproduce_alone(killed) for _ in range(2)]
    assert [process.wait(400) for process in both] == [0, 0], [p.stdout.read() for p in both]
    for process in both:
        process.stdout.close()
    assert list_bytes(killed) == list_bytes(alone)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_runs_and_ends_all_workers(number, tmp_path):
    process = reproduce_alone(tmp_path)
    assert wait_for(lambda: list(tmp_path.glob("runs/*/seed_*/lock")))
    os.kill(process.pid, number)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + number and count_workers(tmp_path) == 0
    assert "the workers save their runs and end; a second signal ends at once" in printed
    assert "repeat the command to resume" in printed
