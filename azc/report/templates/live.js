// The page follows its run: what has changed is put in its place, and what is open, typed
// or in focus stays so. Acts are sent, and what comes of them is said.
"use strict";
(() => {
  const parts = (page) => [page.getElementById("top"), ...page.querySelectorAll("main > section")];
  const split = new Set(["steer", "candidates"]); // of these, only the parts in them change
  const inside = ["now", "draws", "acts"];
  const seen = new Map(); // as the server has sent it, not as it was opened since

  const name = (entry) =>
    entry.dataset.number ?? entry.querySelector("summary")?.textContent ?? "";
  function put(old, fresh) {
    if (seen.get(old.id || old.dataset.number) === fresh.outerHTML) return;
    seen.set(old.id || old.dataset.number, fresh.outerHTML);
    const next = document.importNode(fresh, true);
    const focus = old.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    const open = new Map([...opened(old)].map((each) => [name(each), each.open]));
    for (const each of opened(next)) {
      if (open.has(name(each))) each.open = open.get(name(each));
    }
    if (old.classList.contains("here")) next.classList.add("here");
    old.replaceWith(next);
    if (focus !== undefined) {
      [...next.querySelectorAll("[data-key]")].find((each) => each.dataset.key === focus)?.focus({ preventScroll: true });
    }
  }
  function* opened(entry) {
    if (entry.matches("details")) yield entry;
    yield* entry.querySelectorAll("details");
  }
  function remember(page) {
    for (const part of parts(page)) if (!split.has(part.id)) seen.set(part.id, part.outerHTML);
    for (const id of inside) seen.set(id, page.getElementById(id).outerHTML);
    for (const each of page.querySelectorAll("details.candidate")) seen.set(each.dataset.number, each.outerHTML);
  }
  function swap(page) {
    const main = document.querySelector("main");
    let last = null;
    for (const fresh of parts(page)) {
      const old = document.getElementById(fresh.id);
      if (old === null) {
        seen.set(fresh.id, fresh.outerHTML);
        last.after(document.importNode(fresh, true));
      } else if (!split.has(fresh.id)) put(old, fresh);
      const here = document.getElementById(fresh.id);
      if (here.parentElement === main || last === null) last = here.parentElement === main ? here : main.firstElementChild;
    }
    for (const old of main.querySelectorAll(":scope > section")) {
      if (page.getElementById(old.id) === null) old.remove();
    }
    for (const id of inside) put(document.getElementById(id), page.getElementById(id));
    document.getElementById("budget").min = page.getElementById("budget").min;
    const list = document.getElementById("list");
    const there = new Map([...list.querySelectorAll("details.candidate")].map((each) => [each.dataset.number, each]));
    if (there.size === 0) list.replaceChildren();
    for (const fresh of page.querySelectorAll("details.candidate")) {
      const old = there.get(fresh.dataset.number);
      if (old !== undefined) put(old, fresh);
      else {
        seen.set(fresh.dataset.number, fresh.outerHTML);
        list.append(document.importNode(fresh, true));
      }
    }
    document.dispatchEvent(new Event("azc:changed"));
  }

  let busy = false;
  let again = false;
  async function refresh() {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    do {
      again = false;
      const answer = await fetch("./").catch(() => null);
      const text = await answer?.text();
      if (answer?.ok) swap(new DOMParser().parseFromString(text, "text/html"));
      else if (answer?.status === 503) say(text.trim(), true);
    } while (again);
    busy = false;
  }
  remember(document);
  const news = new EventSource("events");
  let first = true; // the first news is of the page that is here
  news.onmessage = (event) => {
    document.body.dataset.moment = event.data;
    if (!first) refresh();
    first = false;
  };
  news.onopen = () => say("");
  news.onerror = () => {
    first = false; // whatever came meanwhile was missed
    say("The server does not answer: azc serve has ended, or is out of reach.", true);
  };

  // Acts

  function say(text, bad = false) {
    const said = document.getElementById("said");
    said.textContent = text;
    said.className = bad ? "bad" : "";
  }
  async function act(wanted) {
    const faults = document.getElementById("faults");
    faults.hidden = true;
    let answer;
    try {
      const headers = { "Content-Type": "application/json" };
      answer = await fetch("acts", { method: "POST", headers, body: JSON.stringify(wanted) });
    } catch {
      say("The server does not answer.", true);
      return false;
    }
    const isJson = answer.headers.get("Content-Type") === "application/json";
    const told = isJson ? await answer.json() : { error: { message: await answer.text() } };
    if (answer.ok) {
      say(told.words);
      return true;
    }
    if (told.text !== undefined) {
      faults.textContent = told.text;
      faults.hidden = false;
      say("The program is refused.", true);
    } else {
      const help = told.error.help ? ` (${told.error.help})` : "";
      say(`${told.error.message}${help}`, true);
    }
    return false;
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-act], button[data-times]");
    if (button === null) return;
    const { feature, times } = button.dataset;
    act(feature === undefined ? JSON.parse(button.dataset.act) : { kind: "draw", feature, times: Number(times) });
  });
  document.addEventListener("submit", async (event) => {
    const form = event.target.closest("form[data-form]");
    if (form === null) return;
    event.preventDefault();
    const given = Object.fromEntries(new FormData(form));
    if (form.dataset.form === "budget") await act({ kind: "budget", evaluations: Number(given.evaluations) });
    else if (await act({ kind: form.dataset.form, ...given })) form.reset();
  });
})();
