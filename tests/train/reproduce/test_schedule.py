"""The schedule with fake workers: crashes, failures, and runs of other processes."""

import threading
from pathlib import Path

import pytest

from tests.train.reproduce.tiny import (
    NO_DATA,
    PIT,
    UNSTABLE,
    make_experiment,
    read_runs,
    write_fake_worker,
)
from train.errors import UserError
from train.reproduce.jobs.estimate import (
    RunCost,
    RunPrices,
    find_kind,
    make_prices,
    print_plan,
    split_chunks,
)
from train.reproduce.jobs.schedule import Schedule
from train.reproduce.jobs.slots import make_slots
from train.reproduce.jobs.start import JobMaker
from train.reproduce.jobs.work import explain
from train.reproduce.jobs.workers import Workers
from train.reproduce.locks import hold_lock
from train.reproduce.plan import WorkPlan, WorkTask, make_task
from train.reproduce.records import write_run

RUN = {"accuracy": 0.5, "spikes": 0.1, "loss": 1.0, "parameters": 3, "seconds": 1.0}
DONE = """for seed in job["seeds"]:
    send("done", seed=seed)"""
# Ends as if it were killed, at the first attempts at seed 1.
CRASH = """for seed in job["seeds"]:
    marks = Path(job["out"]) / "marks"
    if seed == 1 and (len(marks.read_text()) if marks.exists() else 0) < CRASHES:
        marks.open("a").write("x")
        os.kill(os.getpid(), 9)
    send("done", seed=seed)"""
FAIL = 'send("failed", seed=job["seeds"][0], reason="too hot")\n' + DONE
NO_PRICES = RunPrices({}, {}, 0)


def schedule(out: Path, answer: str, seeds: int = 3) -> tuple[Schedule, WorkTask]:
    """Run a schedule of one task with fake workers; return it when it has ended."""
    task = make_task("table7", PIT, seeds)
    plan = WorkPlan((make_experiment(PIT),), (task,), {task.slug: task.seeds})
    ended: list[WorkTask] = []
    found = Schedule(out, plan, NO_PRICES, JobMaker(out, out).make, ended.append)
    slots = make_slots("smoke", [], 2, None)
    found.run(Workers(out, slots, write_fake_worker(out / "fake", answer)), len(slots))
    assert ended == [task]
    return found, task


def test_all_runs_are_done(tmp_path, capsys):
    assert schedule(tmp_path, DONE)[0].failed == {}


def test_the_longest_job_starts_first(tmp_path):
    tasks = [make_task("table7", case, 1) for case in (PIT, NO_DATA, UNSTABLE)]
    plan = WorkPlan((), tuple(tasks), {task.slug: task.seeds for task in tasks})
    seconds = (2.0, 3.0, 1.0)
    prices = RunPrices({task.slug: s for task, s in zip(tasks, seconds, strict=True)}, {}, 0)
    ended: list[WorkTask] = []
    workers = Workers(tmp_path, make_slots("smoke", [], 1, None), write_fake_worker(tmp_path, DONE))
    Schedule(tmp_path, plan, prices, JobMaker(tmp_path, tmp_path).make, ended.append).run(
        workers, 1
    )
    assert ended == [tasks[1], tasks[0], tasks[2]]


@pytest.mark.parametrize("name", ["plain", "with: 'signs' %d é"])
def test_a_worker_starts_in_a_folder_that_is_not_the_copy_of_the_sources(name, tmp_path):
    """Relative paths in variables, such as JAX_COMPILATION_CACHE_DIR, must not change the copy."""
    out = tmp_path / name
    schedule(out, 'Path("cache").mkdir(exist_ok=True)\n' + DONE)
    assert [path.relative_to(out) for path in tmp_path.rglob("cache")] == [Path("logs/cache")]


def test_a_killed_worker_is_replaced(tmp_path):
    assert schedule(tmp_path, CRASH.replace("CRASHES", "1"))[0].failed == {}


