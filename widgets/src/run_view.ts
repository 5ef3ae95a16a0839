/** A run as it trains: how far it is, its curves, what it answers, and Stop. */
import { Channel, CommandError, type Link } from './lib/channel';
import { ALIVE, CHIPS, type Status } from './lib/standing';
import { duration, figure, panels, unpack, type Series, type SeriesInfo } from './lib/chart';
import { fill, h, setText } from './lib/dom';
import { keepFocus } from './lib/focus';
import { mint } from './lib/id';
import { ownKeys } from './lib/keys';
import { observe, type Model, type Scene } from './lib/model';
import { Panel, STEPS, type Look } from './lib/panel';
import { onTheme } from './lib/theme';

interface Message { role: string; content: string }
interface Sample { prompt: Message[]; texts: { step: number; text: string }[] }

/** Mirrors the synced traits of ftlab/widgets/run_view.py. */
interface Traits {
  name: string;
  status: Status;
  reason: string;
  can_resume: boolean;
  series: SeriesInfo[];
  steps: DataView;
  values: DataView;
  progress: { step?: number; total_steps?: number; epoch?: number; seconds?: number; eta_seconds?: number; tokens_per_second?: number; memory_mib?: number; peak_memory_mib?: number; best_step?: number; best_loss?: number };
  facts: Record<string, string>;
  samples: Sample[];
  notes: { level: 'info' | 'warning'; text: string }[];
  error: string;
}

const SHOWN_FIRST = new Set(['Loss', 'Rewards', 'Preferred the chosen', 'Distance to the teacher']);

class Dashboard {
  readonly root: HTMLElement;
  private readonly look: Look = { smoothing: 0, logarithmic: false, sync: mint(), axis: STEPS };
  private readonly chosen = new Map<string, boolean>();
  private readonly panels = new Map<string, Panel>();
  private series: Series[] = [];
  private pinned: number | null = null; // step of the samples that the person chose; null: the latest
  private link: Link = 'live';
  private refusal = '';

  private readonly banner = h('div', { class: 'ft-banner ft-bad', role: 'alert', hidden: true });
  private readonly chip = h('span', { class: 'rv-chip', role: 'status' });
  private readonly figures = h('span', { class: 'rv-figures' });
  private readonly bar = h('progress', { 'aria-label': 'Steps done' });
  private readonly reason = h('p', { class: 'rv-reason', hidden: true });
  private readonly stop = h('button', { type: 'button', onclick: () => void this.command('stop') }, 'Stop');
  private readonly resume = h('button', { type: 'button', onclick: () => void this.command('resume') }, 'Resume');
  private readonly choices = h('div', { class: 'ft-row rv-choices', role: 'group', 'aria-label': 'Charts' });
  private readonly logarithm = h('button', { type: 'button', class: 'ft-quiet', 'aria-pressed': 'false', onclick: () => this.toggleLogarithm() }, 'Log scale');
  private readonly slider = h('input', { type: 'range', min: 0, max: 0.98, step: 0.02, value: 0, 'aria-label': 'Smoothing', oninput: () => this.setSmoothing() });
  private readonly amount = h('output', { class: 'ft-quietly' }, 'off');
  private readonly charts = h('div', { class: 'rv-charts' });
  private readonly empty = h('p', { class: 'ft-quietly rv-empty' });
  private readonly when = h('input', { type: 'range', min: 0, step: 1, 'aria-label': 'Step of the samples', oninput: () => this.pin() });
  private readonly whenTold = h('output', { class: 'rv-when' });
  private readonly sheet = h('div', { class: 'rv-sheet' });
  private readonly gallery = h('section', { class: 'rv-samples', 'aria-label': 'Samples', hidden: true }, h('div', { class: 'ft-row' }, h('span', { class: 'rv-title' }, 'What it answers'), h('span', { class: 'ft-space' }), this.when, this.whenTold), this.sheet);
  private readonly warnings = h('ul', { class: 'rv-notes' });
  private readonly facts = h('table', {});
  private readonly chosenFor = h('details', { class: 'rv-facts' }, h('summary', {}, 'What was chosen'), this.facts);
  private readonly name = h('span', { class: 'rv-name' });

