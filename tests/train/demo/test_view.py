"""The live page in a browser: drawing, the program's answers, the player, light and dark."""

import os
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pit_jax import examples
from tests.browser import open_browser, record_faults
from tests.train.demo.colors import compile_colors
from tests.train.demo.strokes import DIGITS, change
from train.demo.page import make_page
from train.demo.source import Demo, open_demo

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[3] / "docs/demo/index.html"
OPTIONS = {"weights": "float32", "code": "thermometer"}
# The page answers half a second after a stroke, and plays an answer for about five seconds.
ANSWERED = "!demo.timer && demo.at === demo.frames.length - 1"
RUN = """(images) => images.map((text) => {
  const answer = demo.program.run(decodeBytes(text));
  return { logits: [...answer.logits], additions: answer.accumulations };
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser) -> Iterator[Any]:
    """Return the page of the docs, without animation, and check that nothing went wrong in it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    faults = record_faults(page)
    page.goto(PAGE.as_uri())
    yield page
    context.close()
    assert faults == []


def draw(page: Any, strokes: list[Any]) -> None:
    """Draw with the mouse, and wait until the page has answered."""
    box = page.locator("#field").bounding_box()

    def locate(point: tuple[float, float]) -> tuple[float, float]:
        return box["x"] + point[0] * box["width"], box["y"] + point[1] * box["height"]

    for first, *rest in strokes:
        page.mouse.move(*locate(first))
        page.mouse.down()
        for point in rest:
            page.mouse.move(*locate(point))
        page.mouse.up()
    wait_for_answer(page)


def wait_for_answer(page: Any) -> None:
    page.wait_for_timeout(700)
    wait_for_end(page)


def wait_for_end(page: Any) -> None:
    """Wait for the last frame, without `wait_for_function`, which the page's policy forbids."""
    for _ in range(300):
        if page.evaluate(ANSWERED):
            return
        page.wait_for_timeout(100)
    raise TimeoutError("the page has not answered")


def read_label(page: Any) -> str:
    return page.locator("#label").inner_text()


def test_answers_of_the_page_equal_the_program_on_200_test_digits(page):
    run = examples.digits()
    program, images = run.compile(), run.images("test")[0][:200]
    found = page.evaluate(RUN, [b64encode(image.tobytes()).decode() for image in images])
    assert np.array_equal([each["logits"] for each in found], np.asarray(program(images)))
    additions = program.costs(images).total("accumulations")
    assert sum(each["additions"] for each in found) == round(additions * len(images))


def test_drawn_digits_are_recognized(page):
    found = {}
    for digit, strokes in DIGITS.items():
        page.locator("#clear").click()
        draw(page, strokes)
        found[digit] = read_label(page)
    assert found == {digit: str(digit) for digit in DIGITS}


def test_digits_of_other_sizes_places_and_slants_are_recognized(page):
    cases = [(k, change(strokes, seed)) for k, strokes in DIGITS.items() for seed in range(20)]
    labels = page.evaluate(
        "(drawings) => drawings.map((strokes) => "
        "demo.program.run(drawStrokes(strokes, demo.shape)).label)",
        [strokes for _, strokes in cases],
    )
    right = sum(label == digit for label, (digit, _) in zip(labels, cases, strict=True))
    assert right >= 195, f"{right} of 200"


