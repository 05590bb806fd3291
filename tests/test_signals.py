"""Signals, closed terminals and threads that do not end, in small programs and in real ones."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pit_jax.signals import SIGNALS

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
BEGIN = """\
import os, pathlib, subprocess, sys, time
from pit_jax import signals
from pit_jax.signals import *
begin_program()
"""
READY = "print('ready', flush=True)\n"


started: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _kill_all() -> Iterator[None]:
    """End the programs that a failing test leaves."""
    yield
    while started:
        with started.pop() as process:
            process.kill()


def start(*words: str, **options) -> subprocess.Popen[str]:
    """Start Python in a group of its own; both streams are one."""
    process = subprocess.Popen(
        [sys.executable, *words],
        env=ENVIRONMENT,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **options,
    )
    started.append(process)
    return process


def start_code(code: str, **options) -> subprocess.Popen[str]:
    """Start a small program, and return when it has printed "ready"."""
    process = start("-c", BEGIN + textwrap.dedent(code), **options)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def stop(process: subprocess.Popen[str], *numbers: int, group: bool = False) -> tuple[int, str]:
    """Send signals, and return the exit code and the output; fail after five seconds."""
    for number in numbers:
        (os.killpg if group else os.kill)(process.pid, number)
        time.sleep(0.5 if len(numbers) > 1 else 0)
    code = process.wait(timeout=5)
    # Not communicate(), which loses what came together with "ready".
    return code, process.stdout.read() if process.stdout else ""


@pytest.mark.parametrize("number", SIGNALS)
def test_every_signal_ends_a_program_with_one_line_and_128_plus_its_number(number):
    process = start_code(f"{READY}time.sleep(60)")
    code, printed = stop(process, number)
    assert code == 128 + number
    name = signal.Signals(number).name
    assert printed == (
        f"stopped by {name}; complete results are kept, repeat the command for the rest.\n"
    )


BUSY = {
    "an import that swallows exceptions": "try: time.sleep(60)\nexcept BaseException: pass",
    "a loop": "while True:\n    pass",
    "C code": "import numpy as np\nx = np.ones((3000, 3000))\nwhile True: x = x @ x / 3000",
    "a lock": "import threading\nthreading.Event().wait()",
    # exec: dash ignores a signal between its vfork and the start of `sleep`, which would continue.
    "a child process": "subprocess.run(['sh', '-c', 'echo ready; exec sleep 60'])\ntime.sleep(60)",
}


@pytest.mark.parametrize("busy", BUSY)
def test_a_signal_is_answered_whatever_the_main_thread_does(busy):
    ready = "" if "ready" in BUSY[busy] else READY
    code, printed = stop(start_code(ready + BUSY[busy]), signal.SIGINT, group=True)
    assert code == 130 and printed.count("\n") == 1, printed


def test_a_signal_removes_temporary_files_and_ends_workers_silently(tmp_path):
    folder = tmp_path / "part"
    folder.mkdir()
    (folder / "file").touch()
    program = f"""\
        from train.data.storage.workers import start_pool
        if __name__ == "__main__":
            with remove_if_stopped(pathlib.Path({str(folder)!r})), start_pool(2) as pool:
                running = [pool.submit(time.sleep, 60) for _ in range(4)]
                pool.submit(abs, 1)
                time.sleep(float(sys.argv[1]))
                print("ready", flush=True)
                running[0].result()
        """
    file = tmp_path / "program.py"
    file.write_text(BEGIN + textwrap.dedent(program))
    for seconds in ("0.01", "0.3", "2"):
        folder.mkdir(exist_ok=True)
        process = start(str(file), seconds)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        code, printed = stop(process, signal.SIGINT, group=True)
        assert code == 130 and printed.count("\n") == 1, printed
        assert not folder.exists()


SAVE = """\
with saving():
    print("ready", flush=True)
    while not is_stopping():
        time.sleep(0.01)
    time.sleep({seconds})
    print("saved")
