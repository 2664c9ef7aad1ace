"use strict";
// Keeps an element with data-live="URL" up to date: fetches that fragment of HTML every
// data-live-seconds and replaces those of its parts (data-part) that changed. It rests while the
// tab is hidden, and says so when the answer is not the fragment (logged out, away). An answer with
// data-live-done says that there is nothing more to come: the page is loaded once more, whole.
document.addEventListener("DOMContentLoaded", () => {
    const region = document.querySelector("[data-live]");
    if (!region) return;
    const stale = document.querySelector("[data-live-stale]");
    const control = document.querySelector("[data-live-switch]");
    const pause = Number(region.dataset.liveSeconds) * 1000;
    const known = new Map(parts(region).map((part) => [part.dataset.part, part.outerHTML]));
    let timer = null;
    let stopped = false;

    function parts(root) {
        return [...root.querySelectorAll("[data-part]")];
    }

    function plan() {
        clearTimeout(timer);
        if (!stopped && !document.hidden) timer = setTimeout(update, pause);
    }

    async function update() {
        let text = null;
        try {
            const answer = await fetch(region.dataset.live, { credentials: "same-origin" });
            if (answer.ok && !answer.redirected) text = await answer.text();
        } catch { /* the server is away: said below, tried again */ }
        if (stale) stale.hidden = text !== null;
        if (text !== null && !stopped) show(new DOMParser().parseFromString(text, "text/html"));
        plan();
    }

    function show(fresh) {
        if (fresh.querySelector("[data-live-done]")) {
            window.location.reload();
            return;
        }
        const came = parts(fresh.body);
        const names = new Set(came.map((part) => part.dataset.part));
        for (const part of parts(region)) if (!names.has(part.dataset.part)) part.remove();
        let before = null;
        for (const part of came) {
            const old = region.querySelector(`[data-part="${part.dataset.part}"]`);
            const html = part.outerHTML;
            if (!old) {
                const added = document.importNode(part, true);
                if (before) before.after(added); else region.prepend(added);
                before = added;
            } else if (known.get(part.dataset.part) === html) {
                before = old;
            } else {
                before = replace(old, document.importNode(part, true));
            }
            known.set(part.dataset.part, html);
        }
        document.dispatchEvent(new CustomEvent("live:updated"));
    }

    // What is open stays open, and the focus stays where it was.
    function replace(old, part) {
        for (const opened of old.querySelectorAll("details[open][id]")) {
            const same = part.querySelector(`#${CSS.escape(opened.id)}`);
            if (same) same.open = true;
        }
        const scrolled = [...old.querySelectorAll(".mh-scroll")].map((box) => box.scrollLeft);
        const focused = old.contains(document.activeElement) ? sameness(document.activeElement) : null;
        old.replaceWith(part);
        [...part.querySelectorAll(".mh-scroll")].forEach((box, n) => { box.scrollLeft = scrolled[n] || 0; });
        if (focused !== null) {
            const same = [...part.querySelectorAll("a[href], button, summary")].find((element) => sameness(element) === focused);
            same?.focus({ preventScroll: true });
        }
        return part;
    }

    // What makes an element of the new part the same as one of the old: where it leads, or is.
    function sameness(element) {
        return `${element.tagName} ${element.getAttribute("href") || element.closest("[id]")?.id}`;
    }

    document.addEventListener("visibilitychange", () => {
        if (document.hidden) clearTimeout(timer);
        else if (!stopped) update();
    });
    if (control) {
        const labels = [control.textContent, control.dataset.liveResume];
        control.hidden = false;
        control.addEventListener("click", () => {
            stopped = !stopped;
            control.textContent = labels[Number(stopped)];
            if (stopped) clearTimeout(timer); else update();
        });
    }
    plan();
});
