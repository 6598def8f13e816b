// Markdown to elements, as far as model cards use it: text stays text, and links are http(s).
import { el } from "./dom.js";

const INLINE = /(`+)(.+?)\1|\*\*(.+?)\*\*|\[([^\]]+)\]\(([^)\s]+)\)|\*([^*\s][^*]*)\*/s;

/** The elements of a text; headings begin at h2. */
export function markdown(text) {
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  const found = [];
  while (lines.length) {
    if (!lines[0].trim()) lines.shift();
    else found.push(block(lines));
  }
  const tables = found.filter((element) => element.role === "region");
  tables.forEach((element, place) => element.setAttribute("aria-label", `Table ${place + 1} of ${tables.length}`));
  return found;
}

function block(lines) {
  if (lines[0].startsWith("```")) return code(lines);
  const heading = lines[0].match(/^(#{1,6})\s+(.*)$/);
  if (heading) {
    lines.shift();
    return el(`h${Math.min(heading[1].length + 1, 4)}`, {}, inline(heading[2]));
  }
  if (/^\s*\|/.test(lines[0])) return table(take(lines, /^\s*\|/));
  if (/^\s*([-*]|\d+\.)\s/.test(lines[0])) return list(lines);
  return el("p", {}, inline(paragraph(lines)));
}

function take(lines, pattern) {
  const taken = [];
  while (lines.length && pattern.test(lines[0])) taken.push(lines.shift());
  return taken;
}

function paragraph(lines) {
  const taken = [lines.shift()];
  while (lines.length && lines[0].trim() && !/^(#{1,6}\s|```|\s*\||\s*([-*]|\d+\.)\s)/.test(lines[0])) taken.push(lines.shift());
  return taken.map((line) => line.trim()).join(" ");
}

function code(lines) {
  lines.shift();
  const taken = take(lines, /^(?!```)/);
  lines.shift();
  return el("pre", { tabIndex: 0 }, el("code", {}, taken.join("\n")));
}

function list(lines) {
  const ordered = /^\s*\d/.test(lines[0]);
  const items = [];
  while (lines.length && /^\s*([-*]|\d+\.)\s/.test(lines[0])) {
    lines[0] = lines[0].replace(/^\s*([-*]|\d+\.)\s+/, "");
    items.push(el("li", {}, inline(paragraph(lines))));
  }
  return el(ordered ? "ol" : "ul", {}, items);
}

function table(rows) {
  const cells = (row) => row.trim().replace(/^\||\|$/g, "").split("|").map((text) => text.trim());
  const [head, ...body] = rows.filter((row) => !/^[\s|:-]+$/.test(row)).map(cells);
  const line = (tag, row) => el("tr", {}, row.map((text) => el(tag, {}, inline(text))));
  const whole = el("table", {}, el("thead", {}, line("th", head)), el("tbody", {}, body.map((row) => line("td", row))));
  return el("div", { className: "scroll", tabIndex: 0, role: "region" }, whole);
}

function inline(text) {
  const found = text.match(INLINE);
  if (!found) return text ? [text] : [];
  const [whole, ticks, literal, bold, label, address, italic] = found;
  let part = whole;
  if (ticks) part = el("code", {}, literal);
  else if (bold) part = el("strong", {}, inline(bold));
  else if (italic) part = el("em", {}, inline(italic));
  else if (/^https?:\/\//.test(address)) part = el("a", { href: address, rel: "noreferrer" }, inline(label));
  else part = label;
  return [text.slice(0, found.index), part, ...inline(text.slice(found.index + whole.length))].filter((each) => each !== "");
}
