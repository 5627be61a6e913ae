// Runs as points between two columns that the reader chooses, coloured by a third.
"use strict";

(() => {
  const table = gmm.read("runs-data");
  const place = document.getElementById("plot-explorer");
  if (table === null || place === null) return;
  const COLOURS = 7;
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "x", "cross", "star"];
  const select = (name) => document.getElementById(`explorer-${name}`);
  const [across, up, colour, log] = ["x", "y", "colour", "log"].map(select);
  // Plotly reads some HTML in text as markup.
  const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

  const points = (rows, x, y, look) => ({
    type: "scatter",
    mode: "markers",
    cliponaxis: false,
    x: rows.map((row) => (x.kind === "number" ? x.values[row] : plain(x.text[row]))),
    y: rows.map((row) => (y.kind === "number" ? y.values[row] : plain(y.text[row]))),
    text: rows.map((row) => plain(table.labels[row])),
    hovertemplate: "%{text}<br>%{x}, %{y}<extra></extra>",
    ...look,
  });

  const draw = () => {
    const [x, y] = [across, up].map((one) => table.columns[Number(one.value)]);
    const by = colour.value === "" ? null : table.columns[Number(colour.value)];
    const rows = Array.from({ length: table.rows }, (_, row) => row)
      .filter((row) => x.text[row] !== "" && y.text[row] !== "");
    const groups = by === null ? [null] : by.choices;
    const data = groups.map((choice, index) => points(
      by === null ? rows : rows.filter((row) => by.text[row] === choice), x, y,
      {
        name: choice === null ? "runs" : plain(`${by.label} = ${choice === "" ? "–" : choice}`),
        marker: { color: by === null ? "--accent" : `--c${index % COLOURS}`, size: 8, opacity: 0.8, symbol: SYMBOLS[index % SYMBOLS.length] },
      },
    ));
    const layout = structuredClone(table.layout);
    layout.xaxis.title = { text: plain(x.label) };
    layout.yaxis.title = { text: plain(y.label) };
    if (x.kind !== "number") layout.xaxis.type = "category";
    if (y.kind !== "number") layout.yaxis.type = "category";
    for (const [axis, column] of [[layout.xaxis, x], [layout.yaxis, y]]) {
      const known = column.kind === "number" ? rows.map((row) => column.values[row]) : [0.5];
      if (known.every(Number.isInteger) && Math.max(...known) - Math.min(...known) <= 12) axis.dtick = 1;
    }
    if (log.checked && y.kind === "number" && rows.every((row) => y.values[row] > 0)) Object.assign(layout.yaxis, { type: "log", dtick: null });
    layout.showlegend = by !== null;
    gmm.draw(place, { data, layout });
  };

  for (const control of [across, up, colour, log]) control.addEventListener("change", draw);
  draw();
})();
