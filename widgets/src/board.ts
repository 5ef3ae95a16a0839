/** How a session of rating goes, for the person who leads it: needles, ranking, agreement, raters, judges. */
import { Channel, CommandError, type Link } from './lib/channel';
import { fill, h, setText, type Child } from './lib/dom';
import { keepFocus } from './lib/focus';
import { ownKeys } from './lib/keys';
import { observe, type Model, type Scene } from './lib/model';

interface Statistic { name: string; value: number | null; reason: string; low: number | null; high: number | null; n: number; about: string }
interface Position { share: Statistic; p: number | null; alarm: boolean; enough: number }
interface Rater {
  rater: string; name: string; kind: string; answered: number; skipped: number; flagged: number; late: number; total: number | null;
  pace: { median_seconds: number | null; hasty: Statistic };
  position: Position;
  consistency: { same: Statistic; followed_side: number };
  gold: { accuracy: Statistic; flagged: boolean };
}
interface Place { model: string; elo: number; elo_low: number | null; elo_high: number | null; wins: number; losses: number }
interface Ranking { places: Place[]; reason: string; note: string; n: number; length: Statistic | null; separated: boolean[] }
interface Couple { a: string; b: string; values: string[]; table: number[][]; percent: Statistic; kappa: Statistic }
interface Answer { model: string; text: string }
interface Disagreement { position: number; prompt: string; preferred: Answer; instead: Answer }
interface Bin { group: string; rate: number; low: number; high: number; n: number }
interface Judge { name: string; kind: string; calibration: { agreement: Statistic; decided: Statistic; kappa: Statistic; bins: Bin[] }; disagreements: Disagreement[]; disagree: number }
interface Ceiling { name: string; measure: string; low: number; high: number; source: string }

/** `Report.to_json` of ftlab/ratings/analysis/report.py. */
interface Report {
  batch: string; mode: string; seq: number; tasks: number; who: string; n: number;
  left_out: Record<string, number>;
  raters: Rater[];
  agreement: Statistic[];
  couples: Couple[];
  models: string[];
  wins: number[][];
  ranking: Ranking; controlled: Ranking; gentle: Ranking | null;
  means: { model: string; what: string; value: number | null; low: number | null; high: number | null; n: number }[];
  position: Position;
  longer: Statistic; length: Statistic;
  consistency: { same: Statistic; followed_side: number };
  pace: { median_seconds: number | null; hasty: Statistic };
  over_time: Record<string, [number, number][]>;
  judges: Judge[];
  ceilings: Ceiling[];
  settled: { verdict: string; why: string } | null;
}

/** Mirrors the synced traits of ftlab/widgets/board.py. */
interface Traits {
  batch: string;
  report: Report;
  behind: number;
  error: string;
}

const MEASURES: Record<string, string> = {
  'percent with ties': 'percent', 'percent, the very same rating': 'percent', 'percent, each two answers': 'percent',
  'percent without ties': 'percent without ties', "Gwet's AC2, quadratic": 'ac2', 'self-consistency': 'consistency',
};

/** The four degrees of a preference, as the store numbers them. */
const STRENGTHS: Record<string, string> = { 1: 'negligibly better', 2: 'slightly better', 3: 'clearly better', 4: 'significantly better' };

class Desk {
  readonly root: HTMLElement;
  private link: Link = 'live';
  private refusal = '';
  private drawnAt = Date.now();
  private byLength = false;
  private open = new Set<string>(); // the disclosures that the person opened, kept over a refresh
  private readonly banner = h('div', { class: 'ft-banner ft-bad', role: 'alert', hidden: true });
  private readonly chip = h('span', { class: 'bd-chip' });
  private readonly told = h('span', { class: 'ft-quietly' });
  private readonly age = h('span', { class: 'ft-quietly bd-age' });
  private readonly fresh = h('button', { type: 'button', class: 'ft-quiet', onclick: () => void this.refresh() }, 'Refresh');
  private readonly why = h('p', { class: 'bd-why' });
  private readonly news = h('div', { class: 'ft-unseen', role: 'status' });
  private readonly sheet = h('div', { class: 'bd-sheet' });

