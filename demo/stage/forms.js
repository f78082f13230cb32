// @ts-check
// The forms: for each its fields, and the request that it becomes.
import { busy, make } from "./dom.js";
import { say } from "./texts.js";
import { now } from "./time.js";

/**
 * @typedef {{name: string, value: string | number, min?: number, max?: number, choices?: string[]}} Field a number has a least value
 * @typedef {{[field: string]: string & number}} Values as they were typed in
 * @typedef {{step: number, session: string, ticket: string}} Stage
 * @typedef {[method: string, path: string, body: unknown]} Wish
 * @typedef {{fields: Field[], wish: (values: any, stage: Stage) => Wish}} Form
 */

const TITLE = { name: "title", value: "", max: 100 };
const STEPS = { name: "steps", value: 1, min: 1, max: 60 };
const PRODUCTS = ["livestream-gift_rose", "livestream-gift_cake", "karaoke-dance_30", "karaoke-song_60"];
const PACKS = ["diamond_3300", "diamond_29900", "diamond_149000"];
const GATEWAYS = ["sonet", "sandbox"];
const HESITATION_SECONDS = 30;

/** @type {Record<string, Form>} */
export const FORMS = {
  air: {
    fields: [TITLE, { name: "exclusive", value: 30, min: 1 }, { name: "sd", value: 10, min: 1 }],
    wish: ({ title, exclusive, sd }) => ["POST", "/sessions", { prices: { exclusive, sd }, ...(title && { title }) }],
  },
  invite: {
    fields: [STEPS],
    wish: ({ steps }, { step, session }) => ["POST", "/goals?type=trigger-exclusive", { context: { session_id: session, duration: steps * step } }],
  },
  pay: {
    fields: [STEPS],
    wish: ({ steps }, { step, session }) => ["POST", `/sessions/${session}/pay`, { duration: steps * step }],
  },
  gift: {
    fields: [{ name: "product", value: PRODUCTS[0], choices: PRODUCTS }, { name: "count", value: 1, min: 1, max: 100 }],
    wish: ({ product, count }, { session }) => ["POST", "/gifts", { product_id: product, session_id: session, count }],
  },
  buy: {
    fields: [{ name: "pack", value: PACKS[1], choices: PACKS }, { name: "gateway", value: GATEWAYS[0], choices: GATEWAYS }],
    wish: ({ pack, gateway }) => ["POST", "/shop/checkout", { product_id: pack, quantity: 1, gateway }],
  },
  show: {
    fields: [{ ...TITLE, value: "♪" }, { name: "tickets", value: 2, min: 1 }, { name: "sale", value: 60, min: 1 }, { name: "perform", value: 1, min: 1 }],
    wish: ({ title, tickets, sale, perform }, { step, session, ticket }) => [
      "POST",
      "/goals?type=show-funding",
      {
        levels: [{ title, target: tickets }],
        exp: Math.floor(now()) + sale,
        context: {
          session_id: session,
          perform_duration: perform * step,
          hesitation_countdown: HESITATION_SECONDS,
          ticket_product_id: ticket,
          ticket_product_type: "regular",
        },
      },
    ],
  },
  private: {
    fields: [{ ...TITLE, value: "♪" }, { name: "target", value: 20, min: 1 }, { name: "seconds", value: 60, min: 1 }],
    wish: ({ title, target, seconds }, { session }) => [
      "POST",
      "/goals?type=trigger-private",
      { levels: [{ title, target }], exp: Math.floor(now()) + seconds, context: { session_id: session } },
    ],
  },
};

/**
 * @param {string} name
 * @param {Field[]} fields
 * @param {number} step seconds
 * @param {(values: any) => Promise<void>} send
 */
export function form(name, fields, step, send) {
  const inputs = fields.map((field) => [field, input(field)]);
  const rows = inputs.map(([field, element]) => make("label", {}, say(`field.${/** @type {Field} */ (field).name}`, step), /** @type {Node} */ (element)));
  const button = make("button", {}, say(`form.${name}`));
  const made = make("form", { id: `form-${name}`, "aria-labelledby": `title-${name}` }, make("h3", { id: `title-${name}` }, say(`form.${name}`)), ...rows, button);
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    const values = fields.map((field, index) => {
      const { value } = /** @type {HTMLInputElement} */ (inputs[index][1]);
      return [field.name, typeof field.value === "number" ? Number(value) : value.trim()];
    });
    void busy(button, () => send(Object.fromEntries(values)));
  });
  return made;
}

/** @param {Field} field */
function input({ name, value, min, max, choices }) {
  if (choices) {
    const select = make("select", { name });
    select.append(...choices.map((choice) => new Option(say(`${name}.${choice}`), choice, false, choice === value)));
    return select;
  }
  if (typeof value === "number") return make("input", { name, type: "number", required: true, min: min ?? 0, max: max ?? 1_000_000, value });
  return make("input", { name, type: "text", maxlength: max ?? 40, value, autocomplete: "off" });
}
