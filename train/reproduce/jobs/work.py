"""The jobs of a worker: train and record runs, count what is not trained, probe what runs cost."""

import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from pit_jax.signals import is_stopping

from ...config.cli import parse
from ...config.pages import PACKAGE, import_shipped
from ...data.dataset import describe_data
from ...errors import UserError
from ...main import silence_storage_threads
from ...run.environment import describe_environment
from ...run.reading import read_json
from ...run.subset import DATA
from ...run.summary import Summary
from ...seeds.folder import name_folder
from ...seeds.loop import SeedsFailed, train_seeds
from .. import counting, measures
from ..locks import try_lock
from ..plan import resolve
from ..records import check_code, find_failure, is_done, read_record, write_count, write_run
from ..sources import FOLDER, RUNS, hash_sources, list_imported, list_pages, verify_sources
from .probe import hash_data, load_data, measure_cost

Send = Callable[..., None]
MOST_CHARACTERS = 300
# These differ between commands, or are recorded as the code.
NOT_RECORDED = ("commit", "arguments")
_imported: set[str] = set()


def prepare(out: Path) -> None:
    """Check the copied sources, from which this process must have started."""
    # The first config imports the tables of all parts. They are noted here, since the hash of a
    # record must not depend on earlier jobs of this process.
    resolve("digits", ())
    _imported.update(list_imported(verify_sources(out / FOLDER)))
    silence_storage_threads()


def do_job(job: Mapping[str, Any], send: Send) -> None:
    """Do a job and send its events; refuse a job that does not fit the folder."""
    try:
        {"train": train, "count": count, "probe": probe}[job["kind"]](job, send)
    except UserError as error:
        send("refused", reason=str(error))
    jax.clear_caches()


def train(job: Mapping[str, Any], send: Send) -> None:
    """Train the seeds of a job that no other process holds, and record each when it has finished.

    Raises UserError if the copied pages or the data are not those of the plan.
    """
    config, common = make_config(job), make_common(job, job["page"])
    with ExitStack() as stack:
        left = take_seeds(job, common, send, stack)
        train_taken(job, config, common, left, send)


def take_seeds(
    job: Mapping[str, Any], common: Mapping[str, Any], send: Send, stack: ExitStack
) -> list[int]:
    """Lock the runs of a job until `stack` is closed, and return the seeds that are to train."""
    out, slug = Path(job["out"]), job["slug"]
    left = []
    for seed in job["seeds"]:
        lock = try_lock(out, f"{slug}-{seed}")
        if lock is None:
            send("held", seed=seed)
            continue
        stack.enter_context(lock)
        record = read_record(out, slug)
        if is_done(record, seed, job["measures"]):
            send("done", seed=seed)
            continue
        if find_failure(record, seed):  # It is tried again.
            write_run(out, slug, common, seed, None)
        left.append(seed)
    return left


def train_taken(
    job: Mapping[str, Any],
    config: ConfigDict,
    common: Mapping[str, Any],
    left: list[int],
    send: Send,
) -> None:
    """Train the seeds in `left` and record each; return early if a signal asks for it."""
    out, slug = Path(job["out"]), job["slug"]
    workdir = out / RUNS / slug

    def fail(seed: int, error: Exception) -> None:
        left.remove(seed)
        reason = explain(error, out)
        write_run(out, slug, common, seed, {"failed": reason})
        send("failed", seed=seed, reason=reason)

    def report(seed: int, summary: Summary) -> None:
        try:
            run = collect(job, name_folder(workdir, seed), summary)
        except Exception as error:
            fail(seed, error)
            return
        write_run(out, slug, common, seed, run)
        left.remove(seed)
        send("done", seed=seed, seconds=run["seconds"])

    while left and not is_stopping():
        try:
            train_seeds(config, list(left), workdir, is_stopping, draw=False, report=report)
        except SeedsFailed as failed:
            for seed, each in failed.errors.items():
                fail(seed, each)
        except Exception as error:
            # Seeds train in order and leave the list when they finish, so the first one failed.
            fail(left[0], error)


def collect(job: Mapping[str, Any], folder: Path, summary: Summary) -> dict[str, Any]:
    """Return the results of a finished run for its record.

    Raises UserError if it has seen other data than the plan.
    """
    if hash_data(read_json(folder / DATA, dict) or {"name": ""}) != job["data"]:
        raise UserError(f"{folder} was trained with other data than the other runs. Move it away.")
    found = measures.measure(folder, job["measures"]) if job["measures"] else {}
    return {
        "accuracy": summary.last_accuracy,
        "spikes": summary.spikes,
        "loss": summary.loss,
        "parameters": summary.parameters,
        "seconds": round(summary.seconds, 1),
        "measured": list(job["measures"]),
        "measures": found,
    }


def count(job: Mapping[str, Any], send: Send) -> None:
    """Count a case that is not trained, and record the numbers."""
    with import_shipped():
        case = import_module(f"{PACKAGE}.scales").Case(**job["case"])
    out, slug = Path(job["out"]), job["slug"]
    try:
        found = counting.count(job["name"], case)
    except Exception as error:
        send("failed", seed=0, reason=explain(error, out))
        return
    write_count(out, slug, make_common(job, "scales"), found)
    send("done", seed=0)


def probe(job: Mapping[str, Any], send: Send) -> None:
    """Check the data of a job, and measure what one of its runs costs if it is `timed`."""
    config = make_config(job)
    try:
        dataset = load_data(config)
    except UserError as error:
        send("missing", reason=str(error))
        return
    send("data", data=hash_data(describe_data(dataset)))
    if job["timed"]:
        try:
            send("cost", cost=measure_cost(config, dataset, job["started"])._asdict())
        except Exception as error:
            # Then there is no estimate. The run itself will fail, and its record says why.
            traceback.print_exception(error)


def make_config(job: Mapping[str, Any]) -> ConfigDict:
    """Return the config of a job, from the copied pages.

    Raises UserError if it differs from the config of the plan, which was made from the running
    pages.
    """
    page, overrides = job["page"], tuple(job["overrides"])
    if resolve(page, overrides) != job["config"]:
        raise UserError(
            f"{page} has changed since {job['out']} was begun; its runs use the copied page. "
            "Choose another --out."
        )
    places = [f"data.data_dir={job['data_dir']}"]
    flags = [f"--config.{override}" for override in (*overrides, *places)]
    config, _ = parse(["reproduce", "--config", page, *flags])
    return config


def make_common(job: Mapping[str, Any], page: str) -> dict[str, Any]:
    """Return the record of a job without its runs.

    Raises UserError if other records of the folder were made with other code.
    """
    sources = verify_sources(Path(job["out"]) / FOLDER)
    environment = describe_environment()
    names = {*_imported, *list_pages(sources, page)}
    common = {
        "label": job["label"],
        "config": job["config"],
        "overrides": job["overrides"],
        "command": job["command"],
        "code": {"commit": sources.commit, "sha256": hash_sources(sources, names)},
        "data": job["data"],
        "environment": [
            {key: value for key, value in environment.items() if key not in NOT_RECORDED}
        ],
    }
    check_code(Path(job["out"]), common)
    return common


def explain(error: Exception, out: Path) -> str:
    """Return an error in one line for a record; its traceback goes to the log."""
    traceback.print_exception(error)
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    # Records are read on other machines, too, and this program calls the folder --out.
    for found, shown in ((f"{out}/", ""), ("another --workdir", "another --out")):
        text = text.replace(found, shown)
    line = " ".join(text.split())
    return line if len(line) <= MOST_CHARACTERS else f"{line[:MOST_CHARACTERS]}…"