def test_a_drawing_has_no_answer_until_the_page_has_computed_it(page):
    def read_shown() -> list[str]:
        return [page.locator(name).inner_text() for name in ("#label", "#short", "#chance")]

    assert read_shown()[0] == "0"
    box = page.locator("#field").bounding_box()
    middle = box["x"] + box["width"] / 2
    page.mouse.move(middle, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(middle, box["y"] + 200)
    # The answer to the image before is not one to this drawing, nor are its spikes.
    assert read_shown() == ["–", "–", ""]
    opacity = "[...document.querySelectorAll('section')].map((e) => getComputedStyle(e).opacity)"
    assert page.evaluate(opacity) == ["1", "1", "0.4", "0.4"]
    page.mouse.up()
    page.locator("#back").click()
    assert read_shown() == ["–", "–", ""]
    wait_for_answer(page)
    assert read_shown()[:2] == ["1", "1"] and page.evaluate(opacity) == ["1"] * 4


def test_the_console_runs_images_as_the_guide_says(page):
    run = examples.digits()
    program, images = run.compile(verify=False), run.images("test")[0][:2]
    for image in images:
        found = page.evaluate(
            """(bytes) => {
              const answer = demo.program.run(new Uint8Array(bytes));
              const slot = answer.layers[6].spikes[0][3];
              return { ...answer, logits: [...answer.logits], slot: [...slot], layers: 0 };
            }""",
            image.ravel().tolist(),
        )
        logits, spikes = program.watch(image[None], "slots")
        assert found["logits"] == np.asarray(logits)[0].tolist()
        assert found["label"] == np.argmax(logits)
        assert found["accumulations"] == program.costs(image[None]).total("accumulations")
        assert found["slot"] == np.asarray([*spikes.values()][6])[0, 0, 3].ravel().tolist()


def test_a_finger_draws_and_does_not_scroll_the_page(browser):
    context = browser.new_context(
        viewport={"width": 390, "height": 800}, has_touch=True, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(PAGE.as_uri())
    session = context.new_cdp_session(page)
    box = page.locator("#field").bounding_box()

    def touch(kind: str, *points: tuple[float, float]) -> None:
        placed = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in points
        ]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": placed})

    for first, *rest in DIGITS[7]:
        touch("touchStart", first)
        for point in rest:
            touch("touchMove", point)
        touch("touchEnd")
    wait_for_answer(page)
    assert read_label(page) == "7" and page.evaluate("scrollY") == 0
    assert page.evaluate("demo.field.strokes.length") == len(DIGITS[7])
    context.close()


@pytest.mark.parametrize(
    "interrupt",
    [
        "Delete",
        "Space",
        "demo.choose(3)",
        "find('field').dispatchEvent(new PointerEvent('lostpointercapture', { pointerId: 1 }))",
    ],
)
def test_a_stroke_that_is_interrupted_leaves_a_field_that_draws(page, interrupt):
    box = page.locator("#field").bounding_box()
    middle = box["x"] + box["width"] / 2
    page.mouse.move(middle, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(middle, box["y"] + 90)
    page.evaluate(interrupt) if "(" in interrupt else page.keyboard.press(interrupt)
    page.mouse.move(middle, box["y"] + 150)
    page.mouse.up()
    assert page.evaluate("demo.field.strokes.length") == (
        interrupt not in ("Delete", "demo.choose(3)")
    )
    page.locator("#clear").click()
    draw(page, DIGITS[7])
    assert read_label(page) == "7" and page.locator("#short").inner_text() == "7"


def test_thousands_of_reported_points_are_thinned_and_drawn(page):
    # A mouse reports up to a thousand points a second, and a call takes a limited number.
    page.evaluate(
        """() => {
          const box = find("field").getBoundingClientRect();
          const move = (i, type) => demo.field[type]({
            pointerId: 1,
            button: 0,
            clientX: box.left + box.width * (0.5 + 0.3 * Math.cos(i / 4000)),
            clientY: box.top + box.height * (0.5 + 0.4 * Math.sin(i / 4000)),
          });
          demo.field.canvas.setPointerCapture = () => {};
          move(0, "start");
          demo.field.draw = () => {};
          demo.read = () => {};
          for (let i = 1; i < 26000; i++) move(i, "move");
        }"""
    )
    lengths = page.evaluate("demo.field.strokes.map((stroke) => stroke.length)")
    assert len(lengths) == 1 and 200 < lengths[0] < 400
    label = "demo.program.run(drawStrokes(demo.field.strokes, demo.shape)).label"
    assert page.evaluate(label) == 0
    points = "[Array.from({ length: 200000 }, (_, i) => [(i % 7) / 7, (i % 5) / 5])]"
    assert page.evaluate(f"measureStrokes({points}).width") == 6 / 7


def test_the_keyboard_draws_clears_and_reaches_everything(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "field"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for _ in range(12):
        page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    for _ in range(24):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowLeft")  # The pen is lifted.
    wait_for_answer(page)
    assert page.evaluate("demo.field.strokes.map((stroke) => stroke.length)") == [25]
    assert read_label(page) == "1"
    assert page.locator("#spoken").inner_text() == "The answer is 1."
    page.keyboard.press("Delete")
    assert page.evaluate("demo.field.strokes.length") == 0 and read_label(page) == "–"
    focused = "document.activeElement.id || document.activeElement.ariaLabel || 'help'"
    reached = []
    for _ in range(16):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(focused))
    images = [f"Test image of the class {k}" for k in range(10)]
    assert reached == ["clear", "help", *images, "play", "back", "step", "position"]


def test_examples_show_their_class_and_the_pixels_that_enter(page):
    images = open_demo("digits", "last", None, OPTIONS).images
    for k, button in enumerate(page.locator("#examples button").all()):
        button.click()
        assert read_label(page) == str(k) and button.get_attribute("aria-pressed") == "true"
        seen = page.evaluate(
            "[...find('sees').getContext('2d').getImageData(0, 0, 8, 8).data]"
            ".filter((value, i) => i % 4 === 0)"
        )
        assert seen == images[k].ravel().tolist()


def test_an_answer_plays_pauses_and_steps(browser):
    page = browser.new_page()
    page.goto(PAGE.as_uri())
    assert page.locator("#play").inner_text() == "Pause"
    page.locator("#play").click()
    assert page.locator("#play").inner_text() == "Play"
    position = page.locator("#position")
    position.fill("0")
    assert read_label(page) == "–" and "fires slot 1 of 4" in page.locator("#moment").inner_text()
    before = page.evaluate("demo.answer.steps.filter((each) => each.kind !== 'add')")
    totals = []
    for frame in before[1:]:
        page.locator("#step").click()
        totals.append(page.locator(".count.additions b").inner_text())
        assert page.evaluate("demo.frames[demo.at]") == frame
    assert totals == [f"{frame['total']:,}" for frame in before[1:]]
    assert totals[-1] == f"{page.evaluate('demo.answer.accumulations'):,}"
    assert page.locator("#slots li.later").count() == 0
    page.locator("#back").click()
    assert page.evaluate("demo.at") == len(before) - 2
    page.locator("#play").click()
    wait_for_end(page)
    page.close()


def test_nothing_moves_for_visitors_who_prefer_so(page):
    assert page.evaluate(ANSWERED)
    page.locator("#examples button").nth(3).click()
    assert page.evaluate(ANSWERED) and read_label(page) == "3"


def test_a_run_of_two_steps_shows_both(browser, finished_run, tmp_path):
    file = tmp_path / "run.html"
    file.write_text(make_page(open_demo(finished_run, "last", None, OPTIONS)))
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    faults = record_faults(page)
    page.goto(file.as_uri())
    chips = page.locator("#slots li").all_inner_texts()
    assert len(chips) == 8 and chips[0].startswith("step 1 of 2, slot 1: ")
    assert chips[7].startswith("step 2 of 2, slot 4: ")
    page.locator("#position").fill("0")
    assert page.locator("#moment").inner_text().startswith("Now: step 1 of 2, ")
    context.close()
    assert faults == []


def test_color_images_are_only_clicked(browser, tmp_path):
    images = np.random.default_rng(0).integers(1, 256, (4, 2, 2, 3), np.uint8)
    program = compile_colors(images)
    names = ("red", "<img src=x onerror=alert(1)>", "long" * 30)
    colors = Demo(program, names[2], "colors", names, images, np.arange(4) % 3, {"x": names[2]})
    file = tmp_path / "colors.html"
    file.write_text(make_page(colors))
    context = browser.new_context(reduced_motion="reduce", viewport={"width": 390, "height": 800})
    page = context.new_page()
    faults = record_faults(page)
    page.goto(file.as_uri())
    assert page.locator("#field").count() == 0
    for image, button in zip(images, page.locator("#examples button").all(), strict=True):
        button.click()
        assert read_label(page) == colors.classes[int(program(image[None]).argmax())]
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    context.close()
    assert faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_the_window_and_requests_nothing(browser, width, scheme):
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    faults = record_faults(page)
    page.goto(PAGE.as_uri())
    draw(page, DIGITS[5])
    assert page.evaluate("document.documentElement.scrollWidth") == width
    # Numbers and buttons keep their one line next to long texts.
    for text in page.locator(".count b, .player button, #clear").all():
        assert text.bounding_box()["height"] < 50
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{folder}/live_page_{width}_{scheme}.png", full_page=True)
    context.close()
    assert faults == []
