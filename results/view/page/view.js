// The page over a directory of runs: a list with filters, trends, and runs under way.
// Reports and comparisons are pages of the server's own. What comes from the runs is
// set as text, never as markup.
"use strict";
(() => {
  const { html } = charts;
  const main = document.getElementById("main");
  const state = { runs: [], filter: {}, chosen: new Set(), different: false, leave: null };
  window.xmppbench = state; // for tests

  async function ask(path) {
    const answer = await fetch(path);
    const body = answer.headers.get("Content-Type")?.startsWith("application/json") ? await answer.json() : { error: await answer.text() };
    if (!answer.ok) throw new Error(body.error || answer.statusText);
    return body;
  }
  const query = (pairs) => new URLSearchParams(pairs.filter(([, v]) => v !== "" && v != null)).toString();
  const reportOf = (ids, more = []) => "report?" + query([...ids.map((id) => ["run", id]), ...more]);
  const when = (t) => (t ? new Date(t).toISOString().replace("T", " ").slice(0, 16) : "");
  const plural = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
  function took(e) {
    if (!e.ended) return "";
    const s = Math.round((new Date(e.ended) - new Date(e.started)) / 1000);
    return s < 120 ? `${s} s` : s < 7200 ? `${Math.round(s / 60)} min` : `${(s / 3600).toFixed(1)} h`;
  }
  // What the list calls a run's state: how it ended, or that it goes on, or that it
  // cannot be read.
  const condition = (e) => (e.broken ? "broken" : e.live ? "live" : e.status);

  // --- the list ---

  // Filters by what the page's own address holds, so that a list can be bookmarked.
  const filters = [
    { id: "scenario", label: "Scenario", of: (e) => [e.scenario] },
    { id: "target", label: "Target", of: (e) => e.targets || [] },
    { id: "variant", label: "Variant", of: (e) => e.variants || [] },
    { id: "state", label: "State", of: (e) => [condition(e)] },
    { id: "verdict", label: "Verdict", of: (e) => [e.decision] },
  ];
  function matches(e) {
    const f = state.filter;
    if (filters.some((x) => f[x.id] && !x.of(e).includes(f[x.id]))) return false;
    const day = (e.started || "").slice(0, 10);
    if (f.from && day < f.from || f.to && day > f.to) return false;
    return !f.text || (e.id + " " + (e.verdicts || []).join(" ") + " " + (e.reasons || []).join(" ")).toLowerCase().includes(f.text.toLowerCase());
  }

  function filterBar(update) {
    const bar = html("form", { class: "filters", role: "search", "aria-label": "Filter runs" });
    bar.addEventListener("submit", (e) => e.preventDefault());
    const field = (id, label, control) => {
      control.id = "filter-" + id;
      control.addEventListener("input", () => { state.filter[id] = control.value; update(); });
      bar.append(html("p", {}, html("label", { for: control.id }, label), control));
    };
    for (const f of filters) {
      const values = [...new Set(state.runs.flatMap(f.of).filter(Boolean))].sort();
      if (state.filter[f.id] && !values.includes(state.filter[f.id])) values.push(state.filter[f.id]);
      field(f.id, f.label, html("select", {}, html("option", { value: "" }, "any"), ...values.map((v) => html("option", { value: v }, v))));
    }
    field("from", "From", html("input", { type: "date" }));
    field("to", "To", html("input", { type: "date" }));
    field("text", "Text", html("input", { type: "search", placeholder: "name, verdict, reason" }));
    const clear = html("button", { type: "button" }, "Clear");
    clear.addEventListener("click", () => { state.filter = {}; bar.reset(); update(); });
    bar.append(html("p", {}, clear));
    // What the address asks for is no default, to which a form is reset.
    for (const id of [...filters.map((f) => f.id), "from", "to", "text"]) bar.querySelector("#filter-" + id).value = state.filter[id] || "";
    return bar;
  }

  function row(e, chosen) {
    const pick = html("input", { type: "checkbox", "aria-label": "Choose " + e.id });
    pick.checked = state.chosen.has(e.id);
    pick.disabled = !!e.broken;
    pick.addEventListener("change", () => { if (pick.checked) state.chosen.add(e.id); else state.chosen.delete(e.id); chosen(); });
    const name = html(e.broken ? "span" : "a", e.broken ? { class: "id" } : { class: "id", href: reportOf([e.id]) }, e.id);
    const words = e.broken ? [e.broken] : e.verdicts?.length ? e.verdicts : e.reasons || [];
    const more = words.length > 2 ? html("li", { class: "more" }, `and ${words.length - 2} more`) : null;
    const says = html("ul", { class: "says" }, ...words.slice(0, 2).map((w) => html("li", {}, w)), more);
    const mark = html("span", { class: "status " + condition(e) }, condition(e));
    const cell = (name, label, ...c) => html("td", label ? { class: name, "data-label": label } : { class: name }, ...c);
    return html("tr", { "data-run": e.id },
      cell("pick", "", pick), html("th", { scope: "row" }, name), cell("scenario", "Scenario", e.scenario || ""),
      cell("target", "Target", (e.targets || []).join(", ")), cell("state", "", mark, e.live ? html("a", { class: "watch", href: "#/live?" + query([["run", e.id]]) }, "watch") : null,
        e.failed ? html("span", { class: "note" }, plural(e.failed, "threshold") + " failed") : null,
        e.warnings ? html("span", { class: "note" }, plural(e.warnings, "warning")) : null),
      cell("when", "Started", when(e.started)), cell("took", "Took", took(e)), cell("words", "", says));
  }

  async function list(params) {
    state.filter = Object.fromEntries(params);
    const l = await ask("api/runs");
    state.runs = l.runs;
    document.getElementById("dir").textContent = l.dir;
    for (const id of [...state.chosen]) if (!l.runs.some((e) => e.id === id && !e.broken)) state.chosen.delete(id);
    const body = html("tbody");
    const found = html("span", { class: "found", role: "status" });
    // These controls stay what they are, so that whoever uses one does not lose it.
    const different = html("input", { type: "checkbox", id: "different" });
    const none = html("button", { type: "button" }, "Choose none");
    const compare = html("a", { id: "compare" });
    const chosen = () => {
      const ids = [...state.chosen];
      different.checked = state.different;
      none.setAttribute("aria-disabled", String(!ids.length)); // one that is disabled would lose the focus
      if (ids.length < 2) compare.removeAttribute("href"); else compare.href = reportOf(byTime(ids), state.different ? [["different", "yes"]] : []);
      compare.textContent = ids.length < 2 ? "Compare: choose two runs or more" : `Compare ${ids.length} runs`;
    };
    different.addEventListener("change", () => { state.different = different.checked; chosen(); });
    none.addEventListener("click", () => {
      state.chosen.clear();
      for (const pick of body.querySelectorAll("input")) pick.checked = false;
      chosen();
    });
    const actions = html("div", { class: "bar" }, found, html("label", {}, different, " even if machines, targets or settings differ"), none, compare);
    // The earlier run is what the later one is compared with.
    const byTime = (ids) => state.runs.filter((e) => ids.includes(e.id)).reverse().map((e) => e.id);
    const update = () => {
      const some = state.runs.filter(matches);
      body.replaceChildren(...some.map((e) => row(e, chosen)));
      found.textContent = some.length === state.runs.length ? plural(some.length, "run") : `${some.length} of ${plural(state.runs.length, "run")}`;
      if (l.omitted) found.textContent += `; ${l.omitted} older entries are not listed`;
      const q = query(Object.entries(state.filter));
      history.replaceState(null, "", q ? "#/?" + q : "#/");
      chosen();
    };
    const table = html("table", { class: "runs" }, html("thead", {}, html("tr", {}, ...["", "Run", "Scenario", "Target", "State", "Started (UTC)", "Took", "Verdict"]
      .map((h) => html("th", { scope: "col" }, h)))), body);
    main.replaceChildren(html("h1", {}, "Runs"), filterBar(update), actions,
      l.runs.length ? table : html("p", {}, "There is no run yet: xmppbench run makes one."));
    update();
  }

  // --- trends ---

  async function trend(params) {
    const { runs, dir } = await ask("api/runs");
    document.getElementById("dir").textContent = dir;
    const scenarios = [...new Set(runs.map((e) => e.scenario).filter(Boolean))].sort();
    const scenario = params.get("scenario") || scenarios[0] || "";
    const t = await ask("api/trend?" + query([["scenario", scenario], ["metric", params.get("metric")]]));
    const choose = (id, label, values, value, to) => {
      const s = html("select", { id }, ...values.map((v) => html("option", { value: v }, v)));
      s.value = value;
      s.addEventListener("change", () => { location.hash = "#/trend?" + query(to(s.value)); });
      return html("p", {}, html("label", { for: id }, label), s);
    };
    const bar = html("form", { class: "filters" }, choose("trend-scenario", "Scenario", scenarios, scenario, (v) => [["scenario", v]]),
      choose("trend-metric", "Figure", t.metrics, t.metric, (v) => [["scenario", scenario], ["metric", v]]));
    const picture = html("div", { class: "chart" });
    const arms = t.series.map((s) => ({ label: [s.variant, s.plan === "all" ? "" : s.plan, s.target, s.machine].filter(Boolean).join(", ") }));
    const theme = charts.theme();
    const key = html("ul", { class: "key" }, ...arms.map((a, i) => html("li", {}, charts.swatch(theme, i), " ", a.label)));
    const format = charts.unit(t.unit);
    const rows = t.series.flatMap((s, i) => s.points.map((p) => html("tr", {}, html("th", { scope: "row" }, html("a", { href: reportOf([p.run]) }, p.run)),
      html("td", {}, when(p.started)), html("td", {}, arms[i].label), html("td", {}, format(p.median)), html("td", {}, `${format(p.min)} to ${format(p.max)}`), html("td", {}, String(p.blocks)))));
    main.replaceChildren(html("h1", {}, "Trend"), bar,
      html("p", { class: "caption" }, "Each point is a run: the median of its blocks, between their smallest and largest. Runs of different times differ for reasons of their own; compare what matters in one run."),
      ...(t.series.length ? [html("section", { class: "panel" }, key, picture), html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "figures" }, html("table", { class: "points" }, html("thead", {}, html("tr", {},
        ...["Run", "Started (UTC)", "Series", "Median", "Range", "Blocks"].map((h) => html("th", { scope: "col" }, h)))), html("tbody", {}, ...rows)))]
        : [html("p", {}, "No run of this scenario has ended with figures.")]));
    state.trend = t;
    if (!t.series.length) return;
    const xs = [...new Set(t.series.flatMap((s) => s.points.map((p) => Date.parse(p.started) / 1000)))].sort((a, b) => a - b);
    const data = [xs], series = [], bands = [], dots = [];
    t.series.forEach((s, i) => {
      const points = new Map(s.points.map((p) => [Date.parse(p.started) / 1000, p]));
      const take = (k) => xs.map((x) => points.get(x)?.[k] ?? null);
      const stroke = charts.color(theme, i);
      data.push(take("median"), take("max"), take("min"));
      series.push({ label: arms[i].label, stroke, width: 2, dash: charts.dash(i), spanGaps: true, points: { show: false } });
      for (const p of s.points) dots.push({ arm: i, x: Date.parse(p.started) / 1000, y: p.median });
      for (const end of ["largest", "smallest"]) series.push({ label: `${arms[i].label} ${end}`, stroke: "transparent", width: 0, quiet: true, spanGaps: true, points: { show: false } });
      bands.push({ series: [data.length - 2, data.length - 1], fill: charts.alpha(stroke, 0.14) });
    });
    const values = data.slice(1).flat().filter((v) => v != null);
    const span = xs[xs.length - 1] - xs[0] || 60;
    const top = Math.max(...values);
    state.chart = charts.lines(picture, {
      label: `${t.metric} over time`, data, series, bands, height: 360, hooks: { draw: [(u) => charts.paint(u, dots, { theme })] },
      x: { label: "time (UTC)", range: [xs[0] - span * 0.03, xs[xs.length - 1] + span * 0.03], wide: 9,
        format: (v) => { const d = new Date(v * 1000).toISOString(); return span > 172800 ? d.slice(5, 10) : d.slice(11, span > 600 ? 16 : 19); } },
      y: { label: t.metric, format, range: [Math.min(0, ...values), top > 0 ? top * 1.08 : 1] },
    }, { theme });
    state.leave = () => state.chart.destroy();
  }

  // --- a run under way ---

  const span = 600; // seconds that are kept and drawn
  const pause = 10_000; // milliseconds between two sentences for those who listen

  // course is what has been seen of a run so far.
  const course = () => ({ t0: null, latencies: new Map(), figures: [], blocks: new Map(), skipped: new Set(), elapsed: 0, lateness: 0, errors: 0, ended: "" });
  // trim drops what is older than the span, in a list in order of time.
  function trim(list, time) {
    const from = time(list[list.length - 1]) - span;
    if (time(list[0]) < from) list.splice(0, list.findIndex((x) => time(x) >= from));
  }

  // living is a chart that takes further figures as they come. It is drawn anew only if its
  // lines are others than before.
  function living(el, theme) {
    let chart = null, lines = "";
    const destroy = () => { chart?.destroy(); chart = null; lines = ""; };
    return {
      destroy,
      get chart() { return chart; },
      show(o, key) {
        const wanted = [o.label, ...o.series.map((s) => s.label)].join("\n");
        if (wanted === lines) { chart.update(o); return; }
        charts.keepFocus(el, () => { destroy(); chart = charts.lines(el, o, { theme }); el.prepend(html("ul", { class: "key" }, ...key)); });
        lines = wanted;
      },
    };
  }

  async function watch(params) {
    const id = params.get("run") || "";
    const progress = html("p", { class: "progress" }, "waiting for the run");
    const spoken = html("p", { class: "hidden", role: "status" });
    const bar = html("progress", { max: "1", value: "0", "aria-label": "blocks" });
    const metric = html("select", { id: "live-metric" });
    const picture = html("div", { class: "chart" }), machine = html("div", { class: "chart" });
    const panel = (title, ...c) => html("section", { class: "panel" }, html("h2", {}, title), ...c);
    const events = html("ol", { class: "events", reversed: "" });
    const report = html("a", { href: reportOf([id]) }, "Report of what there is");
    main.replaceChildren(html("h1", {}, "Under way: ", html("span", {}, id)), progress, spoken, bar,
      panel("Response times", html("p", { class: "choose" }, html("label", { for: "live-metric" }, "Show "), metric), picture),
      panel("Processes", machine), panel("Events", events), html("p", {}, report));
    const { runs } = await ask("api/runs");
    const about = runs.find((e) => e.id === id) || {};
    const primary = (about.primary || "").replace(/\.(mean|p50|max)$/, "");
    const arms = Math.max(1, (about.variants || []).length) * Math.max(1, about.plans || 1);
    const seen = course();
    state.live = seen;
    const theme = charts.theme();
    const responses = living(picture, theme), processes = living(machine, theme);
    state.charts = [responses, processes];
    const drawResponses = () => {
      const points = seen.latencies.get(metric.value) || [];
      if (!points.length) { responses.destroy(); return; }
      const variants = [...new Set(points.map((p) => p.variant))];
      const xs = [...new Set(points.map((p) => p.t))].sort((a, b) => a - b);
      const data = [xs], series = [];
      variants.forEach((v, i) => {
        const mine = new Map(points.filter((p) => p.variant === v).map((p) => [p.t, p]));
        const stroke = charts.color(theme, i);
        data.push(xs.map((x) => mine.get(x)?.mean ?? null), xs.map((x) => mine.get(x)?.max ?? null));
        series.push({ label: v + " mean", stroke, width: 2, dash: charts.dash(i), spanGaps: true, points: { show: true, size: 4, fill: stroke, stroke, width: 0 } });
        series.push({ label: v + " maximum", stroke, width: 0, paths: () => null, points: { show: true, size: 6, fill: theme.paper, stroke, width: 1.5 } });
      });
      const values = data.slice(1).flat().filter((v) => v > 0);
      responses.show({
        label: `${metric.value} while the run goes on`, data, series, height: 300,
        x: { label: "seconds since the run began", range: [xs[0], Math.max(xs[xs.length - 1], xs[0] + 1)], format: charts.count },
        y: { label: metric.value, log: true, format: charts.seconds, range: [Math.min(...values) / 1.2, Math.max(...values) * 1.2] },
      }, variants.map((v, i) => html("li", {}, charts.swatch(theme, i, "line"), " ", v, ": mean as a line, maximum as rings")));
    };
    const drawProcesses = () => {
      const figures = seen.figures;
      const roles = [...new Set(figures.flatMap((f) => Object.keys(f.figures || {})))].filter((k) => k.startsWith("cpu.") && k.split(".").length === 2).sort();
      if (figures.length < 2 || !roles.length) { processes.destroy(); return; }
      const xs = figures.slice(1).map((f) => f.elapsed);
      const lines = roles.map((r) => figures.slice(1).map((f, i) => {
        const before = figures[i], d = f.figures?.[r] - before.figures?.[r];
        return d >= 0 ? d / Math.max(1e-3, f.elapsed - before.elapsed) : null;
      }));
      processes.show({
        label: "cores used by each process", data: [xs, ...lines], height: 200,
        series: roles.map((r, i) => ({ label: r.slice(4), stroke: charts.color(theme, i), width: 2, dash: charts.dash(i), spanGaps: true, points: { show: false } })),
        x: { label: "seconds since the run began", range: [xs[0], Math.max(xs[xs.length - 1], xs[0] + 1)], format: charts.count },
        y: { label: "cores", format: charts.count, range: [0, Math.max(0.1, ...lines.flat().filter((v) => v != null)) * 1.1] },
      }, roles.map((r, i) => html("li", {}, charts.swatch(theme, i, "line"), " ", r.slice(4))));
    };
    // A run may write faster than anybody reads.
    let due = 0;
    const redraw = () => { due = due || setTimeout(() => { due = 0; drawResponses(); drawProcesses(); }, 400); };
    metric.addEventListener("change", () => { metric.dataset.set = "1"; drawResponses(); });
    // Whoever listens hears how it goes now and then, and at once that it has ended.
    let said = 0;
    const say = (text) => {
      const now = performance.now();
      if (said && now - said < pause && !seen.ended) return;
      said = now;
      spoken.textContent = text;
    };
    const tell = () => {
      // A variant that the target does not speak is left out, with what it ran before.
      const counted = [...seen.blocks.values()].filter((b) => !seen.skipped.has(b.arm));
      const valid = counted.filter((b) => b.valid).length, bad = counted.length - valid;
      const cells = (about.blocks || 0) * Math.max(0, arms - seen.skipped.size);
      progress.textContent = [
        cells ? `${valid} of ${cells} cells` : plural(valid, "cell"), bad ? `${bad} not valid` : "", seen.skipped.size ? `${seen.skipped.size} skipped` : "",
        seen.elapsed ? `${Math.round(seen.elapsed)} s` : "", `largest lateness ${charts.seconds(seen.lateness)}`, seen.errors ? plural(seen.errors, "error") : "no errors", seen.ended,
      ].filter(Boolean).join("  ·  ");
      say(progress.textContent);
      bar.value = cells ? Math.min(1, valid / cells) : 0;
      redraw();
    };
    const take = (u) => {
      for (const s of u.seconds || []) {
        seen.elapsed = Math.max(seen.elapsed, s.elapsed);
        if (s.figures) seen.figures.push(s);
        if (seen.t0 == null) seen.t0 = Date.parse(s.time) / 1000 - s.elapsed;
        for (const c of s.counts || []) for (const kinds of Object.values(c.errors || {})) for (const n of Object.values(kinds)) seen.errors += n;
      }
      if (seen.figures.length) trim(seen.figures, (f) => f.elapsed);
      for (const b of u.blocks || []) {
        const arm = JSON.stringify([b.plan, b.variant]);
        if (b.skipped) seen.skipped.add(arm); else seen.blocks.set(JSON.stringify([b.plan, b.variant, b.block]), { arm, valid: b.valid });
      }
      for (const l of u.latencies || []) {
        if (!seen.latencies.has(l.metric)) seen.latencies.set(l.metric, []);
        if (![...metric.options].some((o) => o.value === l.metric)) metric.append(html("option", { value: l.metric }, l.metric));
        if (l.metric === primary && !metric.dataset.set) { metric.value = primary; metric.dataset.set = "1"; }
        seen.latencies.get(l.metric).push({ t: Math.round(l.start + l.length - (seen.t0 ?? l.start)), variant: l.variant, mean: l.mean, max: l.max, n: l.n });
        seen.lateness = Math.max(seen.lateness, l.lateness);
      }
      for (const list of seen.latencies.values()) trim(list, (p) => p.t);
      for (const e of u.events || []) {
        events.prepend(html("li", { class: "event-" + e.kind }, html("time", {}, (e.time || "").slice(11, 19)), " ", html("strong", {}, e.kind), " ", e.text || ""));
        while (events.children.length > 200) events.lastChild.remove();
      }
      tell();
    };
    const end = (how) => { seen.ended = how; tell(); };
    const source = new EventSource("api/live?" + query([["run", id]]));
    // The server tells a run from its beginning: after a lost connection once more.
    source.addEventListener("open", () => { Object.assign(seen, course()); events.replaceChildren(); });
    source.addEventListener("update", (e) => take(JSON.parse(e.data)));
    source.addEventListener("end", (e) => {
      const d = JSON.parse(e.data);
      source.close();
      end(d.error ? "stopped: " + d.error : "ended: " + [d.status, ...(d.reasons || [])].join(", "));
    });
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED && !seen.ended) end("the server does not answer, or the run cannot be read");
    });
    state.leave = () => { source.close(); clearTimeout(due); responses.destroy(); processes.destroy(); };
  }

  // --- which of them ---

  const views = { "": list, trend, live: watch };
  async function route() {
    state.leave?.();
    state.leave = null;
    delete document.documentElement.dataset.ready;
    const [, name, q] = location.hash.match(/^#\/?([a-z]*)\??(.*)$/) || ["", "", ""];
    for (const a of document.querySelectorAll("nav a")) {
      if (a.dataset.view === (name || "runs")) a.setAttribute("aria-current", "page"); else a.removeAttribute("aria-current");
    }
    try {
      await (views[name] || list)(new URLSearchParams(q));
    } catch (err) {
      main.replaceChildren(html("h1", {}, "That did not work"), html("p", { role: "alert" }, err.message), html("p", {}, html("a", { href: "#/" }, "Back to the runs")));
    }
    document.documentElement.dataset.ready = "1";
  }
  addEventListener("hashchange", route);
  // Only pictures have colours of their own.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (state.leave) route(); });
  route();
})();
