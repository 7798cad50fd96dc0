/* From strokes of a pen to a picture as MNIST has them: 28 x 28, the digit in a box of 20 x 20, its centre of mass in
   the middle. The strokes are drawn anew at that size, with a pen as wide as MNIST's, however large they were. */
"use strict";

const SIDE = 28;
const BOX = 20;
const PEN = 1.3; // half of the pen's width, in pixels of the picture
const EDGE = 0.6; // beyond it ink fades over twice this distance

/* strokes: lists of points [x, y] in any unit. Returns 784 numbers, 0 (paper) to 1 (ink). */
function picture(strokes) {
  const points = strokes.flat();
  const [xs, ys] = [points.map((point) => point[0]), points.map((point) => point[1])];
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  const extent = Math.max(Math.max(...xs) - left, Math.max(...ys) - top);
  const scale = (BOX - 2 * PEN) / Math.max(extent, 1e-6);
  const scaled = strokes.map((stroke) => stroke.map(([x, y]) => [(x - left) * scale + 4, (y - top) * scale + 4]));
  const [across, down] = centre(ink(scaled));
  return ink(scaled.map((stroke) => stroke.map(([x, y]) => [x + SIDE / 2 - across, y + SIDE / 2 - down])));
}

/* The centre of mass of a picture, [across, down], in pixels. */
function centre(pixels) {
  let [mass, across, down] = [0, 0, 0];
  pixels.forEach((value, i) => {
    mass += value;
    across += value * (i % SIDE);
    down += value * Math.floor(i / SIDE);
  });
  return [across / mass, down / mass];
}

function ink(strokes) {
  const pixels = new Float64Array(SIDE * SIDE);
  for (const stroke of strokes) {
    stroke.forEach((end, i) => {
      const start = stroke[Math.max(i - 1, 0)];
      const reach = PEN + EDGE;
      const [x0, x1] = range(start[0], end[0], reach);
      const [y0, y1] = range(start[1], end[1], reach);
      for (let y = y0; y <= y1; y++) {
        for (let x = x0; x <= x1; x++) {
          const value = (reach - distance(x, y, start, end)) / (2 * EDGE);
          const at = y * SIDE + x;
          pixels[at] = Math.max(pixels[at], Math.min(value, 1));
        }
      }
    });
  }
  return pixels;
}

function range(a, b, reach) {
  return [Math.max(Math.ceil(Math.min(a, b) - reach), 0), Math.min(Math.floor(Math.max(a, b) + reach), SIDE - 1)];
}

/* From a point to the piece of a line between two others. */
function distance(x, y, [x0, y0], [x1, y1]) {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const length = dx * dx + dy * dy;
  const along = length ? Math.min(Math.max(((x - x0) * dx + (y - y0) * dy) / length, 0), 1) : 0;
  return Math.hypot(x - x0 - along * dx, y - y0 - along * dy);
}
