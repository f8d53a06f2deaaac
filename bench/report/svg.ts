/** Charts as SVG text: no script, no network, legible in print. */

const WIDTH = 720;
const HEIGHT = 300;
const LEFT = 56;
const RIGHT = 12;
const TOP = 14;
const BOTTOM = 40;
/** Told apart without colour vision (Okabe and Ito). */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#555555'];

export interface Line {
  name: string;
  /** Drawn broken: a yardstick, not the gateway. */
  isDashed?: boolean;
  /** `x` is the place of its tick. */
  points: { x: number; y: number; low?: number; high?: number; title: string }[];
}

export function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}

/** Lines over ticks that stand apart equally. */
export function lineChart(ticks: readonly string[], lines: readonly Line[], unit: string): string {
  const drawn = lines.filter(({ points }) => points.length > 0);
  const values = drawn.flatMap(({ points }) => points.map(({ y, high = y }) => Math.max(y, high)));
  const scale = axis(Math.max(...values, 0));
  const xOf = (tick: number) =>
    LEFT + ((tick + 0.5) * (WIDTH - LEFT - RIGHT)) / Math.max(ticks.length, 1);
  const body = drawn.map(({ points, isDashed }, index) => {
    const colour = COLOURS[index % COLOURS.length]!;
    const path = points.map(({ x, y }) => `${xOf(x)},${scale.yOf(y)}`).join(' ');
    const dash = isDashed ? ' stroke-dasharray="5 4"' : '';
    const marks = points.map(({ x, y, low = y, high = y, title }) => {
      const spread = `<line x1="${xOf(x)}" x2="${xOf(x)}" y1="${scale.yOf(low)}" y2="${scale.yOf(high)}" stroke="${colour}" opacity="0.5"/>`;
      const mark = `<circle cx="${xOf(x)}" cy="${scale.yOf(y)}" r="4" fill="${colour}"><title>${escapeText(title)}</title></circle>`;
      return spread + mark;
    });
    const line = `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"${dash}/>`;
    return line + marks.join('');
  });
  const labels = ticks.map((text, index) => tickLabel(xOf(index), text));
  return frame(scale.svg + labels.join('') + body.join(''), unit) + legend(drawn);
}

export interface Bar {
  label: string;
  parts: { name: string; value: number }[];
}

/** Bars whose parts stand on each other. */
export function stackedBars(bars: readonly Bar[], unit: string): string {
  const names = [...new Set(bars.flatMap(({ parts }) => parts.map(({ name }) => name)))];
  const sum = ({ parts }: Bar) => parts.reduce((total, { value }) => total + value, 0);
  const scale = axis(Math.max(...bars.map(sum), 0));
  const slot = (WIDTH - LEFT - RIGHT) / Math.max(bars.length, 1);
  const width = Math.min(64, slot * 0.6);
  const body = bars.map((bar, index) => {
    const middle = LEFT + (index + 0.5) * slot;
    let base = 0;
    const parts = bar.parts.map(({ name, value }) => {
      const top = scale.yOf(base + value);
      const height = scale.yOf(base) - top;
      base += value;
      const colour = COLOURS[names.indexOf(name) % COLOURS.length]!;
      const title = escapeText(`${bar.label}, ${name}: ${value.toFixed(2)} ${unit}`);
      return `<rect x="${middle - width / 2}" y="${top}" width="${width}" height="${height}" fill="${colour}"><title>${title}</title></rect>`;
    });
    return parts.join('') + tickLabel(middle, bar.label);
  });
  return frame(scale.svg + body.join(''), unit) + legend(names.map((name) => ({ name })));
}

/** A vertical axis from zero to a round number. */
function axis(greatest: number): { yOf: (value: number) => number; svg: string } {
  const step = roundUp((greatest || 1) / 5);
  const top = Math.ceil((greatest || 1) / step) * step;
  const yOf = (value: number) => round(HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM));
  const lines: string[] = [];
  for (let value = 0; value <= top * 1.0001; value += step) {
    const y = yOf(value);
    lines.push(
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y}" y2="${y}" class="grid"/>` +
        `<text x="${LEFT - 6}" y="${y + 4}" text-anchor="end">${Number(value.toPrecision(3))}</text>`,
    );
  }
  return { yOf, svg: lines.join('') };
}

/** The next of 1, 2, 5 times a power of ten. */
function roundUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  const digit = [1, 2, 5, 10].find((each) => each * power >= value * 0.9999) ?? 10;
  return digit * power;
}

const round = (value: number) => Math.round(value * 10) / 10;

function tickLabel(x: number, text: string): string {
  const y = HEIGHT - BOTTOM + 18;
  return `<text x="${round(x)}" y="${y}" text-anchor="middle">${escapeText(text)}</text>`;
}

function frame(content: string, unit: string): string {
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeText(unit)}">${content}</svg>`;
}

function legend(lines: readonly { name: string; isDashed?: boolean }[]): string {
  const items = lines.map(({ name, isDashed }, index) => {
    const style = isDashed ? 'dashed' : 'solid';
    const colour = COLOURS[index % COLOURS.length]!;
    return `<li><span style="border-top:3px ${style} ${colour}"></span>${escapeText(name)}</li>`;
  });
  return `<ul class="legend">${items.join('')}</ul>`;
}
