// SPDX-License-Identifier: MIT
// Draws what /state.json says of the pool, and asks again. No text of the pool is ever taken for
// HTML.
"use strict";

const COLUMNS = 128, FLAG = {held: 1, written: 2, waited: 4, mixed: 8};
const PALETTE = ("4e79a7 f28e2b 59a14f b07aa1 edc948 76b7b2 e15759 9c755f " +
    "ff9da7 2f6d6a 8cd17d d37295 a0cbe8 b6992d 86bcb6 7b5ea7 " +
    "ffbe7d 499894 d4a6c8 6b8e23 c85a3c 5f7fbf d7b5a6 3f7f4f").split(" ");
const at = id => document.getElementById(id);
let state, before, paused = false;

// ---- words

function size(bytes) {
    const units = ["", "K", "M", "G", "T", "P"];
    let unit = 0;
    while (bytes >= 1024 && unit < 5) {
        bytes /= 1024;
        unit++;
    }
    const rounded = bytes >= 10 || unit === 0 || bytes % 1 === 0;
    return (rounded ? Math.round(bytes) : bytes.toFixed(1)) + units[unit];
}

function duration(ns) {
    const units = [["h", 3.6e12], ["min", 6e10], ["s", 1e9], ["ms", 1e6], ["us", 1e3]];
    for (const [unit, length] of units)
        if (ns >= length)
            return (ns / length).toFixed(ns / length < 10 ? 1 : 0) + " " + unit;
    return ns + " ns";
}

function put(parent, tag, text, name) {
    const element = document.createElement(tag);
    if (text !== undefined)
        element.textContent = text;
    if (name)
        element.className = name;
    parent.append(element);
    return element;
}

