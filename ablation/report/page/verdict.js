// What a sweep found: verdict.json, every block of which may be missing.
const list = (value) => (Array.isArray(value) ? value : []);

/** Rows of {label, difference, seeds} as intervals on one axis, with the band of what does not matter. */
function intervalPlot(rows, matters, unit, title) {
    const reach = Math.max(1e-12, (matters || 0) * 1.5, ...rows.flatMap(({
        difference: d,
        seeds
    }) => [d.low, d.high, d.estimate, ...seeds]).filter(Number.isFinite).map(Math.abs)) * 1.08;
    // On a phone labels stand above their rows, so that nothing lies beside the screen.
    const narrow = window.matchMedia('(max-width: 600px)').matches;
    const width = narrow ? 440 : 860,
        left = narrow ? 12 : 286,
        right = narrow ? 12 : 20,
        step = narrow ? 50 : 30,
        most = narrow ? 52 : 38,
        height = rows.length * step + 46;
    const x = (value) => left + ((value + reach) / (2 * reach)) * (width - left - right);
    const picture = el('svg:svg', {
        viewBox: `0 0 ${width} ${height}`,
        role: 'img',
        'aria-label': `${title}: differences with intervals; the same numbers stand in the table below`
    });
    const bottom = rows.length * step + 8;
    if (matters) picture.append(el('svg:rect', {
        class: 'band',
        x: x(-matters),
        width: x(matters) - x(-matters),
        y: 0,
        height: bottom
    }));
    picture.append(el('svg:line', {
        class: 'zero',
        x1: x(0),
        x2: x(0),
        y1: 0,
        y2: bottom
    }));
    for (const at of (narrow ? [-1, 0, 1] : [-1, -0.5, 0, 0.5, 1]).map((part) => part * reach * 0.92))
        picture.append(el('svg:text', {
            class: 'soft',
            x: x(at),
            y: bottom + 16,
            'text-anchor': 'middle',
            text: at === 0 ? '0' : signed(Number(at.toPrecision(2)))
        }));
    picture.append(el('svg:text', {
        class: 'soft',
        x: (left + width) / 2,
        y: bottom + 34,
        'text-anchor': 'middle',
        text: `difference from the reference${unit ? ', ' + unit : ''}`
    }));
    rows.forEach(({
        label,
        difference: d,
        seeds
    }, i) => {
        const y = i * step + (narrow ? step - 14 : step / 2);
        picture.append(el('svg:text', {
            x: narrow ? left : left - 12,
            y: narrow ? y - 20 : y + 4,
            'text-anchor': narrow ? 'start' : 'end',
            text: label.length > most ? label.slice(0, most - 1) + '…' : label
        }, el('svg:title', {
            text: label
        })));
        picture.append(el('svg:line', {
            class: 'axis',
            x1: left,
            x2: width - right,
            y1: y,
            y2: y
        }));
        if (Number.isFinite(d.low) && Number.isFinite(d.high)) picture.append(el('svg:line', {
            class: 'interval',
            x1: x(d.low),
            x2: x(d.high),
            y1: y,
            y2: y
        }));
        for (const seed of seeds) picture.append(el('svg:circle', {
            class: 'seed',
            cx: x(seed),
            cy: y - 8,
            r: 3
        }));
        if (Number.isFinite(d.estimate)) picture.append(el('svg:circle', {
            class: 'estimate',
            cx: x(d.estimate),
            cy: y,
            r: 5
        }));
    });
    return el('div', {
        class: narrow ? '' : 'wide'
    }, picture);
}

const nameOf = (variant) => variant.label || variant.id || '?';

function differenceCells(d = {}) {
    return [signed(d.estimate), `${signed(d.low)} … ${signed(d.high)}`, few(d.p, 3), d.verdict ?? '–', d
        .seeds_needed === undefined || d.seeds_needed === null ? '–' : String(d.seeds_needed)
    ];
}
const DIFFERENCE = ['difference', 'interval', 'p', 'verdict', 'seeds needed'];

function pairs(verdict) {
    const reference = list(verdict.variants).find((variant) => variant.is_reference || variant.id === verdict
        .reference);
    return (variant) => Object.entries(variant.by_seed || {}).map(([seed, value]) => value - (reference?.by_seed ||
    {})[seed]).filter((value, i) => Number.isFinite(value) && Object.values(variant.by_seed)[i] !== null);
}

