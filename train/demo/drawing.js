"use strict";

/* Turns strokes into the pixels of an image, centered and scaled as the images of a data set are.

A stroke is a list of points [x, y] in any unit, y downwards. Rasters are computed here instead of
by the browser's canvas, whose anti-aliasing differs between browsers. */

// The digits of scikit-learn (NIST's preprocessing): the box of the ink fills the height of a bitmap
// of 32 x 32 and at most 20 of its columns, and the width of the pen is adjusted until about 310
// cells are on, which is the mean of the data set. Blocks of 4 x 4 are then counted, 0 to 16.
const BITMAP = 32;
const BLOCK = 4;
const BITMAP_WIDTH = 20;
const BITMAP_INK = 310;
const THINNEST = 1.2;
const THICKEST = 5;
// NIST scales width and height separately, so a narrow digit becomes wider, up to this factor.
const MOST_STRETCH = 1.6;

// MNIST: the ink is scaled to a box of 20 x 20, and moved by whole pixels until its center of mass is
// in pixel [14, 14] of 28 x 28. Of 5,000 of its images this center is 14.50 +- 0.29 pixels from each
// edge, and a pen of this width gives their mean ink.
const MNIST_SIDE = 28;
const MNIST_BOX = 20;
const MNIST_PEN = 2.5;
const SAMPLES = 4;

// A dot has no size that could be scaled; in a drawing field of side 1 neither has a short dash.
const SMALLEST = 0.03;

/** Return the box around the points of all strokes. */
function measureStrokes(strokes) {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of strokes.flat()) {
    left = Math.min(left, x);
    top = Math.min(top, y);
    right = Math.max(right, x);
    bottom = Math.max(bottom, y);
  }
  return { left, top, width: right - left, height: bottom - top };
}

/** Return strokes whose box has this scale and its center at (x, y). */
function placeStrokes(strokes, box, scaleX, scaleY, x, y) {
  const middleX = box.left + box.width / 2;
  const middleY = box.top + box.height / 2;
  return strokes.map((stroke) =>
    stroke.map((point) => [
      (point[0] - middleX) * scaleX + x,
      (point[1] - middleY) * scaleY + y,
    ]),
  );
}

/** Return a bitmap, row by row: 1 where the center of a cell is at most `radius` from a stroke. */
function rasterize(strokes, width, height, radius) {
  const bitmap = new Uint8Array(width * height);
  for (const stroke of strokes) {
    for (let i = 0; i < stroke.length; i++) {
      // A stroke of one point is a segment of length 0, which is a dot.
      markSegment(bitmap, width, height, stroke[i], stroke[Math.min(i + 1, stroke.length - 1)], radius);
    }
  }
  return bitmap;
}

function markSegment(bitmap, width, height, from, to, radius) {
  const [x0, y0] = from;
  const dx = to[0] - x0;
  const dy = to[1] - y0;
  const length = dx * dx + dy * dy;
  const first = (a, b) => Math.max(0, Math.floor(Math.min(a, b) - radius));
  const last = (a, b, size) => Math.min(size - 1, Math.ceil(Math.max(a, b) + radius));
  for (let row = first(y0, to[1]); row <= last(y0, to[1], height); row++) {
    for (let column = first(x0, to[0]); column <= last(x0, to[0], width); column++) {
      const x = column + 0.5 - x0;
      const y = row + 0.5 - y0;
      const along = length > 0 ? Math.min(1, Math.max(0, (x * dx + y * dy) / length)) : 0;
      const missX = x - along * dx;
      const missY = y - along * dy;
      if (missX * missX + missY * missY <= radius * radius) bitmap[row * width + column] = 1;
    }
  }
}

