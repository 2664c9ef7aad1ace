"use strict";
// Of the ticks of a strip one takes part in the tabulator's order; the arrow keys, Home and End go
// from there to the others.
document.addEventListener("keydown", (event) => {
    const tick = event.target.closest(".mh-tick");
    if (!tick || event.ctrlKey || event.metaKey || event.altKey) return;
    const all = [...tick.parentElement.querySelectorAll(".mh-tick")];
    const here = all.indexOf(tick);
    const there = {
        ArrowLeft: here - 1,
        ArrowRight: here + 1,
        Home: 0,
        End: all.length - 1,
    }[event.key];
    if (there === undefined || !all[there]) return;
    event.preventDefault();
    tick.tabIndex = -1;
    all[there].tabIndex = 0;
    all[there].focus();
});
