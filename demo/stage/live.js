// @ts-check
// What arrives by itself: Pusher's pushes (docs/pushes.md), and what Kafka carries, which the local stack alone shows.

const AGAIN_MILLISECONDS = 250;
const KNOWN_MAX = 500;

/** A Pusher client that listens to the channels it is told to. */
export class Pushes {
  /**
   * @param {{key: string, host: string, port: number, tls: boolean}} where
   * @param {string} token
   * @param {(push: {channel: string, name: string, data: any}) => void} hear told of each push once
   */
  constructor(where, token, hear) {
    const headers = { Authorization: `Bearer ${token}` };
    // @ts-expect-error pusher.js is a script of its own
    this.pusher = new window.Pusher(where.key, {
      cluster: "", // there is one server
      wsHost: where.host,
      wsPort: where.port,
      wssPort: where.port,
      forceTLS: where.tls,
      enabledTransports: ["ws", "wss"],
      disableStats: true,
      channelAuthorization: { endpoint: "/pusher/auth", transport: "ajax", headers },
      userAuthentication: { endpoint: "/pusher/user-auth", transport: "ajax", headers },
    });
    this.hear = hear;
    /** @type {Set<string>} */
    this.known = new Set();
    this.pusher.connection.bind("state_change", (/** @type {{current: string}} */ { current }) => {
      if (current === "disconnected") setTimeout(() => this.pusher.connect(), AGAIN_MILLISECONDS); // who was cut comes again, and asks anew
    });
    this.pusher.signin();
  }

  /**
   * Listen to these and to no others.
   * @param {string[]} channels
   */
  listen(channels) {
    for (const channel of this.pusher.allChannels()) {
      if (!channels.includes(channel.name)) this.pusher.unsubscribe(channel.name);
    }
    for (const name of channels.filter((one) => !this.pusher.channel(one)?.subscribed)) {
      const channel = this.pusher.subscribe(name);
      channel.unbind();
      channel.unbind_global();
      channel.bind_global((/** @type {string} */ event, /** @type {any} */ data) => this.take(name, event, data));
    }
  }

  /**
   * @param {string} channel
   * @param {string} name
   * @param {any} data
   */
  take(channel, name, data) {
    if (name.startsWith("pusher:")) return;
    const once = `${data.event_id} ${name}`; // the same push on another channel, or a second time
    if (this.known.has(once)) return;
    if (this.known.size >= KNOWN_MAX) this.known.clear();
    this.known.add(once);
    this.hear({ channel, name, data });
  }
}

/**
 * Follow what Kafka carries.
 * @param {(event: {topic: string, type?: string, key: string, subject?: string, request?: string, at_ms: number}) => void} hear
 * @param {(state: "listening" | "lost") => void} become told when that changes
 */
export function follow(hear, become) {
  const source = new EventSource("/stage/events");
  let state = "";
  const tell = (/** @type {"listening" | "lost"} */ now) => {
    if (now !== state) become(now);
    state = now;
  };
  source.addEventListener("message", (message) => hear(JSON.parse(message.data)));
  source.addEventListener("listening", () => tell("listening"));
  source.addEventListener("lost", () => tell("lost"));
  source.addEventListener("error", () => tell("lost")); // it comes again by itself
}
