// Charts of curves. They are made when they come into view: a page of a hundred runs opens at once.
// Okabe and Ito's colours, which differ for colour-blind eyes too, then the same with dashes.
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#9a4a6a', '#7f7f7f'];
const DASHES = [
    [],
    [7, 4],
    [2, 3],
    [9, 3, 2, 3]
];
const colourOf = (g) => COLOURS[g % COLOURS.length];
const dashOf = (g) => DASHES[Math.floor(g / COLOURS.length) % DASHES.length];
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const charts = []; // all that can be drawn: {draw(), visible}

const waiting = new IntersectionObserver((entries) => {
    for (const entry of entries) {
        const chart = charts.find((one) => one.node === entry.target);
        chart.visible = entry.isIntersecting;
        if (chart.visible && chart.stale) refresh(chart);
    }
}, {
    rootMargin: '300px'
});

function refresh(chart) {
    chart.stale = false;
    chart.draw();
}

function redrawAll(everything = false) {
    for (const chart of charts) {
        chart.stale = true;
        if (chart.visible || everything) refresh(chart);
    }
}

/** Nothing is drawn for a figure that has left the page. */
function forget(node) {
    waiting.unobserve(node);
    charts.splice(charts.findIndex((chart) => chart.node === node), 1);
}

function whenSeen(node, draw) {
    const chart = {
        node,
        draw,
        visible: false,
        stale: true
    };
    charts.push(chart);
    waiting.observe(node);
    return chart;
}

/** On a logarithmic axis the steps 1, 2, 5 have numbers: all of them would lie on each other. */
function hasNumber(value, type) {
    return type !== 'logarithmic' || ['1', '2', '5'].includes(value.toExponential()[0]);
}

function scaleOptions(title, type) {
    return {
        type,
        title: {
            display: true,
            text: title,
            color: css('--soft')
        },
        grid: {
            color: css('--line')
        },
        ticks: {
            color: css('--soft'),
            maxRotation: 0,
            autoSkipPadding: 14,
            callback: (value) => (hasNumber(value, type) ? few(value, 3) : '')
        }
    };
}

/** Datasets of one line: its band, drawn first, and itself. */
function datasets(item) {
    const colour = colourOf(item.group),
        {
            x,
            mean,
            low,
            high
        } = item.line;
    const scale = item.scale || 1;
    const points = (values, xs = x) => values.map((y, i) => ({
        i,
        x: xs[i],
        y: y === null ? NaN : y * scale
    })).filter((point) => state.x === '' || !state.log || point.x > 0);
    const common = {
        borderColor: colour,
        backgroundColor: colour + '2e',
        pointRadius: 0,
        pointHitRadius: 6,
        label: item.label,
        parsing: false,
        normalized: true
    };
    const line = {
        ...common,
        data: points(mean),
        borderWidth: state.band === 'runs' ? 1.2 : 2,
        borderDash: dashOf(item.group),
        pointRadius: mean.length < 2 ? 3 : 0,
        line: item.line,
        fill: false
    };
    if (!low || low === mean) return [line];
    // A spike of one step is too narrow for a fill to be seen.
    const edge = {
        borderColor: colour + '90',
        borderWidth: item.line.lowX ? 0.8 : 0
    };
    return [{
        ...common,
        data: points(low, item.line.lowX),
        ...edge,
        fill: '+1',
        band: true
    }, {
        ...common,
        data: points(high, item.line.highX),
        ...edge,
        fill: false,
        band: true
    }, line];
}

/** What a reader who points at a part is told of its extremes. */
function extremesOf(at) {
    const {
        low,
        high,
        lowX,
        highX
    } = at.dataset.line || {};
    const i = at.raw.i;
    if (!lowX || typeof low?.[i] !== 'number') return [];
    return [
        ['least', low, lowX],
        ['greatest', high, highX]
    ].map(([word, values, xs]) =>
        `${word} ${few(values[i], 5)} at ${AXES[state.x]} ${exact(xs[i])}`);
}

