// Evaluations of tasks, of which the reader chooses one: none has a verdict but the outcome of a sweep.
function taskMetric(field) {
    const [, name, what] = field.split('/');
    const role = data.verdict?.outcome?.metric === field ? 'the outcome of the sweep' : 'exploratory';
    if (what === 'accuracy') return {
        title: `Accuracy on ${name}`,
        unit: 'percent, higher is better; ' + role,
        how: {
            scale: 100,
            min: 0,
            max: 100,
            error: field + '_stderr'
        }
    };
    return {
        title: `${what.replaceAll('_', ' ')} on ${name}`,
        unit: (what === 'bits_per_byte' || what === 'loss' ? 'lower is better; ' : '') + role,
        how: {}
    };
}

function taskSection() {
    const fields = fieldsOf((name) => name.startsWith('task/') && !name.endsWith('_stderr'));
    if (!fields.length) return;
    const place = el('div', {
        class: 'grid'
    });
    let chosen = fields.includes(state.task) ? state.task : fields.find((name) => name.endsWith('/accuracy')) ||
        fields[0];
    const show = () => {
        for (const figure of place.children) forget(figure);
        const metric = taskMetric(chosen);
        place.replaceChildren(curveFigure(metric.title, metric.unit, chosen, metric.how));
    };
    show();
    section('tasks', 'Tasks', el('div', {
        class: 'controls'
    }, menu('metric', fields.map((name) => [name, name.slice(5).replace('/', ': ').replaceAll('_', ' ')]),
        chosen, (value) => {
            chosen = state.task = value;
            keep();
            show();
        })), place, el('p', {
        class: 'quiet',
        text: 'Of a single run the band is one standard error of the accuracy to both sides.' + (data
            .sweep ? ' What is exploratory is not what the sweep asked: it has no verdict.' : '')
    }));
}

/** An accuracy as the table shows it: 73.1 ± 1.4 percent. */
function accuracyText(run, field) {
    const value = run.final[field],
        error = run.final[field + '_stderr'];
    if (typeof value !== 'number') return '–';
    return (100 * value).toFixed(1) + (typeof error === 'number' ? ' ± ' + (100 * error).toFixed(1) : '') + ' %';
}
