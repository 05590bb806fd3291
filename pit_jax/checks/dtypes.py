"""The dtypes in which a network can compute and train."""

from typing import Any

FLOATS = ("float32", "bfloat16", "float16", "float64")
# Other names: those of PyTorch, NumPy and command lines of other trainers.
ALIASES = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "f16": "float16",
    "half": "float16",
    "fp32": "float32",
    "f32": "float32",
    "single": "float32",
    "fp64": "float64",
    "f64": "float64",
    "double": "float64",
}


def normalize_name(text: str) -> str:
    """Return NumPy's name of a dtype: bfloat16 for bf16 and torch.bfloat16."""
    name = text.strip().lower().rpartition(".")[2]
    return ALIASES.get(name, name if name in FLOATS else text)


def check_dtype(name: str, value: Any) -> Any:
    """Return the dtype of a computation, with its usual name if it is a text; a `Bound`.

    Raises ValueError for a dtype that cannot train, such as int8, and for float64 without x64. None
    means float32, or float64 under x64.
    """
    if value is None or value is float:
        return value
    import jax.numpy as jnp
    import numpy as np

    # NumPy reads more texts, such as ">f4" and "2f4", with which JAX does not compute.
    given = normalize_name(value) if isinstance(value, str) else value
    try:
        dtype = None if isinstance(given, str) else np.dtype(given)
        found = given if dtype is None else dtype.name if dtype.isnative else dtype.str
    except TypeError:
        found = ""
    if found not in FLOATS:
        shown = repr(value) if isinstance(value, str) or not found else found
        raise ValueError(f"{name} is {shown}; it can be {', '.join(FLOATS[:-1])} or {FLOATS[-1]}.")
    if found == "float64" and jnp.result_type(float) != found:
        raise ValueError(
            f"{name} is float64, but JAX computes in float32 unless JAX_ENABLE_X64=1 is set before "
            "it starts; set it, or use float32."
        )
    return given
