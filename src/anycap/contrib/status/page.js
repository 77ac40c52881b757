"use strict";
// Puts newer parts of the page in the place of older ones, as the stream sends them. Nothing is asked for elsewhere.
const live = document.getElementById("live");
const say = (text, stale) => {
  live.textContent = text;
  document.documentElement.classList.toggle("stale", stale);
};
const source = new EventSource("events");
source.addEventListener("parts", (event) => {
  const { at, parts } = JSON.parse(event.data);
  for (const [name, html] of Object.entries(parts)) {
    const place = document.getElementById(name);
    if (place) place.innerHTML = html;
  }
  say(`live, as of ${at} UTC`, false);
});
source.onerror = () => say(source.readyState === EventSource.CLOSED ? "no longer live: load the page again" : "connecting …", true);
addEventListener("pagehide", () => source.close());
addEventListener("pageshow", (event) => event.persisted && location.reload());
