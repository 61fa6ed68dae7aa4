"use strict";
(() => {
  const form = document.querySelector("form.filters");
  if (!form) return;
  form.hidden = false;
  const items = [...document.querySelectorAll(".item")];
  const shown = document.getElementById("shown");
  const apply = () => {
    const words = form.elements.text.value.toLowerCase();
    const wanted = { bench: form.elements.bench.value, state: form.elements.state.value, model: form.elements.model.value };
    let count = 0;
    for (const item of items) {
      const kinds = item.dataset.answers.split(" ").map((one) => one.split(":"));
      const fits = (!wanted.bench || item.dataset.bench === wanted.bench)
        && (wanted.state !== "flip" || item.dataset.flip === "1")
        && kinds.some(([model, state]) => (!wanted.model || model === wanted.model)
          && (!wanted.state || wanted.state === "flip" || state === wanted.state))
        && (!words || item.textContent.toLowerCase().includes(words));
      item.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${items.length} items`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
  const follow = () => {
    const pair = /^#answers-(\d+)-(\d+)$/.exec(location.hash);
    if (!pair) return;
    [form.elements.model.value, form.elements.bench.value] = pair.slice(1);
    [form.elements.state.value, form.elements.text.value] = ["", ""];
    apply();
    form.scrollIntoView();
  };
  window.addEventListener("hashchange", follow);
  follow();
})();
