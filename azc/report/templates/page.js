// Ways to a candidate open it; the list can be searched and ordered. Nothing here makes
// markup: texts that are shown were written by the page.
"use strict";
(() => {
  const list = document.getElementById("list");
  const all = () => [...list.querySelectorAll("details.candidate")];

  function show(id) {
    const found = /^c\d+$/.test(id) ? document.getElementById(id) : null;
    if (found === null) return;
    const entry = found.closest("details");
    entry.hidden = false;
    entry.open = true;
    for (const other of document.querySelectorAll(".here")) other.classList.remove("here");
    for (const dot of document.querySelectorAll(`a.dot[href="#${id}"]`)) dot.classList.add("here");
    entry.classList.add("here");
    entry.scrollIntoView({ block: "start" });
    entry.querySelector("summary").focus({ preventScroll: true });
  }
  window.addEventListener("hashchange", () => show(location.hash.slice(1)));
  document.addEventListener("click", (event) => {
    // The same way a second time changes no hash.
    const link = event.target.closest('a[href^="#c"]');
    if (link === null || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const id = link.getAttribute("href").slice(1);
    if (location.hash === `#${id}`) {
      event.preventDefault();
      show(id);
    }
  });

  const find = document.getElementById("find");
  const fate = document.getElementById("fate");
  const order = document.getElementById("order");
  const shown = document.getElementById("shown");
  const texts = new WeakMap();

  function matches(entry, words) {
    if (fate.value === "line" && !entry.classList.contains("line")) return false;
    if (fate.value && fate.value !== "line" && entry.dataset.fate !== fate.value) return false;
    if (!words.length) return true;
    if (!texts.has(entry)) texts.set(entry, entry.textContent.toLowerCase());
    return words.every((word) => texts.get(entry).includes(word));
  }
  function sift() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    const candidates = all();
    for (const entry of candidates) {
      entry.hidden = !matches(entry, words);
      if (!entry.hidden) count += 1;
    }
    shown.textContent = `${count} of ${candidates.length}`;
  }
  function sort() {
    const key = order.value;
    const value = (entry) => Number(entry.dataset[key]);
    const candidates = all();
    candidates.sort((a, b) => value(a) - value(b) || a.dataset.number - b.dataset.number);
    list.append(...candidates);
  }
  function tools() {
    for (const each of document.querySelectorAll(".tools[hidden]")) each.hidden = all().length === 0;
  }
  find.addEventListener("input", sift);
  fate.addEventListener("change", sift);
  order.addEventListener("change", sort);
  find.form.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-open], button[data-close]");
    if (button === null) return;
    for (const each of document.getElementById(button.dataset.open ?? button.dataset.close).querySelectorAll("details")) {
      each.open = button.dataset.open !== undefined;
    }
  });
  // A page that follows its run has new candidates, and parts without their tools.
  document.addEventListener("azc:changed", () => {
    tools();
    if (order.value !== "number") sort();
    sift();
  });
  tools();
  sift();
  if (location.hash) show(location.hash.slice(1));
})();
