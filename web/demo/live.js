// The panel beside the demo site: decisions as they happen, and the user's progress in each campaign.
"use strict";

const log = document.getElementById("log");
const state = document.getElementById("state");
const standing = document.getElementById("standing");
const MAX_SHOWN = 60;
let who = document.getElementById("user").value;
let asked = 0;

function element(name, kind, text) {
  const made = document.createElement(name);
  made.className = kind;
  made.textContent = text;
  return made;
}

function add(kind, time, title, text, note = "") {
  const line = element("li", kind, "");
  line.append(element("time", "", time.toTimeString().slice(0, 8)), element("b", "", title), element("em", "", note), element("span", "", text));
  log.prepend(line);
  while (log.children.length > MAX_SHOWN) log.lastChild.remove();
  document.getElementById("empty").hidden = true;
}

/** Return how the Gateway handled a message. */
function outcome({ refused, popups, asked, type }) {
  if (refused) return ["refused", refused];
  if (popups?.length) return ["popup", `popup: ${popups.join(", ")}`];
  if (asked) return ["decided", "decided: nothing to show"];
  return ["passed", type === "track" ? "no live trigger names it" : "taken"];
}

const CHANNELS = { popup: "Popup", email: "E-mail", sms: "Text message", push: "Push", webhook: "Webhook" };

const stream = new EventSource("/_decisions");
stream.addEventListener("open", () => {
  state.textContent = "live";
  stand();
});
stream.addEventListener("error", () => (state.textContent = "not connected"));
stream.addEventListener("received", ({ data }) => {
  const heard = JSON.parse(data);
  const [kind, text] = outcome(heard);
  const said = Object.values(heard.properties).filter((each) => typeof each !== "object");
  const isReport = heard.event.startsWith("Opportune ");
  const title = heard.type === "track" ? [heard.event, ...(isReport ? [] : said)].join(" ") : `${heard.type} ${heard.type === "identify" ? heard.user : ""}`;
  if (heard.type !== "page") add(isReport ? "passed" : kind, new Date(), title, isReport ? `of ${heard.properties.campaign}` : text, `${heard.ms} ms`);
  stand();
});
stream.addEventListener("ledger", ({ data }) => {
  const row = JSON.parse(data);
  const reason = row.reason ? ` (${row.reason})` : "";
  add(row.state === "sent" ? "sent" : "stopped", new Date(row.updated), `${row.campaign} → ${row.user}`, `${CHANNELS[row.channel]} ${row.state}${reason}`);
  stand();
});

/** Load the user's progress, once for several simultaneous changes. */
function stand() {
  clearTimeout(asked);
  asked = setTimeout(async () => {
    const response = await fetch(`/_decisions/standing?site=demo&user=${encodeURIComponent(who)}`);
    if (!response.ok) return;
    const { campaigns } = await response.json();
    standing.replaceChildren(...campaigns.map(campaign));
    if (campaigns.some(({ waiting }) => waiting.length)) setTimeout(stand, 1000);
  }, 150);
}

function campaign({ name, channel, stages, verdict, is_in_way: isInWay }) {
  const line = element("li", isInWay ? "stopped" : "", "");
  const head = element("p", "", name);
  head.append(element("small", "", CHANNELS[channel]));
  const stage = stages.find(({ done }) => !done);
  if (stage && stage.of > 1) {
    const bar = element("progress", "", "");
    bar.max = stage.of;
    bar.value = stage.reached;
    bar.ariaLabel = `${stage.reached} of ${stage.of}`;
    head.append(bar);
  }
  line.append(head, element("p", "verdict", verdict));
  return line;
}

document.addEventListener("entered", ({ detail }) => {
  who = detail;
  stand();
});
