// The page of Switchboard. Lines of the gateway have numbers and replace themselves: showing one again is harmless. What is written here
// is kept and sent by outbox.js.
"use strict";

const el = (id) => document.getElementById(id);
const TYPING_FADES = 9000, LONGEST_TIMER = 2 ** 31 - 1, HOUR = 3600000, DAY = 24 * HOUR;

// Lines by their number and by the UUID of their message; replies that grow, by their number.
const byNumber = new Map(), byDelivery = new Map(), growing = new Map();
// The last number that this page has; null until it was shown the conversation.
let after = null;
// Where what is shown begins, if the gateway has more of it; and whether lines come in that were said before those.
let oldest = null, past = false;
let whose = "", note = "", locked = false, exchanging = false, brought = null, renewedAt = 0, typingTimer = 0;
let stream = null, streamWait = FIRST_WAIT, patience = NO_ANSWER, heardAt = 0, deaf = 0;

// --- what is shown --------------------------------------------------------------------------------------------------------------

const WHO = { me: "You: ", agent: "Agent: ", gateway: "Gateway: " };

function fill(item, text) {
  const who = document.createElement("span");
  who.className = "unseen";
  who.textContent = WHO[item.classList[0]];
  item.replaceChildren(who);
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

function showLine({ id, from, text, delivery, draft }) {
  if (from === "me") {
    const item = delivery && byDelivery.get(delivery);
    if (item) { item.dataset.number = id; byNumber.set(id, item); return stored(delivery); }
  }
  const known = byNumber.get(id);
  const news = !known || known.dataset.text !== text || growing.has(id);
  if (known) {
    const down = atEnd();
    if (known.dataset.text !== text) fill(known, text);
    if (down) toEnd();
  } else {
    const item = add(from, text, id);
    byNumber.set(id, item);
    if (from === "me" && delivery) { byDelivery.set(delivery, item); stored(delivery); }
  }
  if (from === "agent" && !past) typing(false);
  if (from !== "me" && news) draft ? grows(id) : whole(id);
}

// A reply that grows is read aloud when it is whole, or grows no more: its turn may have been stopped.
function grows(id) {
  clearTimeout(growing.get(id));
  growing.set(id, setTimeout(() => whole(id), TYPING_FADES));
  byNumber.get(id).setAttribute("aria-busy", "true");
}

function whole(id) {
  clearTimeout(growing.get(id));
  growing.delete(id);
  const item = byNumber.get(id);
  item.removeAttribute("aria-busy");
  if (after !== null && !past) announce(WHO[item.classList[0]] + item.dataset.text);
}

// Read aloud, not shown. The log itself is not: it is filled with what was said before.
function announce(text) {
  const spoken = el("spoken"), line = document.createElement("p");
  line.textContent = text;
  spoken.append(line);
  while (spoken.childElementCount > 20) spoken.firstElementChild.remove();
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
  const item = byDelivery.get(id), down = atEnd();
  if (!item) return;
  item.className = "me " + state;
  item.querySelector(".mark")?.remove();
  const sign = document.createElement("span");
  sign.className = "mark";
  sign.textContent = text;
  if (label) {
    sign.setAttribute("role", "img");
    sign.setAttribute("aria-label", label);
  }
  item.append(sign);
  if (down) toEnd();
  return sign;
}

// It waits, and why. What something on the way will never let through holds up all that follows: that can be given up.
function stuck(id, reason, hopeless) {
  const text = "waiting: " + reason + (held.has(id) ? "; this browser cannot keep it, so leave the page open" : "");
  if (byDelivery.get(id)?.querySelector(".mark").firstChild.data === text) return; // a button that is made anew cannot be pressed
  const sign = mark(id, "pending stuck", text);
  if (!hopeless || !sign) return;
  const button = document.createElement("button");
  button.textContent = "Discard";
  button.addEventListener("click", () => { forget(id); mark(id, "refused", "discarded"); hope(); });
  sign.append(" ", button);
}

function typing(on) {
  clearTimeout(typingTimer);
  const down = atEnd();
  el("typing").hidden = !on;
  if (on) typingTimer = setTimeout(() => typing(false), TYPING_FADES);
  if (on && down) toEnd();
}

function banner(text) {
  const down = atEnd();
  el("banner").textContent = text;
  if (down) toEnd();
}

function state(kind, text) {
  el("state").className = kind;
  el("state").textContent = text;
}

// --- the stream -----------------------------------------------------------------------------------------------------------------

// Read here, not by an EventSource, which does not say why it was turned away, and never ends a connection that went dead.
async function follow() {
  for (;;) {
    const least = await listen().catch(away);
    clearTimeout(deaf);
    typing(false);
    if (stream.signal.reason === "again") continue;
    await pause(least, streamWait * (0.75 + Math.random() / 2));
    streamWait = Math.min(streamWait * 2, LONGEST_WAIT);
    while (locked) await new Promise((resolve) => hopes.push(resolve));
  }
}

// Holds the stream while it lasts, and answers with the least time to wait before the next try.
async function listen() {
  stream = new AbortController();
  heard(NO_ANSWER);
  await renew(stream.signal);
  const response = await call("/api/events" + (after === null ? "" : "?after=" + after), { signal: stream.signal });
  const ours = response.headers.get("Content-Type")?.startsWith("text/event-stream");
  if (!response.ok || !ours) return turnedAway(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return away();
    heard(patience);
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    events.forEach(happened);
  }
}

// Everything that comes is a sign of life, and so is the beat, which comes for nothing else.
function heard(limit) {
  heardAt = Date.now();
  clearTimeout(deaf);
  deaf = setTimeout(sever, limit, "silent");
}

// Connections that went dead are ended by nobody else.
function sever(why) {
  stream?.abort(why);
  post?.abort();
}

function happened(event) {
  const field = (name) => event.split("\n").find((line) => line.startsWith(name + ": "))?.slice(name.length + 2);
  const act = { line: showLine, said: showSaid, typing: () => typing(true), ready }[field("event")];
  if (act && !stream.signal.aborted) act(JSON.parse(field("data")), Number(field("id")));
}

function ready({ user, ledger, heartbeat, earlier }, number) {
  const known = whose;
  whose = user + " " + ledger;
  if (known && known !== whose) return anew();
  // More was said than is shown at once: what this page has from before it would stand there without what lies between.
  if (earlier || after === null) begin(earlier ?? null);
  // What grows is read again from its beginning: its end may be missed.
  after = Math.min(number, ...[...growing.keys()].map((id) => id - 1));
  // An older gateway, gone back to under this page, does not say how often it beats.
  if (heartbeat) patience = Math.min(Math.max(3 * heartbeat, 3000), LONGEST_TIMER);
  heard(patience);
  el("user").textContent = el("user").title = user;
  state("up", "connected");
  banner("");
  streamWait = FIRST_WAIT;
  hope();
  sendAll();
}

// What is shown begins with this number; null: with the first word.
function begin(number) {
  oldest = number;
  el("earlier").hidden = number === null;
  for (const [id, item] of byNumber) {
    if (number === null || id >= number) continue;
    clearTimeout(growing.get(id));
    growing.delete(id);
    byNumber.delete(id);
    item.remove();
  }
  for (const [id, item] of byDelivery) if (item.dataset.number && !item.isConnected) byDelivery.delete(id);
}

el("earlier").addEventListener("click", async () => {
  const button = el("earlier"), known = whose;
  button.disabled = true;
  try {
    const response = await call("/api/lines?before=" + oldest);
    const { body, words } = await read(response);
    if (words && body.login) askForLogin(body.login);
    else if (response.ok && Array.isArray(body?.lines) && known === whose) showEarlier(body);
    else announce("Earlier messages cannot be shown now.");
  } catch {
    announce("Earlier messages cannot be shown now.");
  } finally {
    button.disabled = false;
  }
});

// What a person looks at stays where it is.
function showEarlier({ lines, earlier }) {
  const view = document.querySelector("main"), below = view.scrollHeight - view.scrollTop;
  past = true;
  for (const line of lines) showLine(line);
  past = false;
  oldest = earlier;
  if (earlier === null) {
    el("earlier").hidden = true;
    el("log").focus();
  }
  view.scrollTop = view.scrollHeight - below;
  announce(lines.length + " earlier messages");
}

// Another ledger than before, or another user: the same numbers mean other lines. What is not stored yet is kept.
function anew() {
  after = null;
  growing.forEach(clearTimeout);
  [growing, byNumber, byDelivery].forEach((map) => map.clear());
  el("log").replaceChildren();
  begin(null);
  outbox().forEach(pending);
  stream.abort("again");
}

function away() {
  if (stream.signal.reason !== "again") {
    state("down", "away");
    banner("The gateway is away. What you write is kept here and sent when it is back.");
  }
  return 0;
}

async function turnedAway(response) {
  const { body, words } = await read(response);
  if (!words) return away();
  if (body.login) askForLogin(body.login);
  else {
    state("down", response.status === 503 ? "waiting" : "closed");
    banner("Not connected: " + words + ". What you write is kept here; this page tries again by itself.");
  }
  return asked(response);
}

// Now, and whatever is said of the connection that there is.
function reconnect() {
  streamWait = FIRST_WAIT;
  sever("again");
  hope();
}

addEventListener("online", reconnect);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  // A machine that slept, or a tab that was put away.
  if (Date.now() - heardAt > patience / 2) reconnect(); else hope();
});

