// Keys, dark and light, live pages, and the picture that follows the turn. Every page works without it.
"use strict";

(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const stored = () => { try { return localStorage.getItem("tir-gym-theme"); } catch { return null; } };
  if (stored() === "dark" || stored() === "light") root.dataset.theme = stored();

  const dark = () => root.dataset.theme
    ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

  const toggleTheme = () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("tir-gym-theme", root.dataset.theme); } catch { /* then it lasts for this page */ }
  };

  // Turns.

  const turns = () => [...document.querySelectorAll(".turn")];
  let current = -1;

  const select = (index, scroll) => {
    const all = turns();
    if (!all.length) return;
    current = Math.max(0, Math.min(index, all.length - 1));
    all.forEach((turn, i) => turn.classList.toggle("now", i === current));
    const turn = all[current];
    if (scroll) {
      history.replaceState(null, "", `#${turn.id}`);
      turn.focus({ preventScroll: true });
      turn.scrollIntoView({ block: "start" });
    }
    follow(turn.dataset.turn);
  };

  let asked = "";
  const follow = async (number) => {
    const box = document.getElementById("matching");
    if (!box || number === asked) return;
    asked = number;
    const address = `${box.dataset.src}?after=${number}`;
    try {
      const answer = await fetch(address, { credentials: "same-origin" });
      if (!answer.ok || number !== asked) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      box.replaceChildren(...document.importNode(page.body, true).childNodes);
    } catch { /* the picture stays as it is */ }
    mark(number);
  };

  const mark = (number) => {
    for (const picture of document.querySelectorAll(".matching")) {
      picture.classList.add("picked");
      for (const part of picture.querySelectorAll("[data-turn]")) {
        part.classList.toggle("on", Number(part.dataset.turn) === Number(number) - 1);
      }
    }
  };

  const fromHash = () => {
    const found = /^#(?:turn|call)-(\d+)/.exec(location.hash);
    if (!found) return;
    const index = turns().findIndex((turn) => turn.dataset.turn === found[1]);
    if (index >= 0) select(index, false);
  };

  // Keys.

  const go = (rel) => {
    const link = document.querySelector(`a[rel="${rel}"]`);
    if (link) location.assign(link.href);
  };

  const help = () => {
    const dialog = document.getElementById("help");
    if (dialog.open) dialog.close(); else dialog.showModal();
  };

  const keys = {
    j: () => select(current + 1, true), k: () => select(current - 1, true),
    n: () => go("next"), p: () => go("prev"), u: () => go("up"), g: () => go("group"),
    t: toggleTheme, "?": help,
    "/": () => document.querySelector("[data-filter]")?.focus(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
    if (Object.hasOwn(keys, event.key)) {
      event.preventDefault();
      keys[event.key]();
    }
  });

  // Live pages: when the pulse is another, this page is fetched again and its main part replaced.

  let pulse = null;
  const beat = async () => {
    if (document.hidden) return;
    const busy = document.activeElement?.matches("#main input, #main select") || document.querySelector("#main :checked[name=run]");
    try {
      const now = await (await fetch(document.body.dataset.pulse, { credentials: "same-origin" })).text();
      if (pulse !== null && now !== pulse && !busy) {
        const answer = await fetch(location.href, { credentials: "same-origin" });
        if (!answer.ok) return;
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const open = [...document.querySelectorAll("#main details")].map((each) => each.open);
        document.getElementById("main").replaceChildren(
          ...document.importNode(page.getElementById("main"), true).childNodes);
        document.querySelectorAll("#main details").forEach((each, i) => { if (i < open.length) each.open = open[i]; });
        prepare();
      }
      if (!busy) pulse = now;
    } catch { /* the server is gone or busy: ask again later */ }
  };

  // Forms.

  const prepare = () => {
    const button = document.querySelector("[data-compare]");
    const chosen = () => document.querySelectorAll('#compare input[name="run"]:checked').length;
    if (button) button.disabled = chosen() < 2;
  };

  document.addEventListener("change", (event) => {
    const form = event.target.form;
    if (form && "auto" in form.dataset) form.requestSubmit();
    prepare();
  });

  document.addEventListener("DOMContentLoaded", () => {
    for (const [id, act] of [["theme", toggleTheme], ["help-open", help]]) {
      const button = document.getElementById(id);
      button.hidden = false;
      button.addEventListener("click", act);
    }
    prepare();
    // Where the gold trace stands above the talk it is folded, so that the talk is near.
    if (matchMedia("(max-width: 1180px)").matches) document.querySelectorAll(".gold").forEach((each) => { each.open = false; });
    fromHash();
    addEventListener("hashchange", fromHash);
    addEventListener("pageshow", prepare);
    document.addEventListener("click", (event) => {
      const turn = event.target.closest(".turn");
      if (turn && !event.target.closest("a, summary, button")) select(turns().indexOf(turn), false);
    });
    const every = Number(document.body.dataset.live);
    if (every) { beat(); setInterval(beat, every); }
  });
})();
