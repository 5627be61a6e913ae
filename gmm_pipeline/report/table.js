// The table of runs: sorts by each column, filters by text and by the values of a column, draws rows as they are needed.
"use strict";

(() => {
  const table = gmm.read("runs-data");
  if (table === null) return;
  const ROWS_AT_ONCE = 150;
  const collator = new Intl.Collator("en", { numeric: true });
  const head = document.querySelector("#runs-table thead");
  const body = document.querySelector("#runs-table tbody");
  const frame = document.querySelector(".runs");
  const count = document.getElementById("runs-count");
  const search = document.getElementById("runs-search");
  const every = document.getElementById("runs-every-column");
  const choices = [...document.querySelectorAll("select[data-column]")];
  const columns = table.columns;
  const n = table.rows;
  const texts = Array.from({ length: n }, (_, row) => columns.map((column) => column.text[row]).join("\n").toLowerCase());

  let sorting = { column: table.sorted, ascending: table.ascending };
  let shown = [];
  let drawn = 0;

  const value = (column, row) => (column.kind === "number" ? column.values[row] : column.text[row]);
  const missing = (item) => item === null || item === "";

  // Missing values come last in either direction; equals keep the order of the runs.
  const compare = (first, second) => {
    const column = columns[sorting.column];
    const [a, b] = [value(column, first), value(column, second)];
    if (missing(a) || missing(b)) return missing(a) - missing(b) || first - second;
    const order = column.kind === "number" ? a - b : collator.compare(a, b);
    return (sorting.ascending ? order : -order) || first - second;
  };

  const cell = (column, row) => {
    const element = document.createElement("td");
    if (column.kind === "number") element.className = "number";
    if (column.name === "status") element.className = column.text[row];
    if (column.name === "run" && table.links[row]) {
      const link = document.createElement("a");
      link.href = table.links[row];
      link.textContent = column.text[row];
      element.append(link);
    } else {
      element.textContent = column.text[row];
      if (column.text[row].length > 24) element.title = column.text[row];
    }
    return element;
  };

  const visible = () => columns.map((_, index) => index).filter((index) => every.checked || columns[index].differs);

  const more = () => {
    const rows = document.createDocumentFragment();
    const indices = visible();
    for (const row of shown.slice(drawn, drawn + ROWS_AT_ONCE)) {
      const line = document.createElement("tr");
      if (row === table.best) line.className = "best";
      for (const index of indices) line.append(cell(columns[index], row));
      rows.append(line);
    }
    body.append(rows);
    drawn = Math.min(drawn + ROWS_AT_ONCE, shown.length);
  };

  const drawHead = () => {
    const line = document.createElement("tr");
    for (const index of visible()) {
      const header = document.createElement("th");
      header.scope = "col";
      if (columns[index].kind === "number") header.className = "number";
      if (index === sorting.column) header.setAttribute("aria-sort", sorting.ascending ? "ascending" : "descending");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = columns[index].label;
      button.addEventListener("click", () => {
        sorting = { column: index, ascending: index === sorting.column ? !sorting.ascending : true };
        update();
        head.querySelectorAll("button")[visible().indexOf(index)].focus();
      });
      header.append(button);
      line.append(header);
    }
    head.replaceChildren(line);
  };

  const update = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = choices.filter((select) => select.value !== "").map((select) => {
      const column = columns[Number(select.dataset.column)];
      return (row) => column.text[row] === column.choices[Number(select.value)];
    });
    shown = Array.from({ length: n }, (_, row) => row)
      .filter((row) => words.every((word) => texts[row].includes(word)) && wanted.every((keeps) => keeps(row)))
      .sort(compare);
    drawHead();
    body.replaceChildren();
    drawn = 0;
    more();
    frame.scrollTop = 0;
    count.textContent = shown.length === n ? `${n.toLocaleString("en")} runs` : `${shown.length.toLocaleString("en")} of ${n.toLocaleString("en")} runs`;
  };

  search.addEventListener("input", update);
  every.addEventListener("change", update);
  for (const select of choices) select.addEventListener("change", update);
  frame.addEventListener("scroll", () => {
    if (drawn < shown.length && frame.scrollTop + frame.clientHeight > frame.scrollHeight - 400) more();
  });
  addEventListener("beforeprint", () => { while (drawn < shown.length) more(); });
  update();
})();
