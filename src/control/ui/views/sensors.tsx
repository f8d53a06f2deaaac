import { useEffect, useRef, useState } from 'preact/hooks';
import { place, setQuery } from '../data/nav.js';
import { useQuery } from '../data/query.js';
import { type SensorQuery, useSensorList } from '../data/sensor-list.js';
import type { Group, Sensor } from '../data/types.js';
import { bits, count } from '../lib/format.js';
import { rowsInSight } from '../lib/pages.js';
import { KNOWN_TYPES, typeName } from '../lib/types.js';
import { May, SensorLink, Time, Title } from '../parts/basics.js';
import { Filter, Search, useTyped } from '../parts/field.js';
import { Icon } from '../parts/icons.js';
import { Groups, LastReject, StateBadge } from '../parts/sensor.js';
import { Spark } from '../parts/spark.js';

/** As the style sheet has it. */
const ROW_PX = 44;
const TYPING_MS = 150;
const GROUPS_MS = 30_000;

interface Head {
  name: string;
  sort?: string;
  class?: string;
}

const HEADS: readonly Head[] = [
  { name: 'Name', sort: 'name' },
  { name: 'State', sort: 'state', class: 'p1' },
  { name: 'Rate', sort: 'bytesPerSecond', class: 'num' },
  { name: 'Two minutes', class: 'p1' },
  { name: 'Last seen', sort: 'lastSeen' },
  { name: 'Last reject', class: 'p1' },
  { name: 'Types', class: 'p2' },
  { name: 'Groups', class: 'p2' },
];
/** Most people look for the newest and the busiest, and for names from A. */
const DESCENDING = ['bytesPerSecond', 'lastSeen'];

function readQuery(): SensorQuery {
  const { query } = place.value;
  return {
    q: query.get('q') ?? '',
    state: query.get('state') ?? '',
    group: query.get('group') ?? '',
    type: query.get('type') ?? '',
    sort: query.get('sort') ?? 'name',
    order: query.get('order') ?? 'asc',
  };
}

export function Sensors() {
  const query = readQuery();
  return (
    <>
      <Title text="Sensors">
        <May least="operator">
          <a class="button primary" href="/add">
            <Icon name="add" />
            Add a sensor
          </a>
        </May>
      </Title>
      <Toolbar query={query} />
      <VirtualTable query={query} />
    </>
  );
}

function Toolbar({ query }: { query: SensorQuery }) {
  const [typed, type] = useTyped(query.q, TYPING_MS, (q) => setQuery({ q }));
  const { data: groups } = useQuery<Group[]>('/api/v1/groups', GROUPS_MS);
  return (
    <search class="toolbar">
      <Search label="Search names, UUIDs, contacts, groups" value={typed} onText={type} hotkey />
      <Filter
        label="State"
        value={query.state}
        options={[
          ['', 'All states'],
          ['approved', 'Approved'],
          ['pending', 'Pending'],
          ['blocked', 'Blocked'],
        ]}
        onText={(state) => setQuery({ state })}
      />
      <Filter
        label="Group"
        value={query.group}
        options={[['', 'All groups'], ...groupOptions(groups ?? [], query.group)]}
        onText={(group) => setQuery({ group })}
      />
      <Filter
        label="Type"
        value={query.type}
        options={[
          ['', 'All types'],
          ...KNOWN_TYPES.map((type) => [`${type}`, typeName(type)] as const),
        ]}
        onText={(type) => setQuery({ type })}
      />
    </search>
  );
}

function groupOptions(groups: readonly Group[], chosen: string) {
  const options = groups.map(
    ({ name, sensors }) => [name, `${name} (${count(sensors)})`] as [string, string],
  );
  const isKnown = chosen === '' || groups.some(({ name }) => name === chosen);
  return isKnown ? options : [...options, [chosen, chosen] as [string, string]];
}

