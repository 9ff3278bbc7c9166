// What was written and is not stored yet: kept until the gateway says that it is, and sent until then under the same UUID, so that it
// can neither be lost nor count twice. Shown by page.js.
"use strict";

// Milliseconds. Who says nothing for so long is not there; a Retry-After beyond the longest is not believed.
const FIRST_WAIT = 1000, LONGEST_WAIT = 15000, LONGEST_ASKED = 60000, NO_ANSWER = 60000;
// What our own gateway refuses for good. Everything else may be a proxy's word, or change.
const FINAL = [400, 413, 415];
const OUTBOX = "switchboard.outbox";

// What this browser refused to keep, and those who wait for a better moment.
const held = new Map(), hopes = [];
let sending = false, post = null, newest = 0;

// --- asking ---------------------------------------------------------------------------------------------------------------------

// Half of this browser's login. The other half is a cookie, which goes to every port of the host, and so opens nothing alone.
const HALF = "switchboard.half";
let ownHalf = ""; // where this browser keeps nothing

function half() {
  try { return localStorage.getItem(HALF) || ownHalf; } catch { return ownHalf; }
}

function keepHalf(value) {
  ownHalf = value;
  try { localStorage.setItem(HALF, value); } catch { /* until the page is left */ }
}

// Every request to the gateway.
function call(path, { headers = {}, ...options } = {}) {
  return fetch(path, { cache: "no-store", redirect: "error", ...options, headers: { "Switchboard-Half": half(), ...headers } });
}

// --- keeping --------------------------------------------------------------------------------------------------------------------

// A key for each message, so that no tab writes over what another keeps; what the browser refuses to keep is held in memory.
const keyOf = (id) => OUTBOX + "." + id;

function outbox() {
  const found = new Map(held);
  try {
    for (const key of Object.keys(localStorage).filter((key) => key.startsWith(OUTBOX + "."))) {
      const message = parsed(localStorage.getItem(key));
      if (typeof message?.id === "string" && typeof message.text === "string") found.set(message.id, message);
    }
  } catch { /* this browser keeps nothing */ }
  return [...found.values()].sort((a, b) => a.at - b.at);
}

function parsed(text) {
  try { return JSON.parse(text); } catch { return null; }
}

function keep(message) {
  try { localStorage.setItem(keyOf(message.id), JSON.stringify(message)); } catch { held.set(message.id, message); }
}

function forget(id) {
  held.delete(id);
  try { localStorage.removeItem(keyOf(id)); } catch { /* nothing is kept there */ }
}

// What an earlier version of this page kept, in one list.
function adopt() {
  try {
    const old = parsed(localStorage.getItem(OUTBOX));
    if (!Array.isArray(old)) return;
    old.forEach(({ id, text }, at) => keep({ id, text, at }));
    localStorage.removeItem(OUTBOX);
  } catch { /* nothing is kept there */ }
}

function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID(); // absent on plain http elsewhere than on loopback
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

// --- sending --------------------------------------------------------------------------------------------------------------------

async function sendAll() {
  if (sending) return;
  sending = true;
  let wait = FIRST_WAIT;
  for (let message; !locked && (message = outbox()[0]);) {
    const least = await sendOne(message);
    if (least === null) { wait = FIRST_WAIT; continue; }
    await pause(least, wait);
    wait = Math.min(wait * 2, LONGEST_WAIT);
  }
  sending = false;
}

// Null when nothing more is to be done, or the least time to wait before the next try.
async function sendOne({ id, text }) {
  post = new AbortController();
  const limit = setTimeout(() => post.abort(), NO_ANSWER);
  try {
    const response = await call("/api/messages", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ id, text }), signal: post.signal,
    });
    const { body, words } = await read(response);
    // A portal says 200 to everything.
    if (response.ok && body?.id === id) { stored(id); return null; }
    if (words && body.login) { askForLogin(body.login); return null; }
    if (words && FINAL.includes(response.status)) {
      forget(id);
      mark(id, "refused", "not sent: " + words);
      announce("Not sent: " + words);
      return null;
    }
    stuck(id, words || "HTTP " + response.status, !words && response.status >= 400 && response.status < 500);
    return asked(response);
  } catch { return 0; } finally { clearTimeout(limit); }
}

// --- waiting --------------------------------------------------------------------------------------------------------------------

const sleep = (time) => new Promise((resolve) => setTimeout(resolve, time));

// Ends early when something gives hope, but for what the gateway itself asked to wait.
async function pause(asked, time) {
  if (asked) await sleep(asked);
  if (time > asked) await Promise.race([sleep(time - asked), new Promise((resolve) => hopes.push(resolve))]);
}

function hope() {
  for (const resolve of hopes.splice(0)) resolve();
}

function asked(response) {
  return Math.min(1000 * (Number(response.headers.get("Retry-After")) || 0), LONGEST_ASKED);
}

// What was answered, and the gateway's own words for why not: none where a proxy or a portal answers in its place.
async function read(response) {
  const body = await response.json().catch(() => null);
  return { body, words: typeof body?.error === "string" ? body.error : "" };
}
