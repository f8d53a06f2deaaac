import { link, overview, points, recent } from '../data/live.js';
import type { Overview as OverviewData } from '../data/types.js';
import { bits, bytes, count, duration, percent, perSecond, shortCount } from '../lib/format.js';
import { typeColor, typeName } from '../lib/types.js';
import { Badge, Card, Meter, Missing, Stat, Time, Title, TypeTag } from '../parts/basics.js';
import { BITS, Chart } from '../parts/chart.js';
import { SinkState } from '../parts/sink.js';
import { Table } from '../parts/table.js';
import { Attention } from './attention.js';

const CHART_HEIGHT = 170;
const HOUR_SECONDS = 3_600;

export function Overview() {
  const state = overview.value;
  if (!state) {
    const isAway = link.value.kind === 'away';
    return <Missing error={isAway ? 'The gateway does not answer.' : undefined} />;
  }
  const { gateway } = state;
  const up = (Date.parse(state.at) - Date.parse(gateway.startedAt)) / 1000;
  return (
    <>
      <Title text="Overview" note={`d4-gateway ${gateway.version}, up for ${duration(up)}`} />
      <Attention state={state} />
      <Stats state={state} />
      <div class="grid two-one">
        <Traffic />
        <div class="column">
          <Types state={state} />
          <RejectReasons state={state} />
        </div>
      </div>
      <div class="grid halves">
        <Sinks state={state} />
        <Workers state={state} />
      </div>
    </>
  );
}

const sum = (values: Iterable<number>) => [...values].reduce((total, value) => total + value, 0);
const received = (state: OverviewData, unit: 'bytes' | 'frames') =>
  sum(Object.values(state.received).map((amount) => amount[unit]));
const rejected = (state: OverviewData) =>
  sum(Object.values(state.rejected).map(({ frames }) => frames));
const refused = (state: OverviewData) => sum(Object.values(state.refused));

function Stats({ state }: { state: OverviewData }) {
  const { sessions, connections, sensors, ledger } = state;
  const rejects = rejected(state) + refused(state);
  const rate = recent.rate((one) => rejected(one) + refused(one));
  return (
    <dl class="stats">
      <Stat
        label="Throughput"
        value={bits(recent.rate((one) => received(one, 'bytes')))}
        note={`${bytes(received(state, 'bytes'))} since the start`}
      />
      <Stat
        label="Frames"
        value={perSecond(recent.rate((one) => received(one, 'frames')))}
        note={`${shortCount(received(state, 'frames'))} since the start`}
      />
      <Stat label="Sessions" value={count(sessions)} note={`${count(connections)} connections`} />
      <Stat
        label="Sensors"
        value={count(sensors.approved)}
        note={`${count(sensors.pending)} pending, ${count(sensors.blocked)} blocked`}
        href="/sensors"
      />
      <Stat
        label="Rejects"
        value={perSecond(rate)}
        note={`${shortCount(rejects)} since the start`}
        tone={rate > 0 ? 'warn' : 'quiet'}
        href="/rejects"
      />
      <Stat
        label="Ledger"
        value={ledger === null ? 'not checked' : ledger.balanced ? 'balances' : 'out of balance'}
        tone={ledger === null ? 'quiet' : ledger.balanced ? 'ok' : 'crit'}
        note={
          ledger === null ? (
            'within a minute of the start'
          ) : ledger.balanced ? (
            <>
              checked <Time at={ledger.at} />
            </>
          ) : (
            `in ${count(ledger.imbalances)} places: see d4gw ledger`
          )
        }
      />
    </dl>
  );
}

function Traffic() {
  const version = points.value;
  const types = [...recent.types.keys()].sort((a, b) => Number(a) - Number(b));
  const linesOf = (unit: 'bytes' | 'frames') =>
    types.map((type) => ({
      label: typeName(type),
      color: typeColor(type),
      values: recent.types.get(type)![unit],
    }));
  return (
    <Card title="Last hour" note="by type, in steps of 5 s">
      <h3>Throughput</h3>
      <Chart
        label="Throughput of the last hour by type; the figures of now are in the table By type"
        times={recent.times}
        series={linesOf('bytes')}
        form="area"
        {...BITS}
        height={CHART_HEIGHT}
        leastSeconds={HOUR_SECONDS}
        version={version}
      />
      <h3>Frames</h3>
      <Chart
        label="Frames per second of the last hour by type"
        times={recent.times}
        series={linesOf('frames')}
        form="area"
        format={perSecond}
        height={CHART_HEIGHT}
        leastSeconds={HOUR_SECONDS}
        version={version}
      />
    </Card>
  );
}

