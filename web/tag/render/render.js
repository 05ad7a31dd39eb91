// Render popups: DOM nodes in a closed shadow root, with a constructed style sheet. There is no markup, so it works under
// the strictest Content-Security-Policy and Trusted Types, and page and popup do not affect each other's styles.

const SCHEMES = ["http:", "https:", "mailto:", "tel:"];
const CLOSE = { de: "Schließen", fr: "Fermer", es: "Cerrar", it: "Chiudi", pt: "Fechar", nl: "Sluiten", pl: "Zamknij" };
const TYPING_MS = 1500;
const AGAIN_MS = 300;
const LOOK_MS = 100;
const MAX_HIDDEN_MS = 5e3; // then it is not shown, because something on the page hides it
const WAIT = "wait";
const GRID = [0.2, 0.5, 0.8];
const SHOWN_WITHIN_MS = 18e5;
const READ_MS = 8e3; // after this time in view, another popup may replace it
const sheet = new CSSStyleSheet();
sheet.replaceSync("{css}");
const isModal = ({ layout }) => layout === "modal" || layout === "fullscreen";

const queue = [];
const shown = new Map(); // one per kind: `modal`, `aside`; each inline popup is its own kind
let timer = 0;
let typed = -TYPING_MS;

addEventListener("keydown", () => (typed = performance.now()), true);
document.addEventListener("visibilitychange", lookAgain);

/** Restart the viewing time of all popups: another tab or a modal has covered them. */
function lookAgain() {
  for (const each of shown.values()) each.since = performance.now();
}

/** Render `popup` after its delay. `tools`: functions of the core. */
export function paint(popup, tools) {
  const now = performance.now();
  // The browser's clock may be wrong, so the difference of the server's two times limits the wait.
  const until = now + (popup.expires ? popup.expires - popup.at : SHOWN_WITHIN_MS);
  const begin = () => (queue.push({ popup, tools, until }), next());
  popup.delay ? setTimeout(begin, popup.delay) : begin();
}

/** Open waiting popups by priority: at most one modal, and one other popup beneath it. */
function next() {
  clearTimeout(timer);
  let waits = false;
  queue.sort((one, other) => rank(other.popup) - rank(one.popup)); // the sort is stable: equal priorities keep their order
  for (const each of [...queue]) {
    const { popup, tools, until } = each;
    const kind = popup.layout === "inline" ? popup.id : isModal(popup) ? "modal" : "aside";
    const other = shown.get(kind);
    if (performance.now() > until || tools.read(`seen:${popup.id}`)) queue.splice(queue.indexOf(each), 1);
    else if (other && (kind !== "aside" || rank(popup) < other.rank)) continue; // until the other one closes
    else if (isInTheWay(popup)) waits = true;
    else if (other) performance.now() - other.since > READ_MS && !other.isHeld() ? other.end("replaced") : (waits = true);
    else queue.splice(queue.indexOf(each), 1), begin(popup, tools, kind);
  }
  if (waits) timer = setTimeout(next, AGAIN_MS);
}

function rank({ priority = 0 }) {
  return priority;
}

function begin(popup, tools, kind) {
  const place = { rank: rank(popup) };
  shown.set(kind, place);
  // Two tabs may have received the same popup: the one with the lock shows it and records that.
  const open = () => {
    if (tools.read(`seen:${popup.id}`)) return;
    tools.write(`seen:${popup.id}`, Date.now());
    return new Promise((closed) => attempt(popup, tools.report, closed, place));
  };
  Promise.resolve(tools.alone(`popup:${popup.id}`, open)).then(() => {
    shown.delete(kind);
    lookAgain();
    next();
  });
}

function isInTheWay(popup) {
  const types = performance.now() - typed < TYPING_MS && document.activeElement?.matches("input,textarea,[contenteditable]");
  // A page that hides itself while it loads shows itself later.
  return document.visibilityState !== "visible" || !isShown(document.body) || isCovered(popup) || (isModal(popup) && types);
}

/** Return whether a modal of the page or of the tag covers it. Inline popups may change under a modal of the tag. */
function isCovered({ layout }) {
  return document.querySelector("dialog:modal") || (layout !== "inline" && shown.has("modal"));
}

function isShown(element) {
  return element.checkVisibility?.({ checkOpacity: true, checkVisibilityCSS: true }) ?? true;
}

