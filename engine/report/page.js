"use strict";
(() => {
  const { renew, from } = document.body.dataset;
  const openOnes = (root) => [...root.querySelectorAll("details[open]")].map((each) => each.id);
  const scrolled = (root) => [...root.querySelectorAll(".scroll")].map((each) => [each.id, each.scrollLeft]);
  const restore = (opened, places) => {
    for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
    for (const [id, left] of places) { const found = document.getElementById(id); if (found) found.scrollLeft = left; }
  };

  if (!renew) {  // a file that may be loaded again: what was open stays open
    const key = "samesum " + location.pathname;
    try {
      const before = JSON.parse(sessionStorage.getItem(key) || "null");
      if (before) { restore(before[0], before[1]); scrollTo(0, before[2]); }
      addEventListener("pagehide", () => sessionStorage.setItem(key, JSON.stringify([openOnes(document), scrolled(document), scrollY])));
    } catch { /* a browser that keeps nothing */ }
    return;
  }

  const shown = new Map();
  let failures = 0;
  const put = (id, content) => {
    const part = document.getElementById(id);
    if (!part || shown.get(id) === content) return;
    const opened = openOnes(part), places = scrolled(part), focus = part.contains(document.activeElement) && document.activeElement.id;
    if (shown.has(id) || part.innerHTML !== content) part.innerHTML = content;
    shown.set(id, content);
    restore(opened, places);
    if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
  };
  const say = (text) => { const place = document.getElementById("silence"); if (place.textContent !== text) place.textContent = text; };
  const look = async () => {
    let ended = false;
    if (!document.hidden) {
      try {
        const answer = await fetch(from, { cache: "no-store" });
        if (!answer.ok) throw new Error(answer.status);
        const found = await answer.json();
        for (const [id, content] of Object.entries(found.parts)) put(id, content);
        document.title = found.title;
        ended = found.ended;
        failures = 0;
        say("");
      } catch {
        if (++failures > 2) say("The job does not answer any more: it has ended, or goes on elsewhere. Its working directory has report.html.");
      }
    }
    if (!ended) setTimeout(look, renew * 1000 * Math.min(failures + 1, 10));
  };
  setTimeout(look, renew * 1000);
  addEventListener("visibilitychange", () => { if (!document.hidden && failures) failures = 1; });
})();
