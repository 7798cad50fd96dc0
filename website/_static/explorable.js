/* What every explorable needs. One is a function of its name and of what it gets: `draw` puts markup into its picture,
   `tell` a sentence below it, and `slider`, `choice` and `button` add controls. Without scripts the picture that was
   put there when the pages were built (see stills.py) stays. */
"use strict";

const calm = matchMedia("(prefers-reduced-motion: reduce)");

function explorable(name, begin) {
  for (const root of document.querySelectorAll(`.explorable[data-name="${name}"]`)) {
    const [picture, told] = [".picture", ".told"].map((part) => root.querySelector(part));
    const controls = document.createElement("div");
    controls.className = "controls";
    picture.after(controls);
    told.setAttribute("role", "status");

    const labeled = (text, control) => {
      const label = document.createElement("label");
      label.append(`${text} `, control);
      controls.append(label);
      return control;
    };
    begin({
      picture,
      controls,
      draw: (markup) => (picture.innerHTML = markup),
      tell: (text) => told.textContent !== text && (told.textContent = text),
      slider(text, { min, max, step = 1, value }, changed) {
        const control = document.createElement("input");
        Object.assign(control, { type: "range", min, max, step, value });
        control.addEventListener("input", () => changed(Number(control.value)));
        labeled(text, control).parentElement.className = "long";
        return control;
      },
      choice(text, options, changed) {
        const control = document.createElement("select");
        control.className = "button";
        for (const [value, shown] of options) control.append(new Option(shown, value));
        control.addEventListener("change", () => changed(control.value));
        return labeled(text, control);
      },
      button(text, pressed) {
        const control = document.createElement("button");
        Object.assign(control, { type: "button", className: "button", textContent: text });
        control.addEventListener("click", pressed);
        controls.append(control);
        return control;
      },
      help(text) {
        const line = document.createElement("p");
        line.className = "help";
        line.textContent = text;
        picture.before(line);
        return line;
      },
      ready: () => (root.dataset.ready = ""),
    });
  }
}

/* A script of this folder, loaded once: a page that was opened from the disk can fetch in no other way. */
const FOLDER = document.currentScript.src.replace(/[^/]*$/, "");
const loading = {};

function load(file) {
  loading[file] ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = FOLDER + file;
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${file} could not be loaded.`));
    document.head.append(script);
  });
  return loading[file];
}

/* Test digit number `which`: 784 numbers, 0 (paper) to 1 (ink). */
function testDigit(which) {
  const bytes = atob(window.DIGITS.pixels.slice(which * PER_DIGIT, (which + 1) * PER_DIGIT));
  return Float64Array.from({ length: 784 }, (_, i) => bytes.charCodeAt(i) / 255);
}
const PER_DIGIT = 1048; // characters: each digit is encoded on its own, 784 bytes and padding

/* A digit as the squares of an SVG of 28 x 28; `look(place)` gives further attributes of a pixel. */
function squares(pixels, look = () => "") {
  return Array.from(pixels, (ink, i) =>
    ink > 0
      ? `<rect x="${i % 28}" y="${Math.floor(i / 28)}" width="1" height="1" fill-opacity="${ink.toFixed(2)}"${look(i)}/>`
      : "",
  ).join("");
}

/* 784 numbers, 0 to 1, as squares of an SVG of 28 x 28, one path for each of 32 shades: for pictures that move. */
function shades(values) {
  const paths = new Array(33).fill("");
  values.forEach((value, i) => {
    paths[Math.round(32 * Math.min(value, 1))] += `M${i % 28} ${Math.floor(i / 28)}h1v1h-1z`;
  });
  return paths.map((path, shade) => (shade && path ? `<path d="${path}" fill-opacity="${shade / 32}"/>` : "")).join("");
}