end_program(0)
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_within_saving_announces_what_happens_and_the_program_ends_as_it_likes(number):
    code, printed = stop(start_code(SAVE.format(seconds=0.1)), number)
    name = signal.Signals(number).name
    assert code == 0 and printed == (
        f"{name}: the running step ends and is saved; a second signal ends at once.\nsaved\n"
    )


def test_a_second_signal_ends_the_program_at_once():
    process = start_code(SAVE.format(seconds=60))
    code, printed = stop(process, signal.SIGINT, signal.SIGTERM)
    assert code == 143 and "saved\n" not in printed and printed.count("\n") == 2


def test_a_signal_to_a_process_and_to_its_group_is_one_request():
    process = start_code(SAVE.format(seconds=1))
    for kill in (os.kill, os.killpg, os.kill):
        kill(process.pid, signal.SIGINT)
    assert stop(process)[0] == 0


def test_a_program_that_ignores_hangups_continues():
    program = f"{READY}time.sleep(0.5)\nprint('done')"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # Programs inherit it.
    try:
        process = start_code(program)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert stop(process, signal.SIGHUP) == (0, "done\n")


def test_interruptible_ends_at_once_while_its_thread_still_runs():
    program = """\
    try:
        with saving():
            interruptible(lambda: print("ready", flush=True) or time.sleep(60))
    except Stopped as stopped:
        end_program(stopped.code)
    """
    code, printed = stop(start_code(program), signal.SIGTERM)
    assert (code, printed) == (143, "SIGTERM: stopping now; a second signal ends at once.\n")


def test_interruptible_returns_results_and_raises_errors():
    program = """\
    with saving():
        assert interruptible(divmod, 7, 2) == (3, 1)
        try:
            interruptible(divmod, 7, 0)
        except ZeroDivisionError:
            print("ready", flush=True)
    """
    assert stop(start_code(program)) == (0, "")


def test_forked_children_do_not_stop_their_parent():
    program = """\
    import signal
    child = os.fork()
    if child == 0:
        time.sleep(60)
    os.kill(child, signal.SIGTERM)
    assert os.waitpid(child, 0)[1] == signal.SIGTERM
    print("ready", flush=True)
    time.sleep(0.2)
    """
    assert stop(start_code(program)) == (0, "")


def test_a_program_ends_although_its_threads_do_not():
    program = """\
    import threading
    threading.Thread(target=time.sleep, args=(60,)).start()
    signals.PATIENCE_SECONDS = 1
    print("ready", flush=True)
    """
    assert stop(start_code(f"{program}end_program(2)")) == (2, "")
    code, printed = stop(start_code(f"{program}1 / 0"))
    assert code == 1 and "ZeroDivisionError" in printed


def test_a_signal_while_python_itself_ends_does_not_change_the_exit_code():
    program = """\
    class Slow:
        def __del__(self):
            print("ready", flush=True)
            time.sleep(1)
    sys.modules["slow"] = Slow()
    sys.exit(3)
    """
    assert stop(start_code(program), signal.SIGTERM, group=True) == (3, "")


def test_a_closed_pipe_does_not_end_a_program(tmp_path):
    file = tmp_path / "done"
    program = f"""\
    print("ready", flush=True)
    for i in range(5):
        print(i, flush=True)
        print(i, file=sys.stderr, flush=True)
        time.sleep(0.05)
    pathlib.Path({str(file)!r}).touch()
    """
    process = start_code(program)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=5) == 0 and file.exists()


def test_a_closed_terminal_does_not_end_a_program(tmp_path):
    file = tmp_path / "done"
    program = f"""\
    with saving():
        print("ready", flush=True)
        while not is_stopping():
            time.sleep(0.01)
        print("more", flush=True)
        print("more", file=sys.stderr, flush=True)
    pathlib.Path({str(file)!r}).touch()
    end_program(0)
    """
    mother, child = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + textwrap.dedent(program)],
        env=ENVIRONMENT,
        cwd=ROOT,
        stdin=child,
        stdout=child,
        stderr=child,
        start_new_session=True,
    )
    os.close(child)
    assert b"ready" in os.read(mother, 100)
    os.close(mother)
    process.send_signal(signal.SIGHUP)  # Without a controlling terminal the system sends none.
    assert process.wait(timeout=5) == 0 and file.exists()