  constructor(private model: Model<Traits>, private channel: Channel, private signal: AbortSignal) {
    this.root = h('section', { class: 'ftlab rv', 'aria-label': `Run ${model.get('name')}`, tabindex: '-1' },
      this.banner,
      h('div', { class: 'ft-row rv-head' }, this.name, this.chip, h('span', { class: 'ft-space' }), this.stop, this.resume),
      this.bar, this.figures, this.reason, this.warnings,
      h('div', { class: 'ft-row rv-tools' }, this.choices, h('div', { class: 'ft-row rv-scales' }, this.logarithm, h('label', { class: 'ft-row rv-smooth' }, 'Smoothing', this.slider, this.amount))),
      this.empty, this.charts, this.gallery, this.chosenFor);
    channel.watch((link) => {
      this.link = link;
      this.drawStatus();
    });
    onTheme(() => this.panels.forEach((panel) => panel.repaint()), signal);
  }

  drawStatus(): void {
    const focused = document.activeElement;
    const status = this.model.get('status');
    const [sign, words, tone] = CHIPS[status] ?? ['?', status, ''];
    setText(this.name, this.model.get('name'));
    setText(this.chip, `${sign} ${words}`);
    this.chip.className = `rv-chip${tone ? ` rv-${tone}` : ''}`;
    this.chip.dataset.status = status;
    const { step = 0, total_steps: total = 0 } = this.model.get('progress');
    this.bar.hidden = !total;
    this.bar.max = Math.max(total, 1);
    this.bar.value = step;
    setText(this.figures, summary(this.model.get('progress'), ALIVE.has(status)));
    const reason = this.model.get('reason');
    this.reason.hidden = !reason;
    this.reason.className = `rv-reason${tone === 'bad' ? ' ft-bad' : ''}`;
    setText(this.reason, reason);
    this.stop.hidden = !ALIVE.has(status);
    this.stop.disabled = status === 'stopping' || this.link === 'gone';
    this.resume.hidden = !this.model.get('can_resume') || !['stopped', 'failed'].includes(status);
    this.resume.disabled = this.link === 'gone';
    const error = this.refusal || this.model.get('error');
    this.banner.hidden = this.link === 'live' && !error;
    setText(this.banner, this.link === 'gone' ? 'Disconnected: the kernel of this cell has ended. The run goes on without it; run the cell again to see it.'
      : this.link === 'silent' ? 'Disconnected: the kernel does not answer; it is busy or gone. The run goes on without it.' : error);
    keepFocus(this.root, focused);
  }

  drawCharts(): void {
    this.series = unpack(this.model.get('series'), this.model.get('steps'), this.model.get('values'));
    const groups = panels(this.series);
    for (const name of groups.keys()) if (!this.chosen.has(name)) this.chosen.set(name, SHOWN_FIRST.has(name));
    const names = [...groups.keys()];
    if (this.choices.childElementCount !== names.length || names.some((name, n) => this.choices.children[n]?.textContent !== name)) fill(this.choices, ...names.map((name) => this.choice(name)));
    const shown = names.filter((name) => this.chosen.get(name));
    for (const [name, panel] of this.panels) {
      if (shown.includes(name)) continue;
      panel.drop();
      panel.root.remove();
      this.panels.delete(name);
    }
    shown.forEach((name, n) => {
      const panel = this.panels.get(name) ?? new Panel(name, this.signal, name === 'Loss' ? 240 : 180);
      this.panels.set(name, panel);
      if (this.charts.children[n] !== panel.root) this.charts.insertBefore(panel.root, this.charts.children[n] ?? null);
      panel.draw(groups.get(name) ?? [], this.look);
    });
    this.empty.hidden = shown.length > 0;
    setText(this.empty, names.length ? 'No chart is chosen.' : ALIVE.has(this.model.get('status')) ? 'The first figures come with the first step.' : 'There are no figures.');
  }

  private choice(name: string): HTMLElement {
    const button = h('button', { type: 'button', class: 'ft-quiet', 'aria-pressed': String(this.chosen.get(name)), onclick: () => {
      this.chosen.set(name, !this.chosen.get(name));
      button.setAttribute('aria-pressed', String(this.chosen.get(name)));
      this.drawCharts();
    } }, name);
    return button;
  }

  private toggleLogarithm(): void {
    this.look.logarithmic = !this.look.logarithmic;
    this.logarithm.setAttribute('aria-pressed', String(this.look.logarithmic));
    this.drawCharts();
  }

  private setSmoothing(): void {
    this.look.smoothing = Number(this.slider.value);
    setText(this.amount, this.look.smoothing ? this.look.smoothing.toFixed(2) : 'off');
    this.drawCharts();
  }

