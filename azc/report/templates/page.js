// The list of candidates, the tree and the charts. All markup comes from `source`, which is
// trusted; none is created here.
(() => {
  const ROWS = 100; // rows that are listed at once
  const CHILDREN = 30; // children of a node that are shown at once
  const DEEP = 40; // levels of the tree that are open at first
  const FIELDS = ["number", "fate", "line", "score", "place", "parameters", "flops", "parents", "row", "node"];
  const $ = (id) => document.getElementById(id);
  const rows = new Map();
  const entries = new Map();
  for (const each of document.querySelectorAll("details.candidate")) entries.set(Number(each.dataset.number), each);

  function markup(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content;
  }
  function take(list) {
    for (const values of list) {
      const row = Object.fromEntries(FIELDS.map((name, place) => [name, values[place]]));
      rows.set(row.number, row);
    }
  }

  // The list

  const find = $("find");
  const fate = $("fate");
  const order = $("order");
  const kept = new Set(); // candidates that a link led to: listed whatever the filter is
  let limit = ROWS;
  let found = null; // candidates that contain the search words; null without a search

  function entry(row) {
    let each = entries.get(row.number);
    if (each === undefined) {
      each = document.createElement("details");
      each.className = "candidate";
      each.dataset.number = row.number;
      each.append(markup(row.row));
      each.row = row;
      entries.set(row.number, each);
    } else if (each.row !== row) {
      // The rows in the page may be older than the rows that were requested.
      const old = each.row?.row ?? (each.querySelector(".inside") ? row.row : each.querySelector("summary").outerHTML);
      if (old !== row.row) renew(each, row);
      each.row = row;
    }
    return each;
  }
  function renew(each, row) {
    const old = each.querySelector("summary");
    const focused = old === document.activeElement;
    const next = markup(row.row).firstElementChild;
    old.replaceWith(next);
    if (focused) next.focus({ preventScroll: true });
    if (each.querySelector(".inside") !== null) {
      if (each.open) load(each);
      else each.querySelector(".inside").remove();
    }
  }
  async function load(each) {
    const number = Number(each.dataset.number);
    each.setAttribute("aria-busy", "true");
    let next;
    try {
      next = markup(await source.inside(number)).firstElementChild;
    } catch (error) {
      next = document.createElement("p");
      next.className = "inside bad";
      next.textContent = `This candidate can’t be shown: ${error.message}`;
    }
    const old = each.querySelector(".inside");
    const focus = old?.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    if (old) old.replaceWith(next);
    else each.append(next);
    if (focus !== undefined) each.querySelector(`[data-key="${focus}"]`)?.focus({ preventScroll: true });
    each.removeAttribute("aria-busy");
  }
  document.addEventListener("toggle", (event) => {
    const each = event.target;
    if (each.open && each.matches("details.candidate") && each.querySelector(".inside") === null) load(each);
  }, true);

  const last = Number.POSITIVE_INFINITY;
  // Compare values instead of subtracting: Infinity - Infinity is NaN.
  const by = (value, then) => (a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : then(a, b));
  const ORDERS = { number: (a, b) => a.number - b.number, newest: (a, b) => b.number - a.number };
  ORDERS.best = by((row) => row.score ?? last, ORDERS.newest);
  for (const name of ["place", "parameters", "flops"]) ORDERS[name] = by((row) => row[name] ?? last, ORDERS.number);
  function matches(row) {
    if (fate.value === "line" && !row.line) return false;
    if (fate.value && fate.value !== "line" && row.fate !== fate.value) return false;
    return found === null || found.has(row.number);
  }
  function list() {
    const fitting = [...rows.values()].filter(matches).sort(ORDERS[order.value]);
    const shown = fitting.slice(0, limit);
    const there = new Set(shown.map((row) => row.number));
    for (const number of kept) if (!there.has(number) && rows.has(number)) shown.push(rows.get(number));
    const next = shown.map(entry);
    const old = $("list").children;
    if (next.length !== old.length || next.some((each, place) => each !== old[place])) {
      const focus = document.activeElement;
      $("list").replaceChildren(...next);
      if (focus !== document.activeElement && focus?.isConnected) focus.focus({ preventScroll: true });
    }
    $("shown").textContent = `${fitting.length.toLocaleString("en")} of ${rows.size.toLocaleString("en")}`;
    $("none").hidden = rows.size > 0;
    $("sift").hidden = rows.size === 0;
    const more = fitting.length - limit;
    $("more").hidden = more <= 0;
    $("more").firstElementChild.textContent = `Show ${Math.min(more, ROWS)} more`;
  }
  let asked = 0;
  async function look() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const turn = (asked += 1);
    const answer = words.length ? await source.find(words).catch(() => new Set()) : null;
    if (turn !== asked) return; // a newer search has started
    found = answer;
    sift();
  }
  function sift() {
    kept.clear();
    limit = ROWS;
    list();
  }
  find.addEventListener("input", look);
  fate.addEventListener("change", sift);
  order.addEventListener("change", sift);
  find.form.addEventListener("submit", (event) => event.preventDefault());
  $("more").addEventListener("click", () => {
    const first = limit;
    limit += ROWS;
    list();
    $("list").children[first]?.querySelector("summary").focus({ preventScroll: true });
  });

  // Links to a candidate open it

  async function show(id) {
    const number = /^c\d+$/.test(id) ? Number(id.slice(1)) : -1;
    await ready;
    if (!rows.has(number)) return;
    if (!entries.get(number)?.isConnected) {
      kept.add(number);
      list();
    }
    const each = entries.get(number);
    each.open = true;
    for (const other of document.querySelectorAll(".here")) other.classList.remove("here");
    each.classList.add("here");
    if (each.querySelector(".inside") === null) await load(each);
    each.scrollIntoView({ block: "start" });
    each.querySelector("summary").focus({ preventScroll: true });
  }
  window.addEventListener("hashchange", () => show(location.hash.slice(1)));
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#c"]');
    if (link === null || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const id = link.getAttribute("href").slice(1);
    if (!/^c\d+$/.test(id)) return;
    event.preventDefault();
    lead(id);
  });
  function lead(id) {
    // Following the same link twice does not change the hash.
    if (location.hash === `#${id}`) show(id);
    else location.hash = id;
  }

  // The tree: the children of a node are created when it is opened

  const tree = $("tree").querySelector("ul");
  const opened = new Set();
  const wider = new Map(); // number of children shown, if more than the default
  let children = new Map();

  function descend() {
    children = new Map();
    for (const row of rows.values()) {
      const parent = row.parents.length ? row.parents[0] : 0;
      if (!children.has(parent)) children.set(parent, []);
      children.get(parent).push(row);
    }
    for (const each of children.values()) each.sort((a, b) => b.line - a.line || a.number - b.number);
  }
  function node(row) {
    const item = document.createElement("li");
    const label = document.createElement("span");
    label.className = row.line ? "node line" : "node";
    label.append(markup(row.node));
    if (!children.has(row.number)) {
      item.append(label);
      return item;
    }
    const details = document.createElement("details");
    const summary = document.createElement("summary");
    const inside = document.createElement("ul");
    summary.append(label);
    details.append(summary, inside);
    details.dataset.node = row.number;
    details.open = opened.has(row.number);
    item.append(details);
    return item;
  }
  function fill(place, parent) {
    const all = children.get(parent) ?? [];
    const most = wider.get(parent) ?? CHILDREN;
    const items = all.slice(0, most).map(node);
    if (all.length > most) {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = `${(all.length - most).toLocaleString("en")} more`;
      button.addEventListener("click", () => {
        wider.set(parent, most + 4 * CHILDREN);
        fill(place, parent);
        unfold(place);
      });
      item.append(button);
      items.push(item);
    }
    place.replaceChildren(...items);
  }
  function unfold(place) {
    const todo = [...place.querySelectorAll("details[open]")];
    while (todo.length) {
      const details = todo.pop();
      const inside = details.querySelector("ul");
      fill(inside, Number(details.dataset.node));
      todo.push(...inside.querySelectorAll("details[open]"));
    }
  }
  function grow() {
    const focus = tree.contains(document.activeElement)
      ? document.activeElement.closest("details")?.dataset.node
      : undefined;
    descend();
    fill(tree, 0);
    unfold(tree);
    $("tree").hidden = rows.size < 2;
    if (focus !== undefined) tree.querySelector(`[data-node="${focus}"] > summary`)?.focus({ preventScroll: true });
  }
  tree.addEventListener("toggle", (event) => {
    const details = event.target;
    const number = Number(details.dataset.node);
    if (details.open === opened.has(number)) return;
    if (details.open) {
      opened.add(number);
      fill(details.querySelector("ul"), number);
      unfold(details.querySelector("ul"));
    } else opened.delete(number);
  }, true);

  // The charts: the dot under the pointer shows its name, and links to its candidate

  const dots = new WeakMap();
  function places(path) {
    if (!dots.has(path)) {
      const numbers = path.dataset.n.split(" ").map(Number);
      const points = path.getAttribute("d").slice(1, -2).split("h0M").map((each) => each.split(",").map(Number));
      dots.set(path, points.map(([x, y], place) => ({ x, y, number: numbers[place] })));
    }
    return dots.get(path);
  }
  function nearest(svg, event) {
    const box = svg.getBoundingClientRect();
    const scale = box.width / svg.viewBox.baseVal.width;
    const [x, y] = [(event.clientX - box.x) / scale, (event.clientY - box.y) / scale];
    let best = null;
    let least = (16 / scale) ** 2;
    for (const path of svg.querySelectorAll("path.dots")) {
      for (const dot of places(path)) {
        const far = (dot.x - x) ** 2 + (dot.y - y) ** 2;
        if (far <= least) [best, least] = [dot, far];
      }
    }
    return best && { number: best.number, x: box.x + best.x * scale, y: box.y + best.y * scale };
  }
  const tip = $("tip");
  document.addEventListener("pointermove", (event) => {
    const svg = event.target.closest?.("svg.chart");
    const dot = svg ? nearest(svg, event) : null;
    if (svg) svg.style.cursor = dot ? "pointer" : "";
    tip.hidden = dot === null;
    if (dot === null) return;
    const score = rows.get(dot.number)?.score;
    const name = String(dot.number).padStart(4, "0");
    tip.textContent = score == null ? name : `${name} · ${score.toFixed(3)} nats`;
    tip.style.left = `${Math.min(Math.max(dot.x, 80), innerWidth - 80) + scrollX}px`;
    tip.style.top = `${dot.y + scrollY}px`;
  });
  document.addEventListener("click", (event) => {
    const svg = event.target.closest("svg.chart");
    const dot = svg ? nearest(svg, event) : null;
    if (dot !== null) lead(`c${dot.number}`);
  });

  const ready = source.rows().then((all) => {
    take(all);
    const line = [...rows.values()].filter((row) => row.line).sort((a, b) => a.number - b.number);
    for (const row of line.slice(0, DEEP)) opened.add(row.number);
    list();
    grow();
    document.body.dataset.ready = "";
  }).catch((error) => {
    const note = document.createElement("p");
    note.className = "notice";
    note.textContent = `The full list can’t be shown: ${error.message}`;
    $("list").before(note);
  });
  // A live page receives the rows that have changed.
  document.addEventListener("azc:rows", async (event) => {
    await ready;
    if (event.detail.length === 0) return;
    take(event.detail);
    if (found !== null) await look();
    else list();
    grow();
  });
  if (location.hash) show(location.hash.slice(1));
})();
