"use strict";

/* The drawing field: pointers and the keyboard make the same strokes. */

// The keyboard moves the pen by this share of the field.
const STRIDE = 1 / 40;
const PEN = 0.075;
// Points closer than this to the one before are skipped: a mouse may report a thousand a second.
const CLOSEST = 1 / 128;

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
    // A pointer is also lost without an end, for example when a dialog opens.
    const ends = ["pointerup", "pointercancel", "lostpointercapture"];
    for (const kind of ends) canvas.addEventListener(kind, (event) => this.end(event));
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
    const stroke = this.strokes.at(-1);
    for (const each of events.length ? events : [event]) {
      const [x, y] = this.locate(each);
      const [lastX, lastY] = stroke.at(-1);
      if (Math.hypot(x - lastX, y - lastY) >= CLOSEST) stroke.push([x, y]);
    }
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
    const isDelete = event.key === "Delete" || event.key === "Backspace";
    // While a pointer draws, the keyboard has no pen.
    if (this.pointer !== null && !isDelete) return;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in moves) this.stride(...moves[event.key]);
    else if (event.key === " ") this.toggle();
    else if (event.key === "Escape") this.lift();
    else if (isDelete) this.clear();
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
    this.empty();
    this.changed(true);
  }

  /** Remove the strokes, also one that a pointer draws, without an answer to nothing. */
  empty() {
    this.strokes = [];
    this.pointer = null;
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
