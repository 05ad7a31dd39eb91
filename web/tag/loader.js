// The first script of the tag. It loads the core and queues calls until then. It is a classic script, which can read its
// own element. `import` passes this script's nonce on and is not a Trusted Types sink, so nothing has to be injected.
(() => {
  const tag = (window.opportune = window.opportune || []);
  if (tag.options) return; // included twice
  // Read through the prototype, because an image named "currentScript" would shadow the document's property.
  const { dataset, src } = Reflect.get(Document.prototype, "currentScript", document);
  tag.options = dataset;
  for (const name of ["track", "identify", "page", "consent", "reset"])
    tag[name] = (...call) =>
      new Promise((done) => tag.push(Object.assign([name, ...call], { done, when: new Date(), page: [location.href, document.title] })));
  const core = new URL("{core}", src);
  (function load(tries) {
    import(core + (tries ? "?" + tries : "")).catch(() => setTimeout(load, 2e3 * ++tries, tries));
  })(0);
})();
