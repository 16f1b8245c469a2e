// Follows a board and a player. What comes from events may be anything: it is put in as text, never as HTML.
"use strict";

const SILENCE_MS = 40_000; // the service says every 15 s that it is there
const WORDS = { daily: "today", weekly: "this week", alltime: "all time" };

const find = (selector) => document.querySelector(selector);
const form = find("#question");
const key = find("#key");
let following = new AbortController();
let shown = {};
let retry = 2_000;

// What is asked for, as it is in the address ----------------------------------------------------------------------

function questionOf(parameters) {
  const asked = Object.fromEntries(parameters);
  const question = { game: asked.game ?? "", period: asked.period, limit: asked.limit, player: asked.player ?? "" };
  for (const name of ["period", "limit"]) {
    const options = [...form.elements[name].options].map((option) => option.value);
    if (!options.includes(question[name])) question[name] = options[0];
  }
  return question;
}

function addressOf(question) {
  const told = Object.entries(question).filter(([, value]) => value);
  return `?${new URLSearchParams(told)}`;
}

function go(question) {
  history.pushState(null, "", addressOf(question));
  scrollTo(0, 0);
  show(question);
}

function show(question) {
  for (const [name, value] of Object.entries(question)) form.elements[name].value = value;
  document.title = question.game ? `${question.game}, ${WORDS[question.period]}` : "Players, live";
  // Another player on the same board: that stays where it is.
  if (["game", "period", "limit"].some((name) => question[name] !== shown[name])) find("#board").hidden = true;
  find("#player").hidden = true;
  shown = question;
  following.abort();
  following = new AbortController();
  if (question.game) follow(question, following.signal);
  else tell("idle", "Choose a game.");
}

// The stream ------------------------------------------------------------------------------------------------------

async function follow(question, signal) {
  tell("waiting", "Connecting …");
  while (!signal.aborted) {
    try {
      if (await listen(question, signal)) return;
    } catch (error) {
      if (signal.aborted) return;
    }
    if (signal.aborted) return;
    tell("waiting", "Reconnecting …");
    // All who were cut off at once do not come back at once.
    await new Promise((done) => setTimeout(done, retry * (0.5 + Math.random())));
  }
}

// Whether it makes no sense to try again: otherwise the stream has ended.
async function listen(question, signal) {
  const { game, period, limit, player } = question;
  const asked = new URLSearchParams(player ? { limit, player } : { limit });
  const path = `/api/v1/games/${encodeURIComponent(game)}/leaderboards/${period}/live?${asked}`;
  const headers = key.value ? { Authorization: `Bearer ${key.value}` } : {};
  const answer = await fetch(path, { headers, signal, cache: "no-store" });
  if (!answer.ok) return refuse(answer);
  tell("live", "Live");
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const silence = setTimeout(() => reader.cancel(), SILENCE_MS);
    const { done, value } = await reader.read().finally(() => clearTimeout(silence));
    if (done) return false;
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) take(block, question);
  }
}

async function refuse(answer) {
  if (answer.status === 401 || answer.status === 403) {
    find("#key-field").hidden = false;
    tell("refused", key.value ? "This API key is not good for reading." : "An API key is needed.");
    key.focus();
    return true;
  }
  retry = 1_000 * (Number(answer.headers.get("Retry-After")) || retry / 1_000);
  if (answer.status === 429 || answer.status >= 500) return false;
  const problem = await answer.json();
  tell("refused", problem.detail);
  return true;
}

function take(block, question) {
  const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s, 2)));
  if (fields.retry) retry = Number(fields.retry);
  if (!fields.event) return;
  const told = JSON.parse(fields.data);
  if (fields.event === "away") {
    tell("waiting", told.detail);
    return;
  }
  tell("live", "Live");
  if (fields.event === "board") showBoard(told, question);
  if (fields.event === "player") showPlayer(told, question);
  setTime(find("#updated"), new Date());
}

// What is shown ---------------------------------------------------------------------------------------------------

function tell(state, text) {
  const place = find("#state");
  // Said again, it would be read out again.
  if (place.textContent !== text) place.textContent = text;
  place.dataset.state = state;
}

function showBoard(board, question) {
  find("#board").hidden = false;
  setText(find("#board-title"), board.game_id);
  const since = board.period === "alltime" ? "" : `, since ${board.period_start} (UTC)`;
  setText(find("#board-note"), `The best of ${WORDS[board.period]}${since}`);
  const isEmpty = !board.players.length;
  setText(find("#board-message"), isEmpty ? "Nobody has a score on this board yet." : "");
  find("#board table").hidden = isEmpty;
  fillPlayers(find("#board tbody"), board.players, question);
}

function showPlayer({ player_id, statistics, around }, question) {
  find("#player").hidden = false;
  setText(find("#player-title"), player_id);
  const isMissing = statistics ? "This player has no score on this board." : "Nothing is known of this player.";
  setText(find("#player-message"), statistics && around ? "" : isMissing);
  find("#totals").hidden = !statistics;
  find("#around").hidden = !around;
  if (statistics) {
    setText(find("#total"), number(statistics.total_events));
    setTime(find("#first"), new Date(statistics.first_event_at));
    setTime(find("#last"), new Date(statistics.last_event_at));
    const rows = Object.entries(statistics.event_breakdown);
    fill(find("#breakdown tbody"), rows, 2, (cells, [type, count]) => {
      setText(cells[0], type);
      setText(cells[1], number(count));
    });
  }
  fillPlayers(find("#around tbody"), around?.players ?? [], question);
}

function fillPlayers(body, players, question) {
  fill(body, players, 3, (cells, { rank, player_id, score }) => {
    setText(cells[0], number(rank));
    const link = cells[1].firstElementChild ?? cells[1].appendChild(document.createElement("a"));
    setText(link, player_id);
    link.href = addressOf({ ...question, player: player_id });
    setText(cells[2], number(score));
    const isFollowed = player_id === question.player;
    const line = cells[0].parentElement;
    if (player_id === question.player) line.setAttribute("aria-current", "true");
    else line.removeAttribute("aria-current");
  });
}

// Rows stay where they are and get other words, so that nobody who is in one with the keyboard is thrown out.
function fill(body, rows, width, write) {
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((row, index) => {
    const line = body.rows[index] ?? body.insertRow();
    while (line.cells.length < width) line.insertCell();
    write(line.cells, row);
  });
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setTime(element, time) {
  const text = time.toISOString();
  element.dateTime = text;
  setText(element, `${text.slice(0, 10)} ${text.slice(11, 19)} UTC`);
}

function number(value) {
  return value.toLocaleString("en");
}

// Begin -----------------------------------------------------------------------------------------------------------

form.addEventListener("submit", (event) => {
  event.preventDefault();
  go(questionOf(new FormData(form)));
});
document.addEventListener("click", (event) => {
  const link = event.target.closest("tbody a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(questionOf(new URLSearchParams(link.search)));
});
for (const name of ["period", "limit"]) {
  form.elements[name].addEventListener("change", () => form.elements.game.value && form.requestSubmit());
}
addEventListener("popstate", () => show(questionOf(new URLSearchParams(location.search))));
show(questionOf(new URLSearchParams(location.search)));
