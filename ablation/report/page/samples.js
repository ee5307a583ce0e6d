// Texts that the runs wrote. All of it is put in as text, whatever it looks like.
function samplesSection() {
    const runs = data.runs.filter((run) => run.samples.length);
    if (!runs.length) return;
    const stepsOf = (run) => [...new Set(run.samples.map((sample) => sample.step))];
    const texts = (run, step) => run.samples.filter((sample) => sample.step === step).map((sample) => el('pre', {},
        el('b', {
            class: 'prompt',
            text: sample.prompt
        }), el('span', {
            text: sample.text
        })));
    const node = section('samples', 'Samples', el('p', {
        class: 'quiet',
        text: 'The prompt is bold; the newest step comes first.'
    }), ...runs.map((run) => el('details', {
            open: runs.length === 1
        }, el('summary', {
            text: run.name
        }),
        ...stepsOf(run).map((step) => el('div', {
            class: 'sample'
        }, el('h3', {
            text: 'step ' + step
        }), ...texts(run, step))))));
    if (data.sample_notes.length) node.append(el('ul', {
        class: 'quiet'
    }, ...data.sample_notes.map((text) => el('li', {
        text
    }))));
}
