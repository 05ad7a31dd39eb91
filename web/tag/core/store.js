// Store values in the browser under one prefix: in localStorage with consent, else in memory.

const tag = window.opportune;
const PREFIX = `opportune:${tag.options.key}:`;
const memory = new Map();
let remembers; // set by consent

function read(name) {
  try {
    return JSON.parse((remembers || name === "consent" ? localStorage.getItem(PREFIX + name) : null) ?? memory.get(name));
  } catch {
    return null; // it is not stored, or not by the tag
  }
}

function write(name, value) {
  const text = JSON.stringify(value);
  memory.delete(name);
  try {
    if (!remembers && name !== "consent") throw 0;
    localStorage.setItem(PREFIX + name, text);
  } catch {
    memory.set(name, text); // no consent, no storage, or the storage is full
  }
}

function remove(name) {
  memory.delete(name);
  try {
    localStorage.removeItem(PREFIX + name);
  } catch {} // no storage: nothing to remove
}

/** Return the names that begin with `start`, in order. */
function names(start) {
  const found = [...memory.keys()];
  try {
    found.push(...Object.keys(localStorage).filter((key) => key.startsWith(PREFIX)).map((key) => key.slice(PREFIX.length)));
  } catch {} // no storage
  return found.filter((name) => name.startsWith(start)).sort();
}

/** Run `work` unless another tab is running it. */
function alone(name, work) {
  const run = (lock) => lock !== null && work();
  return navigator.locks ? navigator.locks.request(PREFIX + name, { ifAvailable: true }, run) : run();
}
