// @ts-check
// The platform's HTTP API, as any client uses it (docs/clients.md).
import { say } from "./texts.js";

const ANSWER_MILLISECONDS = 15_000; // a service answers within 6 s
const ASKED_MAX = 200; // what came of older requests has arrived

/** What was refused, or did not come. */
export class Refused extends Error {
  /**
   * @param {number} status 0 if there was no answer
   * @param {{type?: string, title?: string, detail?: string, errors?: Array<{field: string, message: string}>}} problem
   */
  constructor(status, problem) {
    const errors = (problem.errors ?? []).map(({ field, message }) => `${field}: ${message}`);
    super([problem.title, problem.detail, ...errors].filter(Boolean).join(" · "));
    this.status = status;
    this.type = problem.type ?? "";
  }
}

export class Api {
  /**
   * @param {string} token
   * @param {(call: {method: string, path: string, status: number, milliseconds: number}) => void} told of each call
   */
  constructor(token, told) {
    this.token = token;
    this.told = told;
    /** @type {Map<string, string>} what was asked for, by the id that events carry on */
    this.asked = new Map();
  }

  /** @param {string} path */
  get(path) {
    return this.ask("GET", path);
  }

  /**
   * One request; commands carry a key, under which they count once.
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   * @returns {Promise<any>} the answer's JSON; null if it has no body. Throws Refused.
   */
  async ask(method, path, body) {
    /** @type {Record<string, string>} */
    const headers = { "X-Request-Id": crypto.randomUUID() };
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    if (method !== "GET") {
      headers["Idempotency-Key"] = crypto.randomUUID();
      this.asked.set(headers["X-Request-Id"], `${method} ${path.split("?")[0]}`);
      if (this.asked.size > ASKED_MAX) this.asked.delete([...this.asked.keys()][0]);
    }
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const began = performance.now();
    const options = { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal: AbortSignal.timeout(ANSWER_MILLISECONDS) };
    let answer;
    let text;
    try {
      answer = await fetch(path, options);
      text = await answer.text();
    } catch {
      throw new Refused(0, { title: say("away") });
    }
    this.told({ method, path, status: answer.status, milliseconds: Math.round(performance.now() - began) });
    const json = text ? JSON.parse(text) : null;
    if (!answer.ok) throw new Refused(answer.status, json ?? {});
    return json;
  }
}
