/* Page 8: the top of a digit in, of the reader's or of the test set, and four ways in which the published generator goes on
   from it, with the surprise of every pixel. */
"use strict";

explorable("finish", ({ picture, controls, draw, tell, slider, choice, button, help, ready }) => {
  const WAYS = 4;
  const FIRST = 3; // the first test digit that is one is there when the page opens
  const MOST = 8; // bits at which the map of surprise is full: what a guess among 256 levels costs
  const WAIT = 500; // milliseconds after a stroke: another may follow
  const SLICE = 25; // milliseconds of computing for each frame
  const PACE = 14; // pixels of each digit that a frame may draw, so that they can be followed
  const still = picture.innerHTML;

  let model = null;
  let levels = new Array(784).fill(0); // of the reader's drawing, or of a test digit
  let wanted = 14; // rows that are to be given
  let rows = wanted; // rows that are: of a drawing only what has ink in it
  let temperature = 1;
  let seed = 1; // of the first way; the others follow
  let ways = [];
  let cost = 0; // bits of what was given
  let turn = 0; // counts the runs: an older one stops
  let timer = 0;

  // --- the square to draw in, with the controls at its side

  const keys = help(
    "Draw the top of a digit, or pick one: the model draws the rest. On the keyboard, arrows move the pen, " +
      "the space bar puts it down and lifts it, Enter finishes the digit, Delete clears.",
  );
  keys.id = "finish-keys";
  const square = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const attributes = { class: "digit", viewBox: "0 0 28 28", tabindex: 0, role: "application" };
  Object.assign(attributes, { "aria-label": "Draw the top of a digit here", "aria-describedby": keys.id });
  for (const [name, value] of Object.entries(attributes)) square.setAttribute(name, value);
  const desk = document.createElement("div");
  desk.className = "desk";
  picture.before(desk);
  desk.append(square, controls);

  const sheet = pad(square, 28, {
    begin() {
      stop();
      if (top.value) clear();
      fetchModel().catch(() => {});
    },
    change() {
      if (!top.value) trace();
      paint();
    },
    lift: () => finishSoon(WAIT),
    enter: () => finishSoon(0),
    clear,
  });

  const top = choice("Top of", [["", "your drawing"], ...Array.from({ length: 10 }, (_, digit) => [digit, `a ${digit}`])], pick);
  top.value = FIRST;
  const label = choice("Class", [["", "any"]], finish);
  const given = slider("Rows given", { min: 0, max: 27, value: rows }, (value) => {
    wanted = rows = value;
    paint();
    finish();
  });
  slider("Temperature", { min: 0, max: 1.5, step: 0.05, value: temperature }, (value) => {
    temperature = value;
    finish();
  });
  button("Again", () => {
    seed += WAYS;
    finish();
  });
  button("Clear", clear);

  /* What was drawn, in pixels. The rows at its end are not given: there the pen was lifted, and the digit would end. */
  function trace() {
    levels = Array.from(ink(sheet.strokes), (value) => Math.round(255 * value));
    const last = Math.floor(levels.findLastIndex((level) => level > 80) / 28);
    rows = Math.min(wanted, Math.max(last - 1, 0));
  }

  function paint() {
    const shown = levels.map((level) => level / 255);
    const { x, y, down, shown: seen } = sheet.cursor;
    square.innerHTML =
      `<rect class="given" width="28" height="${rows}"/><rect class="box" x="4" y="4" width="20" height="20" rx="1"/>` +
      `${shades(shown.map((ink, i) => (i < 28 * rows ? ink : 0)))}` +
      `<g class="ahead">${shades(shown.map((ink, i) => (i < 28 * rows ? 0 : ink)))}</g>${border()}` +
      (seen ? `<circle cx="${x}" cy="${y}" r="1.3" stroke-width="${down ? 0.8 : 0.3}"/>` : "");
    given.value = rows;
  }

  const border = () => (rows ? `<rect class="line" y="${rows - 0.1}" width="28" height="0.2"/>` : "");

  function clear() {
    stop();
    sheet.clear();
    top.value = "";
    trace();
    paint();
    [ways, cost] = [[], 0];
    show();
    tell("Draw the top of a digit, or pick one.");
  }

  function pick() {
    if (!top.value) return clear();
    sheet.clear();
    rows = wanted;
    return finish();
  }

  // --- the model, fetched when it is used, or can be seen

  function fetchModel() {
    fetchModel.promise ??= Promise.all([load("generator.js"), load("digits.js")]).then(() => {
      model = new PixelGenerator(window.GENERATOR);
      for (let digit = 0; digit < model.sizes.classes; digit++) label.append(new Option(digit, digit));
    });
    return fetchModel.promise;
  }

  /* Whether it could be fetched; if not, the page says why. */
  async function modelIsHere() {
    const mine = turn;
    try {
      await fetchModel();
      return mine === turn;
    } catch (error) {
      tell(error.message);
      return false;
    }
  }

  // --- drawing the rest

  function stop() {
    clearTimeout(timer);
    turn += 1;
  }

  function finishSoon(after) {
    clearTimeout(timer);
    timer = setTimeout(finish, after);
  }

  async function finish() {
    stop();
    const mine = turn;
    if (!(await modelIsHere())) return;
    if (top.value) {
      const digit = testDigit(window.DIGITS.labels.indexOf(Number(top.value)));
      levels = Array.from(digit, (ink) => Math.round(255 * ink));
      paint();
    }
    tell("Drawing.");
    const work = pixelByPixel();
    const frame = () => {
      if (mine !== turn) return;
      const end = performance.now() + SLICE;
      let [drawn, done] = [0, false];
      while (!done && performance.now() < end && (calm.matches || drawn < PACE)) {
        const next = work.next();
        done = next.done;
        drawn += next.value ?? 0;
      }
      if (done || (drawn && !calm.matches)) show();
      if (done) sum();
      else requestAnimationFrame(frame);
    };
    frame();
  }

  /* Reads what is given, then draws; yields after each pixel how many were drawn of each digit. */
  function* pixelByPixel() {
    const beginning = new Drawing(model, label.value ? Number(label.value) : null);
    for (const level of levels.slice(0, 28 * rows)) {
      beginning.read(level);
      yield 0;
    }
    cost = bits(beginning, 0);
    ways = Array.from({ length: WAYS }, () => beginning.copy());
    const randoms = ways.map((_, i) => chance(seed + i));
    while (ways[0].levels.length < 784) {
      ways.forEach((way, i) => way.draw(temperature, randoms[i]));
      yield 1;
    }
  }

  const bits = (drawing, from) => Math.round(drawing.bits.slice(from).reduce((total, one) => total + one, 0));

  // --- showing

  function show() {
    const parts = Array.from({ length: WAYS }, (_, i) => {
      const way = ways[i] ?? { levels: [], bits: [] };
      const at = way.levels.length;
      const pixel = at && at < 784 ? `<rect class="cursor" x="${at % 28}" y="${Math.floor(at / 28)}" width="1" height="1"/>` : "";
      const map = (kind, name, values) =>
        `<svg class="digit ${kind}" viewBox="0 0 28 28" role="img" aria-label="${name}, way ${i + 1}">${shades(values)}${border()}${pixel}</svg>`;
      return (
        `<div>${map("way", "A finished digit", way.levels.map((level) => level / 255))}` +
        `${map("surprise", "The surprise of its pixels", way.bits.map((one) => one / MOST))}` +
        `<p class="count">${at > 28 * rows ? `${bits(way, 28 * rows)} bits` : "&nbsp;"}</p></div>`
      );
    });
    draw(
      `<div class="ways">${parts.join("")}</div><p class="count key">Below the line, the model drew. In blue, the surprise of each pixel: ` +
        `<span>0 <i></i> ${MOST} bits or more.</span></p>`,
    );
  }

  function sum() {
    const costs = ways.map((way) => bits(way, 28 * rows));
    const count = (number) => `${number} ${number === 1 ? "row" : "rows"}`;
    tell(
      (rows ? `${count(rows)} given, for ${cost} bits. The other ${28 - rows}` : "Nothing given. All 28 rows") +
        `, drawn ${label.value ? `as a ${label.value} ` : ""}with seeds ${seed} to ${seed + WAYS - 1} at temperature ` +
        `${temperature}, cost ${costs.slice(0, -1).join(", ")} and ${costs.at(-1)} bits.` +
        (temperature ? "" : " All four are the same: at temperature 0 the likeliest level is taken every time."),
    );
    ready();
  }

  paint();
  if (!still) show();
  new IntersectionObserver((seen, watch) => {
    if (!seen.some((one) => one.isIntersecting)) return;
    watch.disconnect();
    if (top.value) pick();
  }, { rootMargin: "200px" }).observe(picture);
});
