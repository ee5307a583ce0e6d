// Numbers, differences and where they come from.
function numbersSection() {
    const evals = [...new Set(data.runs.flatMap((run) => Object.keys(run.final).filter((key) => key.startsWith(
        'eval/'))))].sort();
    const tasks = fieldsOf((name) => name.startsWith('task/') && !name.endsWith('_stderr'));
    const priced = data.cost.price !== undefined;
    const heads = ['run', 'status', 'seed', 'step', 'loss', 'eval loss', ...evals.map((name) => name.slice(5)
            .replaceAll('_', ' ')), ...tasks.map((name) => name.slice(5).replaceAll('_', ' ')), 'tokens', 'FLOPs', 'hours', 'rank-hours', 'tokens/s', 'parameters',
        'active', ...(priced ? ['money'] : [])];
    const rows = data.runs.map((run) => [run.name, run.status, run.seed, String(run.step), fixed(run.final.loss),
        fixed(run.final.eval_loss), ...evals.map((name) => fixed(run.final[name])),
        ...tasks.map((name) => (name.endsWith('/accuracy') ? accuracyText(run, name) : fixed(run.final[
            name]))), few(run.tokens), few(run.flops), few(run.hours, 3), few(run.rank_hours, 3), few(run.final
            .tokens_per_second), few(run.total_parameters), few(run.active_parameters), ...(priced ? [fixed(run.money, 2)] : [])
    ]);
    section('numbers', 'Final numbers', table(heads, rows),
        el('p', {
            class: 'quiet',
            text: 'Losses in nats per token, of the last line that has them; – where there is none or it is not finite. Hours are of all starts, start-up and evaluation included.' +
                (tasks.length ? ' Of accuracies the higher is better, ± one standard error.' : '')
        }),
        el('div', {
                class: 'controls'
            }, el('button', {
                type: 'button',
                text: 'Download curves as CSV',
                onclick: () => download('braid-report.csv', curvesCsv(), 'text/csv')
            }),
            el('button', {
                type: 'button',
                text: 'Download all as JSON',
                onclick: () => download('braid-report.json', document.getElementById('data').textContent,
                    'application/json')
            })));
}

function csvCell(value) {
    const text = value === null || value === undefined ? '' : String(value);
    const safe = typeof value === 'string' && /^[=+\-@\t]/.test(text) ? "'" + text : text;
    return /[",\n\r]/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe;
}
/** A line for each part of each curve. */
function curvesCsv() {
    const lines = ['run,folder,field,step,mean,low,low_step,high,high_step'];
    for (const run of data.runs)
        for (const [field, curve] of Object.entries(run.curves))
            curve.step.forEach((step, i) => lines.push([run.name, run.folder, field, step, curve.mean[i], (curve
                .low || curve.mean)[i], (curve.low_step || curve.step)[i], (curve.high || curve.mean)[i], (curve
                .high_step || curve.step)[i]].map(csvCell).join(',')));
    return lines.join('\n') + '\n';
}

function differencesSection() {
    if (data.runs.length < 2) return;
    const differences = data.differences.filter((one) => one.key !== 'name' && one.key !== 'run_dir');
    const body = differences.length ? table(['run', ...differences.map((one) => one.key + (one.changes_numbers ?
            '' : ' *'))], data.runs.map((run, i) => [run.name, ...differences.map((one) => one.values[i])])) :
        el('p', {
            class: 'quiet',
            text: 'None but their names.'
        });
    section('differences', 'Config differences', body, el('p', {
        class: 'quiet',
        text: 'Only keys that differ. * does not change the numbers of a run.'
    }));
}

const shellWord = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : "'" + word.replaceAll("'", "'\\''") + "'");

function provenanceSection() {
    const node = section('provenance', 'Where the numbers come from');
    for (const run of data.runs) {
        const starts = run.starts.map((start) => [start.start_time ?? '–', start.end_time ?? '–', start
            .exit_code === undefined ? '–' : String(start.exit_code),
            `${start.first_step}–${start.last_step}`,
            `${start.version ?? ''} ${start.commit ?? ''}`, start.build ?
            `${start.build.type}, ${start.build.compiler}` : '', [...new Set(start.hosts || [])].join(', '),
            [...new Set(start.devices || [])].join(', '), String(start.ranks ?? ''), start.parent ?? ''
        ]);
        const command = run.starts.length ? run.starts[run.starts.length - 1] : null;
        node.append(el('details', {}, el('summary', {
                text: run.name + ' — ' + run.folder
            }),
            starts.length ? table(['start', 'end', 'exit', 'steps', 'version and commit', 'build', 'hosts',
                'devices', 'ranks', 'went on from'
            ], starts, [4, 5, 6, 7, 9]) : null,
            command && Array.isArray(command.command) ? el('div', {}, el('h3', {
                text: 'To run it again'
            }), el('pre', {
                text: `cd ${shellWord(command.working_directory || '.')}\n` + (command.ranks > 1 ?
                    `launch/braid-mpirun -n ${command.ranks} ` : '') + command.command.map(
                    shellWord).join(' ')
            })) : null,
            Object.keys(run.data).length ? el('div', {}, el('h3', {
                text: 'Data, by their fingerprints'
            }), table(['what', 'fingerprint'], Object.entries(run.data), [1])) : null));
    }
}