function counted(count, noun) {
    return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

// Bytes of a name that are not UTF-8 come as lone surrogates.
function shown(text) {
    return text.replace(/\p{Surrogate}/gu, "\ufffd");
}

function title(item) {
    return item.file === null ? `(deleted, inode ${item.ino})` : shown(item.file);
}

// ---- space, files, counters

function color(rank) {
    const hue = Math.round(rank * 222.5) % 360;
    return rank < PALETTE.length ? "#" + PALETTE[rank] : `hsl(${hue} 35% 60%)`;
}

function drawSpace() {
    const parts = [["used", state.used_bytes], ["detached", state.detached_bytes]];
    const words = `${size(state.used_bytes)} of ${size(state.pool_bytes)} used by files, ` +
        `${size(state.saved_bytes)} saved, ${size(state.detached_bytes)} detached, ` +
        `${size(state.free_bytes)} free, ${size(state.resident_bytes)} resident`;
    const users = [[state.threads, "thread"], [state.open_files, "open file"],
        [state.inodes, "inode"]].map(([count, noun]) => counted(count, noun));
    at("pool").textContent = shown(state.pool);
    document.title = shown(state.pool) + " - holdfast top";
    at("about").textContent = `${state.engine} on ${state.media}, ` +
        `${state.durable ? "durable" : "memory"}: ` +
        `${users.join(", ")}, ${state.processes} attached`;
    at("bar").replaceChildren();
    at("bar").setAttribute("aria-label", words);
    for (const [name, bytes] of parts)
        put(at("bar"), "i", "", name).style.width = 100 * bytes / state.pool_bytes + "%";
    at("space").textContent = words;
}

function drawFiles() {
    at("files").replaceChildren();
    state.files.forEach((file, rank) => {
        const item = put(at("files"), "li");
        put(item, "i").style.background = color(rank);
        put(item, "span", "\u200e" + title(file)).title = title(file);
        put(item, "b", size(file.blocks * state.block_bytes) +
            (file.pins ? `, ${counted(file.pins, "pin")}` : ""));
    });
    if (state.file_count > state.files.length)
        put(at("files"), "li", `and ${state.file_count - state.files.length} smaller`);
}

function drawCounters() {
    const names = {changes: "layout changes", pins_slow: "pins slow", gate_waits: "waits at gates",
        faults: "faults", barriers: "heavy barriers", recalls: "recalls", gave_up: "gave up",
        detaches: "detached", reaped: "reaped"};
    const seconds = before ? (state.at - before.at) / 1000 : 0;
    const body = at("counters").tBodies[0];
    body.replaceChildren();
    for (const name in names) {
        const row = put(body, "tr");
        const more = before ? Math.max(0, state[name] - before[name]) : 0;
        put(row, "td", names[name]);
        put(row, "td", state[name].toLocaleString("en"));
        put(row, "td", seconds > 0 ? (more / seconds).toFixed(1) : "-");
    }
}

function drawWaits() {
    const most = Math.max(1, ...state.wait_log2_ns);
    const times = state.waits ? `; mean ${duration(state.wait_ns_total / state.waits)}, ` +
        `longest ${duration(state.wait_ns_max)}` : "";
    at("histogram").replaceChildren();
    state.wait_log2_ns.forEach((count, i) => {
        const bar = put(at("histogram"), "i");
        bar.style.height = count ? Math.max(2, 100 * count / most) + "%" : "0";
        bar.title = `${duration(2 ** i)} to ${duration(2 ** (i + 1))}: ${count}`;
    });
    at("waits").textContent = `${counted(state.waits, "wait")} for pins, from 1 ns (left) to ` +
        duration(2 ** state.wait_log2_ns.length) + times;
}

// ---- pins

function drawPins() {
    const more = state.pin_count - state.pins.length;
    at("pins").replaceChildren();
    for (const pin of state.pins) {
        const alarm = ["stopped", "quarantined", "detached"].includes(pin.state) ? "alarm" : "";
        const row = put(at("pins"), "tr", undefined, pin.state === "waiting" ? "waiting" : alarm);
        const age = pin.age_ns ? duration(pin.age_ns) : "-";
        const label = pin.label ? ` [${shown(pin.label)}]` : "";
        for (const text of [pin.pid, shown(pin.command), pin.kind, pin.state, pin.mode, pin.purpose,
            age, pin.range, title(pin) + label])
            put(row, "td", text);
    }
    if (state.no_pins)
        at("counts").textContent = state.no_pins;
    else if (state.pin_count === 0)
        at("counts").textContent = "Nothing is pinned or leased.";
    else
        at("counts").textContent = `${state.pin_count} in all` +
            (more > 0 ? `; the ${more} youngest are not shown` : "");
}

// ---- map

// Cells in the order of their blocks: {used, detached, shared, rank, flags}.
function cells() {
    return state.runs.flatMap(([count, used, detached, shared, rank, flags]) =>
        new Array(count).fill({used, detached, shared, rank, flags}));
}

function paint(pen, cell, x, y, box, tint) {
    const height = box * Math.min(1, Math.max(.2, cell.used / state.cell_blocks));
    const top = y + box - height;
    pen.fillStyle = tint("--free");
    pen.fillRect(x, y, box, box);
    if (cell.used) {
        pen.fillStyle = cell.flags & FLAG.mixed ? tint("--mixed") : color(cell.rank);
        pen.fillRect(x, top, box, height);
    }
    if (cell.detached) {
        pen.fillStyle = tint("--detached");
        for (let line = 0; line < height; line += 3)
            pen.fillRect(x, top + line, box, 1.2);
    }
    if (cell.shared) {
        pen.fillStyle = tint("--back");
        pen.fillRect(x + box * .35, y + box * .35, box * .3, box * .3);
    }
}

// One frame around the cells of a row that are held or waited for in the same way.
function outline(pen, all, step, tint) {
    const held = cell => cell.flags & (FLAG.held | FLAG.written | FLAG.waited);
    for (let i = 0, end; i < all.length; i = end) {
        const flags = held(all[i]);
        for (end = i + 1; end < all.length && end % COLUMNS && held(all[end]) === flags; end++)
            ;
        if (!flags)
            continue;
        pen.strokeStyle = tint(flags & FLAG.written ? "--write" :
            flags & FLAG.held ? "--read" : "--wait");
        pen.lineWidth = 2;
        pen.setLineDash(flags & FLAG.waited ? [4, 3] : []);
        pen.strokeRect(i % COLUMNS * step, Math.floor(i / COLUMNS) * step,
            (end - i) * step - .5, step - .5);
    }
}

function drawMap() {
    const canvas = at("map"), all = cells(), tints = {};
    const style = getComputedStyle(document.documentElement);
    const tint = name => tints[name] ??= style.getPropertyValue(name).trim();
    const step = canvas.clientWidth / COLUMNS, scale = window.devicePixelRatio || 1;
    const rows = Math.ceil(all.length / COLUMNS), pen = canvas.getContext("2d");
    const count = flag => all.filter(cell => cell.flags & flag).length;
    canvas.width = canvas.clientWidth * scale;
    canvas.height = Math.ceil(rows * step * scale);
    canvas.style.height = rows * step + "px";
    pen.scale(scale, scale);
    all.forEach((cell, i) => paint(pen, cell, i % COLUMNS * step + .5,
        Math.floor(i / COLUMNS) * step + .5, step - 1.5, tint));
    outline(pen, all, step, tint);
    canvas.setAttribute("aria-label",
        `${all.length} cells of ${size(state.cell_blocks * state.block_bytes)}: ` +
        `${all.filter(cell => cell.used).length} used, ${count(FLAG.held)} pinned, ` +
        `${count(FLAG.waited)} waited for`);
    canvas.cells = all;
}

function describe(cell, index) {
    const first = index * state.cell_blocks, last = first + state.cell_blocks - 1;
    const file = state.files[cell.rank];
    const name = !cell.used ? "free" : (file ? title(file) : "a small file") +
        (cell.flags & FLAG.mixed || cell.shared ? " and others" : "");
    const pinned = cell.flags & FLAG.written ? "pinned to write" :
        cell.flags & FLAG.held ? "pinned to read" : "";
    const waits = cell.flags & FLAG.waited ? "a layout change waits" : "";
    const words = [name, cell.detached ? "detached" : "", pinned, waits].filter(Boolean);
    return `blocks ${first}..${last}: ${words.join(", ")}`;
}

function point(event) {
    const canvas = at("map"), tip = at("tip"), step = canvas.clientWidth / COLUMNS;
    const index = Math.floor(event.offsetY / step) * COLUMNS + Math.floor(event.offsetX / step);
    const cell = canvas.cells && canvas.cells[index];
    tip.hidden = !cell;
    if (!cell)
        return;
    tip.textContent = describe(cell, index);
    tip.style.left = Math.min(event.offsetX + 12, canvas.clientWidth - tip.offsetWidth) + "px";
    tip.style.top = event.offsetY + 16 + "px";
}

// ---- the loop

function trouble(sentence) {
    at("trouble").textContent = sentence;
    at("trouble").hidden = !sentence;
}

function draw() {
    drawSpace();
    drawFiles();
    drawPins();
    drawCounters();
    drawWaits();
    drawMap();
}

async function look() {
    let wait = 1000;
    try {
        const answer = await fetch("state.json", {cache: "no-store"});
        const next = await answer.json();
        wait = next.interval_ms;
        trouble(next.readable ? "" : next.pool +
            " cannot be read now; what is shown is old. The server prints the reason.");
        if (next.readable) {
            next.at = performance.now();
            before = state;
            state = next;
            draw();
        }
    } catch (error) {
        trouble("The server does not answer; what is shown is old.");
    }
    document.body.dataset.looks = 1 + Number(document.body.dataset.looks || 0);
    setTimeout(next, wait);
}

function next() {
    if (paused || document.hidden)
        setTimeout(next, 200);
    else
        look();
}

at("pause").addEventListener("click", () => {
    paused = !paused;
    at("pause").textContent = paused ? "Go on" : "Pause";
    at("pause").setAttribute("aria-pressed", paused);
});
at("map").addEventListener("mousemove", point);
at("map").addEventListener("mouseleave", () => at("tip").hidden = true);
window.addEventListener("resize", () => state && drawMap());
look();
