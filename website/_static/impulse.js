/* Page 3: what is left of one impulse, in continuous time and at the steps, for a step size and an A of your choice. */
"use strict";

explorable("impulse", ({ draw, tell, slider, ready }) => {
  const SPAN = 12; // units of time
  const STEPS = 60;
  const rounded = (value, digits = 2) => Number(value.toPrecision(digits));
  let [delta, rate, turn] = [0.25, 0.5, 1.5]; // the step size, and A = -rate + turn i

  const say = (control, text) => control.setAttribute("aria-valuetext", text);
  const step = slider("Step size Δ", { min: -2, max: 0.3, step: 0.05, value: Math.log10(delta) }, (value) => {
    delta = rounded(10 ** value);
    show();
  });
  const decay = slider("Decay, −Re A", { min: 0, max: 2, step: 0.05, value: rate }, (value) => {
    rate = value;
    show();
  });
  const spin = slider("Turning, Im A", { min: 0, max: 6, step: 0.1, value: turn }, (value) => {
    turn = value;
    show();
  });

  /* The real part of exp(A t). */
  const response = (t) => Math.exp(-rate * t) * Math.cos(turn * t);

  function show() {
    const [left, width, high] = [34, 400, 62]; // high: half of a panel
    const across = (share) => left + (width - left - 12) * share;
    const y = (value, middle) => (middle - high * value).toFixed(1);
    const [upper, lower] = [high + 20, 3 * high + 72];
    const fine = Array.from({ length: 361 }, (_, i) => (SPAN * i) / 360);
    const line = fine.map((t) => `${across(t / SPAN).toFixed(1)},${y(response(t), upper)}`).join(" ");
    const taken = Array.from({ length: Math.min(Math.floor(SPAN / delta + 1e-9), 1200) + 1 }, (_, k) => k * delta);
    const dots = taken
      .filter((_, k) => taken.length < 150 || k % 4 === 0)
      .map((t) => `<circle cx="${across(t / SPAN).toFixed(1)}" cy="${y(response(t), upper)}" r="3"/>`)
      .join("");
    const stems = Array.from({ length: STEPS + 1 }, (_, k) => {
      const [x, value] = [across(k / STEPS).toFixed(1), response(k * delta)];
      return `<path d="M${x} ${lower}V${y(value, lower)}"/><circle cx="${x}" cy="${y(value, lower)}" r="2.5"/>`;
    }).join("");
    const axis = (middle, ticks, name) =>
      `<path class="axis" d="M${left} ${middle - high}V${middle + high}M${left} ${middle}H${width}"/>` +
      `<text class="right" x="${left - 5}" y="${middle - high + 4}">1</text><text class="right" x="${left - 5}" y="${middle + 4}">0</text>` +
      `<text class="right" x="${left - 5}" y="${middle + high + 4}">−1</text>` +
      ticks.map(([share, shown]) => `<text class="middle" x="${across(share)}" y="${middle + high + 14}">${shown}</text>`).join("") +
      `<text x="${left + 30}" y="${middle - high - 6}">${name}</text>`;
    const [real, imaginary] = [Math.exp(-rate * delta) * Math.cos(turn * delta), Math.exp(-rate * delta) * Math.sin(turn * delta)];
    draw(
      `<svg class="impulse" viewBox="0 0 400 ${lower + high + 20}" role="img" aria-label="Above, a curve that ${turn ? "swings and " : ""}decays over time, with samples on it; below, the same samples against the step">` +
        axis(upper, [0, 3, 6, 9, 12].map((t) => [t / SPAN, t]), "against time: the curve, and where the steps fall") +
        `<polyline points="${line}"/><g class="samples">${dots}</g>` +
        axis(lower, [0, 20, 40, 60].map((k) => [k / STEPS, k]), "against the step: what the model sees") +
        `<g class="samples">${stems}</g></svg>`,
    );
    const minus = (text) => String(text).replace("-", "−");
    const fixed = (value) => minus((Math.abs(value) < 5e-4 ? 0 : value).toFixed(3));
    const number = turn ? `${fixed(real)} ${imaginary < 0 ? "−" : "+"} ${fixed(Math.abs(imaginary))} i` : fixed(real);
    const half = rate ? Math.LN2 / (rate * delta) : Infinity;
    say(step, `${delta}`);
    say(decay, `${rate}`);
    say(spin, `${turn}`);
    tell(
      `Δ = ${delta}, A = ${rate ? `−${rate}` : "0"}${turn ? ` + ${turn} i` : ""}: Ā = exp(ΔA) = ${number}` +
        (turn ? `, of size ${fixed(Math.exp(-rate * delta))}. ` : ". ") +
        (rate ? `Half is forgotten after ${half < 9.95 ? half.toFixed(1) : Math.round(half)} steps` : "Nothing is forgotten") +
        (turn ? `; one turn takes ${rounded((2 * Math.PI) / (turn * delta), 3)} steps.` : "."),
    );
    ready();
  }
  show();
});
