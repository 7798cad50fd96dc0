/* The published models in plain JavaScript, one position at a time: what `step` of helpers.layers.Mamba and MambaRoPE
   computes, in its order, with a gated linear unit behind it or without. Weights come from weights.js (window.SMNIST) and
   generator.js (window.GENERATOR), and every size comes with them. */
"use strict";

/* What helpers.models.Backbone is: layers, each behind a norm and beside a residual connection, and a norm at the end.
   Weights are shared by all that is read; what is remembered of it is in a memory of its own. */
class Backbone {
  constructor(content) {
    this.sizes = content.sizes;
    const text = atob(content.weights);
    const bytes = new Uint8Array(text.length).map((_, i) => text.charCodeAt(i));
    const weights = content.dtype === "float16" ? halves(new Uint16Array(bytes.buffer)) : new Float32Array(bytes.buffer);
    this.tensors = {};
    for (const [name, [start, length]] of Object.entries(content.tensors)) {
      this.tensors[name] = weights.subarray(start, start + length);
    }
    this.blocks = Array.from({ length: this.sizes.layers }, (_, i) => this.block(i));
  }

  /* Weight and bias of a layer; where it has no bias it is undefined. */
  pair(name) {
    return [this.tensors[`${name}.weight`], this.tensors[`${name}.bias`]];
  }

  block(i) {
    const { d_inner, d_state } = this.sizes;
    const of = (name) => this.tensors[`blocks.${i}.${name}`];
    const decays = of("A_log").length / d_inner; // half of d_state where both numbers of a pair decay alike
    return {
      norm: this.pair(`norms.${i}`),
      in_proj: of("in_proj.weight"),
      conv: this.pair(`blocks.${i}.conv1d`),
      x_proj: of("x_proj.weight"),
      biases: [of("B_bias"), of("C_bias")],
      dt_proj: this.pair(`blocks.${i}.dt_proj`),
      out_proj: of("out_proj.weight"),
      decays,
      A: Float64Array.from({ length: d_inner * d_state }, (_, at) => {
        const c = Math.floor(at / d_state);
        return -Math.exp(of("A_log")[c * decays + (at % decays)]);
      }),
      D: of("D"),
      gate: this.tensors[`gates.${i}.1.weight`] && this.pair(`gates.${i}.1`),
    };
  }

  /* The memory before anything was read. */
  memory() {
    const { d_inner, d_state, d_conv } = this.sizes;
    return {
      position: 0,
      layers: this.blocks.map(() => ({
        window: new Float64Array(d_inner * d_conv), // the last inputs of the convolution, the newest last
        h: new Float64Array(d_inner * d_state), // the state of the scan
      })),
    };
  }

  /* All layers at one position: changes x, d_model numbers, to what leaves the last of them, and the memory. Returns what
     each layer chose. */
  read(x, memory) {
    if (this.sizes.positional_encoding) this.encode(x, memory.position);
    const chosen = this.blocks.map((block, i) => this.mix(block, x, memory.layers[i], memory.position));
    memory.position += 1;
    return chosen;
  }

  /* Add sines and cosines of the position. */
  encode(x, position) {
    for (let i = 0; i < x.length; i++) {
      const angle = position * 1e4 ** (-(i - (i % 2)) / x.length);
      x[i] += i % 2 ? Math.cos(angle) : Math.sin(angle);
    }
  }

  /* Rotary position embedding of B, or C: add the bias, and rotate each pair by its angle. Mamba itself has none. */
  rotate(selected, bias, position) {
    const { angles, d_state } = this.sizes;
    if (!angles) return;
    const half = d_state / 2;
    for (let n = 0; n < half; n++) {
      const a = selected[n] + bias[n];
      const b = selected[half + n] + bias[half + n];
      const cos = Math.cos(angles[n] * position);
      const sin = Math.sin(angles[n] * position);
      selected[n] = a * cos - b * sin;
      selected[half + n] = a * sin + b * cos;
    }
  }

  /* One layer: adds to x what the block makes of it, and returns what it chose at this position: the step sizes, what
     is written (u and B), and what is read (C and the gate). */
  mix(block, x, { window, h }, position) {
    const { d_inner, d_state, d_conv, dt_rank } = this.sizes;
    const both = linear(norm(x, ...block.norm), block.in_proj);
    const [taps, offset] = block.conv;
    const u = new Float64Array(d_inner);
    window.copyWithin(0, 1);
    for (let c = 0; c < d_inner; c++) {
      const at = c * d_conv;
      window[at + d_conv - 1] = both[c];
      let sum = offset[c];
      for (let k = 0; k < d_conv; k++) sum += window[at + k] * taps[at + k];
      u[c] = silu(sum);
    }
    const selected = linear(u, block.x_proj); // the step size before its last map, B and C
    const delta = linear(selected.subarray(0, dt_rank), ...block.dt_proj).map(softplus);
    const B = selected.subarray(dt_rank, dt_rank + d_state);
    const C = selected.subarray(dt_rank + d_state);
    [B, C].forEach((part, i) => this.rotate(part, block.biases[i], position));
    const gate = both.subarray(d_inner).map(silu);
    const y = new Float64Array(d_inner);
    for (let c = 0; c < d_inner; c++) {
      const drive = delta[c] * u[c];
      let sum = block.D[c] * u[c];
      for (let n = 0; n < block.decays; n++) {
        const decay = exp(delta[c] * block.A[c * d_state + n]);
        for (let m = n; m < d_state; m += block.decays) {
          const at = c * d_state + m;
          h[at] = decay * h[at] + drive * B[m];
          sum += h[at] * C[m];
        }
      }
      y[c] = sum * gate[c];
    }
    const out = linear(y, block.out_proj);
    const added = block.gate ? glu(linear(out.map(gelu), ...block.gate)) : out;
    for (let i = 0; i < x.length; i++) x[i] += added[i];
    return { delta, u, B, C, gate };
  }
}

