// Plots that follow the page's colours, buttons that copy, and details that open for print.
"use strict";

const gmm = (() => {
  const read = (id) => {
    const element = document.getElementById(id);
    return element === null ? null : JSON.parse(element.textContent);
  };

  // Strings such as "--ink" name a CSS variable of the page.
  const coloured = (value, style) => {
    if (typeof value === "string") return /^--[a-z0-9-]+$/.test(value) ? style.getPropertyValue(value).trim() : value;
    if (Array.isArray(value)) return value.map((item) => coloured(item, style));
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, style)]));
    }
    return value;
  };

  const drawn = new Map();

  const draw = (element, chart) => {
    drawn.set(element, chart);
    const { data, layout } = coloured(chart, getComputedStyle(document.documentElement));
    // On a touch screen a finger over a plot scrolls the page.
    const touch = matchMedia("(pointer: coarse)").matches;
    if (touch) layout.dragmode = false;
    if (element.clientWidth < 480) layout.font.size = 11;
    return Plotly.react(element, data, layout, { responsive: true, displayModeBar: false, scrollZoom: false });
  };

  const redraw = () => drawn.forEach((chart, element) => draw(element, chart));

  const copy = async (button) => {
    const source = document.getElementById(button.dataset.copy);
    let said = "Copied";
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      // A sandboxed frame may not write to the clipboard.
      getSelection().selectAllChildren(source);
      said = "Selected";
    }
    button.textContent = said;
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };

  const openForPrint = () => {
    const closed = [...document.querySelectorAll("details:not([open])")];
    for (const element of closed) element.open = true;
    addEventListener("afterprint", () => { for (const element of closed) element.open = false; }, { once: true });
  };

  const charts = read("charts");
  for (const element of document.querySelectorAll("[data-chart]")) draw(element, charts[element.dataset.chart]);
  for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  matchMedia("print").addEventListener("change", redraw);
  addEventListener("beforeprint", openForPrint);

  return { read, draw };
})();
