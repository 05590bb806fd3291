"""Common to all tests: four CPU devices, a compilation cache, checked shapes, strict promotion."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # JAX reads it when it is imported.

import hypothesis
import jax
import jaxtyping
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache

jax.config.update("jax_num_cpu_devices", 4)

# Settings for speed that a user's shell may export: tests and programs they start set their own.
for name in ("PIT_JAX_TUNING", "GLIBC_TUNABLES"):
    os.environ.pop(name, None)

# Equal programs are compiled once in a session, whichever process needs them first: xdist's workers
# and the programs that tests start inherit these variables.
OWN_CACHE = None
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    OWN_CACHE = tempfile.mkdtemp(prefix="pit_jax_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = OWN_CACHE
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.02"
    jax.config.update("jax_compilation_cache_dir", OWN_CACHE)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.02)

# The shapes and types in pit_jax's signatures are checked while tests run, and free otherwise.
jaxtyping.install_import_hook("pit_jax", "beartype.beartype")

# No deadline: the first example compiles. Fixtures such as `strict` may hold over all examples.
hypothesis.settings.register_profile(
    "jax",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("jax")


def pytest_configure(config: pytest.Config) -> None:
    """Compile the quick tests with XLA's older code generator for CPUs, which takes less time.

    Compilation in the tests of neurons, learning and the training program takes 74 instead of 94 s
    in all. Runs that include slow tests compile as users do. JAX 0.12 has the newer generator only,
    and XLA ends a process that gives it an unknown flag.
    """
    if config.option.markexpr == "not slow" and jax.__version_info__ < (0, 11):
        flags = os.environ.get("XLA_FLAGS", "")
        if "fusion_emitters" not in flags:  # xdist's workers inherit the flag.
            os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_use_fusion_emitters=false".strip()


def pytest_unconfigure() -> None:
    """Delete the compilation cache, in the process that created it."""
    if OWN_CACHE is not None:
        shutil.rmtree(OWN_CACHE, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def _clear_compiled_programs() -> Iterator[None]:
    """Drop compiled programs after every sixth file: those of all files take gigabytes."""
    yield
    if next(_finished_files) % 6 == 0:
        jax.clear_caches()


_finished_files = itertools.count(1)


@pytest.fixture
def no_compilation_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Turn the session's compilation cache off, here and in programs that the test starts.

    Runs use an empty cache, in the place of the user's own.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    folder = jax.config.jax_compilation_cache_dir
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", raising=False)
    jax.config.update("jax_compilation_cache_dir", None)
    reset_cache()  # JAX reads the name of the folder only once.
    yield
    jax.config.update("jax_compilation_cache_dir", folder)
    reset_cache()


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)


@pytest.fixture
def strict() -> Iterator[None]:
    """Forbid implicit dtype and rank promotion, for tests of functions and neurons.

    Not used in all tests: optax's adamw and cosine schedule and Flax's BatchNorm in bfloat16
    promote dtypes themselves and raise under it.
    """
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def x64() -> Iterator[None]:
    """Use float64, in which sums of different order agree closely enough to compare."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True)
def forget_notes() -> None:
    """Print notes about old names again in each test; a process prints each only once."""
    from pit_jax import old_names  # After the hook.

    old_names.print_note.cache_clear()
