// What the runs cost, in ranks times hours and, where the reader gave a price, in money.
function costPart(node) {
    const cost = data.cost,
        tuned = Boolean(cost.tuning),
        priced = cost.price !== undefined;
    const row = (label, runs, of, tuning_runs) => [label, String(runs), few(of.rank_hours), few(of.step_rank_hours),
        ...(tuned ? [String(tuning_runs), of.tuning ? few(of.tuning.rank_hours) : ''] : []), ...(priced ? [fixed(of.money, 2)] : [])
    ];
    const heads = ['variant', 'runs', 'rank-hours', 'of steps', ...(tuned ? ['tuning runs', 'rank-hours of tuning'] :
        []), ...(priced ? ['money'] : [])];
    const part = tuned && cost.rank_hours > 0 ?
        ` Tuning took ${few(cost.tuning.rank_hours)} of ${few(cost.rank_hours)} rank-hours, ${few(100 * cost.tuning.rank_hours / cost.rank_hours, 3)} percent.` :
        '';
    node.append(el('h3', {
        text: 'Cost'
    }), table(heads, [...cost.variants.map((one) => row(one.label, one.runs, one, one.tuning_runs)),
        ...(cost.trunks ? [row('steps in common', cost.trunks.runs, cost.trunks, '')] : []), row('total',
        data.runs.length, cost, tuned ? cost.tuning.runs : 0)]), el('p', {
        class: 'quiet',
        text: 'Rank-hours are ranks times hours of all starts, with start-up and evaluations; those of steps are ranks times the times of steps. A variant has those of its tuning too.' +
            part + (priced ? ` Money is rank-hours times ${cost.price}.` : '')
    }));
}
