/* A square to draw a digit in, with a mouse, a pen, a finger or the keyboard: strokes come out, lists of points [x, y].
   The arrow keys move a pen, the space bar puts it down and lifts it, Enter is for what the page does with a drawing, and
   Delete clears. */
"use strict";

/* `side` is the square's, in the unit of the points. The page is told of what happens: `begin` before a stroke, `change`
   whenever there is something to paint, `lift` after a stroke, `enter` and `clear` for the keys. */
function pad(square, side, { begin, change, lift, enter, clear }) {
  const STEP = side / 28; // of an arrow key
  const ARROWS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
  const inside = (place) => Math.min(Math.max(place, STEP), side - STEP);
  const sheet = {
    strokes: [],
    cursor: { x: side / 2, y: side / 2, down: false, shown: false }, // the keyboard's pen
    clear() {
      sheet.strokes = [];
      sheet.cursor.down = false;
    },
  };
  const { cursor } = sheet;

  function point(event) {
    const box = square.getBoundingClientRect();
    return [((event.clientX - box.left) * side) / box.width, ((event.clientY - box.top) * side) / box.height];
  }

  square.addEventListener("pointerdown", (event) => {
    begin();
    square.setPointerCapture(event.pointerId);
    cursor.shown = false;
    sheet.strokes.push([point(event)]);
    change();
  });
  square.addEventListener("pointermove", (event) => {
    if (!square.hasPointerCapture(event.pointerId) || !sheet.strokes.length) return;
    sheet.strokes.at(-1).push(point(event));
    change();
  });
  square.addEventListener("pointerup", lift);
  square.addEventListener("pointercancel", lift);

  square.addEventListener("keydown", (event) => {
    const key = event.key;
    if (ARROWS[key]) {
      [cursor.x, cursor.y] = [inside(cursor.x + ARROWS[key][0]), inside(cursor.y + ARROWS[key][1])];
      if (cursor.down) sheet.strokes.at(-1).push([cursor.x, cursor.y]);
    } else if (key === " ") {
      if (!cursor.down) begin();
      cursor.down = !cursor.down;
      if (cursor.down) sheet.strokes.push([[cursor.x, cursor.y]]);
    } else if (key === "Enter") {
      cursor.down = false;
      enter();
    } else if (key === "Delete" || key === "Backspace") {
      clear();
    } else return;
    event.preventDefault();
    cursor.shown = true;
    change();
  });
  square.addEventListener("blur", () => {
    cursor.shown = false;
    change();
  });
  return sheet;
}
