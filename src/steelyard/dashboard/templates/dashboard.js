"use strict";
(() => {
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, select, textarea");
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      document.getElementById("q").focus();
    }
    if (isTyping) return;
    const step = { ArrowLeft: "a[rel=prev]", ArrowRight: "a[rel=next]" }[event.key];
    const link = step && document.querySelector(step);
    if (link) link.click();
  });
  const chosen = [...document.querySelectorAll("form.filters")].flatMap((form) => [...form.elements]);
  for (const select of chosen.filter((one) => one.type === "select-one")) {
    select.addEventListener("change", () => select.form.requestSubmit());
  }
  const unfold = () => {
    const named = document.getElementById(location.hash.slice(1));
    if (named instanceof HTMLDetailsElement) named.open = true;
  };
  addEventListener("hashchange", unfold);
  unfold();
  document.getElementById("q").placeholder += " (press /)";
  for (const hint of document.querySelectorAll(".keys[hidden]")) hint.hidden = false;
  for (const text of navigator.clipboard ? document.querySelectorAll("section > pre, details > pre, pre.whole") : []) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", () => {
      const told = (word) => () => { button.textContent = word; };
      navigator.clipboard.writeText(text.textContent).then(told("Copied"), told("Not allowed"));
    });
    text.before(button);
  }
  // A page that is live fetches itself, and only its live part is exchanged: what is typed, ticked, marked or focused
  // stays as it is. A page that nobody sees asks seldom, and at once when it is seen again.
  const OUT_OF_SIGHT_S = 15;
  const GIVEN_UP_S = 60;
  let waiting = 0;
  let isUnderWay = false;
  const live = () => document.getElementById("live");
  const seconds = () => (live() ? Number(live().dataset.live) : 0);
  const isInHand = (part) => {
    const marked = getSelection();
    const isMarked = !marked.isCollapsed && marked.containsNode(part, true);
    return isMarked || part.querySelector("input:checked") || part.contains(document.activeElement.closest("input, select"));
  };
  const exchange = (part, next) => {
    const reached = (within) => [...within.querySelectorAll("a, [tabindex]")];
    const focused = reached(part).indexOf(document.activeElement);
    const scrolled = [...part.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
    part.replaceWith(next);
    next.querySelectorAll(".scroll").forEach((one, place) => { one.scrollLeft = scrolled[place] || 0; });
    if (focused >= 0 && reached(next)[focused]) reached(next)[focused].focus({ preventScroll: true });
  };
  const lost = () => {
    let told = document.getElementById("lost");
    if (told) return;
    told = document.createElement("p");
    told.id = "lost";
    told.className = "beware";
    told.setAttribute("role", "status");
    told.textContent = `The dashboard does not answer: what stands here is as it was at ${new Date().toISOString().slice(11, 19)} UTC.`;
    live().before(told);
  };
  const found = (page) => {
    const part = live();
    const next = page && page.getElementById("live");
    if (!next) return lost();
    document.getElementById("lost")?.remove();
    if (next.dataset.state !== part.dataset.state) return location.reload();
    document.title = page.title;
    if (!isInHand(part)) exchange(part, next);
  };
  const look = () => {
    if (isUnderWay || !seconds()) return;
    isUnderWay = true;
    clearTimeout(waiting);
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.timeout = 1000 * GIVEN_UP_S;
    request.onload = () => found(request.response);
    request.onerror = request.ontimeout = lost;
    request.onloadend = () => { isUnderWay = false; follow(); };
    request.send();
  };
  const follow = () => {
    clearTimeout(waiting);
    if (seconds()) waiting = setTimeout(look, 1000 * (document.hidden ? OUT_OF_SIGHT_S : seconds()));
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? follow() : look()));
  follow();
})();
