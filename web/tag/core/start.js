// Everything is defined: start.

const free = !navigator.globalPrivacyControl; // the signal counts as a refusal until the site reports consent
const first = read("consent") ?? (tag.options.consent === "required" && free ? null : { analytics: free, marketing: free });
if (first) allow(first);
if (isHeld) follow(), setTimeout(() => release((isHeld = 0)), 1e4); // or something blocks the library
tag.push = (...all) => all.map(perform)[0];
tag.splice(0).forEach(perform);
viewed();
look();
for (const name of names("seen:")) if (Date.now() - read(name) > KEPT_FOR) remove(name);
(window.requestIdleCallback ?? setTimeout)(painter);
