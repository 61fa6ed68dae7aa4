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
  for (const select of document.querySelectorAll("form.filters select:not([multiple])")) {
    select.addEventListener("change", () => select.form.requestSubmit());
  }
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
  // A page that is live fetches itself, and only its live part is exchanged: nothing that is typed or ticked is lost.
  const follow = () => {
    const live = document.getElementById("live");
    const seconds = live ? Number(live.dataset.live) : 0;
    if (!seconds) return;
    setTimeout(() => {
      if (document.hidden || live.contains(document.activeElement) || live.querySelector("input:checked")) return follow();
      const request = new XMLHttpRequest();
      request.open("GET", location.href);
      request.responseType = "document";
      request.onload = () => {
        const next = request.response && request.response.getElementById("live");
        if (!next) return follow();
        if (next.dataset.state !== live.dataset.state) return location.reload();
        live.replaceWith(next);
        follow();
      };
      request.onerror = follow;
      request.send();
    }, 1000 * seconds);
  };
  follow();
})();
