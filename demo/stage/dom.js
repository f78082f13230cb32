// @ts-check
// Elements are made of text, never of markup: whatever a user has written is shown as it is.
import { now } from "./time.js";

/**
 * An element of one's own.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number | boolean>} [attributes] false leaves one out
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children);
  return element;
}

/**
 * The element of the page with this id.
 * @template {HTMLElement} [Kind=HTMLElement]
 * @param {string} id
 * @returns {Kind}
 */
export function find(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return /** @type {Kind} */ (found);
}

/**
 * Show these rows in a list, in order. A row that says the same as before stays the element it was; the focus stays in its row.
 * @param {HTMLElement} list
 * @param {Array<{key: string, says: unknown, draw: () => HTMLElement}>} rows
 */
export function show(list, rows) {
  const before = new Map([...list.children].map((child) => [/** @type {HTMLElement} */ (child).dataset.key, /** @type {HTMLElement} */ (child)]));
  const focused = /** @type {HTMLElement | null} */ (document.activeElement?.closest("[data-key]") ?? null);
  const row = focused && list.contains(focused) ? focused.dataset.key : undefined;
  const after = rows.map(({ key, says, draw }) => {
    const text = JSON.stringify(says);
    const old = before.get(key);
    if (old && old.dataset.says === text) return old;
    const element = draw();
    element.dataset.key = key;
    element.dataset.says = text;
    return element;
  });
  if (after.length === list.children.length && after.every((element, index) => element === list.children[index])) return;
  list.replaceChildren(...after);
  if (row === undefined) return;
  const again = after.find((element) => element.dataset.key === row)?.querySelector("button, a") ?? list;
  if (again === list) list.tabIndex = -1; // what had it is gone: not the focus with it
  /** @type {HTMLElement} */ (again).focus();
}

/**
 * Do it, and not again while it is being done. The button is not disabled: it would lose the focus.
 * @param {HTMLButtonElement} button
 * @param {() => Promise<void>} deed
 */
export async function busy(button, deed) {
  if (button.ariaDisabled === "true") return;
  button.ariaDisabled = "true";
  try {
    await deed();
  } finally {
    button.ariaDisabled = null;
  }
}

/** Write into each clock how long it is until its time. */
export function tick() {
  for (const clock of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-until]"))) {
    const text = left(Number(clock.dataset.until));
    if (clock.textContent !== text) clock.textContent = text;
  }
}

/**
 * How long it is until then, as minutes and seconds.
 * @param {number} until Unix seconds
 */
export function left(until) {
  return minutes(Math.max(0, Math.ceil(until - now())));
}

/**
 * So long, as minutes and seconds.
 * @param {number} seconds whole ones
 */
export function minutes(seconds) {
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/**
 * A clock that counts down.
 * @param {number} until Unix seconds
 */
export function clock(until) {
  return make("time", { "data-until": until, role: "timer" }, left(until));
}
