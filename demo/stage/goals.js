// @ts-check
// What one may do with a goal: who, when, and the request that it becomes. The platform decides; this only offers.

/**
 * @typedef {{id: string, kind: string, active: boolean, state: string, outcome: string | null, lapsed: boolean, exp: number, progress: number,
 *   conditions: {exclusive_to?: string}, context: Record<string, any>, levels: Array<{title?: string, target: number}>, metadata: {user_id: string},
 *   amount_diamonds?: number | null, reason?: string | null}} Goal
 * @typedef {{me: string, streamer: boolean, session: string}} Who
 * @typedef {{act: string, kinds: string[], may: (goal: Goal, who: Who) => boolean, wish: (goal: Goal, who: Who) => import("./forms.js").Wish}} Act
 */

/** @param {Goal} goal */
const over = (goal) => goal.state === "ended" && !goal.lapsed;
/** @type {(product: string) => (goal: Goal, who: Who) => import("./forms.js").Wish} */
const give = (product) => (goal, who) => ["POST", "/gifts", { product_id: product, session_id: who.session, goal_id: goal.id, count: 1 }];
/** @type {(body?: unknown) => (goal: Goal) => import("./forms.js").Wish} */
const close = (body) => (goal) => ["DELETE", `/goals/${goal.id}`, body];

const INVITATION = ["TriggerExclusiveGoal"];
const TICKETS = ["ShowFundingGoal", "ShowGoal"];

/** @type {Act[]} */
export const ACTS = [
  { act: "agree", kinds: INVITATION, may: (goal, who) => goal.active && who.streamer, wish: close({ agree: true }) },
  { act: "refuse", kinds: INVITATION, may: (goal, who) => goal.active && who.streamer, wish: close({ agree: false }) },
  { act: "withdraw", kinds: INVITATION, may: (goal, who) => goal.active && goal.conditions.exclusive_to === who.me, wish: close() },
  {
    act: "begin",
    kinds: INVITATION,
    may: (goal, who) => who.streamer && over(goal) && goal.outcome === "agreed" && !goal.context.exclusive_goal_id,
    wish: (goal, who) => ["POST", "/goals?type=exclusive", { context: { session_id: who.session, trigger_exclusive_goal_id: goal.id } }],
  },
  {
    act: "block",
    kinds: ["TriggerExclusiveGoal", "ExclusiveGoal"],
    may: (goal, who) => who.streamer && goal.active && Boolean(goal.conditions.exclusive_to),
    wish: (goal) => ["PUT", `/blocks/${goal.conditions.exclusive_to}`, undefined],
  },
  { act: "extend", kinds: ["ExclusiveGoal"], may: (goal, who) => goal.active && who.streamer, wish: (goal) => ["PUT", `/goals/${goal.id}/extend`, undefined] },
  { act: "stop", kinds: ["ExclusiveGoal", "ShowGoal", "TriggerPrivateGoal"], may: (goal, who) => goal.active && who.streamer, wish: close() },
  { act: "sold", kinds: ["ShowFundingGoal"], may: (goal, who) => goal.active && who.streamer, wish: close() },
  {
    act: "perform",
    kinds: ["ShowFundingGoal"],
    may: (goal, who) => who.streamer && over(goal) && !goal.context.show_goal_id,
    wish: (goal, who) => ["POST", "/goals?type=show", { context: { session_id: who.session, funding_goal_id: goal.id } }],
  },
  { act: "give-up", kinds: ["ShowFundingGoal"], may: (goal, who) => who.streamer && over(goal) && !goal.context.show_goal_id, wish: close() },
  { act: "ticket", kinds: TICKETS, may: (goal, who) => goal.active && !who.streamer, wish: (goal, who) => give(goal.context.ticket_product_id)(goal, who) },
  { act: "rose", kinds: ["TriggerPrivateGoal"], may: (goal, who) => goal.active && !who.streamer, wish: give("livestream-gift_rose") },
  { act: "cake", kinds: ["TriggerPrivateGoal"], may: (goal, who) => goal.active && !who.streamer, wish: give("livestream-gift_cake") },
];

/**
 * What this person may do with this goal.
 * @param {Goal} goal
 * @param {Who} who
 */
export function acts(goal, who) {
  return ACTS.filter(({ kinds, may }) => kinds.includes(goal.kind) && may(goal, who));
}
