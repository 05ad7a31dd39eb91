// Pass the popups of a response to the renderer, which is loaded when the page is idle.

let renderer = null;
function painter() {
  return (renderer ??= import("{render}").catch(() => (renderer = null)));
}

function report(popup, kind, more, suffix = "") {
  const { id: activation, campaign, variant } = popup;
  const messageId = `${activation}:${kind.toLowerCase()}${suffix}`;
  return tag.track(`Opportune ${kind}`, { activation, campaign, variant, ...more }, { messageId });
}

function show(messages) {
  for (const popup of messages) {
    const event = new CustomEvent("opportune:popup", { detail: popup, cancelable: true });
    // A site that renders its popups itself calls preventDefault.
    if (!consent?.marketing || !document.dispatchEvent(event)) continue;
    painter().then((module) =>
      module ? module.paint(popup, { report: report.bind(null, popup), alone, read, write }) : report(popup, "Error", { reason: "renderer_not_loaded" }),
    );
  }
}