// --- the login ------------------------------------------------------------------------------------------------------------------

// "" when this browser is in, or why not; throws as long as the gateway itself says neither, with its words if it said some.
async function enter(entry, signal) {
  const response = await call("/api/session", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(entry), signal,
  });
  const { body, words } = await read(response);
  if (response.ok && body?.user) {
    if (body.half) keepHalf(body.half); // an older gateway, gone back to under this page, has none
    renewedAt = Date.now();
    return "";
  }
  if (words && response.status === 404) return ""; // there is no chat now
  if (words && response.status < 500 && response.status !== 429) return words;
  throw new Error(words);
}

// The cookie lasts for some weeks from its last use. An older version's is exchanged for both halves.
async function renew(signal) {
  if (Date.now() - renewedAt > DAY) await enter({}, signal);
}

setInterval(() => { if (!locked) renew().catch(() => { /* the stream says so */ }); }, HOUR);

// A code opens once. It leaves the address bar and the history at once, and is kept here until it was exchanged. In a page that is open already
// the address changes without a start.
async function exchange() {
  const found = /^#(code|token)=(.+)$/.exec(location.hash);
  if (found) {
    history.replaceState(null, "", location.pathname);
    brought = { [found[1]]: found[2] };
  }
  if (exchanging) return hope();
  exchanging = true;
  for (let entry, wait = FIRST_WAIT; (entry = brought); wait = Math.min(wait * 2, LONGEST_WAIT)) {
    try {
      const wrong = await enter(entry);
      if (brought !== entry) continue;
      brought = null;
      if (wrong) refused(wrong); else unlock();
    } catch ({ message, name }) {
      state("down", "away");
      const why = name === "Error" && message ? "Not connected: " + message + "." : "The gateway is away.";
      banner(why + " This page opens when it can.");
      await pause(0, wait);
    }
  }
  exchanging = false;
}

