// Run the integers of a compiled program in a browser: pixels in, spikes, additions and logits out.
//
// `createProgram(data)` takes what `encode_program` in encode.py returns. Each function here
// returns the same bits as its counterpart in pit_jax/inference/runtime (step.py, reductions.py
// and fixed_point.py), which the comments name. Currents and membranes are int32 and wrap around as
// JAX's do: an Int32Array wraps what is stored in it, and Math.imul multiplies modulo 2^32.
const createProgram = (() => {
  "use strict";

  // As in fixed_point.py: leaks count 2^-12; CLIF's table has inputs in steps of 2^-8, from -16.
  const LEAK_BITS = 12, TABLE_STEP_BITS = 8, TABLE_HALF = 16 << TABLE_STEP_BITS, LARGEST = 2 ** 30;

  const multiplyAll = (numbers) => numbers.reduce((a, b) => a * b, 1);
  const addAll = (numbers) => numbers.reduce((a, b) => a + b, 0);

  // ---- Decoding ----

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

  // ---- Neurons (fixed_point.py) ----

  // floor(x number / 4096), exactly.
  function multiplyFixed(x, number) {
    const low = Math.imul(x & ((1 << LEAK_BITS) - 1), number) >> LEAK_BITS;
    return (Math.imul(x >> LEAK_BITS, number) + low) | 0;
  }

  const clip = (x, low, high) => Math.min(Math.max(x, low), high);

  // Charge the membranes with a current, fire all slots, and leave the rest for the next step.
  function fireSlots(node, state, current, t, sigmoid) {
    const { neuron, shape } = node, channels = shape[shape.length - 1], size = current.length;
    const get = (array) => selectChannels(array, t, channels);
    const first = get(neuron.first), step = get(neuron.step);
    // Thresholds beyond LARGEST are never reached.
    const findThreshold = (worth) =>
      first.map((each, c) => Math.min(each + (worth - 1) * step[c], LARGEST));
    const u = state.membrane, counts = new Int32Array(size);
    for (let i = 0; i < size; i++) u[i] += current[i] << neuron.guard;
    const potential = u.slice();
    if (addAll(neuron.slots) > neuron.levels) {
      const most = findThreshold(neuron.levels);
      for (let i = 0; i < size; i++) potential[i] = Math.min(potential[i], most[i % channels]);
    }
    const slots = neuron.slots.map((worth) => {
      const threshold = findThreshold(worth), spikes = new Int8Array(size);
      for (let i = 0; i < size; i++) {
        const c = i % channels;
        let spike = potential[i] >= threshold[c] ? 1 : 0;
        if (neuron.signed && potential[i] <= -threshold[c]) spike -= 1;
        potential[i] -= Math.imul(Math.imul(worth, step[c]), spike);
        spikes[i] = spike;
        counts[i] += worth * spike;
      }
      return spikes;
    });
    rest(node, state, counts, t, sigmoid);
    return slots;
  }

  // Reset, mix and leak (FixedNeuron._rest).
  function rest({ neuron, shape }, state, counts, t, sigmoid) {
    const channels = shape[shape.length - 1], u = state.membrane;
    const get = (array) => selectChannels(array, t, channels);
    const drop = get(neuron.drop), leak = get(neuron.leak), leakFired = get(neuron.leak_fired);
    const extra = neuron.one ? updateSlow(neuron, state, counts, t, channels, sigmoid) : null;
    for (let i = 0; i < u.length; i++) {
      const each = extra ? (drop[i % channels] + extra[i]) | 0 : drop[i % channels];
      u[i] -= Math.imul(each, counts[i]);
    }
    if (neuron.carry) mix(u, selectStep(neuron.carry, t), channels, neuron.carry_shift);
    for (let i = 0; i < u.length; i++) {
      u[i] = multiplyFixed(u[i], (counts[i] ? leakFired : leak)[i % channels]);
    }
  }

  // Update CLIF's second potential and return the addition to the reset.
  function updateSlow(neuron, { membrane, slow }, counts, t, channels, sigmoid) {
    const one = selectChannels(neuron.one, t, channels);
    const slowness = selectChannels(neuron.slowness, t, channels);
    const lookUp = (x) => sigmoid[clip(x, -TABLE_HALF, TABLE_HALF) + TABLE_HALF];
    return membrane.map((u, i) => {
      const at = multiplyFixed(u, slowness[i % channels]) >> neuron.slow_shift;
      slow[i] = (Math.imul(slow[i], lookUp(at)) >> LEAK_BITS) + (counts[i] << LEAK_BITS);
      return multiplyFixed(one[i % channels], lookUp(slow[i] >> (LEAK_BITS - TABLE_STEP_BITS)));
    });
  }

  // Convert the membranes of PITFull to the coordinates of the next step.
  function mix(u, carry, channels, shift) {
    const bits = LEAK_BITS - shift;
    for (let from = 0; from < u.length; from += channels) {
      const mixed = new Int32Array(channels);
      for (let c = 0; c < channels; c++) {
        // Bits are cut off before the sum and put back after it, so that no sum overflows.
        const value = u[from + c] >> shift;
        for (let o = 0; o < channels; o++) mixed[o] += Math.imul(value, carry[c * channels + o]);
      }
      for (let o = 0; o < channels; o++) {
        u[from + o] = bits >= 0 ? mixed[o] >> bits : mixed[o] << -bits;
      }
    }
  }

  // ---- Products and attention (step.py) ----

  // Multiply two layers of spikes: each slot of one with each slot of the other, or with `silent`
  // the first where the second does not fire. The second may have one place for all of the first.
  function multiplySpikes(node, first, second) {
    const size = multiplyAll(node.shape);
    const combine = (x, y, isSilent) => Int8Array.from({ length: size }, (_, i) => {
      const other = y[i % y.length];
      return x[i % x.length] * (isSilent ? 1 - other : other);
    });
    if (!node.silent) return first.flatMap((x) => second.map((y) => combine(x, y, false)));
    const number = Math.max(first.length, second.length);
    return Array.from({ length: number }, (_, d) =>
      combine(first[d % first.length], second[d % second.length], true));
  }

  // Return query (weight key^T value) of three layers of spikes, head by head.
  function attend(node, slotsOf, t) {
    const [query, key, value] = [node.query, node.key, node.value].map((source) =>
      sumSlots(slotsOf(source)));
    const weight = selectStep(node.weight, t), channels = weight.length;
    const features = node.shape[node.shape.length - 1], tokens = query.length / channels;
    const deep = channels / node.heads, wide = features / node.heads;
    const product = new Int32Array(channels * wide), sums = new Int32Array(tokens * features);
    for (let n = 0; n < tokens; n++) {
      for (let c = 0; c < channels; c++) {
        const count = key[n * channels + c], from = n * features + Math.floor(c / deep) * wide;
        if (!count) continue;
        for (let f = 0; f < wide; f++) product[c * wide + f] += Math.imul(count, value[from + f]);
      }
    }
    for (let i = 0; i < product.length; i++) {
      product[i] = Math.imul(product[i], weight[Math.floor(i / wide)]);
    }
    for (let n = 0; n < tokens; n++) {
      for (let c = 0; c < channels; c++) {
        const count = query[n * channels + c], to = n * features + Math.floor(c / deep) * wide;
        if (!count) continue;
        for (let f = 0; f < wide; f++) sums[to + f] += Math.imul(count, product[c * wide + f]);
      }
    }
    return sums;
  }

  function sumSlots(slots) {
    const counts = new Int32Array(slots[0].length);
    for (const spikes of slots) spikes.forEach((spike, i) => { counts[i] += spike; });
    return counts;
  }

  // ---- A whole program ----

  // Return the nodes with everything that does not depend on the image.
  function prepare(data) {
    const named = Object.entries(data.arrays).map(([name, packed]) => [name, unpack(packed)]);
    const graph = resolve(data.nodes, Object.fromEntries(named));
    let row = 0, layer = 0;
    return graph.map((node) => {
      switch (node.class) {
        case "Accumulator": {
          const synapses = node.synapses.map((s) => prepareSynapse(s, graph[s.source], row++));
          return { ...node, synapses };
        }
        case "LinearAttention":
          return { ...node, row: row++ };
        case "Spikes":
          return { ...node, layer: layer++ };
        case "Product": {
          const shapes = [graph[node.first].shape, graph[node.second].shape];
          const pools = node.pools.map((steps, i) => {
            let shape = shapes[i];
            return steps.map((step) => {
              const made = makeReduction(step, shape);
              ({ shape } = made);
              return made;
            });
          });
          return { ...node, pools };
        }
        case "Pixels":
          return node;
        default:
          throw new Error(`a node of the unknown class ${node.class}`);
      }
    });
  }

  // Return the integer of the grid for each byte of an image.
  function readPixels(table, pixels) {
    const channels = table.shape[1];
    return Int32Array.from(pixels, (byte, i) => table.values[byte * channels + i % channels]);
  }

  // One call of a program: the steps of time, and records of what they did.
  class Run {
    constructor(data, graph, table, sigmoid, pixels) {
      Object.assign(this, { data, graph, sigmoid, total: 0, events: [] });
      this.pixels = readPixels(table, pixels);
      this.states = graph.map((node) => {
        if (node.class !== "Spikes") return null;
        const size = multiplyAll(node.shape);
        return { membrane: new Int32Array(size), slow: new Int32Array(size) };
      });
      this.spikes = data.layers.map(() => []);
      this.rows = data.rows.map(() => []);
      this.finished = new Int32Array(data.classes);  // Sums of the steps before this one.
      this.logits = [];
      for (let t = 0; t < data.steps; t++) this.runStep(t);
    }

    runStep(t) {
      const outputs = [];
      this.graph.forEach((node, number) => outputs.push(this.compute(node, number, outputs, t)));
      outputs[outputs.length - 1].forEach((sum, k) => { this.finished[k] += sum; });
    }

    compute(node, number, outputs, t) {
      switch (node.class) {
        case "Pixels":
          return this.pixels;
        case "Accumulator":
          return this.accumulate(node, number, outputs, t);
        case "Spikes": {
          const state = this.states[number], current = outputs[node.accumulator];
          const slots = fireSlots(node, state, current, t, this.sigmoid);
          this.spikes[node.layer].push(slots);
          slots.forEach((spikes, slot) => {
            this.note({ kind: "fire", t, slot, layer: node.layer, amount: countSpikes(spikes) });
          });
          return slots;
        }
        case "Product": {
          const pool = (spikes, steps) => steps.reduce((x, step) => reduce(step, x), spikes);
          const [first, second] = [node.first, node.second].map((source, i) =>
            outputs[source].map((spikes) => pool(spikes, node.pools[i])));
          return multiplySpikes(node, first, second);
        }
        default:
          return attend(node, (source) => outputs[source], t);
      }
    }

    // Return the current of an accumulator: bias, pixels and currents, then slot by slot.
    accumulate(node, number, outputs, t) {
      const bias = selectStep(node.bias, t), size = multiplyAll(node.shape);
      const sums = Int32Array.from({ length: size }, (_, i) => bias[i % bias.length]);
      const spiking = node.synapses.filter((synapse) => synapse.isSpiking);
      for (const synapse of node.synapses) {
        if (synapse.isSpiking) continue;
        const isCurrent = this.graph[synapse.source].class !== "Pixels";
        addValues(synapse, outputs[synapse.source], isCurrent, t, sums);
      }
      spiking.forEach(({ row }) => this.rows[row].push([]));
      const isLast = number === this.graph.length - 1;
      const counts = spiking.map(({ source }) => outputs[source].length);
      const numSlots = Math.max(...counts, isLast ? 1 : 0);
      for (let slot = 0; slot < numSlots; slot++) {
        for (const synapse of spiking) {
          this.addSlot(synapse, outputs[synapse.source], slot, t, sums);
        }
        if (isLast) this.noteLogits(sums, slot, t);
      }
      return sums;
    }

    addSlot(synapse, slots, slot, t, sums) {
      if (slot >= slots.length) return;
      const source = this.graph[synapse.source], { row } = synapse;
      const worth = source.class === "Spikes" ? source.neuron.slots[slot] : 1;
      const amount = addSpikes(synapse, slots[slot], worth, t, sums);
      this.rows[row][t].push(amount);
      this.total += amount;
      this.note({ kind: "add", t, slot, row, layer: this.data.rows[row].layer, amount });
    }

    // Record the mean logits over the steps so far, this one up to its current slot.
    noteLogits(sums, slot, t) {
      const unit = Math.fround(this.data.units[t]);
      const logits = Float32Array.from(sums, (sum, k) =>
        Math.fround((this.finished[k] + sum) | 0) * unit);
      this.note({ kind: "logits", t, slot, index: this.logits.length });
      this.logits.push(logits);
    }

    note(event) {
      this.events.push({ ...event, total: this.total });
    }
  }

  const countSpikes = (spikes) => spikes.reduce((sum, spike) => sum + Math.abs(spike), 0);

  function softmax(logits) {
    const largest = Math.max(...logits);
    const odds = Float64Array.from(logits, (logit) => Math.exp(logit - largest));
    const sum = addAll(odds);
    return odds.map((each) => each / sum);
  }

  function describe({ data, spikes, rows, logits, events, total }) {
    const last = logits[logits.length - 1];
    return {
      logits: last,
      label: last.indexOf(Math.max(...last)),
      layers: data.layers.map((layer, i) => ({
        ...layer,
        spikes: spikes[i],
        fired: spikes[i].map((slots) => slots.map(countSpikes)),
      })),
      rows: data.rows.map((row, r) => ({
        ...row, slots: rows[r], accumulations: addAll(rows[r].map(addAll)),
      })),
      accumulations: total,
      macs: addAll(data.rows.map(({ macs }) => macs)),
      logitsAfterSlot: logits,
      probabilitiesAfterSlot: logits.map(softmax),
      steps: events,
    };
  }

  return (data) => {
    if (data.format !== 1) throw new Error(`format ${data.format} is not known`);
    const graph = prepare(data), table = unpack(data.table);
    const sigmoid = data.sigmoid && unpack(data.sigmoid).values;
    const run = (pixels) => {
      const size = multiplyAll(data.shape);
      if (pixels.length !== size) {
        throw new RangeError(`an image must have ${size} bytes, got ${pixels.length}`);
      }
      return describe(new Run(data, graph, table, sigmoid, pixels));
    };
    return { data, run };
  };
})();
