"""The ground all tests stand on: four CPU devices, checked shapes, and strictness on request."""

import os
from collections.abc import Iterator

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # JAX reads it when it is imported.

import hypothesis
import jax
import jaxtyping
import pytest

jax.config.update("jax_num_cpu_devices", 4)

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


@pytest.fixture(scope="module", autouse=True)
def _compiled_programs_go() -> Iterator[None]:
    """Each file leaves its compiled programs behind: those of all files take gigabytes."""
    yield
    jax.clear_caches()


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)


@pytest.fixture
def strict() -> Iterator[None]:
    """No implicit dtype or rank promotion, for tests of functions and neurons.

    Not for all tests: optax's adamw and cosine schedule and Flax's BatchNorm in bfloat16 promote
    dtypes themselves and raise under it.
    """
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def x64() -> Iterator[None]:
    """Arrays are float64: how sums of different order are shown to be equal."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True)
def forget_notes() -> None:
    """Notes of old names are printed once in a process: let each test see its own."""
    from pit_jax import old_names  # After the hook.

    old_names.print_note.cache_clear()
