// Fire neurons in fixed point (fixed_point.py), and multiply their spikes (step.py).
const neurons = (() => {
  "use strict";

  const { multiplyAll, addAll, selectStep, selectChannels } = integers;

  // As in fixed_point.py: leaks count 2^-12; CLIF's table has inputs in steps of 2^-8, from -16.
  const LEAK_BITS = 12, TABLE_STEP_BITS = 8, TABLE_HALF = 16 << TABLE_STEP_BITS, LARGEST = 2 ** 30;

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

  return { fireSlots, multiplySpikes, attend };
})();