class PixelClassifier extends Backbone {
  constructor(content) {
    super(content);
    this.reset();
  }

  /* Forget everything that was read. */
  reset() {
    this.state = this.memory();
    this.sum = new Float64Array(this.sizes.d_model);
  }

  /* Read one pixel, 0 (paper) to 1 (ink). Returns the logits of what was read so far, what each layer chose, and its step
     size, the average over its channels. */
  step(pixel) {
    const { mean, std } = this.sizes;
    const x = linear([(pixel - mean) / std], ...this.pair("embedding"));
    const chosen = this.read(x, this.state);
    const deltas = chosen.map(({ delta }) => delta.reduce((sum, step) => sum + step, 0) / delta.length);
    for (let i = 0; i < x.length; i++) this.sum[i] += x[i];
    return { logits: linear(norm(this.sum, ...this.pair("norm")), ...this.pair("head")), chosen, deltas };
  }
}

class PixelGenerator extends Backbone {
  /* The token that stands before the first pixel: that of a class, or without one the start token. */
  start(label = null) {
    return label === null ? this.sizes.levels : this.sizes.levels + 1 + label;
  }

  /* Read one token, a gray level or what stands before them. Returns the logits of the next gray level. */
  step(token, memory) {
    const { d_model } = this.sizes;
    const [rows] = this.pair("embedding");
    const x = Float64Array.from(rows.subarray(token * d_model, (token + 1) * d_model));
    this.read(x, memory);
    return linear(norm(x, ...this.pair("norm")), ...this.pair("head"));
  }
}

/* A matrix times x. Four rows at a time: four sums need not wait for one another, as the terms of one must. */
function linear(x, weight, bias) {
  const [width, height] = [x.length, weight.length / x.length];
  const y = new Float64Array(height);
  let i = 0;
  for (; i + 4 <= height; i += 4) {
    let [at, a, b, c, d] = [i * width, 0, 0, 0, 0];
    for (let j = 0; j < width; j++, at++) {
      const value = x[j];
      a += weight[at] * value;
      b += weight[at + width] * value;
      c += weight[at + 2 * width] * value;
      d += weight[at + 3 * width] * value;
    }
    y[i] = a;
    y[i + 1] = b;
    y[i + 2] = c;
    y[i + 3] = d;
  }
  for (; i < height; i++) {
    for (let j = 0; j < width; j++) y[i] += weight[i * width + j] * x[j];
  }
  if (bias) for (i = 0; i < height; i++) y[i] += bias[i];
  return y;
}

function norm(x, weight, bias) {
  const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
  return x.map((value, i) => ((value - mean) / Math.sqrt(variance + 1e-5)) * weight[i] + bias[i]);
}

/* The exponential function of x <= 0, to 1e-8 of itself, in a quarter of the time of Math.exp: a power of two, and a
   polynomial for what is left. The scan takes one for each number of the state, or for two. */
function exp(x) {
  const bounded = Math.max(x, -700);
  const power = Math.round(bounded * Math.LOG2E);
  const r = bounded - power * Math.LN2; // at most half of LN2
  const rest = 1 / 24 + r * (1 / 120 + r * (1 / 720 + r / 5040));
  return POWERS[-power] * (1 + r * (1 + r * (1 / 2 + r * (1 / 6 + r * rest))));
}
const POWERS = Float64Array.from({ length: 1024 }, (_, power) => 2 ** -power);

function silu(x) {
  return x / (1 + Math.exp(-x));
}

function softplus(x) {
  return x > 20 ? x : Math.log1p(Math.exp(x));
}

/* The first half of x, gated by the second. */
function glu(x) {
  const half = x.length / 2;
  return x.subarray(0, half).map((value, i) => value / (1 + Math.exp(-x[half + i])));
}

/* x times the share of a normal distribution that is below x: the exact one, as torch.nn.GELU has it. */
function gelu(x) {
  const above = erfc(Math.abs(x) / Math.SQRT2) / 2;
  return x * (x > 0 ? 1 - above : above);
}

/* The complementary error function of x >= 0, to 1e-7 of itself: Press and others, Numerical Recipes, section 6.2. */
function erfc(x) {
  const t = 1 / (1 + x / 2);
  return t * Math.exp(ERFC.reduceRight((sum, coefficient) => sum * t + coefficient, 0) - x * x);
}
const ERFC = [
  -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277,
];

function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

/* Numbers in float16, given as their bits. */
function halves(codes) {
  return new Float32Array(codes).map((code) => {
    const [sign, exponent, fraction] = [code >> 15 ? -1 : 1, (code >> 10) & 31, code & 1023];
    return sign * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24);
  });
}
