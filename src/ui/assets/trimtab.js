// Live updates, dialogs and logs. Every page can be read without this.
"use strict";
(() => {
  document.documentElement.classList.add("live");
  const policy = window.trustedTypes
    ? trustedTypes.createPolicy("trimtab", { createHTML: (text) => text })
    : { createHTML: (text) => text };
  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const state = (text) => { const it = $("#state"); if (it) it.textContent = text; };

  // What turns texts round, hides in them or moves a cursor is written as a number, as the server
  // does it for pages.
  const unseen = new RegExp("[\\u061c\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u2064\\u2066-\\u206f" +
    "\\ufeff\\u{e0000}-\\u{e007f}\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f]", "gu");
  const visible = (text) => text.replace(unseen, (c) =>
    `[U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}]`);

  let timer;
  const notice = (text, bad) => {
    const box = $("#notice");
    box.textContent = visible(text);
    box.classList.toggle("bad", Boolean(bad));
    box.hidden = false;
    clearTimeout(timer);
    timer = setTimeout(() => { box.hidden = true; }, bad ? 12000 : 5000);
  };

  // Reads this page again and takes over what changed. An open dialog is left alone.
  let reading = false, again = false, retry;
  async function refresh() {
    if (reading || $("dialog[open]")) { again = true; return; }
    reading = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      // What passes leaves the page as it is.
      if (answer.status >= 500 || answer.status === 429) {
        state("offline, trying again");
        clearTimeout(retry);
        retry = setTimeout(refreshSoon, 5000);
        return;
      }
      if (source?.readyState === EventSource.OPEN) state("live");
      if (answer.redirected && new URL(answer.url).pathname === "/login") { location.reload(); return; }
      const text = await answer.text();
      const fresh = new DOMParser().parseFromString(policy.createHTML(text), "text/html");
      const content = fresh.querySelector("#content");
      if (content && !$("dialog[open]")) replace(content);
    } catch { state("offline, trying again"); } finally {
      reading = false;
      if (again && !$("dialog[open]")) { again = false; setTimeout(refresh, 50); }
    }
  }
  function replace(content) {
    const named = (it) => it.dataset.key || $("summary", it).textContent;
    const opened = new Map(all("#content details").map((it) => [named(it), it.open]));
    const boxes = "#content .graph, #content .scroll, #content .code, #content .diff, #content .reasons";
    const scrolled = all(boxes).map((it) => [it.scrollLeft, it.scrollTop]);
    const kept = new Map(all("[data-keep]").map((it) => [it.dataset.keep, it]));
    const logged = new Map(all(".log").map((it) => [it, atEnd(it) ? Infinity : it.scrollTop]));
    const focused = document.activeElement?.name;
    const typed = document.activeElement?.value;
    const zoom = $(".graph svg")?.getAttribute("width");
    $("#content").replaceChildren(...[...content.childNodes].map((it) => document.adoptNode(it)));
    for (const it of all("#content details")) if (opened.has(named(it))) it.open = opened.get(named(it));
    // A log that is read, and what was chosen of it, go on.
    for (const it of all("[data-keep]")) kept.get(it.dataset.keep) && it.replaceWith(kept.get(it.dataset.keep));
    for (const [it, top] of logged) it.scrollTop = Math.min(top, it.scrollHeight);
    if (!$("[data-log]")) reader?.cancel();
    if (zoom && $(".graph svg")) scale(Number(zoom) / Number($(".graph svg").getAttribute("width")));
    const now = all(boxes);
    if (now.length === scrolled.length) now.forEach((it, n) => { [it.scrollLeft, it.scrollTop] = scrolled[n]; });
    if (focused) {
      const field = $(`[name="${CSS.escape(focused)}"]`);
      if (field) { field.focus(); if (field.type === "search") field.value = typed; }
    }
    begin();
  }
  // At once when nothing was read just now; in a storm of changes the page reads a third of the time.
  let soon, rested = 0;
  async function read() {
    soon = undefined;
    const began = performance.now();
    await refresh();
    rested = performance.now() + Math.max(30, 2 * (performance.now() - began));
  }
  const refreshSoon = () => {
    if (soon === undefined) soon = setTimeout(read, Math.max(0, rested - performance.now()));
  };

  let source;
  function listen() {
    const about = document.body.dataset.live;
    if (about === undefined) return;
    const query = about ? `?application=${encodeURIComponent(about)}` : "";
    source = new EventSource(`/api/v1/stream${query}`);
    let was = false;
    source.addEventListener("open", () => { state("live"); if (was) refreshSoon(); was = true; });
    source.addEventListener("error", () => state("offline, trying again"));
    for (const kind of ["application", "gone", "resync"]) source.addEventListener(kind, refreshSoon);
    addEventListener("pagehide", () => source.close());
    // The stream tells of the application; its pods and events are looked at while somebody looks,
    // who does not type, choose or mark anything just then.
    const busy = () => document.activeElement?.matches("#content :is(input, select, textarea)");
    const idle = () => !document.hidden && getSelection().isCollapsed && !busy();
    setInterval(() => { if ($("[data-poll]") && idle()) refreshSoon(); }, 5000);
  }

  async function send(method, to, body) {
    const options = { method, headers: { "Content-Type": "application/json", "X-Trimtab": "1" } };
    if (body !== undefined) options.body = JSON.stringify(body);
    const answer = await fetch(to, options);
    const text = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(text.error || `the agent answered ${answer.status}`);
    return text;
  }

  // The fields of a form as JSON; data-query ones belong to the address.
  function gather(form) {
    const body = {}, query = new URLSearchParams(), resources = [];
    for (const field of all("input, select, textarea", form)) {
      if (field.dataset.resource !== undefined) {
        if (field.checked) {
          const [group, kind, namespace, name] = field.dataset.resource.split("\n");
          resources.push({ group, kind, namespace, name });
        }
      } else if (field.dataset.query !== undefined) query.set(field.name, field.value);
      else if (field.dataset.inside) body[field.dataset.inside] = { [field.name]: Number(field.value) };
      else if (field.dataset.json !== undefined) body[field.name] = JSON.parse(field.value);
      else if (field.type === "checkbox") body[field.name] = field.checked;
      else if (field.name) body[field.name] = field.value;
    }
    if (resources.length) body.resources = resources;
    return { body, query };
  }

  addEventListener("click", async (event) => {
    const target = event.target.closest("button");
    if (!target) return;
    if (target.dataset.open) $(`#${CSS.escape(target.dataset.open)}`).showModal();
    else if (target.dataset.close !== undefined) target.closest("dialog").close();
    else if (target.dataset.zoom) scale(Number(target.dataset.zoom));
    else if (target.dataset.post) {
      target.disabled = true;
      try {
        const answer = await send("POST", target.dataset.post, JSON.parse(target.dataset.body));
        if (target.dataset.then) { location.assign(target.dataset.then); return; }
        notice(answer.done);
      } catch (error) { notice(error.message, true); }
      target.disabled = false;
      refreshSoon();
    }
  });
  addEventListener("submit", async (event) => {
    const form = event.target;
    if (form.dataset.fill) { event.preventDefault(); await fill(form); return; }
    if (!form.dataset.send) return;
    event.preventDefault();
    const { body, query } = gather(form);
    const to = form.dataset.send + (query.size ? `?${query}` : "");
    const error = $(".error", form);
    error.hidden = true;
    const go = $(".go", form);
    go.disabled = true;
    try {
      const remove = form.dataset.method === "DELETE";
      const answer = await send(form.dataset.method, to, remove ? undefined : body);
      form.closest("dialog").close();
      notice(answer.done);
      if (remove) location.assign("/");
    } catch (problem) { error.textContent = visible(problem.message); error.hidden = false; }
    go.disabled = false;
    refreshSoon();
  });
  addEventListener("close", () => { if (again) { again = false; refresh(); } }, true);

  // Filters act while they are typed and stay in the address.
  let typing;
  addEventListener("input", (event) => {
    const form = event.target.closest("form");
    if (form?.dataset.logChoices !== undefined) { chooseLog(form); return; }
    if (form?.dataset.fill) { $("#preview").replaceChildren(); return; }
    if (form?.dataset.filters === undefined) return;
    clearTimeout(typing);
    typing = setTimeout(() => {
      const query = new URLSearchParams();
      for (const [name, value] of new FormData(form)) if (value) query.set(name, value);
      history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
      refresh();
    }, 150);
  });

  const atEnd = (box) => box.scrollTop + box.clientHeight >= box.scrollHeight - 20;

  function scale(factor) {
    const svg = $(".graph svg");
    if (!svg) return;
    const natural = Number(svg.dataset.width);
    const width = Math.min(4 * natural, Math.max(natural / 8, Number(svg.getAttribute("width")) * factor));
    const [, , w, h] = svg.getAttribute("viewBox").split(" ").map(Number);
    svg.setAttribute("width", width);
    svg.setAttribute("height", (width * h) / w);
  }

  // Another container, or another part of its log: the reading begins anew.
  let reader;
  function chooseLog(form) {
    const box = $("[data-log]");
    const to = new URL(box.dataset.log, location.href);
    for (const name of ["container", "tail", "since", "previous"]) to.searchParams.delete(name);
    for (const [name, value] of new FormData(form)) if (value) to.searchParams.set(name, value);
    to.searchParams.set("follow", String(!to.searchParams.has("previous")));
    reader?.cancel();
    box.dataset.log = to.pathname + to.search;
    delete box.dataset.began;
    box.textContent = "";
    follow(box);
  }

  // The log of a container, as it is written. Old lines go when there are too many.
  async function follow(box) {
    if (box.dataset.began) return;
    box.dataset.began = "1";
    try {
      const answer = await fetch(box.dataset.log);
      if (!answer.ok) { box.textContent = visible((await answer.json()).error); return; }
      const mine = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      reader = mine;
      for (;;) {
        const { done, value } = await mine.read();
        if (done) return;
        const end = atEnd(box);
        box.append(visible(value));
        while (box.childNodes.length > 2000) box.firstChild.remove();
        if (end) box.scrollTop = box.scrollHeight;
      }
    } catch { box.append("\n(the log ended)"); }
  }

  // What the server makes of a form, shown below it.
  async function fill(form) {
    const error = $(".error", form), box = $("#preview"), go = $(".go", form);
    error.hidden = true;
    go.disabled = true;
    box.replaceChildren("Reading the repository …");
    try {
      const options = { method: "POST", headers: { "Content-Type": "application/json", "X-Trimtab": "1" } };
      options.body = JSON.stringify(gather(form).body);
      const answer = await fetch(form.dataset.fill, options);
      if (!answer.ok) throw new Error((await answer.json()).error);
      const made = new DOMParser().parseFromString(policy.createHTML(await answer.text()), "text/html");
      box.replaceChildren(...[...made.body.childNodes].map((it) => document.adoptNode(it)));
    } catch (problem) { box.replaceChildren(); error.textContent = visible(problem.message); error.hidden = false; }
    go.disabled = false;
  }

  function begin() {
    for (const box of all("[data-log]")) follow(box);
  }
  begin();
  listen();
})();
