import { useQuery } from '../data/query.js';
import type { Alert, Alerts as AlertsData } from '../data/types.js';
import { count, duration } from '../lib/format.js';
import { Badge, Card, Missing, Time, Title } from '../parts/basics.js';
import { Table } from '../parts/table.js';
import { placeOf } from './attention.js';

const REFRESH_MS = 3_000;
/** Of those that are over. */
const CLOSED_SHOWN = 50;

export function Alerts() {
  const { data, error } = useQuery<AlertsData>('/api/v1/alerts', REFRESH_MS);
  return (
    <>
      <Title
        text="Alerts"
        note="They open and close by themselves, and are posted to webhooks where there are any."
      />
      {data === undefined ? (
        <Missing error={error} />
      ) : (
        <>
          <Card title="Open" note={count(data.open.length)}>
            <AlertTable caption="Open alerts" alerts={data.open} empty="No alert is open." />
          </Card>
          <Webhooks webhooks={data.webhooks} />
          <Card title="Over" note="the last ones, since the gateway began">
            <AlertTable
              caption="Alerts that are over"
              alerts={data.closed.slice(0, CLOSED_SHOWN)}
              empty="None was."
            />
          </Card>
        </>
      )}
    </>
  );
}

function AlertTable(props: { caption: string; alerts: readonly Alert[]; empty: string }) {
  const { caption, alerts, empty } = props;
  return (
    <Table
      caption={caption}
      rows={alerts}
      keyOf={({ key, openedAt }) => `${key} ${openedAt}`}
      columns={[
        {
          name: 'Severity',
          cell: ({ severity }) => (
            <Badge tone={severity === 'critical' ? 'crit' : 'warn'}>{severity}</Badge>
          ),
        },
        {
          name: 'What',
          cell: ({ text, kind, subject }) => {
            const href = placeOf(kind, subject);
            return href === '/alerts' ? text : <a href={href}>{text}</a>;
          },
        },
        { name: 'Opened', cell: ({ openedAt }) => <Time at={openedAt} /> },
        {
          name: 'Lasted',
          isNumber: true,
          priority: 1,
          cell: ({ openedAt, closedAt }) =>
            closedAt === null
              ? 'open'
              : duration((Date.parse(closedAt) - Date.parse(openedAt)) / 1000),
        },
      ]}
      empty={empty}
    />
  );
}

function Webhooks({ webhooks }: { webhooks: AlertsData['webhooks'] }) {
  return (
    <Card title="Webhooks">
      <Table
        caption="Webhooks"
        rows={webhooks}
        keyOf={({ url }) => url}
        columns={[
          { name: 'To', cell: ({ url }) => <span class="mono">{url}</span> },
          { name: 'Sent', isNumber: true, cell: ({ sent }) => count(sent) },
          { name: 'Waiting', isNumber: true, cell: ({ waiting }) => count(waiting) },
          { name: 'Failed', isNumber: true, cell: ({ failed }) => count(failed) },
          { name: 'Dropped', isNumber: true, priority: 1, cell: ({ dropped }) => count(dropped) },
          {
            name: 'Last error',
            priority: 1,
            cell: ({ lastError }) =>
              lastError === null ? (
                <span class="muted">none</span>
              ) : (
                <>
                  {lastError.text} <Time at={lastError.at} />
                </>
              ),
          },
        ]}
        empty="None is configured: see alerts.webhooks in the configuration."
      />
    </Card>
  );
}
