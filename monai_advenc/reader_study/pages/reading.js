// A reading session: shows the next image from the server, sends the answer until it is acknowledged, then goes on.

import { AS_AT_FIRST, bounded, Viewer } from "/static/viewer.js";

const BASE = window.location.pathname.replace(/\/$/, "");
const UNSENT = `unsent ${BASE}`;
const DRAFT = `draft ${BASE}`;
const LONGEST_WAIT_MS = 8000;
const SIDES = ["Left", "Right"];

const element = (id) => document.getElementById(id);

let state = null;
let viewers = [];
let view = AS_AT_FIRST;
let dragging = "window";
let sending = false;
let practice = null; // Number of the practice case in view; null: the study.

// ---- Time in view: runs while the image is shown, the page is visible and nothing is paused. ----

const watch = {
  seconds: 0,
  since: null,
  run() {
    if (this.since === null) this.since = performance.now();
  },
  stop() {
    if (this.since !== null) this.seconds += (performance.now() - this.since) / 1000;
    this.since = null;
  },
  read() {
    return this.seconds + (this.since === null ? 0 : (performance.now() - this.since) / 1000);
  },
};

function watchIfInView() {
  if (viewers.length && practice === null && !state.paused && !sending && document.visibilityState === "visible") watch.run();
  else watch.stop();
}

// ---- The server ----

const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

class Refusal extends Error {}

/** Retries until the server answers: a lost connection or a restart of the server only delays it. */
async function ask(path, options = {}, read = (response) => response.json()) {
  for (let delay = 250; ; delay = Math.min(2 * delay, LONGEST_WAIT_MS)) {
    try {
      const response = await fetch(BASE + path, { cache: "no-store", credentials: "omit", ...options });
      if (response.ok) {
        const content = await read(response);
        element("connection").hidden = true;
        return content;
      }
      if (response.status < 500) {
        const { detail } = await response.json().catch(() => ({}));
        throw new Refusal(detail || `the server refused (${response.status})`);
      }
    } catch (error) {
      if (error instanceof Refusal) throw error;
    }
    element("connection").textContent = options.method
      ? "No connection. Your answer is kept here and will be sent again automatically."
      : "No connection. Retrying automatically.";
    element("connection").hidden = false;
    await wait(delay);
  }
}

const post = (path, content) =>
  ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(content) });

function freshId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Stores an answer locally before sending it, so that a reload or a lost connection neither loses nor doubles it. */
async function deliver(answer) {
  localStorage.setItem(UNSENT, JSON.stringify(answer));
  try {
    const next = await post("/answer", answer);
    localStorage.removeItem(UNSENT);
    localStorage.removeItem(DRAFT);
    return next;
  } catch (error) {
    localStorage.removeItem(UNSENT);
    throw error;
  }
}

// ---- Where the reader stands ----

async function proceed(next) {
  state = next;
  closeViewers();
  view = AS_AT_FIRST;
  document.title = `${state.session} - ${state.title}`;
  element("title").textContent = state.title;
  element("who").textContent = `${state.reader} · ${state.session}`;
  element("count").textContent = `${state.done} of ${state.total} read`;
  element("bar").max = state.total;
  element("bar").value = state.done;
  element("simulated").hidden = !state.simulated;
  element("pause").hidden = !state.reading || state.paused || state.practice !== null;
  if (state.practice) welcome("Welcome", false);
  else if (!state.reading) rest();
  else if (state.paused) showMessage("Paused", "The image is hidden and the time has stopped.", true);
  else await showReading();
}

function rest() {
  if (state.opens_at === null) {
    showMessage("All done", "Every answer is stored. Thank you; you may close this page.");
    return;
  }
  const opens = new Date(1000 * state.opens_at);
  const date = opens.toLocaleString(undefined, { dateStyle: "full", timeStyle: "short" });
  showMessage(
    `${state.session} opens later`,
    `So that you do not recognize the images, the next session opens on ${date}. Come back with the same link.`,
  );
}

// ---- Before the first image of the study ----

