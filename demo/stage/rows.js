// @ts-check
// What is shown as rows: who is on air, what has been promised, and what one may do about it; and what was refused.
import { Refused } from "./api.js";
import { busy, clock, find, make } from "./dom.js";
import { acts } from "./goals.js";
import { called } from "./people.js";
import { say } from "./texts.js";

/** @typedef {import("./stage.js").Stage} Stage */

const UNCOUNTED = ["ShowGoal", "TriggerExclusiveGoal", "ExclusiveGoal", "KaraokeGoal"]; // their progress is time, or one

/**
 * The session that one is in, or those that one may go to.
 * @param {Stage} stage
 */
export function sessionRows(stage) {
  if (stage.sessionId) return stage.session ? [hereRow(stage, stage.session)] : [];
  if (stage.streamer) return [];
  if (!stage.sessions.length) return [{ key: "nobody", says: "", draw: () => make("li", {}, say("play.nobody")) }];
  return stage.sessions.map(({ id, title, streamer_id }) => {
    const text = () => make("p", {}, make("b", {}, title ?? say("untitled")), ` · ${called(streamer_id)}`);
    return { key: id, says: [title, called(streamer_id)], draw: () => make("li", {}, text(), button("watch", async () => stage.enter(id))) };
  });
}

/**
 * @param {Stage} stage
 * @param {import("./stage.js").Session} session
 */
function hereRow(stage, { id, active, prices }) {
  const press = stage.streamer ? () => stage.wish("DELETE", `/sessions/${id}`) : async () => stage.leave();
  const able = active || !stage.streamer;
  const text = () => make("p", {}, say("prices", prices.exclusive ?? "–", prices.sd ?? "–", stage.step));
  return { key: id, says: [active, prices], draw: () => make("li", {}, text(), ...(able ? [button(stage.streamer ? "end" : "leave", press)] : [])) };
}

/**
 * @param {Stage} stage
 * @param {import("./goals.js").Goal} goal
 */
export function goalRow(stage, goal) {
  const who = { me: stage.person.id, streamer: stage.streamer, session: stage.sessionId };
  const offered = stage.session?.active ? acts(goal, who) : [];
  const draw = () => make("li", { "data-kind": goal.kind }, words(goal), ...counts(goal), ...offered.map(({ act, wish }) => button(act, () => stage.wish(...wish(goal, who)))));
  return { key: goal.id, says: [goal, offered.map(({ act }) => act)], draw };
}

/** @param {import("./goals.js").Goal} goal */
function words(goal) {
  const payer = goal.conditions.exclusive_to;
  const facts = [
    goal.outcome ? say(`outcome.${goal.outcome}`) : say(`state.${goal.state}`),
    goal.lapsed && say("lapsed"),
    payer && say("from", called(payer)),
    goal.amount_diamonds && `◆ ${goal.amount_diamonds}`,
    goal.reason,
  ].filter(Boolean);
  const title = goal.levels[0]?.title;
  return make("p", {}, make("b", {}, say(`kind.${goal.kind}`)), title ? ` · ${title}` : "", ` · ${facts.join(" · ")} `, ...(goal.active ? [clock(goal.exp)] : []));
}

/** @param {import("./goals.js").Goal} goal */
function counts(goal) {
  const [level] = goal.levels;
  if (!level || UNCOUNTED.includes(goal.kind)) return [];
  const bar = make("progress", { value: Math.min(goal.progress, level.target), max: level.target, "aria-label": say(`kind.${goal.kind}`) });
  return [make("p", {}, bar, say("progress", goal.progress, level.target))];
}

/**
 * @param {string} act
 * @param {() => Promise<void>} press
 */
export function button(act, press) {
  const made = make("button", { type: "button", "data-act": act }, say(`act.${act}`));
  made.addEventListener("click", () => void busy(made, press));
  return made;
}

/**
 * Say what was refused, and where it is told what to do.
 * @param {unknown} error null takes away what was said
 */
export function refused(error) {
  const place = find("refused");
  place.hidden = error === null;
  if (error === null) return place.replaceChildren();
  if (!(error instanceof Refused)) throw error;
  const link = error.type.startsWith("/problems/") ? [" ", make("a", { href: error.type, target: "_blank", rel: "noopener" }, say("why"))] : [];
  place.replaceChildren(say("refused", error.message), ...link);
}
