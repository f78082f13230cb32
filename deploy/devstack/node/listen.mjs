// A real Pusher client that prints what it hears: one JSON object a line, until it is killed or its stdin ends.
//
//   NODE_PATH=…/node_modules node listen.mjs HOST PORT KEY AUTH_URL TOKEN CHANNEL…
//
//   {"heard": "connected"}                                        the socket is open
//   {"heard": "subscribed", "channel": …}                         Pusher lets us listen
//   {"heard": "listening"}                                        to all of them
//   {"heard": "refused", "channel": …, "status": 403}             the auth endpoint, or Pusher, does not
//   {"heard": "push", "channel": …, "name": …, "data": …, "at_ms": …}    at_ms: Unix milliseconds of its arrival
//   {"heard": "signed in"}                                        Pusher knows whose connection this is
//   {"heard": "lost"}                                             the socket broke, or was cut; it connects again
//
// It signs in once a line comes on its stdin, at …/user-auth beside AUTH_URL: …/auth. Who has signed in can be cut, and what is pushed until the
// client is back goes past it: not for who has to have all of a story.
import { createRequire } from "node:module";

const require = createRequire(import.meta.url); // NODE_PATH counts for require, not for import
const Pusher = require("pusher-js");

const [host, port, key, authUrl, token, ...channels] = process.argv.slice(2);
const tell = (heard, more = {}) => process.stdout.write(`${JSON.stringify({ heard, ...more })}\n`);

const headers = { Authorization: `Bearer ${token}` };

const pusher = new Pusher(key, {
  cluster: "", // there is one server
  wsHost: host,
  wsPort: Number(port),
  forceTLS: false,
  enabledTransports: ["ws"],
  disableStats: true,
  activityTimeout: 10_000,
  pongTimeout: 5_000,
  channelAuthorization: { endpoint: authUrl, transport: "ajax", headers },
  userAuthentication: { endpoint: authUrl.replace(/auth$/, "user-auth"), transport: "ajax", headers },
});
pusher.connection.bind("message", ({ event }) => event === "pusher:signin_success" && tell("signed in"));

const unheard = new Set(channels);
let connected = false;
pusher.connection.bind("state_change", ({ current }) => {
  if (current === "connected") tell("connected");
  else if (connected) tell("lost");
  connected = current === "connected";
  if (current === "disconnected") setTimeout(() => pusher.connect(), 250); // who is cut (4009) is not connected again by pusher-js
});

for (const channel of channels) {
  const subscription = pusher.subscribe(channel);
  subscription.bind("pusher:subscription_succeeded", () => {
    tell("subscribed", { channel });
    if (unheard.delete(channel) && unheard.size === 0) tell("listening");
  });
  subscription.bind("pusher:subscription_error", ({ status }) => tell("refused", { channel, status }));
  subscription.bind_global((name, data) => {
    if (!name.startsWith("pusher:")) tell("push", { channel, name, data, at_ms: Date.now() });
  });
}

process.stdin.once("data", () => pusher.signin());
process.stdin.on("end", () => process.exit(0)).resume(); // whoever started us is gone
