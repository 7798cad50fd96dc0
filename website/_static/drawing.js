/* A digit as the published generator reads and draws it, pixel by pixel, with what each pixel cost. */
"use strict";

class Drawing {
  /* `label` is the class that the model is told, or null. */
  constructor(model, label = null) {
    Object.assign(this, { model, levels: [], bits: [], memory: model.memory() });
    this.logits = model.step(model.start(label), this.memory); // of the next pixel
  }

  /* The same digit once more, to go on with in another way. */
  copy() {
    const { model, levels, bits, logits, memory } = this;
    const layers = memory.layers.map(({ window, h }) => ({ window: window.slice(), h: h.slice() }));
    const fresh = { model, levels: [...levels], bits: [...bits], logits, memory: { ...memory, layers } };
    return Object.assign(Object.create(Drawing.prototype), fresh);
  }

  /* The next pixel is of this level, 0 to 255. */
  read(level) {
    this.bits.push(surprise(this.logits, level));
    this.levels.push(level);
    if (this.levels.length < 784) this.logits = this.model.step(level, this.memory);
  }

  /* The next pixel is drawn by chance; `random` gives numbers from 0 to 1. At temperature 0 it is the likeliest level. */
  draw(temperature, random) {
    if (!temperature) this.read(this.logits.indexOf(Math.max(...this.logits)));
    else {
      let left = random();
      const level = softmax(this.logits.map((logit) => logit / temperature)).findIndex((share) => (left -= share) < 0);
      this.read(level < 0 ? this.logits.length - 1 : level); // rounding may leave a little
    }
  }
}

/* What a level costs, in bits. */
function surprise(logits, level) {
  const largest = Math.max(...logits);
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - largest), 0);
  return (Math.log(sum) + largest - logits[level]) / Math.LN2;
}

/* Numbers from 0 to 1, the same for the same seed: mulberry32, by Tommy Ettinger. */
function chance(seed) {
  let state = Math.imul(seed, 0x9e3779b1);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
