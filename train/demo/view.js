"use strict";

/* The page: takes a drawing or an example, runs the program, and shows its events one by one.

The program computes an answer in one call, so its events can be shown at any speed, in both
directions. A frame is one of them: a slot that a layer fires, or new logits. */

// A whole answer is shown in about this time, in milliseconds, unless frames would be too short.
const DURATION = 4500;
const SHORTEST = 30;
const LONGEST = 160;
// Strokes that follow each other within this time are one drawing.
const PAUSE = 500;

/** Return the frames of an answer: its events, except additions, which the next frame includes. */
function listFrames(answer) {
  return answer.steps.filter((event) => event.kind !== "add");
}

class Demo {
  constructor(program, page) {
    this.program = program;
    this.page = page;
    this.shape = program.data.shape;
    this.colors = readColors();
    this.isStill = matchMedia("(prefers-reduced-motion: reduce)");
    this.layers = program.data.layers.map((layer, i) => new LayerView(layer, i + 1, program.data.steps));
    find("layers").append(...this.layers.map((layer) => layer.figure));
    this.field = find("field") && new Field(find("field"), (done) => this.read(done));
    this.listExamples();
    this.answers = new AnswerChart(page.classes, program.data.steps);
    this.work = new WorkChart(program.data);
    this.connect();
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => {
      this.colors = readColors();
      if (this.field) this.field.draw();
      this.show(this.at);
    });
    if (this.examples.length) this.choose(0);
    else this.answerTo(new Uint8Array(this.shape.reduce((a, b) => a * b, 1)), false);
  }

  connect() {
    find("play").addEventListener("click", () => (this.timer ? this.stop() : this.play()));
    find("step").addEventListener("click", () => this.seek(this.at + 1));
    find("back").addEventListener("click", () => this.seek(this.at - 1));
    find("position").addEventListener("input", (event) => this.seek(Number(event.target.value)));
    if (this.field) find("clear").addEventListener("click", () => this.field.clear());
  }

  listExamples() {
    const bytes = decodeBytes(this.page.images);
    const size = this.shape.reduce((a, b) => a * b, 1);
    this.examples = this.page.labels.map((label, i) => {
      const pixels = bytes.subarray(i * size, (i + 1) * size);
      const canvas = make("canvas");
      paint(canvas, pixels, this.shape);
      const button = make("button", "", "", canvas);
      button.type = "button";
      button.setAttribute("aria-label", `Test image of the class ${this.page.classes[label]}`);
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => this.choose(i));
      find("examples").append(button);
      return { button, pixels };
    });
  }

  choose(number) {
    if (this.field) this.field.empty();
    clearTimeout(this.waiting);
    this.mark(number);
    this.answerTo(this.examples[number].pixels);
  }

  mark(number) {
    this.examples.forEach((each, i) => each.button.setAttribute("aria-pressed", String(i === number)));
  }

  /** Take the drawing: show its pixels at once, and answer when the visitor pauses. */
  read(done) {
    this.mark(-1);
    this.stop();
    const pixels = drawStrokes(this.field.strokes, this.shape);
    paint(find("sees"), pixels, this.shape);
    clearTimeout(this.waiting);
    if (!this.field.strokes.length) this.answerTo(pixels, false);
    else {
      // What the page shows belongs to another image: no answer, and pale spikes.
      this.isKnown = false;
      document.body.classList.add("waiting");
      this.answers.show(-1);
      if (done) this.waiting = setTimeout(() => this.answerTo(pixels), PAUSE);
    }
  }

  /** Run the program and show its events from the first one, or, if nothing `moves`, the last. */
  answerTo(pixels, moves = true) {
    this.stop();
    document.body.classList.remove("waiting");
    // An answer to an empty field would be noise; its spikes and additions are shown.
    this.isKnown = pixels.some((pixel) => pixel);
    paint(find("sees"), pixels, this.shape);
    this.answer = this.program.run(pixels);
    this.frames = listFrames(this.answer);
    find("position").max = this.frames.length - 1;
    this.answers.start(this.answer);
    find("spoken").textContent = this.isKnown
      ? `The answer is ${this.page.classes[this.answer.label]}.`
      : "The image is empty.";
    if (moves && !this.isStill.matches) {
      this.show(0);
      this.play();
    } else this.show(this.frames.length - 1);
  }

  play() {
    if (this.at >= this.frames.length - 1) this.show(0);
    const pace = Math.min(LONGEST, Math.max(SHORTEST, DURATION / this.frames.length));
    let before = performance.now();
    const advance = (time) => {
      const frames = Math.floor((time - before) / pace);
      if (frames > 0) {
        before += frames * pace;
        this.show(Math.min(this.at + frames, this.frames.length - 1));
      }
      this.timer = this.at < this.frames.length - 1 ? requestAnimationFrame(advance) : 0;
      this.name();
    };
    this.timer = requestAnimationFrame(advance);
    this.name();
  }

  stop() {
    cancelAnimationFrame(this.timer);
    this.timer = 0;
    this.name();
  }

  name() {
    const text = this.timer ? "Pause" : "Play";
    if (find("play").textContent !== text) find("play").textContent = text;
  }

  seek(at) {
    this.stop();
    this.show(Math.min(this.frames.length - 1, Math.max(0, at)));
  }

  /** Show the state after frame `at`. */
  show(at) {
    this.at = at;
    const frame = this.frames[at];
    const states = this.layers.map(() => null);
    let logits = -1;
    for (const each of this.frames.slice(0, at + 1)) {
      if (each.kind === "fire") states[each.layer] = each;
      else logits = each.index;
    }
    this.layers.forEach((layer, i) => this.drawLayer(layer, i, states[i], frame));
    this.showMoment(frame);
    this.answers.show(this.isKnown ? logits : -1);
    this.work.show(this.answer, frame.total);
    find("position").value = at;
    find("position").setAttribute("aria-valuetext", find("moment").textContent);
  }

  drawLayer(layer, number, state, frame) {
    const isCurrent = frame.kind === "fire" && frame.layer === number;
    const [t, slot] = state ? [state.t, state.slot] : [0, -1];
    const key = `${t} ${slot} ${isCurrent}`;
    const known = layer.key === key && layer.answer === this.answer && layer.colors === this.colors;
    if (known) return;
    [layer.key, layer.answer, layer.colors] = [key, this.answer, this.colors];
    const { spikes, fired } = this.answer.layers[number];
    layer.draw(spikes, t, slot, isCurrent, this.colors);
    layer.figure.classList.toggle("current", isCurrent);
    const sum = fired[t].slice(0, slot + 1).reduce((a, b) => a + b, 0);
    layer.count.textContent = state
      ? `${nameStep(t, layer.steps)}slot ${slot + 1} of ${layer.layer.slots.length}: ${whole.format(sum)} spikes so far`
      : "no spikes yet";
  }

  showMoment(frame) {
    const start = nameStep(frame.t, this.program.data.steps);
    let text;
    if (frame.kind === "fire") {
      const layer = this.program.data.layers[frame.layer];
      text = `${start}layer ${frame.layer + 1} (${layer.path}) fires slot ${frame.slot + 1} of ${layer.slots.length}: ${whole.format(frame.amount)} spikes`;
    } else text = `${start}the answer after slot ${frame.slot + 1} of the last layer`;
    find("moment").textContent = `Now: ${text}.`;
  }
}

const demo = new Demo(createProgram(read("program")), read("page"));
