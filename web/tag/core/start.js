// Everything is defined: start.

const asked = tag.options.consent === "required";
const free = !navigator.globalPrivacyControl; // the signal counts as a refusal until the site reports consent
const first = read("consent") ?? (asked && free ? null : { analytics: free, marketing: free });
if (first) allow(first);
if (tag.options.follow) window.analytics ? follow() : addEventListener("load", follow);
tag.push = perform;
tag.splice(0).forEach(perform);
viewed();
look();
for (const name of names("seen:")) if (Date.now() - read(name) > KEPT_FOR) remove(name);
(window.requestIdleCallback ?? setTimeout)(painter);
