// The calls that a site makes, with the signatures of analytics.js.

const MAX_UNDECIDED = 100;
const isObject = (value) => value && typeof value === "object";
const undecided = [];
let consent = null; // unknown: calls are held, and nothing is sent or stored

function id() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
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

/** Send one message of `type`, with the page and the time of the call. */
function say(type, fields, options, call) {
  const person = read("person");
  return send({
    type,
    messageId: options?.messageId ?? id(),
    timestamp: call.when.toISOString(),
    anonymousId: anonymousId(),
    userId: person?.id,
    ...fields,
    context: {
      page: pageOf(call.page),
      locale: navigator.language,
      library: { name: "opportune.js", version: "{version}" },
      consent,
      identity_token: person?.token,
      ...options?.context,
    },
  });
}

const calls = {
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
  undecided.splice(0).forEach(perform);
  resend();
}

/** Make one call, given as a name and its arguments. A function among them is called at the end. */
function perform(call) {
  const [name, ...said] = call;
  call.when ??= new Date();
  call.page ??= [location.href, document.title];
  if (name !== "consent" && name !== "reset") {
    if (!consent && undecided.length < MAX_UNDECIDED) return new Promise((done) => undecided.push(Object.assign(call, { done })));
    if (!consent?.analytics) return call.done?.([]), Promise.resolve([]);
  }
  const isCallback = (each) => typeof each === "function";
  let outcome;
  try {
    outcome = calls[name](call, ...said.filter((each) => !isCallback(each)));
  } catch (error) {
    console.warn("Opportune:", name, error); // an invalid call must not stop the page
  }
  const done = Promise.resolve(outcome ?? []);
  done.then(call.done);
  done.then(said.find(isCallback));
  return done;
}

for (const name in calls) tag[name] = (...said) => perform([name, ...said]);
tag.anonymousId = anonymousId;
