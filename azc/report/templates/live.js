// The page follows its run: parts that have changed are received and replaced, without losing
// open details, typed text or the focus. Actions are sent, and their results are shown.
"use strict";
const source = (() => {
  async function ask(where) {
    const answer = await fetch(where);
    if (!answer.ok) throw new Error((await answer.text()).trim());
    return answer;
  }
  return {
    rows: async () => (await (await ask("rows")).json()).rows,
    inside: async (number) => (await ask(`candidate/${number}`)).text(),
    find: async (words) => new Set(await (await ask(`find?${new URLSearchParams({ words: words.join(" ") })}`)).json()),
    changes: async (since) => (await ask(`changes?since=${since}`)).json(),
  };
})();
(() => {
  const name = (entry) => entry.querySelector("summary")?.textContent ?? "";
  function put(id, html) {
    const old = document.getElementById(id);
    const focus = old.contains(document.activeElement) ? document.activeElement : null;
    const open = new Map([...old.querySelectorAll("details")].map((each) => [name(each), each.open]));
    const template = document.createElement("template");
    template.innerHTML = html;
    for (const each of template.content.querySelectorAll("details")) each.open = open.get(name(each)) ?? each.open;
    old.replaceChildren(template.content);
    if (old.matches("section")) old.hidden = html === "";
    if (focus !== null) {
      const again = [...old.querySelectorAll("[data-key], summary, [tabindex]")];
      again.find((each) => (focus.dataset.key ? each.dataset.key === focus.dataset.key : each.isEqualNode(focus)))
        ?.focus({ preventScroll: true });
    }
  }

  const SILENT = "The server does not answer: azc serve was stopped, or can’t be reached.";
  let since = Number(document.body.dataset.version);
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
      try {
        const { version, parts, rows, least } = await source.changes(since);
        for (const [id, html] of Object.entries(parts)) put(id, html);
        document.getElementById("budget").min = least;
        document.dispatchEvent(new CustomEvent("azc:rows", { detail: rows }));
        since = version;
        document.body.dataset.version = version;
        if (missing) say("");
        missing = false;
      } catch (error) {
        missing = true;
        say(error instanceof TypeError ? SILENT : error.message, true);
      }
    } while (again);
    busy = false;
  }

  // A hidden page needs no updates, and browsers limit the number of connections.
  let news = null;
  let missing = false; // whether the last message is that the server can't be reached
  function follow() {
    news?.close();
    news = null;
    if (document.hidden) return;
    news = new EventSource("events");
    news.onmessage = (event) => {
      if (Number(event.data) !== since || missing) refresh();
    };
    news.onerror = async () => {
      missing = true;
      if (news.readyState !== EventSource.CLOSED) say(SILENT, true);
      else {
        // The stream is refused for good; another request shows the reason.
        await refresh();
        if (!missing) say("Too many pages of this run are open: close one, then reload this page.", true);
      }
    };
  }
  document.addEventListener("visibilitychange", follow);
  follow();

  // Actions
  const said = document.getElementById("said");
  let hush = 0;
  function say(text, bad = false) {
    clearTimeout(hush);
    said.textContent = text;
    said.className = bad ? "bad" : "";
    if (!bad && text) hush = setTimeout(() => say(""), 12000);
  }
  async function act(wanted) {
    let answer;
    try {
      const headers = { "Content-Type": "application/json" };
      answer = await fetch("acts", { method: "POST", headers, body: JSON.stringify(wanted) });
    } catch {
      say(SILENT, true);
      return null;
    }
    const isJson = answer.headers.get("Content-Type") === "application/json";
    const result = isJson ? await answer.json() : { error: { message: (await answer.text()).trim() } };
    if (answer.ok) say(result.words.replaceAll("`", ""));
    else if (result.text === undefined) say(`${result.error.message}${result.error.help ? ` (${result.error.help})` : ""}`, true);
    return { ok: answer.ok, faults: result.text };
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-times]");
    if (button !== null) act({ kind: "draw", feature: button.dataset.feature, times: Number(button.dataset.times) });
  });
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.dataset.form && !form.dataset.act) return;
    event.preventDefault();
    const given = Object.fromEntries(new FormData(form));
    const { form: kind } = form.dataset;
    if (kind === undefined) await act(JSON.parse(form.dataset.act));
    else if (kind === "budget") await act({ kind, evaluations: Number(given.evaluations) });
    else {
      const answer = await act({ kind, ...given });
      if (answer?.ok) form.reset();
      if (kind === "propose") refused(answer?.faults);
    }
  });
  // The errors of a program are shown below it, and get the focus.
  function refused(faults) {
    const box = document.getElementById("refused");
    box.hidden = faults === undefined;
    document.getElementById("program").setAttribute("aria-invalid", String(faults !== undefined));
    if (faults === undefined) return;
    say("");
    box.querySelector("p").textContent = "The program was refused.";
    const text = document.getElementById("faults");
    text.textContent = faults;
    text.focus({ preventScroll: true });
    box.scrollIntoView({ block: "nearest" });
  }
})();