def test_streams_that_are_closed_at_the_start_do_not_take_the_output_of_other_files(tmp_path):
    file = tmp_path / "file"
    code = f"{BEGIN}opened = open({str(file)!r}, 'w'); os.system('echo x; echo x >&2'); print(1)"
    command = f'{sys.executable} -c "$CODE" <&- >&- 2>&-'
    environment = ENVIRONMENT | {"CODE": code}
    assert subprocess.run(["sh", "-c", command], env=environment, cwd=ROOT).returncode == 0
    assert file.read_text() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [("pit_jax", "--help"), ("train.report", "--help")])
def test_a_full_disk_for_the_output_is_an_error(words):
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [sys.executable, "-m", *words],
            env=ENVIRONMENT,
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert process.returncode == 2
    assert process.stderr == (
        "error: cannot write to stdout (No space left on device). Redirect it elsewhere.\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("train.main", "--config", "configs/smoke.py"),
        ("train.evaluate", "runs/none"),
        ("train.data.prepare", "imagenet", "--source", "none", "--out", "none"),
        ("pit_jax", "export", "runs/none", "--format", "nir"),
        ("pit_jax.models",),
    ],
)
def test_a_signal_during_imports_is_answered_by_every_program(words):
    process = start("-X", "importtime", "-m", *words)
    assert process.stdout is not None
    while "numpy" not in process.stdout.readline():
        assert process.poll() is None
    code, printed = stop(process, signal.SIGINT, group=True)
    said = [line for line in printed.splitlines() if "import time:" not in line]
    assert code == 130 and len(said) == 1 and said[0].startswith("stopped by SIGINT"), said


def test_output_in_another_encoding_shows_what_it_can():
    process = subprocess.run(
        [sys.executable, "-c", f"{BEGIN}print('4 → é')"],
        env=ENVIRONMENT | {"PYTHONIOENCODING": "ascii"},
        cwd=ROOT,
        capture_output=True,
    )
    assert process.stdout == b"4 \\u2192 \\xe9\n" and process.returncode == 0


@pytest.mark.parametrize("package", ["pit_jax_tools", "their_package"])
def test_importing_the_library_in_a_package_that_is_installed_next_to_it_changes_nothing(
    package, tmp_path
):
    (tmp_path / "pit_jax").symlink_to(ROOT / "pit_jax")
    (tmp_path / package).mkdir()
    code = f"""\
    import signal, sys
    def look():
        handlers = map(signal.getsignal, {[*map(int, SIGNALS)]})
        return sys.excepthook, sys.stdout, sys.stderr, *handlers
    before = look()
    import pit_jax
    assert look() == before
    """
    (tmp_path / package / "__init__.py").write_text(textwrap.dedent(code))
    (tmp_path / package / "__main__.py").touch()
    environment = ENVIRONMENT | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", package]
    subprocess.run(command, env=environment, cwd=tmp_path, check=True)


@pytest.mark.parametrize(
    "words", [("-um", "pit_jax.models"), ("-X", "dev", "-mtrain.report", "run")]
)
def test_a_program_answers_signals_however_python_spells_its_module(words):
    process = start("-X", "importtime", *words)
    assert process.stdout is not None
    while "numpy" not in process.stdout.readline():
        assert process.poll() is None
    code, printed = stop(process, signal.SIGTERM)
    assert code == 143 and "stopped by SIGTERM" in printed


@pytest.mark.parametrize("starter", [("cProfile",), ("pdb", "-c", "continue")])
def test_a_program_answers_signals_when_a_profiler_or_debugger_starts_it(starter, tmp_path):
    file = tmp_path / "program.py"
    file.write_text(
        "import time\n"
        "from pit_jax.signals import run_as_program\n"
        "def main():\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "run_as_program(main)\n"
    )
    process = start("-m", *starter, str(file))
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    code, printed = stop(process, signal.SIGTERM)
    assert code == 143 and "stopped by SIGTERM" in printed
