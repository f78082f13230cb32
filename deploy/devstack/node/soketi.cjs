// soketi as Pusher would answer. soketi writes its CORS headers before the status, and µWebSockets then answers 200 whatever comes after: refusals
// look like success to every Pusher library. Nobody calls this API from a browser, so the headers can go.
const { HttpHandler } = require("@soketi/soketi/dist/http-handler");

HttpHandler.prototype.corsMiddleware = (response, next) => next(null, response);

require("@soketi/soketi/bin/server.js");
