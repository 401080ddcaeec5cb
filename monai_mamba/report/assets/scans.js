"use strict";
// Tables of scans: a click on a heading sorts, a chosen grade hides the other scans. Without it all scans are shown as written.
(() => {
  const number = (text) => parseFloat(text.replaceAll(",", "").replace("\u2212", "-"));
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : (Number.isNaN(a) - Number.isNaN(b)) || a - b);
  for (const table of document.querySelectorAll("table.scans")) {
    for (const heading of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.title = "Sort";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const key = ({cells}) => {
          const cell = cells[heading.cellIndex];
          const text = cell.dataset.order ?? cell.textContent.trim();
          return heading.classList.contains("text") ? text : number(text);
        };
        const direction = heading.ariaSort === "ascending" ? -1 : 1;
        for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
        heading.ariaSort = direction > 0 ? "ascending" : "descending";
        const rows = Array.from(table.tBodies[0].rows, (row) => [key(row), row]);
        rows.sort((a, b) => direction * compare(a[0], b[0]));
        table.tBodies[0].append(...rows.map((item) => item[1]));
      });
    }
  }
  const filter = document.getElementById("grades");
  if (!filter) return;
  filter.parentNode.hidden = false;
  filter.addEventListener("input", () => {
    for (const part of document.querySelectorAll("[data-grade]")) {
      part.hidden = filter.value !== "" && part.dataset.grade !== filter.value;
    }
  });
})();
