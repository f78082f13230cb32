// @ts-check
// Who is before this tab, and what people in this browser are called: the platform knows ids alone.

/** @typedef {{id: string, token: string, name: string, role: "streamer" | "viewer"}} Person */

const ME = "footlights-me";
const NAMES = "footlights-names";
const NAMES_MAX = 200;

/** @returns {Person | null} who this tab is, also after it was loaded anew */
export function me() {
  return JSON.parse(sessionStorage.getItem(ME) ?? "null");
}

/** @param {Person} person */
export function become(person) {
  sessionStorage.setItem(ME, JSON.stringify(person));
  const names = [...Object.entries(names_()), [person.id, person.name]].slice(-NAMES_MAX);
  localStorage.setItem(NAMES, JSON.stringify(Object.fromEntries(names)));
}

/** Be nobody in this tab. */
export function forget() {
  sessionStorage.clear();
}

/** @returns {Record<string, string>} */
function names_() {
  return JSON.parse(localStorage.getItem(NAMES) ?? "{}");
}

/**
 * What somebody is called; of a stranger the beginning of the id.
 * @param {string} id
 */
export function called(id) {
  return names_()[id] ?? `${id.slice(0, 6)}…`;
}

/**
 * A text with names in the place of ids.
 * @param {string} text
 */
export function plain(text) {
  const names = names_();
  return text.replace(/[0-9a-f]{24}/g, (id) => names[id] ?? `${id.slice(0, 6)}…`);
}
