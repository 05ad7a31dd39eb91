// The demo site: sends events as a site tag would, and shows the popup that comes back in the answer.
"use strict";

const WRITE_KEY = "wk_demo_public";
const log = document.getElementById("log");

/** Send one event; returns the popups of its answer. */
async function track(event, properties) {
  const started = performance.now();
  const now = new Date().toISOString();
  // text/plain and the key in the body: no preflight, one round trip.
  const response = await fetch("/v1/track", {
    method: "POST",
    headers: { "Content-Type": "text/plain" },
    body: JSON.stringify({
      writeKey: WRITE_KEY,
      userId: document.getElementById("user").value,
      messageId: crypto.randomUUID(),
      event,
      properties,
      timestamp: now,
      sentAt: now,
    }),
  });
  const answer = await response.json();
  const trip = performance.now() - started;
  const came = !response.ok ? `${answer.code}: ${answer.message}` : answer.messages.length ? "a popup" : "nothing";
  const label = [event, ...Object.values(properties)].join(" ");
  const row = document.createElement("tr");
  for (const [text, name] of [[label, ""], [came, ""], [`${trip.toFixed(1)} ms`, "number"]]) {
    const cell = document.createElement("td");
    cell.textContent = text;
    cell.className = name;
    row.append(cell);
  }
  log.prepend(row);
  return answer.messages ?? [];
}

/** Show a popup: text only, nothing of it is markup. */
function show(message) {
  const popup = document.getElementById("popup");
  document.getElementById("popup-title").textContent = message.title;
  document.getElementById("popup-body").textContent = message.body;
  const actions = document.getElementById("popup-actions");
  actions.replaceChildren(
    ...message.actions.map(({ label, url }) => {
      const link = document.createElement("a");
      link.textContent = label;
      link.href = url;
      return link;
    }),
  );
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "Close";
  close.addEventListener("click", () => popup.close());
  actions.append(close);
  if (!popup.open) popup.showModal();
}

for (const button of document.querySelectorAll("button[data-event]")) {
  button.addEventListener("click", async () => {
    const { event, ...properties } = button.dataset;
    if (properties.amount) properties.amount = Number(properties.amount);
    (await track(event, properties)).forEach(show);
  });
}
