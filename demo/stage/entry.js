// @ts-check
// The way in: somebody is made by a click, and kept with the tab.
import { Api } from "./api.js";
import { find } from "./dom.js";
import { form } from "./forms.js";
import { become, forget, me, plain } from "./people.js";
import { refused } from "./rows.js";
import { Stage } from "./stage.js";
import { say, translate } from "./texts.js";
import { choose, line } from "./timeline.js";

/** @param {import("./people.js").Person} person */
async function play(person) {
  find("forget").hidden = false; // also where the stack has been emptied, and knows nobody any more
  find("forget").addEventListener("click", () => {
    forget();
    location.assign("/stage/");
  });
  const api = new Api(person.token, ({ method, path, status, milliseconds }) => {
    line("http", plain(`${method} ${path} → ${status}, ${milliseconds} ms`), { quiet: method === "GET" ? "read" : undefined });
  });
  try {
    new Stage(person, await api.get("/config"), api).begin();
  } catch (error) {
    refused(error);
  }
}

function enter() {
  find("entry").hidden = false;
  const role = new URLSearchParams(location.search).get("role") === "viewer" ? "viewer" : "streamer";
  const fields = [{ name: "name", value: "" }, { name: "role", value: role, choices: ["streamer", "viewer"] }, { name: "diamonds", value: 1_000, max: 100_000 }];
  const nobody = new Api("", () => {});
  const made = form("enter", fields, 0, async ({ name, role: chosen, diamonds }) => {
    refused(null);
    try {
      const answer = await nobody.ask("POST", "/stage/people", { scopes: chosen === "streamer" ? ["CREATOR"] : [], diamonds });
      const person = { id: answer.user_id, token: answer.token, name: name || say(`role.${chosen}`), role: chosen };
      become(person);
      find("entry").hidden = true;
      await play(person);
      find("play-title").focus();
    } catch (error) {
      refused(error);
    }
  });
  find("entry").append(made);
}

translate();
choose();
const known = me();
if (known) void play(known);
else enter();
