// @ts-check
// Diamonds for money: what is on offer, and how one's orders stand. Nobody is paid: the gateways of a local stack are sandboxes.
import { make } from "./dom.js";
import { button } from "./rows.js";
import { language, say } from "./texts.js";
import { now } from "./time.js";

/**
 * @typedef {{order_id: string, payment: string, fulfilment: string, gateway: string, exp: number, amount: number, items: Array<{diamonds: number | null, product_id: string}>}} Order
 * @typedef {import("./stage.js").Stage} Stage
 */

const CENTS = 100;
const OPEN = ["open", "pending"];

/**
 * The shop says where the browser goes to pay; its own button leads there, as a page that opens by itself may be refused.
 * @param {Stage} stage
 * @param {string} orderId
 * @param {string} gateway
 */
export async function handOver(stage, orderId, gateway) {
  const { url } = await stage.api.ask("POST", `/shop/checkout/${gateway}/complete`, { order_id: orderId, lang: language });
  stage.ways.set(orderId, url);
}

/**
 * @param {Stage} stage
 * @param {Order} order
 */
export function orderRow(stage, order) {
  const way = OPEN.includes(order.payment) && order.exp > now() ? stage.ways.get(order.order_id) ?? "" : null;
  return { key: order.order_id, says: [order, way], draw: () => make("li", { "data-payment": order.payment }, words(order), ...next(stage, order, way)) };
}

/** @param {Order} order */
function words({ items, amount, payment, fulfilment }) {
  const what = items.map(({ diamonds, product_id }) => (diamonds ? `◆ ${diamonds}` : product_id)).join(", ");
  const facts = [what, `NT$${amount / CENTS}`, say(`payment.${payment}`), fulfilment !== "none" && say(`fulfilment.${fulfilment}`)];
  return make("p", {}, make("b", {}, say("order")), ` · ${facts.filter(Boolean).join(" · ")}`);
}

/**
 * What is left to do: to go and pay, or to ask anew where to.
 * @param {Stage} stage
 * @param {Order} order
 * @param {string | null} way
 */
function next(stage, { order_id, gateway }, way) {
  if (way === null) return [];
  if (way) return [make("a", { href: way, target: "_blank", rel: "noopener" }, say("act.pay-there"))];
  return [button("pay", () => stage.asks(() => handOver(stage, order_id, gateway)))];
}