  constructor(private model: Model<Traits>, private channel: Channel, signal: AbortSignal) {
    this.root = h('section', { class: 'ftlab bd', 'aria-label': `Board of ${model.get('batch')}`, tabindex: '-1' },
      this.banner, this.news,
      h('header', { class: 'bd-head' }, h('h2', { class: 'bd-name' }, model.get('batch')), this.chip, this.told, h('span', { class: 'ft-space' }), this.age, this.fresh),
      this.why, this.sheet,
      h('p', { class: 'ft-quietly bd-foot' }, 'It names the models: keep it from raters while they rate. Intervals are 95 %: of what raters say together by bootstrap of the items, of shares of answers by Wilson. Nothing here deletes a rating.'));
    channel.watch((link) => {
      this.link = link;
      this.drawStatus();
    });
    const clock = setInterval(() => this.tick(), 1000);
    signal.addEventListener('abort', () => clearInterval(clock));
  }

  private async refresh(): Promise<void> {
    const focused = document.activeElement;
    this.fresh.disabled = true;
    keepFocus(this.root, focused);
    this.refusal = '';
    try {
      await this.channel.ask('refresh');
    } catch (error) {
      this.refusal = error instanceof CommandError ? error.message : `The kernel did not answer (${(error as Error).message}).`;
    }
    this.fresh.disabled = false;
    if (document.activeElement === this.root) this.fresh.focus({ preventScroll: true });
    this.drawStatus();
  }

  private tick(): void {
    const seconds = Math.round((Date.now() - this.drawnAt) / 1000);
    const behind = this.model.get('behind');
    setText(this.age, behind ? `${count(behind, 'new entry', 'new entries')}, computing…` : seconds < 5 ? 'just now' : seconds < 90 ? `${seconds} s ago` : `${Math.round(seconds / 60)} min ago`);
  }

  drawStatus(): void {
    const error = this.refusal || this.model.get('error');
    this.banner.hidden = this.link === 'live' && !error;
    setText(this.banner, this.link === 'gone' ? 'Disconnected: the kernel of this cell has ended. The ratings are safe; run the cell again to see more.'
      : this.link === 'silent' ? 'Disconnected: the kernel does not answer; it is busy or gone.' : error);
    this.tick();
  }

  draw(): void {
    const report = this.model.get('report');
    this.drawnAt = Date.now();
    const settled = report.settled;
    const verdict = settled?.verdict ?? '';
    this.chip.hidden = !settled;
    this.chip.className = `bd-chip ${verdict === 'settled' ? 'ft-good' : 'ft-quietly'}`;
    setText(this.chip, `${{ settled: '✓', undecided: '■' }[verdict] ?? '◌'} ${verdict}`);
    setText(this.why, settled ? sentence(settled.why) : '');
    this.why.hidden = !settled;
    setText(this.told, `${count(report.n, 'rating', 'ratings')} of ${report.who} · ${count(report.tasks, 'task', 'tasks')}`);
    const answered = report.raters.reduce((sum, one) => sum + one.answered, 0);
    setText(this.news, `${count(answered, 'answer', 'answers')}${verdict && verdict !== 'not settled' ? `, ${verdict}` : ''}`);
    for (const one of this.sheet.querySelectorAll('details')) this.remember(one);
    const focused = document.activeElement instanceof HTMLElement && this.sheet.contains(document.activeElement) ? document.activeElement.closest<HTMLElement>('[data-keep]')?.dataset.keep : undefined;
    fill(this.sheet,
      report.raters.length === 0 && h('p', { class: 'bd-empty ft-quietly' }, 'Nobody has rated yet. This board fills itself as ratings come in.'),
      report.raters.length > 0 && tiles(report),
      report.raters.length > 0 && h('div', { class: 'bd-columns' }, this.standing(report), agreement(report)),
      report.raters.length > 0 && raters(report),
      ...report.judges.map((one) => judge(one)),
      report.couples.length > 0 && couples(report),
      Object.values(report.left_out).some(Boolean) && leftOut(report));
    for (const one of this.sheet.querySelectorAll('details')) one.open = this.open.has(one.dataset.keep ?? '');
    const kept = focused === undefined ? null : this.sheet.querySelector<HTMLElement>(`[data-keep="${CSS.escape(focused)}"]`);
    if (focused !== undefined) (kept?.querySelector('summary') ?? kept ?? this.root).focus({ preventScroll: true });
    this.drawStatus();
  }

  private remember(one: HTMLDetailsElement): void {
    const name = one.dataset.keep ?? '';
    if (one.open) this.open.add(name);
    else this.open.delete(name);
  }

