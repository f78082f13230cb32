"use strict";
// The API reference, from /openapi.json. All of its text is put in as text, never as markup.

const METHODS = ["get", "post", "put", "patch", "delete"];

/** An element with attributes and children; a string is a text. */
function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  element.append(...children.flat());
  return element;
}

const nameOf = (ref) => ref.slice(ref.lastIndexOf("/") + 1);
const slugOf = (schema) => schema.properties.type.const.slice("/problems/".length);
const isProblem = (name) => name.endsWith("Problem") && name !== "Problem";

/** What a value may be, with links to what is described elsewhere. */
function typeOf(schema, schemas) {
  if (schema.$ref) {
    const name = nameOf(schema.$ref);
    const there = isProblem(name) ? slugOf(schemas[name]) : name;
    return [make("a", { href: "#" + there }, there)];
  }
  const either = schema.oneOf || schema.anyOf;
  if (either) return either.flatMap((one, place) => [place ? " or " : "", ...typeOf(one, schemas)]);
  if (schema.items) return ["list of ", ...typeOf(schema.items, schemas)];
  if (schema.const !== undefined) return [make("code", {}, JSON.stringify(schema.const))];
  if (schema.enum) return [make("code", {}, schema.enum.map((one) => JSON.stringify(one)).join(" | "))];
  return [schema.type || "anything"];
}

function row(name, schema, text, schemas) {
  return make("tr", {}, make("td", {}, make("code", {}, name)), make("td", {}, typeOf(schema, schemas)), make("td", {}, text || ""));
}

function operation(path, method, one, { responses, schemas }) {
  const needs = (one.security || []).flatMap((each) => Object.values(each).flat());
  const section = make("section", { id: one.operationId }, make("h3", {}, `${method.toUpperCase()} ${path}`), make("p", {}, one.description));
  if (!one.security) section.append(make("p", {}, "Needs no access token."));
  else if (needs.length) section.append(make("p", {}, "Scope: ", make("code", {}, needs.join(" "))));
  const asked = make("table", {});
  for (const parameter of one.parameters || []) {
    const name = parameter.name + (parameter.required ? "" : "?");
    asked.append(row(name, parameter.schema, `${parameter.in}. ${parameter.description || ""}`, schemas));
  }
  for (const [media, body] of Object.entries(one.requestBody?.content || {})) asked.append(row("body", body.schema, media, schemas));
  const answered = make("table", {});
  for (const [status, said] of Object.entries(one.responses)) {
    const answer = said.$ref ? responses[nameOf(said.$ref)] : said;
    const [body] = Object.values(answer.content || {});
    answered.append(row(status, body ? body.schema : { type: "–" }, body && status[0] === "2" ? answer.description : "", schemas));
  }
  section.append(asked, make("p", {}, "Answers"), answered);
  return section;
}

function described(name, schema, schemas) {
  const needed = new Set(schema.required || []);
  const rows = Object.entries(schema.properties || {}).map(([one, of]) => row(one + (needed.has(one) ? "" : "?"), of, of.description, schemas));
  return make("section", { id: name }, make("h3", {}, name), make("p", {}, schema.description || ""), make("table", {}, rows));
}

function problem(schema) {
  const slug = slugOf(schema);
  return make("section", { id: slug }, make("h3", {}, `${schema["x-statuses"].join(", ")} ${slug}`), make("p", {}, schema.description), make("p", {}, schema["x-advice"] || ""));
}

async function show() {
  const api = await (await fetch("/openapi.json")).json();
  const { schemas } = api.components;
  const contents = document.getElementById("contents");
  const main = document.getElementById("reference");
  const link = (to, text) => contents.append(make("a", { href: "#" + to }, text));
  const head = (text) => (contents.append(make("b", {}, text)), main.append(make("h2", {}, text)));
  main.replaceChildren(make("h1", {}, `${api.info.title} ${api.info.version}`), ...api.info.description.split("\n\n").map((text) => make("p", {}, text)));
  for (const tag of api.tags) {
    head(tag.name);
    main.append(make("p", {}, tag.description));
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const method of METHODS.filter((each) => methods[each]?.tags[0] === tag.name)) {
        link(methods[method].operationId, methods[method].operationId);
        main.append(operation(path, method, methods[method], api.components));
      }
    }
  }
  head("Problems");
  for (const [, schema] of Object.entries(schemas).filter(([name]) => isProblem(name))) {
    link(slugOf(schema), slugOf(schema));
    main.append(problem(schema));
  }
  head("Bodies and answers");
  for (const [name, schema] of Object.entries(schemas).filter(([each]) => !isProblem(each))) {
    link(name, name);
    main.append(described(name, schema, schemas));
  }
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

show();
