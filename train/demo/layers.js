"use strict";

/* The picture of a layer: a map for each channel, a cell for each neuron. */

// The most height and width of a picture, in pixels of the page.
const LAYER_HEIGHT = 110;
const LAYER_WIDTH = 300;

class LayerView {
  constructor(layer, number, steps) {
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
    const name = make("b", "", `Layer ${number}`);
    const caption = make("figcaption", "", "", name, ` ${layer.path}, ${shape.join(" × ")}${hidden}`);
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
