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
// The keyboard moves the pen by this share of the field.
const STRIDE = 1 / 40;
const PEN = 0.075;
const MOST_BARS = 12;
// The most height and width of a picture of a layer, in pixels of the page.
const LAYER_HEIGHT = 110;
const LAYER_WIDTH = 300;

const find = (id) => document.getElementById(id);
const read = (id) => JSON.parse(find(id).textContent);
const whole = new Intl.NumberFormat("en-US");
const percent = (share) => `${(100 * share).toFixed(1)}%`;

function decodeBytes(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** Return a new element with a class, a text and children. */
function make(tag, name = "", text = "", ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text) element.textContent = text;
  element.append(...children);
  return element;
}

/** Draw an image of bytes into a canvas, one pixel for each. */
function paint(canvas, pixels, shape) {
  const [height, width, channels] = shape;
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = pixels[i * channels + (channels === 3 ? c : 0)];
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Return the frames of an answer: its events, except additions, which the next frame includes. */
function listFrames(answer) {
  const frames = [];
  for (const event of answer.steps) {
    if (event.kind !== "add") frames.push(event);
  }
  return frames;
}

/* ---- The picture of a layer: a map for each channel, a cell for each neuron. ---- */

class LayerView {
  constructor(layer, steps) {
    this.layer = layer;
    this.steps = steps;
    const shape = layer.shape;
    this.channels = shape[shape.length - 1];
    this.rows = shape.length > 2 ? shape[0] : 1;
    this.columns = shape.slice(shape.length > 2 ? 1 : 0, -1).reduce((a, b) => a * b, 1);
    this.arrange();
    this.canvas = make("canvas");
    this.canvas.setAttribute("aria-hidden", "true");
    this.canvas.width = this.across * this.tileWidth * this.size;
    this.canvas.height = Math.ceil(this.shown / this.across) * this.tileHeight * this.size;
    this.count = make("span");
    const hidden = this.shown < this.channels ? ` (${this.shown} of ${this.channels} channels)` : "";
    const caption = make("figcaption", "", "", make("b", "", layer.path), ` ${shape.join(" × ")}${hidden}`);
    caption.append(make("br"), this.count);
    this.figure = make("figure", "", "", this.canvas, caption);
  }

  /** Choose the size of a cell and the number of maps in a row, so that the picture fits. */
  arrange() {
    const gap = this.rows * this.columns > 1 ? 1 : 0;
    this.tileWidth = this.columns + gap;
    this.tileHeight = this.rows + gap;
    for (this.size = 8; this.size > 1; this.size--) {
      this.across = Math.max(1, Math.floor(LAYER_WIDTH / this.size / this.tileWidth));
      const down = Math.ceil(this.channels / this.across);
      if (down * this.tileHeight * this.size <= LAYER_HEIGHT) break;
    }
    this.across = Math.max(1, Math.floor(LAYER_WIDTH / this.size / this.tileWidth));
    this.across = Math.min(this.across, this.channels);
    const most = Math.max(1, Math.floor((2 * LAYER_HEIGHT) / this.size / this.tileHeight));
    this.shown = Math.min(this.channels, this.across * most);
  }

  /** Show the spikes of a step up to a slot; the slot itself in another color while it is `now`. */
  draw(spikes, t, slot, now, colors) {
    const context = this.canvas.getContext("2d");
    context.fillStyle = colors.paper;
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    const worth = this.layer.slots;
    const most = worth.reduce((a, b) => a + b, 0);
    for (let channel = 0; channel < this.shown; channel++) {
      const left = (channel % this.across) * this.tileWidth;
      const top = Math.floor(channel / this.across) * this.tileHeight;
      for (let place = 0; place < this.rows * this.columns; place++) {
        const at = place * this.channels + channel;
        let count = 0;
        for (let d = 0; d <= slot; d++) count += worth[d] * spikes[t][d][at];
        context.fillStyle = chooseColor(count, most, now && slot >= 0 && spikes[t][slot][at] !== 0, colors);
        const x = (left + (place % this.columns)) * this.size;
        const y = (top + Math.floor(place / this.columns)) * this.size;
        const line = this.size > 3 ? 1 : 0;
        context.fillRect(x, y, this.size - line, this.size - line);
      }
    }
  }
}

function chooseColor(count, most, firing, colors) {
  if (count < 0) return colors.negative;
  if (firing) return colors.now;
  if (count === 0) return colors.cell;
  return mixColors(colors.before, colors.most, most > 1 ? (count - 1) / (most - 1) : 1);
}

function mixColors(from, to, share) {
  const parse = (color) => [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
  const [a, b] = [parse(from), parse(to)];
  return `rgb(${a.map((value, i) => Math.round(value + share * (b[i] - value))).join(" ")})`;
}

function readColors() {
  const style = getComputedStyle(document.documentElement);
  const names = ["paper", "cell", "before", "most", "now", "negative", "ink", "dim"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/* ---- The drawing field: pointers and the keyboard make the same strokes. ---- */

class Field {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.strokes = [];
    this.pen = [0.5, 0.5];
    this.isDown = false;
    this.usesKeys = false;
    this.pointer = null;
    canvas.addEventListener("pointerdown", (event) => this.start(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (event) => this.end(event));
    canvas.addEventListener("keydown", (event) => this.press(event));
    canvas.addEventListener("blur", () => this.lift());
    canvas.addEventListener("focus", () => this.draw());
    this.draw();
  }

  locate(event) {
    const box = this.canvas.getBoundingClientRect();
    const clip = (value) => Math.min(1, Math.max(0, value));
    return [clip((event.clientX - box.left) / box.width), clip((event.clientY - box.top) / box.height)];
  }

  start(event) {
    // A second finger does not draw, nor does the right button.
    if (this.pointer !== null || event.button !== 0) return;
    this.pointer = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    this.usesKeys = false;
    this.isDown = false;
    this.strokes.push([this.locate(event)]);
    this.draw();
    this.changed(false);
  }

  move(event) {
    if (event.pointerId !== this.pointer) return;
    // A browser joins fast movements into one event.
    const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const each of events.length ? events : [event]) this.strokes.at(-1).push(this.locate(each));
    this.draw();
    this.changed(false);
  }

  end(event) {
    if (event.pointerId !== this.pointer) return;
    this.pointer = null;
    this.changed(true);
  }

  press(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in moves) this.stride(...moves[event.key]);
    else if (event.key === " ") this.toggle();
    else if (event.key === "Escape") this.lift();
    else if (event.key === "Delete" || event.key === "Backspace") this.clear();
    else return;
    event.preventDefault();
  }

  stride(x, y) {
    this.usesKeys = true;
    const clip = (value) => Math.min(1, Math.max(0, value));
    this.pen = [clip(this.pen[0] + x * STRIDE), clip(this.pen[1] + y * STRIDE)];
    if (this.isDown) {
      this.strokes.at(-1).push(this.pen);
      this.changed(true);
    }
    this.draw();
  }

  toggle() {
    this.usesKeys = true;
    if (this.isDown) {
      this.lift();
      return;
    }
    this.isDown = true;
    this.strokes.push([this.pen]);
    this.changed(true);
    this.draw();
  }

  lift() {
    this.isDown = false;
    this.draw();
  }

  clear() {
    this.strokes = [];
    this.isDown = false;
    this.draw();
    this.changed(true);
  }

  /** Remove the strokes without an answer to nothing. */
  empty() {
    this.strokes = [];
    this.isDown = false;
    this.draw();
  }

  draw() {
    const context = this.canvas.getContext("2d");
    const side = this.canvas.width;
    const colors = readColors();
    context.clearRect(0, 0, side, side);
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = PEN * side;
    context.strokeStyle = colors.ink;
    for (const stroke of this.strokes) {
      context.beginPath();
      context.moveTo(stroke[0][0] * side, stroke[0][1] * side);
      for (const [x, y] of stroke) context.lineTo(x * side, y * side);
      context.stroke();
    }
    const hasKeys = this.usesKeys && document.activeElement === this.canvas;
    if (hasKeys) this.drawPen(context, side, colors);
    else if (!this.strokes.length) this.invite(context, side, colors);
  }

  invite(context, side, colors) {
    context.fillStyle = colors.dim;
    context.font = `${side / 16}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.fillText("Draw here", side / 2, side / 2);
  }

  drawPen(context, side, colors) {
    const [x, y] = this.pen.map((value) => value * side);
    context.lineWidth = 4;
    context.strokeStyle = this.isDown ? colors.now : colors.dim;
    context.beginPath();
    context.arc(x, y, (PEN / 2) * side + 4, 0, 2 * Math.PI);
    context.moveTo(x - 24, y);
    context.lineTo(x + 24, y);
    context.moveTo(x, y - 24);
    context.lineTo(x, y + 24);
    context.stroke();
  }
}

/* ---- The player: one position in the frames of an answer. ---- */

class Demo {
  constructor(program, page) {
    this.program = program;
    this.page = page;
    this.shape = program.data.shape;
    this.colors = readColors();
    this.isStill = matchMedia("(prefers-reduced-motion: reduce)");
    this.layers = program.data.layers.map((layer) => new LayerView(layer, program.data.steps));
    find("layers").append(...this.layers.map((layer) => layer.figure));
    this.field = find("field") && new Field(find("field"), (done) => this.read(done));
    this.listExamples();
    this.makeCounts();
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
    else if (done) this.waiting = setTimeout(() => this.answerTo(pixels), PAUSE);
  }

  /** Run the program and show its events from the first one, or, if nothing `moves`, the last. */
  answerTo(pixels, moves = true) {
    this.stop();
    // An answer to an empty field would be noise; its spikes and additions are shown.
    this.isEmpty = !pixels.some((pixel) => pixel);
    paint(find("sees"), pixels, this.shape);
    this.answer = this.program.run(pixels);
    this.frames = listFrames(this.answer);
    find("position").max = this.frames.length - 1;
    this.makeBars();
    this.makeSlots();
    find("spoken").textContent = this.isEmpty
      ? "The image is empty."
      : `The answer is ${this.page.classes[this.answer.label]}.`;
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
    this.showAnswer(this.isEmpty ? -1 : logits);
    this.showCounts(frame.total);
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
      text = `${start}${layer.path} fires slot ${frame.slot + 1} of ${layer.slots.length}: ${whole.format(frame.amount)} spikes`;
    } else text = `${start}the logits after slot ${frame.slot + 1} of the last layer`;
    find("moment").textContent = `Now: ${text}.`;
  }

  /* ---- Answer ---- */

  makeBars() {
    const chances = Array.from(this.answer.probabilitiesAfterSlot.at(-1));
    const order = [...chances.keys()];
    if (order.length > MOST_BARS) order.sort((a, b) => chances[b] - chances[a]).splice(MOST_BARS);
    this.bars = order.map((label) => {
      const fill = make("i");
      const value = make("span");
      const bar = make("div", "bar", "", make("span", "", this.page.classes[label]), make("div", "track", "", fill), value);
      return { label, bar, fill, value };
    });
    const longest = Math.max(...order.map((label) => this.page.classes[label].length));
    find("bars").style.setProperty("--names", `${Math.min(9, Math.max(1.5, 0.6 * longest))}rem`);
    find("bars").replaceChildren(...this.bars.map((each) => each.bar));
  }

  makeSlots() {
    this.slots = this.answer.probabilitiesAfterSlot.map(() => make("li"));
    find("slots").replaceChildren(...this.slots);
  }

  showAnswer(index) {
    const after = this.answer.probabilitiesAfterSlot;
    const chances = index < 0 ? null : after[index];
    const top = chances ? findLargest(chances) : -1;
    find("label").textContent = chances ? this.page.classes[top] : "–";
    find("chance").textContent = chances ? percent(chances[top]) : "";
    for (const { label, bar, fill, value } of this.bars) {
      const chance = chances ? chances[label] : 0;
      fill.style.width = percent(chance);
      value.textContent = chances ? percent(chance) : "";
      bar.classList.toggle("top", label === top);
    }
    const slots = after.length / this.program.data.steps;
    this.slots.forEach((item, i) => {
      const name = `${nameStep(Math.floor(i / slots), this.program.data.steps)}slot ${(i % slots) + 1}`;
      const known = i <= index;
      const best = findLargest(after[i]);
      const text = known ? `${name}: ${this.page.classes[best]}, ${percent(after[i][best])}` : name;
      if (item.textContent !== text) item.textContent = text;
      item.classList.toggle("later", !known);
    });
  }

  /* ---- Arithmetic ---- */

  makeCounts() {
    // Attention multiplies too, and layers whose inputs are currents instead of spikes.
    const reads = this.program.data.rows.filter((row) => row.macs > 0).map((row) => row.source);
    const first = reads.every((source) => source === "pixels");
    const rows = [
      ["additions", "Additions for spikes"],
      ["macs", first ? "Multiplications, of pixels in the first layer" : "Multiplications that remain"],
      ["relu", "Multiplications of a ReLU network of the same shape"],
    ];
    this.counts = rows.map(([name, text]) => {
      const value = make("b");
      const fill = make("i");
      const line = make("p", "", "", make("span", "", text), value);
      find("counts").append(make("div", `count ${name}`, "", line, make("div", "track", "", fill)));
      return { value, fill };
    });
  }

  showCounts(total) {
    const { macs, accumulations } = this.answer;
    const relu = this.program.data.relu_macs;
    const most = Math.max(relu, accumulations, macs, 1);
    [total, macs, relu].forEach((number, i) => {
      this.counts[i].value.textContent = whole.format(number);
      this.counts[i].fill.style.width = percent(number / most);
    });
    const share = (accumulations / Math.max(relu, 1)).toFixed(2);
    find("ratio").textContent =
      `This image takes ${whole.format(accumulations)} additions in all: ${share} for each multiplication of the ReLU network, which also adds as often as it multiplies.`;
  }
}

function findLargest(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

function nameStep(t, steps) {
  return steps > 1 ? `step ${t + 1} of ${steps}, ` : "";
}

const demo = new Demo(createProgram(read("program")), read("page"));