  drawSamples(): void {
    const samples = this.model.get('samples');
    const steps = [...new Set(samples.flatMap(({ texts }) => texts.map(({ step }) => step)))].sort((a, b) => a - b);
    this.gallery.hidden = !steps.length;
    const wanted = this.pinned ?? steps.at(-1) ?? 0;
    const place = Math.max(0, steps.findLastIndex((step) => step <= wanted));
    this.when.max = String(Math.max(0, steps.length - 1));
    this.when.value = String(place);
    this.when.disabled = steps.length < 2;
    const step = steps[place] ?? 0;
    this.when.setAttribute('aria-valuetext', `step ${step}`);
    setText(this.whenTold, `step ${step.toLocaleString('en')}`);
    fill(this.sheet, ...samples.map(({ prompt, texts }) => {
      const text = texts.findLast((one) => one.step <= step)?.text;
      return h('div', { class: 'rv-sample' }, h('div', { class: 'rv-prompt ft-text' }, prompt.map(({ role, content }) => (prompt.length > 1 ? `${role}: ${content}` : content)).join('\n')),
        text === undefined ? h('em', { class: 'ft-quietly' }, 'not asked yet') : h('div', { class: 'ft-text' }, text.trim() ? text : h('em', { class: 'ft-quietly' }, '(empty answer)')));
    }));
  }

  private pin(): void {
    const steps = [...new Set(this.model.get('samples').flatMap(({ texts }) => texts.map(({ step }) => step)))].sort((a, b) => a - b);
    const place = Number(this.when.value);
    this.pinned = place >= steps.length - 1 ? null : (steps[place] ?? null); // at the end it follows the run again
    this.drawSamples();
  }

  drawFacts(): void {
    const facts = Object.entries(this.model.get('facts'));
    this.chosenFor.hidden = !facts.length;
    fill(this.facts, ...facts.map(([name, value]) => h('tr', {}, h('th', { scope: 'row' }, name), h('td', {}, value))));
    const notes = this.model.get('notes');
    this.warnings.hidden = !notes.length;
    fill(this.warnings, ...notes.map(({ level, text }) => h('li', { class: level === 'warning' ? 'ft-warn' : 'ft-quietly' }, level === 'warning' ? `⚠ ${text}` : text)));
  }

  private async command(type: 'stop' | 'resume'): Promise<void> {
    this.refusal = '';
    const focused = document.activeElement;
    this.stop.disabled = this.resume.disabled = true;
    keepFocus(this.root, focused);
    try {
      await this.channel.ask(type);
    } catch (error) {
      this.refusal = error instanceof CommandError ? error.message : `The kernel did not answer (${(error as Error).message}); whether the run was told is not known. Try again.`;
    }
    this.drawStatus();
  }
}

function summary(progress: Traits['progress'], alive: boolean): string {
  const { step, total_steps: total, epoch, seconds, eta_seconds: eta, tokens_per_second: speed, memory_mib: memory, peak_memory_mib: peak, best_step: bestStep, best_loss: bestLoss } = progress;
  const parts = [
    step !== undefined && `step ${step.toLocaleString('en')}${total ? ` of ${total.toLocaleString('en')}` : ''}`,
    epoch !== undefined && `epoch ${epoch.toFixed(2)}`,
    seconds !== undefined && duration(seconds),
    alive && eta !== undefined && `about ${duration(eta)} to go`,
    speed !== undefined && figure(speed, 'tokens/s'),
    memory !== undefined && `${Math.round(alive ? memory : (peak ?? memory)).toLocaleString('en')} MiB${alive ? '' : ' at most'}`,
    bestStep !== undefined && bestLoss !== undefined && `best evaluation ${figure(bestLoss, 'nats')} at step ${bestStep.toLocaleString('en')}`,
  ];
  return parts.filter(Boolean).join(' · ');
}

export default {
  render({ model, el, signal }: Scene<Traits>): void {
    const channel = new Channel(model as unknown as Model<object>, signal);
    const dashboard = new Dashboard(model, channel, signal);
    el.append(dashboard.root);
    ownKeys(dashboard.root, () => false, signal);
    observe(model, ['name', 'status', 'reason', 'progress', 'can_resume', 'error'], () => dashboard.drawStatus(), signal);
    observe(model, ['series', 'steps', 'values', 'status'], () => dashboard.drawCharts(), signal);
    observe(model, ['samples'], () => dashboard.drawSamples(), signal);
    observe(model, ['facts', 'notes'], () => dashboard.drawFacts(), signal);
  },
};
