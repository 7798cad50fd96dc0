/* Page 1: a digit, and the same 784 numbers as a signal. One cursor marks the same pixel in both. */
"use strict";

explorable("signal", ({ picture, draw, tell, slider, choice, help, ready }) => {
  const HEIGHT = 100; // of the signal's picture, for a pixel that is all ink
  let pixels = testDigit(0);
  let place = 28 * 14 + 18; // of the marked pixel

  help("Move over the digit, or over the signal.");
  choice(
    "Test digit",
    Array.from({ length: 10 }, (_, digit) => [window.DIGITS.labels.indexOf(digit), digit]),
    (which) => {
      pixels = testDigit(Number(which));
      show();
    },
  ).value = "0";
  const pixel = slider("Step", { min: 1, max: 784, value: place + 1 }, (step) => mark(step - 1));

  // Right and left go along the sequence; up and down go to the same column of another row.
  pixel.addEventListener("keydown", (event) => {
    const rows = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!rows) return;
    event.preventDefault();
    mark(place + 28 * rows);
  });

  function mark(where) {
    if (where < 0 || where > 783) return;
    place = where;
    show();
  }

  function follow(event) {
    const under = event.target.closest("[data-part]");
    if (!under) return;
    const box = under.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const at = (share, count) => Math.min(Math.max(Math.floor(share * count), 0), count - 1);
    mark(under.dataset.part === "digit" ? 28 * at(y, 28) + at(x, 28) : at(x, 784));
  }
  picture.addEventListener("pointermove", follow);
  picture.addEventListener("pointerdown", follow);

  function show() {
    const [row, column] = [Math.floor(place / 28), place % 28];
    const path = Array.from(pixels, (ink, i) => `H${i}V${(HEIGHT * (1 - ink)).toFixed(0)}H${i + 1}`).join("");
    const rows = Array.from({ length: 27 }, (_, i) => `<path d="M${28 * (i + 1)} 0V${HEIGHT}"/>`).join("");
    const above = row ? `<rect class="above" x="${column}" y="${row - 1}" width="1" height="1"/>` : "";
    const before = row ? `<path class="above" d="M${place - 27.5} 0V${HEIGHT}"/>` : "";
    draw(
      '<div class="digit-and-signal">' +
        '<svg class="digit" data-part="digit" viewBox="0 0 28 28" role="img" aria-label="A handwritten digit, one pixel marked, and the one above it">' +
        `<rect class="row" y="${row}" width="28" height="1"/>${squares(pixels)}` +
        `${above}<rect class="cursor" x="${column}" y="${row}" width="1" height="1"/></svg>` +
        '<div><p class="count">Ink at each of the 784 steps</p>' +
        `<svg class="signal" data-part="signal" viewBox="0 -4 784 108" preserveAspectRatio="none" role="img" aria-label="The same pixels as a line, the same two marked">` +
        `<rect class="row" x="${28 * row}" width="28" height="${HEIGHT}"/><g class="rows">${rows}</g>` +
        `<path class="ink" d="M0 ${HEIGHT}${path}"/>${before}<path class="now" d="M${place + 0.5} -4V104"/></svg>` +
        '<p class="count ends"><span>step 1</span><span>784</span></p></div></div>',
    );
    pixel.value = place + 1;
    const said =
      `Step ${place + 1} of 784: row ${row + 1}, column ${column + 1}, ` +
      `${Math.round(100 * pixels[place])} % ink.` +
      (row ? ` The pixel above it was read 28 steps ago: ${Math.round(100 * pixels[place - 28])} % ink.` : "");
    pixel.setAttribute("aria-valuetext", said);
    tell(said);
    ready();
  }
  show();
});
