import { useMemo, useState } from 'preact/hooks';
import { withQuery } from '../data/api.js';
import { now } from '../data/live.js';
import { useQuery } from '../data/query.js';
import type { History } from '../data/types.js';
import { bytes, count, perSecond } from '../lib/format.js';
import { beginOf, pastOf, SPANS, type Span } from '../lib/past.js';
import { typeColor, typeName } from '../lib/types.js';
import { Card, Missing, TypeTag } from './basics.js';
import { BITS, Chart } from './chart.js';
import { Segments } from './field.js';
import { Table } from './table.js';

const REFRESH_MS = 60_000;
const HEIGHT = 200;
const SPAN_OPTIONS = Object.entries(SPANS).map(([name, { text }]) => [name, text] as const);

/** A sensor's past by type: rates, and for days what came on each. */
export function PastCard({ path }: { path: string }) {
  const [span, setSpan] = useState<Span>('day');
  const [unit, setUnit] = useState<'bytes' | 'frames'>('bytes');
  // To the minute, so that a question stays the same for a while.
  const minute = Math.floor(now.value / REFRESH_MS);
  const from = new Date(beginOf(span, minute * REFRESH_MS)).toISOString();
  const { data, error } = useQuery<History>(
    withQuery(path, { unit: SPANS[span].unit, from }),
    REFRESH_MS,
  );
  const { stepSeconds } = SPANS[span];
  const past = useMemo(
    () => (data && data.unit === SPANS[span].unit ? pastOf(data, span) : undefined),
    [data, span],
  );
  const isDays = SPANS[span].unit === 'day';
  const isBits = unit === 'bytes' && !isDays;
  const scale = isDays ? 1 : 1 / stepSeconds;
  const format = isDays ? (unit === 'bytes' ? bytes : count) : perSecond;
  const series = useMemo(
    () =>
      (past?.types ?? []).map((one) => ({
        label: typeName(one.type),
        color: typeColor(one.type),
        values: one[unit].map((value) => value * scale),
      })),
    [past, unit, scale],
  );
  return (
    <Card
      title="Traffic"
      note={isDays ? 'by day and type' : 'by type'}
      actions={
        <>
          <Segments
            label="Unit"
            value={unit}
            options={[
              ['bytes', 'Bytes'],
              ['frames', 'Frames'],
            ]}
            onText={(value) => setUnit(value as 'bytes' | 'frames')}
          />
          <Segments
            label="Span"
            value={span}
            options={SPAN_OPTIONS}
            onText={(value) => setSpan(value as Span)}
          />
        </>
      }
    >
      {past === undefined ? (
        <Missing error={error} />
      ) : past.types.length === 0 ? (
        <p class="empty">
          {isDays
            ? 'Nothing came in this time.'
            : `Nothing came in a whole ${SPANS[span].unit} of this time; the one at hand shows when it is over.`}
        </p>
      ) : (
        <>
          <Chart
            key={`${span} ${unit}`}
            label={`${unit} by type over ${SPANS[span].text}; the sums are in the table below`}
            times={past.times}
            series={series}
            form={span === 'quarter' ? 'bars' : 'area'}
            format={format}
            {...(isBits ? BITS : {})}
            isBinary={unit === 'bytes' && isDays}
            height={HEIGHT}
            version={minute}
            spanSeconds={isDays ? stepSeconds : 0}
          />
          <Table
            caption={`Sums of ${SPANS[span].text} by type`}
            rows={past.types}
            keyOf={({ type }) => type}
            columns={[
              { name: 'Type', cell: ({ type }) => <TypeTag type={type} /> },
              { name: 'Bytes', isNumber: true, cell: (one) => bytes(sum(one.bytes)) },
              { name: 'Frames', isNumber: true, cell: (one) => count(sum(one.frames)) },
            ]}
            empty=""
          />
        </>
      )}
    </Card>
  );
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
