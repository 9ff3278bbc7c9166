// The page of Switchboard. Each message gets a UUID and stays in localStorage until the gateway says that it is stored; until then
// it is sent again under the same UUID, so it can neither be lost nor count twice. Lines of the gateway have numbers and replace
// themselves: showing one again is harmless.
"use strict";

const el = (id) => document.getElementById(id);
const OUTBOX = "switchboard.outbox";
const FIRST_WAIT = 1000, LONGEST_WAIT = 15000, TYPING_FADES = 9000;

const byNumber = new Map(), byDelivery = new Map();
let after = 0, whose = "", stream = null, streamWait = FIRST_WAIT, sending = false, wake = null, typingTimer = 0;

// --- what is not stored yet -----------------------------------------------------------------------------------------------------

function outbox() {
  try { return JSON.parse(localStorage.getItem(OUTBOX)) || []; } catch { return []; }
}

function keep(messages) {
  try { localStorage.setItem(OUTBOX, JSON.stringify(messages)); } catch { banner("This browser cannot keep unsent messages; do not close the page."); }
}

function forget(id) {
  keep(outbox().filter((message) => message.id !== id));
}

function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID(); // absent on plain http elsewhere than on loopback
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

async function sendAll() {
  if (sending) return;
  sending = true;
  let wait = FIRST_WAIT;
  for (let message; (message = outbox()[0]);) {
    const outcome = await sendOne(message);
    if (outcome === "locked") break;
    if (outcome === "done") { wait = FIRST_WAIT; continue; }
    await new Promise((resolve) => { wake = resolve; setTimeout(resolve, Math.max(wait, outcome)); });
    wait = Math.min(wait * 2, LONGEST_WAIT);
  }
  sending = false;
}

// "done", "locked", or the least time to wait before the next try.
async function sendOne(message) {
  let response;
  try {
    response = await fetch("/api/messages", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(message),
    });
  } catch { return 0; }
  if (response.ok) {
    forget(message.id);
    stored(message.id);
    return "done";
  }
  if (response.status === 401) { askForToken(); return "locked"; }
  if ([400, 403, 404, 413, 415, 421].includes(response.status)) {
    forget(message.id);
    const reason = await response.json().then((body) => body.error, () => "HTTP " + response.status);
    mark(message.id, "refused", "not sent: " + reason);
    return "done";
  }
  return 1000 * (Number(response.headers.get("Retry-After")) || 0);
}

// --- what is shown --------------------------------------------------------------------------------------------------------------

