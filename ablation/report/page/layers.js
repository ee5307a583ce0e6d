// What layers.jsonl tells: a profile over depth at one time, and time by layer as a map of heat.
// A few colours of cividis, which rises in lightness for every eye.
const HEAT = [
    [0, 32, 77],
    [35, 62, 108],
    [87, 93, 109],
    [124, 123, 120],
    [165, 156, 116],
    [211, 193, 100],
    [255, 234, 70]
];

function heatColour(part) {
    const at = Math.min(Math.max(part, 0), 1) * (HEAT.length - 1),
        i = Math.min(Math.floor(at), HEAT.length - 2);
    return HEAT[i].map((from, k) => Math.round(from + (HEAT[i + 1][k] - from) * (at - i)));
}

function layerSection() {
    const with_layers = data.runs.filter((run) => run.layers);
    const thinned = data.thinned.map((text) => el('p', {
        class: 'warning',
        role: 'note',
        text
    }));
    if (!with_layers.length) {
        section('layers', 'Layers', ...thinned, el('p', {
            class: 'quiet',
            text: thinned.length ? '' : 'No run has lines in layers.jsonl; log.layers_every writes them.'
        }));
        return;
    }
    const fields = [...new Set(with_layers.flatMap((run) => Object.keys(run.layers.fields)))].sort();
    const chosen = {
        field: fields.includes(state.field) ? state.field : fields.includes('residual_rms') ? 'residual_rms' :
            fields[0],
        run: data.runs.indexOf(with_layers[0]),
        time: 1
    };
    const change = (key) => (value) => {
        chosen[key] = value;
        if (key === 'field') state.field = value;
        keep();
        mark();
    };
    const time = el('input', {
        type: 'range',
        min: 0,
        max: 1,
        step: 0.01,
        value: 1,
        oninput: () => change('time')(Number(time.value))
    });
    const profile = el('canvas', {
            role: 'img'
        }),
        heat = el('canvas', {
            class: 'heat',
            role: 'img'
        });
    const reading = el('p', {
        class: 'reading',
        'aria-live': 'polite'
    });
    const first = el('figure', {}, el('figcaption', {
        text: 'Profile over depth'
    }), el('div', {
        class: 'plot'
    }, profile));
    const second = el('figure', {}, el('figcaption', {
        text: 'Time (across) by layer (down)'
    }), heat, reading);
    let chart;
    const rowsOf = (run) => run.layers.rows.map((row, i) => ({
        ...row,
        values: (run.layers.fields[chosen.field] || [])[i]
    })).filter((row) => row.values);
    const one = whenSeen(first, () => {
        const sets = with_layers.filter((run) => !state.hidden.includes(run.group)).map((run) => {
            const points = rowsOf(run).map((row, i, rows) => {
                const same = rows.filter((other) => other.layer === row.layer);
                return {
                    x: row.layer + same.indexOf(row) / same.length,
                    y: row.values[Math.round(chosen.time * (row.values.length - 1))],
                    name: `layer ${row.layer} ${row.sublayer}`
                };
            });
            return {
                label: run.name,
                data: points,
                parsing: false,
                borderColor: colourOf(run.group),
                backgroundColor: colourOf(run.group),
                borderDash: dashOf(run.group),
                borderWidth: 1.6,
                pointRadius: 2.5
            };
        });
        profile.setAttribute('aria-label', `${chosen.field} by layer of ${sets.length} runs`);
        if (chart) chart.destroy();
        chart = new Chart(profile, {
            type: 'line',
            data: {
                datasets: sets
            },
            options: {
                animation: false,
                maintainAspectRatio: false,
                plugins: {
                    legend: {
                        display: false
                    },
                    tooltip: {
                        callbacks: {
                            title: (at) => (at.length ? at[0].raw.name : ''),
                            label: (at) => `${at.dataset.label}: ${few(at.raw.y)}`
                        }
                    }
                },
                scales: {
                    x: scaleOptions('layer', 'linear'),
                    y: scaleOptions(chosen.field, 'linear')
                }
            }
        });
    });
    const two = whenSeen(second, () => drawHeat(heat, reading, data.runs[chosen.run], rowsOf(data.runs[chosen.run]),
        chosen.field));
    const mark = () => {
        for (const figure of [one, two]) refresh(figure);
    };
    section('layers', 'Layers', ...thinned, el('div', {
            class: 'controls'
        }, menu('field', fields.map((name) => [name, name]), chosen.field, change('field')),
        menu('map of', with_layers.map((run) => [String(data.runs.indexOf(run)), run.name]), String(chosen
            .run), change('run')), el('label', {}, 'time', time)), el('div', {
        class: 'grid'
    }, first, second));
}

function drawHeat(canvas, reading, run, rows, field) {
    const values = rows.flatMap((row) => row.values).filter((value) => value !== null);
    const low = Math.min(...values),
        high = Math.max(...values),
        log = low > 0 && high / low > 30;
    const place = (value) => (high === low ? 0.5 : log ? Math.log(value / low) / Math.log(high / low) : (value -
        low) / (high - low));
    const columns = Math.max(1, ...rows.map((row) => row.values.length)),
        height = Math.max(1, rows.length);
    canvas.width = columns;
    canvas.height = height;
    canvas.style.height = Math.min(420, Math.max(120, height * 14)) + 'px';
    const context = canvas.getContext('2d'),
        image = context.createImageData(columns, height);
    rows.forEach((row, y) => row.values.forEach((value, x) => {
        const colour = value === null ? [128, 128, 128] : heatColour(place(value));
        image.data.set([...colour, value === null ? 60 : 255], 4 * (y * columns + x));
    }));
    context.putImageData(image, 0, 0);
    const range = rows.length ?
        `${field} of ${run.name}: dark ${few(low)} to bright ${few(high)}${log ? ', logarithmic' : ''}` :
        `${run.name} has no ${field}`;
    canvas.setAttribute('aria-label', range + `; ${height} sublayers, ${columns} times`);
    reading.textContent = range;
    canvas.onpointermove = (event) => {
        const box = canvas.getBoundingClientRect();
        const row = rows[Math.floor(((event.clientY - box.top) / box.height) * height)],
            at = Math.floor(((event.clientX - box.left) / box.width) * columns);
        if (row) reading.textContent =
            `step ${run.layers.step[at]}, layer ${row.layer} ${row.sublayer}: ${few(row.values[at])}; ${range}`;
    };
}
