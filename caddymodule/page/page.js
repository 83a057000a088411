"use strict";
(() => {
  const main = document.querySelector("main");
  const { state, method, handle } = main.dataset;
  const status = document.querySelector("[role=status]");

  // Once something has been sent, this page sends nothing more: a second click
  // would replace the answer to the first one, and an answer that arrives after
  // "cancel" was pressed must not go on.
  let leaving = false;

  const leave = (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return; // opens elsewhere
    if (leaving) event.preventDefault();
    leaving = true;
  };
  document.addEventListener("submit", leave);
  for (const link of document.links) link.addEventListener("click", leave);

  const goOn = () => {
    leaving = true;
    if (method === "POST") document.getElementById("continue").submit();
    else location.reload();
  };

  const pending = state === "pending" && handle !== "";

  // A page out of the back/forward cache shows what was.
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    if (pending) goOn();
    else leaving = false;
  });

  const time = document.querySelector("time");
  if (time) {
    // Counted from now, because the clock here may differ from the server's.
    const end = Date.now() + time.dataset.left * 1000;
    time.textContent = new Date(end).toLocaleTimeString(document.documentElement.lang,
      { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
    const left = document.getElementById("left");
    const tick = () => {
      const seconds = Math.max(0, Math.round((end - Date.now()) / 1000));
      left.lastElementChild.textContent =
        Math.floor(seconds / 60) + ":" + String(seconds % 60).padStart(2, "0");
    };
    tick();
    left.hidden = false;
    setInterval(tick, 1000);
  }

  if (!pending) return;
  document.getElementById("auto").hidden = false;

  // Says it only when it is new, so that screen readers do not repeat it.
  const say = (what) => {
    const text = status.dataset[what];
    if (status.textContent !== text) status.textContent = text;
  };

  // ask returns the approval's state, "" if there was no answer from anybody,
  // and "foreign" for an answer that is not the gate's.
  const ask = async (signal) => {
    try {
      const answer = await fetch(location.href, {
        method,
        headers: {
          "Step-Up-Status": "25",
          "Step-Up-Approval": handle,
          "Accept": "application/json",
        },
        cache: "no-store",
        credentials: "same-origin",
        redirect: "manual", // a redirect is somebody else's answer, too
        signal,
      });
      if (!answer.headers.has("Step-Up-State")) return "foreign";
      // A problem document has no state of its own.
      return (await answer.json()).state ?? answer.headers.get("Step-Up-State");
    } catch {
      return "";
    }
  };

  let round; // aborted to hurry: it ends a question as well as a pause
  let hurry = false;
  document.addEventListener("visibilitychange", () => {
    // Back from the MitID app on the same phone: the connection may be dead.
    if (document.hidden) return;
    hurry = true;
    round.abort();
  });

  const pause = (milliseconds, signal) => new Promise((done) => {
    if (signal.aborted) return done();
    signal.addEventListener("abort", done);
    setTimeout(done, milliseconds);
  });

  const follow = async () => {
    for (let failures = 0; ;) {
      hurry = false;
      round = new AbortController();
      const { signal } = round;
      const asked = Date.now();
      const timer = setTimeout(() => round.abort(), 40_000); // 25 and a slow network
      const answer = await ask(signal);
      clearTimeout(timer);
      if (leaving) return;
      switch (answer) {
        case "pending":
          failures = 0;
          say("pending");
          await pause(2000 - (Date.now() - asked), signal);
          break;
        case "approved":
          say("approved");
          document.title = status.textContent;
          return goOn();
        case "denied": case "expired": case "cancelled": case "failed": case "spent":
          say("ended");
          document.title = status.textContent;
          return goOn();
        case "": case "unavailable": case "limited":
          if (hurry) break;
          say("lost");
          await pause(Math.min(15, 2 ** failures++) * 1000, signal);
          break;
        default:
          say("stopped");
          return;
      }
    }
  };
  follow();
})();
