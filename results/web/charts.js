// Draws the pictures of a report from its data. Every function takes an empty element,
// one entry of the data and a context, and returns a way to end it, what it was given to
// draw, and, of lines, where the ticks of the axes stand.
//
// The context has: arms, an array of {label}; hidden, a Set of indices of arms; limits,
// thresholds on response times; and theme, from charts.theme().
"use strict";
const charts = (() => {
  // Colours of Okabe and Ito, darkened or lightened until lines stand out from either
  // background; the dash tells arms apart where colours cannot.
  const light = ["#0063a8", "#c44f00", "#00805e", "#a8457f", "#5d6b00", "#6a4fb3", "#8a5a00", "#3f6f80"];
  const dark = ["#56b4e9", "#ff9f50", "#2fd3a2", "#f09ac8", "#cfd35a", "#b9a5ff", "#e8b94a", "#9cc9d8"];
  const dashes = [[], [9, 5], [2, 4], [12, 4, 2, 4], [6, 3], [2, 2, 8, 2], [14, 6], [4, 8]];
  const viridis = {
    light: ["#e8f1f6", "#a9cfe0", "#5aa3c4", "#2a6f9e", "#1b3f73", "#0b1a3c"],
    dark: ["#12303f", "#1d5470", "#2b81a3", "#4fb3c8", "#a5dccb", "#fdf6c4"],
  };
  const decades = (lo, hi) => {
    const out = [];
    for (let e = Math.floor(Math.log10(lo)); e <= Math.ceil(Math.log10(hi)); e++) out.push(e);
    return out;
  };

  function theme() {
    const isDark = !printing && matchMedia("(prefers-color-scheme: dark)").matches;
    const css = getComputedStyle(document.documentElement);
    const v = (name) => css.getPropertyValue(name).trim();
    return {
      dark: isDark, ink: printing ? "#1a1d21" : v("--ink"), muted: printing ? "#565d66" : v("--muted"),
      grid: printing ? "#dfe3e8" : v("--grid"), paper: printing ? "#ffffff" : v("--card"),
      colors: isDark ? dark : light, ramp: isDark ? viridis.dark : viridis.light,
      font: css.fontFamily, size: Math.max(11, Math.round(parseFloat(css.fontSize) * 0.78)), text: parseFloat(css.fontSize) * 0.82,
    };
  }
  let printing = false;
  const setPrinting = (on) => { printing = on; };

  const color = (theme, i) => theme.colors[i % theme.colors.length];
  // From the ninth arm on colours come again, each with another dash and marker than before.
  const turn = (i) => (i + 3 * Math.floor(i / light.length)) % dashes.length;
  const dash = (i) => dashes[turn(i)];
  // Markers, as corners around a centre; none is a circle.
  const around = (n, radius) => Array.from({ length: n }, (_, k) => [k, 2 * Math.PI * k / n - Math.PI / 2]).map(([k, a]) => [radius(k) * Math.cos(a), radius(k) * Math.sin(a)]);
  const markers = [
    null, [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]], around(3, () => 1.35), around(4, () => 1.3),
    around(3, () => 1.35).map(([x, y]) => [x, -y]), around(10, (k) => (k % 2 ? 0.6 : 1.45)),
    [[-0.4, -1.2], [0.4, -1.2], [0.4, -0.4], [1.2, -0.4], [1.2, 0.4], [0.4, 0.4], [0.4, 1.2], [-0.4, 1.2], [-0.4, 0.4], [-1.2, 0.4], [-1.2, -0.4], [-0.4, -0.4]],
    around(8, (k) => (k % 2 ? 0.55 : 1.5)),
  ];
  const marker = (i) => markers[turn(i)];
  // paint draws points over a chart, each with the marker of its arm: {arm, x, y, open}.
  function paint(u, points, ctx) {
    const c = u.ctx, r = devicePixelRatio * ctx.theme.size * 0.34;
    c.save();
    c.lineWidth = 2 * devicePixelRatio; c.lineJoin = "round";
    for (const p of points) {
      const x = u.valToPos(p.x, "x", true), y = u.valToPos(p.y, "y", true), corners = marker(p.arm);
      c.strokeStyle = color(ctx.theme, p.arm);
      c.fillStyle = p.open ? ctx.theme.paper : c.strokeStyle;
      c.beginPath();
      if (corners) { corners.forEach(([dx, dy], k) => c[k ? "lineTo" : "moveTo"](x + r * dx, y + r * dy)); c.closePath(); } else c.arc(x, y, r, 0, 2 * Math.PI);
      c.fill(); c.stroke();
    }
    c.restore();
  }
  const alpha = (hex, a) => hex + Math.round(a * 255).toString(16).padStart(2, "0");

  // Numbers as the rest of the report writes them: three digits, no exponent.
  function significant(v) {
    if (!v || !isFinite(v)) return String(v);
    const decimals = 2 - Math.floor(Math.log10(Math.abs(v)));
    return decimals <= 0 ? v.toFixed(0) : String(parseFloat(v.toFixed(Math.min(decimals, 12))));
  }
  function scaled(v, units) {
    const a = Math.abs(v);
    let i = 0;
    while (i < units.length - 1 && a >= units[i + 1][1] * 0.9995) i++;
    return significant(v / units[i][1]) + " " + units[i][0];
  }
  const seconds = (v) => (v == null ? "n/a" : v === 0 ? "0 s" : scaled(v, [["ns", 1e-9], ["µs", 1e-6], ["ms", 1e-3], ["s", 1]]));
  const bytes = (v) => (v == null ? "n/a" : Math.abs(v) < 1024 ? significant(v) + " B"
    : scaled(v, [["KiB", 1024], ["MiB", 1048576], ["GiB", 1073741824], ["TiB", 1099511627776]]));
  const count = (v) => (v == null ? "n/a" : Number.isInteger(v) ? String(v).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f") : significant(v));
  const unitFormat = (unit) => ({ s: seconds, B: bytes })[unit] || count;
  const percentile = (nines) => {
    const digits = Math.max(0, Math.ceil(nines - 1e-9) - 2);
    return "p" + String(parseFloat((100 * (1 - Math.pow(10, -nines))).toFixed(Math.max(digits, nines < 2 ? 0 : digits) + (Number.isInteger(nines) ? 0 : 1))));
  };

  const svgNS = "http://www.w3.org/2000/svg";
  function svg(name, attributes, ...children) {
    const e = document.createElementNS(svgNS, name);
    for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
    for (const c of children) e.append(c);
    return e;
  }
  function html(name, attributes, ...children) {
    const e = document.createElement(name);
    for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
    for (const c of children) if (c != null) e.append(c);
    return e;
  }

  // swatch is the line by which an arm is known, with its marker; or as much of that as the
  // picture shows: "line" has no marker, "colour" no dashes either.
  function swatch(theme, i, only) {
    const s = svg("svg", { width: 34, height: 14, viewBox: "0 0 34 14", "aria-hidden": "true", class: "swatch" });
    const line = svg("line", { x1: 0, y1: 7, x2: 34, y2: 7, stroke: color(theme, i), "stroke-width": 3 });
    s.append(line);
    if (only === "colour") return s;
    line.setAttribute("stroke-dasharray", dash(i).map((d) => d * 0.8).join(" "));
    if (only === "line") return s;
    s.append(marker(i) ? svg("polygon", { points: marker(i).map(([x, y]) => `${(17 + 4.4 * x).toFixed(1)},${(7 + 4.4 * y).toFixed(1)}`).join(" "), fill: color(theme, i) })
      : svg("circle", { cx: 17, cy: 7, r: 4.6, fill: color(theme, i) }));
    return s;
  }

  // keepFocus lets a part of the page be made anew, and gives the focus to what stands in
  // the place of what had it.
  function keepFocus(within, change) {
    const all = () => [...within.querySelectorAll("a[href],button,input,select,summary,[tabindex]")];
    const had = all().indexOf(document.activeElement);
    change();
    if (had >= 0 && !within.contains(document.activeElement)) all()[had]?.focus({ preventScroll: true });
  }

  // Ticks of a logarithmic axis: 1, 2, 5 in each decade if there is room, else powers
  // of ten.
  function logTicks(min, max, room) {
    const powers = decades(min, max);
    for (const set of [[1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]) {
      const out = [];
      for (const e of powers) for (const m of set) {
        const v = Number(m + "e" + e);
        if (v >= min * 0.999 && v <= max * 1.001) out.push(v);
      }
      if (out.length <= room || set.length === 1) {
        const step = Math.max(1, Math.ceil(out.length / room));
        return set.length === 1 ? out.filter((_, i) => i % step === 0) : out;
      }
    }
    return [];
  }
  function linearTicks(min, max, room) {
    const raw = (max - min) / Math.max(1, room);
    if (!(raw > 0)) return [min];
    const p = Math.pow(10, Math.floor(Math.log10(raw)));
    const step = [1, 2, 5, 10].map((m) => m * p).find((s) => s >= raw * 0.999);
    const out = [];
    for (let k = Math.ceil(min / step - 1e-9); k * step <= max * (1 + 1e-12) + 1e-12; k++) out.push(parseFloat((k * step).toPrecision(12)));
    return out;
  }
  // Ticks of sizes: steps of powers of two.
  function byteTicks(min, max, room) {
    const raw = (max - min) / Math.max(1, room);
    if (!(raw > 0)) return [min];
    const step = Math.pow(2, Math.ceil(Math.log2(raw) - 1e-9));
    const out = [];
    for (let k = Math.ceil(min / step); k * step <= max; k++) out.push(k * step);
    return out;
  }
  // Ticks of sizes on a logarithmic axis: powers of two.
  function byteDoublings(min, max, room) {
    const first = Math.ceil(Math.log2(min) - 1e-9), last = Math.floor(Math.log2(max) + 1e-9);
    const step = Math.max(1, Math.ceil((last - first + 1) / room));
    const out = [];
    for (let e = first; e <= last; e += step) out.push(Math.pow(2, e));
    return out.length > 1 ? out : logTicks(min, max, room);
  }
  const extent = (values) => {
    let lo = Infinity, hi = -Infinity;
    for (const v of values) if (v != null && isFinite(v)) { if (v < lo) lo = v; if (v > hi) hi = v; }
    return [lo, hi];
  };
  const logRange = (lo, hi) => (lo === hi ? [lo / 2, hi * 2] : [lo / 1.18, hi * 1.18]);

  // lines draws a chart of uPlot that follows the width of its element. o has: label, x
  // and y ({label, format, range, log, ticks}), data, series, bands, hooks, height.
  function lines(el, o, ctx) {
    const t = ctx.theme;
    const font = `${t.size}px ${t.font}`;
    const chart = { data: o.data, destroy: null };
    const readout = html("output", { class: "readout", "aria-live": "polite" });
    const holder = html("div", { class: "plot", tabindex: "0", role: "figure", "aria-label": o.label + ". Arrow keys read the figures." });
    el.append(holder, readout);
    const axis = (a, side) => ({
      scale: side ? "y" : "x", side: side ? 3 : 2, stroke: t.muted, font, labelFont: font, label: a.label, labelSize: a.label ? t.size * 1.5 : 0, gap: 6,
      size: side ? o.axis || ((u, values) => {
        const c = document.createElement("canvas").getContext("2d");
        c.font = font;
        return 18 + Math.max(20, ...(values || []).map((v) => c.measureText(v).width));
      }) : t.size * 2.4,
      grid: { stroke: t.grid, width: 1 }, ticks: { stroke: t.grid, width: 1, size: 5 },
      splits: (u, i, min, max) => {
        const px = (side ? u.bbox.height : u.bbox.width) / devicePixelRatio;
        const room = Math.max(2, Math.floor(px / (side ? t.size * 2.1 : t.size * (a.wide || 6.5))));
        if (a.ticks) return a.ticks(min, max, room);
        return a.log ? logTicks(min, max, room) : linearTicks(min, max, room);
      },
      filter: (u, splits) => splits, // there are as many as there is room for
      values: (u, splits) => splits.map((v) => (v == null ? "" : a.format(v))),
    });
    const height = () => Math.round(o.height ? o.height : Math.min(t.size * 38, Math.max(230, holder.clientWidth * 0.52)));
    const opts = {
      width: Math.max(200, holder.clientWidth), height: height(), pxAlign: 0,
      padding: [10, Math.round(t.size * 1.6), 0, 0], legend: { show: false }, focus: { alpha: 0.25 },
      cursor: { x: true, y: false, drag: { x: false, y: false, setScale: false }, points: { size: 7 }, ...(o.cursor || {}) },
      scales: {
        x: { time: false, distr: o.x.log ? 3 : 1, range: () => o.x.range },
        y: { distr: o.y.log ? 3 : 1, range: () => o.y.range },
      },
      axes: [axis(o.x, false), axis(o.y, true)],
      series: [{ label: o.x.label }, ...o.series], bands: o.bands || [],
      hooks: {
        ...(o.hooks || {}),
        setCursor: [(u) => {
          const i = u.cursor.idx;
          if (i == null) { readout.textContent = ""; return; }
          const text = o.read ? o.read(u, i) : [o.x.format(u.data[0][i]), ...u.series.slice(1)
            .map((s, k) => (s.quiet || u.data[k + 1][i] == null ? null : `${s.label} ${o.y.format(u.data[k + 1][i])}`)).filter(Boolean)].join("  ·  ");
          if (text !== readout.textContent) readout.textContent = text; // what is said twice is read out twice
        }],
      },
    };
    const u = new uPlot(opts, o.data, holder);
    chart.uplot = u;
    const point = (i) => u.setCursor({ left: u.valToPos(o.data[0][i], "x"), top: u.bbox.height / devicePixelRatio / 2 });
    holder.addEventListener("keydown", (e) => {
      const n = o.data[0].length;
      let i = u.cursor.idx;
      if (e.key === "ArrowRight") i = i == null ? 0 : Math.min(n - 1, i + 1);
      else if (e.key === "ArrowLeft") i = i == null ? n - 1 : Math.max(0, i - 1);
      else if (e.key === "Home") i = 0;
      else if (e.key === "End") i = n - 1;
      else if (e.key === "Escape") { u.setCursor({ left: -10, top: -10 }); return; }
      else return;
      e.preventDefault();
      point(i);
    });
    // Ticks by their value and their place on the canvas, in pixels of the page.
    chart.ticks = () => [["x", u.bbox.left], ["y", u.bbox.top]].map(([scale, start], i) => u.axes[i]._splits
      .map((v) => ({ value: v, at: start / devicePixelRatio + u.valToPos(v, scale) })));
    // Other figures for the same series: whoever reads one with the keyboard stays at it.
    chart.update = (other) => {
      const read = document.activeElement === holder && u.cursor.idx != null ? o.data[0][u.cursor.idx] : null;
      o = other;
      chart.data = o.data;
      u.batch(() => u.setData(o.data));
      if (read == null) return;
      const i = o.data[0].indexOf(read);
      if (i < 0) u.setCursor({ left: -10, top: -10 }); else point(i);
    };
    const resize = new ResizeObserver(() => {
      const w = holder.clientWidth;
      if (w > 0 && Math.abs(w - u.width) >= 1) u.setSize({ width: w, height: height() });
    });
    resize.observe(holder);
    chart.destroy = () => { resize.disconnect(); u.destroy(); el.replaceChildren(); };
    return chart;
  }

  // horizontal draws limits across a chart whose y axis is time.
  const horizontal = (limits, ctx) => ({
    drawClear: [],
    draw: [(u) => {
      const c = u.ctx, t = ctx.theme, r = devicePixelRatio;
      for (const l of limits) {
        const y = u.valToPos(l.value, "y", true);
        if (y < u.bbox.top || y > u.bbox.top + u.bbox.height) continue;
        c.save();
        c.strokeStyle = c.fillStyle = t.dark ? "#ff8a80" : "#b3261e";
        c.lineWidth = 1.5 * r;
        c.setLineDash([6 * r, 4 * r]);
        c.beginPath(); c.moveTo(u.bbox.left, y); c.lineTo(u.bbox.left + u.bbox.width, y); c.stroke();
        c.font = `${t.size * r}px ${t.font}`;
        c.textAlign = "right"; c.textBaseline = "bottom";
        c.lineWidth = 4 * r; c.setLineDash([]); c.strokeStyle = t.paper; c.lineJoin = "round";
        c.strokeText(l.text, u.bbox.left + u.bbox.width - 4 * r, y - 3 * r);
        c.fillText(l.text, u.bbox.left + u.bbox.width - 4 * r, y - 3 * r);
        c.restore();
      }
    }],
  });

  const shown = (ctx, items) => items.filter((i) => !ctx.hidden.has(i.arm));

  // latency is a curve for each arm over an axis of nines, with bands and maxima.
  function latency(el, plot, ctx) {
    const curves = shown(ctx, plot.curves);
    const all = plot.curves; // hidden arms keep their part of the axes
    const right = Math.max(1, ...all.map((c) => Math.log10(c.n)));
    const xs = [...new Set(curves.flatMap((c) => [...c.nines, Math.log10(c.n)]))].sort((a, b) => a - b);
    const data = [xs], series = [], bands = [], maxima = [];
    const at = (x, values) => { const m = new Map(x.map((v, i) => [v, values[i]])); return xs.map((v) => (m.has(v) ? m.get(v) : null)); };
    for (const c of curves) {
      const stroke = color(ctx.theme, c.arm);
      const label = ctx.arms[c.arm].label;
      data.push(at(c.nines, c.value));
      series.push({ label, stroke, width: 2, dash: dash(c.arm), spanGaps: true, points: { show: false } });
      data.push(at([Math.log10(c.n)], [c.max]));
      series.push({ label: label + " maximum", stroke, width: 0, points: { show: false } });
      maxima.push({ arm: c.arm, x: Math.log10(c.n), y: c.max, open: true });
      if (c.lo && c.lo.length) {
        const x = c.nines.slice(0, c.lo.length);
        data.push(at(x, c.hi), at(x, c.lo));
        for (const end of ["upper", "lower"]) series.push({ label: `${label} ${end}`, stroke: "transparent", width: 0, quiet: true, spanGaps: true, points: { show: false } });
        bands.push({ series: [data.length - 2, data.length - 1], fill: alpha(stroke, 0.16) });
      }
    }
    const [lo, hi] = extent(all.flatMap((c) => [...c.value, ...(c.lo || []), c.max]));
    const limits = ctx.limits.filter((l) => l.metric === plot.metric), across = horizontal(limits, ctx);
    return lines(el, {
      label: `Response time of ${plot.metric} by percentile`, data, series, bands,
      hooks: { ...across, draw: [...across.draw, (u) => paint(u, maxima, ctx)] },
      x: {
        label: "percentile", range: [0, right * 1.02], format: percentile,
        ticks: (min, max) => [Math.log10(2), 1, 2, 3, 4, 5, 6, 7].filter((v) => v <= max),
      },
      y: { label: `${plot.metric}, response time`, log: true, format: seconds, range: logRange(Math.min(lo, ...limits.map((l) => l.value)), Math.max(hi, ...limits.map((l) => l.value))) },
    }, ctx);
  }
  function latencyTable(plot, ctx) {
    const nines = [Math.log10(2), 1, 2, 3, 4];
    return {
      head: ["arm", "n", ...nines.map(percentile), "max", "mean", "blocks"],
      rows: plot.curves.map((c) => [ctx.arms[c.arm].label, count(c.n), ...nines.map((x) => {
        let best = -1;
        c.nines.forEach((v, i) => { if (Math.abs(v - x) < 0.011) best = i; });
        return best < 0 ? "n/a" : seconds(c.value[best]);
      }), seconds(c.max), seconds(c.mean), count(c.blocks)]),
    };
  }

  // multiples lays one small picture for each arm side by side, over equal axes.
  function multiples(el, items, ctx, draw) {
    const grid = html("div", { class: "multiples" });
    el.append(grid);
    const drawn = items.map((item) => {
      const body = html("div", { class: "body" });
      grid.append(html("figure", { class: "multiple" }, html("figcaption", {}, swatch(ctx.theme, item.arm, "colour"), " ", ctx.arms[item.arm].label), body));
      return draw(body, item);
    });
    return { data: drawn.map((d) => d.data), parts: drawn, destroy: () => { drawn.forEach((d) => d.destroy()); el.replaceChildren(); } };
  }

  // canvas keeps a canvas as wide as its element and paints it anew when that changes.
  function canvas(el, label, height, paint) {
    const c = html("canvas", { role: "img", "aria-label": label });
    const holder = html("div", { class: "plot" }, c);
    el.append(holder);
    const draw = () => {
      const w = Math.max(160, holder.clientWidth), h = height(w), r = devicePixelRatio;
      c.width = Math.round(w * r); c.height = Math.round(h * r);
      c.style.width = w + "px"; c.style.height = h + "px";
      const g = c.getContext("2d");
      g.setTransform(r, 0, 0, r, 0, 0);
      paint(g, w, h);
    };
    draw();
    let width = holder.clientWidth;
    const resize = new ResizeObserver(() => { if (Math.abs(holder.clientWidth - width) >= 1) { width = holder.clientWidth; draw(); } });
    resize.observe(holder);
    return { canvas: c, destroy: () => { resize.disconnect(); el.replaceChildren(); } };
  }

  function heat(el, plot, ctx) {
    const items = shown(ctx, plot.heat);
    const most = Math.max(1, ...plot.heat.flatMap((h) => h.cells.filter((_, i) => i % 3 === 2)));
    const widest = Math.max(1, ...plot.heat.map((h) => h.max.length));
    const t = ctx.theme;
    const shade = (n) => {
      const x = most === 1 ? 1 : Math.log(n) / Math.log(most);
      return t.ramp[Math.min(t.ramp.length - 1, Math.round(x * (t.ramp.length - 1)))];
    };
    const low = Math.pow(10, plot.floor / plot.decade), high = Math.pow(10, (plot.floor + plot.rows) / plot.decade);
    const out = multiples(el, items, ctx, (body, h) => {
      const what = plot.column === "s" ? "measured time" : "block";
      const label = `Response times of ${plot.metric} of ${ctx.arms[h.arm].label} over ${what}: largest ${seconds(Math.max(...h.max))}`;
      const part = canvas(body, label, (w) => Math.min(t.size * 25, Math.max(170, w * 0.5)), (g, w, hgt) => {
        g.clearRect(0, 0, w, hgt);
        g.font = `${t.size}px ${t.font}`;
        const ticks = logTicks(low, high, Math.floor(hgt / (t.size * 2.6)));
        const left = 12 + Math.max(...ticks.map((v) => g.measureText(seconds(v)).width));
        const bottom = t.size * 3.1, top = 8, right = 10;
        const pw = w - left - right, ph = hgt - top - bottom;
        const cw = pw / widest, rh = ph / plot.rows;
        g.fillStyle = t.dark ? "#0000002e" : "#f4f6f8";
        g.fillRect(left, top, pw, ph);
        for (let i = 0; i < h.cells.length; i += 3) {
          const [col, row, n] = [h.cells[i], h.cells[i + 1], h.cells[i + 2]];
          g.fillStyle = shade(n);
          const x0 = left + col * cw, y0 = top + ph - (row + 1) * rh;
          g.fillRect(x0, y0, Math.max(1, cw - (cw > 8 ? 1 : 0)), Math.max(1, rh - (rh > 6 ? 1 : 0)) + (rh > 6 ? 0 : 0.5));
        }
        g.strokeStyle = t.dark ? "#ff8a80" : "#b3261e";
        g.lineWidth = 2;
        h.max.forEach((m, i) => {
          if (!h.n[i]) return;
          const y = top + ph - (Math.log10(m) * plot.decade - plot.floor) * rh;
          g.beginPath(); g.moveTo(left + i * cw + Math.min(1, cw * 0.1), y); g.lineTo(left + (i + 1) * cw - Math.min(1, cw * 0.1), y); g.stroke();
        });
        g.strokeStyle = t.muted; g.lineWidth = 1; g.setLineDash([2, 3]);
        (h.blocks || []).slice(1).forEach((b) => { const x = left + (b / plot.step) * cw; g.beginPath(); g.moveTo(x, top); g.lineTo(x, top + ph); g.stroke(); });
        g.setLineDash([]);
        g.fillStyle = t.muted; g.textAlign = "right"; g.textBaseline = "middle";
        for (const v of ticks) g.fillText(seconds(v), left - 6, top + ph - (Math.log10(v) * plot.decade - plot.floor) * rh);
        g.textAlign = "center"; g.textBaseline = "top";
        if (plot.column === "s") {
          const total = widest * plot.step;
          for (const v of linearTicks(0, total, Math.floor(pw / (t.size * 5)))) g.fillText(String(v), Math.min(left + (v / plot.step) * cw, w - right - 8), top + ph + 5);
        } else {
          const step = Math.max(1, Math.ceil((widest * t.size * 2) / pw));
          for (let i = 0; i < widest; i += step) g.fillText(String(i * plot.step + 1), left + (i + 0.5) * cw, top + ph + 5);
        }
        g.fillText(plot.column === "s" ? "seconds measured" : "block", left + pw / 2, top + ph + 7 + t.size);
      });
      return { data: h.cells, canvas: part.canvas, destroy: part.destroy };
    });
    const legend = html("div", { class: "ramp" }, "1 sample ");
    legend.append(...t.ramp.map((c) => { const b = html("span", { class: "step" }); b.style.background = c; return b; }), ` ${count(most)}`);
    const mark = html("span", { class: "step max" });
    legend.append(html("span", { class: "spacer" }), mark, " maximum");
    el.append(legend);
    return out;
  }
  function heatTable(plot, ctx) {
    return {
      head: ["arm", plot.column === "s" ? "time" : "block", "n", "max"],
      rows: plot.heat.flatMap((h) => h.max.map((m, i) => [ctx.arms[h.arm].label, plot.column === "s" ? seconds(i * plot.step) : count(i * plot.step + 1), count(h.n[i]), h.n[i] ? seconds(m) : ""])),
    };
  }

  function timeline(el, plot, ctx) {
    const items = shown(ctx, plot.courses);
    const [left, right] = extent(plot.courses.flatMap((c) => [...c.t, ...(c.theory || []).map((p) => p[0])]));
    const [lo, hi] = extent(plot.courses.flatMap((c) => [...c.lo, ...c.hi, ...(c.theory || []).map((p) => p[1])]));
    const out = multiples(el, items, ctx, (body, c) => {
      const theory = new Map((c.theory || []).map((p) => [p[0], p[1]]));
      const xs = [...new Set([...c.t, ...theory.keys()])].sort((a, b) => a - b);
      const index = new Map(c.t.map((v, i) => [v, i]));
      const pick = (values) => xs.map((x) => (index.has(x) ? values[index.get(x)] : null));
      const stroke = color(ctx.theme, c.arm);
      const data = [xs, pick(c.hi), pick(c.lo), pick(c.mid), xs.map((x) => (theory.has(x) ? theory.get(x) : null))];
      return lines(body, {
        label: `${plot.metric} of ${ctx.arms[c.arm].label} over the time since the ${plot.since}`, data, height: ctx.theme.size * 19,
        series: [
          { label: "largest", stroke: alpha(stroke, 0.5), width: 1, spanGaps: true, points: { show: false } },
          { label: "smallest", stroke: "transparent", width: 0, spanGaps: true, points: { show: false } },
          { label: "median", stroke, width: 2, spanGaps: true, points: { show: false } },
          { label: "theory", stroke: ctx.theme.ink, width: 1.5, dash: [3, 3], spanGaps: true, points: { show: false } },
        ],
        bands: [{ series: [1, 2], fill: alpha(stroke, 0.22) }],
        hooks: { drawClear: [(u) => {
          const x = u.valToPos(0, "x", true);
          if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) return;
          u.ctx.save(); u.ctx.strokeStyle = ctx.theme.muted; u.ctx.lineWidth = devicePixelRatio;
          u.ctx.beginPath(); u.ctx.moveTo(x, u.bbox.top); u.ctx.lineTo(x, u.bbox.top + u.bbox.height); u.ctx.stroke(); u.ctx.restore();
        }] },
        x: { label: `since the ${plot.since}`, range: [left, right], format: seconds, wide: 4.4 },
        y: { label: plot.metric, range: [0, hi * 1.05], format: seconds },
        cursor: { sync: { key: "timeline" } },
      }, ctx);
    });
    return out;
  }
  function timelineTable(plot, ctx) {
    return {
      head: ["arm", "since the " + plot.since, "smallest", "median", "largest"],
      rows: plot.courses.flatMap((c) => c.t.map((t, i) => [ctx.arms[c.arm].label, seconds(t), seconds(c.lo[i]), seconds(c.mid[i]), seconds(c.hi[i])])),
    };
  }

  // scene is an SVG that is drawn anew when its element changes its width.
  function scene(el, label, paint) {
    const holder = html("div", { class: "plot" });
    el.append(holder);
    const draw = () => {
      const w = Math.max(200, Math.round(holder.clientWidth));
      const s = svg("svg", { role: "img", "aria-label": label, width: w });
      const h = paint(s, w);
      s.setAttribute("height", h);
      s.setAttribute("viewBox", `0 0 ${w} ${h}`);
      holder.replaceChildren(s);
    };
    draw();
    let width = holder.clientWidth;
    const resize = new ResizeObserver(() => { if (Math.abs(holder.clientWidth - width) >= 1) { width = holder.clientWidth; draw(); } });
    resize.observe(holder);
    return { destroy: () => { resize.disconnect(); el.replaceChildren(); } };
  }
  const text = (x, y, s, attributes) => svg("text", { x, y, ...attributes }, s);

  // widths measures text in a font; fit cuts it to a width.
  const widths = (font) => {
    const c = document.createElement("canvas").getContext("2d");
    c.font = font;
    return (s) => c.measureText(s).width;
  };
  function fit(s, width, measure) {
    if (measure(s) <= width) return s;
    let n = s.length;
    while (n > 1 && measure(s.slice(0, n) + "…") > width) n = Math.floor(n * 0.9);
    return s.slice(0, n) + "…";
  }

  // factor writes a ratio as people say it.
  const factor = (r) => "×" + (r >= 0.995 && r < 10 ? r.toFixed(2) : significant(r));

  // ratios is a row for each variant: its blocks as dots, the estimate and its interval.
  function ratios(el, plot, ctx) {
    const names = new Map(ctx.arms.map((a, i) => [a.label, i]));
    const at = (r) => names.get(r.variant) ?? ctx.arms.findIndex((a) => a.variant === r.variant || a.run === r.variant);
    const rows = plot.rows.filter((r) => !ctx.hidden.has(at(r)));
    const t = ctx.theme;
    const [lo, hi] = extent([1, ...plot.rows.flatMap((r) => [r.ratio, r.lo > 0 ? r.lo : null, r.hi, ...(r.blocks || [])])]);
    const a = Math.log(lo / 1.15), b = Math.log(hi * 1.15);
    const label = `${plot.label} as a ratio to the baseline: ` + plot.rows.map((r) => `${r.variant} ${factor(r.ratio)}`).join(", ");
    const s = scene(el, label, (root, w) => {
      const narrow = w < 640;
      const bold = widths(`600 ${t.text}px ${t.font}`), plain = widths(`${t.text}px ${t.font}`);
      const infos = rows.map((r) => (r.hi == null ? factor(r.ratio) : r.lo === r.hi ? `${factor(r.ratio)} exactly` : `${factor(r.ratio)}  [${significant(r.lo)}, ${significant(r.hi)}]`));
      const left = narrow ? 8 : Math.min(w * 0.3, 24 + Math.max(40, ...rows.map((r) => bold(r.variant))));
      const right = narrow ? 8 : 20 + Math.max(40, ...infos.map(plain));
      const rowH = narrow ? t.size * 4.2 : t.size * 2.9, top = t.size * 0.8, bottom = t.size * 3.2;
      const h = top + rows.length * rowH + bottom;
      const x = (v) => left + ((Math.log(v) - a) / (b - a)) * (w - left - right);
      for (const v of logTicks(Math.exp(a), Math.exp(b), Math.max(2, Math.floor((w - left - right) / (t.size * 5))))) {
        root.append(svg("line", { x1: x(v), x2: x(v), y1: top, y2: h - bottom, stroke: t.grid }));
        root.append(text(x(v), h - bottom + t.size * 1.3, "×" + significant(v), { class: "tick", "text-anchor": "middle" }));
      }
      root.append(svg("line", { x1: x(1), x2: x(1), y1: top - 4, y2: h - bottom, stroke: t.ink, "stroke-width": 1.5 }));
      rows.forEach((r, i) => {
        const y = top + i * rowH + (narrow ? rowH * 0.68 : rowH / 2);
        const c = color(t, Math.max(0, at(r)));
        const info = infos[i], name = fit(r.variant, narrow ? w - 2 * left - t.size - plain(info) : left - 16, bold);
        root.append(text(narrow ? left : left - 12, narrow ? y - rowH * 0.32 : y + t.size * 0.35, name, { class: "name", "text-anchor": narrow ? "start" : "end" }));
        if (narrow) root.lastChild.append(svg("tspan", { class: "value", dx: t.size * 0.8 }, info));
        else root.append(text(w - 4, y + t.size * 0.35, info, { class: "value", "text-anchor": "end" }));
        (r.blocks || []).forEach((v, k) => root.append(svg("circle", { cx: x(v), cy: y + ((k % 5) - 2) * 2.2, r: 3, fill: c, "fill-opacity": 0.35 })));
        if (r.lo > 0 && r.hi) root.append(svg("line", { x1: x(r.lo), x2: x(r.hi), y1: y, y2: y, stroke: c, "stroke-width": 5, "stroke-linecap": "round", "stroke-opacity": 0.75 }));
        root.append(svg("path", { d: `M${x(r.ratio)} ${y - 7}l7 7l-7 7l-7 -7z`, fill: c, stroke: t.paper, "stroke-width": 1.5 }));
      });
      root.append(text(x(1), h - t.size * 0.5, "baseline", { class: "tick", "text-anchor": x(1) > w - right - 40 ? "end" : x(1) < left + 40 ? "start" : "middle" }));
      return h;
    });
    return { data: rows, destroy: s.destroy };
  }
  function ratiosTable(plot) {
    return {
      head: ["variant", "against", "ratio", "interval", "level", "blocks", "decision"],
      rows: plot.rows.map((r) => [r.variant, r.baseline, factor(r.ratio), r.hi == null ? "unbounded" : `${significant(r.lo)} to ${significant(r.hi)}`,
        significant(100 * r.level) + " %", r.blocks ? r.blocks.map(significant).join("  ") : "unpaired", r.decision]),
    };
  }

  // resources stacks response times, CPU, memory and descriptors over the same time.
  function resources(el, plot, ctx) {
    const roles = [...new Set([...(plot.cpu || []), ...(plot.rss || []), ...(plot.fds || [])].map((l) => l.role))];
    const end = Math.max(1, ...plot.t, ...(plot.response || []).map((p) => p.t));
    const x = { label: "", range: [0, end], format: (v) => significant(v), wide: 5 };
    const axis = ctx.theme.size * 6; // one width, so that times stand below one another
    const parts = [];
    const add = (title, draw) => {
      const body = html("div", { class: "body" });
      el.append(html("h4", {}, title), body);
      parts.push(draw(body));
    };
    const cursor = { sync: { key: "time-" + plot.run } };
    const points = (plot.response || []).filter((p) => !ctx.hidden.has(p.arm));
    if (points.length) {
      const xs = [...new Set(points.map((p) => p.t))].sort((a, b) => a - b);
      const place = new Map(xs.map((v, i) => [v, i]));
      const data = [xs], series = [];
      for (const arm of [...new Set(points.map((p) => p.arm))].sort((a, b) => a - b)) {
        const mid = xs.map(() => null), max = xs.map(() => null);
        for (const p of points) if (p.arm === arm) { mid[place.get(p.t)] = p.p50; max[place.get(p.t)] = p.max; }
        const stroke = color(ctx.theme, arm), label = ctx.arms[arm].label;
        data.push(mid, max);
        series.push({ label: label + " median", stroke, width: 0, paths: () => null, points: { show: true, size: 5, fill: stroke, stroke, width: 0 } });
        series.push({ label: label + " maximum", stroke, width: 0, paths: () => null, points: { show: true, size: 7, fill: ctx.theme.paper, stroke, width: 1.5 } });
      }
      const [lo, hi] = extent((plot.response || []).flatMap((p) => [p.p50, p.max]));
      add(`${plot.metric}: response time of each interval, median ● and maximum ○`, (body) => lines(body, {
        label: `Response time of ${plot.metric} over time`, data, series, x, height: ctx.theme.size * 18, cursor, axis,
        hooks: horizontal(ctx.limits.filter((l) => l.metric === plot.metric), ctx),
        y: { label: "response", log: true, format: seconds, range: logRange(lo, hi) },
      }, ctx));
    }
    const last = ["fds", "rss", "cpu"].find((k) => (plot[k] || []).length);
    for (const [key, title, format] of [["cpu", "CPU, in cores", significant], ["rss", "resident memory", bytes], ["fds", "open descriptors", count]]) {
      const all = plot[key] || [];
      if (!all.length || plot.t.length < 2) continue;
      const [, hi] = extent(all.flatMap((l) => l.value));
      add(title, (body) => {
        body.append(html("div", { class: "keys" }, ...all.map((l) => html("span", { class: "key" }, swatch(ctx.theme, roles.indexOf(l.role), "line"), " ", l.role))));
        return lines(body, {
          label: `${title} of each process over time`, data: [plot.t, ...all.map((l) => l.value)], x: { ...x, label: key === last ? "seconds since the run began" : "" }, height: ctx.theme.size * (key === last ? 15 : 13), cursor, axis,
          series: all.map((l) => ({ label: l.role, stroke: color(ctx.theme, roles.indexOf(l.role)), width: 1.75, dash: dash(roles.indexOf(l.role)), points: { show: false } })),
          y: { label: { cpu: "cores", rss: "memory", fds: "descriptors" }[key], range: [0, (hi || 1) * 1.08], format, ticks: key === "rss" ? byteTicks : null },
        }, ctx);
      });
    }
    return { data: parts.map((p) => p.data), parts, destroy: () => { parts.forEach((p) => p.destroy()); el.replaceChildren(); } };
  }
  function resourcesTable(plot, ctx) {
    const lines = [...(plot.cpu || []).map((l) => ["CPU of " + l.role, l, significant]), ...(plot.rss || []).map((l) => ["memory of " + l.role, l, bytes]), ...(plot.fds || []).map((l) => ["descriptors of " + l.role, l, count])];
    return {
      head: ["seconds", ...lines.map((l) => l[0])],
      rows: plot.t.map((t, i) => [significant(t), ...lines.map(([, l, f]) => (l.value[i] == null ? "" : f(l.value[i])))]),
    };
  }

  // load is response time against offered rate.
  function load(el, plot, ctx) {
    const points = shown(ctx, plot.points);
    const searched = plot.points.some((p) => p.judgement), judged = [], dots = [];
    const xs = [...new Set(plot.points.map((p) => p.rate))].sort((a, b) => a - b);
    const data = [xs], series = [];
    for (const arm of [...new Set(points.map((p) => p.arm))]) {
      const mine = new Map(points.filter((p) => p.arm === arm).map((p) => [p.rate, p]));
      const stroke = color(ctx.theme, arm), label = ctx.arms[arm].label;
      const take = (key) => xs.map((x) => (mine.has(x) ? mine.get(x)[key] : null));
      data.push(take("p99"), take("p50"), take("max"));
      series.push({ label: label + " p99", stroke, width: 2.5, spanGaps: true, points: { show: false } });
      if (!searched) for (const p of mine.values()) if (p.p99 != null) dots.push({ arm, x: p.rate, y: p.p99 });
      series.push({ label: label + " p50", stroke, width: 1.5, dash: [5, 4], spanGaps: true, points: { show: true, size: 5, fill: stroke, stroke, width: 0 } });
      series.push({ label: label + " maximum", stroke, width: 0, paths: () => null, points: { show: true, size: 8, fill: ctx.theme.paper, stroke, width: 1.5 } });
      for (const p of mine.values()) if (p.judgement) judged.push({ x: p.rate, y: p.p99 ?? p.max, judgement: p.judgement, stroke });
    }
    const limits = ctx.limits.filter((l) => l.metric === plot.metric);
    const [lo, hi] = extent([...plot.points.flatMap((p) => [p.p50, p.p99, p.max]), ...limits.map((l) => l.value)]);
    const across = horizontal(limits, ctx), found = plot.found;
    return lines(el, {
      label: `Response time of ${plot.metric} against ${plot.over}` + (found ? `; up to ${count(found.median)} ${plot.unit} hold` : ""), data, series,
      hooks: { draw: [...across.draw, (u) => marks(u, judged, ctx), (u) => paint(u, dots, ctx)], drawClear: found ? [(u) => {
        // What holds in every search, and what fails.
        const c = u.ctx, px = (v) => Math.min(u.bbox.left + u.bbox.width, Math.max(u.bbox.left, u.valToPos(v, "x", true)));
        c.save();
        c.fillStyle = ctx.theme.dark ? "#6fd39626" : "#1b6e3c1c";
        c.fillRect(u.bbox.left, u.bbox.top, px(found.lowest) - u.bbox.left, u.bbox.height);
        c.fillStyle = ctx.theme.dark ? "#6fd3964d" : "#1b6e3c3d";
        c.fillRect(px(found.lowest), u.bbox.top, Math.max(2, px(found.most) - px(found.lowest)), u.bbox.height);
        c.restore();
      }] : [] },
      x: { label: plot.over === "load.rate" || !plot.over ? `offered rate, ${plot.unit || "per second"}` : `${plot.over}, ${plot.unit}`, range: [0, xs[xs.length - 1] * 1.04], format: count, wide: 5 },
      y: { label: plot.metric, log: true, format: seconds, range: logRange(lo, hi) },
    }, ctx);
  }
  // marks paints levels that a search judged: a dot where they held, an open one where
  // trials differed, a cross where they did not.
  function marks(u, judged, ctx) {
    const c = u.ctx, r = devicePixelRatio * ctx.theme.size * 0.36;
    c.save();
    c.lineWidth = 2 * devicePixelRatio;
    for (const p of judged) {
      const x = u.valToPos(p.x, "x", true), y = u.valToPos(p.y, "y", true);
      c.strokeStyle = p.stroke;
      c.fillStyle = p.judgement === "split" ? ctx.theme.paper : p.stroke;
      c.beginPath();
      if (p.judgement === "fail") { c.moveTo(x - r, y - r); c.lineTo(x + r, y + r); c.moveTo(x - r, y + r); c.lineTo(x + r, y - r); } else { c.arc(x, y, r, 0, 2 * Math.PI); c.fill(); }
      c.stroke();
    }
    c.restore();
  }
  function loadTable(plot, ctx) {
    return {
      head: ["arm", plot.over || "offered rate", "n", "p50", "p99", "max", ...(plot.points.some((p) => p.judgement) ? ["judged"] : [])],
      rows: plot.points.map((p) => [ctx.arms[p.arm].label, `${count(p.rate)} ${plot.unit}`, count(p.n), seconds(p.p50), seconds(p.p99), seconds(p.max), ...(p.judgement ? [p.judgement] : [])]),
    };
  }

  // mesh draws the domains of providers as dots and the connections between them as lines,
  // each of which stands for equally many.
  const meshDots = 60, meshLanes = 12; // most dots in a picture, most lines between two providers that share them
  const meshName = (m) => (m.domains.length > 3 ? `${count(m.domains[0])} × ${count(m.domains[1])} (${m.domains.length} providers)` : m.domains.map(count).join(" × "));
  function mesh(el, plots, ctx) {
    const items = shown(ctx, plots);
    const t = ctx.theme;
    return multiples(el, items, ctx, (body, m) => {
      const c = color(t, m.arm);
      const between = m.domains.flatMap((_, p) => m.domains.slice(p + 1).map((_, k) => [p, p + 1 + k])); // each two providers
      const all = between.reduce((sum, [p, q]) => sum + m.domains[p] * m.domains[q], 0);
      const dots = m.domains.map((n) => Math.min(n, Math.max(2, Math.floor(meshDots / m.domains.length))));
      // A line is a pair of domains that talked, or what two providers share.
      let lines = [], per = 0;
      const notes = [];
      if (m.shared) {
        const each = m.connections / between.length, lanes = Math.min(meshLanes, Math.max(1, Math.round(each)));
        lines = between.map((ends) => ({ ends, lanes })).slice(0, each < 1 ? Math.round(m.connections) : between.length);
        per = lines.length ? m.connections / (lanes * lines.length) : 0;
        notes.push("shared by all pairs");
      } else {
        for (const [p, q] of between) for (let i = 0; i < dots[p]; i++) for (let j = 0; j < dots[q]; j++) lines.push([p, i, q, j]);
        const talked = all ? Math.min(1, m.pairs / all) : 0;
        per = m.pairs ? m.connections / m.pairs : 0;
        const order = new Map(lines.map((l, k) => [l, (k * 0.6180339887498949) % 1]));
        lines = lines.sort((a, b) => order.get(a) - order.get(b)).slice(0, Math.round(talked * lines.length));
        if (talked < 1) notes.push(`${count(m.pairs)} of ${count(all)} pairs talked: as many are drawn, spread evenly, since runs do not say which`);
      }
      if (per) notes.unshift(`each line stands for ${significant(per)} connection${per === 1 ? "" : "s"}`);
      if (dots.some((n, p) => n < m.domains[p])) notes.push(`drawn: ${dots.map(count).join(" × ")} of the domains`);
      const label = `${ctx.arms[m.arm].label}: ${count(m.connections)} connections for ${meshName(m)} domains`;
      const s = scene(body, label, (root, w) => {
        const h = Math.min(t.size * 25, Math.max(190, w * 0.62)), pad = 14, side = Math.min(96, w * 0.2);
        // Two providers stand opposite each other; more of them around a circle.
        const two = m.domains.length === 2, rx = w / 2 - side * 0.75, ry = h / 2 - pad - t.size * 1.6, arc = (2 * Math.PI) / m.domains.length;
        const on = (a, f) => [w / 2 + f * rx * Math.cos(a), h / 2 + f * ry * Math.sin(a)];
        const middle = (p) => -Math.PI / 2 + p * arc;
        const at = (p, i) => {
          const n = dots[p], part = n === 1 ? 0.5 : i / (n - 1);
          return two ? [p ? w - side : side, n === 1 ? h / 2 : pad + part * (h - 2 * pad)] : on(middle(p) + (part - 0.5) * arc * 0.72, 1);
        };
        const hub = (p) => (two ? [p ? w - Math.min(0.36 * w, side + 60) : Math.min(0.36 * w, side + 60), h / 2] : on(middle(p), 0.6));
        const g = svg("g", { stroke: c, fill: "none" });
        if (m.shared) {
          dots.forEach((n, p) => {
            const [hx, hy] = hub(p);
            for (let i = 0; i < n; i++) {
              const [x, y] = at(p, i);
              g.append(svg("path", { d: two ? `M${x} ${y}C${(x + hx) / 2} ${y} ${(x + hx) / 2} ${hy} ${hx} ${hy}` : `M${x} ${y}L${hx} ${hy}`, "stroke-width": 1, stroke: t.muted, "stroke-opacity": 0.45 }));
            }
          });
          for (const { ends, lanes } of lines) {
            const [[ax, ay], [bx, by]] = ends.map(hub), length = Math.hypot(bx - ax, by - ay), [nx, ny] = [(ay - by) / length, (bx - ax) / length];
            for (let k = 0; k < lanes; k++) {
              const apart = 2 * (k - (lanes - 1) / 2) * Math.min(9, 80 / lanes); // twice as far as in the middle of the curve
              g.append(svg("path", { class: "lane", d: `M${ax} ${ay}Q${(ax + bx) / 2 + apart * nx} ${(ay + by) / 2 + apart * ny} ${bx} ${by}`, "stroke-width": 3 }));
            }
          }
          m.domains.forEach((_, p) => { const [x, y] = hub(p); g.append(svg("circle", { cx: x, cy: y, r: 8, fill: c, stroke: t.paper, "stroke-width": 2 })); });
        } else {
          const o = Math.max(0.07, Math.min(0.55, 26 / Math.sqrt(lines.length) / 6));
          for (const [p, i, q, j] of lines) {
            const [x1, y1] = at(p, i), [x2, y2] = at(q, j);
            g.append(svg("line", { x1, y1, x2, y2, "stroke-width": 0.8 + Math.min(1.2, per / 2), "stroke-opacity": o }));
          }
        }
        dots.forEach((n, p) => { for (let i = 0; i < n; i++) { const [cx, cy] = at(p, i); g.append(svg("circle", { cx, cy, r: n > 20 ? 2.5 : 4, fill: t.ink, stroke: "none" })); } });
        root.append(g);
        m.domains.forEach((n, p) => {
          const [x, y] = two ? [p ? w - side + 10 : side - 10, h / 2] : on(middle(p), 1 + (t.size * 1.2) / Math.min(rx, ry));
          root.append(text(x, y, count(n), { class: "big", "text-anchor": two ? (p ? "start" : "end") : "middle", "dominant-baseline": "middle" }));
        });
        return h;
      });
      const caption = html("p", { class: "count" }, html("strong", {}, count(m.connections)), m.connections === 1 ? " connection" : " connections");
      body.prepend(caption);
      body.append(html("p", { class: "note" }, notes.join("; ")));
      return { data: m, destroy: s.destroy };
    });
  }
  function meshTable(plots, ctx) {
    return { head: ["arm", "domains", "pairs", "connections"], rows: plots.map((m) => [ctx.arms[m.arm].label, meshName(m), count(m.pairs), count(m.connections)]) };
  }

  // cost is a figure against size, both logarithmic. What a model says is a line with its
  // band; the sizes that it was fitted to are dots, those that it was not are rings.
  const sizeName = (plot) => (plot.over === "pairs" ? "pairs of domains that talk" : plot.over);
  function cost(el, plot, ctx) {
    const points = shown(ctx, plot.points), models = shown(ctx, plot.lines || []);
    const every = (key) => [...plot.points.map((p) => p[key]), ...(plot.lines || []).flatMap((l) => l[key])];
    const xs = [...new Set(every("size"))].sort((a, b) => a - b);
    const at = (sizes, values) => { const m = new Map(sizes.map((x, i) => [x, values[i]])); return xs.map((x) => m.get(x) ?? null); };
    const data = [xs], series = [], bands = [], whiskers = [], dots = [];
    for (const arm of [...new Set([...models, ...points].map((p) => p.arm))]) {
      const stroke = color(ctx.theme, arm), label = ctx.arms[arm].label;
      const line = models.find((l) => l.arm === arm);
      if (line) {
        data.push(at(line.size, line.value), at(line.size, line.hi), at(line.size, line.lo));
        series.push({ label: label + ", model", stroke, width: 1.75, dash: dash(arm), spanGaps: true, points: { show: false } });
        for (const end of ["upper", "lower"]) series.push({ label: `${label} ${end}`, stroke: "transparent", width: 0, quiet: true, spanGaps: true, points: { show: false } });
        bands.push({ series: [data.length - 2, data.length - 1], fill: alpha(stroke, 0.16) });
      }
      for (const role of ["calibration", "held-out", undefined]) {
        const mine = points.filter((p) => p.arm === arm && p.role === role);
        if (!mine.length) continue;
        data.push(at(mine.map((p) => p.size), mine.map((p) => p.value)));
        const own = { show: false }; // painted with the marker of the arm
        series.push(role ? { label: `${label}, ${role}`, stroke, width: 0, paths: () => null, points: own }
          : { label, stroke, width: 1.75, dash: dash(arm), spanGaps: true, points: own });
        for (const p of mine) {
          whiskers.push({ ...p, stroke });
          dots.push({ arm, x: p.size, y: p.value, open: role === "held-out" });
        }
      }
    }
    const format = unitFormat(plot.unit);
    const [lo, hi] = extent(["value", "lo", "hi"].flatMap(every).filter((v) => v > 0));
    if (models.length) { // arms of a model are those of no run
      const arms = [...new Set([...models, ...points].map((p) => p.arm))];
      el.append(html("div", { class: "keys" }, ...arms.map((a) => html("span", { class: "key" }, swatch(ctx.theme, a), " ", ctx.arms[a].label))));
    }
    return lines(el, {
      label: `${plot.metric} against ${sizeName(plot)}`, data, series, bands,
      hooks: { draw: [(u) => paint(u, dots, ctx)], drawClear: [(u) => {
        for (const p of whiskers) {
          if (!(p.lo > 0) || p.lo === p.hi) continue;
          const x = u.valToPos(p.size, "x", true);
          u.ctx.save(); u.ctx.strokeStyle = p.stroke; u.ctx.lineWidth = 1.5 * devicePixelRatio;
          u.ctx.beginPath(); u.ctx.moveTo(x, u.valToPos(p.lo, "y", true)); u.ctx.lineTo(x, u.valToPos(p.hi, "y", true)); u.ctx.stroke(); u.ctx.restore();
        }
      }] },
      x: { label: sizeName(plot), log: true, range: logRange(xs[0], xs[xs.length - 1]), format: count, wide: 5 },
      y: { label: plot.metric, log: true, format, range: logRange(lo, hi), ticks: format === bytes ? byteDoublings : null },
    }, ctx);
  }
  function costTable(plot, ctx) {
    const format = unitFormat(plot.unit), modelled = plot.lines?.length;
    const error = (p) => { const e = 100 * (p.model - p.value) / p.value; return (e > 0 ? "+" : "") + significant(parseFloat(e.toFixed(2))) + " %"; };
    return {
      head: ["arm", plot.over, "median", "smallest", "largest", ...(modelled ? ["size", "model", "error"] : [])],
      rows: plot.points.map((p) => [ctx.arms[p.arm].label, count(p.size), format(p.value), format(p.lo), format(p.hi), ...(modelled ? [p.role, format(p.model), error(p)] : [])]),
    };
  }

  return {
    theme, setPrinting, keepFocus, paint, swatch, marker, html, svg, seconds, bytes, count, unit: unitFormat, color, dash, alpha, lines,
    latency, heat, timeline, ratios, resources, load, mesh, cost,
    tables: { latency: latencyTable, heat: heatTable, timeline: timelineTable, ratios: ratiosTable, resources: resourcesTable, load: loadTable, mesh: meshTable, cost: costTable },
  };
})();