/** A figure with the curves of one field. `how` may scale it, bound its axis, and name the field of its error. */
function curveFigure(title, unit, field, how = {}) {
    const canvas = el('canvas', {
        role: 'img'
    });
    const figure = el('figure', {}, el('figcaption', {}, title + ' ', el('small', {
        text: unit
    })), el('div', {
        class: 'plot'
    }, canvas));
    let chart;
    whenSeen(figure, () => {
        const items = drawn(field, how.error).map((item) => ({
            ...item,
            scale: how.scale
        }));
        canvas.setAttribute('aria-label', `${title} over ${AXES[state.x]}. ` + items.slice(0, 12).map((
                item) => `${item.label}: ends at ${few((how.scale || 1) * item.line.mean[item.line.mean.length - 1])}`)
            .join('; '));
        const options = {
            animation: false,
            maintainAspectRatio: false,
            responsive: true,
            interaction: {
                mode: 'nearest',
                axis: 'xy',
                intersect: false
            },
            plugins: {
                legend: {
                    display: false
                },
                tooltip: {
                    filter: (at) => !at.dataset.band,
                    callbacks: {
                        title: (at) => (at.length ? `${AXES[state.x]} ${few(at[0].parsed.x)}` : ''),
                        label: (at) => `${at.dataset.label}: ${few(at.parsed.y, 5)}`,
                        afterLabel: extremesOf
                    }
                }
            },
            scales: {
                x: scaleOptions(AXES[state.x], state.log ? 'logarithmic' : 'linear'),
                y: {
                    ...scaleOptions('', 'linear'),
                    min: how.min,
                    max: how.max
                }
            }
        };
        // Both kinds of a scale cannot change into each other.
        if (chart) chart.destroy();
        chart = new Chart(canvas, {
            type: 'line',
            data: {
                datasets: items.flatMap(datasets)
            },
            options
        });
    });
    return figure;
}

/** The buttons of groups, which show and hide them in all charts. */
function legend() {
    const buttons = data.groups.map((group, g) => {
        const swatch = el('svg:svg', {
            width: 22,
            height: 8,
            'aria-hidden': 'true'
        }, el('svg:line', {
            x1: 0,
            x2: 22,
            y1: 4,
            y2: 4,
            stroke: colourOf(g),
            'stroke-width': 3,
            'stroke-dasharray': dashOf(g).join(' ') || 'none'
        }));
        return el('button', {
            type: 'button',
            'aria-pressed': String(!state.hidden.includes(g)),
            onclick: () => {
                state.hidden = state.hidden.includes(g) ? state.hidden.filter((other) =>
                    other !== g) : [...state.hidden, g];
                show();
            }
        }, swatch, labelOf(g));
    });
    const show = () => {
        buttons.forEach((button, g) => button.setAttribute('aria-pressed', String(!state.hidden.includes(g))));
        keep();
        redrawAll();
    };
    const all = el('button', {
        type: 'button',
        text: 'all / none',
        class: 'all',
        onclick: () => {
            state.hidden = state.hidden.length ? [] : data.groups.map((group, g) => g);
            show();
        }
    });
    return el('div', {
        class: 'legend',
        role: 'group',
        'aria-label': 'Runs shown'
    }, ...buttons, buttons.length > 1 ? all : null);
}

function curveSections() {
    const change = (key) => (value) => {
        state[key] = value;
        keep();
        redrawAll();
    };
    const log = el('input', {
        type: 'checkbox',
        onchange: () => change('log')(log.checked)
    });
    log.checked = state.log;
    const evals = fieldsOf((name) => name.startsWith('eval/') && name.endsWith('/loss'));
    const bits = fieldsOf((name) => name.startsWith('eval/') && name.endsWith('/bits_per_byte'));
    const figures = [
        ['Training loss', 'nats per token', 'loss'], ...(evals.length !== 1 ? [
            ['Evaluation loss, mean of sets', 'nats per token', 'eval_loss']
        ] : []),
        ...evals.map((name) => ['Evaluation loss on ' + name.split('/')[1], 'nats per token', name]), ...bits
        .map((name) => ['Evaluation on ' + name.split('/')[1], 'bits per byte', name])
    ];
    const has = (field) => data.runs.some((run) => run.curves[field]);
    section('curves', 'Loss and evaluation',
        el('div', {
                class: 'controls sticky'
            }, choice('Horizontal axis', Object.entries({
                step: 'steps',
                tokens: 'tokens',
                flops: 'FLOPs',
                hours: 'hours'
            }), state.x, change('x')),
            el('label', {}, log, 'log x'), menu('seeds', [
                ['range', 'mean, min to max'],
                ['sd', 'mean ± sd'],
                ['none', 'mean alone'],
                ['runs', 'every run']
            ], state.band, change('band'))),
        legend(), el('div', {
            class: 'grid'
        }, ...figures.filter(([, , field]) => has(field)).map((figure) => curveFigure(...figure))));
}

function figureSection(id, title, figures) {
    const there = figures.filter(([, , field]) => data.runs.some((run) => run.curves[field]));
    if (!there.length) return null;
    return section(id, title, el('div', {
        class: 'grid'
    }, ...there.map((figure) => curveFigure(...figure))));
}