  /** The models, strongest first, or why there is no order. */
  private standing(report: Report): HTMLElement {
    if (report.mode === 'single') return means(report);
    const { ranking, controlled, gentle } = report;
    const plain = gentle ?? ranking;
    const canSwitch = plain.places.length > 0 && controlled.places.length > 0;
    const own = this.byLength && canSwitch ? controlled : plain;
    const other = this.byLength && canSwitch ? plain : controlled;
    const choose = (byLength: boolean, label: string) => h('button', { type: 'button', class: 'ft-quiet', 'data-keep': label, 'aria-pressed': String(this.byLength === byLength), onclick: () => {
      this.byLength = byLength;
      this.draw();
    } }, label);
    const length = controlled.length;
    return section('Ranking',
      canSwitch && h('div', { class: 'bd-switch', role: 'group', 'aria-label': 'Length of the answers' }, choose(false, 'As compared'), choose(true, 'Length taken out')),
      ranking.reason && h('p', { class: 'bd-refused' }, sentence(ranking.reason)),
      gentle && h('p', { class: 'ft-warn bd-note' }, `⚠ ${sentence(gentle.note)} Shown dashed.`),
      own.places.length > 0 && forest(own, other.places.length ? other : null, !!gentle, this.byLength),
      !gentle && own.note && h('p', { class: 'ft-warn bd-note' }, `⚠ ${sentence(own.note)}`),
      own.places.length > 0 && h('p', { class: 'ft-quietly bd-note' }, `Bradley and Terry’s strengths as Elo, mean 0; a difference of 100 wins ${percent(1 / (1 + 10 ** -0.25))}.${canSwitch ? ` The small grey mark: ${this.byLength ? 'as compared' : 'length taken out'}.` : ''}`,
        length?.value != null && ` Length alone, the models held apart: an answer twice as long wins ${percent(1 / (1 + Math.exp(-length.value / 3)))}.`),
      report.models.length > 1 && wins(report));
  }
}

// figures

const percent = (value: number): string => `${Math.round(100 * value)} %`;
const count = (n: number, one: string, many: string): string => `${n.toLocaleString('en')} ${n === 1 ? one : many}`;
const sentence = (text: string): string => (text ? `${text[0]!.toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}` : '');
const isShare = (name: string): boolean => !/kappa|alpha|AC1|AC2|coefficient/.test(name);
const written = (value: number, share: boolean): string => (share ? String(Math.round(100 * value)) : value.toFixed(2).replace(/^-0\.00$/, '0.00').replace('-', '−'));

/** "73 % [68, 78]", or why there is none. */
function told(one: Statistic): string {
  if (one.value === null) return one.reason;
  const share = isShare(one.name);
  const ends = one.low === null || one.high === null ? '' : ` [${written(one.low, share)}, ${written(one.high, share)}]`;
  return `${written(one.value, share)}${share ? ' %' : ''}${ends}`;
}

interface Interval { value: number | null; low: number | null; high: number | null }
interface Scale { from: number; to: number; zero?: number; bands?: [number, number, string][] }

/** A mark and its interval on a line; the words stand beside it, so that it is hidden from a screen reader. */
function track(one: Interval, scale: Scale, kind = '', behind?: Interval): HTMLElement {
  const place = (value: number) => Math.max(0, Math.min(100, (100 * (value - scale.from)) / (scale.to - scale.from)));
  const bar = (of: Interval, name: string): Child[] => of.value === null ? [] : [
    of.low !== null && of.high !== null && h('span', { class: `bd-range ${name}`, style: `left:${place(of.low)}%;width:${Math.max(0.4, place(of.high) - place(of.low))}%` }),
    h('span', { class: `bd-dot ${name}`, style: `left:${place(of.value)}%` }),
  ];
  return h('div', { class: `bd-track ${kind}`, 'aria-hidden': 'true' },
    ...(scale.bands ?? []).map(([low, high, title]) => h('span', { class: 'bd-band', title, style: `left:${place(low)}%;width:max(3px, ${place(high) - place(low)}%)` })),
    scale.zero !== undefined && h('span', { class: 'bd-zero', style: `left:${place(scale.zero)}%` }),
    ...(behind ? bar(behind, 'bd-behind') : []), ...bar(one, ''));
}

