// Sum the currents of accumulators, and count the additions (step.py, reductions.py, fan_out.py).
//
// Currents are int32 and wrap around as JAX's do: an Int32Array wraps what is stored in it, and
// Math.imul multiplies modulo 2^32.
const currents = (() => {
  "use strict";

  const { multiplyAll, selectStep } = integers;

  // ---- Structure: pools, sums over space and reshapes (reductions.py) ----

  // Return for each axis the ranges [start, end) of inputs that each output reads.
  function findRanges(step, shape) {
    const list = (count, find) => Array.from({ length: count }, (_, i) => find(i));
    return shape.map((n, axis) => {
      if (step.class === "Pool") {
        const window = step.window[axis], stride = step.strides[axis];
        const [low, high] = step.padding[axis];
        return list(Math.floor((n + low + high - window) / stride) + 1, (i) => {
          const start = i * stride - low;
          return [Math.max(start, 0), Math.min(start + window, n)];
        });
      }
      if (step.class === "Sum" && step.axes.includes(axis)) return [[0, n]];
      if (step.class === "Cells" && axis < 2) {
        const { size } = step;
        return list(size, (i) => [
          Math.floor((i * n) / size), Math.ceil(((i + 1) * n) / size),
        ]);
      }
      return list(n, (i) => [i, i + 1]);
    });
  }

  // Return a step as lists of the inputs that each output sums, or whose maximum it takes: those
  // of output j are members[starts[j]] to members[starts[j + 1] - 1].
  function makeReduction(step, shape) {
    if (step.class === "Reshape") return { shape: step.shape, isReshape: true };
    const ranges = findRanges(step, shape);
    let lists = [[0]];
    ranges.forEach((axis, number) => {
      lists = lists.flatMap((list) => axis.map(([start, end]) => {
        const next = [];
        for (const base of list) {
          for (let i = start; i < end; i++) next.push(base * shape[number] + i);
        }
        return next;
      }));
    });
    const starts = new Int32Array(lists.length + 1);
    lists.forEach((list, i) => { starts[i + 1] = starts[i] + list.length; });
    const kept = ranges.filter((_, axis) => step.class !== "Sum" || !step.axes.includes(axis));
    return {
      shape: kept.map((axis) => axis.length),
      starts,
      members: Int32Array.from(lists.flat()),
      isLargest: step.class === "Pool" && step.largest,
      length: multiplyAll(shape),
    };
  }

  function reduce({ isReshape, starts, members, isLargest }, x) {
    if (isReshape) return x;
    const out = new Int32Array(starts.length - 1);
    for (let j = 0; j < out.length; j++) {
      let value = isLargest ? x[members[starts[j]]] : 0;
      for (let m = starts[j]; m < starts[j + 1]; m++) {
        const each = x[members[m]];
        value = isLargest ? Math.max(value, each) : value + each;
      }
      out[j] = value;
    }
    return out;
  }

  // Return how many accumulators each input of a sum reaches, if each output reaches `reached`.
  // With y = S x, S of zeros and ones, these are the sums S^T reached (fan_out.py).
  function reachBack({ isReshape, starts, members, length }, reached) {
    if (isReshape) return reached;
    const back = new Float64Array(length);
    for (let j = 0; j < reached.length; j++) {
      for (let m = starts[j]; m < starts[j + 1]; m++) back[members[m]] += reached[j];
    }
    return back;
  }

  // ---- Weights ----

  // Return the windows of a convolution by input: input place p adds through the kernel's place
  // kernels[l] to output place outs[l], for l from starts[p] to starts[p + 1] - 1.
  function linkWindows(shape, window, strides, padding) {
    let lists = [[[0, 0]]];
    shape.forEach((n, axis) => {
      const [low, high] = padding[axis], size = window[axis];
      const count = Math.floor((n + low + high - size) / strides[axis]) + 1;
      lists = lists.flatMap((list) => Array.from({ length: count }, (_, o) => {
        const start = o * strides[axis] - low, next = [];
        for (const [place, kernel] of list) {
          for (let i = Math.max(start, 0); i < Math.min(start + size, n); i++) {
            next.push([place * n + i, kernel * size + i - start]);
          }
        }
        return next;
      }));
    });
    const byInput = Array.from({ length: multiplyAll(shape) }, () => []);
    lists.forEach((list, out) => list.forEach(([place, kernel]) => {
      byInput[place].push([out, kernel]);
    }));
    return packLinks(byInput, lists.length);
  }

  function packLinks(byInput, numOutputs) {
    const starts = new Int32Array(byInput.length + 1);
    byInput.forEach((links, i) => { starts[i + 1] = starts[i] + links.length; });
    const flat = byInput.flat();
    return {
      starts,
      outs: Int32Array.from(flat, ([out]) => out),
      kernels: Int32Array.from(flat, ([, kernel]) => kernel),
      numOutputs,
    };
  }

  // Return a synapse with everything that does not depend on the image.
  function prepareSynapse(synapse, source, row) {
    const isSpiking = source.class === "Spikes" || source.class === "Product";
    const reductions = [];
    let { shape } = source;
    for (const step of synapse.structure) {
      reductions.push(makeReduction(step, shape));
      ({ shape } = reductions[reductions.length - 1]);
    }
    const ready = { ...synapse, row, isSpiking, reductions, inputs: shape[shape.length - 1] };
    let fan = 1;  // Outputs of one window, or of a synapse for each value.
    if (synapse.kind === "conv" || synapse.kind === "dense") {
      const kernel = synapse.weight.shape.slice(1), places = shape.slice(0, -1);
      const window = synapse.kind === "conv" ? kernel.slice(0, -2) : places.map(() => 1);
      const strides = synapse.kind === "conv" ? synapse.strides : window;
      const padding = synapse.kind === "conv" ? synapse.padding : places.map(() => [0, 0]);
      ready.groups = synapse.kind === "conv" ? synapse.groups : 1;
      ready.links = linkWindows(places, window, strides, padding);
      ready.outputs = kernel[kernel.length - 1];
      fan = ready.outputs / ready.groups;
    }
    ready.size = ready.links ? ready.links.numOutputs * ready.outputs : multiplyAll(shape);
    if (isSpiking) countReached(ready, shape, fan);
    return ready;
  }

  // Set `numBefore`, the reductions up to the last maximum, and `reached`, the additions that a
  // spike at each place after them causes (fan_out.py).
  function countReached(ready, shape, fan) {
    const { links, reductions, inputs } = ready;
    let reached = new Float64Array(multiplyAll(shape)).fill(fan);
    if (links) {
      reached = reached.map((each, i) => {
        const place = Math.floor(i / inputs);
        return each * (links.starts[place + 1] - links.starts[place]);
      });
    }
    const isMaximum = reductions.map(({ isLargest }) => Boolean(isLargest));
    ready.numBefore = isMaximum.lastIndexOf(true) + 1;
    for (let i = reductions.length - 1; i >= ready.numBefore; i--) {
      reached = reachBack(reductions[i], reached);
    }
    ready.reached = reached;
  }

  // Add to `sums` the products of x * worth and the weights; only values other than 0 do anything.
  function addWeighted(synapse, x, worth, t, sums) {
    if (synapse.weight === null) {
      for (let i = 0; i < x.length; i++) sums[i] += Math.imul(x[i], worth);
      return;
    }
    const weight = selectStep(synapse.weight, t);
    if (!synapse.links) {
      for (let i = 0; i < x.length; i++) {
        if (x[i]) sums[i] += Math.imul(Math.imul(x[i], worth), weight[i % weight.length]);
      }
      return;
    }
    const { links: { starts, outs, kernels }, inputs, outputs, groups } = synapse;
    const deep = inputs / groups, wide = outputs / groups;
    for (let i = 0; i < x.length; i++) {
      if (!x[i]) continue;
      const place = Math.floor(i / inputs), channel = i % inputs;
      const value = Math.imul(x[i], worth), group = Math.floor(channel / deep);
      for (let l = starts[place]; l < starts[place + 1]; l++) {
        const from = (kernels[l] * deep + channel % deep) * outputs + group * wide;
        const to = outs[l] * outputs + group * wide;
        for (let j = 0; j < wide; j++) sums[to + j] += Math.imul(value, weight[from + j]);
      }
    }
  }

  // round(x / 2^bits), half up.
  const roundOff = (x, bits) => ((x + ((1 << bits) >> 1)) | 0) >> bits;

  // Add pixels or a current to `sums` (step.py: _read_pixels, _read_current). The sums of pixels
  // are exact in int32 here; step.py splits them into halves because it sums them in float32.
  function addValues(synapse, values, isCurrent, t, sums) {
    const x = synapse.reductions.reduce((each, step) => reduce(step, each), values);
    const isPlain = synapse.weight === null || (isCurrent && synapse.kind === "diagonal");
    if (isPlain || (!synapse.shift && !synapse.extra)) {
      addWeighted(synapse, x, 1, t, sums);
      return;
    }
    const parts = new Int32Array(synapse.size);
    addWeighted(synapse, synapse.shift ? x.map((v) => roundOff(v, synapse.shift)) : x, 1, t, parts);
    for (let i = 0; i < parts.length; i++) sums[i] += roundOff(parts[i], synapse.extra);
  }

  // Add one slot of spikes to `sums` and return the number of additions.
  function addSpikes(synapse, spikes, worth, t, sums) {
    let x = spikes, additions = 0;
    synapse.reductions.forEach((step, number) => {
      if (number === synapse.numBefore) additions = countAdditions(x, synapse.reached);
      x = reduce(step, x);
    });
    if (synapse.numBefore === synapse.reductions.length) {
      additions = countAdditions(x, synapse.reached);
    }
    addWeighted(synapse, x, worth, t, sums);
    return additions;
  }

  function countAdditions(spikes, reached) {
    let additions = 0;
    for (let i = 0; i < spikes.length; i++) additions += Math.abs(spikes[i]) * reached[i];
    return additions;
  }

  return { makeReduction, reduce, prepareSynapse, addValues, addSpikes };
})();
