import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { isDark } from '../data/theme.js';
import { bits, localTime, utcTime } from '../lib/format.js';

const DAY_SECONDS = 86_400;

export interface ChartSeries {
  label: string;
  /** A CSS variable. */
  color: string;
  values: readonly number[];
}

export interface ChartProps {
  /** What is shown, for who cannot see it. */
  label: string;
  /** Seconds since the epoch. */
  times: readonly number[];
  /** Drawn on top of each other, the first at the bottom. */
  series: readonly ChartSeries[];
  form: 'area' | 'bars';
  /** Of what is drawn, with its unit. */
  format: (value: number) => string;
  /** What is drawn is so many times the values. */
  factor?: number;
  /** The unit has steps of 1024. */
  isBinary?: boolean;
  height: number;
  /** Raised when the arrays have other content. */
  version: number;
  /** Seconds that one bar stands for. */
  spanSeconds?: number;
  /** What the axis of time spans at least, up to the newest. */
  leastSeconds?: number;
  /** What the axis of values reaches at least. */
  leastMax?: number;
}

/** Bytes a second, drawn as bits. */
export const BITS = {
  factor: 8,
  format: (value: number) => bits(value / 8),
  leastMax: 1_000,
};
const POWERS_OF_TWO = Array.from({ length: 60 }, (_, index) => 2 ** index);

/** Resolves a variable: the canvas knows none. */
function colorOf(variable: string): string {
  const probe = document.createElement('span');
  probe.style.color = `var(${variable})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

const faded = (color: string, alpha: number) =>
  color.replace(/^rgb\((.*)\)$/, (_, parts: string) => `rgba(${parts}, ${alpha})`);

/** Each series raised by those below it, the topmost first: it is drawn first, and painted over. */
function stackOf({ times, series, factor = 1 }: ChartProps): uPlot.AlignedData {
  const sums = new Array<number>(times.length).fill(0);
  const stacked = series.map(({ values }) =>
    values.map((value, index) => {
      sums[index] = (sums[index] ?? 0) + value * factor;
      return sums[index]!;
    }),
  );
  return [[...times], ...stacked.reverse()] as uPlot.AlignedData;
}

/** Amounts by type over time, stacked. A legend under it follows the pointer. */
export function Chart(props: ChartProps) {
  const { label, times, series, height, version } = props;
  const host = useRef<HTMLDivElement>(null);
  const legend = useRef<HTMLParagraphElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const newest = useRef(props);
  newest.current = props;
  const dark = isDark.value;
  const names = series.map(({ label: own }) => own).join();

  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const options = optionsOf(newest, legend, element.clientWidth, height);
    const made = new uPlot(options, stackOf(newest.current), element);
    plot.current = made;
    const observer = new ResizeObserver(() => {
      made.setSize({ width: element.clientWidth, height });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = undefined;
    };
  }, [names, dark, height, props.form, props.spanSeconds]);

  useEffect(() => {
    plot.current?.setData(stackOf(newest.current));
  }, [version, times.length]);

  return (
    <figure class="chart">
      <div ref={host} role="img" aria-label={label} style={{ minHeight: `${height}px` }} />
      <p ref={legend} class="chart-legend" aria-hidden="true" />
    </figure>
  );
}

function optionsOf(
  newest: { current: ChartProps },
  legend: { current: HTMLParagraphElement | null },
  width: number,
  height: number,
): uPlot.Options {
  const { series, form, isBinary = false, spanSeconds = 0 } = newest.current;
  const { leastSeconds = 60, leastMax = 1 } = newest.current;
  const axis = { stroke: colorOf('--muted'), font: '11px "Inter Variable", sans-serif' };
  const line = colorOf('--line');
  const drawn = [...series].reverse();
  const bars = uPlot.paths.bars?.({ size: [0.8, 40], align: 1 });
  return {
    width,
    height,
    legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
    scales: {
      x: {
        time: true,
        range: (_, min, max) => [Math.min(min, max - leastSeconds), max + spanSeconds],
      },
      y: { range: (_, __, max) => [0, Math.max(max * 1.08, leastMax)] },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        ticks: { stroke: line, size: 4 },
        space: 76,
        size: 26,
        values: (_, ticks, __, ___, step) =>
          ticks.map((tick) => {
            const [day, time] = localTime(tick * 1000).split(' ');
            return step >= DAY_SECONDS || time === '00:00:00' ? day!.slice(5) : time!.slice(0, 5);
          }),
      },
      {
        ...axis,
        grid: { stroke: line, width: 1 },
        ticks: { show: false },
        size: 74,
        space: 28,
        ...(isBinary ? { incrs: POWERS_OF_TWO } : {}),
        values: (_, ticks) => ticks.map((tick) => short(newest.current.format(tick))),
      },
    ],
    series: [
      {},
      ...drawn.map(({ label, color }) => {
        const stroke = colorOf(color);
        return {
          label,
          stroke,
          width: 1,
          fill: form === 'bars' ? stroke : faded(stroke, 0.85),
          points: { show: false },
          ...(form === 'bars' && bars ? { paths: bars } : {}),
        };
      }),
    ],
    hooks: {
      setCursor: [({ cursor: { idx } }) => tell(newest.current, legend.current, idx)],
      setData: [({ cursor: { idx } }) => tell(newest.current, legend.current, idx)],
      ready: [({ cursor: { idx } }) => tell(newest.current, legend.current, idx)],
    },
  };
}

/** `8.00 Mbps` → `8 Mbps`. */
function short(text: string): string {
  return text.replace(/(\.\d*?)0+(?=[ /])/, '$1').replace(/\.(?=[ /])/, '');
}

/** Says what stands at the pointer, or last. */
function tell(
  { times, series, format, factor = 1, spanSeconds = 0 }: ChartProps,
  element: HTMLElement | null,
  index: number | null | undefined,
): void {
  if (!element) return;
  const at = index ?? times.length - 1;
  const time = times[at];
  if (time === undefined) {
    element.replaceChildren('Nothing came yet.');
    return;
  }
  const when = document.createElement('span');
  when.className = 'muted num';
  const utc = utcTime(time * 1000);
  // Days are those of UTC.
  when.textContent = spanSeconds < DAY_SECONDS ? localTime(time * 1000) : `${utc.slice(0, 10)} UTC`;
  when.title = utc;
  const items = series.map(({ label, color, values }) => {
    const item = document.createElement('span');
    item.className = 'legend-item';
    const swatch = document.createElement('span');
    swatch.className = 'swatch';
    swatch.style.background = `var(${color})`;
    item.append(swatch, `${label} `, format((values[at] ?? 0) * factor));
    return item;
  });
  element.replaceChildren(when, ...items);
}
