// A 1-on-1 from both sides, on what is generated: types of the API out of openapi.json, of what is pushed pushes.d.ts.
// The address says who it is for: #gateway=…&token=…&me=…&streamer=…
import createClient from "openapi-fetch";
import Pusher from "pusher-js";
import type { components, paths } from "./api.js";
import type { Push } from "./pushes.js";

const given = new URLSearchParams(location.hash.slice(1));
const [gateway = "", token = "", me = "", streamer = ""] = ["gateway", "token", "me", "streamer"].map((name) => given.get(name) ?? "");
const headers = { Authorization: `Bearer ${token}` };
const api = createClient<paths>({ baseUrl: gateway, headers });

let step = 0;
let session: components["schemas"]["SessionLineView"] | undefined;
let goal: components["schemas"]["GoalView"] | components["schemas"]["OwnGoalView"] | undefined;

function tell(line: string) {
  document.getElementById("told")?.append(Object.assign(document.createElement("li"), { textContent: line }));
}

/** What was answered; a refusal is told, and ends what was going on. */
function answered<T>({ data, error }: { data?: T; error?: components["schemas"]["Problem"] }): T {
  if (error) throw new Error(`${error.type}: ${error.title}`);
  return data as T;
}

/** Every command has a key: whoever gets no answer may send the same again. */
const once = () => ({ "Idempotency-Key": crypto.randomUUID() });

function onAir() {
  if (!session) throw new Error("nobody is on air");
  return { session_id: session.id };
}

function newest() {
  if (!goal) throw new Error("there is no goal");
  return { goal_id: goal.id };
}

/** What there is now. Pushes only say that something has changed. */
async function refresh() {
  const sessions = answered(await api.GET("/sessions", { params: { query: { streamer_id: streamer, order: "desc", limit: 1 } } }));
  session = sessions.items[0];
  if (session) {
    const query = { session_id: session.id, order: "desc", limit: 1 } as const;
    goal = answered(await api.GET("/goals", { params: { query } })).items[0];
  }
  const shown = [session?.active ? "on air" : "off air", goal?.kind, goal?.state, goal?.outcome, goal?.exp].filter(Boolean);
  document.getElementById("state")!.textContent = shown.join(" ");
}

const actions = {
  broadcast: async () => {
    answered(await api.POST("/sessions", { params: { header: once() }, body: { prices: { exclusive: 30, sd: 10 } } }));
  },
  invite: async () => {
    const body = { type: "trigger-exclusive", context: { ...onAir(), duration: 10 * step } } as const;
    answered(await api.POST("/goals", { params: { query: { type: "trigger-exclusive" }, header: once() }, body }));
  },
  agree: async () => {
    const invitation = newest();
    answered(await api.DELETE("/goals/{goal_id}", { params: { path: invitation, header: once() }, body: { agree: true } }));
    const body = { type: "exclusive", context: { ...onAir(), trigger_exclusive_goal_id: invitation.goal_id } } as const;
    answered(await api.POST("/goals", { params: { query: { type: "exclusive" }, header: once() }, body }));
  },
  watch: async () => {
    const watched = answered(await api.GET("/sessions/{session_id}/token", { params: { path: onAir() } }));
    tell(`watching ${watched.preset}`);
  },
  pay: async () => {
    const paid = answered(await api.POST("/sessions/{session_id}/pay", { params: { path: onAir(), header: once() }, body: { duration: step } }));
    tell(`paying ${paid.amount_diamonds}`);
  },
  extend: async () => {
    answered(await api.PUT("/goals/{goal_id}/extend", { params: { path: newest(), header: once() } }));
  },
  end: async () => {
    answered(await api.DELETE("/goals/{goal_id}", { params: { path: newest(), header: once() }, body: {} }));
    answered(await api.DELETE("/sessions/{session_id}", { params: { path: onAir(), header: once() } }));
  },
};

for (const [name, act] of Object.entries(actions)) {
  const button = Object.assign(document.createElement("button"), { textContent: name });
  button.onclick = () => act().then(refresh).catch((error: unknown) => tell(String(error)));
  document.getElementById("actions")!.append(button);
}

const config = answered(await api.GET("/config"));
step = config.step_seconds;
const pusher = new Pusher(config.pusher.key, {
  cluster: "",
  wsHost: config.pusher.host,
  wsPort: config.pusher.port,
  wssPort: config.pusher.port,
  forceTLS: config.pusher.tls,
  enabledTransports: ["ws"],
  disableStats: true,
  channelAuthorization: { endpoint: `${gateway}/pusher/auth`, transport: "ajax", headers },
  userAuthentication: { endpoint: `${gateway}/pusher/user-auth`, transport: "ajax", headers },
});
pusher.signin();
for (const channel of [`private-user@${me}`, `private-stream@${streamer}`]) {
  pusher.subscribe(channel).bind("pusher:subscription_succeeded", () => tell(`listening to ${channel}`));
}
pusher.bind_global((name: Push["name"] | `pusher:${string}`) => {
  if (!name.startsWith("pusher:")) refresh().then(() => tell(name)).catch((error: unknown) => tell(String(error)));
});
await refresh();
setInterval(() => session?.active || refresh(), 2_000); // that somebody goes on air is pushed to nobody
tell("ready");
