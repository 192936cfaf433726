// Builds the pictures of a report below its tables, and lets the reader choose plan,
// metric and arms.
"use strict";
(() => {
  const { document: doc, plots } = JSON.parse(document.getElementById("data").textContent);
  const { html } = charts;
  const root = document.getElementById("pictures");
  const state = { plan: plots.plans[0] ?? "", hidden: new Set(), chosen: {}, open: new Set() };
  const live = [];

  const about = (name) => (plots.metrics || []).find((m) => m.name === name)?.doc || "";
  const ofPlan = (list) => (list || []).filter((p) => p.plan === state.plan);
  const baseline = doc.comparison?.baseline;

  // Each panel: what it draws from, one entry at a time, chosen by a list.
  const panels = [
    {
      id: "mesh", wide: true, title: "Connections as they are", draw: charts.mesh, table: charts.tables.mesh,
      entries: () => { const m = ofPlan(plots.meshes); return m.length ? [m] : []; }, name: () => "connections",
      caption: () => "Domains of each provider as dots, the connections that stay as lines. Below each picture stands how many connections were counted for a line.",
    },
    {
      id: "timeline", wide: true, title: "What a ping feels while the roster arrives", draw: charts.timeline, table: charts.tables.timeline,
      entries: () => ofPlan(plots.timelines), name: (p) => p.metric,
      caption: (p) => `Round trip of each ping by the time at which it was due, over all blocks: the median of each stretch of ${charts.seconds(p.step)} as a line, from the smallest to the largest as a band. The dotted line is theory, computed before the run. All pictures have the same axes.`,
    },
    {
      id: "latency", title: "Response time by percentile", draw: charts.latency, table: charts.tables.latency,
      entries: () => ofPlan(plots.latency), name: (p) => p.metric,
      caption: (p) => {
        const band = p.curves.some((c) => c.lo && c.lo.length);
        return `${about(p.metric)} Each step to the right is another nine. A curve ends where fewer than ten samples lie beyond it; the open mark is the maximum.` + (band ? " Bands are 95 % intervals of the same percentile of a typical block, as far as each block has enough samples." : "");
      },
    },
    {
      id: "ratios", title: "Ratio to the baseline, block by block", draw: charts.ratios, table: charts.tables.ratios,
      entries: () => (plots.ratios || []).filter((r) => r.group === state.plan || !plots.plans.includes(r.group)),
      name: (r) => (plots.plans.includes(r.group) || !r.group ? r.label : `${r.group}: ${r.label}`) + (r.primary ? "" : " (exploratory)"),
      caption: () => `Dots are blocks, the diamond is the estimate, the bar its interval. Left of the line is less than ${baseline || "the baseline"}.`,
    },
    {
      id: "load", title: "Response time against offered rate", draw: charts.load, table: charts.tables.load,
      entries: () => plots.load || [], name: (l) => [l.group, l.metric].filter(Boolean).join(": "),
      caption: (l) => "Solid: p99, dashed: median, rings: maximum. Limits are drawn across." + (l.points.some((p) => p.judgement)
        ? ` A dot is a level that held, an open one where trials differed, a cross one that did not; it stands at the p99, or at the maximum where there are too few samples.${l.found ? " The ground is green as far as levels held in every search, and darker where searches differ." : ""}`
        : " Arrivals come at the offered rate whether or not the server keeps up."),
    },
    {
      id: "cost", title: "Cost against size", draw: charts.cost, table: charts.tables.cost,
      entries: () => (plots.costs || []).filter((c) => new Set(c.points.map((p) => p.size)).size > 1), name: (c) => [c.metric, c.group].filter(Boolean).join(", "),
      caption: (c) => `${about(c.metric)} Median over blocks, with the range. Both axes are logarithmic.` + (c.lines?.length
        ? " The line is the model, with its band of 95 %. Filled marks are the sizes that it was fitted to, open ones those that it was not." : ""),
    },
    {
      id: "heat", wide: true, title: "Response times over the run", draw: charts.heat, table: charts.tables.heat,
      entries: () => ofPlan(plots.latency), name: (p) => p.metric,
      caption: (p) => `Each column is ${p.column === "s" ? `${charts.seconds(p.step)} of the time in which the blocks ran` : p.step > 1 ? `${p.step} blocks` : "a block"}; the darker, the more samples. The line on top is the maximum. All pictures have the same axes and colours.`,
    },
    {
      id: "resources", wide: true, title: "Processes, beside the response times", draw: charts.resources, table: charts.tables.resources,
      entries: () => plots.resources || [], name: (r) => r.run,
      caption: () => "Everything over the same time, in seconds since the run began: what clients waited for, and what the processes used meanwhile. CPU is the mean since the point before; of memory and descriptors, and of maxima, the largest is kept where points are joined.",
    },
  ];

  function table(t) {
    return html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "figures" },
      html("table", {}, html("thead", {}, html("tr", {}, ...t.head.map((h) => html("th", { scope: "col" }, h)))),
        html("tbody", {}, ...t.rows.map((r) => html("tr", {}, ...r.map((c, i) => html(i ? "td" : "th", i ? {} : { scope: "row" }, c)))))));
  }

  function panel(p) {
    const entries = p.entries();
    if (!entries.length) return null;
    const keep = Math.max(0, entries.findIndex((e) => p.name(e) === state.chosen[p.id]));
    const body = html("div", { class: "chart" });
    const caption = html("p", { class: "caption" });
    const heading = html("h3", { id: "h-" + p.id }, p.title);
    const head = html("div", { class: "head" }, heading);
    const section = html("section", { class: p.wide ? "panel wide" : "panel", id: "panel-" + p.id, "aria-labelledby": "h-" + p.id }, head);
    let chooser = null;
    if (entries.length > 1) {
      const id = "choose-" + p.id;
      chooser = html("select", { id }, ...entries.map((e, i) => html("option", { value: i }, p.name(e))));
      chooser.value = String(keep);
      head.append(html("label", { for: id, class: "hidden" }, "Show in " + p.title), chooser);
    } else {
      head.append(html("span", { class: "what" }, p.name(entries[0])));
    }
    const details = html("details", { class: "figures" }, html("summary", {}, "The figures as a table"));
    details.open = state.open.has(p.id);
    section.append(caption, body, details);
    const item = { id: p.id, kind: p.id, chart: null, entry: null };
    const draw = () => charts.keepFocus(section, () => {
      const entry = entries[chooser ? Number(chooser.value) : 0];
      item.chart?.destroy();
      item.entry = entry;
      item.chart = p.draw(body, entry, context());
      caption.textContent = p.caption(entry);
      details.replaceChildren(details.firstChild);
      if (details.open) details.append(table(p.table(entry, context())));
    });
    chooser?.addEventListener("change", () => { state.chosen[p.id] = p.name(entries[Number(chooser.value)]); draw(); });
    details.addEventListener("toggle", () => {
      if (details.open) state.open.add(p.id); else state.open.delete(p.id);
      if (details.open && details.children.length === 1) details.append(table(p.table(item.entry, context())));
    });
    item.redraw = draw;
    live.push(item);
    return section;
  }

  const context = () => ({ arms: plots.arms, hidden: state.hidden, limits: plots.limits || [], theme: charts.theme() });

  function toolbar() {
    const bar = html("div", { class: "toolbar", role: "group", "aria-label": "What the pictures show" });
    if (plots.plans.length > 1) {
      const choose = html("select", { id: "choose-plan" }, ...plots.plans.map((p) => html("option", { value: p }, p)));
      choose.addEventListener("change", () => { state.plan = choose.value; build(); });
      bar.append(html("label", { for: "choose-plan" }, "Plan"), choose);
    }
    const t = charts.theme();
    plots.arms.forEach((arm, i) => {
      const b = html("button", { type: "button", class: "arm", "aria-pressed": String(!state.hidden.has(i)), "data-arm": i }, charts.swatch(t, i), " ", arm.label);
      b.addEventListener("click", () => {
        if (!state.hidden.delete(i)) state.hidden.add(i);
        if (state.hidden.size === plots.arms.length) state.hidden.clear(); // nothing at all is no picture
        for (const o of bar.querySelectorAll(".arm")) o.setAttribute("aria-pressed", String(!state.hidden.has(Number(o.dataset.arm))));
        live.forEach((item) => item.redraw());
      });
      bar.append(b);
    });
    return bar;
  }

  let bar = null, grid = null;
  function build() {
    live.forEach((item) => item.chart?.destroy());
    live.length = 0;
    const sections = panels.map(panel).filter(Boolean);
    const old = grid;
    grid = html("div", { class: "panels" }, ...sections);
    grid.style.setProperty("--narrow", Math.max(1, sections.filter((s) => !s.matches(".wide")).length));
    if (old) {
      old.replaceWith(grid); // the list of plans stays where it is, and has the focus
    } else if (sections.length || [plots.latency, plots.timelines, plots.meshes].some((l) => l?.length)) {
      if (plots.arms.length) bar = toolbar();
      root.replaceChildren(...[html("h2", {}, "Pictures"), bar, grid].filter(Boolean));
    } else {
      grid = null;
    }
    live.forEach((item) => item.redraw());
  }
  // recolour draws everything in the colours and at the width of now.
  function recolour() {
    const t = charts.theme();
    for (const b of bar?.querySelectorAll(".arm") || []) b.querySelector(".swatch").replaceWith(charts.swatch(t, Number(b.dataset.arm)));
    live.forEach((item) => item.redraw());
  }
  // On paper there is nothing to unfold, and the width of the window means nothing: the
  // style sheet has one for pictures that are printed.
  const unfolded = [];
  function print(on) {
    document.documentElement.toggleAttribute("data-printing", on);
    charts.setPrinting(on);
    if (on) unfolded.push(...document.querySelectorAll("details.part:not([open])"));
    for (const part of unfolded) part.open = on;
    if (!on) unfolded.length = 0;
    recolour();
  }

  build();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  addEventListener("beforeprint", () => print(true));
  addEventListener("afterprint", () => print(false));
  window.xmppbench = { document: doc, plots, live, state };
  document.documentElement.dataset.ready = "1";
})();
