"use strict";
const list = document.getElementById("list"), items = [...list.children];
const order = document.getElementById("order"), words = document.getElementById("words");
const winner = document.getElementById("winner");
const text = new Map(items.map(item => [item, item.textContent.toLowerCase()]));
function update() {
  const [key, sign] = order.value.split(" ");
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  items.sort((a, b) => sign * (a.dataset[key] - b.dataset[key]));
  let shown = 0;
  for (const item of items) {
    item.hidden = !wanted.every(word => text.get(item).includes(word))
      || Boolean(winner && winner.value && winner.value !== item.dataset.winner);
    shown += !item.hidden;
  }
  list.append(...items);
  document.getElementById("count").textContent = shown + " of " + items.length + " photos";
}
for (const control of [order, words, winner]) control?.addEventListener("input", update);
document.querySelector(".controls").hidden = false;
update();
