// Send calls to the Gateway in order, one request at a time, and retry what could not be sent.
//
//   call ─▶ waiting ─▶ request ─▶ response: popups
//             │           └── no network, 429, 5xx ─▶ kept ─▶ one tab retries; popups of a retry are not shown
//             └── the page is hidden ─▶ beacon
//
// A retry has the same message id, so the server counts it once. An item consists of its name in the store, which sorts
// by time, and its text at the time of the call.

const ENDPOINT = new URL("../../v1/batch", import.meta.url);
const MOST = 100; // calls that wait for consent, and messages that are kept
const KEPT_FOR = 864e5; // a day
const waiting = [];
let isSending = false;
let patience = 1e3;
let retry = 0;

/** Send a message. The promise resolves to the popups of the response; it is empty if a retry is needed. */
function send(message) {
  const item = { name: `kept:${message.timestamp}:${message.messageId}`, text: JSON.stringify(message) };
  return new Promise((done) => {
    waiting.push({ ...item, done });
    queueMicrotask(pump); // calls of one task share a request
  });
}

async function pump() {
  if (isSending || !waiting.length) return;
  isSending = true;
  const batch = take(waiting);
  const answer = navigator.onLine === false ? null : await post(batch);
  if (!answer) batch.forEach(keep);
  else if (answer.messages) show(answer.messages);
  batch.forEach(({ done }) => done(answer?.messages ?? []));
  isSending = false;
  pump();
}

/** Remove and return the items at the front of `list` that fit into one request. */
function take(list) {
  let size = 0;
  const end = list.findIndex(({ text }) => (size += text.length) > 5e4); // browsers let 64 KiB outlive the page
  return list.splice(0, end < 0 ? list.length : end || 1);
}

function body(batch) {
  const texts = batch.map(({ text }) => text);
  return `{"writeKey":${JSON.stringify(tag.options.key)},"sentAt":"${new Date().toISOString()}","batch":[${texts}]}`;
}

/** Return the response; `null` if the request should be retried. */
async function post(batch) {
  const text = body(batch);
  try {
    // A string is sent as text/plain, without a preflight. Only a site that proves its visitors by a cookie sends it.
    const response = await fetch(ENDPOINT, {
      method: "POST",
      body: text,
      credentials: tag.options.credentials ?? "omit",
      keepalive: new Blob([text]).size < 6e4,
      signal: AbortSignal.timeout?.(1e4),
    });
    if (response.status === 429 || response.status >= 500) {
      // Ignore a date, and limit the wait: a timer with a larger value would fire immediately.
      patience = Math.max(patience, Math.min(1e3 * response.headers.get("Retry-After") || 0, KEPT_FOR));
      return null;
    }
    const answer = await response.json();
    for (const said of response.ok ? answer.rejected ?? [] : [answer]) console.warn("Opportune:", said.code, said.message);
    patience = 1e3;
    return answer;
  } catch {
    return null; // no network, a timeout, or a foreign page such as a login of the Wi-Fi
  }
}

/** Store an item until it can be sent; drop the oldest ones if there are too many. */
function keep({ name, text }) {
  write(name, text);
  let room = 2e5; // characters
  const newest = names("kept:").reverse();
  newest.forEach((each, place) => {
    room -= read(each)?.length;
    if (place >= MOST || room < 0) remove(each);
  });
  later();
}

function later() {
  clearTimeout(retry);
  retry = setTimeout(resend, patience * (1 + Math.random()));
  patience = Math.min(patience * 2, 3e5);
}

/** Send the stored items. Only one tab does this at a time; without locks, the server deduplicates. */
function resend() {
  if (!consent?.analytics || navigator.onLine === false) return;
  return alone("resend", async () => {
    const young = (name) => Date.now() - new Date(name.slice(5, 29)) < KEPT_FOR || remove(name);
    const items = names("kept:").filter(young).map((name) => ({ name, text: read(name) }));
    while (items.length) {
      const batch = take(items);
      if (!(await post(batch))) return later();
      batch.forEach(({ name }) => remove(name));
    }
  });
}

/** The page may close at any moment: send waiting items as a beacon. */
function hide() {
  while (waiting.length) {
    const batch = take(waiting);
    if (!navigator.sendBeacon?.(ENDPOINT, body(batch))) batch.forEach(keep);
    batch.forEach(({ done }) => done([]));
  }
}

addEventListener("online", resend);
addEventListener("pagehide", hide);
document.addEventListener("visibilitychange", () => (document.visibilityState === "hidden" ? hide() : resend()));
