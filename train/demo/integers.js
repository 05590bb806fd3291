// Decode the integers of a program (encode.py), and select those of one step.
const integers = (() => {
  "use strict";

  const multiplyAll = (numbers) => numbers.reduce((a, b) => a * b, 1);
  const addAll = (numbers) => numbers.reduce((a, b) => a + b, 0);

  // Return {shape, values}: value i is `low` plus `bits` bits of the bytes, lowest bit first.
  function unpack({ shape, bits, low, data }) {
    const text = atob(data), values = new Int32Array(multiplyAll(shape));
    let at = 0;
    for (let i = 0; i < values.length; i++) {
      let value = low;
      for (let done = 0; done < bits;) {
        const skip = at & 7, take = Math.min(8 - skip, bits - done);
        value += ((text.charCodeAt(at >> 3) >> skip) & ((1 << take) - 1)) * 2 ** done;
        done += take;
        at += take;
      }
      values[i] = value;
    }
    return { shape, values };
  }

  // Return the nodes with arrays in place of their names.
  function resolve(value, arrays) {
    if (Array.isArray(value)) return value.map((each) => resolve(each, arrays));
    if (value === null || typeof value !== "object") return value;
    if ("array" in value) return arrays[value.array];
    const entries = Object.entries(value);
    return Object.fromEntries(entries.map(([key, each]) => [key, resolve(each, arrays)]));
  }

  // Return the entries of [1 or T, ...] for step t, a view.
  function selectStep({ shape, values }, t) {
    const size = values.length / shape[0], from = shape[0] > 1 ? t * size : 0;
    return values.subarray(from, from + size);
  }

  // Return the entries of [1 or T, 1 or C] for step t, one for each channel.
  function selectChannels(array, t, channels) {
    const row = selectStep(array, t);
    return row.length === channels ? row : new Int32Array(channels).fill(row[0]);
  }

  return { multiplyAll, addAll, unpack, resolve, selectStep, selectChannels };
})();