def test_a_run_that_kills_its_worker_twice_has_failed_and_the_others_are_done(tmp_path, capsys):
    found, task = schedule(tmp_path, CRASH.replace("CRASHES", "2"))
    reason = "its process ended with SIGKILL 2 times"
    assert found.failed == {(task.slug, 1): reason}
    assert read_runs(tmp_path, task.slug) == {"1": {"failed": reason}}
    assert f"PIT, tiny, seed 1 failed: {reason}" in capsys.readouterr().out


def test_a_failed_run_does_not_end_the_others(tmp_path):
    found, task = schedule(tmp_path, FAIL)
    assert found.failed == {(task.slug, 0): "too hot"}


def test_a_job_that_does_not_fit_the_folder_ends_the_program(tmp_path):
    with pytest.raises(UserError, match="the page has changed"):
        schedule(tmp_path, 'send("refused", reason="the page has changed")')


@pytest.mark.parametrize("end", ["done", "failed", "killed"])
def test_a_run_that_another_process_holds_is_awaited(end, tmp_path):
    slug = make_task("table7", PIT, 3).slug
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with hold_lock(tmp_path, f"{slug}-1"):
            held.set()
            release.wait(30)
            run = {"done": RUN, "failed": {"failed": "elsewhere"}}.get(end)
            if run:
                write_run(tmp_path, slug, {}, 1, run)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(30)
    # The worker that does the last run lets the other process end.
    threading.Timer(0.5, release.set).start()
    marked = 'open(Path(job["out"]) / f"mark{job[\'seeds\']}", "w").close()\n' + DONE
    found, task = schedule(tmp_path, marked)
    other.join()
    assert found.failed == ({(slug, 1): "elsewhere"} if end == "failed" else {})
    again = [file.name for file in tmp_path.glob("mark*") if "1" in file.name]
    assert bool(again) == (end == "killed")


def test_seeds_share_a_process_unless_they_train_much_longer_than_it_starts():
    task = make_task("table7", PIT, 20)
    starts = {find_kind(task): 10.0}
    for seconds, sizes in ((1.0, [20]), (4.1, [10, 10]), (100.0, [5, 5, 5, 5])):
        chunks = split_chunks(task, task.seeds, RunPrices({task.slug: seconds}, starts, 0), 4)
        assert [len(chunk) for chunk in chunks] == sizes
        assert sorted(sum(chunks, [])) == list(task.seeds)


def test_the_price_of_a_run_grows_with_its_steps_and_epochs():
    one = make_task("table7", PIT, 1)
    longer = PIT._replace(overrides=(*PIT.overrides, "num_steps=4", "learning_rate=0.2"))
    four = make_task("table7", longer, 1)
    cost = RunCost(0.5, 2.0, 9.0, 7, steps=10, evaluations=1, device="cpu")
    prices = make_prices([one, four], {}, {find_kind(one): (one, cost)})
    assert prices.runs == {one.slug: 7.0, four.slug: 28.0} and prices.memory == 7
    # A recorded run is better than a probe.
    prices = make_prices([one, four], {four.slug: 20.0}, {})
    assert prices.runs == {one.slug: 5.0, four.slug: 20.0}


def test_the_estimate_is_of_the_runs_that_have_data(capsys):
    tasks = [make_task("table7", case, 2) for case in (PIT, NO_DATA)]
    todo = {task.slug: task.seeds for task in tasks}
    plan = WorkPlan((make_experiment(PIT, NO_DATA),), tuple(tasks), todo)
    prices = RunPrices({tasks[0].slug: 3.0}, {find_kind(task): 5.0 for task in tasks}, 0)
    slots = make_slots("smoke", [], 1, None)
    for missing, seconds in (({}, 16), ({tasks[1].data: "not installed"}, 11)):
        print_plan(plan, prices, slots, missing)
        assert f"about {seconds} s with 1 run at a time" in capsys.readouterr().out


def test_a_reason_in_a_record_names_the_option_of_this_program(tmp_path, capsys):
    error = UserError(f"{tmp_path}/runs/a is damaged.\nChoose another --workdir.")
    assert explain(error, tmp_path) == "runs/a is damaged. Choose another --out."
