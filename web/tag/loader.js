// The first script of the tag: keeps calls until the core is there, and fetches it. Classic, so that it can read its
// own element. `import` hands on the nonce of this script and is no sink of Trusted Types: nothing has to be injected.
(() => {
  const tag = (window.opportune = window.opportune || []);
  if (tag.options) return; // included twice
  // Asked of the prototype: an image that somebody has named "currentScript" would be the answer of the document.
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