function welcome(title, hasPracticed) {
  practice = null;
  closeViewers();
  element("practicing").hidden = true;
  element("pause").hidden = true;
  element("reading").hidden = true;
  element("message").hidden = true;
  element("welcome").hidden = false;
  element("count").textContent = `${state.done} of ${state.total} read`;
  element("welcome-title").textContent = title;
  element("welcome-text").textContent = hasPracticed
    ? "That was the practice. The next image is the first of the study, and its time counts."
    : `You will read ${state.practice.readings} images, ${state.total} of them in this session, and answer the same questions for each. Two practice cases show how it works.`;
  element("practice").textContent = hasPracticed ? "Practice again" : "Two practice cases";
  element("practice").classList.toggle("primary", !hasPracticed);
  element("start").classList.toggle("primary", hasPracticed);
  (hasPracticed ? element("start") : element("practice")).focus();
}

async function showPractice(number) {
  practice = number;
  closeViewers();
  view = AS_AT_FIRST;
  element("welcome").hidden = true;
  element("practicing").hidden = false;
  element("count").textContent = `Practice ${number + 1} of ${state.practice.shapes.length}`;
  await showReading();
}

async function startStudy() {
  practice = null;
  state.practice = null;
  await proceed(state);
}

function current() {
  if (practice === null) return state.reading;
  return { id: `practice-${practice}`, shapes: [state.practice.shapes[practice]], questions: state.reading.questions };
}

function showMessage(title, text, canResume = false) {
  element("reading").hidden = true;
  element("welcome").hidden = true;
  element("message").hidden = false;
  element("message-title").textContent = title;
  element("message-text").textContent = text;
  element("resume").hidden = !canResume;
  (canResume ? element("resume") : element("message-title")).focus();
}

async function showReading() {
  const reading = current();
  const number = practice;
  element("message").hidden = true;
  element("welcome").hidden = true;
  element("reading").hidden = false;
  element("submit").disabled = true;
  element("problem").textContent = "";
  askQuestions(reading);
  const images = await Promise.all(
    reading.shapes.map((_, index) =>
      ask(number === null ? `/image/${reading.id}/${index}` : `/practice/${number}`, {}, (response) => response.arrayBuffer()),
    ),
  );
  if (practice !== number || current().id !== reading.id || state.paused) return;
  element("canvases").replaceChildren();
  viewers = reading.shapes.map((shape, index) => {
    const canvas = addCanvas(reading.shapes.length, index);
    return new Viewer(canvas, shape, images[index]);
  });
  change({});
  element("stage").dataset.reading = reading.id;
  element("submit").disabled = false;
  watchIfInView();
}

function addCanvas(count, index) {
  const figure = document.createElement("figure");
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  const place = count > 1 ? `${SIDES[index]} image` : "Image";
  const number = practice === null ? `${state.done + 1} of ${state.total}` : `of practice case ${practice + 1}`;
  canvas.setAttribute("aria-label", `${place} ${number}`);
  figure.append(canvas);
  if (count > 1) {
    const caption = document.createElement("figcaption");
    caption.textContent = SIDES[index];
    figure.append(caption);
  }
  element("canvases").append(figure);
  listen(canvas);
  return canvas;
}

function closeViewers() {
  watch.stop();
  for (const viewer of viewers) viewer.close();
  viewers = [];
  element("canvases").replaceChildren();
  delete element("stage").dataset.reading;
}

// ---- Questions ----

function askQuestions(reading) {
  const draft = JSON.parse(localStorage.getItem(DRAFT) || "null");
  const known = draft && draft.reading === reading.id ? draft : { answers: {}, seconds: 0 };
  watch.seconds = known.seconds;
  element("questions").replaceChildren(
    ...reading.questions.map((question, place) =>
      question.kind === "text" ? textQuestion(question, known) : optionsQuestion(question, place, known),
    ),
  );
}

function optionsQuestion(question, place, known) {
  const fieldset = document.createElement("fieldset");
  const legend = document.createElement("legend");
  legend.textContent = question.text;
  const list = document.createElement("div");
  const isScale = question.kind === "scale";
  list.className = isScale ? "scale" : "options";
  const values = isScale
    ? Array.from({ length: question.highest - question.lowest + 1 }, (_, step) => question.lowest + step)
    : question.choices;
  values.forEach((value, index) => {
    list.append(option(question, value, index, place, known.answers[question.name] === value));
  });
  fieldset.append(legend, list);
  if (isScale && (question.lowest_label || question.highest_label)) {
    const ends = document.createElement("div");
    ends.className = "ends";
    for (const text of [question.lowest_label, question.highest_label]) {
      const end = document.createElement("span");
      end.textContent = text;
      ends.append(end);
    }
    fieldset.append(ends);
  }
  return fieldset;
}

