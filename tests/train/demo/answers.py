"""Run encoded programs in a browser, and compare its answers with the programs' own."""

from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import numpy as np

import train.demo
from pit_jax.inference import SpikingProgram
from train.demo.encode import INTERPRETER, encode_program

FOLDER = Path(train.demo.__file__).parent
# The spikes of all layers travel as base64: JSON of millions of numbers would take minutes.
ANSWER = """(images) => {
  const pack = (arrays) => {
    let text = "";
    for (const array of arrays) for (const each of array) text += String.fromCharCode(each & 255);
    return btoa(text);
  };
  return images.map((image) => {
    const answer = demo.run(Uint8Array.from(atob(image), (each) => each.charCodeAt(0)));
    return {
      ...answer,
      logits: [...answer.logits],
      logitsAfterSlot: answer.logitsAfterSlot.map((each) => [...each]),
      probabilitiesAfterSlot: answer.probabilitiesAfterSlot.map((each) => [...each]),
      layers: answer.layers.map((layer) => ({ ...layer, spikes: pack(layer.spikes.flat()) })),
    };
  });
}"""


def read_interpreter() -> list[str]:
    """Return the scripts of the interpreter in their order."""
    return [(FOLDER / name).read_text() for name in INTERPRETER]


def answer_in_page(page: Any, program: SpikingProgram, images: np.ndarray) -> list[dict[str, Any]]:
    """Return the answers of a browser to uint8 images, with spikes `[T, D, ...]` as arrays."""
    page.goto("about:blank")
    for script in read_interpreter():
        page.add_script_tag(content=script)
    page.evaluate("(data) => { globalThis.demo = createProgram(data); }", encode_program(program))
    answers = page.evaluate(ANSWER, [b64encode(image.tobytes()).decode() for image in images])
    for answer in answers:
        for layer in answer["layers"]:
            shape = program.num_steps, len(layer["slots"]), *layer["shape"]
            spikes = np.frombuffer(b64decode(layer["spikes"]), np.int8)
            layer["spikes"] = spikes.reshape(shape)
    return answers


def assert_page_equals_program(page: Any, program: SpikingProgram, images: np.ndarray) -> None:
    """Compare logits, all spikes and all additions by `==`."""
    answers = answer_in_page(page, program, images)
    logits, spikes = program.watch(images, "slots")
    assert np.array_equal([answer["logits"] for answer in answers], np.asarray(logits))
    for number, (path, expected) in enumerate(spikes.items()):
        layers = [answer["layers"][number] for answer in answers]
        assert {layer["path"] for layer in layers} == {path}
        found = np.stack([layer["spikes"] for layer in layers])
        assert np.array_equal(found, np.asarray(expected)), path
        fired = np.abs(found).reshape(*found.shape[:3], -1).sum(-1, dtype=int)
        assert [layer["fired"] for layer in layers] == fired.tolist()
    assert_costs_equal(answers, program, images)
    for answer in answers:
        assert_answer_is_consistent(answer)


def assert_costs_equal(answers: list[Any], program: SpikingProgram, images: np.ndarray) -> None:
    """Compare the additions of each layer: the mean of all images, and those of the first."""
    for number in (len(images), 1):
        rows = program.costs(images[:number]).rows
        for r, row in enumerate(rows):
            found = [answer["rows"][r] for answer in answers[:number]]
            assert row.accumulations == sum(each["accumulations"] for each in found) / number
            for field in ("path", "source", "macs", "additions", "weights", "copies"):
                assert {each[field] for each in found} == {getattr(row, field)}
        assert len(rows) == len(answers[0]["rows"])


def assert_answer_is_consistent(answer: dict[str, Any]) -> None:
    """Check what an answer says twice: its totals, its last logits and its events."""
    assert answer["logitsAfterSlot"][-1] == answer["logits"]
    assert answer["label"] == int(np.argmax(answer["logits"]))
    np.testing.assert_allclose(np.sum(answer["probabilitiesAfterSlot"], 1), 1, rtol=1e-9)
    events = answer["steps"]
    added = [event for event in events if event["kind"] == "add"]
    assert sum(event["amount"] for event in added) == answer["accumulations"]
    assert events[-1]["total"] == answer["accumulations"]
    assert answer["accumulations"] == sum(row["accumulations"] for row in answer["rows"])
    for event in events:
        if event["kind"] == "fire":
            fired = answer["layers"][event["layer"]]["fired"]
            assert event["amount"] == fired[event["t"]][event["slot"]]
        elif event["kind"] == "add":
            slots = answer["rows"][event["row"]]["slots"]
            assert event["amount"] == slots[event["t"]][event["slot"]]
    indices = [event["index"] for event in events if event["kind"] == "logits"]
    assert indices == list(range(len(answer["logitsAfterSlot"])))
