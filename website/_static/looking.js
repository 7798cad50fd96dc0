/* Page 7: point at a pixel, and see which earlier ones a layer of the published classifier looks back at from there,
   which later ones look back at it, and how long the state holds what was written. */
"use strict";

explorable("looking", ({ picture, draw, tell, slider, choice, help, ready }) => {
  const REACH = 6 * 28; // positions that the chart shows to each side
  const HEIGHT = 100; // of the chart
  const SLICE = 12; // milliseconds of computing at a time
  const SHADES = 40;

  let model = null;
  let inside = null; // the digit, once it was read
  let place = 28 * 14 + 14; // of the marked pixel
  let turn = 0; // counts the digits: what still reads an older one stops

  help("Point at a pixel, or move it with the arrow keys.");
  const digits = choice("Test digit", Array.from({ length: 10 }, (_, digit) => [digit, digit]), read);
  const layers = choice("Layer", [], show);
  const pixel = slider("Pixel", { min: 1, max: 784, value: place + 1 }, (step) => mark(step - 1));
  digits.value = 2;

  // Right and left go along the sequence; up and down go to the same column of another row.
  pixel.addEventListener("keydown", (event) => {
    const rows = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!rows) return;
    event.preventDefault();
    mark(place + 28 * rows);
  });

  async function read() {
    const mine = ++turn;
    try {
      await Promise.all([load("weights.js"), load("digits.js")]);
    } catch (error) {
      tell(error.message);
      return;
    }
    if (!model) {
      model = new PixelClassifier(window.SMNIST);
      model.blocks.forEach((_, i) => layers.append(new Option(i + 1, i)));
    }
    if (mine !== turn) return;
    const reading = new Inside(model, testDigit(window.DIGITS.labels.indexOf(Number(digits.value))));
    while (reading.length < 784) {
      const end = performance.now() + SLICE;
      while (reading.length < 784 && performance.now() < end) reading.read();
      await new Promise((resolve) => setTimeout(resolve));
      if (mine !== turn) return;
    }
    inside = reading;
    frame();
    show();
    ready();
  }

  function mark(where) {
    if (where < 0 || where > 783 || where === place) return;
    place = where;
    show();
  }

  function follow(event) {
    const digit = event.target.closest(".digit");
    if (!digit) return;
    const box = digit.getBoundingClientRect();
    const at = (share) => Math.min(Math.max(Math.floor(share * 28), 0), 27);
    mark(28 * at((event.clientY - box.top) / box.height) + at((event.clientX - box.left) / box.width));
  }
  picture.addEventListener("pointermove", follow);
  picture.addEventListener("pointerdown", follow);
  picture.addEventListener("click", (event) => event.target.closest(".digit") && pixel.focus({ preventScroll: true }));

  /* What stays as long as the digit does: a finger that moves over the picture keeps it. */
  function frame() {
    const rows = Array.from({ length: (2 * REACH) / 28 + 1 }, (_, i) => `<path d="M${28 * i - REACH} 0V${HEIGHT}"/>`);
    draw(
      '<div class="halves looking"><svg class="digit" viewBox="0 0 28 28" role="img" aria-label="A handwritten digit, one pixel marked. In one color the earlier pixels that it looks back at, in another the later ones that look back at it">' +
        `<g class="back"></g><g class="later"></g><g class="ink">${squares(inside.pixels)}</g><rect class="mark" width="1" height="1"/></svg>` +
        '<div><p class="count tallest"></p>' +
        `<svg class="chart" viewBox="${-REACH} 0 ${2 * REACH + 1} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="The same shares as bars, by their distance from the marked pixel, and what the state still holds as a falling line">` +
        `<g class="rows">${rows.join("")}</g><path class="back"/><path class="later"/><path class="held"/></svg>` +
        '<p class="count ends"><span>6 rows before</span><span>this pixel</span><span>6 rows after</span></p>' +
        '<ul class="count key"><li><i class="back"></i> what it looks back at</li><li><i class="later"></i> what looks back at it</li>' +
        '<li><i class="held"></i> how many of the state’s numbers still hold half of what it wrote (top: all)</li></ul></div></div>',
    );
  }

  const part = (name) => picture.querySelector(`.looking ${name}`);

  /* Squares on the digit, one path for each shade: the root of each share, so that small ones can be seen. */
  function cover(looks) {
    const most = Math.max(...looks);
    const paths = new Array(SHADES + 1).fill("");
    looks.forEach((share, i) => {
      paths[most ? Math.round(SHADES * Math.sqrt(share / most)) : 0] += `M${i % 28} ${Math.floor(i / 28)}h1v1h-1z`;
    });
    return paths.map((path, shade) => shade && path && `<path d="${path}" fill-opacity="${shade / SHADES}"/>`).join("");
  }

  /* A step for each pixel of the chart, `most` as high as the chart. */
  function steps(values, from, to, most) {
    let path = "";
    for (let s = from; s < to; s++) {
      path += `V${(HEIGHT * (1 - (most ? values[s] / most : 0))).toFixed(1)}H${s + 1 - place}`;
    }
    return path;
  }

  function show() {
    if (!inside) return;
    const layer = Number(layers.value);
    const back = inside.back(layer, place);
    const { looks, held } = inside.ahead(layer, place);
    const [row, column] = [Math.floor(place / 28), place % 28];
    part("g.back").innerHTML = cover(back);
    part("g.later").innerHTML = cover(looks);
    part(".mark").setAttribute("x", column);
    part(".mark").setAttribute("y", row);
    const [from, to] = [Math.max(place - REACH, 0), Math.min(place + REACH + 1, 784)];
    const [most, mostLater] = [Math.max(...back), Math.max(...looks)];
    part("path.back").setAttribute("d", `M${from - place} ${HEIGHT}${steps(back, from, place + 1, most)}V${HEIGHT}`);
    part("path.later").setAttribute("d", `M1 ${HEIGHT}${steps(looks, place + 1, to, mostLater)}V${HEIGHT}`);
    part("path.held").setAttribute("d", `M0 0${steps(held, place, to, 1)}`);
    part(".tallest").textContent = `Shares by distance; tallest bars ${percent(most)} and ${percent(mostLater)}`;
    pixel.value = place + 1;
    const said = words(layer, row, column, back, held);
    pixel.setAttribute("aria-valuetext", said);
    tell(said);
  }

  const percent = (share) => `${Math.round(100 * share)} %`;

  function words(layer, row, column, back, held) {
    let [near, sum] = [0, back[place]]; // how far back half of it lies
    while (sum < 0.5 && near < place) sum += back[place - ++near];
    const above = back.subarray(28 * (row - 1), 28 * row).reduce((total, share) => total + share, 0);
    const life = held.findIndex((share, i) => i > place && share <= 0.5) - place;
    const numbers = (model.sizes.d_inner * model.sizes.d_state).toLocaleString("en-US");
    return (
      `Pixel ${place + 1} of 784 (row ${row + 1}, column ${column + 1}), layer ${layer + 1}: half of its look back ` +
      (near ? `lies within ${near} ${near === 1 ? "pixel" : "pixels"}` : "is at itself") +
      (row ? `, ${percent(above)} in the row above. ` : ". ") +
      "The state holds what it writes here " +
      (life > 0
        ? `for ${life} ${life === 1 ? "pixel" : "pixels"} (median half-life of its ${numbers} numbers).`
        : "to the end of the digit.")
    );
  }

  // The model is fetched when the picture comes near.
  new IntersectionObserver((seen, watch) => {
    if (!seen.some((one) => one.isIntersecting)) return;
    watch.disconnect();
    read();
  }, { rootMargin: "400px" }).observe(picture);
});
