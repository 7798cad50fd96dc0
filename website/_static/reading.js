/* The front page: the published classifier reads a test digit, once, as soon as its weights are there. */
"use strict";

explorable("reading", ({ picture, draw, tell, button, ready }) => {
  const FIRST = 77; // the digit of the README's moving picture: the one over which it changes its mind most often
  const PACE = 140; // pixels a second
  const SLICE = 12; // milliseconds of computing at a time
  const CELL = 14; // pixels between two cells of the history
  const still = picture.innerHTML;

  let model = null;
  let which = FIRST;
  let pixels = null;
  let answers = []; // after each pixel
  let head = 0; // pixels read, as they are shown
  let playing = false;
  let turn = 0; // counts the digits: what still computes an older one stops

  const play = button("Read it", () => (playing ? pause() : head > 0 && head < 784 ? go() : read(calm.matches)));
  button("Another digit", () => {
    which = (which + 1) % 100;
    read(calm.matches);
  });

  async function read(atOnce = false) {
    const mine = ++turn;
    [answers, head, playing] = [[], 0, false];
    try {
      await Promise.all([load("weights.js"), load("digits.js")]);
    } catch (error) {
      if (still) draw(still);
      tell(error.message);
      return;
    }
    if (mine !== turn) return;
    model ??= new PixelClassifier(window.SMNIST);
    model.reset();
    pixels = testDigit(which);
    if (!atOnce) go();
    while (answers.length < 784 && mine === turn) {
      const end = performance.now() + SLICE;
      while (answers.length < 784 && performance.now() < end) answers.push(softmax(model.step(pixels[answers.length]).logits));
      await new Promise((resolve) => setTimeout(resolve));
    }
    if (mine === turn && atOnce) {
      head = 784;
      show();
    }
  }

  function go() {
    const mine = turn;
    let last = performance.now();
    let exact = head;
    playing = true;
    const frame = (now) => {
      if (!playing || mine !== turn) return;
      exact = Math.min(exact + (Math.max(now - last, 0) / 1000) * PACE, answers.length);
      last = now;
      head = Math.floor(exact);
      if (head === 784) playing = false;
      show();
      if (playing) requestAnimationFrame(frame);
    };
    show();
    requestAnimationFrame(frame);
  }

  function pause() {
    playing = false;
    show();
  }

  const best = (answer) => answer.indexOf(Math.max(...answer));
  const percent = (share) => `${Math.round(100 * share)} %`;

  function show() {
    play.textContent = playing ? "Pause" : head === 784 ? "Read it again" : "Go on";
    const answer = head ? answers[head - 1] : null;
    const leader = answer ? best(answer) : null;
    const bars = Array.from({ length: 10 }, (_, digit) => {
      const share = answer ? answer[digit] : 0;
      return (
        `<li${digit === leader ? ' class="best"' : ""}><b>${digit}</b>` +
        `<span><i style="width: ${(100 * share).toFixed(1)}%"></i></span><em>${answer ? percent(share) : ""}</em></li>`
      );
    });
    const [x, y] = [head % 28, Math.floor(head / 28)];
    const cursor =
      head < 784
        ? `<rect class="line" y="${(y + 0.9).toFixed(1)}" width="28" height="0.2"/>` +
          `<rect class="cursor" x="${x - 0.2}" y="${y - 0.2}" width="1.4" height="1.4"/>`
        : "";
    draw(
      '<div class="halves"><div><p>What it has read</p>' +
        `<svg class="digit" viewBox="0 0 28 28" role="img" aria-label="A handwritten digit, pixel by pixel">` +
        `${squares(pixels, (i) => (i < head ? "" : ' class="ahead"'))}${cursor}</svg>` +
        `<p class="count">pixel ${head} of 784</p></div>` +
        `<div><p>Its answer so far</p><ol class="bars">${bars.join("")}</ol>` +
        `<div class="history" aria-hidden="true">${history()}</div><p class="count">its best guess at each moment, from the first pixel to the last</p></div></div>`,
    );
    if (playing) tell("Reading.");
    else if (answer) tell(`After ${head} of 784 pixels it answers ${leader}, with ${percent(answer[leader])}.`);
    if (!playing) ready();
  }

  /* Who was leading: a piece for each stretch, as long as it lasted, the present answer's in color. */
  function history() {
    const leaders = [];
    for (let at = CELL; at <= head; at += CELL) leaders.push(best(answers[at - 1]));
    const pieces = [];
    for (const digit of leaders) {
      if (pieces.length && pieces.at(-1)[0] === digit) pieces.at(-1)[1] += 1;
      else pieces.push([digit, 1]);
    }
    const now = leaders.at(-1);
    const rest = 784 / CELL - leaders.length;
    return (
      pieces
        .map(([digit, cells]) => `<i${digit === now ? ' class="best"' : ""} style="flex: ${cells}">${cells > 2 ? digit : ""}</i>`)
        .join("") + (rest ? `<i class="rest" style="flex: ${rest}"></i>` : "")
    );
  }

  if (!still) read(true);
  else if (!calm.matches) read();
});