addEventListener("hashchange", exchange);
// Another tab of this browser was let in.
addEventListener("storage", ({ key, newValue }) => { if (key === HALF && newValue && locked) unlock(); });

function refused(wrong) {
  note = wrong;
  if (locked) askForLogin(); else banner(wrong);
}

// The command that gives an address, as the gateway was started.
function askForLogin(command) {
  locked = true;
  state("down", "locked");
  banner("");
  if (command) el("command").textContent = command;
  el("wrong").textContent = note;
  if (!el("gate").open) el("gate").showModal();
}

function unlock() {
  note = "";
  locked = false;
  el("given").value = "";
  el("gate").close();
  reconnect();
}

el("enter").addEventListener("submit", async (event) => {
  event.preventDefault();
  // The whole address, or the token of programs.
  const [, kind, text] = /^(?:.*#(code|token)=)?(.*)$/.exec(el("given").value.trim());
  const wrong = await enter({ [kind || "token"]: text }).catch(({ message }) => message || "The gateway is away. Try again.");
  if (wrong) refused(wrong); else unlock();
});
el("gate").addEventListener("cancel", (event) => event.preventDefault());

// --- writing --------------------------------------------------------------------------------------------------------------------

function pending(message) {
  byDelivery.set(message.id, add("me pending", message.text));
  mark(message.id, "pending", "…", "waiting to be stored");
  if (held.has(message.id)) stuck(message.id, "not sent yet");
}

addEventListener("beforeunload", (event) => { if (held.size) event.preventDefault(); });

el("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = el("words").value;
  if (!text.trim()) return;
  // In the order of writing, also when the clock is set back.
  newest = Math.max(Date.now(), newest + 1);
  const message = { id: uuid(), text, at: newest };
  keep(message);
  pending(message);
  el("words").value = "";
  grow();
  hope();
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
  adopt();
  const waiting = outbox();
  newest = waiting.at(-1)?.at ?? 0;
  waiting.forEach(pending);
  await exchange();
  if (!note) el("words").focus();
  follow();
}
start();