function section(title: string, ...children: Child[]): HTMLElement {
  return h('section', { class: 'bd-section', 'aria-label': title }, h('h3', { class: 'bd-title' }, title), ...children);
}

function disclosure(keep: string, title: Child, ...children: Child[]): HTMLElement {
  return h('details', { class: 'bd-more', 'data-keep': keep }, h('summary', {}, title), ...children);
}

// the needles

function tiles(report: Report): HTMLElement {
  const sum = (of: (one: Rater) => number) => report.raters.reduce((total, one) => total + of(one), 0);
  const people = report.raters.filter((one) => one.kind !== 'judge');
  const [done, asked] = [people.reduce((n, one) => n + one.answered + one.skipped + one.flagged, 0), people.reduce((n, one) => n + (one.total ?? 0), 0)];
  const isKnown = asked > 0 && people.every((one) => one.total !== null);
  const aside = [sum((one) => one.skipped) && `${sum((one) => one.skipped)} skipped`, sum((one) => one.flagged) && `${sum((one) => one.flagged)} flagged`, sum((one) => one.late) && `${sum((one) => one.late)} late`].filter(Boolean);
  const pairs = report.mode === 'pair' || report.mode === 'dialogue';
  return h('div', { class: 'bd-tiles' },
    tile('Answered', done.toLocaleString('en'), [isKnown && `of ${asked.toLocaleString('en')} to answer`, ...aside].filter(Boolean).join('; '), isKnown && h('progress', { max: Math.max(1, asked), value: done, 'aria-label': 'Answered' })),
    tile('Pace', report.pace.median_seconds === null ? '–' : `${report.pace.median_seconds.toFixed(1)} s`, report.pace.hasty.value === null ? 'times are not known' : `median; ${percent(report.pace.hasty.value)} hasty, faster than the answers can be read`),
    pairs && needle('Left preferred', report.position.share, { from: 0.25, to: 0.75, zero: 0.5, bands: [[0.47, 0.53, 'less than 3 points off']] }, side(report.position), report.position.alarm),
    pairs && needle('Longer preferred', report.longer, { from: 0, to: 1, zero: 0.5 }, report.length.value === null ? '' : `twice as long wins ${percent(1 / (1 + Math.exp(-report.length.value / 3)))}`),
    needle('The same again', report.consistency.same, { from: 0, to: 1, bands: bands('self-consistency', report.ceilings) }, `of ${count(report.consistency.same.n, 'repeat', 'repeats')}${report.consistency.followed_side ? `; ${report.consistency.followed_side} followed the side` : ''}`),
    gold(report));
}

function tile(name: string, figure: string, words: Child, ...more: Child[]): HTMLElement {
  return h('div', { class: 'bd-tile' }, h('div', { class: 'bd-label' }, name), h('div', { class: 'bd-figure' }, figure), ...more, h('div', { class: 'bd-words ft-quietly' }, words));
}

function needle(name: string, one: Statistic, scale: Scale, words: string, alarm = false): HTMLElement {
  if (one.value === null) return tile(name, '–', sentence(one.reason));
  const ends = one.low === null || one.high === null ? '' : `${written(one.low, true)} to ${written(one.high, true)} %; `;
  const made = tile(name, percent(one.value), `${ends}${words}`, track(one, scale, alarm ? 'bd-alarm' : ''));
  if (alarm) made.classList.add('bd-alarmed');
  return made;
}

function side({ p, alarm, share, enough }: Position): string {
  if (p === null) return '';
  const chance = p < 0.001 ? 'p < 0.001' : `p = ${p.toPrecision(2)}`;
  return alarm ? `${chance}. ⚠ The side decides more than chance would` : share.n < enough ? `${chance}; ${share.n.toLocaleString('en')} of the ${enough} that would show 5 points` : `${chance}; no sign of a habit`;
}

function gold(report: Report): HTMLElement {
  const known = report.raters.filter((one) => one.kind !== 'judge' && one.gold.accuracy.value !== null);
  const n = known.reduce((sum, one) => sum + one.gold.accuracy.n, 0);
  if (!n) return tile('Gold', '–', 'No gold item was answered.');
  const right = known.reduce((sum, one) => sum + (one.gold.accuracy.value ?? 0) * one.gold.accuracy.n, 0);
  const below = known.filter((one) => one.gold.flagged);
  const made = tile('Gold', percent(right / n), below.length ? `⚠ below 70 %: ${below.map((one) => one.name).join(', ')}` : `of ${n.toLocaleString('en')} as expected; a rater is flagged below 70 % of 20`,
    track({ value: right / n, low: null, high: null }, { from: 0, to: 1, bands: [[0.7, 1, 'as it should be']] }));
  if (below.length) made.classList.add('bd-alarmed');
  return made;
}

