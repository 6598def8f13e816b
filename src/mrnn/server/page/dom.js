// Elements from code: text is always text, never markup.

/** An element with properties, attributes (aria-*, data-*, for), listeners (on...) and children. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "for" || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Moves the focus among items of a grid with the arrow keys, Home and End; true if it did. */
export function moveFocus(event, items) {
  const here = items.indexOf(document.activeElement);
  if (here < 0) return false;
  const columns = columnsOf(items);
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  let next = here + (steps[event.key] ?? 0);
  if (event.key === "Home") next = 0;
  if (event.key === "End") next = items.length - 1;
  if (next === here || next < 0 || next >= items.length) return false;
  event.preventDefault();
  items[next].focus();
  items[next].scrollIntoView({ block: "nearest" });
  return true;
}

function columnsOf(items) {
  const top = items[0].getBoundingClientRect().top;
  const below = items.findIndex((item) => item.getBoundingClientRect().top > top + 1);
  return below < 0 ? items.length : below;
}

/** Shows a photo large, with what is said of it. */
export function look(source, text) {
  const viewer = byId("viewer");
  byId("viewer-image").src = source;
  byId("viewer-image").alt = text;
  byId("viewer-text").textContent = text;
  viewer.showModal();
}

/** Gives the browser a file to save. */
export function save(name, blob) {
  const address = URL.createObjectURL(blob);
  const link = el("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
