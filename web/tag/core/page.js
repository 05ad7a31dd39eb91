// What the page itself says: views of pages, elements with data-event, and analytics.js where a site keeps it.

/** Say that there is a new page, once for each address in a row. */
let address = "";
function viewed() {
  if (tag.options.pages === "off" || tag.options.follow || address === location.href) return;
  address = location.href;
  setTimeout(() => tag.page(), 50); // the title follows the address
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

/** Return what `data-prop-*` say: a number, true, false or a text in quotes as JSON has them, all else as text. */
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

/** Follow analytics.js: it throws answers away, so what it sends elsewhere is sent to us as well. */
function follow() {
  const { analytics } = window;
  analytics?.ready?.(() => write("anonymous", analytics.user().anonymousId()));
  for (const name of ["track", "identify", "page"]) analytics?.on?.(name, (...said) => tag[name](...said));
}