function attempt(popup, report, closed, place) {
  const host = document.createElement("opportune-popup");
  try {
    show(popup, host, report, closed, place);
  } catch (error) {
    host.remove();
    report("Error", { reason: String(error.message ?? error) });
    closed();
  }
}

function show(popup, host, report, closed, kept) {
  const { id, campaign, layout, title, body, html, actions = [], close = true, image, theme = {}, dismiss_after } = popup;
  const slot = `[data-opportune-slot="${CSS.escape(campaign)}"],[data-opportune-slot=""]`;
  const place = layout === "inline" ? document.querySelector(slot) : document.body;
  if (!place) throw "no_slot";
  const root = host.attachShadow({ mode: "closed" });
  root.adoptedStyleSheets = [sheet];
  const box = element(isModal(popup) ? "dialog" : "section", `box ${layout}`);
  const before = document.activeElement;
  let isOver = false;
  let isSeen = false;
  let waiting, watch;

  const saw = () => {
    if (isSeen) return;
    isSeen = true;
    report("Impression");
    if (!isModal(popup)) tell(root, `${title} ${body ?? ""}`);
  };
  const end = (reason) => {
    if (isOver) return;
    isOver = true;
    clearInterval(waiting);
    watch.disconnect();
    removeEventListener("popstate", away);
    const hadFocus = root.activeElement;
    box.close?.(); // returns the focus
    host.remove();
    if (hadFocus && !box.close) before?.focus();
    if (reason) report("Dismiss", { reason });
    closed();
  };
  const away = () => isModal(popup) && end("navigation");
  /** Report a click and return whether the browser may follow the link. */
  const clicked = (action, url) => {
    saw();
    report("Click", { action, url }, `:${action}`);
    setTimeout(end);
    return document.dispatchEvent(new CustomEvent("opportune:click", { detail: { id, campaign, action, url }, cancelable: true }));
  };

  const heading = element("h2", "", title);
  heading.id = "title";
  heading.tabIndex = -1;
  heading.autofocus = isModal(popup); // focus the heading, never the action button
  const words = element("div", "words");
  words.append(heading);
  box.setAttribute("aria-labelledby", "title");
  if (html) words.append(framed(html, title, theme, clicked, end));
  else if (body) {
    const text = element("p", "", body);
    text.id = "body";
    box.setAttribute("aria-describedby", "body");
    words.append(text);
  }
  const links = element("div", "actions");
  actions.forEach(({ label, url }, number) => {
    const link = element("a", number ? "" : "first", label);
    link.href = address(url);
    link.addEventListener("click", (event) => clicked(number, url) || event.preventDefault());
    links.append(link);
  });
  if (image) {
    const picture = element("img");
    picture.alt = image.alt ?? "";
    picture.src = address(image.url);
    picture.addEventListener("error", () => picture.remove());
    box.append(picture);
  }
  box.append(words);
  if (actions.length) box.append(links);
  if (close) {
    const button = element("button", "close");
    button.type = "button";
    button.ariaLabel = CLOSE[document.documentElement.lang.slice(0, 2)] ?? "Close";
    button.addEventListener("click", () => (saw(), end("close")));
    box.append(button);
  }
  box.addEventListener("cancel", (event) => (event.preventDefault(), end("esc")));
  box.addEventListener("keydown", ({ key }) => key === "Escape" && end("esc"));
  box.addEventListener("click", ({ target }) => target === box && layout === "modal" && close && end("backdrop"));
  addEventListener("popstate", away);

  colour(host, box, theme);
  root.append(box);
  place.append(host);
  if (isModal(popup)) box.showModal();
  const isHeld = () => box.matches(":hover,:focus-within");
  Object.assign(kept, { end, isHeld, since: performance.now() });
  let left = dismiss_after;
  let hidden = 0;
  const found = new Map(); // what the browser says about the box and its content
  watch = new IntersectionObserver((all) => all.forEach((each) => found.set(each.target, each)), { threshold: [0, 0.5], trackVisibility: true, delay: LOOK_MS });
  for (const each of [box, ...box.querySelectorAll("h2,p,a")]) watch.observe(each);
  waiting = setInterval(() => {
    if (!host.isConnected) return end("removed");
    if (document.visibilityState !== "visible") return;
    const reason = !isSeen && whyHidden(host, box, place, popup, found);
    if (reason === "") saw();
    if (reason && reason !== WAIT && (hidden += LOOK_MS) > MAX_HIDDEN_MS) report("Error", { reason }), end();
    if (dismiss_after && !isHeld() && (isModal(popup) || !isCovered(popup)) && (left -= LOOK_MS) <= 0) end("auto");
  }, LOOK_MS);
}

