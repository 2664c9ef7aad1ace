"use strict";
// The form of a scheduled task while it is filled in. It decides nothing: what is valid, what the
// words and the next runs are, the server says, asked with the form as it would be saved. Without
// this file all fields show, and saving says the same.
document.addEventListener("DOMContentLoaded", () => {
    const preview = document.querySelector(".mh-preview");
    if (!preview) return; // somebody who may only look
    const form = preview.closest("form");
    const texts = preview.dataset;
    const runs = document.getElementById("mh-runs-panel");
    const row = (name) => form.querySelector(`.form-row.field-${name}`);
    const inputs = (name) => [
        ...row(name).querySelectorAll("input:not([type=hidden]), select, textarea"),
    ];
    const nameOf = (element) => element.closest(".form-row")?.className.match(/ field-(\w+)/)?.[1];

    // The fields of the chosen kind. A hidden one keeps what was typed in it; saving drops it.
    const RULES = { one_time: "run_at", interval: "interval_seconds", cron: "cron_expression" };
    const kind = document.getElementById("id_kind");
    const showKind = () => {
        for (const [name, field] of Object.entries(RULES)) row(field).hidden = kind.value !== name;
        for (const field of ["starts_at", "ends_at", "max_runs"]) {
            const empty = inputs(field).every((input) => !input.value);
            const errors = row(field).classList.contains("errors");
            row(field).hidden = kind.value === "one_time" && empty && !errors;
        }
    };

    // Errors, under fields that were touched: a form that scolds before one types is no help.
    const PARTNERS = {
        args: ["kwargs"],
        kwargs: ["args"],
        starts_at: ["ends_at"],
        ends_at: ["starts_at"],
        time_limit: ["soft_time_limit"],
        soft_time_limit: ["time_limit"],
        task: "isNew" in texts ? [] : ["args", "kwargs"], // a new task may not fit the old arguments
    };
    const touched = new Set([...form.querySelectorAll(".form-row.errors")].map(nameOf));
    const said = document.createElement("div");
    said.className = "visually-hidden";
    said.setAttribute("role", "status");
    preview.append(said);

    const saidBy = (list) => [...(list?.children ?? [])].map((item) => item.textContent).join("\n");
    const errorList = (errors, id, className) => {
        const list = document.createElement("ul");
        Object.assign(list, { id, className });
        for (const error of errors) {
            const item = document.createElement("li");
            item.textContent = error;
            list.append(item);
        }
        return list;
    };
    const showErrors = (name, errors) => {
        const place = row(name);
        const old = place.querySelector(":scope > ul.errorlist");
        if (saidBy(old) === errors.join("\n")) return;
        old?.remove();
        place.classList.toggle("errors", errors.length > 0);
        const id = `id_${name}_error`;
        for (const input of inputs(name)) {
            const by = new Set((input.getAttribute("aria-describedby") ?? "").split(" "));
            by.delete("");
            if (errors.length) by.add(id);
            else by.delete(id);
            input.setAttribute("aria-describedby", [...by].join(" "));
            if (errors.length) input.setAttribute("aria-invalid", "true");
            else input.removeAttribute("aria-invalid");
        }
        if (!errors.length) return;
        place.prepend(errorList(errors, id, "errorlist"));
    };

    // Of the whole form: what others have changed since it was opened. What a refused save said of
    // it stays where it stands.
    const showFormErrors = (errors) => {
        const old = document.getElementById("mh-form-errors");
        if (saidBy(old) === errors.join("\n")) return;
        old?.remove();
        if (!errors.length) return;
        const list = errorList(errors, "mh-form-errors", "errorlist nonfield");
        list.setAttribute("role", "alert");
        form.querySelector("fieldset").before(list);
    };

    // What is typed into an open search box is a search, not a value yet.
    const searches = (place) => place.querySelector("[role=combobox][aria-expanded=true]");
    const showAllErrors = (errors) => {
        for (const name of touched) {
            const place = name && row(name);
            if (place) showErrors(name, searches(place) ? [] : (errors[name] ?? []));
        }
        const focused = document.activeElement && nameOf(document.activeElement);
        const own = (touched.has(focused) && errors[focused]) || [];
        said.textContent = own.join(" ") || runs.querySelector(".mh-words")?.textContent || "";
    };

    // The next runs, also on the clock of who looks.
    const mine = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
    const isUtc = (zone) => ["UTC", "Etc/UTC", "GMT", "Etc/GMT"].includes(zone);
    const same = (a, b) => a === b || (isUtc(a) && isUtc(b));
    const clock = new Intl.DateTimeFormat(document.documentElement.lang || "en", {
        weekday: "short",
        year: "numeric",
        month: "2-digit",
        day: "2-digit",
        hour: "2-digit",
        minute: "2-digit",
        second: "2-digit",
        hourCycle: "h23",
        timeZone: mine,
        timeZoneName: "short",
    });
    const onMyClock = (moment) => {
        const part = Object.fromEntries(clock.formatToParts(moment).map((p) => [p.type, p.value]));
        const date = `${part.year}-${part.month}-${part.day}`;
        return `${part.weekday} ${date} ${part.hour}:${part.minute}:${part.second} ${part.timeZoneName}`;
    };
    const showMyClock = () => {
        const heads = [...runs.querySelectorAll("thead th")];
        const head = heads.find((th) => th.classList.contains("mh-viewer"));
        if (!head) return;
        const other = heads.find((th) => th !== head && same(th.textContent, mine));
        if (other) {
            other.textContent += ` (${texts.yours})`;
            return;
        }
        head.textContent = `${mine} (${texts.yours})`;
        for (const cell of runs.querySelectorAll(".mh-viewer")) {
            cell.hidden = false;
            if (cell === head) continue;
            cell.dataset.clock = head.textContent;
            cell.textContent = onMyClock(new Date(cell.parentElement.querySelector("time").dateTime));
        }
    };

    // Asking, a moment after the last key.
    let answer = { formatted: {}, completed: null };
    let timer;
    let request;
    const buttons = [...form.querySelectorAll("[data-format], [data-complete]")];
    const showButtons = () => {
        for (const button of buttons) {
            const name = button.dataset.format;
            const text = name ? answer.formatted[name] : answer.completed;
            button.disabled = !text || (name && inputs(name)[0].value === text);
        }
    };
    const show = () => {
        for (const [id, html] of Object.entries(answer.panels)) {
            const panel = document.getElementById(id);
            if (!panel) continue;
            // Made, and escaped, by the server's templates.
            panel.innerHTML = searches(panel.parentElement) ? "" : html;
        }
        showMyClock();
        showAllErrors(answer.errors);
        showFormErrors(answer.errors.__all__ ?? []);
        showButtons();
        showKind();
    };
    const ask = async () => {
        clearTimeout(timer);
        request?.abort();
        const own = (request = new AbortController());
        let failed = "";
        try {
            const response = await fetch(texts.url, {
                method: "POST",
                body: new FormData(form),
                headers: { Accept: "application/json" },
                signal: own.signal,
            });
            answer = await response.json(); // a login page or an error page is none
            show();
        } catch (error) {
            if (own.signal.aborted) return;
            failed = texts.failed;
        }
        preview.querySelector(".mh-unanswered").textContent = failed;
    };
    const later = () => {
        request?.abort(); // an answer about what is no more
        clearTimeout(timer);
        timer = setTimeout(ask, 350);
    };

    const zoneNames = form.querySelectorAll(".mh-zone");
    const changed = (event) => {
        const name = nameOf(event.target);
        if (!name) return;
        for (const each of [name, ...(PARTNERS[name] ?? [])]) touched.add(each);
        if (event.target === kind) showKind();
        if (name === "timezone") for (const shown of zoneNames) shown.textContent = event.target.value;
        later();
    };
    form.addEventListener("input", changed);
    form.addEventListener("change", changed);

    // Buttons: examples, and what the server made of the arguments. Undo brings the old text back.
    const put = (input, text) => {
        input.focus();
        input.select();
        if (!document.execCommand("insertText", false, text)) input.value = text;
        input.dispatchEvent(new Event("input", { bubbles: true }));
    };
    for (const tools of form.querySelectorAll(".mh-examples, .mh-tools")) tools.hidden = false;
    for (const button of form.querySelectorAll(".mh-examples button")) {
        button.addEventListener("click", () => put(inputs(nameOf(button))[0], button.dataset.value));
    }
    // A suggestion fills all the fields that it is about.
    form.addEventListener("click", (event) => {
        const button = event.target.closest(".mh-suggestions button");
        if (!button) return;
        for (const name of [...Object.values(RULES), "kind", "timezone", "starts_at", "ends_at"]) {
            const text = button.getAttribute(`data-put-${name}`);
            if (!text) continue;
            const targets = inputs(name);
            const parts = targets.length === 2 ? text.split(" ") : [text]; // a date and a time
            targets.forEach((input, n) => {
                if (input.value === parts[n]) return;
                if (input.tagName !== "SELECT") return put(input, parts[n]);
                input.value = text;
                input.dispatchEvent(new Event("change", { bubbles: true }));
            });
        }
    });
    for (const button of buttons) {
        button.addEventListener("click", async () => {
            await ask(); // what was typed in the last moment counts too
            const name = button.dataset.format;
            const made = name ? { [name]: answer.formatted[name] } : (answer.completed ?? {});
            for (const [field, text] of Object.entries(made)) {
                if (text !== undefined && inputs(field)[0].value !== text) put(inputs(field)[0], text);
            }
        });
    }

    showKind();
    showMyClock();
    ask(); // the browser may have kept what was typed before a reload
});
