"""Settings of XLA and of the C library that make programs faster, and how they are applied.

Each setting is below, with its reason, where it applies, what it brought and how to switch it off.
`PIT_JAX_TUNING=off` switches all of them off, so that both can be compared, and
`PIT_JAX_TUNING=keep` adds setting 3. None changes results by more than rounding. Measured on two
cores of an AMD EPYC with AVX-512, JAX 0.10.2: ResNet18 on CIFAR shapes, batch 32, float32, whole
training steps. Measure again after an upgrade of JAX.

- Programs apply everything: what must be there before a process starts by starting themselves again
  once, with `os.execve`, so that process, arguments, working directory and open files stay.
- In your own program call `pit_jax.tune_runtime()`, and pass `compiler_options("train")` to
  `jax.jit`. Nothing here starts your program again.

Programs import this module before any other, and those that restart pay for it twice: so it imports
nothing at the top that Python has not loaded already.
"""

import os
import sys
from functools import cache

SWITCH = "PIT_JAX_TUNING"
Options = dict[str, str | int]

# 1. Eigen instead of YNNPACK for convolutions.
#    Why: XLA compiles convolutions to YNNPACK, which is slow for 64 to 128 channels and for the
#    gradients of weights: all convolutions of ResNet18 take 426 ms a step with it, 355 with Eigen.
#    This list leaves YNNPACK the products and the reductions; without its reductions a step takes
#    726 instead of 584 ms.
#    Where: training and evaluation on CPUs, in batches. Inference of few samples stays on the
#    default, which is faster there (PIT, one sample: 7.0 instead of 10.2 ms).
#    What: with setting 2, 57 → 80 images/s (ReLU), 51 → 76 (PIT 1×4), 11.7 → 16.1 (LIF, T = 4).
#    Off: give XLA_FLAGS the same flag with another value, which then holds here too.
EIGEN: Options = {
    "xla_cpu_experimental_ynn_fusion_type": (
        "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    )
}
# The smallest batch of inference that is compiled with setting 1. Time of the default over time of
# Eigen, PIT on ResNet18: 0.90 for one sample, 0.85 for 2, 0.98 for 8, 1.01 for 16, 1.07 for 32.
LEAST_BATCH = 16

# 2. Huge pages for the C library's allocator.
#    Why: XLA allocates its temporaries in every step, and the system maps them page by page: 71,000
#    page faults a step (ReLU), 104,000 (PIT), 400,000 (LIF, T = 4), and 525 with huge pages.
#    Where: Linux with glibc 2.35 or later, where the system leaves huge pages to the program
#    (`madvise` in the file below). The allocator reads the variable once, when a process starts.
#    Not in a virtual machine whose host takes free huge pages back ("free page reporting", feature
#    5 of a virtio balloon, device 5): it must provide each of them again. There a step of LIF at
#    T = 4 took 6.5 s with huge pages and 3.1 without.
#    What: 7 to 15 % of a training step at T = 1; 1.7 times the speed of a loop over time alone.
#    Off: GLIBC_TUNABLES=glibc.malloc.hugetlb=0; any value of yours for this tunable is kept.
TUNABLE = "glibc.malloc.hugetlb"
HUGE_PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"
FIRST_GLIBC = (2, 35)
VIRTUAL_DEVICES = "/sys/bus/virtio/devices"
BALLOON, REPORTING = "0x0005", 5

# 3. Keep freed memory in the process, for the next step.
#    Why: then the system maps no pages in a step at all.
#    Where: the same systems, with PIT_JAX_TUNING=keep. Not by default, since XLA allocates the
#    temporaries of a step while the step before still has its own: both stay in the process.
#    What, where a host takes free pages back: 1.7 to 2.6 times the speed of a loop over time alone.
#    At T = 32 the process of one layer takes 2.0 instead of 0.9 GiB.
#    Off: without `keep`; any values of yours for these tunables are kept.
KEEP = {
    "glibc.malloc.mmap_max": 0,
    "glibc.malloc.arena_max": 1,
    "glibc.malloc.trim_threshold": 2**40,
}

# 4. Little optimization of programs that run once, such as the initialization of weights.
#    Why: they take longer to compile than to run.
#    Where: CPUs.
#    What: at level 0 the initialization of ResNet18 takes 2.6 s of CPU time to compile and 1.6 s to
#    run, at level 1 4.0 and 0.7: a start that reads the program from the cache only runs it.
#    Off: give XLA_FLAGS the same flag with another value.
QUICK: Options = {"xla_backend_optimization_level": 1}

KINDS: dict[str, Options] = {"train": EIGEN, "evaluate": EIGEN, "once": QUICK}
# The process that a program has started itself again as, and the signals that it had blocked
# before. Its children inherit the settings, so they need not start themselves again.
RESTARTED = "PIT_JAX_RESTARTED"


def is_tuning() -> bool:
    """Return whether settings are applied; raise FileError for an unknown value of the switch."""
    value = os.environ.get(SWITCH, "")
    if value not in ("", "keep", "off"):
        from pit_jax.reading import FileError

        raise FileError(f"{SWITCH} must be off, keep or unset, got {value!r}.")
    return value != "off"


def compiler_options(kind: str) -> Options | None:
    """Return the compiler options of a program, for `jax.jit(..., compiler_options=...)`.

    `kind` is `train` or `evaluate` for programs on batches, and `once` for programs that run once.
    JAX refuses such options in a function that is called inside another jitted function. An option
    that JAX does not know is skipped, with one note.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}.")
    if not is_tuning():
        return None
    import jax

    if jax.default_backend() != "cpu":
        return None
    flags = os.environ.get("XLA_FLAGS", "")
    known = {
        name: value
        for name, value in KINDS[kind].items()
        if f"--{name}=" not in flags and _is_known(name, value)
    }
    return known or None


@cache
def _is_known(name: str, value: str | int) -> bool:
    """Ask JAX whether it has a compiler option with this value; if not, print a note."""
    import jax

    try:
        jax.jit(lambda x: x, compiler_options={name: value}).lower(0.0).compile()
    except jax.errors.JaxRuntimeError as error:
        if name not in str(error):
            raise
        _note_skipped(str(error).partition(": ")[2])
        return False
    return True


def _note_skipped(reason: str) -> None:
    from pit_jax.display import print_text

    print_text(f"note: a setting of pit_jax.tuning is skipped: {reason.rstrip('.')}.", sys.stderr)


def tune_runtime() -> str:
    """Apply what this process can still change, and return the rest as a line for the shell.

    Call it before JAX starts its devices: it adds Eigen for convolutions to XLA_FLAGS, for
    everything that JAX compiles on CPUs from then on. Inference of single samples becomes slower
    with it. The line sets what must be there before a process starts; it is empty if nothing is
    left. Nothing is restarted. Raises FileError for an unknown value of PIT_JAX_TUNING.
    """
    if not is_tuning():
        return ""
    changes = {"GLIBC_TUNABLES": _extend_tunables(), "XLA_FLAGS": _apply_flags()}
    left = {name: value for name, value in changes.items() if value is not None}
    if not left:
        return ""
    import shlex

    return " ".join(["export", *(f"{name}={shlex.quote(value)}" for name, value in left.items())])


def describe_tuning() -> list[str]:
    """Return the names of the settings that are on in this process, for the record of a run."""
    tunables = set(os.environ.get("GLIBC_TUNABLES", "").split(":"))
    flags = {f"--{name}={value}" for name, value in EIGEN.items()}
    of_user = flags <= set(os.environ.get("XLA_FLAGS", "").split())
    found = {
        "Eigen for convolutions": of_user or compiler_options("train"),
        "huge pages": {f"{TUNABLE}=1", f"{TUNABLE}=2"} & tunables,
        "freed memory is kept": {f"{name}={value}" for name, value in KEEP.items()} <= tunables,
        "little optimization of programs that run once": compiler_options("once"),
    }
    return [name for name, is_on in found.items() if is_on]


def is_program() -> bool:
    """Return whether Python was started with a program of the library or the trainer.

    These are `python -m` with one of their modules, and the command `pit-jax`. True only while
    Python imports the packages of that program.
    """
    option, name = _find_start()
    if not option:
        return os.path.basename(name) == "pit-jax" and sys.argv[:1] == [name]
    # Programs that run others, such as debuggers, have replaced the `-m` by then.
    if option != "m" or sys.argv[:1] != ["-m"]:
        return False
    package, here = name.partition(".")[0], os.path.dirname(__file__)
    # The package `train` of a clone of this repository, not a user's own package.
    file = getattr(sys.modules.get("train"), "__file__", None)
    is_clone = file == os.path.join(os.path.dirname(here), "train", "__init__.py")
    in_wheel = os.path.isdir(os.path.join(here, "train"))
    return package == "pit_jax" or package == "train" and is_clone and not in_wheel


def restart_tuned() -> None:
    """Start this program again with settings that must be there before it starts; at most once.

    Process id, arguments, working directory, streams and open files stay. Signals wait until
    `release_signals`. Return if nothing is to change, or if the system refuses.
    """
    is_short = {"-h", "--help", "--version"} & set(sys.orig_argv)
    is_off = os.environ.get(SWITCH, "") not in ("", "keep")
    if _was_restarted() or is_off or is_short or not sys.executable:
        return
    if (tunables := _extend_tunables()) is None:
        return
    import signal

    # The system keeps blocked signals for the new process. Others would be lost: Python notes a
    # signal and answers it later, and there is no later after `execve`.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    words = (str(os.getpid()), *(str(int(number)) for number in before))
    changes = {"GLIBC_TUNABLES": tunables, RESTARTED: " ".join(words)}
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | changes)
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def release_signals() -> None:
    """Deliver the signals that arrived while this program started itself again."""
    if _was_restarted():
        import signal

        before = os.environ[RESTARTED].split()[1:]
        signal.pthread_sigmask(signal.SIG_SETMASK, map(int, before))


def _was_restarted() -> bool:
    """Return whether this very process has started itself again, and not a parent of it."""
    return os.environ.get(RESTARTED, "").partition(" ")[0] == str(os.getpid())


def _find_start() -> tuple[str, str]:
    """Return how Python was started: `m` and a module, `c` and code, or "" and a file."""
    words = iter(sys.orig_argv[1:])
    for word in words:
        if not word.startswith("-") or word == "-":
            return "", word
        if word.startswith("--"):  # `--check-hash-based-pycs`, with a value.
            next(words, "")
            continue
        # Options of one letter may share a word: `-um train.main`.
        for place, letter in enumerate(word[1:], 2):
            if letter in "mc":
                return letter, word[place:] or next(words, "")
            if letter in "XW":
                if not word[place:]:
                    next(words, "")
                break
    return "", ""


def _extend_tunables() -> str | None:
    """Return GLIBC_TUNABLES with settings 2 and 3, or None if nothing is to be added."""
    if not _has_glibc():
        return None
    keeps = os.environ.get(SWITCH) == "keep"
    wanted = {name: str(value) for name, value in KEEP.items()} if keeps else {}
    # Pages that are kept are taken from the host only once.
    if _can_use_huge_pages() and (keeps or not _loses_free_pages()):
        wanted = {TUNABLE: "1", **wanted}
    given = os.environ.get("GLIBC_TUNABLES", "")
    names = [each.partition("=")[0] for each in given.split(":")]
    added = [f"{name}={value}" for name, value in wanted.items() if name not in names]
    return ":".join([given, *added]).lstrip(":") if added else None


def _has_glibc() -> bool:
    """Return whether the C library reads these tunables."""
    if sys.platform != "linux":
        return False
    try:
        library, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (OSError, ValueError):
        return False
    numbers = tuple(int(number) for number in version.split(".")[:2] if number.isdigit())
    return library == "glibc" and numbers >= FIRST_GLIBC


def _can_use_huge_pages() -> bool:
    """Return whether the system waits to be asked for huge pages."""
    try:
        with open(HUGE_PAGES) as file:
            return "[madvise]" in file.read()
    except (OSError, ValueError):
        return False


def _loses_free_pages() -> bool:
    """Return whether the host of this virtual machine takes free huge pages back."""
    try:
        names = os.listdir(VIRTUAL_DEVICES)
    except OSError:
        return False
    for name in names:
        try:
            with open(f"{VIRTUAL_DEVICES}/{name}/device") as file:
                device = file.read().strip()
            with open(f"{VIRTUAL_DEVICES}/{name}/features") as file:
                features = file.read()
        except (OSError, ValueError):
            continue
        if device == BALLOON and features[REPORTING : REPORTING + 1] == "1":
            return True
    return False


def _apply_flags() -> str | None:
    """Add setting 1 to XLA_FLAGS, or return them with it where JAX has read them already.

    Return None also if JAX does not know the flag, or computes on other devices than CPUs.
    """
    given = os.environ.get("XLA_FLAGS", "")
    flags = " ".join([given, *(f"--{n}={v}" for n, v in EIGEN.items() if f"--{n}=" not in given)])
    if flags.strip() == given.strip():
        return None
    if _has_started():
        return flags.strip() if compiler_options("train") else None
    from pit_jax.environment import check_compiler_flags
    from pit_jax.reading import FileError

    os.environ["XLA_FLAGS"] = flags.strip()
    try:
        check_compiler_flags()
    except FileError as error:
        os.environ["XLA_FLAGS"] = given
        _note_skipped(str(error))
    return None


def _has_started() -> bool:
    """Return whether JAX has started its devices."""
    import jax

    name = "jax_num_cpu_devices"
    count = getattr(jax.config, name)
    try:
        jax.config.update(name, count + 1)  # JAX refuses it once they are there.
    except RuntimeError:
        return True
    jax.config.update(name, count)
    return False
