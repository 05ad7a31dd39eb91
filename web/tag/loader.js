// The first script of the tag. It queues calls, and loads the core once there is a key and a visitor: not while the page
// is prerendered. It is a classic script, which can read its own element; a module finds its address in a stack trace.
// `import` passes this script's nonce on and is not a Trusted Types sink, so nothing has to be injected.
{
  const tag = (window.opportune ||= []);
  // It may be included twice.
  if (!tag.options?.key) {
    // Read through the prototype, because an image named "currentScript" would shadow the document's property.
    // A match is a list of one text, which is that text as an address.
    const script = Reflect.get(Document.prototype, "currentScript", document),
      src = new URL(script?.src || Error().stack.match(/http.+?(?=:\d+:)/)),
      options = (tag.options = { ...Object.fromEntries(src.searchParams), ...script?.dataset });
    for (const name of ["track", "identify", "page", "consent", "reset"])
      tag[name] = (...call) =>
        new Promise((done) =>
          tag.push(Object.assign([name, ...call, done], { when: !document.prerendering && new Date(), page: [location.href, document.title] })));
    // The key may come in a later call, so the queue is checked until there is one. It may contain anything.
    (function load(n) {
      Object.assign(options, Object.fromEntries(tag.map(Object)).init).key && !document.prerendering
        ? import(new URL("{core}?" + n, src)).catch(() => setTimeout(load, 2e3 * ++n, n))
        : setTimeout(load, 100, 0);
    })(0);
    setTimeout(() => options.key || tag.options != options || console.warn("Opportune: no key"), 3e3);
  }
}
