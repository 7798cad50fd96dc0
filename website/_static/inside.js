/* What a layer does with a pixel after it was read, computed from what mamba.js leaves behind of every step: which earlier
   pixels a pixel looks back at, which later ones look back at it, and how long the state holds what was written there.

   A pixel t reads from the state a sum over all pixels s before it, and itself:
   out_proj (gate_t * M_ts * u_s), with M_ts = sum over n of C_t[n] * (decay from s to t)[n] * delta_s * B_s[n].
   How strongly t looks at s is the length of that vector. Skip and residual connection are not in it. */
"use strict";

class Inside {
  constructor(model, pixels) {
    Object.assign(this, { model, pixels, layers: model.blocks.map(() => []) });
    model.reset();
  }

  /* How many pixels were read. */
  get length() {
    return this.layers[0].length;
  }

  read() {
    this.model.step(this.pixels[this.length]).chosen.forEach((chosen, i) => this.layers[i].push(chosen));
  }

  /* For each pixel the share of what pixel t reads from the state of a layer; zeros after t. */
  back(layer, t) {
    const [block, steps] = [this.model.blocks[layer], this.layers[layer]];
    const found = new Float64Array(steps.length);
    const decay = this.whole();
    for (let s = t; s >= 0; s--) {
      found[s] = this.strength(block, steps[t], steps[s], decay);
      this.shrink(decay, block, steps[s]);
    }
    return shares(found);
  }

  /* For each pixel after t: how strongly it looks back at t, as a share of all, and the share of the numbers in the
     state that hold at least half of what t wrote. */
  ahead(layer, t) {
    const [block, steps] = [this.model.blocks[layer], this.layers[layer]];
    const [found, held] = [new Float64Array(steps.length), new Float64Array(steps.length)];
    const decay = this.whole();
    held[t] = 1;
    for (let s = t + 1; s < steps.length; s++) {
      held[s] = this.shrink(decay, block, steps[s]);
      found[s] = this.strength(block, steps[s], steps[t], decay);
    }
    return { looks: shares(found), held };
  }

  /* What is left of each number in the state. The two of a pair decay alike: one is kept for both. */
  whole() {
    return new Float64Array((this.model.sizes.d_inner * this.model.sizes.d_state) / 2).fill(1);
  }

  /* One step of decay. Returns the share of the numbers that keep at least half. */
  shrink(decay, block, { delta }) {
    const { d_inner, d_state } = this.model.sizes;
    const half = d_state / 2;
    let kept = 0;
    for (let c = 0, at = 0; c < d_inner; c++) {
      for (let n = 0; n < half; n++, at++) {
        decay[at] *= Math.exp(delta[c] * block.A[c * d_state + n]);
        if (decay[at] >= 0.5) kept += 1;
      }
    }
    return kept / decay.length;
  }

  strength(block, reader, writer, decay) {
    const { d_model, d_inner, d_state } = this.model.sizes;
    const half = d_state / 2;
    const match = new Float64Array(half);
    for (let n = 0; n < half; n++) match[n] = reader.C[n] * writer.B[n] + reader.C[half + n] * writer.B[half + n];
    const y = new Float64Array(d_inner);
    for (let c = 0, at = 0; c < d_inner; c++) {
      let sum = 0;
      for (let n = 0; n < half; n++, at++) sum += decay[at] * match[n];
      y[c] = reader.gate[c] * sum * writer.delta[c] * writer.u[c];
    }
    return Math.sqrt(linear(y, block.out_proj).reduce((sum, value) => sum + value * value, 0));
  }
}

function shares(found) {
  const sum = found.reduce((total, value) => total + value, 0);
  return sum ? found.map((value) => value / sum) : found;
}