/** Seconds an answer, over the answers that each rater gave. */
function curves(report: Report): HTMLElement | false {
  const all = Object.entries(report.over_time).filter(([, spots]) => spots.length > 2).slice(0, 6);
  if (!all.length) return false;
  const spots = all.flatMap(([, own]) => own);
  const [most, top] = [Math.max(...spots.map(([n]) => n)), Math.max(...spots.map(([, seconds]) => seconds)) || 1];
  const drawing = svg('svg', { viewBox: '0 0 100 100', preserveAspectRatio: 'none', class: 'bd-curves', 'aria-hidden': 'true' });
  all.forEach(([, own], n) => drawing.append(svg('polyline', { points: own.map(([at, seconds]) => `${((100 * at) / most).toFixed(2)},${(99 - (97 * seconds) / top).toFixed(2)}`).join(' '), class: `bd-line-${n}`, 'vector-effect': 'non-scaling-stroke' })));
  const words = all.map(([name, own]) => `${name} from ${own[0]![1].toFixed(1)} to ${own.at(-1)![1].toFixed(1)} s`).join('; ');
  return h('figure', { class: 'bd-pace' },
    h('figcaption', {}, h('span', { class: 'bd-measure-name' }, 'Pace'), ...all.map(([name], n) => h('span', { class: 'bd-legend' }, keyOf(n), name)), h('span', { class: 'ft-unseen' }, words)),
    h('div', { class: 'bd-plot' }, h('span', { class: 'bd-top ft-quietly' }, `${top.toFixed(top < 10 ? 1 : 0)} s`), h('span', { class: 'bd-bottom ft-quietly' }, '0'), drawing, h('span', { class: 'bd-end ft-quietly' }, `${count(most, 'answer', 'answers')}`)));
}

function keyOf(n: number): SVGElement {
  const key = svg('svg', { viewBox: '0 0 22 6', class: 'bd-swatch', 'aria-hidden': 'true' });
  key.append(svg('line', { x1: '0', x2: '22', y1: '3', y2: '3', class: `bd-line-${n}` }));
  return key;
}

