"use strict";
// An input with a datalist becomes a combobox (ARIA 1.2, “list autocomplete with manual selection”):
// it searches all words typed, in any order, in the value and in the two lines that describe it, and
// shows those lines. Text that is in no list stays what it is. Without this file the datalist works.
document.addEventListener("DOMContentLoaded", () => {
    for (const input of document.querySelectorAll("input.mh-search[list]")) enhance(input);

    function enhance(input) {
        const id = input.getAttribute("list");
        const texts = input.parentElement.querySelector(".mh-search-texts").dataset;
        const details = JSON.parse(document.getElementById(`${id}-details`)?.textContent ?? "{}");
        const known = [...document.getElementById(id).options].map(({ value }) => {
            const lines = details[value] ?? [];
            return { value, lines, name: plain(value), text: plain([value, ...lines].join(" ")) };
        });
        const LIMIT = 50;
        let active = -1;

        input.removeAttribute("list"); // or the browser opens its own beside ours
        const box = document.createElement("ul");
        box.className = "mh-listbox";
        box.id = `${id}-box`;
        box.hidden = true;
        box.setAttribute("role", "listbox");
        box.setAttribute("aria-label", texts.label);
        input.after(box);
        for (const [name, value] of Object.entries({
            role: "combobox",
            "aria-autocomplete": "list",
            "aria-controls": box.id,
            "aria-expanded": "false",
        })) {
            input.setAttribute(name, value);
        }

        function plain(text) {
            return text.toLowerCase().replace(/[_/.]/g, " ");
        }

        function found(query) {
            const words = plain(query).split(" ").filter(Boolean);
            const fits = known.filter(({ text }) => words.every((word) => text.includes(word)));
            // First those whose own name fits, by its beginning or the beginning of a word of it.
            const rank = ({ name }) => {
                if (!words.every((word) => name.includes(word))) return 2;
                return words.every((word) => ` ${name}`.includes(` ${word}`)) ? 0 : 1;
            };
            return fits.sort((a, b) => rank(a) - rank(b));
        }

        function open(query) {
            const all = found(query);
            box.replaceChildren(...all.slice(0, LIMIT).map(option));
            if (!all.length) box.append(remark(texts.none));
            if (all.length > LIMIT) box.append(remark(texts.more));
            activate(-1);
            expand(all.length > 0 || query !== "");
        }

        /** All of them where a known value is already in the input: one looks for another. */
        function openAgain() {
            open(known.some(({ value }) => value === input.value) ? "" : input.value);
        }

        function option({ value, lines }, place) {
            const item = document.createElement("li");
            item.id = `${box.id}-${place}`;
            item.setAttribute("role", "option");
            item.setAttribute("aria-selected", "false");
            item.dataset.value = value;
            item.append(line("mh-option-name", value + (lines[0] ?? "")));
            if (lines[1]) item.append(line("mh-option-doc", lines[1]));
            return item;
        }

        function line(className, text) {
            const span = document.createElement("span");
            span.className = className;
            span.textContent = text;
            return span;
        }

        function remark(text) {
            const item = line("mh-option-remark", text);
            const row = document.createElement("li");
            row.setAttribute("role", "presentation");
            row.append(item);
            return row;
        }

        function expand(yes) {
            box.hidden = !yes;
            input.setAttribute("aria-expanded", String(yes));
            if (!yes) activate(-1);
        }

        function options() {
            return [...box.querySelectorAll("[role=option]")];
        }

        function activate(place) {
            active = place;
            options().forEach((item, i) => item.setAttribute("aria-selected", String(i === place)));
            const item = options()[place];
            if (item) input.setAttribute("aria-activedescendant", item.id);
            else input.removeAttribute("aria-activedescendant");
            item?.scrollIntoView({ block: "nearest" });
        }

        function choose(item) {
            input.value = item.dataset.value;
            expand(false);
            input.dispatchEvent(new Event("change", { bubbles: true }));
        }

        input.addEventListener("input", () => open(input.value));
        input.addEventListener("click", () => box.hidden && openAgain());
        input.addEventListener("blur", () => expand(false));
        box.addEventListener("mousedown", (event) => {
            event.preventDefault(); // the focus stays in the input
            const item = event.target.closest("[role=option]");
            if (item) choose(item);
        });
        input.addEventListener("keydown", (event) => {
            const count = options().length;
            if (["ArrowDown", "ArrowUp"].includes(event.key) && !event.altKey) {
                event.preventDefault();
                if (box.hidden) openAgain();
                else if (event.key === "ArrowDown") activate(active + 1 < count ? active + 1 : 0);
                else activate(active > 0 ? active - 1 : count - 1);
            } else if (event.key === "Enter" && !box.hidden && active >= 0) {
                event.preventDefault(); // choose, and do not save the form
                choose(options()[active]);
            } else if (event.key === "Escape" && !box.hidden) {
                event.preventDefault();
                expand(false);
            }
        });
    }
});
