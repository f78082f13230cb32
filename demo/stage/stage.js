// @ts-check
// The stage: somebody in this tab, a session, and what they may do in it. Pushes ring the bell, GETs tell what is true.
import { Refused } from "./api.js";
import { find, minutes, show, tick } from "./dom.js";
import { FORMS, form } from "./forms.js";
import { handOver, orderRow } from "./orders.js";
import { Pushes, follow } from "./live.js";
import { called, plain } from "./people.js";
import { draw } from "./picture.js";
import { button, goalRow, refused, sessionRows } from "./rows.js";
import { say } from "./texts.js";
import { isAhead, now } from "./time.js";
import { line } from "./timeline.js";

/**
 * @typedef {import("./people.js").Person} Person
 * @typedef {import("./goals.js").Goal} Goal
 * @typedef {{id: string, streamer_id: string, title: string | null, active: boolean, exclusive: boolean, prices: {sd: number | null, exclusive: number | null}}} Session
 * @typedef {{preset: "sd" | "preview", exp: number}} Watching
 */

const GOALS_MAX = 20;
const SESSIONS_MAX = 20;
const ORDERS_MAX = 3; // the newest
const FRAME_MILLISECONDS = 100;
const RING_MILLISECONDS = 100; // what is told at once is looked at once
const LOOK_MILLISECONDS = 5_000; // a push may be lost
const GONE = 404;
const MINUTE_SECONDS = 60;
const TICKET = "livestream-show-ticket_134";
const SESSION = "footlights-session";
const ID = /^[0-9a-f]{24}$/; // what stands in an address is not to lead to another path

export class Stage {
  /**
   * @param {Person} person
   * @param {{pusher: any, step_seconds: number}} config
   * @param {import("./api.js").Api} api
   */
  constructor(person, config, api) {
    this.person = person;
    this.api = api;
    this.step = config.step_seconds;
    this.pushes = new Pushes(config.pusher, person.token, (push) => this.heard(push));
    const wanted = new URLSearchParams(location.search).get("session") ?? sessionStorage.getItem(SESSION) ?? "";
    this.sessionId = ID.test(wanted) ? wanted : "";
    /** @type {Session | null} */
    this.session = null;
    /** @type {Session[]} */
    this.sessions = [];
    /** @type {Goal[]} */
    this.goals = [];
    /** @type {import("./orders.js").Order[]} */
    this.orders = [];
    /** @type {Map<string, string>} where the browser goes to pay for an order */
    this.ways = new Map();
    /** @type {Watching | null} */
    this.watching = null;
    this.unseen = "";
    /** @type {{balance_diamonds: number, earnings_diamonds: number} | null} */
    this.wallet = null;
    this.looking = false;
    this.ringing = 0;
  }

  get streamer() {
    return this.person.role === "streamer";
  }

  begin() {
    find("who").textContent = `${this.person.name} · ${say(`role.${this.person.role}`)}`;
    find("play").hidden = find("timeline").hidden = false;
    const names = this.streamer ? ["air", "show", "private"] : ["invite", "pay", "gift", "buy"];
    find("forms").replaceChildren(...names.map((name) => form(name, FORMS[name].fields, this.step, (values) => this.wish(...FORMS[name].wish(values, this.place)))));
    setInterval(() => this.frame(), FRAME_MILLISECONDS);
    setInterval(() => this.ring(), LOOK_MILLISECONDS);
    follow((event) => this.carried(event), (state) => line("stage", say(`timeline.${state}`)));
    const minute = button("minute", () => this.wish("POST", "/stage/clock", { seconds: MINUTE_SECONDS }));
    find("clock").replaceChildren(minute);
    this.ring();
  }

  get place() {
    return { step: this.step, session: this.sessionId, ticket: TICKET };
  }

  // -- what is asked for ------------------------------------------------------------------------------------------------

  /**
   * Ask for something, and for what follows from it.
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   */
  wish(method, path, body) {
    return this.asks(async () => {
      const answer = await this.api.ask(method, path, body);
      if (method === "POST" && path === "/sessions") this.enter(answer.session_id);
      if (path === "/shop/checkout") await handOver(this, answer.order_id, answer.gateway);
    });
  }

  /**
   * Do it, and say why if it is refused.
   * @param {() => Promise<void>} deed
   */
  async asks(deed) {
    refused(null);
    try {
      await deed();
    } catch (error) {
      refused(error);
    }
    this.ring();
  }

  /** @param {string} sessionId */
  enter(sessionId) {
    this.sessionId = sessionId;
    this.session = this.watching = null;
    this.goals = [];
    sessionStorage.setItem(SESSION, sessionId);
    this.ring();
  }

  // -- what is true -----------------------------------------------------------------------------------------------------

  /** Look soon at how things are. */
  ring() {
    if (!this.ringing) {
      this.ringing = setTimeout(async () => {
        try {
          if (!this.looking) await this.look();
        } finally {
          this.ringing = 0;
        }
      }, RING_MILLISECONDS);
    } else {
      this.again = true;
    }
  }

  async look() {
    this.looking = true;
    try {
      do {
        this.again = false;
        await Promise.all([this.lookAtClock(), this.lookAtWallet(), this.lookAtOrders(), this.sessionId ? this.lookAtSession() : this.lookAround()]);
        this.pushes.listen(this.channels());
        this.show();
      } while (this.again);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (error.status === GONE) this.leave();
      else line("stage", error.message);
    } finally {
      this.looking = false;
    }
  }

