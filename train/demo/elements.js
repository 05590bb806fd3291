"use strict";

/* Helpers of the live page: elements, images, colors and numbers. */

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

function readColors() {
  const style = getComputedStyle(document.documentElement);
  const names = ["paper", "cell", "before", "most", "now", "negative", "ink", "dim"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

function findLargest(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

function nameStep(t, steps) {
  return steps > 1 ? `step ${t + 1} of ${steps}, ` : "";
}
