"""Join a program, the interpreter and the view in one HTML file that needs no other file."""

import json
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from ..errors import UserError
from ..html import make_templates, mark_page
from .encode import INTERPRETER, MOST_BYTES, encode_program
from .source import Demo

HERE = Path(__file__).parent
PROGRAM = "demo"
# In this order: a script uses those before it.
SCRIPTS = (
    *INTERPRETER,
    "drawing.js",
    "elements.js",
    "layers.js",
    "field.js",
    "charts.js",
    "view.js",
)
# Data sets of digits, whose pages ask the visitor for one.
OF_DIGITS = ("digits", "mnist")


_templates = make_templates(HERE)


def make_page(demo: Demo) -> str:
    """Return the HTML document; raise UserError if the program is too large for it."""
    encoded = encode_program(demo.program)
    shape = demo.shape
    draws = shape[-1] == 1
    heading = "Draw a digit" if draws and demo.data in OF_DIGITS else "Watch a network answer"
    text = _templates.get_template("page.html.jinja").render(
        mark=mark_page(PROGRAM),
        heading=heading,
        title=demo.title,
        draws=draws,
        size=f"{shape[0]} × {shape[1]}",
        weights=f"{count_weights(encoded):,}",
        signed=any(layer["signed"] for layer in encoded["layers"]),
        steps=encoded["steps"],
        code=describe_code([layer["slots"] for layer in encoded["layers"]], encoded["steps"]),
        examples=len(demo.images),
        facts=demo.facts.items(),
        credit=demo.credit,
        program=to_script(encoded),
        page=to_script(
            {
                "classes": demo.classes,
                "labels": demo.labels.tolist(),
                "images": b64encode(np.ascontiguousarray(demo.images).tobytes()).decode(),
            }
        ),
        style=read_part("page.css"),
        scripts=[read_part(name) for name in SCRIPTS],
    )
    if (size := len(text.encode())) > MOST_BYTES:
        raise UserError(
            f"the page would have {size / 1e6:.1f} MB; at most {MOST_BYTES / 1e6:.0f} MB are "
            "allowed. Use --weights int8, or a smaller network."
        )
    return text


def count_weights(encoded: dict[str, Any]) -> int:
    """Return the number of stored weights, all copies for steps and streams included."""
    return sum(row["weights"] * row["copies"] for row in encoded["rows"])


def describe_code(layers: Sequence[Sequence[int]], steps: int) -> str:
    """Return how neurons signal, for visitors; `layers` has for each layer what its slots count."""
    numbers = sorted({len(slots) for slots in layers})
    if numbers == [1]:
        text = "it fires or stays silent."
    else:
        slots = str(numbers[0]) if len(numbers) == 1 else f"up to {numbers[-1]}"
        text = (
            f"it fires or stays silent in each of {slots} slots, one after the other. More "
            "spikes are a stronger signal."
        )
        if any(max(each) > 1 for each in layers):
            text += " The first slots count more, as the digits of a binary number do."
    if steps > 1:
        text += f" All layers do so in each of {steps} steps of time."
    return text


def to_script(value: Any) -> Markup:
    """Return JSON for a script element, which a name such as `</script>` cannot end."""
    return Markup(json.dumps(value, separators=(",", ":")).replace("<", "\\u003c"))


def read_part(name: str) -> Markup:
    """Return a style sheet or a script of this folder."""
    return Markup((HERE / name).read_text(encoding="utf-8").strip())