function Types({ state }: { state: OverviewData }) {
  const rows = Object.entries(state.received).map(([type, amount]) => ({
    type,
    ...amount,
    bytesRate: recent.rate((one) => one.received[type]?.bytes ?? 0),
    framesRate: recent.rate((one) => one.received[type]?.frames ?? 0),
  }));
  return (
    <Card title="By type">
      <Table
        caption="Received by D4 type"
        rows={rows}
        keyOf={({ type }) => type}
        columns={[
          { name: 'Type', cell: ({ type }) => <TypeTag type={type} /> },
          { name: 'Rate', isNumber: true, cell: ({ bytesRate }) => bits(bytesRate) },
          { name: 'Frames', isNumber: true, cell: ({ framesRate }) => perSecond(framesRate) },
          { name: 'In all', isNumber: true, cell: (row) => bytes(row.bytes) },
        ]}
        empty="Nothing was received since the gateway began."
      />
    </Card>
  );
}

function Sinks({ state }: { state: OverviewData }) {
  return (
    <Card title="Sinks" actions={<a href="/relays">Relays and spools</a>}>
      <Table
        caption="Sinks"
        rows={state.sinks}
        keyOf={({ name }) => name}
        columns={[
          {
            name: 'Sink',
            cell: ({ name, kind }) => (
              <>
                {name} <span class="muted">{kind}</span>
              </>
            ),
          },
          { name: 'State', cell: (sink) => <SinkState sink={sink} /> },
          {
            name: 'Rate',
            isNumber: true,
            cell: ({ name }) =>
              bits(recent.rate(({ sinks }) => sinkNamed(sinks, name)?.delivered.bytes ?? 0)),
          },
          {
            name: 'Lag',
            isNumber: true,
            cell: ({ lagSeconds }) => (lagSeconds === null ? '–' : duration(lagSeconds)),
          },
          {
            name: 'Spool',
            priority: 1,
            cell: ({ name, spool }) =>
              spool ? (
                <Meter
                  label={`Spool of ${name}`}
                  ratio={spool.bytes / Math.max(spool.maxBytes, 1)}
                />
              ) : (
                '–'
              ),
          },
        ]}
        empty="No sink is configured."
      />
    </Card>
  );
}

const sinkNamed = (sinks: OverviewData['sinks'], wanted: string) =>
  sinks.find(({ name }) => name === wanted);

function Workers({ state }: { state: OverviewData }) {
  const cpu = (index: number) =>
    recent.rate(({ workers }) => workers.find((one) => one.index === index)?.cpuSeconds ?? 0);
  const { primary } = state;
  return (
    <Card
      title="Workers"
      note={`the primary: ${percent(recent.rate((one) => one.primary.cpuSeconds))} CPU, ${bytes(primary.rssBytes)}`}
    >
      <Table
        caption="Workers"
        rows={state.workers}
        keyOf={({ index }) => `${index}`}
        columns={[
          {
            name: 'Worker',
            cell: ({ index, state: own, deaths }) => (
              <>
                {index}{' '}
                {own === 'starting' ? (
                  <Badge tone="warn">starting</Badge>
                ) : deaths > 0 ? (
                  <Badge tone="warn">{`died ${deaths}×`}</Badge>
                ) : null}
              </>
            ),
          },
          {
            name: 'Ring',
            cell: ({ index, ringUsedRatio }) => (
              <Meter label={`Ring of worker ${index}`} ratio={ringUsedRatio} />
            ),
          },
          { name: 'CPU', isNumber: true, cell: ({ index }) => percent(cpu(index)) },
          {
            name: 'Loop delay',
            isNumber: true,
            priority: 1,
            cell: ({ io, sink }) =>
              `${Math.max(io.loopDelayMs.p99, sink.loopDelayMs.p99).toFixed(1)} ms`,
          },
          { name: 'Sessions', isNumber: true, cell: ({ sessions }) => count(sessions) },
          { name: 'Memory', isNumber: true, priority: 2, cell: ({ rssBytes }) => bytes(rssBytes) },
        ]}
        empty="No worker runs."
      />
    </Card>
  );
}

function RejectReasons({ state }: { state: OverviewData }) {
  const names = new Set([...Object.keys(state.rejected), ...Object.keys(state.refused)]);
  const rows = [...names]
    .map((reason) => ({
      reason,
      frames: state.rejected[reason]?.frames ?? 0,
      connections: state.refused[reason] ?? 0,
      rate: recent.rate((one) => (one.rejected[reason]?.frames ?? 0) + (one.refused[reason] ?? 0)),
    }))
    .sort((a, b) => b.frames + b.connections - a.frames - a.connections);
  return (
    <Card title="Rejects by reason" actions={<a href="/rejects">Who was rejected</a>}>
      <Table
        caption="Rejects by reason since the gateway began"
        rows={rows}
        keyOf={({ reason }) => reason}
        columns={[
          {
            name: 'Reason',
            cell: ({ reason }) => (
              <a class="nowrap" href={`/rejects?reason=${reason}`}>
                {reason}
              </a>
            ),
          },
          { name: 'Now', isNumber: true, cell: ({ rate }) => perSecond(rate) },
          { name: 'Frames', isNumber: true, cell: ({ frames }) => count(frames) },
          { name: 'Connections', isNumber: true, cell: ({ connections }) => count(connections) },
        ]}
        empty="Nothing was rejected since the gateway began."
      />
    </Card>
  );
}
