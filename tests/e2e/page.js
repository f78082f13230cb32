// A viewer's page: pusher-js in a browser, and what it has heard. What it does is told to it from outside.
const heard = [];
let pusher;
let authorization;

// Connects and signs in as the user of this token; returns at once.
function join({ host, port, key, gateway, token }) {
  authorization = { Authorization: `Bearer ${token}` };
  pusher = new Pusher(key, {
    cluster: "", // there is one server
    wsHost: host,
    wsPort: port,
    forceTLS: false,
    enabledTransports: ["ws"],
    disableStats: true,
    channelAuthorization: { endpoint: `${gateway}/pusher/auth`, transport: "ajax", headers: authorization },
    userAuthentication: { endpoint: `${gateway}/pusher/user-auth`, transport: "ajax", headers: authorization },
  });
  pusher.connection.bind("state_change", ({ current }) => {
    heard.push(current);
    if (current === "disconnected") setTimeout(() => pusher.connect(), 250); // pusher-js leaves it to us after a cut
  });
  pusher.connection.bind("message", ({ event }) => event === "pusher:signin_success" && heard.push("signed in"));
  pusher.signin();
}

// Asks for a channel; what becomes of it is heard.
function listen(channel) {
  const subscription = pusher.subscribe(channel);
  subscription.bind("pusher:subscription_succeeded", () => heard.push(`subscribed ${channel}`));
  subscription.bind("pusher:subscription_error", ({ status }) => heard.push(`refused ${status} ${channel}`));
  subscription.bind_global((name, data) => name.startsWith("pusher:") || heard.push(`${name} ${data.reason}`));
}

// One request of a page to our API: its status and its answer.
async function ask(method, url, body) {
  const headers = { ...authorization, "Content-Type": "application/json" };
  const answer = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
  return { status: answer.status, ...(await answer.json()) };
}