function fill(item, text) {
  item.replaceChildren();
  let at = 0;
  for (const found of text.matchAll(/https?:\/\/[^\s<>"'`]+[^\s<>"'`.,;:!?)\]}]/g)) {
    item.append(text.slice(at, found.index));
    const link = document.createElement("a");
    link.href = link.textContent = found[0];
    link.target = "_blank";
    link.rel = "noopener noreferrer";
    item.append(link);
    at = found.index + found[0].length;
  }
  item.append(text.slice(at));
  item.dataset.text = text;
}

function add(kind, text, number) {
  const item = document.createElement("li");
  item.className = kind;
  fill(item, text);
  if (number) item.dataset.number = number;
  let before = el("log").lastElementChild;
  // In the order of the ledger, but behind nothing that still waits to be stored.
  while (number && before && (before.classList.contains("pending") || Number(before.dataset.number) > number)) {
    before = before.previousElementSibling;
  }
  const down = atEnd();
  if (before) before.after(item); else el("log").prepend(item);
  el("empty").hidden = true;
  if (down || kind.startsWith("me")) toEnd();
  return item;
}

function atEnd() {
  const view = document.querySelector("main");
  return view.scrollHeight - view.scrollTop - view.clientHeight < 80;
}

function toEnd() {
  const view = document.querySelector("main");
  view.scrollTop = view.scrollHeight;
}

function showLine({ id, from, text, delivery }) {
  if (from === "me") {
    const item = delivery && byDelivery.get(delivery);
    if (item) { item.dataset.number = id; byNumber.set(id, item); return stored(delivery); }
  }
  const known = byNumber.get(id);
  if (known) {
    const down = atEnd();
    if (known.dataset.text !== text) fill(known, text);
    if (down) toEnd();
  } else {
    const item = add(from, text, id);
    byNumber.set(id, item);
    if (from === "me" && delivery) { byDelivery.set(delivery, item); stored(delivery); }
  }
  if (from === "agent") typing(false);
}

function showSaid({ delivery, text }) {
  if (!byDelivery.has(delivery)) byDelivery.set(delivery, add("me", text));
  stored(delivery);
}

function stored(id) {
  forget(id);
  mark(id, "stored", "✓", "stored");
}

function mark(id, state, text, label) {
  const item = byDelivery.get(id);
  if (!item) return;
  item.className = "me " + state;
  item.querySelector(".mark")?.remove();
  const note = document.createElement("span");
  note.className = "mark";
  note.textContent = text;
  if (label) note.setAttribute("aria-label", label);
  item.append(note);
}

function typing(on) {
  clearTimeout(typingTimer);
  const down = atEnd();
  el("typing").hidden = !on;
  if (on) typingTimer = setTimeout(() => typing(false), TYPING_FADES);
  if (on && down) toEnd();
}

function banner(text) {
  el("banner").textContent = text;
  el("banner").hidden = !text;
}

function state(kind, text) {
  el("state").className = kind;
  el("state").textContent = text;
}

// --- the stream -----------------------------------------------------------------------------------------------------------------

function listen() {
  stream?.close();
  stream = new EventSource("/api/events?after=" + after);
  const on = (name, act) => stream.addEventListener(name, (event) => act(JSON.parse(event.data), event));
  on("line", showLine);
  on("said", showSaid);
  on("typing", () => typing(true));
  on("ready", ({ user, ledger }, event) => {
    const known = whose;
    whose = user + " " + ledger;
    if (known && known !== whose) return anew();
    after = Number(event.lastEventId) || 0;
    el("user").textContent = user;
    state("up", "connected");
    banner("");
    streamWait = FIRST_WAIT;
    wake?.();
    sendAll();
  });
  stream.onerror = () => away();
}

// Another ledger than before, or another user: the same numbers mean other lines. What is not stored yet is kept.
function anew() {
  after = 0;
  byNumber.clear();
  byDelivery.clear();
  el("log").replaceChildren();
  outbox().forEach(pending);
  listen();
}

// The stream ended. A browser tries again by itself only after some errors; here it is one way for all of them.
async function away() {
  stream.close();
  typing(false);
  state("down", "away");
  banner("The gateway is away. What you write is kept here and sent when it is back.");
  const wait = streamWait * (0.75 + Math.random() / 2);
  streamWait = Math.min(streamWait * 2, LONGEST_WAIT);
  await new Promise((resolve) => setTimeout(resolve, wait));
  open();
}

async function open() {
  try {
    const response = await fetch("/api/session");
    if (response.status === 401) return askForToken();
    if (response.status === 404 || response.status === 421) {
      state("down", "closed");
      return banner((await response.json()).error);
    }
  } catch { /* away: the stream says so */ }
  listen();
}

// --- the token ------------------------------------------------------------------------------------------------------------------

async function enter(token) {
  const response = await fetch("/api/session", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token }),
  });
  if (response.ok) return "";
  return response.json().then((body) => body.error, () => "HTTP " + response.status);
}

// The token stands in the address until it was exchanged: a gateway that is away must not cost it.
async function enterPatiently(token) {
  for (let wait = FIRST_WAIT; ; wait = Math.min(wait * 2, LONGEST_WAIT)) {
    try { return await enter(token); } catch {
      state("down", "away");
      banner("The gateway is away. This page opens when it is back.");
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

function askForToken(wrong) {
  stream?.close();
  state("down", "locked");
  banner("");
  el("wrong").textContent = wrong || "";
  if (!el("gate").open) el("gate").showModal();
}

el("enter").addEventListener("submit", async (event) => {
  event.preventDefault();
  // People paste the whole address as well.
  const token = el("token").value.trim().replace(/^.*#token=/, "");
  const wrong = await enter(token).catch(() => "The gateway is away. Try again.");
  if (wrong) { el("wrong").textContent = wrong; return; }
  el("token").value = "";
  el("gate").close();
  open();
});
el("gate").addEventListener("cancel", (event) => event.preventDefault());

// --- writing --------------------------------------------------------------------------------------------------------------------

function pending(message) {
  byDelivery.set(message.id, add("me pending", message.text));
  mark(message.id, "pending", "…", "waiting to be stored");
}

el("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = el("words").value;
  if (!text.trim()) return;
  const message = { id: uuid(), text };
  keep([...outbox(), message]);
  pending(message);
  el("words").value = "";
  grow();
  wake?.();
  sendAll();
});

el("words").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    el("say").requestSubmit();
  }
});

function grow() {
  const words = el("words");
  words.style.height = "auto";
  words.style.height = words.scrollHeight + 2 + "px";
}
el("words").addEventListener("input", grow);

async function start() {
  outbox().forEach(pending);
  const given = /^#token=(.+)$/.exec(location.hash);
  if (given) {
    const wrong = await enterPatiently(decodeURIComponent(given[1]));
    // Out of the address bar and the history, before anybody looks.
    history.replaceState(null, "", location.pathname);
    if (wrong) return askForToken(wrong);
  }
  el("words").focus();
  open();
}
start();
