/** Several runs over each other: one figure of each, what their configurations differ in, and what they answer. */
import { figure, type Series } from './chart';
import { along, type Compared } from './compared';
import { fill, h, setText } from './dom';
import { mint } from './id';
import { Panel, STEPS, swatch, type Axis } from './panel';
import { onTheme } from './theme';

const AXES: Record<string, Axis> = {
  step: STEPS,
  tokens: { label: 'tokens', whole: true, word: (value) => `${figure(value)} tokens` },
  seconds: { label: 'seconds', whole: false, word: (value) => `${figure(value)} s` },
};

export class Versus {
  readonly root: HTMLElement;
  private axis = 'step';
  private smoothing = 0;
  private logarithmic = false;
  private pinned: number | null = null; // step of the answers that the person chose; null: the latest
  private readonly sync = mint();
  private panel: Panel;
  private readonly title = h('h3', { class: 'vs-title' });
  private readonly figureChoice = h('select', { 'aria-label': 'Figure', onchange: () => this.choose(this.figureChoice.value) });
  private readonly axisChoice = h('select', { 'aria-label': 'Along', onchange: () => this.turn() }, ...Object.keys(AXES).map((name) => h('option', { value: name }, `by ${name}`)));
  private readonly logarithm = h('button', { type: 'button', class: 'ft-quiet', 'aria-pressed': 'false', onclick: () => this.toggle() }, 'Log scale');
  private readonly slider = h('input', { type: 'range', min: 0, max: 0.98, step: 0.02, value: 0, 'aria-label': 'Smoothing', oninput: () => this.smoothen() });
  private readonly amount = h('output', { class: 'ft-quietly' }, 'off');
  private readonly chart = h('div', { class: 'vs-chart' });
  private readonly empty = h('p', { class: 'ft-quietly' }, 'None of them has figures yet.');
  private readonly fields = h('div', { class: 'vs-scroll', tabindex: '0', role: 'group', 'aria-label': 'Differences of the configurations' });
  private readonly when = h('input', { type: 'range', min: 0, step: 1, 'aria-label': 'Step of the answers', oninput: () => this.pin() });
  private readonly whenTold = h('output', { class: 'rv-when' });
  private readonly sheet = h('div', { class: 'vs-scroll', tabindex: '0', role: 'group', 'aria-label': 'Answers side by side' });
  private readonly gallery = h('section', { class: 'vs-answers', 'aria-label': 'What they answer' }, h('div', { class: 'ft-row' }, h('span', { class: 'rv-title' }, 'What they answer'), h('span', { class: 'ft-space' }), this.when, this.whenTold), this.sheet);

  /** `choose` asks for another figure, `leave` ends the comparison. */
  constructor(private read: () => Compared, private choose: (metric: string) => void, leave: () => void, signal: AbortSignal) {
    this.panel = new Panel('Comparison', signal, 300);
    this.chart.append(this.panel.root);
    this.root = h('section', { class: 'vs', 'aria-label': 'Comparison', hidden: true },
      h('div', { class: 'ft-row' }, this.title, h('span', { class: 'ft-space' }), h('button', { type: 'button', class: 'ft-quiet', onclick: leave }, 'Clear')),
      h('div', { class: 'ft-row vs-tools' }, this.figureChoice, this.axisChoice, this.logarithm, h('label', { class: 'ft-row rv-smooth' }, 'Smoothing', this.slider, this.amount)),
      this.empty, this.chart, this.fields, this.gallery);
    onTheme(() => this.root.hidden || this.panel.repaint(), signal);
  }

  drawCurves(): void {
    const compared = this.read();
    this.root.hidden = compared.selected.length < 2;
    if (this.root.hidden) return;
    setText(this.title, `${compared.selected.length} runs compared`);
    const names = compared.metrics.map(({ name }) => name);
    if (names.join('\n') !== [...this.figureChoice.options].map(({ value }) => value).join('\n')) fill(this.figureChoice, ...compared.metrics.map(({ name, label, panel }) => h('option', { value: name }, panel === label ? panel : `${panel}: ${label}`)));
    this.figureChoice.value = compared.metric;
    const series = along(compared, this.axis);
    this.empty.hidden = series.length > 0;
    this.chart.hidden = !series.length;
    if (series.length) this.panel.draw(series, { smoothing: this.smoothing, logarithmic: this.logarithmic, sync: this.sync, axis: AXES[this.axis] ?? STEPS });
  }

  drawFields(): void {
    const { differences, selected } = this.read();
    const place = new Map(this.read().curves.map(({ run }, at) => [run, at]));
    const head = selected.map((name) => h('th', { scope: 'col' }, place.has(name) && swatch({ kind: 'line' } as Series, place.get(name) ?? 0), ' ', name));
    fill(this.fields, differences.length
      ? h('table', {}, h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Differs in'), ...head)),
        h('tbody', {}, ...differences.map(({ path, values }) => h('tr', {}, h('th', { scope: 'row' }, path), ...values.map((value) => h('td', { class: 'ft-text' }, value || h('span', { class: 'ft-quietly' }, '–')))))))
      : h('p', { class: 'ft-quietly' }, 'Their configurations are the same.'));
  }

  drawAnswers(): void {
    const { answers, selected } = this.read();
    const steps = this.steps();
    this.gallery.hidden = !steps.length;
    const wanted = this.pinned ?? steps.at(-1) ?? 0;
    const place = Math.max(0, steps.findLastIndex((step) => step <= wanted));
    const step = steps[place] ?? 0;
    this.when.max = String(Math.max(0, steps.length - 1));
    this.when.value = String(place);
    this.when.disabled = steps.length < 2;
    this.when.setAttribute('aria-valuetext', `step ${step}`);
    setText(this.whenTold, `step ${step.toLocaleString('en')}`);
    fill(this.sheet, h('table', { class: 'vs-sheet' },
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Prompt'), ...selected.map((name) => h('th', { scope: 'col' }, name)))),
      h('tbody', {}, ...answers.map(({ prompt, runs }) => h('tr', {},
        h('th', { scope: 'row', class: 'ft-text' }, prompt.map(({ role, content }) => (prompt.length > 1 ? `${role}: ${content}` : content)).join('\n')),
        ...selected.map((name) => {
          const found = runs[name]?.findLast((one) => one.step <= step);
          if (!found) return h('td', {}, h('em', { class: 'ft-quietly' }, runs[name] ? 'not asked yet' : 'never asked'));
          return h('td', {}, h('div', { class: 'ft-text' }, found.text.trim() ? found.text : h('em', { class: 'ft-quietly' }, '(empty answer)')), found.step !== step && h('small', { class: 'ft-quietly' }, `step ${found.step.toLocaleString('en')}`));
        }))))));
  }

  private steps(): number[] {
    return [...new Set(this.read().answers.flatMap(({ runs }) => Object.values(runs).flatMap((texts) => texts.map(({ step }) => step))))].sort((a, b) => a - b);
  }

  private pin(): void {
    const steps = this.steps();
    const place = Number(this.when.value);
    this.pinned = place >= steps.length - 1 ? null : (steps[place] ?? null); // at the end it follows the runs again
    this.drawAnswers();
  }

  private turn(): void {
    this.axis = this.axisChoice.value;
    this.drawCurves();
  }

  private toggle(): void {
    this.logarithmic = !this.logarithmic;
    this.logarithm.setAttribute('aria-pressed', String(this.logarithmic));
    this.drawCurves();
  }

  private smoothen(): void {
    this.smoothing = Number(this.slider.value);
    setText(this.amount, this.smoothing ? this.smoothing.toFixed(2) : 'off');
    this.drawCurves();
  }
}
