// From the thinned numbers to lines: x axes, and groups of runs that differ in their seed only.
const AXES = {
    step: 'steps',
    tokens: 'tokens',
    flops: 'model FLOPs',
    hours: 'hours of steps'
};

/** The value at `x` on the line through points of ascending xs; undefined outside. */
function between(xs, ys, x) {
    if (!xs.length || x < xs[0] || x > xs[xs.length - 1]) return undefined;
    let low = 0,
        high = xs.length - 1;
    while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (xs[middle] <= x) low = middle;
        else high = middle;
    }
    if (ys[low] === null || ys[high] === null) return undefined;
    return xs[high] === xs[low] ? ys[high] : ys[low] + ((ys[high] - ys[low]) * (x - xs[low])) / (xs[high] - xs[
    low]);
}

function xOf(run, step, axis) {
    if (axis === 'step') return step;
    const name = axis === 'hours' ? 'hours' : 'tokens';
    const steps = run.axis[name],
        values = run.axis[name + '_at'];
    if (!steps.length) return 0;
    const value = step < steps[0] ? (values[0] * step) / Math.max(steps[0], 1) : between(steps, values, Math.min(
        step, steps[steps.length - 1]));
    return (value || 0) * (axis === 'flops' ? run.flops_per_token : 1);
}

/** Where the extremes of a curve's parts lie on an axis. */
function extremeX(run, curve, which, axis) {
    const tokens = curve[which + '_tokens'];
    return curve[which + '_step'].map((step, i) => {
        if (step === null) return xOf(run, curve.step[i], axis);
        if (axis === 'step' || axis === 'hours') return xOf(run, step, axis);
        const exact = tokens && tokens[i] !== null ? tokens[i] : Math.round(xOf(run, step, 'tokens'));
        return exact * (axis === 'flops' ? run.flops_per_token : 1);
    });
}

/** {x, mean, low, high} of a run's field; extremes lie at lowX and highX. `error` names the field of its error. */
function lineOf(run, field, axis, error) {
    const curve = run.curves[field];
    if (!curve) return null;
    const x = curve.step.map((step) => xOf(run, step, axis)),
        mean = curve.mean,
        around = error && run.curves[error]?.mean;
    if (around && around.length === mean.length) {
        const move = (sign) => mean.map((value, i) => (value === null || around[i] === null ? value : value + sign *
            around[i]));
        return {
            x,
            mean,
            low: move(-1),
            high: move(1)
        };
    }
    if (!curve.low) return {
        x,
        mean,
        low: mean,
        high: mean
    };
    return {
        x,
        mean,
        low: curve.low,
        high: curve.high,
        lowX: extremeX(run, curve, 'low', axis),
        highX: extremeX(run, curve, 'high', axis)
    };
}

/** The mean over a group's runs, with what lies between them: extremes, or a standard deviation to both sides. */
function groupLine(runs, field, axis, band, error) {
    const lines = runs.map((run) => lineOf(run, field, axis, error)).filter(Boolean);
    if (!lines.length) return null;
    if (lines.length === 1) return band === 'none' ? {
        ...lines[0],
        low: null,
        high: null
    } : lines[0];
    const longest = lines.reduce((a, b) => (b.x.length > a.x.length ? b : a));
    const result = {
        x: [],
        mean: [],
        low: [],
        high: []
    };
    for (const x of longest.x) {
        const values = lines.map((line) => between(line.x, line.mean, x)).filter((value) => value !== undefined);
        if (!values.length) continue;
        const mean = values.reduce((a, b) => a + b, 0) / values.length;
        const sd = values.length > 1 ? Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (
            values.length - 1)) : 0;
        result.x.push(x);
        result.mean.push(mean);
        result.low.push(band === 'sd' ? mean - sd : Math.min(...values));
        result.high.push(band === 'sd' ? mean + sd : Math.max(...values));
    }
    if (band === 'none') result.low = result.high = null;
    return result;
}

/** What is drawn: groups, or with state.band 'runs' every run for itself. */
function drawn(field, error) {
    const items = [];
    data.groups.forEach((group, g) => {
        if (state.hidden.includes(g)) return;
        const runs = group.runs.map((i) => data.runs[i]);
        if (state.band === 'runs')
            for (const run of runs) items.push({
                group: g,
                label: run.name,
                line: groupLine([run], field, state.x, 'none')
            });
        else items.push({
            group: g,
            label: labelOf(g),
            line: groupLine(runs, field, state.x, state.band, error)
        });
    });
    return items.filter((item) => item.line);
}

function labelOf(g) {
    const group = data.groups[g];
    return group.label + (group.runs.length > 1 ? ` (${group.runs.length} seeds)` : '');
}

function fieldsOf(test) {
    return [...new Set(data.runs.flatMap((run) => Object.keys(run.curves)))].filter(test).sort();
}
