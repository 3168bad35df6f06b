// Test images with question, truth and what each model answered; filters are pure functions of the data.
"use strict";

const gallery = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const get = (id) => document.getElementById(id);
  const PAGE = 24; // cards added at a time
  const right = (score) => score >= 50; // scores are in percent

  const questions = data.benchmarks.flatMap((benchmark) =>
    benchmark.questions.map((question) => ({ ...question, benchmark, text: `${question.question}\n${question.target}\n${question.id}`.toLowerCase() })),
  );

  // The cells of one group of models (a method at one budget) in the order of LLMs and token counts.
  const groups = data.groups.map((group) => {
    const cells = group.cells.map((index) => ({ index, ...data.cells[index] }));
    const llms = [...new Map(cells.map((cell) => [cell.llm, cell.n])).entries()].sort((a, b) => a[1] - b[1]).map(([llm]) => llm);
    const counts = [...new Set(cells.map((cell) => cell.v))].sort((a, b) => a - b);
    return { ...group, cells, llms, counts };
  });

  // The counts at which an LLM of the group was measured, fewest first.
  const countsOf = (group, llm) =>
    group.cells.filter((cell) => cell.llm === llm).map((cell) => cell.v).sort((a, b) => a - b);

  // Whether the largest LLM is right with its fewest tokens, and with its most.
  function ends(scores, group) {
    const [largest] = group.llms.slice(-1);
    const counts = countsOf(group, largest);
    const few = scores([largest], counts.slice(0, 1));
    const many = scores([largest], counts.slice(-1));
    return few.length && many.length ? [few.every(right), many.every(right)] : [null, null];
  }

  // What may be asked of a question. `scores(llms, counts)` lists its scores in the cells that were measured.
  const SHOW = [
    ["every question", () => true],
    ["wrong with the fewest tokens, right with the most (largest LLM)", (scores, group) => {
      const [few, many] = ends(scores, group);
      return few === false && many === true;
    }],
    ["right with the fewest tokens, wrong with the most (largest LLM)", (scores, group) => {
      const [few, many] = ends(scores, group);
      return few === true && many === false;
    }],
    ["only the largest LLM is ever right", (scores, { llms, counts }) =>
      scores(llms.slice(-1), counts).some(right) && !scores(llms.slice(0, -1), counts).some(right)],
    ["only the smallest LLM is ever right", (scores, { llms, counts }) =>
      scores(llms.slice(0, 1), counts).some(right) && !scores(llms.slice(1), counts).some(right)],
    ["every model is right", (scores, { llms, counts }) => scores(llms, counts).every(right)],
    ["every model is wrong", (scores, { llms, counts }) => !scores(llms, counts).some(right)],
  ];

  function scoresOf(question, group) {
    return (llms, counts) =>
      group.cells
        .filter((cell) => llms.includes(cell.llm) && counts.includes(cell.v))
        .map((cell) => question.scores[cell.index])
        .filter((score) => score !== null);
  }

  // The questions that fit: benchmark (a name or ""), group and show (their numbers), search (text).
  function select({ benchmark, group, show, search }) {
    const wanted = search.trim().toLowerCase();
    const chosen = groups[group];
    return questions.filter(
      (question) =>
        (!benchmark || question.benchmark.name === benchmark) &&
        (!wanted || question.text.includes(wanted)) &&
        SHOW[show][1](scoresOf(question, chosen), chosen),
    );
  }

  function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text; // never as HTML: answers are anything
    if (className) made.className = className;
    return made;
  }

  function table(question, group) {
    const made = element("table");
    const head = element("tr");
    head.append(element("th", "V ="), ...group.counts.map((v) => element("th", v)));
    made.append(head);
    for (const llm of group.llms) {
      const row = element("tr");
      row.append(element("th", llm));
      for (const v of group.counts) {
        const cells = group.cells.filter((cell) => cell.llm === llm && cell.v === v && question.scores[cell.index] !== null);
        if (!cells.length) row.append(element("td", "–"));
        else {
          // Seeds stand side by side.
          const good = cells.every((cell) => right(question.scores[cell.index]));
          const said = cells.map((cell) => question.benchmark.answers[question.answers[cell.index]]).join(" | ");
          const cell = element("td", said || "(nothing)", good ? "right" : "wrong");
          cell.title = good ? "right" : "wrong";
          row.append(cell);
        }
      }
      made.append(row);
    }
    return made;
  }

  function card(question, group) {
    const made = element("article");
    if (question.image !== null) {
      const image = element("img");
      image.loading = "lazy";
      image.alt = `image of question ${question.id}`;
      image.addEventListener("load", () => made.classList.toggle("small", image.naturalWidth < 160));
      image.src = data.images[question.image];
      made.append(image);
    }
    const scroll = element("div", undefined, "scroll");
    scroll.append(table(question, group));
    made.append(
      element("p", question.question, "question"),
      element("p", `Truth: ${question.target}`),
      scroll,
      element("p", `${question.benchmark.name}, ${question.benchmark.family}, ${question.id}`, "id"),
    );
    return made;
  }

  let writing = 0;
  let found = [];
  let shown = 0;

  function more() {
    const group = groups[Number(get("models").value)];
    get("cards").append(...found.slice(shown, shown + PAGE).map((question) => card(question, group)));
    shown = Math.min(shown + PAGE, found.length);
    get("end").textContent = shown < found.length ? "More follows as you scroll." : found.length ? "That is all." : "No question fits. Choose less.";
  }

  function update() {
    const state = { benchmark: get("benchmark").value, group: Number(get("models").value), show: Number(get("show").value), search: get("search").value };
    found = select(state);
    shown = 0;
    get("cards").replaceChildren();
    get("count").textContent = `${found.length} of ${questions.length} questions`;
    clearTimeout(writing); // browsers refuse an address that changes with every letter
    writing = setTimeout(() => history.replaceState(null, "", `#${new URLSearchParams(state)}`), 150);
    more();
  }

  const option = (value, text) => Object.assign(element("option", text), { value });

  function start() {
    get("title").textContent = data.title;
    get("note").textContent = data.note;
    get("benchmark").append(option("", "all"), ...data.benchmarks.map(({ name, family }) => option(name, `${name} (${family})`)));
    get("models").append(...groups.map((group, i) => option(i, group.name)));
    get("show").append(...SHOW.map(([text], i) => option(i, text)));
    const fields = new URLSearchParams(location.hash.slice(1));
    for (const [id, key] of [["benchmark", "benchmark"], ["models", "group"], ["show", "show"]]) {
      const wanted = fields.get(key);
      if ([...get(id).options].some(({ value }) => value === wanted)) get(id).value = wanted;
    }
    get("search").value = fields.get("search") || "";
    get("filters").addEventListener("submit", (event) => event.preventDefault());
    get("filters").addEventListener("input", update);
    new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && shown < found.length && more(), { rootMargin: "800px" }).observe(get("end"));
    update();
  }

  return { select, start, data, groups };
})();

gallery.start();