/** Return the bitmap [32, 32] of a digit as NIST's preprocessing makes it. */
function makeBitmap(strokes) {
  const box = measureStrokes(strokes);
  const draw = (radius) => {
    const most = BITMAP - 2 * radius;
    const widest = BITMAP_WIDTH - 2 * radius;
    let scaleX = 1;
    let scaleY = 1;
    if (Math.max(box.width, box.height) > SMALLEST) {
      // A dash without height keeps its proportions.
      scaleY = Math.min(most / Math.max(box.height, 1e-9), (widest * MOST_STRETCH) / Math.max(box.width, 1e-9));
      scaleX = Math.min(widest / Math.max(box.width, 1e-9), scaleY * MOST_STRETCH);
    }
    const placed = placeStrokes(strokes, box, scaleX, scaleY, BITMAP / 2, BITMAP / 2);
    return rasterize(placed, BITMAP, BITMAP, radius);
  };
  let thin = THINNEST;
  let thick = THICKEST;
  for (let i = 0; i < 8; i++) {
    const radius = (thin + thick) / 2;
    if (countInk(draw(radius)) < BITMAP_INK) thin = radius;
    else thick = radius;
  }
  return draw(thick);
}

function countInk(bitmap) {
  return bitmap.reduce((sum, cell) => sum + cell, 0);
}

/** Return the pixels [8, 8] of a digit of scikit-learn: counts 0 to 16 of each block, times 255 / 16. */
function drawDigit(strokes) {
  const bitmap = makeBitmap(strokes);
  const side = BITMAP / BLOCK;
  const counts = new Uint8Array(side * side);
  bitmap.forEach((cell, i) => {
    const row = Math.floor(i / BITMAP / BLOCK);
    const column = Math.floor((i % BITMAP) / BLOCK);
    counts[row * side + column] += cell;
  });
  return counts.map((count) => Math.round((count * 255) / 16));
}

/** Return the pixels [height, width] of a gray image by the rule of MNIST. */
function drawGray(strokes, width, height) {
  const unit = Math.min(width, height) / MNIST_SIDE;
  const radius = (MNIST_PEN / 2) * unit;
  const box = measureStrokes(strokes);
  const size = Math.max(box.width, box.height);
  const scale = (size > SMALLEST ? (MNIST_BOX * unit - 2 * radius) / size : 1) * SAMPLES;
  const middle = [(width * SAMPLES) / 2, (height * SAMPLES) / 2];
  const placed = placeStrokes(strokes, box, scale, scale, ...middle);
  const bitmap = rasterize(placed, width * SAMPLES, height * SAMPLES, radius * SAMPLES);
  return centerPixels(shrink(bitmap, width, height), width, height);
}

/** Return pixels 0 to 255, each the share of its cells that are on. */
function shrink(bitmap, width, height) {
  const sums = new Float64Array(width * height);
  bitmap.forEach((cell, i) => {
    const row = Math.floor(i / (width * SAMPLES) / SAMPLES);
    const column = Math.floor((i % (width * SAMPLES)) / SAMPLES);
    sums[row * width + column] += cell;
  });
  return Uint8Array.from(sums, (sum) => Math.round((sum * 255) / (SAMPLES * SAMPLES)));
}

/** Return pixels moved by whole pixels until the center of mass is in pixel [height / 2, width / 2]. */
function centerPixels(pixels, width, height) {
  let mass = 0;
  let sumX = 0;
  let sumY = 0;
  const columns = [];
  const rows = [];
  pixels.forEach((pixel, i) => {
    if (!pixel) return;
    const column = i % width;
    const row = Math.floor(i / width);
    columns.push(column);
    rows.push(row);
    mass += pixel;
    sumX += pixel * column;
    sumY += pixel * row;
  });
  // Ink never leaves the image.
  const limit = (by, at, size) =>
    Math.min(size - 1 - Math.max(...at), Math.max(-Math.min(...at), Math.round(by)));
  const right = limit(Math.floor(width / 2) - sumX / mass, columns, width);
  const down = limit(Math.floor(height / 2) - sumY / mass, rows, height);
  const moved = new Uint8Array(pixels.length);
  pixels.forEach((pixel, i) => {
    if (pixel) moved[i + down * width + right] = pixel;
  });
  return moved;
}

/** Return the pixels of strokes for images of `shape` [H, W, 1]; black if there are none. */
function drawStrokes(strokes, shape) {
  const [height, width] = shape;
  const drawn = strokes.filter((stroke) => stroke.length > 0);
  if (!drawn.length) return new Uint8Array(width * height);
  return height === 8 && width === 8 ? drawDigit(drawn) : drawGray(drawn, width, height);
}
