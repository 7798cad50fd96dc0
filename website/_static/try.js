/* The drawing page: strokes or a test digit in, the classifier's reading of it out, with a head that can be moved. */
"use strict";

(() => {
  const LENGTH = SIDE * SIDE;
  const CELL = 10; // pixels of the page for one of the digit
  const WAIT = 500; // milliseconds after a stroke: another may follow
  const PAUSE = 3000; // milliseconds after which a stroke begins another digit
  const SLICE = 40; // milliseconds of computing at a time, so that the page stays awake
  const FIRST = 77; // the test digit that is read when the page opens: that of the front page
  const element = (name) => document.getElementById(`try-${name}`);
  const [drawing, reading, chart] = [element("draw"), element("read"), element("chart")];
  const [pen, paper] = [drawing.getContext("2d"), reading.getContext("2d")];

  let model = null;
  let pixels = null; // of the digit that is read
  let answers = []; // after each pixel: ten probabilities
  let deltas = []; // at each pixel: the step size of each layer
  let head = 0; // pixels read, as they are shown
  let playing = false;
  let timer = 0;
  let lifted = 0; // when the pen was lifted
  let turn = 0; // counts the digits: what still computes an older one stops

  // --- the model, fetched on first use

  function fetchModel() {
    fetchModel.promise ??= Promise.all([load("weights.js"), load("digits.js")]).then(() => {
      model = new PixelClassifier(window.SMNIST);
      model.blocks.forEach((_, i) => element("layer").append(new Option(`layer ${i + 1}`, String(i))));
    });
    return fetchModel.promise;
  }

  /* Whether it could be fetched; if not, the page says why. */
  async function modelIsHere() {
    try {
      await fetchModel();
      return true;
    } catch (error) {
      say(error.message);
      return false;
    }
  }

  // --- reading

  async function read(image) {
    const mine = ++turn;
    pixels = image;
    [answers, deltas, head, playing] = [[], [], 0, false];
    show();
    say("Reading.");
    if (!(await modelIsHere()) || mine !== turn) return;
    model.reset();
    for (const control of [element("play"), element("pixel")]) control.disabled = false;
    if (!calm.matches) play();
    while (answers.length < LENGTH && mine === turn) {
      const end = performance.now() + SLICE;
      while (answers.length < LENGTH && performance.now() < end) {
        const { logits, deltas: steps } = model.step(pixels[answers.length]);
        answers.push(softmax(logits));
        deltas.push(steps);
      }
      await new Promise((resolve) => setTimeout(resolve));
    }
    if (mine !== turn) return;
    reading.dataset.answer = best(answers.at(-1));
    plot();
    if (calm.matches) move(LENGTH);
  }

  function best(answer) {
    return answer.indexOf(Math.max(...answer));
  }

  // --- moving the head

  function play() {
    if (head >= LENGTH) head = 0;
    playing = true;
    let last = performance.now();
    let exact = head;
    const mine = turn;
    const frame = (now) => {
      if (!playing || mine !== turn) return;
      const more = (Math.max(now - last, 1) / 1000) * Number(element("speed").value);
      exact = Math.min(exact + more, answers.length);
      last = now;
      head = Math.floor(exact);
      if (head === LENGTH) playing = false;
      show();
      if (playing) requestAnimationFrame(frame);
    };
    show();
    requestAnimationFrame(frame);
  }

  function move(to) {
    playing = false;
    head = Math.min(to, answers.length);
    show();
  }

  // --- showing

  const bars = Array.from({ length: 10 }, (_, digit) => {
    const row = document.createElement("li");
    row.innerHTML = `<b>${digit}</b><span><i></i></span><em></em>`;
    element("bars").append(row);
    return row;
  });

  function show() {
    element("play").textContent = playing ? "Pause" : "Play";
    element("pixel").value = head;
    const answer = head ? answers[head - 1] : null;
    bars.forEach((row, digit) => {
      const share = answer ? answer[digit] : 0;
      row.querySelector("i").style.width = `${100 * share}%`;
      row.querySelector("em").textContent = answer ? `${Math.round(100 * share)} %` : "";
      row.classList.toggle("best", answer !== null && digit === best(answer));
    });
    element("clip")?.setAttribute("width", head);
    element("head")?.setAttribute("transform", `translate(${head} 0)`);
    paint();
    if (!playing && answer) {
      const digit = best(answer);
      say(`After ${head} of ${LENGTH} pixels: ${digit}, at ${Math.round(100 * answer[digit])} %.`);
    } else if (playing) say("Reading.");
  }

  function say(text) {
    if (element("status").textContent !== text) element("status").textContent = text;
  }

  /* The step size at a place, of the layer that was picked, or the average of all. */
  function delta(place) {
    const layer = element("layer").value;
    const steps = deltas[place];
    return layer === "all" ? steps.reduce((sum, step) => sum + step, 0) / steps.length : steps[Number(layer)];
  }

  function paint() {
    paper.fillStyle = "#fff";
    paper.fillRect(0, 0, 280, 280);
    if (!pixels) return;
    const known = answers.map((_, place) => delta(place)).slice(SIDE); // at first the convolution has no past yet
    const [least, most] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
    element("least").textContent = known.length ? least.toPrecision(2) : "";
    element("most").textContent = known.length ? most.toPrecision(2) : "";
    for (let place = 0; place < LENGTH; place++) {
      const [x, y] = [(place % SIDE) * CELL, Math.floor(place / SIDE) * CELL];
      const grey = Math.round(255 - 150 * pixels[place]);
      paper.fillStyle = place < head
        ? color((delta(place) - least) / (most - least || 1))
        : `rgb(${grey},${grey},${grey})`;
      paper.fillRect(x, y, CELL, CELL);
    }
    if (head > 0 && head < LENGTH) {
      const [x, y] = [(head % SIDE) * CELL, Math.floor(head / SIDE) * CELL];
      paper.fillStyle = "#0072b2";
      paper.fillRect(0, y + CELL - 1, 280, 2);
      paper.fillRect(x - 1, y - 1, CELL + 2, CELL + 2);
    }
  }

  const STOPS = [[252, 253, 191], [254, 159, 109], [222, 73, 104], [140, 41, 129], [59, 15, 112], [0, 0, 4]];

  function color(share) {
    const at = Math.min(Math.max(share, 0), 1) * (STOPS.length - 1);
    const [low, part] = [Math.floor(at), at % 1];
    const high = Math.min(low + 1, STOPS.length - 1);
    return `rgb(${STOPS[low].map((value, i) => Math.round(value + part * (STOPS[high][i] - value))).join(",")})`;
  }

  /* The ten probabilities as lines, once they are all known; what is not read yet is cut off. */
  function plot() {
    const last = best(answers.at(-1));
    const lines = bars.map((_, digit) => {
      const points = answers.map((answer, i) => `${i + 1},${(155 - 150 * answer[digit]).toFixed(1)}`);
      return `<polyline class="${digit === last ? "best" : ""}" points="${points.join(" ")}"/>`;
    });
    chart.innerHTML =
      `<defs><clipPath id="try-cut"><rect id="try-clip" width="${head}" height="160"/></clipPath></defs>` +
      `<g clip-path="url(#try-cut)">${lines.join("")}</g>` +
      `<line id="try-head" y1="0" y2="160" transform="translate(${head} 0)"/>`;
  }

  // --- drawing

  function redraw() {
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, 280, 280);
    pen.strokeStyle = pen.fillStyle = "#222";
    pen.lineCap = pen.lineJoin = "round";
    pen.lineWidth = 20;
    for (const stroke of sheet.strokes) {
      pen.beginPath();
      pen.moveTo(...stroke[0]);
      for (const point of stroke) pen.lineTo(...point);
      pen.stroke();
    }
    const { cursor } = sheet;
    if (cursor.shown) {
      pen.beginPath();
      pen.arc(cursor.x, cursor.y, 10, 0, 2 * Math.PI);
      pen.strokeStyle = "#0072b2";
      pen.lineWidth = cursor.down ? 6 : 2;
      pen.stroke();
    }
  }

  function readSoon(after) {
    lifted = performance.now();
    clearTimeout(timer);
    timer = setTimeout(() => sheet.strokes.length && read(picture(sheet.strokes)), after);
  }

  function clear() {
    clearTimeout(timer);
    turn += 1;
    [pixels, answers, deltas, head, playing] = [null, [], [], 0, false];
    sheet.clear();
    delete reading.dataset.answer;
    chart.replaceChildren();
    for (const control of [element("play"), element("pixel")]) control.disabled = true;
    redraw();
    show();
    say("Draw a digit, or pick one.");
  }

  /* Whether a stroke that begins now belongs to another digit: the last one was read to its end a while ago. */
  function another() {
    return pixels !== null && (!sheet.strokes.length || (head === LENGTH && performance.now() - lifted > PAUSE));
  }

  const sheet = pad(drawing, 280, {
    begin() {
      if (another()) clear();
      clearTimeout(timer);
      fetchModel().catch(() => {});
    },
    change: redraw,
    lift: () => readSoon(WAIT),
    enter: () => readSoon(0),
    clear,
  });

  // --- controls

  /* Read a test digit, whose number is asked for once they are there. */
  async function pick(which) {
    clear();
    const mine = turn;
    say("Reading.");
    if ((await modelIsHere()) && mine === turn && !sheet.strokes.length) read(testDigit(which()));
  }

  const next = new Array(10).fill(0);
  for (let digit = 0; digit < 10; digit++) {
    const button = document.createElement("button");
    button.className = "button";
    button.type = "button";
    button.textContent = digit;
    button.setAttribute("aria-label", `a ${digit}`);
    button.addEventListener("click", () => {
      const places = () => window.DIGITS.labels.flatMap((label, i) => (label === digit ? [i] : []));
      pick(() => places()[next[digit]++ % places().length]);
    });
    element("digits").append(button);
  }
  element("clear").addEventListener("click", clear);
  element("play").addEventListener("click", () => (playing ? move(head) : play()));
  element("pixel").addEventListener("input", (event) => move(Number(event.target.value)));
  element("layer").addEventListener("change", show);

  redraw();
  paint();
  pick(() => FIRST);
})();
