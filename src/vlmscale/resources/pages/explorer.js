// The explorer's form, its answer in words and its tables. The state stands in the address after "#".
"use strict";

const explorer = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const get = (id) => document.getElementById(id);
  const significant = (value, digits = 4) => String(+value.toPrecision(digits));
  // Halves go to the even number, as Python writes them.
  function percent(share) {
    const exact = 100 * share;
    const rounded = Math.round(exact);
    return `${rounded - exact === 0.5 && rounded % 2 ? rounded - 1 : rounded}%`;
  }
  const named = (row) => `${row.llm} with ${row.v} visual token${row.v > 1 ? "s" : ""}`;
  const units = ["GFLOPs", ...((data.latencies || []).length ? ["ms"] : [])];

  const defaults = () => ({
    law: 0, budget: data.laws[0].budget, unit: "GFLOPs", q: 50, g: 0, cached: false,
    k: 1, image: false, keep: true, memory: null, cost: data.cost,
    llms: data.laws[0].llms.map((llm) => llm.name),
  });
  let settings = defaults();

  // The state as text, "law=0&budget=500&...", and back. What cannot be is left at its default.
  function write(state) {
    const fields = new URLSearchParams();
    for (const [key, value] of Object.entries(state)) {
      if (value !== null) fields.set(key, key === "llms" ? JSON.stringify(value) : value);
    }
    return fields.toString();
  }

  function read(text) {
    const state = defaults();
    const fields = new URLSearchParams(text.replace(/^#/, ""));
    const law = Number(fields.get("law"));
    if (Number.isInteger(law) && data.laws[law]) state.law = law;
    const names = data.laws[state.law].llms.map((llm) => llm.name);
    state.llms = names;
    state.budget = data.laws[state.law].budget;
    for (const key of ["budget", "q", "g"]) {
      const value = Number(fields.get(key));
      if (fields.has(key) && value >= 0 && Number.isFinite(value)) state[key] = key === "budget" ? value : Math.floor(value);
    }
    if (units.includes(fields.get("unit"))) state.unit = fields.get("unit");
    const [k, memory] = [Number(fields.get("k")), Number(fields.get("memory"))];
    if (k >= 1 && Number.isFinite(k)) state.k = Math.floor(k);
    if (fields.get("memory") && memory >= 0 && Number.isFinite(memory)) state.memory = memory;
    for (const key of ["cached", "image", "keep"]) if (fields.has(key)) state[key] = fields.get(key) === "true";
    if (data.costs[fields.get("cost")]) state.cost = fields.get("cost");
    try {
      const chosen = JSON.parse(fields.get("llms") || "null");
      if (Array.isArray(chosen)) state.llms = names.filter((name) => chosen.includes(name));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error; // a damaged address means all LLMs
    }
    return state;
  }

  // The answer as data: what `vlmscale recommend` says for the same question.
  function answer(state = settings) {
    const law = data.laws[state.law];
    const q = (state.cached ? 0 : state.q) + state.g;
    const share = model.prefixShare(data, state);
    const shared = model.share(state) < 1;
    return {
      ...model.rank(data, state), law,
      optimum: q + share > 0 ? model.optima(law, [q], share)[0] : null, // null: no LLM costs anything
      alone: shared ? model.rank(data, { ...state, image: false, k: 1 }).rows : null,
    };
  }

  function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text; // never as HTML: names come from data
    if (className) made.className = className;
    return made;
  }

  // What answers about one image share, and what one question alone would get; as `vlmscale recommend`.
  function explainSharing([best], [alone]) {
    let otherwise = "the budget would allow no answer at all";
    if (alone) otherwise = `the choice would be ${alone.llm === best.llm && alone.v === best.v ? "the same" : named(alone)}`;
    return `${data.sharing[model.prompt(settings)].why} With one question about each image ${otherwise}.`;
  }

  function sentences({ rows, least, leastMemory, optimum, law, alone }) {
    const budget = `${significant(settings.budget, 6)} ${settings.unit}`;
    if (!settings.llms.length) return [["Choose at least one LLM.", "first"]];
    if (settings.memory !== null && leastMemory.gb > settings.memory) {
      return [
        [`No LLM fits into ${significant(settings.memory, 6)} GB.`, "first"],
        [`The smallest need is ${significant(leastMemory.gb, 3)} GB, of ${leastMemory.llm}.`],
      ];
    }
    if (!rows.length) {
      const cheapest = Number.isFinite(least.cost)
        ? `The least that an answer costs is ${significant(least.cost)} ${settings.unit}: ${named(least)}.`
        : "No cost is known for these LLMs and this question.";
      return [[`${budget} allow no answer at all.`, "first"], [cheapest]];
    }
    const [best, second] = rows;
    const said = [
      [named(best), "first"],
      [`Predicted error ${best.error.toFixed(4)} (95 %: ${best.low.toFixed(4)} to ${best.high.toFixed(4)}), for ${significant(best.cost)} of ${budget}.`],
    ];
    if (second) said.push([`Runner-up: ${named(second)}, error ${second.error.toFixed(4)}, ${second.margin.toFixed(4)} more. The choice is the best in ${percent(best.share)} of the law's draws.`]);
    if (alone) said.push([explainSharing(rows, alone)]);
    if (law.more_tokens_always_win) said.push(["By this law (α ≤ β) more tokens beat a larger LLM at every budget: keep as many as the budget allows."]);
    else if (settings.unit === "GFLOPs" && settings.cost.startsWith("nominal") && optimum) said.push([`If LLMs of every size existed: ${significant(optimum.v)} token${optimum.v === 1 ? "" : "s"} (${significant(optimum.low)} to ${significant(optimum.high)}) at any budget.`]);
    for (const row of rows) if (row.extrapolates) said.push([`${row.llm} is extrapolated: ${row.extrapolates}.`, "warning"]);
    return said;
  }

  function fill(table, head, rows) {
    const line = (cells, tag) => {
      const row = element("tr");
      cells.forEach((cell, i) => {
        const made = element(i === 0 && tag === "td" ? "th" : tag, cell);
        if (made.tagName === "TH") made.scope = tag === "th" ? "col" : "row";
        row.append(made);
      });
      return row;
    };
    const [top, body] = [element("thead"), element("tbody")];
    top.append(line(head, "th"));
    body.append(...rows.map((row) => line(row, "td")));
    table.replaceChildren(top, body);
  }

  function showAnswer(found) {
    get("answer").replaceChildren(...sentences(found).map(([text, name]) => element("p", text, name)));
    fill(get("choices"), ["LLM", "tokens", "error", "95 %", "margin", settings.unit, "best in", ...(settings.memory === null ? [] : ["GB"])], found.rows.map((row) => [
      row.llm, row.v, row.error.toFixed(4), `${row.low.toFixed(4)}–${row.high.toFixed(4)}`, row.margin.toFixed(4), significant(row.cost), percent(row.share),
      ...(settings.memory === null ? [] : [significant(row.gb, 3)]),
    ]));
  }

  function showPoints(law) {
    const benchmarks = [...new Set(law.points.flatMap((point) => Object.keys(point.scores || {})))];
    fill(get("points"), ["LLM", "N (billions)", "V", "error", "role", ...benchmarks], law.points.map((point) => [
      point.llm, significant(point.n), point.v, point.error.toFixed(4), point.role,
      ...benchmarks.map((name) => (point.scores && name in point.scores ? point.scores[name].toFixed(3) : "–")),
    ]));
  }

  function draw(found) {
    const chart = (id, make) => {
      const place = get(id);
      place.replaceChildren(make(Math.max(260, place.clientWidth)));
    };
    chart("chart-cost", (width) => charts.cost(data, settings, found, width));
    chart("chart-optimum", (width) => charts.optimum(data, settings, width));
    chart("chart-plane", (width) => charts.plane(data, settings, found, width));
    chart("chart-residuals", (width) => charts.residuals(data, settings, width));
  }

  let frame = 0;
  let writing = 0;
  function update() {
    const started = performance.now();
    const found = answer();
    showAnswer(found);
    explorer.lastAnswerMs = performance.now() - started;
    clearTimeout(writing); // browsers refuse an address that changes with every move of the slider
    writing = setTimeout(() => history.replaceState(null, "", `#${write(settings)}`), 150);
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => draw(found));
  }

  const option = (value, text) => Object.assign(element("option", text), { value });

  // Budgets of the slider: from below the cheapest answer to above the dearest one.
  const ends = () => data.laws[settings.law].budgets;
  const toSlider = (budget) => (1000 * Math.log(budget / ends()[0])) / Math.log(ends()[1] / ends()[0]);
  const fromSlider = (at) => +(ends()[0] * (ends()[1] / ends()[0]) ** (at / 1000)).toPrecision(3);

  function showForm() {
    showLaw();
    for (const id of ["budget", "unit", "q", "g", "k", "memory", "cost"]) get(id).value = settings[id] ?? "";
    for (const id of ["cached", "image", "keep"]) get(id).checked = settings[id];
    showSharing();
    get("budget-slider").value = toSlider(settings.budget);
    get("cost").disabled = settings.unit === "ms";
    get("cost-note").textContent = settings.unit === "ms" ? "Measured times of whole answers." : data.costs[settings.cost].note;
    get("llms").replaceChildren(...data.laws[settings.law].llms.map((llm) => {
      const label = element("label");
      const box = Object.assign(element("input"), { type: "checkbox", value: llm.name, checked: settings.llms.includes(llm.name) });
      label.append(box, ` ${llm.name}`, llm.measured ? "" : " (not measured)");
      return label;
    }));
    const law = data.laws[settings.law];
    get("source").textContent = law.text;
    showPoints(law);
  }

  // Laws of one name differ in the training budget; the second choice is shown where there is one.
  const trainings = () => data.laws.flatMap((law, i) => (law.name === data.laws[settings.law].name ? [i] : []));
  function showLaw() {
    get("law").value = data.laws.findIndex((law) => law.name === data.laws[settings.law].name);
    get("training").replaceChildren(...trainings().map((i) => option(i, data.laws[i].budget_of_training)));
    get("training").value = settings.law;
    get("training-row").hidden = trainings().length < 2;
  }

  // Times are measured for an image each; a prompt cache matters where several questions share an image.
  function showSharing() {
    get("k").disabled = settings.unit === "ms" || settings.image;
    get("image").disabled = settings.unit === "ms";
    get("keep").disabled = model.share(settings) === 1 || settings.cached || !data.sharing.kept.prefix;
  }

  function listen() {
    get("question").addEventListener("submit", (event) => event.preventDefault());
    get("question").addEventListener("input", ({ target }) => {
      const before = settings.law;
      if (target.id === "budget-slider") settings.budget = fromSlider(Number(target.value));
      else if (["budget", "q", "g", "k", "memory"].includes(target.id)) {
        if (!target.checkValidity()) return; // the browser says what is wrong with it
        settings[target.id] = target.value === "" ? null : Number(target.value); // only memory may be empty
      } else if (["cached", "image", "keep"].includes(target.id)) settings[target.id] = target.checked;
      else if (["law", "training"].includes(target.id)) settings.law = Number(target.value);
      else if (target.type === "checkbox") settings.llms = [...get("llms").querySelectorAll("input:checked")].map((box) => box.value);
      else settings[target.id] = target.value;
      if (settings.law !== before) {
        settings.llms = data.laws[settings.law].llms.map((llm) => llm.name);
        settings.budget = Math.min(Math.max(settings.budget, ends()[0]), ends()[1]);
      }
      if (target.id === "budget") get("budget-slider").value = toSlider(settings.budget);
      else if (target.id === "budget-slider") get("budget").value = settings.budget;
      else if (["law", "training", "unit", "cost"].includes(target.id)) showForm();
      showSharing();
      update();
    });
    get("reset").addEventListener("click", () => show(""));
    window.addEventListener("hashchange", () => show(location.hash));
    charts.dark.addEventListener("change", () => draw(answer()));
    new ResizeObserver(() => draw(answer())).observe(get("results"));
  }

  function show(text) {
    settings = read(text);
    showForm();
    update();
  }

  function start() {
    get("title").textContent = data.title;
    get("subtitle").textContent = data.subtitle;
    get("law").append(...data.laws.flatMap((law, i) => (data.laws.findIndex((other) => other.name === law.name) === i ? [option(i, law.name)] : [])));
    get("unit").append(...units.map((unit) => option(unit, unit)));
    get("cost").append(...Object.entries(data.costs).map(([id, cost]) => option(id, cost.label)));
    listen();
    show(location.hash);
  }

  return { answer, read, start, data };
})();

explorer.start();
