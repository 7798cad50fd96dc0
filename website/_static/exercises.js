/* A box to tick for each exercise of the list, and how many are. The browser keeps the ticks. */
"use strict";

(() => {
  const KEY = "exercises done";
  const read = () => {
    try {
      return new Set(JSON.parse(localStorage.getItem(KEY)) ?? []);
    } catch {
      return new Set(); // nothing is kept, or what is kept is not ours
    }
  };
  const keep = (done) => {
    try {
      localStorage.setItem(KEY, JSON.stringify([...done]));
    } catch {
      told.textContent += " (This browser keeps nothing.)";
    }
  };

  const links = document.querySelectorAll(".exercises li a");
  const told = document.createElement("p");
  told.setAttribute("role", "status");
  document.querySelector(".exercises").before(told);
  const tell = () => (told.textContent = `${[...links].filter((link) => done.has(link.id)).length} of ${links.length} done`);

  const done = read();
  for (const link of links) {
    link.id = link.getAttribute("href");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = done.has(link.id);
    box.setAttribute("aria-label", `done: ${link.textContent}`);
    box.addEventListener("change", () => {
      if (box.checked) done.add(link.id);
      else done.delete(link.id);
      tell();
      keep(done);
    });
    link.before(box, " ");
  }
  tell();
})();
