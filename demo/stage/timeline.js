// @ts-check
// What passes, line by line: own requests, events on Kafka, pushes, and the balance.
import { find, make } from "./dom.js";

const LINES_MAX = 400;
const NEAR = 40; // pixels from the end: who has scrolled up reads, and is left alone

/**
 * @param {"http" | "kafka" | "push" | "balance" | "stage"} source
 * @param {string} text
 * @param {{at?: number, quiet?: "read" | "elsewhere"}} [more] at: Unix milliseconds; quiet: shown only if wanted
 */
export function line(source, text, { at = Date.now(), quiet } = {}) {
  const list = find("lines");
  const log = find("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR;
  const time = new Date(at).toTimeString().slice(0, 8) + "." + String(Math.floor(at) % 1000).padStart(3, "0");
  list.append(make("li", { class: `${source} ${quiet ?? ""}` }, make("time", {}, time), make("b", {}, source), make("span", {}, text)));
  while (list.childElementCount > LINES_MAX) list.firstElementChild?.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

/** Let people choose what they see of it. */
export function choose() {
  for (const what of ["reads", "elsewhere"]) {
    const box = /** @type {HTMLInputElement} */ (find(what));
    box.addEventListener("change", () => find("lines").classList.toggle(what, box.checked));
  }
}
