"use strict";

/* The charts of an answer: the probabilities after each slot, and the additions so far. */

const MOST_BARS = 12;

class AnswerChart {
  constructor(classes, steps) {
    this.classes = classes;
    this.steps = steps;
  }

  /** Make the bars of the classes, of the likeliest ones if there are many, and the list of slots. */
  start(answer) {
    this.after = answer.probabilitiesAfterSlot;
    this.makeBars();
    this.makeSlots();
  }

  makeBars() {
    const chances = Array.from(this.after.at(-1));
    const order = [...chances.keys()];
    if (order.length > MOST_BARS) order.sort((a, b) => chances[b] - chances[a]).splice(MOST_BARS);
    this.bars = order.map((label) => {
      const fill = make("i");
      const value = make("span");
      const bar = make("div", "bar", "", make("span", "", this.classes[label]), make("div", "track", "", fill), value);
      return { label, bar, fill, value };
    });
    const longest = Math.max(...order.map((label) => this.classes[label].length));
    find("bars").style.setProperty("--names", `${Math.min(9, Math.max(1.5, 0.6 * longest))}rem`);
    find("bars").replaceChildren(...this.bars.map((each) => each.bar));
    const hidden = order.length < chances.length ? `The likeliest ${order.length} classes are shown. ` : "";
    find("known").textContent =
      `${hidden}The network knows only ${chances.length} classes, and answers every image with one of them.`;
  }

  makeSlots() {
    this.slots = this.after.map(() => make("li"));
    find("slots").replaceChildren(...this.slots);
  }

  /** Show the logits up to `index`, -1 for none yet. */
  show(index) {
    const after = this.after;
    const chances = index < 0 ? null : after[index];
    const top = chances ? findLargest(chances) : -1;
    find("label").textContent = chances ? this.classes[top] : "–";
    if (find("short")) find("short").textContent = find("label").textContent;
    find("chance").textContent = chances ? percent(chances[top]) : "";
    for (const { label, bar, fill, value } of this.bars) {
      const chance = chances ? chances[label] : 0;
      fill.style.width = percent(chance);
      value.textContent = chances ? percent(chance) : "";
      bar.classList.toggle("top", label === top);
    }
    const slots = after.length / this.steps;
    this.slots.forEach((item, i) => {
      const name = `${nameStep(Math.floor(i / slots), this.steps)}slot ${(i % slots) + 1}`;
      const known = i <= index;
      const best = findLargest(after[i]);
      const text = known ? `${name}: ${this.classes[best]}, ${percent(after[i][best])}` : name;
      if (item.textContent !== text) item.textContent = text;
      item.classList.toggle("later", !known);
    });
  }
}

class WorkChart {
  constructor(data) {
    this.data = data;
    // Attention multiplies too, and layers whose inputs are currents instead of spikes.
    const reads = data.rows.filter((row) => row.macs > 0).map((row) => row.source);
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

  /** Show `total` additions so far, of those of the whole answer. */
  show(answer, total) {
    const { macs, accumulations } = answer;
    const relu = this.data.relu_macs;
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
