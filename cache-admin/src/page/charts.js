// Charts as SVG: lines over time, and states over time. A point without a value is a gap.

const SPAN = 300_000;
const HEIGHT = 150, LEFT = 44, RIGHT = 8, TOP = 8, BOTTOM = 20;

function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value; else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function svg(name, attributes = {}, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Time from left to right, up to `now`: five minutes, or what there is of them, but a minute at least.
// As wide as it is shown, so that text has its size.
function timeline(drawing, height, points, now) {
  const width = Math.max(drawing.clientWidth, 240);
  const span = Math.min(Math.max(now - (points[0]?.time ?? now), 60_000), SPAN);
  const x = (time) => LEFT + (1 - (now - time) / span) * (width - LEFT - RIGHT);
  drawing.replaceChildren();
  drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
  drawing.setAttribute("height", height);
  const step = span > 120_000 ? 60_000 : span > 60_000 ? 30_000 : 15_000;
  for (let ago = 0; ago <= span; ago += step) {
    const words = !ago ? "now" : ago % 60_000 ? `−${ago / 1000} s` : `−${ago / 60_000} min`;
    drawing.append(svg("text", { x: x(now - ago), y: height - 5, "text-anchor": ago ? "middle" : "end" }, words));
  }
  return { x, end: width - RIGHT };
}

// The next of 1, 2, 5, 10, 20 … that is not below `value`.
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

// `series`: [{ name, of(point) }]; `format`: a value in words; `top`: the axis' end, if it is fixed.
function lineChart({ name, series, format, top, least = 1 }) {
  const caption = el("figcaption", {}, el("span", { class: "name" }, name));
  const values = series.map(({ name }, i) => {
    const swatch = svg("svg", { viewBox: "0 0 22 6", width: 22, height: 6, "aria-hidden": "true" });
    swatch.append(svg("line", { x1: 0, x2: 22, y1: 3, y2: 3, class: `swatch s${i + 1}` }));
    const value = el("span");
    caption.append(el("span", { class: "key" }, swatch, `${name} `, value));
    return value;
  });
  const drawing = svg("svg", { role: "img" });
  const figure = el("figure", {}, caption, drawing);
  const draw = (points, now) => {
    const { x, end } = timeline(drawing, HEIGHT, points, now);
    const all = points.flatMap((point) => series.map(({ of }) => of(point))).filter((value) => value !== null);
    const max = top ?? roundUp(Math.max(least, ...all));
    const y = (value) => TOP + (1 - Math.min(value, max) / max) * (HEIGHT - TOP - BOTTOM);
    for (const part of [0, 0.5, 1]) {
      const at = y(max * part);
      drawing.append(svg("line", { x1: LEFT, x2: end, y1: at, y2: at, class: "grid" }));
      drawing.append(svg("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" }, format(max * part)));
    }
    const told = [];
    series.forEach(({ name, of }, i) => {
      let path = "", pen = "M";
      for (const point of points) {
        const value = of(point);
        if (value === null) { pen = "M"; continue; }
        // A lone point is a short dash, so that it can be seen.
        const at = `${x(point.time).toFixed(1)} ${y(value).toFixed(1)}`;
        path += pen === "M" ? `M${at}h.01` : `L${at}`;
        pen = "L";
      }
      drawing.append(svg("path", { d: path, class: `curve s${i + 1}` }));
      const last = points.length ? of(points[points.length - 1]) : null;
      values[i].textContent = last === null ? "–" : format(last);
      told.push(`${name} ${values[i].textContent}`);
    });
    drawing.setAttribute("aria-label", `${name}, over the last minutes. Now: ${told.join(", ")}.`);
  };
  return { figure, draw };
}

// `rows`: [{ name, of(point) → ["up" | "down" | "off", words] }]
function stateChart({ name, rows, wide }) {
  const row = 30, height = TOP + rows.length * row + BOTTOM;
  const drawing = svg("svg", { role: "img" });
  const caption = el("figcaption", {}, el("span", { class: "name" }, name));
  const figure = el("figure", { class: wide ? "wide" : "" }, caption, drawing);
  const draw = (points, now) => {
    const { x, end } = timeline(drawing, height, points, now);
    const told = [];
    rows.forEach(({ name, of }, i) => {
      const y = TOP + i * row;
      let words = "–";
      drawing.append(svg("rect", { x: LEFT, y: y + 14, width: end - LEFT, height: 9, class: "track" }));
      points.forEach((point, k) => {
        const [state, said] = of(point);
        const from = x(point.time), to = k + 1 < points.length ? x(points[k + 1].time) : end;
        drawing.append(svg("rect", { x: from, y: y + 14, width: Math.max(to - from, 1.5), height: 9, class: state }));
        words = said;
      });
      drawing.append(svg("text", { x: LEFT, y: y + 9, class: "state" }, `${name}: ${words}`));
      told.push(`${name} ${words}`);
    });
    drawing.setAttribute("aria-label", `${name}, over the last minutes. Now: ${told.join(", ")}.`);
  };
  return { figure, draw };
}

