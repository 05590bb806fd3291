// Run the integers of a compiled program in a browser: pixels in, spikes, additions and logits out.
//
// `createProgram(data)` takes what `encode_program` in encode.py returns. It needs integers.js,
// currents.js and neurons.js before it. Each function returns the same bits as its counterpart in
// pit_jax/inference/runtime, which the comments name.
const createProgram = (() => {
  "use strict";

  const { multiplyAll, addAll, unpack, resolve, selectStep } = integers;
  const { makeReduction, reduce, prepareSynapse, addValues, addSpikes } = currents;
  const { fireSlots, multiplySpikes, attend } = neurons;

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
