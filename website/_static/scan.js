/* Page 4: the rounds of a parallel scan, forward and back. Every element knows which stretch it has been joined over. */
"use strict";

explorable("scan", ({ draw, tell, choice, button, ready }) => {
  let count = 8;
  let scheme = "doubling";
  let rounds = [];
  let shown = 1; // rounds that are drawn

  choice("Elements", [[8, "8"], [16, "16"]], (chosen) => begin(Number(chosen), scheme));
  choice("Scheme", [["doubling", "doubling (Hillis, Steele)"], ["tree", "up and down a tree (Blelloch)"]], (chosen) =>
    begin(count, chosen),
  );
  const places = (distance) => (distance === 1 ? "one place" : `${distance} places`);
  const back = button("Back", () => go(shown - 1));
  const forth = button("Next round", () => go(shown + 1));

  /* Each round is a list of [from, to]: what stands at `from` is joined into what stands at `to`. */
  function plan() {
    const found = [];
    for (let step = 1; step < count; step *= 2) {
      const joins = [];
      if (scheme === "doubling") for (let i = step; i < count; i++) joins.push([i - step, i]);
      else for (let i = 2 * step - 1; i < count; i += 2 * step) joins.push([i - step, i]);
      found.push(joins);
    }
    if (scheme === "tree") {
      for (let step = count / 4; step >= 1; step /= 2) {
        const joins = [];
        for (let i = 3 * step - 1; i < count; i += 2 * step) joins.push([i - step, i]);
        found.push(joins);
      }
    }
    return found;
  }

  function begin(elements, chosen) {
    [count, scheme] = [elements, chosen];
    rounds = plan();
    go(1);
  }

  function go(to) {
    shown = Math.min(Math.max(to, 0), rounds.length);
    back.disabled = shown === 0;
    forth.disabled = shown === rounds.length;
    show();
  }

  function show() {
    const [gap, width, cell, left] = [48, 400, count === 8 ? 40 : 20, 4];
    const x = (i) => left + ((width - left) / count) * (i + 0.5);
    let first = Array.from({ length: count }, (_, i) => i); // of the stretch that element i describes
    const parts = [];
    for (let round = 0; round <= rounds.length; round++) {
      const top = 4 + round * gap;
      const joins = round ? rounds[round - 1] : [];
      const joined = new Map(joins.map(([from, to]) => [to, from]));
      const later = round > shown;
      const now = round === shown && round > 0;
      if (!later && round) {
        const before = first;
        first = first.slice();
        for (const [from, to] of joins) first[to] = before[from];
        const lines = joins.map(([from, to]) => `<path d="M${x(from)} ${top - gap + 22}L${x(to)} ${top}"/>`).join("");
        parts.push(`<g class="${now ? "now" : "then"}">${lines}</g>`);
      }
      for (let i = 0; i < count; i++) {
        const from = first[i];
        const done = from === 0 && !later;
        const kind = later ? "later" : now && joined.has(i) ? "joined" : done ? "done" : "";
        const bar = ((cell - 4) * (i - from + 1)) / count;
        const at = x(i) - cell / 2 + 2 + ((cell - 4) * from) / count;
        const label = count === 8 && !later ? `<text x="${x(i)}" y="${top + 12}">${from === i ? i + 1 : `${from + 1}–${i + 1}`}</text>` : "";
        parts.push(
          `<g class="${kind}"><rect x="${(x(i) - cell / 2).toFixed(1)}" y="${top}" width="${cell}" height="22" rx="3"/>` +
            (later ? "" : `<rect class="reach" x="${at.toFixed(1)}" y="${top + 15}" width="${bar.toFixed(1)}" height="4"/>`) +
            `${label}</g>`,
        );
      }
    }
    const made = rounds.slice(0, shown).reduce((sum, joins) => sum + joins.length, 0);
    const all = rounds.reduce((sum, joins) => sum + joins.length, 0);
    const whole = first.filter((from) => from === 0).length;
    draw(
      `<svg class="rounds" viewBox="0 0 400 ${rounds.length * gap + 32}" role="img" aria-label="Rows of ${count} elements, one for each round; lines lead from two elements to what they are joined into">${parts.join("")}</svg>`,
    );
    const joins = shown ? rounds[shown - 1] : [];
    tell(
      (shown
        ? `Round ${shown} of ${rounds.length}: ${joins.length} ${joins.length === 1 ? "join" : "joins"} at once, ` +
          `each with the element ${places(joins[0][1] - joins[0][0])} to the left. `
        : "Before the first round every element describes one position. ") +
        `${whole} of ${count} reach back to the start. Joins so far: ${made} of ${all}; the loop makes ${count - 1}, one after another.`,
    );
    ready();
  }
  begin(count, scheme);
});
