// What all parts of the page stand on. Everything a file said is put in as text, never as markup.
const data = JSON.parse(document.getElementById('data').textContent);
const SVG = 'http://www.w3.org/2000/svg';

/** An element with properties (text, class, on…: a listener, others: attributes) and children. */
function el(tag, properties = {}, ...children) {
    const node = tag.startsWith('svg:') ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
    for (const [key, value] of Object.entries(properties)) {
        if (key === 'text') node.textContent = value;
        else if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
        else if (value !== undefined && value !== false) node.setAttribute(key, value === true ? '' : value);
    }
    node.append(...children.filter((child) => child !== undefined && child !== null));
    return node;
}

/** A number in few digits: 1.234, 12.3M, 3.2e-5; an en dash where there is none. */
function few(value, digits = 4) {
    if (typeof value !== 'number' || !Number.isFinite(value)) return '–';
    const size = Math.abs(value);
    for (const [unit, scale] of [
            ['T', 1e12],
            ['G', 1e9],
            ['M', 1e6],
            ['k', 1e4]
        ])
        if (size >= scale && size < 1e15) return Number((value / (unit === 'k' ? 1e3 : scale)).toPrecision(3)) +
            unit;
    return size !== 0 && (size < 1e-3 || size >= 1e15) ? value.toExponential(2) : String(Number(value.toPrecision(
        digits)));
}
/** All digits of a whole number, six of another. */
const exact = (value) => (Number.isInteger(value) ? String(value) : few(value, 6));
const fixed = (value, places = 4) => (typeof value === 'number' ? value.toFixed(places) : '–');
const signed = (value) => (typeof value === 'number' ? (value > 0 ? '+' : '') + value.toFixed(4) : '–');

/** What the reader chose, kept while the tab lives, so that a page that reads itself again stays as it was. */
const state = Object.assign({
    x: 'step',
    log: false,
    band: 'range',
    hidden: [],
    theme: 'auto',
    scroll: 0
}, stored());

function stored() {
    try {
        return JSON.parse(sessionStorage.getItem('braid-report') || '{}');
    } catch {
        return {};
    }
}

function keep() {
    state.scroll = window.scrollY;
    try {
        sessionStorage.setItem('braid-report', JSON.stringify(state));
    } catch {
        /* a browser that keeps nothing shows the page all the same */ }
}

/** A section that is there only with a heading and content. */
function section(id, title, ...children) {
    const node = el('section', {
        id,
        'aria-labelledby': id + '-title'
    }, el('h2', {
        id: id + '-title',
        text: title
    }), ...children);
    document.getElementById('main').append(node);
    return node;
}

/** Buttons of which one is pressed. */
function choice(label, options, chosen, change) {
    const buttons = options.map(([value, text]) => el('button', {
        type: 'button',
        text,
        'data-value': value,
        'aria-pressed': String(value === chosen),
        onclick: () => {
            for (const button of buttons) button.setAttribute('aria-pressed', String(button.dataset
                .value === value));
            change(value);
        }
    }));
    return el('span', {
        class: 'choice',
        role: 'group',
        'aria-label': label
    }, ...buttons);
}

function menu(label, options, chosen, change) {
    const list = el('select', {
        onchange: () => change(list.value)
    }, ...options.map(([value, text]) => el('option', {
        value,
        text,
        selected: value === chosen
    })));
    return el('label', {}, label, list);
}

/** A table of texts; the first cell of a row heads it. */
function table(heads, rows, textColumns = []) {
    return el('div', {
        class: 'wide',
        tabindex: '0',
        role: 'region',
        'aria-label': 'Table, scrolls sideways'
    }, el('table', {},
        el('thead', {}, el('tr', {}, ...heads.map((text) => el('th', {
            scope: 'col',
            text
        })))),
        el('tbody', {}, ...rows.map((row) => el('tr', {}, ...row.map((text, i) => (i === 0 ?
            el('th', {
                scope: 'row',
                text
            }) : el('td', {
                text,
                class: textColumns.includes(i) ? 'text' : undefined
            }))))))));
}

/** Hands a text to the reader as a file. */
function download(name, text, type) {
    const url = URL.createObjectURL(new Blob([text], {
        type
    }));
    const link = el('a', {
        href: url,
        download: name
    });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
}
