/* The classifier in plain JavaScript, one pixel at a time: what `step` of helpers.layers.MambaRoPE computes, in its order.
   Weights are those of window.SMNIST, which weights.js sets; every size comes with them. */
"use strict";

class PixelClassifier {
  constructor(content) {
    this.sizes = content.sizes;
    const bytes = PixelClassifier.bytes(content.weights);
    const weights = new Float32Array(bytes.buffer);
    this.tensors = {};
    for (const [name, [start, length]] of Object.entries(content.tensors)) {
      this.tensors[name] = weights.subarray(start, start + length);
    }
    this.blocks = [];
    for (let i = 0; i < this.sizes.layers; i++) this.blocks.push(this.block(i));
    this.reset();
  }

  static bytes(base64) {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  }

  block(i) {
    const { d_inner, d_state, d_conv } = this.sizes;
    const of = (name) => this.tensors[`blocks.${i}.${name}`];
    const pairs = d_state / 2; // both numbers of a pair decay alike
    return {
      norm: [this.tensors[`norms.${i}.weight`], this.tensors[`norms.${i}.bias`]],
      in_proj: of("in_proj.weight"),
      conv: [of("conv1d.weight"), of("conv1d.bias")],
      x_proj: of("x_proj.weight"),
      biases: [of("B_bias"), of("C_bias")],
      dt_proj: [of("dt_proj.weight"), of("dt_proj.bias")],
      out_proj: of("out_proj.weight"),
      A: Float64Array.from({ length: d_inner * d_state }, (_, at) => {
        const c = Math.floor(at / d_state);
        return -Math.exp(of("A_log")[c * pairs + (at % pairs)]);
      }),
      D: of("D"),
      window: new Float64Array(d_inner * d_conv), // the last inputs of the convolution, the newest last
      h: new Float64Array(d_inner * d_state), // the state of the scan
    };
  }

  /* Forget everything that was read. */
  reset() {
    this.read = 0;
    this.sum = new Float64Array(this.sizes.d_model);
    for (const block of this.blocks) {
      block.window.fill(0);
      block.h.fill(0);
    }
  }

  /* Read one pixel, 0 (paper) to 1 (ink). Returns the logits of what was read so far, what each layer chose, and its step
     size, the average over its channels. */
  step(pixel) {
    const { d_model, mean, std } = this.sizes;
    const input = (pixel - mean) / std;
    const weight = this.tensors["embedding.weight"];
    const bias = this.tensors["embedding.bias"];
    const x = new Float64Array(d_model);
    for (let i = 0; i < d_model; i++) x[i] = weight[i] * input + bias[i];
    const chosen = this.blocks.map((block) => this.mix(block, x));
    const deltas = chosen.map(({ delta }) => delta.reduce((sum, step) => sum + step, 0) / delta.length);
    this.read += 1;
    for (let i = 0; i < d_model; i++) this.sum[i] += x[i];
    const seen = norm(this.sum, this.tensors["norm.weight"], this.tensors["norm.bias"]);
    return { logits: linear(seen, this.tensors["head.weight"], this.tensors["head.bias"]), chosen, deltas };
  }

  /* Rotary position embedding of B, or C, which begins at `start`: add the bias, and rotate each pair by its angle. */
  rotate(selected, start, bias) {
    const half = this.sizes.d_state / 2;
    for (let n = 0; n < half; n++) {
      const a = selected[start + n] + bias[n];
      const b = selected[start + half + n] + bias[half + n];
      const cos = Math.cos(this.sizes.angles[n] * this.read);
      const sin = Math.sin(this.sizes.angles[n] * this.read);
      selected[start + n] = a * cos - b * sin;
      selected[start + half + n] = a * sin + b * cos;
    }
  }

  /* One layer: adds to x what the block makes of it, and returns what it chose at this position: the step sizes, what
     is written (u and B), and what is read (C and the gate). */
  mix(block, x) {
    const { d_inner, d_state, d_conv, dt_rank } = this.sizes;
    const both = linear(norm(x, ...block.norm), block.in_proj);
    const [taps, offset] = block.conv;
    const u = new Float64Array(d_inner);
    block.window.copyWithin(0, 1);
    for (let c = 0; c < d_inner; c++) {
      const at = c * d_conv;
      block.window[at + d_conv - 1] = both[c];
      let sum = offset[c];
      for (let k = 0; k < d_conv; k++) sum += block.window[at + k] * taps[at + k];
      u[c] = silu(sum);
    }
    const selected = linear(u, block.x_proj); // the step size before its last map, B and C
    const delta = linear(selected.subarray(0, dt_rank), ...block.dt_proj).map(softplus);
    const B = dt_rank;
    const C = dt_rank + d_state;
    [B, C].forEach((start, i) => this.rotate(selected, start, block.biases[i]));
    const gate = both.subarray(d_inner).map(silu);
    const y = new Float64Array(d_inner);
    for (let c = 0; c < d_inner; c++) {
      let sum = block.D[c] * u[c];
      for (let n = 0, at = c * d_state; n < d_state; n++, at++) {
        block.h[at] = Math.exp(delta[c] * block.A[at]) * block.h[at] + delta[c] * u[c] * selected[B + n];
        sum += block.h[at] * selected[C + n];
      }
      y[c] = sum * gate[c];
    }
    const out = linear(y, block.out_proj);
    for (let i = 0; i < x.length; i++) x[i] += out[i];
    return { delta, u, B: selected.subarray(B, C), C: selected.subarray(C), gate };
  }
}

function linear(x, weight, bias) {
  const y = new Float64Array(weight.length / x.length);
  for (let i = 0, at = 0; i < y.length; i++) {
    let sum = bias ? bias[i] : 0;
    for (let j = 0; j < x.length; j++, at++) sum += weight[at] * x[j];
    y[i] = sum;
  }
  return y;
}

function norm(x, weight, bias) {
  const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
  return x.map((value, i) => ((value - mean) / Math.sqrt(variance + 1e-5)) * weight[i] + bias[i]);
}

function silu(x) {
  return x / (1 + Math.exp(-x));
}

function softplus(x) {
  return x > 20 ? x : Math.log1p(Math.exp(x));
}

function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}