function verdictSection() {
    const v = data.verdict;
    if (!data.sweep) return;
    if (!v) {
        section('verdict', 'Verdicts', el('p', {
            class: 'quiet',
            text: 'This sweep has no verdict yet.'
        }));
        return;
    }
    const outcome = v.outcome || {},
        variants = list(v.variants),
        others = variants.filter((one) => one.difference && !one.is_reference),
        differences = pairs(v);
    const node = section('verdict', `Verdicts of ${v.sweep ?? data.sweep}`);
    const say = (...parts) => node.append(el('p', {
        class: 'quiet',
        text: parts.filter(Boolean).join(' ')
    }));
    const state = Object.entries(v.state || {}).map(([key, value]) => `${value} ${key}`).join(', ');
    say(`${outcome.metric ?? 'The outcome'} at ${outcome.at ?? 'last'}${outcome.unit ? ', ' + outcome.unit : ''}; ${outcome.lower_is_better === false ? 'higher' : 'lower'} is better; differences below ${outcome.matters ?? '?'} do not matter. Reference: ${v.reference ?? '?'}.`,
        state && `Runs: ${state}.`);
    node.append(el('ul', {
        class: 'verdicts'
    }, ...variants.map((variant) => {
        const d = variant.difference || {},
            word = variant.is_reference ? 'reference' : d.verdict ?? 'unknown';
        const sentence = d.sentence || (variant.is_reference ?
            'is what the others are held against.' :
            `differs by ${signed(d.estimate)} (${signed(d.low)} … ${signed(d.high)}).`);
        return el('li', {}, el('span', {
                class: 'badge ' + (['better', 'worse', 'equal', 'undecided', 'diverged']
                    .includes(word) ? word : ''),
                text: word
            }),
            el('span', {}, el('strong', {
                text: nameOf(variant)
            }), ': ' + sentence + (variant.diverged ?
                ` ${variant.diverged} of ${variant.of} diverged.` : '')));
    })));
    if (others.length) node.append(el('h3', {
        text: 'Paired differences: estimate with interval, a ring for each seed'
    }), intervalPlot(others.map((one) => ({
        label: nameOf(one),
        difference: one.difference,
        seeds: differences(one)
    })), outcome.matters, outcome.unit, 'Variants'));
    if (variants.length) {
        const seeds = [...new Set(variants.flatMap((one) => Object.keys(one.by_seed || {})))];
        node.append(table(['variant', 'mean', ...seeds.map((seed) => 'seed ' + seed), ...DIFFERENCE, 'rate',
            'parameters', 'active', 'FLOPs/token', 'adjusted'
        ], variants.map((one) => [nameOf(one), fixed(one.mean), ...seeds.map((seed) => fixed((one
                .by_seed || {})[seed])), ...differenceCells(one.difference),
            few(one.rate), few(one.total_parameters), few(one.active_parameters), few(one
                .flops_per_token), one.adjusted ?
            `${one.adjusted.key}=${one.adjusted.value} (residue ${few(one.adjusted.residue)})` : '–'
        ])));
    }
    tuningPart(node, v.tuning, variants);
    effectsPart(node, v, outcome);
    for (const view of list(v.views)) {
        const rows = list(view.variants).filter((one) => one.difference).map((one) => ({
            label: nameOf(variants.find((variant) => variant.id === one.id) || one),
            difference: one.difference,
            seeds: []
        }));
        node.append(el('h3', {
            text: 'View: ' + (view.title ?? '')
        }), ...(rows.length ? [intervalPlot(rows, outcome.matters, outcome.unit, view.title ?? ''), table([
            'variant', ...DIFFERENCE
        ], rows.map((row) => [row.label, ...differenceCells(row.difference)]))] : []));
    }
    if (list(v.exploratory).length) node.append(el('details', {}, el('summary', {
        text: 'Exploratory: other metrics, without a test'
    }), ...list(v.exploratory).map((one) => el('div', {}, el('h3', {
        text: one.metric ?? ''
    }), table(['variant', 'mean', 'difference'], list(one.variants).map((row) => [row.id ?? '',
        few(row.mean), few(row.difference)
    ]))))));
    const noise = v.noise || {};
    say(noise.method && `Method: ${noise.method}.`, noise.sd !== undefined &&
        `Noise between seeds: ${few(noise.sd)} with ${noise.degrees_of_freedom} degrees of freedom.`, noise
        .equal_variances_p !== undefined && `Equal variances: p = ${few(noise.equal_variances_p, 2)}.`,
        noise.pairing_correlation !== undefined &&
        `Pairing: correlation ${few(noise.pairing_correlation, 2)}, variance down by ${few(noise.pairing_variance_factor, 2)}.`,
        v.alpha !== undefined && `Level ${v.alpha}.`, v.looks &&
        `Look ${v.looks.this} of ${v.looks.planned}, at level ${few(v.looks.alpha)}.`);
    say(v.plan_hash && `Plan ${v.plan_hash}.`, list(v.plan_changes).length ? '' : 'The plan was not changed.');
    if (list(v.plan_changes).length) node.append(el('div', {
        class: 'warning'
    }, el('strong', {
        text: 'The plan was changed after its first start:'
    }), el('ul', {}, ...list(v.plan_changes).map((text) => el('li', {
        text: String(text)
    })))));
    if (list(v.notes).length) node.append(el('ul', {
        class: 'quiet'
    }, ...list(v.notes).map((text) => el('li', {
        text: String(text)
    }))));
}

