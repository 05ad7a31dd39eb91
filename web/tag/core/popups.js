// Popups of an answer: handed to the renderer, which is fetched when the page has nothing better to do.

let renderer = null;
function painter() {
  return (renderer ??= import("{render}").catch(() => (renderer = null)));
}

function report(popup, kind, more = {}, suffix = "") {
  const { id: activation, campaign, variant } = popup;
  const messageId = `${activation}:${kind.toLowerCase()}${suffix}`;
  return tag.track(`Opportune ${kind}`, { activation, campaign, variant, ...more }, { messageId });
}

function show(messages) {
  for (const popup of messages) {
    const event = new CustomEvent("opportune:popup", { detail: popup, cancelable: true });
    // A site that paints its popups itself prevents the default.
    if (!consent?.marketing || !document.dispatchEvent(event)) continue;
    painter().then((module) =>
      module ? module.paint(popup, { report: report.bind(null, popup), alone, read, write }) : report(popup, "Error", { reason: "renderer_not_loaded" }),
    );
  }
}