function option(question, value, index, place, chosen) {
  const label = document.createElement("label");
  label.className = "option";
  const input = document.createElement("input");
  input.type = "radio";
  input.name = question.name;
  input.value = String(value);
  input.checked = chosen;
  input.dataset.question = String(place);
  input.dataset.option = String(index);
  const face = document.createElement("span");
  face.className = "face";
  if (question.kind !== "scale" && place < 2 && index < 9) {
    const key = document.createElement("kbd");
    key.textContent = String(index + 1);
    key.setAttribute("aria-hidden", "true");
    face.append(key);
  }
  const name = document.createElement("span");
  name.textContent = spoken(question, value);
  face.append(name);
  label.append(input, face);
  return label;
}

function spoken(question, value) {
  if (question.name === "encrypted_side") return value === "left" ? "The left one" : "The right one";
  return String(value).replaceAll("_", " ");
}

function textQuestion(question, known) {
  const fieldset = document.createElement("fieldset");
  const label = document.createElement("label");
  label.className = "text-label";
  label.htmlFor = `text-${question.name}`;
  label.textContent = question.text;
  if (!question.required) {
    const note = document.createElement("span");
    note.className = "optional";
    note.textContent = " (optional)";
    label.append(note);
  }
  const text = document.createElement("textarea");
  text.id = label.htmlFor;
  text.name = question.name;
  text.maxLength = 2000;
  text.value = known.answers[question.name] || "";
  fieldset.append(label, text);
  return fieldset;
}

function givenAnswers() {
  const data = new FormData(element("form"));
  const answers = {};
  for (const question of current().questions) {
    const value = data.get(question.name);
    if (value === null || value === "") answers[question.name] = null;
    else answers[question.name] = question.kind === "scale" ? Number(value) : value;
  }
  return answers;
}

function keepDraft() {
  if (!state || !state.reading || practice !== null || sending || !viewers.length) return;
  const draft = { reading: state.reading.id, answers: givenAnswers(), seconds: watch.read() };
  localStorage.setItem(DRAFT, JSON.stringify(draft));
}

async function submit() {
  if (sending || !viewers.length) return;
  const answers = givenAnswers();
  const missing = current().questions.find((question) => question.required && answers[question.name] === null);
  if (missing) {
    element("problem").textContent = `Please answer: ${missing.text}`;
    const input = element("form").querySelector(`[name="${CSS.escape(missing.name)}"]`);
    if (input) input.focus();
    return;
  }
  if (practice !== null) {
    if (practice + 1 < state.practice.shapes.length) await showPractice(practice + 1);
    else welcome("Practice is over", true);
    return;
  }
  sending = true;
  watch.stop();
  element("submit").disabled = true;
  element("problem").textContent = "";
  const answer = { answer_id: freshId(), reading: state.reading.id, answers, seconds: watch.seconds };
  try {
    const next = await deliver(answer);
    sending = false;
    if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
    await proceed(next);
  } catch (error) {
    sending = false;
    await recover(error);
  }
}

async function recover(error) {
  if (!(error instanceof Refusal)) throw error;
  await proceed(await ask("/state"));
  element("problem").textContent = error.message;
}

async function pause(paused) {
  if (!state || !state.reading || state.practice || sending || state.paused === paused) return;
  keepDraft();
  state.paused = paused;
  watchIfInView();
  await proceed(await post("/pause", { paused }));
}

// ---- Looking ----

function change(step) {
  view = bounded({ ...view, ...step });
  for (const viewer of viewers) viewer.show(view);
  element("view").textContent =
    `Window ${Math.round(100 * view.width)} % · Level ${Math.round(100 * view.center)} % · Zoom ${view.zoom.toFixed(1)}`;
}

function reset() {
  change(AS_AT_FIRST);
}

function setMode(mode) {
  dragging = mode;
  element("mode-window").setAttribute("aria-pressed", String(mode === "window"));
  element("mode-pan").setAttribute("aria-pressed", String(mode === "pan"));
  element("canvases").classList.toggle("pan", mode === "pan");
}