function tuningPart(node, tuning, variants) {
    const points = list(tuning?.points);
    if (!points.length) return;
    const names = [...new Set(points.map((point) => point.variant))],
        canvas = el('canvas', {
            role: 'img',
            'aria-label': `Outcome against ${tuning.key}, ${names.length} variants; the same numbers stand in the table below`
        });
    const figure = el('figure', {}, el('figcaption', {}, `Outcome against ${tuning.key} `, el('small', {
        text: `${few(tuning.hours, 3)} hours of tuning; large points were chosen`
    })), el('div', {
        class: 'plot'
    }, canvas));
    const label = (id) => nameOf(variants.find((variant) => variant.id === id) || {
        id
    });
    let chart;
    whenSeen(figure, () => {
        if (chart) chart.destroy();
        const sets = names.map((id, i) => {
            const own = points.filter((point) => point.variant === id).sort((a, b) => a.value - b
                .value);
            return {
                label: label(id),
                data: own.map((point) => ({
                    x: point.value,
                    y: point.mean ?? NaN
                })),
                borderColor: colourOf(i),
                backgroundColor: colourOf(i),
                borderDash: dashOf(i),
                borderWidth: 2,
                pointRadius: own.map((point) => (point.chosen ? 6 : 3)),
                parsing: false
            };
        });
        chart = new Chart(canvas, {
            type: 'line',
            data: {
                datasets: sets
            },
            options: {
                animation: false,
                maintainAspectRatio: false,
                plugins: {
                    legend: {
                        labels: {
                            color: css('--ink'),
                            boxWidth: 18
                        }
                    }
                },
                scales: {
                    x: scaleOptions(tuning.key, 'logarithmic'),
                    y: scaleOptions('', 'linear')
                }
            }
        });
    });
    node.append(el('h3', {
        text: 'Tuning'
    }), figure, el('details', {}, el('summary', {
        text: 'The numbers'
    }), table(['variant', tuning.key, 'mean', 'by seed', 'diverged', 'chosen'], points.map((point) => [
        label(point.variant), few(point.value), fixed(point.mean), Object.entries(point
            .by_seed || {}).map(([seed, value]) => `${seed}: ${fixed(value)}`).join(', '),
        String(point.diverged ?? 0), point.chosen ? 'yes' : ''
    ]))));
}

function effectsPart(node, v, outcome) {
    const effects = list(v.main_effects).filter((one) => one.difference);
    if (effects.length) {
        const rows = effects.map((one) => ({
            label: `${one.axis}: ${one.level} against ${one.reference_level}`,
            difference: one.difference,
            seeds: []
        }));
        node.append(el('h3', {
            text: 'Main effects, averaged over the other axes'
        }), intervalPlot(rows, outcome.matters, outcome.unit, 'Main effects'), table(['effect', ...
            DIFFERENCE
        ], rows.map((row) => [row.label, ...differenceCells(row.difference)])));
        node.append(el('ul', {
            class: 'quiet'
        }, ...effects.filter((one) => one.difference.sentence).map((one) => el('li', {
            text: one.difference.sentence
        }))));
    }
    if (list(v.interactions).length) node.append(el('h3', {
        text: 'Interactions'
    }), table(['axes', 'F', 'degrees of freedom', 'p'], list(v.interactions).map((one) => [list(one.axes)
        .join(' × '), few(one.f), list(one.df).join(', '), few(one.p, 3)
    ])));
}
