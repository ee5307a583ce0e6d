// The order of the page, its theme, and reading itself again while runs go on.
function applyTheme() {
    const dark = state.theme === 'dark' || (state.theme === 'auto' && matchMedia('(prefers-color-scheme: dark)')
        .matches);
    document.documentElement.classList.toggle('dark', dark);
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
    numbersSection();
    layerSection();
    figureSection('experts', 'Load of experts', [
        ['Fullest expert', 'tokens over an even share', 'expert_load_max'],
        ['Emptiest expert', 'tokens over an even share', 'expert_load_min']
    ]);
    figureSection('speed', 'Throughput, memory and time', [
        ['Tokens per second', 'all ranks', 'tokens_per_second'],
        ['Model FLOP/s over the GEMM rate', 'fraction', 'mfu'],
        ['Step time', 'seconds', 'step_seconds'],
        ['Time for communication', 'seconds of a step', 'comm_seconds'],
        ['Memory', 'bytes on the first rank', 'memory_bytes'],
        ['Gradient norm', 'before clipping', 'grad_norm'],
        ['Learning rate', '', 'lr']
    ]);
    samplesSection();
    differencesSection();
    provenanceSection();
}
document.getElementById('footer').textContent =
    `Made by braid ${data.braid.version}, commit ${data.braid.commit}. Curves are thinned to parts with mean, least and greatest value. FLOPs over steps are tokens times the model's FLOPs per token; hours over steps are sums of step times.`;

window.addEventListener('beforeprint', () => redrawAll(true));
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