function svg(tag: string, attributes: Record<string, string>): SVGElement {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// ranking

function forest(own: Ranking, other: Ranking | null, dashed: boolean, byLength: boolean): HTMLElement {
  const ends = [...own.places, ...(other?.places ?? [])].flatMap((one) => [one.elo, one.elo_low ?? one.elo, one.elo_high ?? one.elo]);
  const room = 0.04 * (Math.max(...ends) - Math.min(...ends)) || 10;
  const scale = { from: Math.min(0, ...ends) - room, to: Math.max(0, ...ends) + room, zero: 0 };
  const interval = (one: Place): Interval => ({ value: one.elo, low: one.elo_low, high: one.elo_high });
  const signed = (value: number) => `${value < 0 ? '−' : '+'}${Math.abs(Math.round(value))}`;
  return h('table', { class: `bd-forest${dashed ? ' bd-dashed' : ''}${byLength ? ' bd-second' : ''}` },
    h('thead', { class: 'ft-unseen' }, h('tr', {}, ...['Place', 'Model', 'Chart', 'Elo and interval', 'Comparisons'].map((name) => h('th', { scope: 'col' }, name)))),
    h('tbody', {}, ...own.places.map((one, n) => {
      const beside = other?.places.find(({ model }) => model === one.model);
      const gap = own.separated[n];
      return h('tr', { 'data-model': one.model },
        h('td', { class: 'bd-place' }, n + 1),
        h('th', { scope: 'row', class: 'bd-model' }, one.model, gap !== undefined && h('span', { class: `bd-gap ${gap ? 'ft-good' : 'ft-quietly'}` }, gap ? '✓ clear of the next' : '~ not clear of the next')),
        h('td', { class: 'bd-chart' }, track(interval(one), scale, '', beside && interval(beside))),
        h('td', { class: 'bd-number' }, h('b', {}, signed(one.elo)), one.elo_low !== null && one.elo_high !== null && h('span', { class: 'ft-quietly' }, ` ${signed(one.elo_low)} to ${signed(one.elo_high)}`)),
        h('td', { class: 'bd-number ft-quietly bd-n' }, `n ${(one.wins + one.losses).toLocaleString('en')}`));
    })));
}

function means(report: Report): HTMLElement {
  return section('Ratings by model', ...[...new Set(report.means.map(({ what }) => what))].map((what) => {
    const rows = report.means.filter((one) => one.what === what).sort((a, b) => (b.value ?? 0) - (a.value ?? 0));
    const scale = what.startsWith('thumbs') ? { from: 0, to: 1, zero: 0.5 } : { from: 1, to: 7, zero: 4 };
    return h('div', {}, h('p', { class: 'ft-quietly bd-note' }, sentence(what)), h('table', { class: 'bd-forest' }, h('tbody', {}, ...rows.map((one) => h('tr', {},
      h('th', { scope: 'row', class: 'bd-model' }, one.model), h('td', { class: 'bd-chart' }, track(one, scale)),
      h('td', { class: 'bd-number' }, h('b', {}, one.value === null ? '–' : one.value.toFixed(2)), one.low !== null && one.high !== null && h('span', { class: 'ft-quietly' }, ` ${one.low.toFixed(2)} to ${one.high.toFixed(2)}`)),
      h('td', { class: 'bd-number ft-quietly bd-n' }, `n ${one.n.toLocaleString('en')}`))))));
  }), !report.means.length && h('p', { class: 'ft-quietly' }, 'No ratings yet.'));
}

function wins({ models, wins: table }: Report): HTMLElement {
  const shown = models.slice(0, 12);
  const cell = (i: number, j: number) => {
    const [won, lost] = [table[i]?.[j] ?? 0, table[j]?.[i] ?? 0];
    if (i === j || !(won + lost)) return h('td', { class: 'ft-quietly' }, '–');
    return h('td', { style: `--bd-heat:${((45 * won) / (won + lost)).toFixed(0)}%` }, `${won} of ${won + lost}`);
  };
  const name = 'Who was preferred to whom';
  return disclosure('wins', name,
    scroller(name, h('table', { class: 'bd-matrix' },
      h('thead', {}, h('tr', {}, h('td', {}), ...shown.map((model) => h('th', { scope: 'col' }, model)))),
      h('tbody', {}, ...shown.map((model, i) => h('tr', {}, h('th', { scope: 'row' }, model), ...shown.map((_, j) => cell(i, j))))))),
    h('p', { class: 'ft-quietly bd-note' }, `The row’s model over the column’s; a tie is half for each.${models.length > 12 ? ` The first 12 of ${models.length} models.` : ''}`));
}

// agreement

const bands = (name: string, ceilings: Ceiling[]): [number, number, string][] => people(name, ceilings).map((one) => [one.low, one.high, `${one.name}: ${one.source}`]);

function people(name: string, ceilings: Ceiling[]): Ceiling[] {
  const measure = MEASURES[name] ?? (/alpha/.test(name) ? 'alpha' : /kappa/.test(name) ? 'kappa' : '');
  return ceilings.filter((one) => one.measure === measure);
}

function agreement(report: Report): HTMLElement {
  const from = Math.min(0, ...report.agreement.map((one) => Math.max(-1, one.low ?? one.value ?? 0)));
  const shown = new Set<string>();
  const reasons = new Set(report.agreement.map((one) => (one.value === null ? one.reason : '')));
  const [only] = reasons;
  if (reasons.size === 1 && only) {
    const none = section('Agreement', h('p', { class: 'ft-quietly' }, sentence(only)));
    none.classList.add('bd-nothing'); // no column for a single line
    return none;
  }
  return section('Agreement', h('p', { class: 'ft-quietly bd-note' }, h('span', { class: 'bd-key', 'aria-hidden': 'true' }), ' what people reach elsewhere, for comparison and no bar to pass'),
    ...report.agreement.map((one) => {
      const found = people(one.name, report.ceilings);
      const fresh = found.filter(({ name, measure }) => !shown.has(name + measure));
      for (const { name, measure } of fresh) shown.add(name + measure);
      return h('div', { class: 'bd-measure' },
        h('div', { class: 'bd-measure-head' }, h('span', { class: 'bd-measure-name' }, sentence(one.name).slice(0, -1)), h('span', { class: one.value === null ? 'ft-quietly bd-why-not' : 'bd-number' }, one.value === null ? one.reason : h('b', {}, told(one)), one.value !== null && h('span', { class: 'ft-quietly' }, ` n ${one.n.toLocaleString('en')}`))),
        one.value !== null && track(one, { from, to: 1, zero: from < 0 ? 0 : undefined, bands: bands(one.name, report.ceilings) } as Scale),
        one.value !== null && fresh.length > 0 && h('div', { class: 'bd-people ft-quietly' }, fresh.map((row) => `${row.name} ${row.low === row.high ? written(row.low, isShare(one.name)) : `${written(row.low, isShare(one.name))}–${written(row.high, isShare(one.name))}`}${isShare(one.name) ? ' %' : ''}`).join(' · ')),
        one.value !== null && one.reason && h('div', { class: 'bd-people ft-quietly' }, sentence(one.reason)));
    }));
}

// raters

function raters(report: Report): HTMLElement {
  const heads = ['Rater', 'Answered', 'Median', 'Hasty', 'Left', 'The same again', 'Gold'];
  return section('Raters', h('table', { class: 'bd-raters' },
    h('thead', {}, h('tr', {}, ...heads.map((name) => h('th', { scope: 'col' }, name)))),
    h('tbody', {}, ...report.raters.slice(0, 200).map((one) => {
      const done = one.answered + one.skipped + one.flagged;
      const cell = (n: number, ...children: Child[]) => h('td', { 'data-head': heads[n] }, ...children);
      return h('tr', {},
        h('th', { scope: 'row', class: 'bd-rater' }, one.name, h('span', { class: 'ft-quietly bd-kind' }, one.kind)),
        cell(1, one.total !== null && h('progress', { max: Math.max(1, one.total), value: done, 'aria-label': `Answered by ${one.name}` }), h('span', { class: 'bd-number' }, one.total === null ? done.toLocaleString('en') : `${done.toLocaleString('en')} of ${one.total.toLocaleString('en')}`)),
        cell(2, one.pace.median_seconds === null ? '–' : `${one.pace.median_seconds.toFixed(1)} s`),
        cell(3, share(one.pace.hasty)),
        cell(4, share(one.position.share, one.position.alarm ? 'the side decides' : '')),
        cell(5, share(one.consistency.same)),
        cell(6, share(one.gold.accuracy, one.gold.flagged ? 'below 70 %' : '')));
    }))), report.raters.length > 200 && h('p', { class: 'ft-quietly' }, `The first 200 of ${report.raters.length}.`), curves(report));
}

function share(one: Statistic, alarm = ''): HTMLElement {
  if (one.value === null) return h('span', { class: 'ft-quietly', title: one.reason }, '–', h('span', { class: 'ft-unseen' }, one.reason));
  return h('span', { class: alarm ? 'ft-bad' : '', title: told(one) }, alarm ? '⚠ ' : '', h('b', {}, percent(one.value)), h('span', { class: 'ft-quietly' }, ` of ${one.n.toLocaleString('en')}`), alarm && h('span', {}, ` ${alarm}`));
}

function couples(report: Report): HTMLElement {
  return section('Raters side by side',
    ...report.couples.slice(0, 12).map((one) => disclosure(`couple ${one.a} ${one.b}`,
      h('span', {}, h('b', {}, `${one.a} and ${one.b}`), ` agree on ${told(one.percent)} of ${count(one.percent.n, 'task', 'tasks')}; κ ${told(one.kappa)}`),
      scroller(`${one.a} and ${one.b}`, confusion(one)))),
    report.couples.length > 12 && h('p', { class: 'ft-quietly bd-note' }, `The 12 with most tasks in common, of ${report.couples.length}.`));
}

function confusion(one: Couple): HTMLElement {
  const most = Math.max(1, ...one.table.flat());
  const cell = (n: number) => h('td', { style: `--bd-heat:${((45 * n) / most).toFixed(0)}%` }, n);
  return h('table', { class: 'bd-matrix' },
    h('thead', {}, h('tr', {}, h('td', { class: 'ft-quietly' }, `${one.a} ↓ ${one.b} →`), ...one.values.map((name) => h('th', { scope: 'col' }, name)))),
    h('tbody', {}, ...one.values.map((name, i) => h('tr', {}, h('th', { scope: 'row' }, name), ...(one.table[i] ?? []).map(cell)))));
}

/** What is wider than the page can be scrolled, by keys as well. */
function scroller(name: string, table: HTMLElement): HTMLElement {
  return h('div', { class: 'bd-scroll', tabindex: '0', role: 'region', 'aria-label': name }, table);
}

// judges

function judge(one: Judge): HTMLElement {
  const { agreement: all, decided, kappa, bins } = one.calibration;
  const line = (of: Statistic, name: string) => h('div', { class: 'bd-measure' },
    h('div', { class: 'bd-measure-head' }, h('span', { class: 'bd-measure-name' }, name), h('span', { class: 'bd-number' }, h('b', {}, told(of)), h('span', { class: 'ft-quietly' }, ` n ${of.n.toLocaleString('en')}`))),
    of.value !== null && track(of, { from: Math.min(0, of.low ?? 0), to: 1, zero: isShare(of.name) ? 0.5 : 0 }));
  return section(`${one.name} beside persons`,
    h('div', { class: 'bd-columns' },
      h('div', {}, line(all, 'Agrees, a tie as a third answer'), line(decided, 'Agrees where both prefer one'), line(kappa, 'Cohen’s κ')),
      h('div', {}, h('p', { class: 'bd-measure-name' }, 'Where the judge is surer'), bins.length ? h('table', { class: 'bd-forest' }, h('tbody', {}, ...bins.map((bin) => h('tr', {},
        h('th', { scope: 'row', class: 'bd-group' }, STRENGTHS[bin.group] ?? `sure ${bin.group}`), h('td', { class: 'bd-chart' }, track({ value: bin.rate, low: bin.low, high: bin.high }, { from: 0, to: 1, zero: 0.5 })),
        h('td', { class: 'bd-number' }, h('b', {}, percent(bin.rate)), h('span', { class: 'ft-quietly' }, ` of ${bin.n.toLocaleString('en')}`)))))) : h('p', { class: 'ft-quietly' }, 'No task was decided by both.'))),
    one.disagreements.length > 0 && h('p', { class: 'bd-measure-name' }, `${count(one.disagree, 'task', 'tasks')} on which they prefer opposite answers${one.disagree > one.disagreements.length ? `; the ${one.disagreements.length} of which both are surest` : ''}`),
    ...folded(one, one.disagreements.map((row) => disclosure(`${one.name} ${row.position}`, h('span', { class: 'bd-line' }, h('span', { class: 'ft-quietly' }, `task ${row.position} `), row.prompt.replace(/\s+/g, ' ').slice(0, 140)),
      h('div', { class: 'bd-prompt ft-text' }, row.prompt),
      h('div', { class: 'bd-pair' }, answer('Persons prefer', row.preferred), answer(`${one.name} prefers`, row.instead))))));
}

/** The first few in sight, the others a click away. */
function folded(one: Judge, rows: HTMLElement[]): HTMLElement[] {
  const few = 5;
  return rows.length <= few + 1 ? rows : [...rows.slice(0, few), disclosure(`${one.name} others`, `The other ${rows.length - few}`, h('div', { class: 'bd-inner' }, ...rows.slice(few)))];
}

function answer(head: string, { model, text }: Answer): HTMLElement {
  return h('article', { class: 'ft-card bd-answer' }, h('div', { class: 'bd-answer-head' }, head, h('span', { class: 'ft-quietly' }, ` · ${model}`)), h('div', { class: 'ft-text bd-answer-text', tabindex: '0' }, text.trim() ? text : h('em', { class: 'ft-quietly' }, '(empty answer)')));
}

function leftOut(report: Report): HTMLElement {
  const parts = Object.entries(report.left_out).filter(([, n]) => n).map(([reason, n]) => `${n.toLocaleString('en')} ${reason}`);
  return h('p', { class: 'ft-quietly bd-note' }, `Not counted in ranking, agreement and bias: ${parts.join(', ')}.`);
}

export default {
  render({ model, el, signal }: Scene<Traits>): void {
    const channel = new Channel(model as unknown as Model<object>, signal);
    const desk = new Desk(model, channel, signal);
    el.append(desk.root);
    ownKeys(desk.root, () => false, signal);
    observe(model, ['report', 'batch'], () => desk.draw(), signal);
    observe(model, ['behind', 'error'], () => desk.drawStatus(), signal);
  },
};