/** Return why `box` is not visible on the screen, or nothing. `found`: what an IntersectionObserver says, by element. */
function whyHidden(host, box, place, popup, found) {
  const isInline = popup.layout === "inline";
  const { left, top: above, width, height } = box.getBoundingClientRect();
  if (!isShown(place) || (!isModal(popup) && shown.has("modal"))) return WAIT; // the whole page is hidden, or a tab in it
  if (!width || !height || !isShown(box)) return "not_displayed";
  if (!found.size) return WAIT;
  if (found.get(box).intersectionRatio < 0.5) return isInline ? WAIT : "out_of_view";
  const hits = GRID.flatMap((x) => GRID.filter((y) => document.elementFromPoint(left + x * width, above + y * height) === host));
  if (hits.length < (isInline ? 3 : 5)) return "obscured";
  // The browser also says no if the whole page is filtered or scaled, or its frame is.
  for (let each = host.parentElement; each; each = each.parentElement) {
    const { filter, transform, opacity } = getComputedStyle(each);
    if (filter + transform + opacity !== "nonenone1") return "";
  }
  return top !== window || [...found.values()].some(({ isVisible }) => isVisible !== false) ? "" : "obscured";
}

/** Announce a popup that does not take the focus to screen readers. */
function tell(root, text) {
  const status = element("div", "status");
  status.role = "status";
  root.append(status);
  setTimeout(() => (status.textContent = text), 100);
  setTimeout(() => status.remove(), 5e3);
}

/** Return a frame with HTML that the server has sanitised. No script runs in it. */
function framed(html, title, theme, clicked, end) {
  const frame = element("iframe");
  frame.title = title;
  frame.sandbox = "allow-same-origin allow-popups allow-popups-to-escape-sandbox";
  frame.srcdoc = trusted(html);
  frame.addEventListener("load", () => {
    const { contentDocument: inside, contentWindow } = frame;
    const { fontFamily, fontSize, lineHeight, color } = getComputedStyle(frame.parentNode);
    const base = new contentWindow.CSSStyleSheet();
    base.replaceSync(`html{font:${fontSize}/${lineHeight} ${fontFamily};color:${color}}body{margin:0;overflow:hidden}body>:first-child{margin-top:0}body>:last-child{margin-bottom:0}img{max-width:100%;height:auto}a{color:inherit}`);
    inside.adoptedStyleSheets = [base];
    // The page's policy may forbid style attributes, but not styles that a script sets.
    for (const each of inside.querySelectorAll("[style]")) each.style.cssText = each.getAttribute("style");
    new ResizeObserver(() => (frame.style.height = `${inside.documentElement.offsetHeight}px`)).observe(inside.documentElement);
    const links = [...inside.links];
    inside.addEventListener("keydown", ({ key }) => key === "Escape" && end("esc"));
    inside.addEventListener("click", (event) => {
      const link = event.target.closest("a[href]");
      if (!link) return;
      event.preventDefault();
      const url = address(link.href);
      if (clicked(`html${links.indexOf(link)}`, url)) location.assign(url);
    });
  });
  return frame;
}

let policy = null;
function trusted(html) {
  policy ??= window.trustedTypes?.createPolicy("opportune", { createHTML: (text) => text });
  return policy ? policy.createHTML(html) : html;
}

function address(url) {
  if (!SCHEMES.includes(new URL(url, document.baseURI).protocol)) throw "unsafe_url";
  return url;
}

/** Apply the page's font and colour scheme, and the popup's accent colour. */
function colour(host, box, { accent, scheme }) {
  const page = getComputedStyle(document.documentElement).colorScheme;
  const isDark = page.includes("dark") && (!page.includes("light") || matchMedia("(prefers-color-scheme: dark)").matches);
  if (scheme ? scheme === "dark" : isDark) box.classList.add("dark");
  host.style.setProperty("--opportune-font", getComputedStyle(document.body).fontFamily);
  if (!accent) return;
  const parts = [1, 3, 5].map((place) => parseInt(accent.slice(place, place + 2), 16) / 255);
  const [red, green, blue] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  const light = 0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05;
  host.style.setProperty("--opportune-accent", accent);
  host.style.setProperty("--opportune-on-accent", light * light > 0.0525 ? "#000" : "#fff"); // the higher contrast
}

function element(name, kind, text) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (text) made.textContent = text;
  return made;
}
