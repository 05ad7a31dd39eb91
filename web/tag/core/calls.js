// The calls that a site makes, with the signatures of analytics.js.

const isObject = (value) => Object(value) === value;
const undecided = [];
let isHeld = tag.options.follow; // until the identity of analytics.js is known
let consent; // unknown: calls are held, and nothing is sent or stored

function id() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function anonymousId() {
  const known = read("anonymous") ?? id();
  write("anonymous", known);
  return known;
}

function pageOf([url, title]) {
  const { pathname: path, search } = new URL(url);
  return { url, path, search, title, referrer: document.referrer };
}

/** Return the utm parameters of `url` under the names that analytics.js gives them. */
function campaignOf(url) {
  let found;
  for (const [name, value] of new URL(url).searchParams)
    if (name.startsWith("utm_")) (found ??= {})[name.slice(4).replace("campaign", "name")] = value;
  return found;
}

/** Send one message of `type`, with the page and the time of the call. */
function say(type, fields, options, call) {
  const person = read("person");
  const { userAgent, maxTouchPoints } = navigator; // an iPad calls itself a Macintosh
  return send({
    type,
    messageId: options?.messageId ?? id(),
    timestamp: call.when.toISOString(),
    anonymousId: anonymousId(),
    userId: person?.id,
    ...fields,
    context: {
      page: pageOf(call.page),
      campaign: campaignOf(call.page[0]),
      device: { type: /Mobi/.test(userAgent) ? "mobile" : maxTouchPoints > 1 && /Android|Macintosh/.test(userAgent) ? "tablet" : "desktop" },
      locale: navigator.language,
      timezone: window.Temporal?.Now.timeZoneId() ?? Intl.DateTimeFormat().resolvedOptions().timeZone, // Intl takes long
      library: { name: "opportune.js", version: "{version}" },
      consent,
      identity_token: person?.token,
      ...options?.context,
    },
  });
}

const calls = {
  init() {}, // the loader has read it

  track(call, event, properties, options) {
    return say("track", { event, properties: { ...properties } }, options, call);
  },

  /** `identify(id, traits, {token})`, or `identify(traits)`. */
  identify(call, user, traits, options) {
    if (isObject(user)) [user, traits, options] = [null, user, traits];
    if (user != null) {
      const known = read("person");
      const token = options?.token ?? (known?.id === String(user) ? known.token : undefined);
      write("person", { id: String(user), token });
    }
    return say("identify", { traits: { ...traits } }, options, call);
  },

  /** `page(name, properties)`, `page(category, name, properties)`, or `page(properties)`. */
  page(call, ...said) {
    const [name, category] = said.filter((each) => typeof each === "string").reverse();
    const [properties, options] = said.filter(isObject);
    return say("page", { name, category, properties: { ...pageOf(call.page), ...properties } }, options, call);
  },

  /** `consent(true)`, `consent(false)`, or `consent({analytics: true, marketing: false})`. */
  consent(call, said) {
    const { analytics, marketing } = isObject(said) ? said : { analytics: said, marketing: said };
    allow({ analytics: !!analytics, marketing: !!marketing });
    write("consent", consent);
  },

  /** Forget the user, for example at logout. */
  reset() {
    remove("person");
    remove("anonymous");
  },
};

function allow(said) {
  consent = said;
  remembers = consent.analytics;
  if (remembers) {
    for (const [name, text] of [...memory]) write(name, JSON.parse(text));
  } else {
    names("").forEach((name) => name === "consent" || remove(name));
    waiting.splice(0).forEach(({ done }) => done([]));
  }
  release();
  resend();
}

/** Make the calls that were held. */
function release() {
  undecided.splice(0).forEach(perform);
}

/** Make one call, given as a name and its arguments, or hold it. A function among them is called at the end. */
function perform(call) {
  call = Object(call); // text and numbers are not calls, but they must not stop the other calls
  const [name, ...said] = Array.from(call);
  call.when ||= new Date(); // none yet if the loader ran in a prerendered page
  call.page ??= [location.href, document.title];
  const needs = name !== "consent" && name !== "reset";
  if ((isHeld || (needs && !consent)) && undecided.length < MOST) {
    undecided.push(call);
    return (call.outcome ??= new Promise((done) => (call.done = done)));
  }
  let outcome;
  try {
    if (!needs || consent?.analytics) outcome = calls[name](call, ...said.filter((each) => typeof each !== "function"));
  } catch (error) {
    console.warn("Opportune:", name, error); // an invalid call must not stop the page
  }
  const done = Promise.resolve(outcome ?? []);
  done.then(call.done);
  done.then(said.find((each) => typeof each === "function"));
  return done;
}

for (const name in calls) tag[name] = (...said) => perform([name, ...said]);
tag.anonymousId = anonymousId;
