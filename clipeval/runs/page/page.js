// Tables sort by a column when its heading is pressed, by keyboard too; folded parts are printed.
const number = (text) => Number(text.replace(/,/g, "").replace("\u2212", "-").replace(/%$/, ""));
const empty = (text) => text === "" || text === "\u2013" || text === "NaN";

const value = (row, column) => {
  const cell = row.cells[column];
  return cell ? (cell.dataset.value ?? cell.textContent).trim() : "";
};

const sorted = (all, column, down) => {
  const rows = all.map((row) => [value(row, column), row]);
  const numeric = rows.every(([text]) => empty(text) || !Number.isNaN(number(text)));
  rows.sort(([a], [b]) => {
    if (empty(a) || empty(b)) return empty(a) - empty(b); // what is missing stays last
    // bins of ages by their numbers: 3-9 before 20-29
    const order = numeric ? number(a) - number(b) : a.localeCompare(b, "en", { numeric: true });
    return order * (down ? -1 : 1);
  });
  return rows.map(([, row]) => row);
};

document.querySelectorAll("table").forEach((table) => {
  const heads = table.tHead ? [...table.tHead.rows[table.tHead.rows.length - 1].cells] : [];
  const body = table.tBodies[0];
  if (!body || body.rows.length < 2) return;
  const given = [...body.rows];
  heads.forEach((head, column) => {
    if (!head.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      // up, then down, then as the table was
      const next = { null: "ascending", ascending: "descending" }[head.getAttribute("aria-sort")];
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (next) head.setAttribute("aria-sort", next);
      body.append(...(next ? sorted(given, column, next === "descending") : given));
    });
  });
});

if (matchMedia("(max-width: 40rem)").matches)
  document.querySelectorAll("details.few").forEach((part) => (part.open = false));

const folded = () => document.querySelectorAll("details.more:not([open])");
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...folded()];
  opened.forEach((part) => (part.open = true));
});
addEventListener("afterprint", () => opened.forEach((part) => (part.open = false)));
