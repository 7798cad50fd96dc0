/* Page 10: the mask of decays, cut into chunks: what is computed as attention, and what goes through the state. */
"use strict";

explorable("mask", ({ draw, tell, slider, ready }) => {
  const LENGTH = 24;
  const SIZES = [1, 2, 3, 4, 6, 8, 12, 24];
  const [HEADDIM, STATE] = [8, 8]; // channels of the head, numbers of state for each
  // Step sizes, as an input might choose them: mostly short, a few long.
  const STEPS = Array.from({ length: LENGTH }, (_, i) => ({ 5: 6, 11: 3, 12: 5, 18: 8 })[i] ?? 0.4 + ((i * 7) % 5) / 5);
  let size = 6;
  let decay = 0.08;

  const chunk = slider("Positions in a chunk", { min: 0, max: SIZES.length - 1, value: SIZES.indexOf(size) }, (which) => {
    size = SIZES[which];
    show();
  });
  slider("Decay", { min: 0, max: 0.4, step: 0.01, value: decay }, (value) => {
    decay = value;
    show();
  });

  /* Multiplications for one head: inside the chunks the scores C B and their product with x, the whole block, as matrix
     units do it; then writing the state, reading it, and shrinking it from chunk to chunk. The first chunk reads none. */
  function cost(chunk) {
    const inside = LENGTH * chunk * (STATE + HEADDIM);
    const passes = LENGTH / chunk - 1; // handings-over of the state
    const state = passes * (2 * chunk * STATE * HEADDIM + STATE * HEADDIM);
    return [inside, state];
  }

  function show() {
    const cell = 10;
    const chunkOf = (i) => Math.floor(i / size);
    const parts = [];
    for (let i = 0; i < LENGTH; i++) {
      for (let j = 0, log = 0; j <= i; j++) {
        log = 0;
        for (let k = j + 1; k <= i; k++) log -= decay * STEPS[k];
        const kind = chunkOf(i) === chunkOf(j) ? "attention" : "state";
        parts.push(
          `<rect class="${kind}" x="${cell * j}" y="${cell * i}" width="${cell}" height="${cell}" fill-opacity="${Math.exp(log).toFixed(2)}"/>`,
        );
      }
    }
    for (let at = 0; at < LENGTH; at += size) {
      parts.push(`<rect class="edge" x="${cell * at}" y="${cell * at}" width="${cell * size}" height="${cell * size}"/>`);
      if (at) parts.push(`<rect class="edge below" x="0" y="${cell * at}" width="${cell * at}" height="${cell * size}"/>`);
    }
    const whole = cost(LENGTH)[0];
    const costs = SIZES.map((each) => [each, ...cost(each)]);
    const most = Math.max(...costs.map(([, inside, state]) => inside + state));
    const bars = costs
      .map(([each, inside, state]) => {
        const [one, two] = [(100 * inside) / most, (100 * state) / most];
        return (
          `<li${each === size ? ' class="chosen"' : ""}><b>${each}</b><span><i class="attention" style="width: ${one.toFixed(1)}%"></i>` +
          `<i class="state" style="width: ${two.toFixed(1)}%"></i></span></li>`
        );
      })
      .join("");
    draw(
      '<div class="halves mask"><div><p class="count">What is left at row i of what column j wrote</p>' +
        `<svg viewBox="-1 -1 ${cell * LENGTH + 2} ${cell * LENGTH + 2}" role="img" aria-label="A lower triangle of ${LENGTH} by ${LENGTH} decays, blocks of ${size} on its diagonal outlined">${parts.join("")}</svg></div>` +
        `<div><p class="count">Multiplications, by positions in a chunk</p><ol class="costs">${bars}</ol>` +
        `<p class="count key"><i class="attention"></i> attention in the chunk, <i class="state"></i> through the state; a head of ${HEADDIM} channels, ${STATE} numbers of state each</p></div></div>`,
    );
    const [inside, state] = cost(size);
    const number = (value) => value.toLocaleString("en-US");
    const chunks = LENGTH / size;
    chunk.setAttribute("aria-valuetext", `${size}`);
    tell(
      `${chunks} ${chunks === 1 ? "chunk" : "chunks"} of ${size}: ${number(inside + state)} multiplications, ` +
        `${number(inside)} of them as attention; the whole square takes ${number(whole)}. ` +
        (size === 1 ? "This is the loop." : size === LENGTH ? "This is attention alone." : `The state is handed on ${chunks - 1} ${chunks === 2 ? "time" : "times"}.`),
    );
    ready();
  }
  show();
});
