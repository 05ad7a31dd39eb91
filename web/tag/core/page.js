// Events from the page itself: page views, elements with data-event, and calls of analytics.js.

/** Report a page view, once while the address stays the same. */
let address = "";
function viewed() {
  if (tag.options.pages === "off" || tag.options.follow || address === location.href) return;
  address = location.href;
  setTimeout(() => tag.page(), 50); // the title changes after the address
}

for (const name of ["pushState", "replaceState"]) {
  const original = history[name];
  history[name] = function (...said) {
    original.apply(this, said);
    viewed();
  };
}
addEventListener("popstate", viewed);
addEventListener("pageshow", (event) => event.persisted && ((address = ""), viewed()));

/** Return the `data-prop-*` values: numbers, booleans and quoted text parsed as JSON, everything else as text. */
function properties(element) {
  const found = {};
  for (const { name, value } of element.attributes) {
    if (!name.startsWith("data-prop-")) continue;
    found[name.slice(10)] = value;
    try {
      const parsed = JSON.parse(value);
      if (typeof parsed !== "object" && JSON.stringify(parsed) === value) found[name.slice(10)] = parsed;
    } catch {} // text
  }
  return found;
}

function happened(kind, target) {
  const element = target.closest?.(kind === "click" ? "[data-event]:not([data-event-on]),[data-event-on=click]" : `[data-event-on=${kind}]`);
  if (element) tag.track(element.dataset.event, properties(element));
}

for (const kind of ["click", "submit"]) document.addEventListener(kind, (event) => happened(kind, event.target), true);

const looking = new IntersectionObserver(
  (seen) => {
    for (const { isIntersecting, target } of seen) {
      if (!isIntersecting) continue;
      looking.unobserve(target);
      happened("view", target);
    }
  },
  { threshold: 0.5 },
);
const looked = new WeakSet();
let isLooking = false;
function look() {
  isLooking = false;
  for (const element of document.querySelectorAll("[data-event-on=view]"))
    if (!looked.has(element)) looked.add(element), looking.observe(element);
}
new MutationObserver(() => isLooking || ((isLooking = true), setTimeout(look, 100))).observe(document, { childList: true, subtree: true });

/** Repeat the calls of analytics.js. It discards responses, so its own requests cannot show popups. */
function follow() {
  const name = tag.options.follow,
    library = window[name];
  if (!library) {
    // It may come at any time. The library from npm makes its first calls soon after, so be there before.
    const set = (value) => (delete window[name], (window[name] = value), follow());
    return Object.defineProperty(window, name, { set, configurable: true });
  }
  if (!library.on) return setTimeout(follow, 20); // the snippet is at work
  let late = (library.instance ?? library).initialized; // its calls so far may be over
  const adopt = async (then) => {
    const user = await window[name].user(); // the library from npm returns a promise
    write("anonymous", user.anonymousId());
    then?.(user);
  };
  for (const kind of ["track", "identify", "page"]) library.on(kind, (...said) => adopt(() => ((late &&= kind === "track"), tag[kind](...said))));
  library.on("reset", () => (tag.reset(), adopt()));
  library.ready(() =>
    adopt((user) => {
      const id = user.id();
      read("person")?.id === id || write("person", { id });
      release((isHeld = 0));
      setTimeout(() => late && (id && tag.identify(id, user.traits()), tag.page()), 500);
    }),
  );
}
