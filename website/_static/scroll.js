/* What is wider than its place can be scrolled with the keyboard, too; what is not is no stop on the way. */
"use strict";

(() => {
  const reach = () => {
    for (const box of document.querySelectorAll("pre, div.math, .table-wrapper")) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  addEventListener("load", reach);
  addEventListener("resize", reach);
  addEventListener("toggle", reach, true); // folded answers, opened
})();
