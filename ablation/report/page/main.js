// The order of the page, its theme, and reading itself again while runs go on.
function applyTheme() {
    const dark = state.theme === 'dark' || (state.theme === 'auto' && matchMedia('(prefers-color-scheme: dark)')
        .matches);
    const root = document.documentElement;
    root.classList.toggle('dark', dark && !root.classList.contains('print'));
}
applyTheme();
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    applyTheme();
    redrawAll();
});

const count = data.runs.length,
    going = data.runs.filter((run) => run.status === 'running').length;
document.title = (data.sweep ? `Sweep ${data.verdict?.sweep ?? data.sweep}` : count === 1 ? data.runs[0].name :
    `${count} runs`) + ' — Braid report';
document.querySelector('h1').textContent = document.title.replace(' — Braid report', '');
document.getElementById('subtitle').textContent =
    `${count} run${count === 1 ? '' : 's'}${going ? `, ${going} still running` : ''}; made ${data.made}${data.follow ? `, read again every ${data.follow} s` : ''}`;
document.getElementById('tools').append(choice('Theme', [
    ['auto', 'auto'],
    ['light', 'light'],
    ['dark', 'dark']
], state.theme, (theme) => {
    state.theme = theme;
    keep();
    applyTheme();
    redrawAll();
}), el('button', {
    type: 'button',
    text: 'print',
    onclick: () => window.print()
}));

for (const text of data.warnings) document.getElementById('main').append(el('p', {
    class: 'warning',
    role: 'note',
    text
}));
const noted = data.runs.filter((run) => run.notes.length);
if (noted.length) document.getElementById('main').append(el('details', {
        class: 'warning',
        open: noted.length < 6
    }, el('summary', {
        text: `Notes on ${noted.length} run${noted.length === 1 ? '' : 's'}`
    }),
    el('ul', {}, ...noted.map((run) => el('li', {
        text: `${run.name}: ${run.notes.join('; ')}`
    })))));

verdictSection();
if (count) {
    curveSections();
    taskSection();
    numbersSection();
    layerSection();
    figureSection('experts', 'Load of experts', [
        ['Fullest expert', 'tokens over an even share', 'expert_load_max'],
        ['Emptiest expert', 'tokens over an even share', 'expert_load_min']
    ]);
    costPart(figureSection('speed', 'Throughput, memory and time', [
        ['Tokens per second', 'all ranks', 'tokens_per_second'],
        ['Model FLOP/s over the GEMM rate', 'fraction', 'mfu'],
        ['Step time', 'seconds', 'step_seconds'],
        ['Time for communication', 'seconds of a step', 'comm_seconds'],
        ['Memory', 'bytes on the first rank', 'memory_bytes'],
        ['Gradient norm', 'before clipping', 'grad_norm'],
        ['Learning rate', '', 'lr']
    ]) || section('speed', 'Throughput, memory and time'));
    samplesSection();
    differencesSection();
    provenanceSection();
}
document.getElementById('footer').textContent =
    `Made by braid ${data.braid.version}, commit ${data.braid.commit}. Curves are thinned to parts with mean, least and greatest value. FLOPs over steps are tokens times the model's FLOPs per token; hours over steps are sums of step times.`;

// Paper is light, has no controls, and shows what is folded; charts are made anew in the size they have there.
/** Tables that paper cannot scroll are made smaller, and where they would be too small to read, broken. */
function fitTables() {
    for (const box of document.querySelectorAll('.wide')) {
        const inside = box.firstElementChild,
            part = box.clientWidth / inside.scrollWidth;
        if (part >= 1 || inside.tagName !== 'TABLE') continue;
        inside.style.zoom = Math.max(part, 0.6);
        inside.classList.toggle('squeezed', part < 0.6);
    }
}
let folded = [];
const sharpness = Chart.defaults.devicePixelRatio;
window.addEventListener('beforeprint', () => {
    document.documentElement.classList.remove('dark');
    document.documentElement.classList.add('print');
    folded = data.runs.length > 8 ? [] : [...document.querySelectorAll('details:not([open])')];
    for (const node of folded) node.open = true;
    Chart.defaults.devicePixelRatio = 2;
    fitTables();
    redrawAll(true);
});
window.addEventListener('afterprint', () => {
    document.documentElement.classList.remove('print');
    for (const node of folded) node.open = false;
    for (const node of document.querySelectorAll('.wide > table')) {
        node.style.zoom = '';
        node.classList.remove('squeezed');
    }
    Chart.defaults.devicePixelRatio = sharpness;
    applyTheme();
    redrawAll();
});
window.addEventListener('pagehide', keep);
if (state.scroll) window.scrollTo(0, state.scroll);
if (data.follow) {
    let touched = 0;
    for (const kind of ['pointermove', 'keydown', 'input']) window.addEventListener(kind, () => {
        touched = Date.now();
    });
    // Not under the hand of somebody who is reading a number.
    setInterval(() => {
        if (Date.now() - touched > 3000) {
            keep();
            location.reload();
        }
    }, 1000 * data.follow);
}