function moveBy(across, down) {
  const [viewer] = viewers;
  if (!viewer) return;
  const scale = viewer.scale;
  change({ x: view.x + across / scale / viewer.width, y: view.y + down / scale / viewer.height });
}

function windowBy(across, down) {
  change({ width: view.width * Math.exp(across / 300), center: view.center + (down / 600) * Math.min(1, view.width) });
}

function listen(canvas) {
  const fingers = new Map();
  const spread = () => {
    const [one, two] = [...fingers.values()];
    return { distance: Math.hypot(one.x - two.x, one.y - two.y), x: (one.x + two.x) / 2, y: (one.y + two.y) / 2 };
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    const pans = dragging === "pan" || event.shiftKey || event.button !== 0;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY, pans });
  });
  canvas.addEventListener("pointermove", (event) => {
    const finger = fingers.get(event.pointerId);
    if (!finger) return;
    const before = fingers.size === 2 ? spread() : null;
    const [across, down] = [event.clientX - finger.x, event.clientY - finger.y];
    finger.x = event.clientX;
    finger.y = event.clientY;
    if (before) {
      const after = spread();
      change({ zoom: (view.zoom * after.distance) / Math.max(1, before.distance) });
      moveBy(after.x - before.x, after.y - before.y);
    } else if (finger.pans) moveBy(across, down);
    else windowBy(across, down);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
  }
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    change({ zoom: view.zoom * Math.exp(-event.deltaY / 500) });
  }, { passive: false });
  canvas.addEventListener("dblclick", reset);
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
}

// ---- Keys ----

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function choose(question, index) {
  const input = element("form").querySelector(`[data-question="${question}"][data-option="${index}"]`);
  if (!input) return false;
  input.checked = true;
  keepDraft();
  return true;
}

function pressed(event) {
  const typing = event.target instanceof HTMLTextAreaElement;
  if (typing || event.ctrlKey || event.metaKey || event.altKey || element("helping").open || !state) return;
  const key = event.key.toLowerCase();
  const onRadio = event.target instanceof HTMLInputElement;
  const onButton = event.target instanceof HTMLButtonElement;
  const digit = /^Digit([1-9])$/.exec(event.code) || /^Numpad([1-9])$/.exec(event.code);
  let used = true;
  if (key === "p") pause(!state.paused);
  else if (key === "?") element("helping").showModal();
  else if (!viewers.length) used = false;
  else if (digit) used = choose(event.shiftKey ? 1 : 0, Number(digit[1]) - 1);
  else if (key === "enter" && !onButton) submit();
  else if (key === "r") reset();
  else if (key === "+" || key === "=") change({ zoom: view.zoom * 1.25 });
  else if (key === "-") change({ zoom: view.zoom / 1.25 });
  else if (event.key in ARROWS && !onRadio) {
    const [across, down] = ARROWS[event.key];
    if (event.shiftKey) moveBy(30 * across, 30 * down);
    else windowBy(20 * across, 20 * down);
  } else used = false;
  if (used) event.preventDefault();
}

// ---- Beginning ----

element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
element("form").addEventListener("input", keepDraft);
element("pause").addEventListener("click", () => pause(true));
element("resume").addEventListener("click", () => pause(false));
element("practice").addEventListener("click", () => showPractice(0));
element("start").addEventListener("click", startStudy);
element("help").addEventListener("click", () => element("helping").showModal());
element("close-help").addEventListener("click", () => element("helping").close());
element("reset").addEventListener("click", reset);
element("zoom-in").addEventListener("click", () => change({ zoom: view.zoom * 1.25 }));
element("zoom-out").addEventListener("click", () => change({ zoom: view.zoom / 1.25 }));
element("mode-window").addEventListener("click", () => setMode("window"));
element("mode-pan").addEventListener("click", () => setMode("pan"));
document.addEventListener("keydown", pressed);
document.addEventListener("visibilitychange", () => {
  if (!state) return;
  watchIfInView();
  keepDraft();
});
window.addEventListener("pagehide", keepDraft);

async function begin() {
  const unsent = JSON.parse(localStorage.getItem(UNSENT) || "null");
  try {
    await proceed(unsent ? await deliver(unsent) : await ask("/state"));
  } catch (error) {
    await recover(error);
  }
}

begin();
