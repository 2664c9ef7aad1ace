"use strict";
// Shows only the rule of the chosen kind. Without it all three rows show, and the form works too.
document.addEventListener("DOMContentLoaded", () => {
    const kind = document.getElementById("id_kind");
    if (!kind) return;
    const rows = { one_time: "run_at", interval: "interval_seconds", cron: "cron_expression" };
    const show = () => {
        for (const [name, field] of Object.entries(rows)) {
            const row = document.querySelector(`.form-row.field-${field}`);
            if (row) row.hidden = kind.value !== name;
        }
    };
    kind.addEventListener("change", show);
    show();
});
