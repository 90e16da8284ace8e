// `@microsoft/fetch-event-source` in a page that is hidden and shown again.
//
// PAGE: what the page does, see `pages`. OPTIONS: options of the package in place of its defaults.
import { randomUUID } from "node:crypto";
import { setTimeout as wait } from "node:timers/promises";

globalThis.window = globalThis;
const page = new EventTarget();
page.hidden = false;
globalThis.document = page;
const { fetchEventSource } = await import("@microsoft/fetch-event-source");

const result = { appended: "", text: "", events: [], requests: 0, overlapping: 0, hidden: 0 };
const fetchOriginal = globalThis.fetch;
const waiting = [];
let open = 0;
globalThis.fetch = async (...call) => {
  result.requests += 1;
  const response = await fetchOriginal(...call);
  open += 1;
  if (open > 1) result.overlapping += 1;
  const reader = response.body.getReader();
  // Counts the connections that deliver at the same time.
  const body = new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (!done) return controller.enqueue(value);
        controller.close();
      } catch (error) {
        controller.error(error);
      }
      open -= 1;
      while (waiting.length) waiting.pop()();
    },
    cancel: () => reader.cancel(),
  });
  return new Response(body, response);
};

const stop = new AbortController();

function turn(hidden) {
  page.hidden = hidden;
  if (hidden) result.hidden += 1;
  page.dispatchEvent(new Event("visibilitychange"));
}

/** Wait until a connection has ended: the package then waits before it connects again. */
const cut = () => new Promise((resolve) => waiting.push(resolve));

const pages = {
  async visible() {},
  // Hidden and shown while a stream is open.
  async hidden() {
    for (let count = 0; count < 10 && !stop.signal.aborted; count += 1) {
      await wait(700);
      turn(true);
      await wait(120);
      turn(false);
    }
  },
  // Hidden and shown within one task, from before the first response on: the package takes the abort of its request for
  // a failure, and opens a further connection after its pause, beside the one that it opens at once.
  async flickering() {
    await wait(0);
    for (let count = 0; count < 10 && !stop.signal.aborted; count += 1) {
      turn(true);
      turn(false);
      await wait(1300);
    }
  },
  // Hidden and shown while the package waits after a cut.
  async waiting() {
    while (!stop.signal.aborted) {
      await cut();
      await wait(100);
      turn(true);
      await wait(100);
      turn(false);
    }
  },
};
pages[process.env.PAGE]();

let position = 0;
/** Append what is new of a piece of text. The id of its event is the number of characters up to its end. */
function place(event) {
  const characters = Array.from(JSON.parse(event.data).text);
  const begin = Number(event.id) - characters.length;
  const added = characters.slice(position - begin);
  result.text += added.join("");
  position += added.length;
}

await fetchEventSource(process.env.URL, {
  method: "POST",
  headers: {
    Authorization: `Bearer ${process.env.TOKEN}`,
    "Content-Type": "application/json",
    "Idempotency-Key": randomUUID(),
  },
  body: JSON.stringify({ message: "Hi" }),
  signal: stop.signal,
  ...JSON.parse(process.env.OPTIONS ?? "{}"),
  onmessage(event) {
    if (event.event) result.events.push(event.event);
    if (event.event === "message.delta") {
      result.appended += JSON.parse(event.data).text;
      place(event);
    }
    if (event.event === "message.completed") {
      result.final = JSON.parse(event.data);
      stop.abort();
    }
  },
  onclose() {
    if (!result.final) throw new Error("cut");
  },
});
process.stdout.write(JSON.stringify(result));
process.exit(0);