  async lookAtWallet() {
    const wallet = await this.api.get("/wallets/me");
    const before = this.wallet;
    this.wallet = wallet;
    if (before?.balance_diamonds === wallet.balance_diamonds && before?.earnings_diamonds === wallet.earnings_diamonds) return;
    find("balance").textContent = say("balance", wallet.balance_diamonds, wallet.earnings_diamonds);
    if (!before) return;
    const changes = /** @type {const} */ (["balance_diamonds", "earnings_diamonds"]).flatMap((name) => [wallet[name], signed(wallet[name] - before[name])]);
    line("balance", say("balance.changed", ...changes));
  }

  async lookAtClock() {
    const { ahead_seconds } = await this.api.get("/stage/clock");
    isAhead(ahead_seconds);
    find("ahead").textContent = ahead_seconds ? say("ahead", minutes(Math.round(ahead_seconds))) : "";
  }

  async lookAtOrders() {
    if (this.streamer) return;
    this.orders = (await this.api.get(`/shop/orders?order=desc&limit=${ORDERS_MAX}`)).items;
  }

  async lookAround() {
    if (this.streamer) return;
    this.sessions = (await this.api.get(`/sessions?active=true&limit=${SESSIONS_MAX}`)).items;
  }

  async lookAtSession() {
    const id = this.sessionId;
    const [session, goals, watching] = await Promise.all([
      this.api.get(`/sessions/${id}`),
      this.api.get(`/goals?session_id=${id}&order=desc&limit=${GOALS_MAX}`),
      this.api.get(`/sessions/${id}/token`).catch((error) => error),
    ]);
    if (id !== this.sessionId) return;
    this.session = session;
    this.goals = goals.items;
    this.watching = watching instanceof Error ? null : watching;
    this.unseen = watching instanceof Error ? watching.message : "";
  }

  channels() {
    const own = `private-user@${this.person.id}`;
    if (this.streamer) return [own, `private-stream@${this.person.id}`];
    if (!this.session?.active) return [own];
    const streamer = this.session.streamer_id;
    const presets = this.watching?.preset === "sd" ? ["preview", "sd"] : ["preview"];
    return [own, `private-stream@${streamer}`, ...presets.map((preset) => `presence-stream-viewer@${streamer}.${preset}.${this.person.id}`)];
  }

  // -- what is heard ----------------------------------------------------------------------------------------------------

  /** @param {{channel: string, name: string, data: any}} push */
  heard({ channel, name, data }) {
    const told = [data.kind && say(`kind.${data.kind}`), data.outcome && say(`outcome.${data.outcome}`), data.reason, data.amount_diamonds && `◆ ${data.amount_diamonds}`];
    line("push", plain([name, ...told.filter(Boolean), `(${channel})`].join(" ")));
    this.ring();
  }

  /** @param {{topic: string, type?: string, key: string, subject?: string, request?: string, at_ms: number}} event */
  carried({ topic, type, key, subject, request, at_ms }) {
    const ours = [this.sessionId, this.person.id, this.session?.streamer_id].some((id) => id && (id === key || id === subject));
    const cause = this.api.asked.get(request ?? "");
    const text = `${topic} ▸ ${type ?? "?"} ${cause ? `← ${cause}` : ""}`;
    line("kafka", plain(text), { at: at_ms, quiet: ours || cause ? undefined : "elsewhere" });
    if (ours) this.ring();
  }

  // -- what is shown ----------------------------------------------------------------------------------------------------

  show() {
    const { session, streamer } = this;
    const on = Boolean(session?.active);
    const title = session?.title ?? say("untitled");
    find("play-title").textContent = on ? say("play.on", title) : say(streamer || this.sessionId ? "play.off" : "play.sessions");
    show(find("sessions"), sessionRows(this));
    show(find("goals"), this.goals.map((goal) => goalRow(this, goal)));
    show(find("orders"), this.orders.map((order) => orderRow(this, order)));
    this.offer(on);
    find("watching").textContent = this.sessionId ? (this.watching ? say(`watching.${this.watching.preset}`) : say("watching.none", this.unseen)) : "";
    find("picture").hidden = !this.sessionId;
    const link = /** @type {HTMLAnchorElement} */ (find("other").firstElementChild);
    const other = streamer ? "viewer" : "streamer";
    link.href = `/stage/?role=${other}${streamer && on ? `&session=${this.sessionId}` : ""}`;
    link.textContent = say(`other.${other}`);
    this.frame();
  }

  /**
   * Show the forms that are of use now. The focus goes on, where its form goes away.
   * @param {boolean} on whether the session is on air
   */
  offer(on) {
    for (const one of /** @type {Iterable<HTMLElement>} */ (find("forms").children)) {
      const hidden = one.id === "form-air" ? on : !on && one.id !== "form-buy";
      if (hidden && one.contains(document.activeElement)) find("play-title").focus();
      one.hidden = hidden;
    }
  }

  leave() {
    sessionStorage.removeItem(SESSION);
    history.replaceState(null, "", "/stage/");
    this.sessionId = "";
    this.session = this.watching = null;
    this.goals = [];
    this.ring();
  }

  /** The picture moves, clocks run, and a token that ends is asked for again. */
  frame() {
    tick();
    const { watching, session } = this;
    const canvas = /** @type {HTMLCanvasElement} */ (find("picture"));
    const lines = watching
      ? [`${watching.preset}${session?.exclusive ? ` · ${say("picture.exclusive")}` : ""}`, called(session?.streamer_id ?? ""), say("picture.token")]
      : [say("picture.none"), this.unseen];
    draw(canvas, { preset: watching?.preset ?? "", lines, until: watching?.exp });
    const label = lines.slice(0, 2).join(", ");
    if (canvas.getAttribute("aria-label") !== label) canvas.setAttribute("aria-label", label);
    if (watching && watching.exp <= now()) this.ring();
  }
}

/** @param {number} number */
function signed(number) {
  return number > 0 ? `+${number}` : String(number);
}