function VirtualTable({ query }: { query: SensorQuery }) {
  const scroller = useRef<HTMLElement>(null);
  const [sight, setSight] = useState({ top: 0, height: 800 });
  const [knownTotal, setKnownTotal] = useState(0);
  const [from, to] = rowsInSight(sight.top, sight.height, ROW_PX, knownTotal);
  const { total, error, row } = useSensorList(query, from, to);
  useEffect(() => setKnownTotal(total ?? 0), [total]);
  const key = Object.values(query).join('\n');
  useEffect(() => {
    scroller.current?.scrollTo(0, 0);
  }, [key]);
  useEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const look = () => setSight({ top: element.scrollTop, height: element.clientHeight });
    const observer = new ResizeObserver(look);
    observer.observe(element);
    element.addEventListener('scroll', look, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener('scroll', look);
    };
  }, []);
  return (
    <>
      <p class="list-count muted" role="status">
        {total === undefined ? (error ?? 'Loading…') : countText(total, query)}
        {total !== undefined && error !== undefined && <span class="crit-text"> {error}</span>}
      </p>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: the keyboard has to reach what scrolls. */}
      <section class="virtual" ref={scroller} tabIndex={0} aria-label="List of sensors">
        <table class="table" aria-rowcount={(total ?? 0) + 1}>
          <caption class="hidden">Sensors</caption>
          <thead>
            <tr aria-rowindex={1}>
              {HEADS.map((head) => (
                <HeadCell key={head.name} head={head} query={query} />
              ))}
            </tr>
          </thead>
          <tbody>
            <Spacer rows={from} />
            {Array.from({ length: to - from }, (_, index) => {
              const at = from + index;
              const sensor = row(at);
              return <Row key={sensor?.uuid ?? at} index={at} sensor={sensor} />;
            })}
            <Spacer rows={knownTotal - to} />
          </tbody>
        </table>
        {total === 0 && <NoSensors query={query} />}
      </section>
    </>
  );
}

function countText(total: number, { q, state, group, type }: SensorQuery): string {
  const what = total === 1 ? 'sensor' : 'sensors';
  const isFiltered = [q, state, group, type].some((one) => one !== '');
  return `${count(total)} ${what}${isFiltered ? (total === 1 ? ' fits' : ' fit') : ''}`;
}

function NoSensors({ query: { q, state, group, type } }: { query: SensorQuery }) {
  if ([q, state, group, type].some((one) => one !== '')) {
    return (
      <div class="empty">
        No sensor fits. <a href="/sensors">Show all</a>
      </div>
    );
  }
  return (
    <div class="empty">
      No sensor is registered yet.{' '}
      <May least="operator">
        <a href="/add">Add the first one</a>
      </May>
    </div>
  );
}

function HeadCell({ head: { name, sort, class: own }, query }: { head: Head; query: SensorQuery }) {
  if (sort === undefined) {
    return (
      <th scope="col" class={own}>
        {name}
      </th>
    );
  }
  const isSorted = query.sort === sort;
  const flip = () => {
    const first = DESCENDING.includes(sort) ? 'desc' : 'asc';
    const order = isSorted ? (query.order === 'asc' ? 'desc' : 'asc') : first;
    setQuery({ sort, order });
  };
  const direction = query.order === 'asc' ? 'ascending' : 'descending';
  return (
    <th scope="col" class={own} aria-sort={isSorted ? direction : 'none'}>
      <button type="button" class="sort" onClick={flip}>
        {name}
        {isSorted && <Icon name={query.order === 'asc' ? 'up' : 'down'} />}
      </button>
    </th>
  );
}

/** Stands for the rows that are not drawn. */
function Spacer({ rows }: { rows: number }) {
  if (rows <= 0) return null;
  return (
    <tr class="spacer">
      <td aria-hidden="true" colSpan={HEADS.length} style={{ height: `${rows * ROW_PX}px` }} />
    </tr>
  );
}

function Row({ index, sensor }: { index: number; sensor: Sensor | undefined }) {
  if (!sensor) {
    return (
      <tr aria-rowindex={index + 2} class="waiting">
        <td colSpan={HEADS.length}>…</td>
      </tr>
    );
  }
  const { uuid, name, state, bytesPerSecond, recentBytesPerSecond, types, groups } = sensor;
  return (
    <tr aria-rowindex={index + 2}>
      <td class="name-cell">
        <SensorLink uuid={uuid} name={name} />
        {name !== '' && <span class="mono muted sub p1">{uuid.slice(0, 8)}</span>}
        <span class="sub only-narrow">
          <StateBadge state={state} />
        </span>
      </td>
      <td class="p1">
        <StateBadge state={state} />
      </td>
      <td class="num">
        {bytesPerSecond > 0 ? bits(bytesPerSecond) : <span class="muted">–</span>}
      </td>
      <td class="p1">
        <Spark
          values={recentBytesPerSecond}
          label={`Rate of the last two minutes, now ${bits(bytesPerSecond)}`}
        />
      </td>
      <td>
        <Time at={sensor.lastSeen} />
      </td>
      <td class="p1">
        <LastReject reject={sensor.lastReject} />
      </td>
      <td class="p2 muted">{types.map(typeName).join(', ')}</td>
      <td class="p2">
        <Groups groups={groups} />
      </td>
    </tr>
  );
}
